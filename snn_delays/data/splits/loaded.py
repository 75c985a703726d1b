"""What every loader returns."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from snn_delays.arguments import real_number, shown
from snn_delays.data.splits.interface import Split
from snn_delays.errors import UsageError


@dataclass(frozen=True)
class SpikeData:
    """A data set, split, on a grid of time steps.

    Args:
        train, valid, test: the splits; all have the same channels.
        class_names: what the labels 0, 1, … are called.
        dt_ms: duration of a time step, in ms.
        split: where ``valid`` comes from: speakers held out of the training file ("speaker"), a
            share of every class of it ("stratified"), a file or list of its own ("official"), a
            hash of the file names ("hash"), or the test file itself ("paper").
        invalid_events: how many events were left out since their time is no time.
        skipped_recordings: how many recordings were left out since they are defective.
        speaker_sex: sex of each speaker as the files have it; of some or none.

    Raises:
        UsageError: splits of different numbers of channels, or a label without a name.
    """

    train: Split
    valid: Split
    test: Split
    class_names: tuple[str, ...]
    dt_ms: float
    split: str
    invalid_events: int
    skipped_recordings: int = 0
    speaker_sex: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = self.class_names
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            raise UsageError(f"SpikeData: class_names must be a tuple of str, got {shown(names)}.")
        dt_ms = real_number("SpikeData: dt_ms", self.dt_ms, above=0, unit="ms")
        object.__setattr__(self, "dt_ms", dt_ms)
        for name in ("train", "valid", "test"):
            split = getattr(self, name)
            if not isinstance(split, Split):
                raise UsageError(f"SpikeData: {name} must be a Split, got {shown(split)}.")
            if split.n_channels != self.n_channels:
                raise UsageError(
                    f"SpikeData: all splits must have the {self.n_channels} channels of train, "
                    f"got {split.n_channels} in {name}."
                )
            labels = split.labels.numpy()
            if labels.size and not (labels.min() >= 0 and labels.max() < self.n_classes):
                place = int(np.flatnonzero((labels < 0) | (labels >= self.n_classes))[0])
                raise UsageError(
                    f"SpikeData: labels of {name} must be 0 to {self.n_classes - 1} "
                    f"({self.n_classes} class_names), got {labels[place]} of recording {place}."
                )

    @property
    def n_channels(self) -> int:
        """Number of input channels."""
        return self.train.n_channels

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def clean_split(self) -> bool:
        """Whether the test recordings have no part in choosing the network."""
        return self.split != "paper"
