"""The table in NEST: the same spikes from a simulator that others wrote.

NEST (Gewaltig & Diesmann 2007, https://www.nest-simulator.org) shares nothing with this package
but the table's numbers. It cannot deliver a spike within the step that sent it, so a population
may lag there, and every delay is longer by what its target lags more than its source:

    delay in NEST = delay + lag[target] − lag[source] ≥ 1,    lag[input] = 0

The lags are taken off again, so that what comes back compares step by step with ``Simulator.run``.
"""

from __future__ import annotations

import importlib.util
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from subprocess import PIPE, Popen
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.models.model import NestNeurons
from snn_delays.table.population import Population
from snn_delays.table.require import naming
from snn_delays.table.simulator import nest_worker
from snn_delays.table.simulator.events import Simulator
from snn_delays.table.simulator.simulation import Simulation, Tally, predict
from snn_delays.table.table import INPUT, DelayTable

TIMEOUT_S = 120.0
_MISSING = (
    "NEST cannot be imported by {python} ({why}). Install it with: pip install "
    "'snn-delays[verify]' (Linux and macOS)."
)
_MOST_SPIKES = 2**31 - 1  # of one channel in one step: NEST counts them in an int
_LONGEST = 2**21 - 1  # steps: what is longer NEST wraps around without a word


@dataclass
class NestAgreement(Tally):
    """What the table's simulator and NEST have in common on a set of samples.

    Both compute in float64, but add a step's spikes in another order, and NEST keeps beta as a
    time constant: where v meets the threshold to the last digit, one may fire and the other not.
    Every spike that this changes later on is counted too.

    Args:
        first_differences: differing spikes that no other can have caused: in the first step in
            which a sample differs, and there in the first population that does.
        latency_steps: by how many steps NEST's output lagged; taken off before comparing.
        seconds: wall time, NEST and simulator side by side.
    """

    first_differences: int = 0
    latency_steps: int = 0
    seconds: float = 0.0


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
    found = NestAgreement(latency_steps=latencies(table)[table.output.name])
    for in_nest, counts in zip(_stream(table, samples, timeout_s), samples, strict=True):
        ours = simulator.run(counts)
        answers = predict(ours, table.readout), predict(in_nest, table.readout)
        differing = found.add(ours, in_nest, answers, 1e-6)
        if any(map(np.any, differing)):
            found.first_differences += _first(differing)
        if progress is not None:
            progress(found.samples, len(samples))
    found.seconds = time.perf_counter() - began
    return found


