"""An exported delay table in NEST: one sample, every spike compared.

    python nest_example.py export/delays.h5 --spikes export/sample.npz

Needs nest-simulator, h5py and NumPy; nothing of snn_delays. delays.h5 is described in
docs/table-format.md, sample.npz in reference.py.
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from reference import compare, input_counts, needs, refuse, require

with needs("nest-simulator h5py"):
    import delay_table
    import nest


def build(table: dict[str, Any]) -> tuple[Any, list, list, list]:
    """Create the network: the input, and of every layer the neurons, their I_e, and the lag.

    NEST's shortest delay is one step. A layer with a delay of 0 gets all its delays one step
    longer; it and the layers after it then lag one more step, and their bias must start later.
    """
    dt = nest.resolution
    inputs = source = nest.Create("spike_generator", table["input_channels"])
    layers, currents, lags, lag = [], [], [], 0
    for index, layer in enumerate(table["layers"]):
        if layer["reset"] == "soft":
            refuse(f"layer {index}: NEST's iaf_psc_delta knows the hard reset only.")
        # 0 and 1 have no finite time constant; the nearest numbers that do act the same.
        tau = -dt / np.log(np.clip(layer["beta"], 1e-300, 1 - 1e-16))
        neurons = nest.Create("iaf_psc_delta", layer["n_post"])
        neurons.set(
            C_m=1.0,
            t_ref=0.0,
            tau_m=tau,
            E_L=layer["v_reset"],
            V_reset=layer["v_reset"],
            V_m=layer["v_reset"],
            V_th=np.minimum(layer["v_threshold"], 1e300),
        )
        shift = int(layer["delay"].min(initial=1) == 0)
        if len(layer["pre"]):
            nest.Connect(
                np.array(source.tolist())[layer["pre"]],
                np.array(neurons.tolist())[layer["post"]],
                "one_to_one",
                {"weight": layer["weight"], "delay": (layer["delay"] + shift) * dt},
            )
        # A current I_e adds I_e · tau / C_m · (1 − beta) per step.
        layers.append(neurons)
        currents.append(layer["bias"] / (tau * -np.expm1(-dt / tau)))
        lags.append(lag := lag + shift)
        source = neurons
    return inputs, layers, currents, lags


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("table", type=Path, help="delays.h5")
    parser.add_argument("--spikes", type=Path, required=True, help="sample.npz")
    given = parser.parse_args()
    require(given.table)
    nest.verbosity = nest.VerbosityLevel.ERROR
    table = delay_table.read(given.table)
    counts = input_counts(given.spikes, table["input_channels"])
    nest.resolution = dt = table["dt_ms"]
    inputs, layers, currents, lags = build(table)
    steps = len(counts) + table["tail_steps"]
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
    for layer, recorder in zip(layers[:-1], recorders, strict=True):
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

    def recorded(recorder, layer, lag: int, values) -> np.ndarray:
        """What was recorded as ``[steps, neurons]``, the lag taken off."""
        at = np.round(np.asarray(recorder.events["times"]) / dt).astype(int) - 1 - lag
        neuron = np.asarray(recorder.events["senders"], int) - layer.tolist()[0]
        found = np.zeros((steps, len(layer)), np.asarray(values).dtype)
        during = (at >= 0) & (at < steps)
        found[at[during], neuron[during]] = np.broadcast_to(values, at.shape)[during]
        return found

    hidden = zip(recorders, layers[:-1], lags[:-1], strict=True)
    spikes = [recorded(recorder, layer, lag, True) for recorder, layer, lag in hidden]
    potentials = recorded(meter, layers[-1], lags[-1], meter.events["V_m"])
    return compare(f"NEST {nest.__version__}", given.spikes, table, spikes, potentials)


if __name__ == "__main__":
    sys.exit(main())
