"""An exported delay table in Brian2: one sample, every spike compared.

    python brian2_example.py export/delays.h5 --spikes export/sample.npz

Needs Brian2, h5py and NumPy; nothing of snn_delays. delays.h5 is described in
docs/table-format.md, sample.npz in reference.py.

Brian2 lets us name the parts of a time step and put them in order, so the layers run one after
the other within a step, as in the table: a delay of 0 arrives in the same step, nothing lags.
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
RESETS = {"hard": "v = v_reset", "soft": "v -= v_threshold", "none": None}


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


def create(index: int, layer: dict[str, Any], source, bits: int, dt) -> tuple:
    """One layer's neurons and the synapses that lead to them.

    Within every step: ``synapses_<index>`` deliver, neurons ``update_<index>``, compare with
    the ``threshold_<index>`` and ``reset_<index>``.
    """
    spiking = layer["model"] == "LIF"
    threshold = "v >= v_threshold" if spiking else None
    neurons = b2.NeuronGroup(
        layer["n_post"], NEURON, threshold=threshold, reset=RESETS[layer["reset"]], dt=dt
    )
    for name in ("bias", "beta", "v_threshold", "v_reset"):
        setattr(neurons, name, layer[name])
    neurons.v = layer["v_reset"]
    neurons.run_regularly(
        "v = v_reset + beta * (v - v_reset) + bias + I\nI = 0", dt, when=f"update_{index}"
    )
    if spiking:
        neurons.set_event_schedule("spike", when=f"threshold_{index}")
        neurons.resetter["spike"].when = f"reset_{index}"
    synapses = b2.Synapses(source, neurons, "w : 1 (constant)", on_pre="I_post += w", dt=dt)
    pre = np.concatenate([layer["pre"] + bit * layer["n_pre"] for bit in range(bits)])
    synapses.connect(i=pre, j=np.tile(layer["post"], bits))
    if len(pre):
        synapses.w = np.concatenate([layer["weight"] * 2.0**bit for bit in range(bits)])
        synapses.delay = np.tile(layer["delay"], bits) * dt
    synapses.pre.when = f"synapses_{index}"
    return neurons, synapses


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
    network, layers = b2.Network(source), []
    for index, layer in enumerate(table["layers"]):
        neurons, synapses = create(index, layer, source, bits, dt)
        network.add(neurons, synapses)
        layers.append(neurons)
        source, bits = neurons, 1
    parts = ("synapses", "update", "threshold", "reset")
    slots = [f"{part}_{index}" for index in range(len(layers)) for part in parts]
    network.schedule = ["start", "groups", "inputs", *slots, "end"]
    monitors = [b2.SpikeMonitor(layer) for layer in layers[:-1]]
    meter = b2.StateMonitor(layers[-1], "v", record=True, when="end", dt=dt)
    network.add(monitors, meter)
    network.run(steps * dt)
    spikes = [np.zeros((steps, len(layer)), bool) for layer in layers[:-1]]
    for fired, monitor in zip(spikes, monitors, strict=True):
        fired[np.round(monitor.t / dt).astype(int), monitor.i] = True
    potentials = np.asarray(meter.v).T
    return compare(f"Brian2 {b2.__version__}", given.spikes, table, spikes, potentials)


if __name__ == "__main__":
    sys.exit(main())