def _first(differing: list[NDArray[np.bool_]]) -> int:
    """Differing neurons of the first population, in the first step, that has any."""
    step = min(int(one.any(axis=1).argmax()) for one in differing if one.any())
    return next(n for one in differing if (n := int(np.count_nonzero(one[step]))))


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
        UsageError: neurons that NEST has no equal to, a loop with too short delays, samples of
            another shape or not of whole numbers, NEST not installed, ended early or too slow.
    """
    return list(_stream(table, samples, timeout_s))


def require_nest(table: DelayTable, samples: Sequence[NDArray[np.generic]]) -> None:
    """Refuse at once what ``compare_with_nest`` would refuse in its course.

    Raises:
        UsageError: as ``run_in_nest``.
    """
    if importlib.util.find_spec("nest") is None:
        raise UsageError(_MISSING.format(python=sys.executable, why="no such module"))
    _task(table, samples)


def latencies(table: DelayTable) -> dict[str, int]:
    """By how many steps each population lags in a simulator whose shortest delay is one step.

    Raises:
        UsageError: a loop whose delays add up to less than a step for each projection in it.
    """
    least = {one.name: 1 - int(one.delay.min()) for one in table.projections if len(one)}
    lag, loop = table.lags(least)
    if loop:
        raise UsageError(
            f"NEST: in the loop {' ← '.join(one.name for one in loop)} the shortest delays add up "
            f"to less than {len(loop)} steps, and NEST's shortest delay is 1 step each. Check this "
            "network in the simulator alone, or train one with longer delays there."
        )
    del lag[INPUT]
    return lag


def _stream(
    table: DelayTable, samples: Sequence[NDArray[np.generic]], timeout_s: float
) -> Iterator[Simulation]:
    task = pickle.dumps(_task(table, samples))
    if not len(samples):
        raise UsageError("NEST: there is no sample to run; give at least 1.")
    # -P: this file's folder stays off the child's search path.
    command = [sys.executable, "-P", nest_worker.__file__]
    with (
        TemporaryFile() as log,
        Popen(command, stdin=PIPE, stdout=PIPE, stderr=log) as worker,
    ):
        assert worker.stdin is not None
        assert worker.stdout is not None
        slow = threading.Event()

        def stop() -> None:
            slow.set()
            worker.kill()

        try:
            for n in range(len(samples)):
                timer = threading.Timer(timeout_s, stop)
                timer.start()
                try:
                    if n == 0:
                        worker.stdin.write(task)
                        worker.stdin.close()
                    potentials, spikes = pickle.load(worker.stdout)
                except (OSError, EOFError, pickle.UnpicklingError) as error:
                    raise _failed(worker.wait(), log, timeout_s if slow.is_set() else 0) from error
                finally:
                    timer.cancel()
                yield Simulation(potentials, spikes)
        finally:
            worker.kill()


def _failed(status: int, log: IO[bytes], timeout_s: float) -> UsageError:
    if timeout_s:
        return UsageError(
            f"NEST took more than {timeout_s:g} s for one sample and was stopped. "
            "Give it more time (timeout_s), or a smaller network."
        )
    log.seek(0)
    lines = [" ".join(line.split()) for line in log.read().decode(errors="replace").split("\n")]
    last = next(filter(None, reversed(lines)), "no message")
    if status == nest_worker.NEST_MISSING:
        return UsageError(_MISSING.format(python=sys.executable, why=last))
    return UsageError(
        f"NEST ended early (exit status {status}): {last}. This table cannot be checked in NEST; "
        "please report it with its delays.h5."
    )


def _task(table: DelayTable, samples: Sequence[NDArray[np.generic]]) -> dict[str, Any]:
    """What ``nest_worker`` builds and runs, arrays in float64."""
    lag = {INPUT: 0, **latencies(table)}
    projections = []
    for one in table.projections:
        delay = one.delay.astype(np.int64) + lag[one.target] - lag[one.source]
        if delay.max(initial=1) > _LONGEST:
            raise UsageError(
                f"NEST: projection {one.name}: a delay of {delay.max()} steps is longer than "
                f"NEST's longest, {_LONGEST}."
            )
        columns = (one.pre, one.post, delay, one.current_weight)
        projections.append((one.source, one.target, *columns))
    return {
        "tail_steps": int(table.tail_steps),
        "input_channels": int(table.input_channels),
        "populations": {
            one.name: {
                **_in_nest(table, one),
                "lag": lag[one.name],
                "spiking": one.spiking,
                "output": one is table.output,
            }
            for one in table.populations
        },
        "projections": projections,
        "samples": [_counts(table, n, counts) for n, counts in enumerate(samples)],
    }


def _in_nest(table: DelayTable, population: Population) -> dict[str, Any]:
    """A population's bias, and what it is in NEST."""
    model = population.model
    try:
        find = model.require("NEST", "nest")
    except UsageError as error:
        other = f" or a table with {model.family} neurons in NEST" if population.integer else ""
        raise UsageError(
            f"population {population.name}: {error} Check this table in the simulator alone{other}."
        ) from error
    bias, values = population.float_values(table.unit(population))
    with naming(f"population {population.name}"):
        neurons: NestNeurons = find(values, population.scalars)
    parameters, state = (
        {name: np.broadcast_to(value, bias.shape) for name, value in some.items()}
        for some in (neurons.parameters, neurons.state)
    )
    return {"model": neurons.model, "bias": bias, "parameters": parameters, "state": state}


def _counts(table: DelayTable, n: int, counts: NDArray[np.generic]) -> NDArray[np.int64]:
    """One sample's input as whole numbers."""
    counts = np.asarray(counts)
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
