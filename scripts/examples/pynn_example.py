"""An exported network in PyNN, on its Brian2 backend: one sample, every spike compared.

    python pynn_example.py export/pynn --spikes export/sample.npz

Needs PyNN, Brian2 and NumPy; nothing of snn_delays. The folder holds network.json, PROJECTION.txt
(i, j, weight, delay in ms: a list for ``FromFileConnector``) and neurons_POPULATION.csv.

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
from typing import Any

import numpy as np
from reference import compare, float_neurons, input_counts, lags, needs, refuse, require

with needs('pynn brian2 "numpy<2.4"'):
    import brian2
    import pyNN
    import pyNN.brian2 as sim
    from pyNN.brian2.simulator import state
    from pyNN.parameters import Sequence


def read(folder: Path) -> dict[str, Any]:
    """As ``delay_table.read``, delays in steps."""
    network = json.loads((folder / "network.json").read_text(encoding="utf-8"))
    populations = sorted(network["populations"].items(), key=lambda one: one[1]["order"])
    network["populations"] = dict(populations)
    float_neurons(network)
    for name, one in populations:
        path = folder / f"neurons_{name}.csv"
        columns = np.loadtxt(path, np.float32, delimiter=",", skiprows=1, ndmin=2).astype(float)
        one |= zip(path.read_text().splitlines()[0].split(","), columns.T, strict=True)
    for name, one in network["projections"].items():
        rows = np.loadtxt(folder / f"{name}.txt", ndmin=2).reshape(-1, 4)
        if one["weight_scale"] == 1:
            rows[:, 2] = rows[:, 2].astype(np.float32)  # as the exporter held them
        one["rows"], one["delay"] = rows, np.rint(rows[:, 3] / network["dt_ms"]).astype(int)
    return network


def create(name: str, one: dict[str, Any], dt: float) -> Any:
    """A population's neurons."""
    if one.get("reset") == "soft":
        refuse(f"population {name}: IF_curr_delta knows the hard reset only.")
    # 0 and 1 have no finite time constant; the nearest numbers that do act the same.
    tau = -dt / np.log(np.clip(one["beta"], 1e-300, 1 - 1e-16))
    rest = one.get("v_reset", 0.0)
    neurons = sim.Population(
        one["size"],
        sim.IF_curr_delta(
            tau_m=tau,
            cm=1.0,
            v_rest=rest,
            v_reset=rest,
            # PyNN fires above the threshold; the table at it, too.
            v_thresh=np.nextafter(one.get("v_threshold", 1e9), -np.inf),
            tau_refrac=0.0,
        ),
    )
    neurons.initialize(v=rest)
    return neurons


def connect(pre, post, rows: np.ndarray) -> None:
    """Project rows ``i, j, weight, delay``, each pair of neurons once per Projection.

    PyNN's Brian2 backend gives all synapses of one pair the delay of the last one.
    """
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    while len(rows):
        first = np.append(True, np.any(np.diff(rows[:, :2], axis=0) != 0, axis=1))
        chosen, rows = rows[first], rows[~first]
        # Without shift and multiplicity: FromFileConnector(str(folder / "NAME.txt")).
        connector = sim.FromListConnector(chosen, column_names=["weight", "delay"])
        sim.Projection(pre, post, connector, sim.StaticSynapse())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="pynn/")
    parser.add_argument("--spikes", type=Path, required=True, help="sample.npz")
    given = parser.parse_args()
    require(given.folder / "network.json", " into pynn/, with formats=[pynn] or formats=all")
    network = read(given.folder)
    dt, populations = float(network["dt_ms"]), network["populations"]
    counts = input_counts(given.spikes, network["input_channels"])
    steps = len(counts) + network["tail_steps"]
    # Input comes a step late, a bias takes two steps, and a delay of D ≥ 1 takes D + 1.
    late = lags(network, 2, {"input": 1, **dict.fromkeys(populations, 2)})
    brian2.prefs.codegen.target = "numpy"  # runs at once; "cython" compiles first
    brian2.defaultclock.dt = dt * brian2.ms  # the clock of spike sources
    sim.setup(timestep=dt, min_delay=dt)
    state.network.schedule = ["start", "groups", "synapses", "thresholds", "resets", "end"]
    # A source fires at most once per step: one for each binary digit, worth 2^digit spikes.
    digits = range(max(int(counts.max(initial=1)), 1).bit_length())
    trains = [[Sequence((1 + np.flatnonzero(c)) * dt) for c in (counts >> d & 1).T] for d in digits]
    sources = [sim.Population(len(t), sim.SpikeSourceArray(spike_times=t)) for t in trains]
    nodes = {name: [create(name, one, dt)] for name, one in populations.items()}
    nodes["input"] = sources
    for one in network["projections"].values():
        start, end = one["source"], one["target"]
        rows = one["rows"].copy()
        rows[:, 3] = (one["delay"] + late[end] - late[start] - 1) * dt
        for digit, source in enumerate(nodes[start]):
            connect(source, nodes[end][0], rows * [1, 1, 2.0**digit, 1])
    for name, one in populations.items():
        # The bias comes at every step from the population's own first one on.
        every = Sequence((late[name] - 2 + np.arange(steps)) * dt)
        rows = [(0, neuron, weight, dt) for neuron, weight in enumerate(one["bias"])]
        source = sim.Population(1, sim.SpikeSourceArray(spike_times=every))
        connect(source, nodes[name][0], np.array(rows))
    (*_, output) = populations
    spiking = [name for name, one in populations.items() if one["model"] == "LIF"]
    for name in spiking:
        nodes[name][0].record("spikes")
    nodes[output][0].record("v" if output not in spiking else ["spikes", "v"])
    sim.run((max(late.values()) + steps) * dt)
    recorded = {name: nodes[name][0].get_data().segments[0] for name in {*spiking, output}}
    spikes = {name: np.zeros((steps, populations[name]["size"]), bool) for name in spiking}
    for name, found in spikes.items():
        for neuron, train in enumerate(recorded[name].spiketrains):
            at = np.round(train.magnitude / dt).astype(int) - late[name]
            found[at[(at >= 0) & (at < steps)], neuron] = True
    # The first row is the state before the first step.
    (v,) = recorded[output].analogsignals
    potentials = np.asarray(v.magnitude)[1 + late[output] :][:steps]
    name = f"PyNN {pyNN.__version__}, Brian2 {brian2.__version__}"
    return compare(name, given.spikes, network, spikes, potentials)


if __name__ == "__main__":
    sys.exit(main())
