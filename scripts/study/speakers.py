#!/usr/bin/env python
"""Compare settings by speakers held out of the training file; the test file plays no part.

Every variant is trained once per fold, and is validated, delays rounded, after its last epoch, on a
speaker that it never heard. A fold is also a seed. What is finished is not trained again.

    python scripts/study/speakers.py scripts/study/fsdd.yaml --root DIR --folder runs/study

The file names variants and what each changes::

    common: [experiment=shd_cadlif, trainer.epochs=30]
    base: base
    variants:
      base: []
      finer steps: [dataset.dt_ms=5]
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

TRAIN = "from snn_delays.cli.commands import train; train()"


def train(folder: Path, settings: Sequence[str]) -> dict[str, Any] | None:
    """The summary of a run, trained, or gone on with, as far as it is not finished."""
    summary = folder / "summary.json"
    if not summary.exists():
        begun = (folder / "config.yaml").exists()
        given = [f"run={folder}", *(["resume=true"] if begun else settings)]
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / f"{folder.name}.log").open("a", encoding="utf-8") as log:
            subprocess.run([sys.executable, "-c", TRAIN, *given], stdout=log, stderr=log)
    if not summary.exists():
        print(f"{folder} has failed: see {folder}.log", file=sys.stderr)
        return None
    return json.loads(summary.read_text(encoding="utf-8"))


def found(summary: dict[str, Any], how: str) -> float:
    return 100 * summary["last"]["validation"][how]["accuracy"]


def mean_std(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def row(name: str, runs: dict[int, dict[str, Any]], base: dict[int, dict[str, Any]]) -> str:
    """A line of the table; the gain is over the same folds of the base."""
    rounded = [found(one, "rounded") for one in runs.values()]
    lost = [found(one, "float") - found(one, "rounded") for one in runs.values()]
    pairs = [found(runs[f], "rounded") - found(base[f], "rounded") for f in runs if f in base]
    seconds = statistics.median(one["seconds_per_epoch"] for one in runs.values())
    folds = " ".join(f"{one:.1f}" for one in rounded)
    gain = mean_std(pairs) if pairs else "?"
    return f"| {name} | {mean_std(rounded)} | {gain} | {folds} | {mean_std(lost)} | {seconds:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--root", type=Path, required=True, help="folder with shd_train.h5")
    parser.add_argument("--folder", type=Path, required=True, help="where runs and table go")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="speakers")
    parser.add_argument("--only", nargs="+", help="names of variants")
    options = parser.parse_args()
    study = yaml.safe_load(options.study.read_text(encoding="utf-8"))
    variants: dict[str, list[str]] = study["variants"]
    chosen = options.only or list(variants)
    if unknown := [name for name in (*chosen, study["base"]) if name not in variants]:
        parser.error(f"no such variants: {unknown}; {options.study} has {list(variants)}")
    runs: dict[str, dict[int, dict[str, Any]]] = {}
    for name in chosen:
        folder = options.folder / re.sub(r"\W+", "_", name)
        for fold in options.folds:
            settings = [
                *study["common"],
                *variants[name],
                f"dataset.root={options.root}",
                "dataset.split=speaker",
                f"dataset.valid_speakers=[{fold}]",
                f"seed={fold}",
            ]
            summary = train((folder / str(fold)).absolute(), settings)
            if summary is not None:
                runs.setdefault(name, {})[fold] = summary
        base = runs.get(study["base"], {})
        lines = [
            "| variant | rounded, % | gain | folds | float − rounded | s an epoch |",
            "| --- | --- | --- | --- | --- | --- |",
            *(row(variant, of, base) for variant, of in runs.items()),
        ]
        (options.folder / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(lines[-1], flush=True)


if __name__ == "__main__":
    main()
