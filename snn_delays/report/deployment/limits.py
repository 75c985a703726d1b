"""What an exported network uses of its chip, beside what the chip has."""

from __future__ import annotations

from typing import Any

import numpy as np

from snn_delays.report.page.document import Facts, Part, Section, Table, Text
from snn_delays.report.words import percent
from snn_delays.table.chips import ChipProfile
from snn_delays.table.table import INPUT, DelayTable


def limits(report: dict[str, Any], table: DelayTable, chip: ChipProfile) -> Section:
    """What the network uses of what the chip has."""
    found = report["chip"]
    delays = np.concatenate([np.zeros(0, np.int32), *(one.delay for one in table.projections)])
    weights = [one for one in table.projections if one.integer]
    bits = [one["membrane_bits"] for one in report.get("populations", {}).values()]
    into, out = partners(table)
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


def partners(table: DelayTable) -> tuple[int, int]:
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
