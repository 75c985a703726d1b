"""A table on sample after sample: what it answers, what it costs, and files of what it did."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snn_delays.files.atomic import write_atomically
from snn_delays.table.simulator.activity import synaptic_operations
from snn_delays.table.simulator.events import Simulator
from snn_delays.table.simulator.simulation import Simulation, predict
from snn_delays.table.table import INPUT, DelayTable


@dataclass(frozen=True, eq=False)
class Sample:
    """One labelled input ``[T, input_channels]``; ``index`` says which one of its data set."""

    index: int
    label: int
    counts: NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class Trial:
    """What became of a sample; ``seconds`` is the time that the simulation took."""

    sample: Sample
    simulation: Simulation
    prediction: int
    operations: dict[str, int]
    seconds: float

    @property
    def steps(self) -> int:
        """Steps simulated, the tail among them."""
        return len(self.simulation.potentials)


def trials(table: DelayTable, samples: Iterable[Sample]) -> Iterator[Trial]:
    """Run every sample from rest. Compiling, which the very first run may have to, is not timed.

    Raises:
        UsageError: as ``Simulator``.
    """
    simulator = Simulator(table)
    simulator.run(np.zeros((0, table.input_channels)))
    for sample in samples:
        began = time.perf_counter()
        simulation = simulator.run(sample.counts)
        seconds = time.perf_counter() - began
        yield Trial(
            sample=sample,
            simulation=simulation,
            prediction=predict(simulation, table.readout),
            operations=synaptic_operations(table, sample.counts, simulation),
            seconds=seconds,
        )


class Recording:
    """Every spike of a table's trials, to lay beside what a chip or another simulator did.

    ``write`` makes an npz file of plain arrays. n counts the trials, 0 … N − 1, in the order in
    which they were added; steps are the table's, of dt_ms.

    Shape:
        sample, label, prediction, steps: int64 ``[N]``; sample is the index in the data set,
            steps the number of steps simulated, the tail of silence among them.
        input_events: int32 ``[E, 3]``, rows of n, step, channel; sorted.
        input_counts: float64 ``[E]``, spikes (or current) of each.
        <population>_events: int32 ``[K, 3]``, the spikes of each population that spikes, as rows
            of n, step, neuron; sorted.
        potentials: float64 ``[Σ steps, n_classes]``, the output's v, one trial after another.
        dt_ms: float64; class_names: strings ``[n_classes]``; readout: a string.
    """

    def __init__(self, table: DelayTable) -> None:
        self.table = table
        self._about: list[tuple[int, int, int, int]] = []
        spiking = (one.name for one in table.populations if one.spiking)
        self._events: dict[str, list[NDArray[np.int32]]] = {name: [] for name in (INPUT, *spiking)}
        self._counts: list[NDArray[np.float64]] = []
        self._potentials: list[NDArray[np.floating]] = []

    def add(self, trial: Trial) -> None:
        counts = trial.sample.counts
        for name, source in {INPUT: counts, **trial.simulation.spikes}.items():
            steps, neurons = np.nonzero(source)
            of = np.full(len(steps), len(self._about))
            self._events[name].append(np.stack([of, steps, neurons], axis=1).astype(np.int32))
        self._counts.append(counts[np.nonzero(counts)].astype(np.float64))
        self._potentials.append(trial.simulation.potentials)
        self._about.append((trial.sample.index, trial.sample.label, trial.prediction, trial.steps))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The file's arrays by name; there must be at least one trial."""
        about = np.array(self._about, np.int64).reshape(-1, 4)
        events = {f"{name}_events": np.concatenate(rows) for name, rows in self._events.items()}
        return {
            **dict(zip(("sample", "label", "prediction", "steps"), about.T, strict=True)),
            **events,
            "input_counts": np.concatenate(self._counts),
            "potentials": np.concatenate(self._potentials),
            "dt_ms": np.array(self.table.dt_ms),
            "class_names": np.array(self.table.class_names),
            "readout": np.array(self.table.readout),
        }

    def write(self, path: Path) -> None:
        """Write the arrays, all or nothing, in place of what is there.

        Raises:
            UsageError: the path cannot be written to.
        """
        _write_npz(path, self.arrays())


def write_sample(
    path: Path | str,
    counts: NDArray[np.generic],
    label: int,
    simulation: Simulation,
    prediction: int,
) -> None:
    """Write ``sample.npz``, the reference that other simulators are held to, all or nothing; the
    same content always gives the same bytes.

    ``numpy.load`` reads it: ``counts [T, input_channels]`` as given, ``label``, ``prediction``
    (int64), ``potentials [T + tail, n_classes]`` (float64) and, of each population that spikes,
    ``spikes_<population>`` ``[T + tail, size]`` (bool).

    Raises:
        UsageError: the path cannot be written to.
    """
    arrays = {
        "counts": counts,
        "label": np.array(label, np.int64),
        "prediction": np.array(prediction, np.int64),
        "potentials": simulation.potentials,
        **{f"spikes_{name}": fired for name, fired in simulation.spikes.items()},
    }
    _write_npz(Path(path), arrays)


def _write_npz(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays.items():
            # numpy.savez would write the time of day into every member.
            member = zipfile.ZipInfo(f"{name}.npy")
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=values.nbytes >= 1 << 31) as file:
                np.lib.format.write_array(file, np.asarray(values), allow_pickle=False)
    write_atomically(path, buffer.getvalue())
