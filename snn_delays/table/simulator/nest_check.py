"""The table in NEST: the same spikes from a simulator that others wrote.

NEST (Gewaltig & Diesmann 2007, https://www.nest-simulator.org) shares nothing with this package
but the table's numbers. It cannot deliver a spike within the step that sent it: where a layer
has a delay of 0, all its delays are one step longer there, and the layer and those that follow
lag one step more. That latency is taken off again, so that what comes back compares step by
step with ``Simulator.run``.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.neuron_table import NeuronTable
from snn_delays.table.simulator import Simulation, Simulator, nest_worker, predict
from snn_delays.table.simulator.simulation import far_apart
from snn_delays.table.table import DelayTable, LayerTable

TIMEOUT_S = 120.0
_MISSING = (
    "NEST cannot be imported by {python} ({why}). Install it with: pip install "
    "'snn-delays[verify]' (Linux and macOS)."
)
_MOST_SPIKES = 2**31 - 1  # of one channel in one step: NEST counts them in an int


@dataclass(frozen=True)
class NestAgreement:
    """What NEST and the table's simulator have in common on a set of samples.

    Both compute in float64, but add a step's spikes in another order, and NEST keeps beta as a
    time constant: where v meets the threshold to the last digit, one may fire and the other not.
    Every spike that this changes later on is counted too.

    Args:
        spikes_total: hidden spikes of the simulator.
        spikes_differing: (step, neuron) pairs where only one of the two fired.
        first_differences: those of them that no other can have caused: in the first step in
            which a sample differs, and there in the first layer that does.
        samples_with_difference: samples with at least one such pair.
        potentials_max_difference: the largest difference of the readout's v.
        readouts_differing: samples whose hidden spikes all agree, and whose readout is further
            apart than rounding explains: by a millionth of its largest v.
        latency_steps: by how many steps NEST's readout lagged; taken off before comparing.
        seconds: wall time, NEST and simulator side by side.
    """

    samples: int
    spikes_total: int
    spikes_differing: int
    first_differences: int
    samples_with_difference: int
    predictions_differing: int
    potentials_max_difference: float
    readouts_differing: int
    latency_steps: int
    seconds: float


def compare_with_nest(
    table: DelayTable,
    samples: Sequence[NDArray[np.generic]],
    *,
    timeout_s: float = TIMEOUT_S,
    progress: Callable[[int, int], None] | None = None,
) -> NestAgreement:
    """Run samples in NEST and in ``Simulator``, and count what differs.

    Args:
        timeout_s: as for ``run_in_nest``.
        progress: called as ``progress(samples done, samples in all)`` after every sample.

    Shape:
        samples: each ``[T, input_channels]``, whole numbers of input spikes.

    Raises:
        UsageError: as for ``run_in_nest``.
    """
    began = time.perf_counter()
    simulator = Simulator(table)
    spikes_total = spikes_differing = first_differences = 0
    samples_with_difference = predictions_differing = readouts_differing = 0
    potentials_max_difference = 0.0
    for done, in_nest in enumerate(_stream(table, samples, timeout_s), start=1):
        ours = simulator.run(samples[done - 1])
        differing = [a != b for a, b in zip(ours.spikes, in_nest.spikes, strict=True)]
        count = sum(int(np.count_nonzero(layer)) for layer in differing)
        spikes_total += sum(int(np.count_nonzero(spikes)) for spikes in ours.spikes)
        spikes_differing += count
        samples_with_difference += count > 0
        first_differences += _first(differing) if count else 0
        if not count:
            readouts_differing += far_apart(ours.potentials, in_nest.potentials, 1e-6)
        predictions_differing += predict(ours, table.readout) != predict(in_nest, table.readout)
        gap = float(np.abs(ours.potentials - in_nest.potentials).max(initial=0.0))
        potentials_max_difference = max(potentials_max_difference, gap)
        if progress is not None:
            progress(done, len(samples))
    return NestAgreement(
        samples=len(samples),
        spikes_total=spikes_total,
        spikes_differing=spikes_differing,
        first_differences=first_differences,
        samples_with_difference=samples_with_difference,
        predictions_differing=predictions_differing,
        potentials_max_difference=potentials_max_difference,
        readouts_differing=readouts_differing,
        latency_steps=latencies(table)[-1],
        seconds=time.perf_counter() - began,
    )


def _first(differing: list[NDArray[np.bool_]]) -> int:
    """Differing neurons of the first layer, in the first step, that has any."""
    step = min(int(layer.any(axis=1).argmax()) for layer in differing if layer.any())
    return next(n for layer in differing if (n := int(np.count_nonzero(layer[step]))))


def run_in_nest(
    table: DelayTable,
    samples: Sequence[NDArray[np.generic]],
    *,
    timeout_s: float = TIMEOUT_S,
) -> list[Simulation]:
    """Run samples in NEST, each from rest; the same shapes and steps as ``Simulator.run``.

    NEST runs in a process of its own; the network is built once. Every neuron is the table's
    own: beta, threshold, reset and bias may differ from neuron to neuron, and beta may be 0 or 1.

    Args:
        timeout_s: how long NEST may take for one sample (building counts to the first one).

    Shape:
        samples: each ``[T, input_channels]``, whole numbers of input spikes.

    Raises:
        UsageError: neurons that NEST has no equal to, samples of another shape or not of whole
            numbers, NEST not installed, ended early or too slow.
    """
    return list(_stream(table, samples, timeout_s))


def require_nest(table: DelayTable, samples: Sequence[NDArray[np.generic]]) -> None:
    """Refuse at once what ``compare_with_nest`` would refuse in its course.

    Raises:
        UsageError: as ``run_in_nest``.
    """
    if importlib.util.find_spec("nest") is None:
        raise UsageError(_MISSING.format(python=sys.executable, why="no such module"))
    _network(table)
    for n, counts in enumerate(samples):
        _counts(table, n, counts)


def latencies(table: DelayTable) -> list[int]:
    """By how many steps each layer lags in a simulator whose shortest delay is one step."""
    lags, lag = [], 0
    for layer in table.layers:
        lag += _shift(layer)
        lags.append(lag)
    return lags


def _shift(layer: LayerTable) -> int:
    return int(layer.synapses.delay.min(initial=1) == 0)


def _stream(
    table: DelayTable, samples: Sequence[NDArray[np.generic]], timeout_s: float
) -> Iterator[Simulation]:
    network = _network(table)
    inputs = {f"{n}": _counts(table, n, counts) for n, counts in enumerate(samples)}
    if not inputs:
        raise UsageError("NEST: there is no sample to run; give at least 1.")
    hidden = range(len(table.layers) - 1)
    with TemporaryDirectory(prefix="snn-delays-nest-") as name:
        folder = Path(name)
        np.savez(folder / "network.npz", **network)
        np.savez(folder / "samples.npz", **inputs)  # pyright: ignore[reportArgumentType]
        with (folder / "log.txt").open("wb") as log:
            # -P: this file's folder, with its csv.py, stays off the child's search path.
            worker = subprocess.Popen(
                [sys.executable, "-P", str(Path(nest_worker.__file__)), str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            for n in range(len(inputs)):
                path = folder / f"found_{n}.npz"
                _wait_for(path, worker, timeout_s)
                with np.load(path) as found:
                    spikes = tuple(found[f"spikes_{index}"] for index in hidden)
                    simulation = Simulation(found["potentials"], spikes)
                path.unlink()
                yield simulation
        finally:
            worker.kill()
            worker.wait()


def _wait_for(path: Path, worker: subprocess.Popen[bytes], timeout_s: float) -> None:
    give_up = time.monotonic() + timeout_s
    while not path.exists():
        # Asked before looking again: the last file may have come just before the end.
        status = worker.poll()
        if path.exists():
            return
        if status == nest_worker.NEST_MISSING:
            raise UsageError(_MISSING.format(python=sys.executable, why=_last_line(path.parent)))
        if status is not None:
            raise UsageError(
                f"NEST ended early (exit status {status}): {_last_line(path.parent)}. "
                "This table cannot be checked in NEST; please report it with its delays.h5."
            )
        if time.monotonic() > give_up:
            raise UsageError(
                f"NEST took more than {timeout_s:g} s for one sample and was stopped. "
                "Give it more time (timeout_s), or a smaller network."
            )
        time.sleep(0.005)


def _last_line(folder: Path) -> str:
    lines = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").split("\n")
    return next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "no message")


def _network(table: DelayTable) -> dict[str, Any]:
    """What ``nest_worker`` builds: the table's arrays in float64, with NEST's own delays."""
    arrays: dict[str, Any] = {
        "tail": table.tail_steps,
        "input_channels": table.input_channels,
        "n_layers": len(table.layers),
    }
    for index, (layer, lag) in enumerate(zip(table.layers, latencies(table), strict=True)):
        neuron = _float_neurons(index, layer)
        found = {
            "pre": layer.synapses.pre,
            "post": layer.synapses.post,
            "delay": layer.synapses.delay + _shift(layer),
            "weight": layer.current_weight.astype(np.float64),
            "bias": layer.bias.astype(np.float64),
            "beta": neuron.beta.astype(np.float64),
            "v_threshold": neuron.v_threshold.astype(np.float64),
            "v_reset": neuron.v_reset.astype(np.float64),
            "lag": lag,
        }
        arrays |= {f"{name}_{index}": values for name, values in found.items()}
    return arrays


def _float_neurons(index: int, layer: LayerTable) -> NeuronTable:
    neuron = layer.neuron
    if not isinstance(neuron, NeuronTable):
        raise UsageError(
            f"layer {index}: NEST computes in floating point and has no {neuron.model} neurons. "
            "Check a table with float neurons (export without fixed_point=true, or for another "
            "chip), or check this one in the simulator (verify=simulator)."
        )
    if neuron.reset == "soft":
        raise UsageError(
            f"layer {index}: NEST's iaf_psc_delta knows the hard reset only, got reset 'soft'. "
            "Check such a network in the simulator alone, or train one with a hard reset."
        )
    below = neuron.spiking & (neuron.v_threshold <= neuron.v_reset)
    if np.any(below):
        raise UsageError(
            f"layer {index}: NEST needs every v_threshold above v_reset, got {np.sum(below)} of "
            f"{below.size} neurons at or below (first: neuron {np.argmax(below)}). "
            "Such a neuron fires at rest; give it a higher threshold."
        )
    return neuron


def _counts(table: DelayTable, n: int, counts: NDArray[np.generic]) -> NDArray[np.int64]:
    """One sample's input as whole numbers."""
    if counts.ndim != 2 or counts.shape[1] != table.input_channels:
        raise UsageError(
            f"NEST: sample {n} must be [T, {table.input_channels}], got shape {counts.shape}."
        )
    values = counts.astype(np.float64)
    if not np.all((values >= 0) & (values <= _MOST_SPIKES) & (values == np.floor(values))):
        raise UsageError(
            f"NEST: sample {n} must hold whole numbers of spikes from 0 to {_MOST_SPIKES}, got "
            f"{values.min()} … {values.max()}. Currents and log-mel features are no spikes: "
            "check such a table in the simulator alone."
        )
    return values.astype(np.int64)
