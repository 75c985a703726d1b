"""Runs in a process of its own: builds the network of a file in NEST and runs samples through it.

    python -P nest_worker.py FOLDER

``nest_check.py`` starts it and says what FOLDER holds. It needs NumPy and NEST and nothing of
this package: NEST's kernel is global, prints to the terminal and may end its process.

One step is 1 ms of NEST's time, whatever the table's dt: only steps matter, and whole
milliseconds are never rounded. What a population is in NEST, its model says (``table/models``).
The bias is one generator per population that spikes at every step with the bias as its weights:
exact to the bit, and it starts and stops with the sample.

What happens in step s (from s to s + 1 ms) is stamped s + 1. A spike stamped s + 1 with a delay
of d steps is part of step s + d, for generators and neurons alike; d must be at least 1.
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEST_MISSING = 3  # exit status
NEVER = 1e300  # a finite threshold that nothing reaches

Arrays = dict[str, NDArray[Any]]


@dataclass
class _Population:
    """A population in NEST. Step t of a sample is step start + lag + t of NEST."""

    neurons: Any
    bias: Any
    spikes: Any
    potentials: Any  # of the output only
    state: Arrays
    threshold: NDArray[np.float64]
    lag: int
    first: int


class _Network:
    def __init__(self, nest: Any, about: dict[str, Any], arrays: Arrays) -> None:
        self.nest = nest
        nest.ResetKernel()
        nest.resolution = 1.0
        self.inputs = nest.Create("spike_generator", about["input_channels"])
        self.populations = {
            name: self._create(
                one,
                {key: arrays[f"{name}.{key}"] for key in ("bias", *one["parameters"])},
                {key: arrays[f"{name}.state.{key}"] for key in one["state"]},
                name == about["output"],
            )
            for name, one in about["populations"].items()
        }
        first = {name: one.first for name, one in self.populations.items()}
        first["input"] = self.inputs.tolist()[0]
        longest = 1
        for name, (source, target) in about["projections"].items():
            pre, post, delay, weight = (
                arrays[f"projections/{name}.{key}"] for key in ("pre", "post", "delay", "weight")
            )
            self._connect(pre + first[source], post + first[target], delay, weight)
            longest = max(longest, int(delay.max(initial=1)))
        self.lag = max(one.lag for one in self.populations.values())
        self.silence = longest + 1

    def _create(self, about: dict[str, Any], values: Arrays, state: Arrays, output: bool) -> Any:
        nest, bias = self.nest, values.pop("bias")
        neurons = nest.Create(about["model"], len(bias))
        neurons.set(**values, **state)
        ids = np.array(neurons.tolist())
        generator = nest.Create("spike_generator")
        source = np.full(len(bias), generator.tolist()[0])
        self._connect(source, ids, np.ones(len(bias)), bias)
        spikes = nest.Create("spike_recorder")
        nest.Connect(neurons, spikes)
        potentials = None
        if output:
            potentials = nest.Create("multimeter", {"record_from": ["V_m"], "interval": 1.0})
            nest.Connect(potentials, neurons)
        threshold, lag = values["V_th"], about["lag"]
        return _Population(
            neurons, generator, spikes, potentials, state, threshold, lag, int(ids[0])
        )

    def _connect(
        self, pre: NDArray[Any], post: NDArray[Any], delay: NDArray[Any], weight: NDArray[Any]
    ) -> None:
        if len(pre):
            synapses = {"weight": weight.astype(float), "delay": delay.astype(float)}
            self.nest.Connect(pre, post, "one_to_one", synapses)

    def run(self, counts: NDArray[np.int64], steps: int) -> Arrays:
        """Run one sample and come back to rest: counts ``[T, input_channels]``, then silence."""
        # One step ahead, so that a bias with a delay of 1 step is there from the first step on.
        start = round(self.nest.biological_time) + 1
        trains = []
        for channel in counts.T:
            (at,) = np.nonzero(channel)
            trains.append(
                {"spike_times": start + at + 1.0, "spike_multiplicities": channel[at].copy()}
            )
        self.inputs.set(trains)
        for one in self.populations.values():
            one.bias.spike_times = start + one.lag + np.arange(float(steps))
            for recorder in filter(None, (one.spikes, one.potentials)):
                recorder.n_events = 0
        self.nest.Simulate(float(1 + self.lag + steps))
        # From now on nobody spikes, so that recurrence ends, and what is on its way arrives.
        for one in self.populations.values():
            one.neurons.V_th = NEVER
        self.nest.Simulate(float(self.silence))
        found: Arrays = {}
        for name, one in self.populations.items():
            step, neuron, _ = self._events(one, one.spikes, start, steps)
            fired = found[f"spikes_{name}"] = np.zeros((steps, len(one.threshold)), bool)
            fired[step, neuron] = True
            if one.potentials is not None:
                step, neuron, v = self._events(one, one.potentials, start, steps, "V_m")
                potentials = found["potentials"] = np.zeros((steps, len(one.threshold)))
                potentials[step, neuron] = v
            one.neurons.set(V_th=one.threshold, **one.state)  # rest, to the bit
        return found

    def _events(
        self, one: _Population, recorder: Any, start: int, steps: int, value: str = "senders"
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
        """Step, neuron and a value of what was recorded during a sample."""
        events = recorder.events
        step = np.round(np.asarray(events["times"])).astype(np.int64) - 1 - start - one.lag
        # NEST gives an empty list where nothing happened, which NumPy takes for floats.
        neuron = np.asarray(events["senders"], np.int64) - one.first
        during = (step >= 0) & (step < steps)
        return step[during], neuron[during], np.asarray(events[value])[during]


def main(folder: Path) -> None:
    try:
        nest: Any = importlib.import_module("nest")  # an optional extra, without types
    except ImportError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(NEST_MISSING)
    nest.verbosity = nest.VerbosityLevel.ERROR
    about = json.loads((folder / "network.json").read_text(encoding="utf-8"))
    with np.load(folder / "network.npz") as file:
        network = _Network(nest, about, dict(file))
    with np.load(folder / "samples.npz") as file:
        for n in range(len(file.files)):
            counts = file[f"{n}"]
            found = network.run(counts, len(counts) + about["tail_steps"])
            # Renamed when complete: nest_check.py reads it as soon as it sees it.
            unfinished = folder / "unfinished.npz"
            np.savez(unfinished, **found)  # pyright: ignore[reportArgumentType]
            unfinished.replace(folder / f"found_{n}.npz")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
