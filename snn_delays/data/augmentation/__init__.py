"""Changes to a training batch that leave its meaning alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from snn_delays.arguments import real, settle, whole
from snn_delays.data.augmentation.events import (
    channel_jitter,
    event_drop,
    list_events,
    speed,
    time_jitter,
)
from snn_delays.data.augmentation.frames import channel_mask, channel_shift, cutmix, time_mask
from snn_delays.data.splits.batch import Batch

__all__ = ["Augmentation"]


@dataclass(frozen=True)
class Augmentation:
    """How strongly training batches are changed at random, in this order; everything off at first.

    Every recording is changed by numbers of its own, and stays silent after its end. Random
    numbers come from torch's global generator of the batch's device, which training seeds anew
    in every epoch; what is off draws none.

    Args:
        event_drop: probability of each event to be lost, in [0, 1).
        speed: durations are multiplied by a factor from 1 / (1 + speed) to 1 + speed.
        time_jitter: every event moves by this standard deviation, in steps.
        channel_jitter: every event moves by this standard deviation, in channels.
        channel_shift: recordings move along the channels, at most so many of them.
        time_mask: a span of steps falls silent, at most so many and half the recording.
        channel_mask: a span of channels falls silent, at most so many and half of them.
        cutmix: probability of each recording to get a span of its neighbour, in [0, 1].

    The first four change single events and refuse currents; the others take both.

    Raises:
        UsageError: a strength out of range.
    """

    event_drop: float = 0.0
    speed: float = 0.0
    time_jitter: float = 0.0
    channel_jitter: float = 0.0
    channel_shift: int = 0
    time_mask: int = 0
    channel_mask: int = 0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        settle(
            self,
            "augmentation.",
            # Lossy to the last event is no recording any more; mixing always is one.
            event_drop=real(0, below=1),
            speed=real(0),
            time_jitter=real(0),
            channel_jitter=real(0),
            channel_shift=whole(0, unit="channels"),
            time_mask=whole(0, unit="steps"),
            channel_mask=whole(0, unit="channels"),
            cutmix=real(0, 1),
        )

    def __call__(self, batch: Batch, n_classes: int) -> tuple[Batch, Tensor]:
        """The changed batch, and what to compare the network's answers with.

        Targets are class probabilities ``[N, n_classes]`` if recordings are mixed, whose batch then
        has the label of each one's greater part; otherwise the labels ``[N]``.
        """
        spikes, lengths = batch.spikes, batch.lengths
        recordings, channels = spikes.shape[1:]
        if self.event_drop or self.speed or self.time_jitter or self.channel_jitter:
            events = event_drop(list_events(spikes), self.event_drop)
            events, lengths = speed(events, lengths, self.speed)
            events = time_jitter(events, lengths, self.time_jitter)
            events = channel_jitter(events, channels, self.channel_jitter)
            spikes = events.dense(int(lengths.max()), recordings, channels)
        spikes = channel_shift(spikes, self.channel_shift)
        spikes = time_mask(spikes, lengths, self.time_mask)
        spikes = channel_mask(spikes, self.channel_mask)
        return cutmix(batch._replace(spikes=spikes, lengths=lengths), n_classes, self.cutmix)
