"""From levels over time to what a spiking network takes in: currents, or spikes.

Levels x are logarithms of energy, normalised so that every band has mean 0 and standard deviation
1 over the training recordings; thresholds θ are in standard deviations. Nothing here is random.

Shape:
    ``[T, N, bands]`` → ``[T, N, channels]``: as many as bands, or ON, then OFF channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.arguments import choice, real, settle

EncoderName = Literal["none", "delta", "level", "latency"]

Levels = Float[Tensor, "time batch bands"]
Input = Float[Tensor, "time batch channels"]


@dataclass(frozen=True)
class Encoder:
    """Turns levels into the input of a network.

    Args:
        name: "none", "delta", "level" or "latency"; see the function of that name.
        threshold: θ; "none" has no use for it.
    """

    name: EncoderName
    threshold: float

    def __post_init__(self) -> None:
        choice("encoder", self.name, get_args(EncoderName))
        # An onset may well be told by a level below the mean; a difference of 0 or less is none.
        above = 0 if self.name in ("delta", "level") else -math.inf
        settle(self, threshold=real(above=above, unit="standard deviations"))

    def channels(self, bands: int) -> int:
        """Number of input channels for so many bands."""
        return 2 * bands if self.name in ("delta", "level") else bands

    def __call__(self, levels: Levels) -> Input:
        """Levels → currents or numbers of spikes."""
        encode = {"delta": delta, "level": level, "latency": latency}.get(self.name)
        return encode(levels, self.threshold) if encode else levels


def delta(levels: Levels, threshold: float) -> Input:
    """Threshold crossing (send on delta): a spike for every θ that the level has moved.

        n[t] = trunc((x[t] − r[t−1]) / θ)    r[t] = r[t−1] + θ n[t]    r[−1] = 0
        ON[t] = max(n[t], 0)                 OFF[t] = max(−n[t], 0)

    so that θ Σ_{s ≤ t} (ON − OFF)[s] = r[t] is never θ or more away from x[t]; and a level that
    trembles by less than θ sends nothing.

    Reference:
        Miskowicz, "Send-on-delta concept: an event-based data reporting strategy" (2006,
        doi:10.3390/s6010049).
    """
    sent = torch.zeros_like(levels[0]) if len(levels) else levels
    moves = torch.empty_like(levels)
    for x, move in zip(levels, moves, strict=True):
        # In units of θ, where what was sent is a whole number and nothing is lost to rounding.
        torch.trunc(x / threshold - sent, out=move)
        sent += move
    return _on_off(moves)


def level(levels: Levels, threshold: float) -> Input:
    """Level crossing: a spike for every level …, −θ, 0, θ, 2θ, … passed on the way up or down.

        q[t] = ⌊x[t] / θ⌋                    q[−1] = 0
        ON[t] = max(q[t] − q[t−1], 0)        OFF[t] = max(q[t−1] − q[t], 0)

    so that θ Σ_{s ≤ t} (ON − OFF)[s] = θ q[t] lies at most θ below x[t]. Unlike with ``delta`` the
    levels are fixed: there is no hysteresis, and a spike says where the level is.

    Reference:
        Sayiner, Sorensen, Viswanathan, "A level-crossing sampling scheme for A/D conversion"
        (1996, doi:10.1109/82.488288).
    """
    passed = torch.floor(levels / threshold)
    return _on_off(torch.diff(passed, dim=0, prepend=torch.zeros_like(passed[:1])))


def latency(levels: Levels, threshold: float) -> Input:
    """Time to first spike: each band fires once, when its level first reaches θ, or never.

        t* = min {t : x[t] ≥ θ}

    Time counts from the beginning of the recording, so that onsets keep their place.

    Reference:
        Gütig & Sompolinsky, "Time-warp-invariant neuronal processing" (2009,
        doi:10.1371/journal.pbio.1000141), onset neurons.
    """
    above = levels >= threshold
    return (above & (above.cumsum(0) == 1)).to(levels.dtype)


def _on_off(moves: Levels) -> Input:
    return torch.cat([moves.clamp(min=0), (-moves).clamp(min=0)], dim=2)
