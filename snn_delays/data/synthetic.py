"""A task that only delays can solve: classes that differ in relative timing and nothing else.

Every class is the same set of time offsets, dealt to the channels in another order:

    time[c] = (onset + offset[class, c] + ½ + jitter · ξ) · dt        ξ ~ N(0, 1)

so every channel fires once per recording whatever the class, no two fire in one step, and the
onset is random. What is left to tell classes apart is how long after one channel another fires.
A neuron with one synapse per channel, of delay (pattern_steps − offset[class, c]), gets all spikes
of its class in one step; without delays or a memory longer than a step it gets them one by one.
Events that are missing (deletion) or too many (spurious) tell nothing of the class either.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from snn_delays.arguments import real, settle, whole, whole_number
from snn_delays.data.cache import Cache
from snn_delays.data.events.binned import data_of, read_kept
from snn_delays.data.events.binning import Grid
from snn_delays.data.events.spike_file import SpikeFile
from snn_delays.data.splits.interface import SpikeData
from snn_delays.errors import UsageError
from snn_delays.files.shd_format import write_events

# Part of the files' names: raise it when the same settings come to mean other recordings.
_VERSION = 1
_ATTEMPTS_PER_CLASS = 2_000

_log = logging.getLogger("snn_delays")


@dataclass(frozen=True)
class SyntheticTask:
    """The settings of the task; equal settings make equal files.

    Args:
        n_classes: number of classes.
        n_channels: number of input channels, each firing once in a pattern.
        pattern_steps: steps from a pattern's first spike to its last: the delays it takes.
        dt_ms: duration of a step, in ms.
        jitter: standard deviation of a spike's time, in steps.
        spurious: mean number of random spikes per recording, anywhere in it.
        deletion: probability that a spike of the pattern is missing.
        max_onset: a pattern begins at a random step from 0 to this one.
        seed: of classes and recordings.
    """

    n_classes: int = 8
    n_channels: int = 12
    pattern_steps: int = 24
    dt_ms: float = 10.0
    jitter: float = 0.3
    spurious: float = 1.0
    deletion: float = 0.05
    max_onset: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        settle(
            self,
            "synthetic: ",
            n_classes=whole(2),
            n_channels=whole(2),
            pattern_steps=whole(1),
            max_onset=whole(0),
            seed=whole(0),
            jitter=real(0),
            spurious=real(0),
            deletion=real(0, below=1),
            dt_ms=real(above=0, unit="ms"),
        )
        if self.pattern_steps < self.n_channels - 1:
            raise UsageError(
                f"synthetic: pattern_steps must be >= n_channels - 1 = {self.n_channels - 1}, so "
                f"that no two channels fire together, got {self.pattern_steps}."
            )
        # Spikes are meant for the middle of a step; rounding may move them by an eighth of one.
        end_s = self.duration_steps * self.dt_ms / 1000
        rounding_ms = 1000 * float(np.spacing(np.float16(end_s))) / 2
        if not rounding_ms <= self.dt_ms / 8:
            raise UsageError(
                f"synthetic: {self.duration_steps} steps are too many for times stored as float16, "
                f"which rounds by up to {rounding_ms:g} ms of dt_ms = {self.dt_ms:g}. "
                "Choose a smaller pattern_steps or max_onset."
            )

    @property
    def duration_steps(self) -> int:
        """Steps in which the latest pattern fits."""
        return self.max_onset + self.pattern_steps + 1

    def patterns(self) -> Int64[np.ndarray, "n_classes n_channels"]:
        """Offset in steps of every channel in every class.

        No two classes agree on the order of many channels: from any shift of one to the other, at
        most a third of the channels fire together (but one is allowed).
        """
        rng = np.random.default_rng([self.seed, 0])
        alike = max(1, self.n_channels // 3)
        ranks: list[Int64[np.ndarray, " n_channels"]] = []
        for _ in range(_ATTEMPTS_PER_CLASS * self.n_classes):
            candidate = rng.permutation(self.n_channels)
            # Counted over all shifts, since the random onset makes a shifted class the same class.
            shifts = (candidate - other + self.n_channels for other in ranks)
            if all(np.bincount(shift).max() <= alike for shift in shifts):
                ranks.append(candidate)
            if len(ranks) == self.n_classes:
                offsets = np.rint(np.linspace(0, self.pattern_steps, self.n_channels))
                return offsets.astype(np.int64)[np.stack(ranks)]
        raise UsageError(
            f"synthetic: found {len(ranks)} clearly different classes of {self.n_channels} "
            f"channels, expected n_classes = {self.n_classes}. Choose more n_channels."
        )


def generate_synthetic(
    path: Path | str, task: SyntheticTask, *, n_samples: int, part: int = 0
) -> None:
    """Write recordings of the task in SHD's file format, all of them or nothing.

    Classes are as equally frequent as can be; other parts hold other recordings of them.
    """
    n_samples = whole_number("synthetic: n_samples", n_samples, 1)
    part = whole_number("synthetic: part", part, 0)
    rng = np.random.default_rng([task.seed, 1, part])
    labels = rng.permutation(np.arange(n_samples) % task.n_classes)
    onsets = rng.integers(task.max_onset, size=(n_samples, 1), endpoint=True)
    steps = onsets + task.patterns()[labels] + 0.5
    steps = steps + task.jitter * rng.standard_normal(steps.shape)
    kept = rng.random(steps.shape) >= task.deletion
    recordings, channels = np.nonzero(kept)

    counts = rng.poisson(task.spurious, n_samples)
    recordings = np.concatenate([recordings, np.repeat(np.arange(n_samples), counts)])
    steps = np.concatenate([steps[kept], rng.uniform(0, task.duration_steps, counts.sum())])
    channels = np.concatenate([channels, rng.integers(task.n_channels, size=counts.sum())])

    order = np.lexsort((steps, recordings))
    write_events(
        path,
        # There is no time before 0: what jitter moved there fires at once.
        times=np.maximum(steps[order], 0) * task.dt_ms / 1000,
        units=channels[order],
        offsets=np.searchsorted(recordings[order], np.arange(n_samples + 1)),
        labels=labels,
        speakers=np.zeros(n_samples, dtype=np.int64),
        class_names=[f"pattern {label}" for label in range(task.n_classes)],
        n_units=task.n_channels,
    )


def load_synthetic(
    root: Path | str,
    *,
    n_train: int = 1000,
    n_valid: int = 200,
    n_test: int = 500,
    **settings: Any,
) -> SpikeData:
    """Load the task that only delays can solve.

    Its three files ``synthetic_<settings>_{train,valid,test}.h5`` are made in ``root`` on first
    use, and again should they be damaged. Any number of processes may do so at once.

    Args:
        n_train, n_valid, n_test: number of recordings.
        settings: of :class:`SyntheticTask`, such as ``seed``.

    Raises:
        UsageError: a setting out of range, or a folder that cannot be written to.
    """
    task = SyntheticTask(**settings)
    sizes = {
        name: whole_number(f"synthetic: n_{name}", size, 1)
        for name, size in (("train", n_train), ("valid", n_valid), ("test", n_test))
    }
    folder = Path(root).expanduser()
    described = json.dumps([_VERSION, sizes, asdict(task)], sort_keys=True)
    stem = f"synthetic_{hashlib.sha256(described.encode()).hexdigest()[:12]}"
    grid, files = Grid(task.dt_ms, pool=1), []
    for part, (name, size) in enumerate(sizes.items()):
        path = folder / f"{stem}_{name}.h5"
        source = SpikeFile(path, "synthetic", f"Delete {path} to have it made again.")
        read = partial(
            read_kept, Cache((), "synthetic"), source, n_units=task.n_channels, grid=grid, name=name
        )
        try:
            if path.exists():
                files.append(read())
                continue
        except UsageError as damage:
            _log.warning("%s Making it again.", damage)
        generate_synthetic(path, task, n_samples=size, part=part)
        files.append(read())
    splits = [file.split for file in files]
    return data_of(files, splits, split="official", dataset_name="synthetic", dt_ms=task.dt_ms)
