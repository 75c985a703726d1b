"""Runs in a process of its own: builds a network in NEST and runs samples through it.

``nest_check.py`` starts it, pickles to its stdin what to build and run, and reads from its stdout
a pickle per sample, potentials and spikes. It needs NumPy and NEST and nothing of this package:
NEST's kernel is global, prints to the terminal and may end its process.

One step is 1 ms of NEST's time, whatever the table's dt: only steps matter, and whole
milliseconds are never rounded. What a population is in NEST, its model says (``table/models``).
The bias is one generator per population that spikes at every step with the bias as its weights:
exact to the bit, and it starts and stops with the sample.

What happens in step s (from s to s + 1 ms) is stamped s + 1. A spike stamped s + 1 with a delay
of d steps is part of step s + d, for generators and neurons alike; d must be at least 1.
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEST_MISSING = 3  # exit status
NEVER = 1e300  # a finite threshold that nothing reaches

Arrays = dict[str, NDArray[Any]]


class _Population:
    """A population in NEST. Step t of a sample is step start + lag + t of NEST."""

    def __init__(self, nest: Any, about: dict[str, Any]) -> None:
        bias, self.rest, self.lag = about["bias"], about["state"], about["lag"]
        self.spiking = about["spiking"]
        self.size, self.threshold = len(bias), about["parameters"]["V_th"]
        self.neurons = nest.Create(about["model"], self.size)
        self.neurons.set(**about["parameters"], **self.rest)
        ids = np.array(self.neurons.tolist())
        self.first = int(ids[0])
        self.bias = nest.Create("spike_generator")
        source, delay = np.full(self.size, self.bias.tolist()[0]), np.ones(self.size)
        _connect(nest, source, ids, delay, bias)
        self.recorders = {"senders": nest.Create("spike_recorder")}
        nest.Connect(self.neurons, self.recorders["senders"])
        if about["output"]:
            meter = nest.Create("multimeter", {"record_from": ["V_m"], "interval": 1.0})
            nest.Connect(meter, self.neurons)
            self.recorders["V_m"] = meter

    def recorded(self, value: str, start: int, steps: int) -> NDArray[np.float64]:
        """V_m in every step ``[steps, size]``, or of the senders of spikes their numbers."""
        events = self.recorders[value].events
        step = np.round(np.asarray(events["times"])).astype(np.int64) - 1 - start - self.lag
        # NEST gives an empty list where nothing happened, which NumPy takes for floats.
        neuron = np.asarray(events["senders"], np.int64) - self.first
        during = (step >= 0) & (step < steps)
        found = np.zeros((steps, self.size))
        found[step[during], neuron[during]] = np.asarray(events[value])[during]
        return found


def _connect(nest: Any, pre: Any, post: Any, delay: Any, weight: Any) -> None:
    if len(pre):
        synapses = {"weight": weight.astype(float), "delay": delay.astype(float)}
        nest.Connect(pre, post, "one_to_one", synapses)


def _run(
    nest: Any,
    inputs: Any,
    populations: dict[str, _Population],
    counts: NDArray[np.int64],
    steps: int,
    silence: int,
) -> tuple[NDArray[np.float64], Arrays]:
    """Run one sample and come back to rest: counts ``[T, input_channels]``, then silence."""
    # One step ahead, so that a bias with a delay of 1 step is there from the first step on.
    start = round(nest.biological_time) + 1
    trains = []
    for channel in counts.T:
        (at,) = np.nonzero(channel)
        trains.append({"spike_times": start + at + 1.0, "spike_multiplicities": channel[at].copy()})
    inputs.set(trains)
    for one in populations.values():
        one.bias.spike_times = start + one.lag + np.arange(float(steps))
        for recorder in one.recorders.values():
            recorder.n_events = 0
    nest.Simulate(float(1 + max(one.lag for one in populations.values()) + steps))
    # From now on nobody spikes, so that recurrence ends, and what is on its way arrives.
    for one in populations.values():
        one.neurons.V_th = NEVER
    nest.Simulate(float(silence))
    for one in populations.values():
        one.neurons.set(V_th=one.threshold, **one.rest)  # rest, to the bit
    *_, output = populations.values()
    spikes = {
        name: one.recorded("senders", start, steps) > 0
        for name, one in populations.items()
        if one.spiking
    }
    return output.recorded("V_m", start, steps), spikes


def main() -> None:
    # What NEST prints goes where errors go.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        nest: Any = importlib.import_module("nest")  # an optional extra, without types
    except ImportError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(NEST_MISSING)
    nest.verbosity = nest.VerbosityLevel.ERROR
    task = pickle.load(sys.stdin.buffer)
    nest.ResetKernel()
    nest.resolution = 1.0
    inputs = nest.Create("spike_generator", task["input_channels"])
    populations = {name: _Population(nest, one) for name, one in task["populations"].items()}
    first = {"input": inputs.tolist()[0], **{name: one.first for name, one in populations.items()}}
    longest = 1
    for source, target, pre, post, delay, weight in task["projections"]:
        _connect(nest, pre + first[source], post + first[target], delay, weight)
        longest = max(longest, int(delay.max(initial=1)))
    for counts in task["samples"]:
        steps = len(counts) + task["tail_steps"]
        pickle.dump(_run(nest, inputs, populations, counts, steps, longest + 1), answers)
        answers.flush()


if __name__ == "__main__":
    main()
