"""Runs in a process of its own: builds the layers of a file in NEST and runs samples through them.

    python -P nest_worker.py FOLDER

``nest_check.py`` starts it and says what FOLDER holds. It needs NumPy and NEST and nothing of
this package: NEST's kernel is global, prints to the terminal and may end its process.

One step is 1 ms of NEST's time, whatever the table's dt: only steps matter, and whole
milliseconds are never rounded. A neuron ``iaf_psc_delta`` (Rotter & Diesmann 1999, exact
integration; https://nest-simulator.readthedocs.io/en/stable/models/iaf_psc_delta.html) does

    v ← E_L + exp(−1 / tau_m) · (v − E_L) + spikes' weights,     spike where v ≥ V_th, v ← V_reset

which is the table's equation with tau_m = −1 / ln(beta) steps and E_L = V_reset = v_reset. The
bias is one generator per layer that spikes at every step with the bias as its weights: exact to
the bit, and it starts and stops with the sample.

What happens in step s (from s to s + 1 ms) is stamped s + 1. A spike stamped s + 1 with a delay
of d steps is part of step s + d, for generators and neurons alike; d must be at least 1.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEST_MISSING = 3  # exit status
NEVER = 1e300  # a finite threshold that no readout reaches
_NEURON = "iaf_psc_delta"

Arrays = dict[str, NDArray[Any]]


@dataclass
class _Layer:
    """One layer in NEST. Step t of a sample is step start + lag + t of NEST."""

    neurons: Any
    recorder: Any  # spikes of hidden layers, potentials of the last
    bias: Any
    v_reset: NDArray[np.float64]
    lag: int
    first_id: int


class _Network:
    def __init__(self, nest: Any, layers: list[Arrays], input_channels: int) -> None:
        self.nest = nest
        nest.ResetKernel()
        nest.resolution = 1.0
        self.inputs = nest.Create("spike_generator", input_channels)
        self.layers: list[_Layer] = []
        source = np.array(self.inputs.tolist())
        for arrays in layers:
            last = len(self.layers) == len(layers) - 1
            layer = self._create(arrays, last)
            self.layers.append(layer)
            target = np.arange(len(arrays["bias"])) + layer.first_id
            self._connect(source[arrays["pre"]], target[arrays["post"]], arrays)
            source = target
        # From the end of a sample until the last spike on its way has arrived.
        self.silence = sum(int(arrays["delay"].max(initial=1)) for arrays in layers) + 1

    def _create(self, arrays: Arrays, last: bool) -> _Layer:
        nest, v_reset = self.nest, arrays["v_reset"]
        n = len(v_reset)
        neurons = nest.Create(_NEURON, n)
        neurons.set(
            C_m=1.0,
            t_ref=0.0,
            tau_m=_tau(arrays["beta"]),
            E_L=v_reset,
            V_th=np.full(n, NEVER) if last else arrays["v_threshold"],
            V_reset=v_reset,
            V_m=v_reset,
        )
        bias = nest.Create("spike_generator")
        ids = np.array(neurons.tolist())
        one = {"pre": np.zeros(n, int), "weight": arrays["bias"], "delay": np.ones(n, int)}
        self._connect(np.full(n, bias.tolist()[0]), ids, one)
        if last:
            recorder = nest.Create("multimeter", {"record_from": ["V_m"], "interval": 1.0})
            nest.Connect(recorder, neurons)
        else:
            recorder = nest.Create("spike_recorder")
            nest.Connect(neurons, recorder)
        return _Layer(neurons, recorder, bias, v_reset, int(arrays["lag"]), int(ids[0]))

    def _connect(self, pre: NDArray[Any], post: NDArray[Any], arrays: Arrays) -> None:
        if not len(pre):
            return
        synapses = {
            "weight": arrays["weight"].astype(float),
            "delay": arrays["delay"].astype(float),
        }
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
        for layer in self.layers:
            layer.bias.spike_times = start + layer.lag + np.arange(float(steps))
            layer.recorder.n_events = 0
        self.nest.Simulate(float(1 + self.layers[-1].lag + steps + self.silence))
        found: Arrays = {}
        for index, layer in enumerate(self.layers):
            events = layer.recorder.events
            at = np.round(np.asarray(events["times"])).astype(np.int64) - 1 - start - layer.lag
            # NEST gives an empty list where nothing happened, which NumPy takes for floats.
            neuron = np.asarray(events["senders"], np.int64) - layer.first_id
            during = (at >= 0) & (at < steps)
            if index < len(self.layers) - 1:
                fired = np.zeros((steps, len(layer.v_reset)), bool)
                fired[at[during], neuron[during]] = True
                found[f"spikes_{index}"] = fired
            else:
                found["potentials"] = np.zeros((steps, len(layer.v_reset)))
                found["potentials"][at[during], neuron[during]] = events["V_m"][during]
            # No spike is on its way any more, no input comes: this is rest, to the bit.
            layer.neurons.V_m = layer.v_reset
        return found


def _tau(beta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Membrane time constant in steps; exp(−1 / tau) gives beta back.

    The two ends have no logarithm to go by: exp(−1000) is 0, and exp(−1e−17) is 1, in float64.
    """
    inside = np.where((beta > 0) & (beta < 1), beta, 0.5)
    return np.select([beta <= 0, beta >= 1], [1e-3, 1e17], -1 / np.log(inside))


def main(folder: Path) -> None:
    try:
        nest: Any = importlib.import_module("nest")  # an optional extra, without types
    except ImportError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(NEST_MISSING)
    nest.verbosity = nest.VerbosityLevel.ERROR
    with np.load(folder / "network.npz") as file:
        tail, channels, n_layers = file["tail"], file["input_channels"], file["n_layers"]
        names = ("pre", "post", "delay", "weight", "bias", "beta", "v_threshold", "v_reset", "lag")
        layers = [{name: file[f"{name}_{index}"] for name in names} for index in range(n_layers)]
    network = _Network(nest, layers, int(channels))
    with np.load(folder / "samples.npz") as file:
        for n in range(len(file.files)):
            counts = file[f"{n}"]
            found = network.run(counts, len(counts) + int(tail))
            # Renamed when complete: nest_check.py reads it as soon as it sees it.
            unfinished = folder / "unfinished.npz"
            np.savez(unfinished, **found)  # pyright: ignore[reportArgumentType]
            unfinished.replace(folder / f"found_{n}.npz")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
