#!/usr/bin/env python
"""Ours against the published stack (DCLS 0.1.1, SpikingJelly 2.0.0): time and memory.

Both run in one process, in turns, after a warm-up; medians. Needs the ``dev`` extra, for DCLS.

    python scripts/bench/compare.py [--rows a,b] [--root DIR] [--json FILE]

Rows: a training step; b one delay layer against its range; c evaluation, delays rounded;
d streaming; e peak memory; f an epoch on recordings (--root); g neurons alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict

from epoch import epochs
from memory import peaks
from options import Options, parse
from recipes import MEAN_COUNT, SHARE
from rows import DENSITY_B, evaluations, layers, scans, streaming, training_steps
from timing import Entry, heading, line, machine, versions

from snn_delays.loops.processor import prepare_cpu

ROWS: dict[str, tuple[str, Callable[[Options], Iterator[Entry]]]] = {
    "a": ("(a) training step, {steps} steps, batch {batch}", training_steps),
    "b": (
        f"(b) one layer {{width_b}} → {{width_b}}, forward + backward, {{steps_b}} steps, "
        f"batch {{batch_b}}, spikes of density {DENSITY_B:g}; ×: growth",
        layers,
    ),
    "c": ("(c) evaluation, delays rounded, {steps} steps", evaluations),
    "d": ("(d) streaming, delays rounded, one sample, one thread", streaming),
    "e": (
        "(e) peak memory above what was there before the first of two steps, measured once",
        peaks,
    ),
    "f": ("(f) an epoch on recordings, batch {batch}, measured once", epochs),
    "g": ("(g) neurons alone, forward + backward", scans),
}


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments, (__doc__ or "").splitlines()[0])
    if options.prepared:  # before the first operation, since worker threads inherit it
        prepare_cpu()
    about = {
        "machine": machine(options.device),
        "versions": versions(),
        "process": "prepared" if options.prepared else "plain",
    }
    print(about["machine"])
    print(", ".join(f"{name} {version}" for name, version in versions().items()))
    print(
        f"medians of {options.repeats}; a {about['process']} process; fp32"
        + (", and autocast to bf16 (the published stack is fp32 as published)" * options.bf16)
    )
    columns = ["ours", "published"]
    found: list[Entry] = []
    for row in options.rows:
        title, measure = ROWS[row]
        wide = [*columns, "ours bf16", "published bf16"] if row == "a" and options.bf16 else columns
        heading(title.format_map(vars(options)), wide)
        for entry in measure(options):
            found.append(entry)
            line(entry, wide)
    if options.json:
        report = {
            **about,
            "settings": asdict(options),
            "inputs": {"share_by_tens": SHARE, "mean_count": MEAN_COUNT, "density_b": DENSITY_B},
            "entries": [entry.as_json() for entry in found],
        }
        text = json.dumps(report, indent=2, ensure_ascii=False, default=str)
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
