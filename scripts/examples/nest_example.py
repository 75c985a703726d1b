"""An exported delay table in NEST: one sample, every spike compared.

    python nest_example.py export/delays.h5 --spikes export/sample.npz

Needs nest-simulator, h5py and NumPy; nothing of snn_delays. delays.h5 is described in
docs/table-format.md, sample.npz in reference.py.
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import h5py
import nest
import numpy as np
from reference import compare, refuse


def build(file: h5py.File) -> tuple[list, list, list]:
    """Create the network; returns the neurons of every layer, their I_e, and their lags.

    NEST's shortest delay is one step. A layer with a delay of 0 gets all its delays one step
    longer; it and the layers after it then lag one more step, and their bias must start later.
    """
    dt = nest.resolution
    source = nest.Create("spike_generator", int(file.attrs["input_channels"]))
    inputs, layers, currents, lags, lag = source, [], [], [], 0
    for index in range(len(file["layers"])):
        layer, neuron = file[f"layers/{index}"], file[f"layers/{index}/neuron"]
        if neuron.attrs["reset"] not in (b"hard", b"none") or "beta" not in neuron:
            refuse(f"layer {index}: NEST knows float neurons with a hard reset only.")
        # 0 and 1 have no finite time constant; the nearest numbers that do act the same.
        beta = np.clip(neuron["beta"][:].astype(float), 1e-300, 1 - 1e-16)
        tau, v_reset = -dt / np.log(beta), neuron["v_reset"][:].astype(float)
        neurons = nest.Create("iaf_psc_delta", len(beta))
        neurons.set(
            C_m=1.0,
            t_ref=0.0,
            tau_m=tau,
            E_L=v_reset,
            V_reset=v_reset,
            V_m=v_reset,
            V_th=np.minimum(neuron["v_threshold"][:].astype(float), 1e300),
        )
        shift = int(layer["delay"][:].min(initial=1) == 0)
        nest.Connect(
            np.array(source.tolist())[layer["pre"][:]],
            np.array(neurons.tolist())[layer["post"][:]],
            "one_to_one",
            {
                "weight": layer["weight"][:] * float(layer.attrs["weight_scale"]),
                "delay": (layer["delay"][:] + shift) * dt,
            },
        )
        # A current I_e adds I_e · tau / C_m · (1 − beta) per step.
        layers.append(neurons)
        currents.append(layer["bias"][:].astype(float) / (tau * -np.expm1(-dt / tau)))
        lags.append(lag := lag + shift)
        source = neurons
    return [inputs, *layers], currents, lags


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="delays.h5")
    parser.add_argument("--spikes", type=Path, required=True, help="sample.npz")
    given = parser.parse_args()
    with np.load(given.spikes) as sample:
        counts = sample["counts"].astype(int)
    nest.verbosity = nest.VerbosityLevel.ERROR
    with h5py.File(given.table, "r") as file:
        dt = float(file.attrs["dt_ms"])
        steps = len(counts) + int(file.attrs["tail_steps"])
        readout, names = file.attrs["readout"].decode(), json.loads(file.attrs["class_names"])
        nest.resolution = dt
        (inputs, *layers), currents, lags = build(file)
    # NEST stamps what happens in step t, from t·dt to (t + 1)·dt, with the end of that step.
    inputs.set(
        [
            {
                "spike_times": (np.flatnonzero(channel) + 1) * dt,
                "spike_multiplicities": channel[channel > 0],
            }
            for channel in counts.T
        ]
    )
    recorders = [nest.Create("spike_recorder") for _ in layers[:-1]]
    for layer, recorder in zip(layers, recorders, strict=False):
        nest.Connect(layer, recorder, "all_to_all", {"delay": dt})
    meter = nest.Create("multimeter", {"record_from": ["V_m"], "interval": dt})
    nest.Connect(meter, layers[-1], "all_to_all", {"delay": dt})
    for step in range(lags[-1] + 1):
        for layer, current, lag in zip(layers, currents, lags, strict=True):
            if lag == step:
                layer.I_e = current
        if step < lags[-1]:
            nest.Simulate(dt)
    # To the end, and one step more: the multimeter hands its readings over a step later.
    nest.Simulate((steps + 1) * dt)

    def table(recorder, layer, lag: int, values) -> np.ndarray:
        """What was recorded as ``[steps, neurons]``, the lag taken off."""
        at = np.round(np.asarray(recorder.events["times"]) / dt).astype(int) - 1 - lag
        neuron = np.asarray(recorder.events["senders"], int) - layer.tolist()[0]
        found = np.zeros((steps, len(layer)), np.asarray(values).dtype)
        during = (at >= 0) & (at < steps)
        found[at[during], neuron[during]] = np.broadcast_to(values, at.shape)[during]
        return found

    spikes = [table(r, layer, lag, True) for r, layer, lag in zip(recorders, layers, lags)]  # noqa: B905
    potentials = table(meter, layers[-1], lags[-1], meter.events["V_m"])
    return compare(f"NEST {nest.__version__}", given.spikes, readout, names, spikes, potentials)


if __name__ == "__main__":
    sys.exit(main())
