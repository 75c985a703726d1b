"""Changes to a training batch that leave its meaning alone.

Some move or drop single events, in a list that is made once for all of them and laid out again at
the end; the others move, hide or exchange whole steps and channels, of spikes or of currents.
Nothing loops over recordings, and random numbers come from torch's global generator of the batch's
own device.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Float32, Int32, Int64
from torch import Tensor
from torch.nn import functional as F

from snn_delays.arguments import choice, real, real_number, settle, whole, whole_number
from snn_delays.columns import column
from snn_delays.data.splits.batch import Batch, laid_out
from snn_delays.data.splits.change import BatchChange
from snn_delays.errors import UsageError

_log = logging.getLogger("snn_delays")
# The strengths of what changes single events.
_OF_EVENTS = ("event_drop", "speed", "time_jitter", "channel_jitter")
# Parts into which a change of speed divides a step: few, so that single precision holds a time of
# up to 65,536 steps exactly and never rounds it up into the next step.
_PARTS = 256
# Larger than any number of steps or channels by far, so that the rest of a division is as good as
# equally distributed.
_LARGE = 2**40

Spikes = Float[Tensor, "time batch channels"]


@dataclass(frozen=True)
class Augmentation(BatchChange):
    """How strongly training batches are changed at random, in this order; everything off at first.

    Every recording is changed by numbers of its own, and stays silent after its end. Training seeds
    the generator anew in every epoch; what is off draws nothing from it.

    Args:
        event_drop: probability of each event to be lost, in [0, 1).
        speed: durations are multiplied by a factor from 1 / (1 + speed) to 1 + speed.
        time_jitter: every event moves by this standard deviation, in steps.
        channel_jitter: every event moves by this standard deviation, a share of all channels.
        channel_shift: recordings move along the channels, at most by this share of them, rounded to
            whole channels, in [0, 1).
        time_mask: a span of steps falls silent, at most so many and half the recording.
        channel_mask: a span of channels falls silent, at most this share of them, rounded, in
            [0, 0.5].
        cutmix: probability of each recording to get a span of its neighbour, in [0, 1].
        currents: of the first four, which change single events, where the input are currents:
            ``"refuse"``, or ``"skip"`` to leave them out, which ``fit`` says once.

    None is for images ``[T, N, C, H, W]``.

    Raises:
        UsageError: a strength out of range.
    """

    event_drop: float = 0.0
    speed: float = 0.0
    time_jitter: float = 0.0
    channel_jitter: float = 0.0
    channel_shift: float = 0.0
    time_mask: int = 0
    channel_mask: float = 0.0
    cutmix: float = 0.0
    currents: str = "refuse"

    def __post_init__(self) -> None:
        settle(
            self,
            "augmentation.",
            # Lossy to the last event is no recording any more; mixing always is one.
            event_drop=real(0, below=1),
            speed=real(0),
            time_jitter=real(0),
            channel_jitter=real(0),
            channel_shift=real(0, below=1, must="be a share of the channels in [0, 1)"),
            time_mask=whole(0, unit="steps"),
            channel_mask=real(0, 0.5, must="be a share of the channels in [0, 0.5]"),
            cutmix=real(0, 1),
            currents=partial(choice, known=("refuse", "skip")),
        )

    def suited(self, batch: Batch) -> Augmentation:
        events = {name: 0.0 for name in _OF_EVENTS if getattr(self, name)}
        if not events or self.currents == "refuse" or not _not_counts(batch.spikes).any():
            return self
        _log.info(
            "augmentation: %s change single events; the input are currents, so they are left out.",
            ", ".join(events),
        )
        return replace(self, **events)

    def __call__(self, batch: Batch, n_classes: int) -> tuple[Batch, Tensor]:
        spikes, lengths = batch.spikes, batch.lengths
        used = [name for name, strength in self._strengths().items() if strength]
        if not used:
            return batch, batch.labels
        if spikes.ndim > 3:
            raise UsageError(
                f"augmentation: {', '.join(used)} {'is' if len(used) == 1 else 'are'} for input "
                f"[T, N, C], got images {list(spikes.shape)}. Use augmentation=none."
            )
        recordings, channels = spikes.shape[1:]
        if self.event_drop or self.speed or self.time_jitter or self.channel_jitter:
            events = list_events(spikes)
            if self.event_drop:
                events = event_drop(events, self.event_drop)
            if self.speed:
                events, lengths = speed(events, lengths, self.speed)
            if self.time_jitter:
                events = time_jitter(events, lengths, self.time_jitter)
            if self.channel_jitter:
                events = channel_jitter(events, channels, self.channel_jitter * channels)
            spikes = events.dense(int(lengths.max()), recordings, channels)
        if self.channel_shift:
            spikes = channel_shift(spikes, round(self.channel_shift * channels))
        if self.time_mask:
            spikes = time_mask(spikes, lengths, self.time_mask)
        if self.channel_mask:
            spikes = channel_mask(spikes, round(self.channel_mask * channels))
        batch = batch._replace(spikes=spikes, lengths=lengths)
        return cutmix(batch, n_classes, self.cutmix) if self.cutmix else (batch, batch.labels)

    def _strengths(self) -> dict[str, float]:
        return {name: one for name, one in asdict(self).items() if name != "currents"}


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


def list_events(spikes: Spikes) -> Events:
    """The events that spike counts ``[T, N, C]`` stand for, by step, recording and channel."""
    cells = spikes.flatten().nonzero().squeeze(1)
    counts = spikes.flatten().index_select(0, cells)
    wrong = _not_counts(counts)
    if wrong.any():
        raise UsageError(
            "augmentation: event_drop, speed, time_jitter and channel_jitter change single events, "
            f"but the input holds currents, such as {counts[wrong][0].item():g}: expected spike "
            "counts. Set augmentation.currents=skip, or have the data set encoded as spikes."
        )
    recordings, channels = spikes.shape[1:]
    cells = cells.to(_counting(spikes.numel()))
    rows = cells // channels
    once = Events((rows // recordings).int(), (rows % recordings).int(), (cells % channels).int())
    each = torch.repeat_interleave(counts.long())  # k times the index of a cell that counts k
    return Events(*(part.index_select(0, each) for part in once))


def _not_counts(values: Tensor) -> Tensor:
    """Where there is something that no number of events can be."""
    return (values != 0) & ~((values > 0) & (values == values.floor()) & values.isfinite())


def event_drop(events: Events, probability: float) -> Events:
    """Keep each event with probability 1 − p: counts k become Binomial(k, 1 − p).

    Reference:
        "Random drop" of EventDrop: Gu, Sng, Hu, Yu (2021, arXiv:2106.05836).
    """
    probability = real_number("event_drop", probability, 0, below=1)
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
    strength, device = real_number("speed", strength, 0), lengths.device
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
    sigma = real_number("time_jitter", sigma, 0)
    sizes = lengths.int().index_select(0, events.recordings)
    return events._replace(steps=_jittered(events.steps, sizes, sigma))


def channel_jitter(events: Events, n_channels: int, sigma: float) -> Events:
    """As :func:`time_jitter`, by channels.

    Reference:
        The code of Nowotny, Turner, Knight (2022, arXiv:2212.01232), which drops what leaves,
        after Cramer et al. (2020, arXiv:1910.07407).
    """
    sigma = real_number("channel_jitter", sigma, 0)
    return events._replace(channels=_jittered(events.channels, n_channels, sigma))


def _jittered(places: Tensor, size: Tensor | int, sigma: float) -> Tensor:
    moves = (sigma * torch.randn(len(places), device=places.device)).round().int()
    # Reflection at both ends, however far: a walk around 0 … size − 1, size − 1 … 0.
    around = (places + moves) % (2 * size)
    return torch.minimum(around, 2 * size - 1 - around)


def _counting(cells: int) -> torch.dtype:
    """The smallest whole numbers that count so many cells; a large batch needs 64 bits."""
    return torch.int32 if cells < 2**31 else torch.int64


def channel_shift(spikes: Spikes, limit: int) -> Spikes:
    """Move each recording up or down by its own whole number of channels, at most ``limit``.

    Along a cochlea's axis this is a change of pitch and of vocal tract length, as between
    speakers. Channels that nothing moves into are silent; what is moved over the edge is lost.

    Reference:
        Nowotny, Turner, Knight (2022, arXiv:2212.01232), up to 40 of 700 channels.
    """
    batch, channels = spikes.shape[1:]
    limit = whole_number("channel_shift", limit, 0, unit="channels")
    if limit >= channels:
        raise UsageError(
            f"channel_shift must be less than the input's {channels} channels, got {limit}: "
            "a recording would be moved out of all of them."
        )
    shift = torch.randint(-limit, limit + 1, (batch, 1), device=spikes.device)
    source = torch.arange(channels, device=spikes.device) - shift
    inside = (source >= 0) & (source < channels)
    return spikes.gather(2, source.clamp(0, channels - 1).expand_as(spikes)) * inside


def time_mask(spikes: Spikes, lengths: Int64[Tensor, " batch"], limit: int) -> Spikes:
    """Silence one span of steps of each recording: width ~ U{0 … w}, start ~ U{0 … length − width}.

    w = min(limit, ⌊length / 2⌋), so that more than half of a recording is never hidden. For
    normalised currents 0 is their mean.

    Reference:
        SpecAugment: Park et al. (2019, arXiv:1904.08779).
    """
    limit = whole_number("time_mask", limit, 0, unit="steps")
    hidden = _random_spans(lengths, (lengths // 2).clamp(max=limit), spikes.shape[0])
    return spikes * (~hidden).T[:, :, None].to(spikes)


def channel_mask(spikes: Spikes, limit: int) -> Spikes:
    """Silence one span of channels of each recording; as :func:`time_mask`, length = C."""
    limit = whole_number("channel_mask", limit, 0, unit="channels")
    batch, channels = spikes.shape[1:]
    sizes = torch.full((batch,), channels, device=spikes.device)
    hidden = _random_spans(sizes, (sizes // 2).clamp(max=limit), channels)
    return spikes * (~hidden).to(spikes)


def cutmix(batch: Batch, n_classes: int, probability: float) -> tuple[Batch, Tensor]:
    """Replace a span of steps of a recording by the same steps of the next one in the batch.

    With probability p, for recording n and its neighbour m, both lasting at least L steps:

        width ~ U{0 … L}, start ~ U{0 … L − width}
        target[n] = (1 − λ) · onehot(label[n]) + λ · onehot(label[m])        λ = width / length[n]

    The recording keeps its length and its speaker. What comes back is the batch, each label that of
    the greater part, and the targets, class probabilities ``[N, n_classes]``.

    Reference:
        CutMix: Yun et al. (2019, arXiv:1905.04899) with α = 1; along time and with a neighbour as
        in the code of Hammouamri et al. (2024, arXiv:2306.17670).
    """
    probability = real_number("cutmix", probability, 0, 1)
    n_classes = whole_number("cutmix: n_classes", n_classes, 1)
    spikes, labels, lengths = batch.spikes, batch.labels, batch.lengths
    if labels.device.type == "cpu":
        column("cutmix: labels", labels, None, 0, n_classes - 1, why=f"{n_classes} classes")
    common = torch.minimum(lengths, lengths.roll(-1))
    chosen = torch.rand(len(labels), device=labels.device) < probability
    foreign = _random_spans(common, common * chosen, spikes.shape[0])
    steps, size, channels = spikes.shape
    rows = torch.arange(steps * size, device=spikes.device).view(steps, size)
    rows = torch.where(foreign.T, rows.roll(-1, 1), rows)
    spikes = spikes.reshape(-1, channels).index_select(0, rows.flatten()).view_as(spikes)
    share = (foreign.sum(1) / lengths)[:, None]
    neighbours = labels.roll(-1)
    targets = F.one_hot(labels, n_classes) * (1 - share) + F.one_hot(neighbours, n_classes) * share
    greater = torch.where(share.squeeze(1) > 0.5, neighbours, labels)
    return batch._replace(spikes=spikes, labels=greater), targets


def _random_spans(sizes: Int64[Tensor, " N"], limits: Int64[Tensor, " N"], columns: int) -> Tensor:
    """One span of each row, inside its first ``sizes`` of the columns, at most ``limits`` wide."""
    large = torch.randint(_LARGE, (2, len(sizes)), device=sizes.device)
    widths = large[0] % (limits + 1)
    starts = large[1] % (sizes - widths + 1)
    place = torch.arange(columns, device=sizes.device)
    return (place >= starts[:, None]) & (place < (starts + widths)[:, None])
