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
import json
import sys
from pathlib import Path

import brian2 as b2
import h5py
import numpy as np
from brian2 import ms
from reference import compare, refuse

NEURON = """
v : 1
I : 1
bias : 1 (constant)
beta : 1 (constant)
v_threshold : 1 (constant)
v_reset : 1 (constant)
"""
RESETS = {b"hard": "v = v_reset", b"soft": "v -= v_threshold", b"none": None}


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


def create(index: int, group: h5py.Group, source, bits: int, dt) -> tuple:
    """One layer's neurons and the synapses that lead to them.

    Within every step: ``synapses_<index>`` deliver, neurons ``update_<index>``, compare with
    the ``threshold_<index>`` and ``reset_<index>``.
    """
    neuron = group["neuron"]
    if "beta" not in neuron:
        refuse(f"layer {index}: this example runs float neurons, not integer ones.")
    n = int(group.attrs["n_post"])
    spiking = neuron.attrs["model"] == b"LIF"
    threshold = "v >= v_threshold" if spiking else None
    reset = RESETS[bytes(neuron.attrs["reset"])]
    layer = b2.NeuronGroup(n, NEURON, threshold=threshold, reset=reset, dt=dt)
    for name in ("beta", "v_threshold", "v_reset"):
        setattr(layer, name, neuron[name][:].astype(float))
    layer.bias, layer.v = group["bias"][:].astype(float), layer.v_reset
    layer.run_regularly(
        "v = v_reset + beta * (v - v_reset) + bias + I\nI = 0", dt, when=f"update_{index}"
    )
    if spiking:
        layer.set_event_schedule("spike", when=f"threshold_{index}")
        layer.resetter["spike"].when = f"reset_{index}"
    pre, post, delay = (group[name][:] for name in ("pre", "post", "delay"))
    weight = group["weight"][:] * float(group.attrs["weight_scale"])
    synapses = b2.Synapses(source, layer, "w : 1 (constant)", on_pre="I_post += w", dt=dt)
    n_pre = int(group.attrs["n_pre"])
    synapses.connect(
        i=np.concatenate([pre + bit * n_pre for bit in range(bits)]), j=np.tile(post, bits)
    )
    if len(pre):
        synapses.w = np.concatenate([weight * 2.0**bit for bit in range(bits)])
        synapses.delay = np.tile(delay, bits) * dt
    synapses.pre.when = f"synapses_{index}"
    return layer, synapses


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="delays.h5")
    parser.add_argument("--spikes", type=Path, required=True, help="sample.npz")
    given = parser.parse_args()
    b2.prefs.codegen.target = "numpy"  # runs at once; "cython" compiles first
    with np.load(given.spikes) as sample:
        counts = sample["counts"].astype(int)
    with h5py.File(given.table, "r") as file:
        dt = float(file.attrs["dt_ms"]) * ms
        steps = len(counts) + int(file.attrs["tail_steps"])
        readout, names = file.attrs["readout"].decode(), json.loads(file.attrs["class_names"])
        source, bits = spike_source(counts, dt)
        network, layers = b2.Network(source), []
        for index in range(len(file["layers"])):
            layer, synapses = create(index, file[f"layers/{index}"], source, bits, dt)
            network.add(layer, synapses)
            layers.append(layer)
            source, bits = layer, 1
    parts = ("synapses", "update", "threshold", "reset")
    slots = [f"{part}_{index}" for index in range(len(layers)) for part in parts]
    network.schedule = ["start", "groups", "inputs", *slots, "end"]
    monitors = [b2.SpikeMonitor(layer) for layer in layers[:-1]]
    meter = b2.StateMonitor(layers[-1], "v", record=True, when="end", dt=dt)
    network.add(monitors, meter)
    network.run(steps * dt)
    spikes = []
    for layer, monitor in zip(layers[:-1], monitors, strict=True):
        spikes.append(np.zeros((steps, len(layer)), bool))
        spikes[-1][np.round(monitor.t / dt).astype(int), monitor.i] = True
    name = f"Brian2 {b2.__version__}"
    return compare(name, given.spikes, readout, names, spikes, np.asarray(meter.v).T)


if __name__ == "__main__":
    sys.exit(main())
