"""An export's page: what was exported, how it was proved, what it costs, how to load it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from snn_delays.report.deployment.limits import limits
from snn_delays.report.page.axis import Axis, spanning
from snn_delays.report.page.chart import Chart
from snn_delays.report.page.document import (
    Commands,
    Facts,
    Figure,
    Figures,
    Page,
    Section,
    Table,
)
from snn_delays.report.words import kilobytes, listed, percent, points, sentence
from snn_delays.table.chips import ChipProfile
from snn_delays.table.table import DelayTable

Report = dict[str, Any]


def deployment_page(
    report: Report,
    table: DelayTable,
    chip: ChipProfile | None,
    formats: Sequence[str],
    *,
    folder: str,
    metric: str = "accuracy",
) -> Page:
    """The page of an export.

    Args:
        report: contents of ``report.json``.
        table: what was exported.
        chip: whose limits it keeps to.
        formats: folders for other programs beside ``delays.h5``.
        folder: where it lies.
        metric: what scores are called.
    """
    sections = [_about(report, table, chip, formats), _checks(report)]
    if "stages" in report:
        sections.append(_stages(report, metric))
    if chip is not None and report["chip"] is not None:
        sections.append(limits(report, table, chip))
    if "stages" in report:
        sections.append(_costs(report))
    sections += [_delays(table), _loading(folder, formats)]
    where = f"for {chip.name}" if chip else "as a delay table"
    return Page(
        f"Export {where}",
        f"{report['origin']['run']}, {report['origin']['checkpoint']} epoch",
        sections,
        _numbers(report, table, metric),
        "Made by snn-delays-export. The same numbers are in report.json.",
    )


def _numbers(report: Report, table: DelayTable, metric: str) -> list[tuple[str, str, str]]:
    found = [("synapses", f"{table.synapses:,}", "")]
    if "stages" in report:
        first, last = report["stages"][0], report["stages"][-1]
        lost = points(last["accuracy"] - first["accuracy"])
        said = f"{lost} points against the network as trained"
        found.insert(0, (f"test {metric}", percent(last["accuracy"]), said))
        agreed = report["agreement"]
        differ = f"{agreed['spikes_differing']:,}"
        found.append(("spikes that differ", differ, f"of {agreed['spikes_total']:,}"))
    longest = max((int(one.delay.max(initial=0)) for one in table.projections), default=0)
    found.append(("longest delay", f"{longest} steps", f"{longest * table.dt_ms:g} ms"))
    found.append(("file", kilobytes(report["table_file_bytes"]), "delays.h5"))
    return found


def _about(
    report: Report, table: DelayTable, chip: ChipProfile | None, formats: Sequence[str]
) -> Section:
    kinds = {"whole numbers" if one.integer else "floating point" for one in table.projections}
    facts = [
        ("run", f"{report['origin']['run']}, checkpoint {report['origin']['checkpoint']}"),
        ("chip", f"{chip.name}: {chip.description}" if chip else "none: no limits to keep to"),
        ("input", f"{table.input_channels:,} channels, steps of {table.dt_ms:g} ms"),
        (
            "populations",
            ", ".join(f"{one.name}: {one.size} {one.model.name}" for one in table.populations),
        ),
        ("weights", listed(sorted(kinds))),
        (
            "answer",
            f"{table.readout} of {table.output.name}, {table.tail_steps} steps after the input",
        ),
        ("classes", ", ".join(table.class_names)),
        (
            "files",
            ", ".join(["delays.h5", "sample.npz", "report.json", *(f"{one}/" for one in formats)]),
        ),
    ]
    pairs = sum(table.size(one.source) * table.size(one.target) for one in table.projections)
    lead = f"{table.synapses:,} synapses of {pairs:,} pairs of neurons, with delays in whole steps."
    return Section("about", "What was exported", lead, [Facts(facts)])


def _checks(report: Report) -> Section:
    """Every check that was made, and how it ended."""
    title = "Is it the same network?"
    if "agreement" not in report:
        lead = "It was not checked: verify=false. Without it nothing proves this table."
        return Section("checks", title, lead, [])
    found = report["agreement"]
    rows = [
        [
            "spikes, network against table in the simulator",
            f"{found['spikes_differing']:,} of {found['spikes_total']:,} differ",
        ],
        ["answers", f"{found['predictions_differing']:,} of {found['samples']:,} differ"],
        [
            "the readout, where spikes agree",
            f"{found['readouts_differing']:,} samples differ by more than rounding; at most "
            f"{found['potentials_max_difference']:.3g}",
        ],
    ]
    if nest := report.get("nest"):
        rows.append(
            [
                "spikes, NEST against the simulator",
                f"{nest['spikes_differing']:,} of {nest['spikes_total']:,} differ, in "
                f"{nest['samples']:,} samples",
            ]
        )
    exact = found["spikes_differing"] == 0
    lead = (
        f"Yes: {'every spike is the same' if exact else 'all but a few ties at the threshold'}, on "
        f"{found['samples']:,} test samples. What differs by more than rounding is not exported."
    )
    return Section("checks", title, lead, [Table("Checks", ["check", "outcome"], rows, words=[1])])


def _stages(report: Report, metric: str) -> Section:
    stages = report["stages"]
    changes = ["–", *(f"{one['changed']:,}" for one in stages[1:])]
    rows = [
        [one["name"], percent(one["accuracy"]), change, f"{one['synapses']:,}"]
        for one, change in zip(stages, changes, strict=True)
    ]
    first, last = stages[0]["accuracy"], stages[-1]["accuracy"]
    steps = [
        (points(after["accuracy"] - before["accuracy"]), after["name"])
        for before, after in itertools.pairwise(stages)
        if after["accuracy"] != before["accuracy"]
    ]
    where = "; ".join(f"{by} at “{name}”" for by, name in steps)
    lead = (
        f"{sentence(metric)} on {report['samples']:,} test samples: {percent(first)} as trained, "
        f"{percent(last)} from the file." + (f" Points: {where}." if where else "")
    )
    heads = ["network", metric, "answers changed by this step", "synapses"]
    return Section("stages", "What each step costs", lead, [Table("Step by step", heads, rows)])


def _costs(report: Report) -> Section:
    populations = [
        [
            name,
            one["model"],
            f"{one['neurons']:,}",
            "–" if one["spikes_per_sample"] is None else f"{one['spikes_per_sample']:,.0f}",
            kilobytes(one["table_bytes"]),
        ]
        for name, one in report["populations"].items()
    ]
    projections = [
        [
            name,
            f"{one['synapses']:,}",
            f"{one['synaptic_operations_per_sample']:,.0f}",
            f"{one['events_in_flight_max']:,.0f}",
            *(kilobytes(one[key]) for key in ("ring_bytes", "history_bytes", "table_bytes")),
        ]
        for name, one in report["projections"].items()
    ]
    operations = sum(
        one["synaptic_operations_per_sample"] for one in report["projections"].values()
    )
    lead = f"{operations:,.0f} synaptic operations for a sample."
    heads = ["projection", "synapses", "operations a sample", "events waiting, most"]
    heads += ["delay rings", "or spike histories", "in the table"]
    of_neurons = ["population", "model", "neurons", "spikes a sample", "in the table"]
    parts = [
        Table("Populations", of_neurons, populations, words=[1]),
        Table("Projections", heads, projections),
    ]
    return Section("costs", "What it costs to run", lead, parts)


def _delays(table: DelayTable) -> Section:
    figures = []
    for one in table.projections:
        counts = np.bincount(one.delay, minlength=one.max_delay + 1)
        chart = Chart(
            one.name,
            Axis(f"delay (steps of {table.dt_ms:g} ms)", -0.5, len(counts) - 0.5, whole=True),
            spanning("synapses", counts, zero=True, whole=True),
            described=f"Delays of {one.name}: {len(one.delay):,} synapses, mean "
            f"{one.delay.mean() if len(one.delay) else 0:.1f} steps",
        )
        chart.stairs(np.arange(len(counts) + 1) - 0.5, counts, "after", filled=True)
        figures.append(Figure(chart.svg()))
    lead = "How many synapses hold a spike back for how long."
    return Section("delays", "Delays", lead, [Figures(figures)])


def _loading(folder: str, formats: Sequence[str]) -> Section:
    lines = [
        (
            "from snn_delays.table import read_table, simulate\n"
            f'table = read_table("{folder}/delays.h5")  # plain arrays; needs no torch\n'
            "for one in table.projections:\n"
            "    print(one.name, one.pre, one.post, one.delay, one.weight)",
            "In Python, as arrays",
        ),
        (
            "from snn_delays.deploy import load_table\n"
            f'net = load_table("{folder}/delays.h5")  # spikes [T, N, channels] in, scores out',
            "In torch, as a module",
        ),
        (
            "import numpy\n"
            f'sample = numpy.load("{folder}/sample.npz")  # input, every spike, the answer',
            "The first test sample, to compare a chip or a simulator with",
        ),
    ]
    said = f"For other programs: {', '.join(f'{one}/' for one in formats)}." if formats else ""
    return Section("loading", "How to load it", said, [Commands(lines)])
