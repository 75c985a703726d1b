"""What every loader returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from snn_delays.data.splits.interface import Split


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
