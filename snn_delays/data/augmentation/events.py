"""Random changes that move or drop single events.

They act on a list of events, which is made once for all of them, and laid out again at the end::

    list_events(spikes) → event_drop → speed → time_jitter → channel_jitter → .dense(…)

Nothing loops over recordings, random numbers come from torch's global generator of the events'
own device, and a strength of 0 returns what it was given and draws none.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Float32, Int32, Int64
from torch import Tensor

from snn_delays.arguments import real_number
from snn_delays.data.splits.batch import laid_out
from snn_delays.errors import UsageError

# Parts into which a change of speed divides a step: few, so that single precision holds a time of
# up to 65,536 steps exactly and never rounds it up into the next step.
_PARTS = 256


class Events(NamedTuple):
    """Single events: step, recording and channel of each; equal ones are listed singly."""

    # 32 bits, since 64 take several times as long to divide.
    steps: Int32[Tensor, " E"]
    recordings: Int32[Tensor, " E"]
    channels: Int32[Tensor, " E"]

    def dense(self, steps: int, recordings: int, channels: int) -> Float32[Tensor, "T N C"]:
        """Spike counts ``[steps, recordings, channels]``; the inverse of :func:`list_events`."""
        rows = self.steps.to(_counting(steps * recordings * channels)) * recordings
        cells = (rows + self.recordings) * channels + self.channels
        return laid_out(cells, None, (steps, recordings, channels))


def list_events(spikes: Float[Tensor, "T N C"]) -> Events:
    """The events that spike counts ``[T, N, C]`` stand for, by step, recording and channel."""
    cells = spikes.flatten().nonzero().squeeze(1)
    counts = spikes.flatten().index_select(0, cells)
    wrong = ~((counts > 0) & (counts == counts.floor()) & counts.isfinite())
    if wrong.any():
        raise UsageError(
            "augmentation: event_drop, speed, time_jitter and channel_jitter change single events, "
            f"but the input holds currents, such as {counts[wrong][0].item():g}: expected spike "
            "counts. Set these four to 0, or have the data set encoded as spikes."
        )
    recordings, channels = spikes.shape[1:]
    cells = cells.to(_counting(spikes.numel()))
    rows = cells // channels
    once = Events((rows // recordings).int(), (rows % recordings).int(), (cells % channels).int())
    each = torch.repeat_interleave(counts.long())  # k times the index of a cell that counts k
    return Events(*(part.index_select(0, each) for part in once))


def event_drop(events: Events, probability: float) -> Events:
    """Keep each event with probability 1 − p: counts k become Binomial(k, 1 − p).

    Reference:
        "Random drop" of EventDrop: Gu, Sng, Hu, Yu (2021, arXiv:2106.05836).
    """
    probability = real_number("event_drop", probability, 0, below=1)
    if probability == 0:
        return events
    device = events.steps.device
    kept = (torch.rand(len(events.steps), device=device) >= probability).nonzero().squeeze(1)
    return Events(*(part.index_select(0, kept) for part in events))


def speed(
    events: Events, lengths: Int64[Tensor, " N"], strength: float
) -> tuple[Events, Int64[Tensor, " N"]]:
    """Stretch or shorten each recording by its own factor, pitch unchanged; no event is lost.

    length' = max(1, round(f · length))      f = (1 + strength)^u, u ~ U(−1, 1), per recording
    step'   = ⌊(step + r) · length' / length⌋        r ~ U[0, 1), per event

    r is where in its step an event was, which binning forgot; without it a stretched recording
    would have steps that are empty in every channel. Events of different steps keep their order.

    Reference:
        Log-uniform factor: the code of Nowotny, Turner, Knight (2022, arXiv:2212.01232), which
        takes f from 0.9 to 1.1.
    """
    strength = real_number("speed", strength, 0)
    if strength == 0:
        return events, lengths
    device = lengths.device
    exponents = 2 * torch.rand(len(lengths), device=device) - 1
    changed = (lengths * (1 + strength) ** exponents).round().long().clamp(min=1)
    ratios = (changed / lengths).index_select(0, events.recordings)
    parts = torch.randint(_PARTS, events.steps.shape, dtype=torch.int32, device=device)
    steps = ((events.steps + parts / _PARTS) * ratios).int()
    # From some 30,000 steps on, rounding reaches the last part of the last step.
    last = (changed.int() - 1).index_select(0, events.recordings)
    return events._replace(steps=torch.minimum(steps, last)), changed


def time_jitter(events: Events, lengths: Int64[Tensor, " N"], sigma: float) -> Events:
    """Move each event by its own round(σ · ξ) steps, ξ ~ N(0, 1); none is lost.

    What would leave a recording at its first or last step is reflected there.
    """
    sigma = real_number("time_jitter", sigma, 0, unit="steps")
    if sigma == 0:
        return events
    sizes = lengths.int().index_select(0, events.recordings)
    return events._replace(steps=_jittered(events.steps, sizes, sigma))


def channel_jitter(events: Events, n_channels: int, sigma: float) -> Events:
    """Move each event by its own round(σ · ξ) channels, ξ ~ N(0, 1); none is lost.

    What would leave the first or the last channel is reflected there.

    Reference:
        The code of Nowotny, Turner, Knight (2022, arXiv:2212.01232), which drops what leaves,
        after Cramer et al. (2020, arXiv:1910.07407).
    """
    sigma = real_number("channel_jitter", sigma, 0, unit="channels")
    if sigma == 0:
        return events
    return events._replace(channels=_jittered(events.channels, n_channels, sigma))


def _jittered(places: Tensor, size: Tensor | int, sigma: float) -> Tensor:
    moves = (sigma * torch.randn(len(places), device=places.device)).round().int()
    # Reflection at both ends, however far: a walk around 0 … size − 1, size − 1 … 0.
    around = (places + moves) % (2 * size)
    return torch.minimum(around, 2 * size - 1 - around)


def _counting(cells: int) -> torch.dtype:
    """The smallest whole numbers that count so many cells; a large batch needs 64 bits."""
    return torch.int32 if cells < 2**31 else torch.int64
