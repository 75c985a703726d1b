"""An export's page: what was exported, how it was proved, what it costs, how to load it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from snn_delays.report.page.chart import Axis, Chart, spanning
from snn_delays.report.page.document import (
    Commands,
    Facts,
    Figure,
    Figures,
    Page,
    Part,
    Section,
    Table,
    Text,
)
from snn_delays.report.sections.chips import kilobytes, listed
from snn_delays.report.trained import percent, points, sentence
from snn_delays.table.chips import ChipProfile
from snn_delays.table.table import INPUT, DelayTable

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
        sections.append(_limits(report, table, chip))
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


def _limits(report: Report, table: DelayTable, chip: ChipProfile) -> Section:
    """What the network uses of what the chip has."""
    found = report["chip"]
    delays = np.concatenate([np.zeros(0, np.int32), *(one.delay for one in table.projections)])
    weights = [one for one in table.projections if one.integer]
    bits = [one["membrane_bits"] for one in report.get("populations", {}).values()]
    into, out = _partners(table)
    rows = [
        ["delays (steps)", _range(delays), chip.delay.text.removesuffix(" steps")],
        [
            "weights",
            _range(np.concatenate([one.weight for one in weights])) if weights else "float",
            _between(chip.weights.low, chip.weights.high),
        ],
        ["sources into one neuron, most", f"{into:,}", _known(chip.fan.fan_in, chip, "fan.fan_in")],
        ["targets of one neuron, most", f"{out:,}", _known(chip.fan.fan_out, chip, "fan.fan_out")],
        [
            "v (bits)",
            str(max(bits)) if bits and all(bits) else "not measured",
            _known(chip.membrane.bits, chip, "membrane.bits"),
        ],
        [
            "neurons",
            ", ".join(dict.fromkeys(found["neurons"].values())),
            ", ".join(chip.neuron.models),
        ],
    ]
    parts: list[Part] = [
        Table("Used, and what the chip has", ["what", "here", chip.name], rows, words=[1, 2])
    ]
    total = max(sum(found["synapses"].values()), 1)
    clipped = sum(found["clipped"].values())
    facts = [
        ("later by", f"{found['latency_steps']} steps ({found['latency_ms']:g} ms)"),
        ("delays clipped", f"{clipped:,} of {total:,} ({percent(clipped / total)})"),
        ("delays times", f"{found['rescaled_by']:.3f}" if found["rescaled_by"] != 1 else "1"),
        ("synapses joined with another of their pair", f"{sum(found['joined'].values()):,}"),
        ("delays that need the chip's extensions", f"{sum(found['beyond_native'].values()):,}"),
    ]
    parts.append(Facts(facts))
    if found["not_simulated"]:
        parts.append(Text(f"Not as on the chip: {'; '.join(found['not_simulated'])}."))
    if found["not_checked"]:
        names = ", ".join(found["not_checked"])
        parts.append(Text(f"Not checked, since no public source says: {names}."))
    lead = f"It keeps to every limit of {chip.name} that is known."
    return Section("limits", "What it uses of the chip", lead, parts)


def _partners(table: DelayTable) -> tuple[int, int]:
    """Most different sources into one neuron, most different targets of one."""
    into = {one.name: np.zeros(one.size, int) for one in table.populations}
    out = {name: np.zeros(table.size(name), int) for name in (INPUT, *table.order)}
    for one in table.projections:
        pairs = np.unique(np.stack([one.pre, one.post]), axis=1)
        out[one.source] += np.bincount(pairs[0], minlength=len(out[one.source]))
        into[one.target] += np.bincount(pairs[1], minlength=len(into[one.target]))
    most = [max((int(one.max(initial=0)) for one in of.values()), default=0) for of in (into, out)]
    return most[0], most[1]


def _range(values: np.ndarray[Any, Any]) -> str:
    return f"{values.min():g} … {values.max():g}".replace("-", "−") if len(values) else "none"


def _between(low: int | None, high: int | None) -> str:
    return f"{low} … {high}".replace("-", "−") if low is not None and high is not None else "any"


def _known(limit: int | None, chip: ChipProfile, key: str) -> str:
    return f"{limit:,}" if limit is not None else "not known" if key in chip.unknown else "no limit"


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
