"""An exported delay table in Brian2: one sample, every spike compared.

    python brian2_example.py export/delays.h5 --spikes export/sample.npz

Needs Brian2, h5py and NumPy; nothing of snn_delays. delays.h5 is described in
docs/table-format.md, sample.npz in reference.py.

Brian2 lets us name the parts of a time step and put them in order, so the populations run one
after the other within a step, as in the table: a delay of 0 arrives in the same step, nothing lags.
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from reference import compare, input_counts, needs, require

with needs('brian2 h5py "numpy<2.4"'):
    import brian2 as b2
    import delay_table
    from brian2 import ms

NEURON = """
v : 1
I : 1
bias : 1 (constant)
beta : 1 (constant)
v_threshold : 1 (constant)
v_reset : 1 (constant)
"""
RESETS = {"hard": "v = v_reset", "soft": "v -= v_threshold"}


def spike_source(counts: np.ndarray, dt) -> tuple[b2.SpikeGeneratorGroup, int]:
    """The input, and how many neurons stand for a channel.

    Brian2's generator fires at most once per neuron and step. For larger counts a channel is
    one neuron per binary digit: neuron ``bit · channels + channel``, worth 2^bit spikes.
    """
    bits = max(int(counts.max(initial=1)), 1).bit_length()
    digits = np.concatenate([counts >> bit & 1 for bit in range(bits)], axis=1)
    step, neuron = np.nonzero(digits)
    source = b2.SpikeGeneratorGroup(digits.shape[1], neuron, step * dt, dt=dt, when="inputs")
    return source, bits


def create(name: str, one: dict[str, Any], dt) -> b2.NeuronGroup:
    """A population's neurons.

    Within every step: ``synapses_<name>`` deliver, neurons ``update_<name>``, compare with the
    ``threshold_<name>`` and ``reset_<name>``.
    """
    spiking = one["model"] == "LIF"
    condition = {"threshold": "v >= v_threshold", "reset": RESETS[one["reset"]]} if spiking else {}
    neurons = b2.NeuronGroup(one["size"], NEURON, dt=dt, **condition)
    for constant in ("bias", "beta", "v_threshold", "v_reset"):
        setattr(neurons, constant, one.get(constant, 0.0))
    neurons.v = one.get("v_reset", 0.0)
    neurons.run_regularly(
        "v = v_reset + beta * (v - v_reset) + bias + I\nI = 0", dt, when=f"update_{name}"
    )
    if spiking:
        neurons.set_event_schedule("spike", when=f"threshold_{name}")
        neurons.resetter["spike"].when = f"reset_{name}"
    return neurons


def connect(one: dict[str, Any], source, target, back: bool, bits: int, dt) -> b2.Synapses:
    """A projection's synapses.

    Where it leads back, Brian2 hands a step's spikes over in the next step only: one step of the
    delay has passed by then.
    """
    synapses = b2.Synapses(source, target, "w : 1 (constant)", on_pre="I_post += w", dt=dt)
    pre = np.concatenate([one["pre"] + bit * (len(source) // bits) for bit in range(bits)])
    synapses.connect(i=pre, j=np.tile(one["post"], bits))
    if len(pre):
        synapses.w = np.concatenate([one["weight"] * 2.0**bit for bit in range(bits)])
        synapses.delay = np.tile(one["delay"] - int(back), bits) * dt
    synapses.pre.when = f"synapses_{one['target']}"
    return synapses


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("table", type=Path, help="delays.h5")
    parser.add_argument("--spikes", type=Path, required=True, help="sample.npz")
    given = parser.parse_args()
    require(given.table)
    b2.prefs.codegen.target = "numpy"  # runs at once; "cython" compiles first
    table = delay_table.read(given.table)
    counts = input_counts(given.spikes, table["input_channels"])
    dt = table["dt_ms"] * ms
    steps = len(counts) + table["tail_steps"]
    source, bits = spike_source(counts, dt)
    order = list(table["populations"])
    groups = {name: create(name, one, dt) for name, one in table["populations"].items()}
    network = b2.Network(source, *groups.values())
    for one in table["projections"].values():
        start, end = one["source"], one["target"]
        back = start != "input" and order.index(start) >= order.index(end)
        ends = (groups.get(start, source), groups[end])
        network.add(connect(one, *ends, back, bits if start == "input" else 1, dt))
    parts = ("synapses", "update", "threshold", "reset")
    slots = [f"{part}_{name}" for name in order for part in parts]
    network.schedule = ["start", "groups", "inputs", *slots, "end"]
    monitors = {
        name: b2.SpikeMonitor(groups[name])
        for name, one in table["populations"].items()
        if one["model"] == "LIF"
    }
    meter = b2.StateMonitor(groups[order[-1]], "v", record=True, when="end", dt=dt)
    network.add(*monitors.values(), meter)
    network.run(steps * dt)
    spikes = {name: np.zeros((steps, len(groups[name])), bool) for name in monitors}
    for name, monitor in monitors.items():
        spikes[name][np.round(monitor.t / dt).astype(int), monitor.i] = True
    potentials = np.asarray(meter.v).T
    return compare(f"Brian2 {b2.__version__}", given.spikes, table, spikes, potentials)


if __name__ == "__main__":
    sys.exit(main())
