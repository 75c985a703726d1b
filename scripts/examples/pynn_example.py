"""An exported network in PyNN, on its Brian2 backend: one sample, every spike compared.

    python pynn_example.py export/pynn --spikes export/sample.npz

Needs PyNN, Brian2 and NumPy; nothing of snn_delays. The folder holds network.json, and per layer
layer_<i>.txt (i, j, weight, delay in ms: a list for ``FromFileConnector``) and neurons_<i>.csv.

The standard cell IF_curr_delta is our neuron, with one thing to mind on this backend: in its own
order of events a step's arrivals come between the threshold and the reset, which wipes them out;
main() changes that order. A delay of D steps takes D + 1 then, and PyNN wants D of at least 1.
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from reference import compare, input_counts, needs, refuse, require

with needs('pynn brian2 "numpy<2.4"'):
    import brian2
    import pyNN
    import pyNN.brian2 as sim
    from pyNN.brian2.simulator import state
    from pyNN.parameters import Sequence


def create(folder: Path, index: int, layer: dict, dt: float) -> tuple:
    """One layer's neurons, and their bias."""
    if layer["reset"] not in ("hard", "none") or layer["model"] not in ("LIF", "LI"):
        refuse(
            f"layer {index}: IF_curr_delta is a float neuron with a hard reset, got "
            f"{layer['model']} with reset {layer['reset']}. Export float neurons."
        )
    columns = np.loadtxt(folder / f"neurons_{index}.csv", np.float32, delimiter=",", skiprows=1)
    bias, beta, threshold, v_reset = columns.reshape(-1, 4).astype(float).T
    # 0 and 1 have no finite time constant; the nearest numbers that do act the same.
    tau = -dt / np.log(np.clip(beta, 1e-300, 1 - 1e-16))
    neurons = sim.Population(
        layer["n_post"],
        sim.IF_curr_delta(
            tau_m=tau,
            cm=1.0,
            v_rest=v_reset,
            v_reset=v_reset,
            # PyNN fires above the threshold; the table at it, too.
            v_thresh=np.nextafter(np.minimum(threshold, 1e9), -np.inf),
            tau_refrac=0.0,
        ),
    )
    neurons.initialize(v=v_reset)
    return neurons, bias


def connect(pre, post, rows: np.ndarray) -> None:
    """Project rows ``i, j, weight, delay``, each pair of neurons once per Projection.

    PyNN's Brian2 backend gives all synapses of one pair the delay of the last one.
    """
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    while len(rows):
        first = np.append(True, np.any(np.diff(rows[:, :2], axis=0) != 0, axis=1))
        chosen, rows = rows[first], rows[~first]
        # Without shift and multiplicity: FromFileConnector(str(folder / "layer_0.txt")).
        connector = sim.FromListConnector(chosen, column_names=["weight", "delay"])
        sim.Projection(pre, post, connector, sim.StaticSynapse())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="pynn/")
    parser.add_argument("--spikes", type=Path, required=True, help="sample.npz")
    given = parser.parse_args()
    require(given.folder / "network.json", " into pynn/, with formats=[pynn] or formats=all")
    header = json.loads((given.folder / "network.json").read_text(encoding="utf-8"))
    dt = float(header["dt_ms"])
    counts = input_counts(given.spikes, header["input_channels"])
    steps = len(counts) + header["tail_steps"]
    brian2.prefs.codegen.target = "numpy"  # runs at once; "cython" compiles first
    brian2.defaultclock.dt = dt * brian2.ms  # the clock of spike sources
    sim.setup(timestep=dt, min_delay=dt)
    state.network.schedule = ["start", "groups", "synapses", "thresholds", "resets", "end"]
    # A source fires at most once per step: one for each binary digit, worth 2^digit spikes.
    digits = range(max(int(counts.max(initial=1)), 1).bit_length())
    trains = [[Sequence((1 + np.flatnonzero(c)) * dt) for c in (counts >> d & 1).T] for d in digits]
    sources = [sim.Population(len(t), sim.SpikeSourceArray(spike_times=t)) for t in trains]
    layers, lags, lag = [], [], 1
    for index, layer in enumerate(header["layers"]):
        neurons, bias = create(given.folder, index, layer, dt)
        rows = np.loadtxt(given.folder / f"layer_{index}.txt", ndmin=2).reshape(-1, 4)
        if layer["weight_scale"] == 1:
            rows[:, 2] = rows[:, 2].astype(np.float32)  # as the exporter held them
        shift = int(rows[:, 3].min(initial=dt) < dt / 2)
        rows[:, 3] += shift * dt
        for digit, source in enumerate(sources):
            connect(source, neurons, rows * [1, 1, 2.0**digit, 1])
        layers.append(neurons)
        lags.append(lag := lag + 1 + shift)
        sources = [neurons]
        # The bias comes at every step from the layer's own first one on, 2 steps after its spike.
        every = Sequence((lag - 2 + np.arange(steps)) * dt)
        rows = [(0, neuron, weight, dt) for neuron, weight in enumerate(bias)]
        connect(sim.Population(1, sim.SpikeSourceArray(spike_times=every)), neurons, np.array(rows))
    for neurons in layers[:-1]:
        neurons.record("spikes")
    layers[-1].record("v")
    sim.run((lags[-1] + steps) * dt)
    spikes = []
    for neurons, lag in zip(layers[:-1], lags[:-1], strict=True):
        spikes.append(np.zeros((steps, len(neurons)), bool))
        for neuron, train in enumerate(neurons.get_data().segments[0].spiketrains):
            at = np.round(train.magnitude / dt).astype(int) - lag
            spikes[-1][at[(at >= 0) & (at < steps)], neuron] = True
    # The first row is the state before the first step.
    (v,) = layers[-1].get_data().segments[0].analogsignals
    potentials = np.asarray(v.magnitude)[1 + lags[-1] :]
    name = f"PyNN {pyNN.__version__}, Brian2 {brian2.__version__}"
    return compare(name, given.spikes, header, spikes, potentials)


if __name__ == "__main__":
    sys.exit(main())
