"""Random changes that move or drop single events.

They act on a list of events, of which a batch has a tenth as many as cells::

    events.dense(...) ∘ change ∘ … ∘ change ∘ list_events(spikes)

Nothing loops over recordings, random numbers come from torch's global generator of the events'
own device, and a strength of 0 returns what it was given and draws none.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from snn_delays.errors import UsageError

# Parts into which a change of speed divides a step; whole numbers, so that no event is rounded
# out of its recording, and every device finds the same step.
_PARTS = 256


class Events(NamedTuple):
    """Single events: step, recording and channel of each; equal ones are listed singly."""

    steps: Int64[Tensor, " E"]
    recordings: Int64[Tensor, " E"]
    channels: Int64[Tensor, " E"]

    def dense(self, steps: int, recordings: int, channels: int) -> Float32[Tensor, "T N C"]:
        """Spike counts ``[steps, recordings, channels]``; the inverse of :func:`list_events`."""
        cells = (self.steps * recordings + self.recordings) * channels + self.channels
        counts = torch.zeros(steps * recordings * channels, device=cells.device)
        # Sums of whole numbers: the same in any order, hence on every device.
        counts.index_add_(0, cells, torch.ones(len(cells), device=cells.device))
        return counts.view(steps, recordings, channels)


def list_events(spikes: Float[Tensor, "T N C"]) -> Events:
    """The events that spike counts ``[T, N, C]`` stand for, by step, recording and channel.

    Raises:
        UsageError: an input that does not count events, such as currents.
    """
    cells = spikes.flatten().nonzero().squeeze(1)
    counts = spikes.flatten().index_select(0, cells)
    wrong = ~((counts > 0) & (counts == counts.floor()) & counts.isfinite())
    if wrong.any():
        raise UsageError(
            "augmentation: event_drop, speed, time_jitter and channel_jitter change single events, "
            f"but the input holds currents, such as {counts[wrong][0].item():g}: expected spike "
            "counts. Set these four to 0, or have the data set encoded as spikes."
        )
    cells = cells.repeat_interleave(counts.long())
    recordings, channels = spikes.shape[1:]
    rows = cells // channels
    return Events(rows // recordings, rows % recordings, cells - rows * channels)


def event_drop(events: Events, probability: float) -> Events:
    """Keep each event with probability 1 − p: counts k become Binomial(k, 1 − p).

    Reference:
        "Random drop" of EventDrop: Gu, Sng, Hu, Yu (2021, arXiv:2106.05836).
    """
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
    if strength == 0:
        return events, lengths
    device = lengths.device
    exponents = 2 * torch.rand(len(lengths), device=device) - 1
    changed = (lengths * (1 + strength) ** exponents).round().long().clamp(min=1)
    before = lengths.index_select(0, events.recordings)
    after = changed.index_select(0, events.recordings)
    parts = torch.randint(_PARTS, events.steps.shape, device=device)
    steps = (events.steps * _PARTS + parts) * after // (before * _PARTS)
    return events._replace(steps=steps), changed


def time_jitter(events: Events, lengths: Int64[Tensor, " N"], sigma: float) -> Events:
    """Move each event by its own round(σ · ξ) steps, ξ ~ N(0, 1); none is lost.

    What would leave a recording at its first or last step is reflected there.
    """
    if sigma == 0:
        return events
    sizes = lengths.index_select(0, events.recordings)
    return events._replace(steps=_jittered(events.steps, sizes, sigma))


def channel_jitter(events: Events, n_channels: int, sigma: float) -> Events:
    """Move each event by its own round(σ · ξ) channels, ξ ~ N(0, 1); none is lost.

    What would leave the first or the last channel is reflected there.

    Reference:
        The code of Nowotny, Turner, Knight (2022, arXiv:2212.01232), which drops what leaves,
        after Cramer et al. (2020, arXiv:1910.07407).
    """
    if sigma == 0:
        return events
    return events._replace(channels=_jittered(events.channels, n_channels, sigma))


def _jittered(
    places: Int64[Tensor, " E"], size: Int64[Tensor, " E"] | int, sigma: float
) -> Int64[Tensor, " E"]:
    moves = (sigma * torch.randn(len(places), device=places.device)).round().long()
    # Reflection at both ends, however far: a walk around 0 … size − 1, size − 1 … 0.
    around = (places + moves) % (2 * size)
    return torch.minimum(around, 2 * size - 1 - around)
