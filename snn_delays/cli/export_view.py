"""The report of an export, in the terminal."""

from __future__ import annotations

import logging
from itertools import zip_longest
from typing import Any

from snn_delays.report.words import DASH, kilobytes, number, percent
from snn_delays.terminal import print_table

log = logging.getLogger("snn_delays")


def print_report(report: dict[str, Any]) -> None:
    """Tables of what ``deployment_report`` found."""
    stages, populations, projections = (
        report[name] for name in ("stages", "populations", "projections")
    )
    changed = [DASH, *(str(row["changed"]) for row in stages[1:])]
    print_table(
        f"test accuracy, {report['samples']} samples",
        ["network", "accuracy", "answers changed by this step", "synapses"],
        [
            [row["name"], percent(row["accuracy"]), change, number(row["synapses"])]
            for row, change in zip(stages, changed, strict=True)
        ],
    )
    print_table(
        "populations; spikes per sample",
        ["population", "model", "neurons", "spikes"],
        [
            [name, row["model"], number(row["neurons"]), number(row["spikes_per_sample"])]
            for name, row in populations.items()
        ],
    )
    numbers = ("synapses", "synaptic_operations_per_sample", "events_in_flight_max")
    sizes = ("ring_bytes", "history_bytes")
    columns = ["synapses", "operations", "events waiting, most", "delay ring", "spike history"]
    print_table(
        "projections; operations per sample",
        ["projection", *columns],
        [
            [name, *(number(row[key]) for key in numbers), *(kilobytes(row[key]) for key in sizes)]
            for name, row in projections.items()
        ],
    )
    log.info(delay_line([row["delay_histogram"] for row in projections.values()]))
    bits = [row["membrane_bits"] for row in populations.values()]
    if all(bits):
        log.info(f"Integer potentials took {max(bits)} bits, sign included.")


def delay_line(histograms: list[list[int]]) -> str:
    """The delays of all synapses as one line of bars: how many have 0, 1, 2, … steps."""
    totals = [sum(counts) for counts in zip_longest(*histograms, fillvalue=0)]
    longest = len(totals)
    per_bar = -(-longest // 40)
    bars = [sum(totals[at : at + per_bar]) for at in range(0, longest, per_bar)]
    most = max(*bars, 1)
    line = "".join("▁▂▃▄▅▆▇█"[min(7, 8 * count // most)] if count else " " for count in bars)
    return f"delays 0 … {longest - 1} steps: |{line}|"


def print_chip(chip: dict[str, Any]) -> None:
    """What a chip's limits did to the network, and what of the chip is not in the table."""
    said = [f"latency + {chip['latency_steps']} steps ({chip['latency_ms']:g} ms)"]
    if any(model.startswith("Int") for model in chip["neurons"].values()):
        said.append("integer neurons")
    total = sum(chip["synapses"].values())
    if chip["rescaled_by"] != 1:
        said.append(f"delays times {chip['rescaled_by']:.3f}")
    share = percent(chip["clipped_share"])
    said.append(f"{sum(chip['clipped'].values()):,} of {total:,} delays clipped ({share})")
    if joined := sum(chip["joined"].values()):
        said.append(f"{joined:,} synapses joined with another of their pair")
    if beyond := sum(chip["beyond_native"].values()):
        said.append(f"{beyond:,} delays need the chip's extensions")
    log.info(f"{chip['name']}: {'; '.join(said)}.")
    if chip["not_simulated"]:
        log.info(f"Not as on the chip: {'; '.join(chip['not_simulated'])}.")
    if chip["not_checked"]:
        log.info(f"Not checked, since no public source says: {', '.join(chip['not_checked'])}.")
