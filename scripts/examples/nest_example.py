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
from reference import compare, input_counts, lags, needs, refuse, require

with needs("nest-simulator h5py"):
    import delay_table
    import nest


def build(table: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, int]]:
    """Create the network: the input and the populations by name, their I_e, and their lags.

    NEST's shortest delay is one step. Where the table has shorter ones their target runs late, and
    its bias must start later.
    """
    dt = nest.resolution
    nodes = {"input": nest.Create("spike_generator", table["input_channels"])}
    late = lags(table, 1, dict.fromkeys(["input", *table["populations"]], 0))
    currents = {}
    for name, one in table["populations"].items():
        if one.get("reset") == "soft":
            refuse(f"population {name}: NEST's iaf_psc_delta knows the hard reset only.")
        # 0 and 1 have no finite time constant; the nearest numbers that do act the same.
        tau = -dt / np.log(np.clip(one["beta"], 1e-300, 1 - 1e-16))
        rest = one.get("v_reset", 0.0)
        nodes[name] = nest.Create("iaf_psc_delta", one["size"])
        nodes[name].set(
            C_m=1.0,
            t_ref=0.0,
            tau_m=tau,
            E_L=rest,
            V_reset=rest,
            V_m=rest,
            V_th=one.get("v_threshold", 1e300),
        )
        # A current I_e adds I_e · tau / C_m · (1 − beta) per step.
        currents[name] = one["bias"] / (tau * -np.expm1(-dt / tau))
    for one in table["projections"].values():
        if len(one["pre"]):
            delay = one["delay"] + late[one["target"]] - late[one["source"]]
            nest.Connect(
                np.array(nodes[one["source"]].tolist())[one["pre"]],
                np.array(nodes[one["target"]].tolist())[one["post"]],
                "one_to_one",
                {"weight": one["weight"], "delay": delay * dt},
            )
    return nodes, currents, late


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
    nodes, currents, late = build(table)
    steps, last = len(counts) + table["tail_steps"], max(late.values())
    # NEST stamps what happens in step t, from t·dt to (t + 1)·dt, with the end of that step.
    nodes["input"].set(
        [
            {
                "spike_times": (np.flatnonzero(channel) + 1) * dt,
                "spike_multiplicities": channel[channel > 0],
            }
            for channel in counts.T
        ]
    )
    recorders = {
        name: nest.Create("spike_recorder")
        for name, one in table["populations"].items()
        if one["model"] == "LIF"
    }
    for name, recorder in recorders.items():
        nest.Connect(nodes[name], recorder, "all_to_all", {"delay": dt})
    (*_, output) = table["populations"]
    meter = nest.Create("multimeter", {"record_from": ["V_m"], "interval": dt})
    nest.Connect(meter, nodes[output], "all_to_all", {"delay": dt})
    for step in range(last + 1):
        for name, current in currents.items():
            if late[name] == step:
                nodes[name].I_e = current
        if step < last:
            nest.Simulate(dt)
    # To the end, and one step more: the multimeter hands its readings over a step later.
    nest.Simulate((steps + 1) * dt)

    def recorded(recorder, name: str, values) -> np.ndarray:
        """What was recorded as ``[steps, neurons]``, the lag taken off."""
        at = np.round(np.asarray(recorder.events["times"]) / dt).astype(int) - 1 - late[name]
        neuron = np.asarray(recorder.events["senders"], int) - nodes[name].tolist()[0]
        found = np.zeros((steps, len(nodes[name])), np.asarray(values).dtype)
        during = (at >= 0) & (at < steps)
        found[at[during], neuron[during]] = np.broadcast_to(values, at.shape)[during]
        return found

    spikes = {name: recorded(recorder, name, True) for name, recorder in recorders.items()}
    potentials = recorded(meter, output, meter.events["V_m"])
    return compare(f"NEST {nest.__version__}", given.spikes, table, spikes, potentials)


if __name__ == "__main__":
    sys.exit(main())
