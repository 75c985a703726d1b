#!/usr/bin/env python
"""Compare settings on recordings held out of the training file; the test file plays no part.

Every variant is trained once per fold and validated after its last epoch, as trained and with
delays rounded. What is finished is not trained again.

    python scripts/study/study.py scripts/study/fsdd.yaml --root DIR --folder runs/study

The file names variants and what each changes; in ``each`` a fold's number stands for {fold}::

    common: [experiment=shd_cadlif, trainer.epochs=30]
    each: [dataset.split=speaker, "dataset.valid_speakers=[{fold}]", "seed={fold}"]
    folds: [0, 1, 2, 3, 4]
    base: base
    variants:
      base: []
      finer steps: [dataset.dt_ms=5]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from snn_delays.cli.child import PROGRAM


def train(folder: Path, settings: Sequence[str], threads: int | None) -> dict[str, Any] | None:
    """The summary of a run, trained, or gone on with, as far as it is not finished."""
    summary = folder / "summary.json"
    if not summary.exists():
        begun = (folder / "config.yaml").exists()
        given = [f"run={folder}", *(["resume=true"] if begun else settings)]
        folder.parent.mkdir(parents=True, exist_ok=True)
        limit = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-c", PROGRAM, *given]
        with (folder.parent / f"{folder.name}.log").open("a", encoding="utf-8") as log:
            subprocess.run(command, stdout=log, stderr=log, env={**os.environ, **limit})
    if not summary.exists():
        print(f"{folder} has failed: see {folder}.log", file=sys.stderr)
        return None
    return json.loads(summary.read_text(encoding="utf-8"))


def found(summary: dict[str, Any], how: str) -> float:
    return 100 * summary["last"]["validation"][how]["accuracy"]


def mean_std(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def mean_error(values: Sequence[float]) -> str:
    """Mean and its standard error."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{statistics.mean(values):+.1f} ± {error:.1f}"


def row(name: str, runs: dict[int, dict[str, Any]], base: dict[int, dict[str, Any]]) -> str:
    """A line of the table; the gain is over the same folds of the base."""
    folds = sorted(runs)
    rounded = [found(runs[fold], "rounded") for fold in folds]
    lost = [found(runs[fold], "float") - found(runs[fold], "rounded") for fold in folds]
    pairs = [found(runs[f], "rounded") - found(base[f], "rounded") for f in folds if f in base]
    seconds = statistics.median(one["seconds_per_epoch"] for one in runs.values())
    cells = [
        *(name, mean_std(rounded), mean_error(pairs) if pairs else "?"),
        " ".join(f"{one:.1f}" for one in rounded),
        *(mean_std(lost), f"{max(lost):.1f}", f"{seconds:.1f}"),
    ]
    return f"| {' | '.join(cells)} |"


HEAD = (
    "| variant | rounded, % | gain ± its standard error | folds | float − rounded | at most | "
    "s an epoch |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)


def arguments(text: str | None) -> argparse.ArgumentParser:
    """What every study is given; ``text`` says in its first line what it does."""
    parser = argparse.ArgumentParser(description=(text or "").splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--root", type=Path, required=True, help="the data set's folder")
    parser.add_argument("--folder", type=Path, required=True, help="where runs and table go")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once")
    parser.add_argument("--threads", type=int, help="of each training")
    parser.add_argument("also", nargs="*", help="key=value of every training")
    return parser


def read(parser: argparse.ArgumentParser, path: Path, *needed: str) -> dict[str, Any]:
    """A study's file; ends in one line where it cannot be read or lacks a key."""
    try:
        study = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        parser.error(f"{path}: not a readable study: {' '.join(str(error).split())}")
    keys = list(study) if isinstance(study, dict) else []
    if missing := [key for key in ("common", "each", "folds", *needed) if key not in keys]:
        parser.error(
            f"{path} has no {', '.join(missing)}, but {', '.join(map(str, keys)) or 'no keys'}. "
            "Files with variants and a base are for study.py, with factors for screen.py."
        )
    return study


def settings(study: dict[str, Any], root: Path, fold: int) -> list[str]:
    """Of every training of a fold."""
    each = [one.replace("{fold}", str(fold)) for one in study["each"]]
    return [*study["common"], f"dataset.root={root.absolute()}", *each]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--folds", type=int, nargs="+", help="some of the folds")
    parser.add_argument("--only", nargs="+", help="names of variants")
    options = parser.parse_intermixed_args()
    study = read(parser, options.study, "variants", "base")
    variants: dict[str, list[str]] = study["variants"]
    chosen = options.only or list(variants)
    if unknown := [name for name in (*chosen, study["base"]) if name not in variants]:
        parser.error(f"no such variants: {unknown}; {options.study} has {list(variants)}")
    folds = options.folds or study["folds"]
    runs: dict[str, dict[int, dict[str, Any]]] = {}

    def trained(job: tuple[str, int]) -> None:
        name, fold = job
        typed = [*settings(study, options.root, fold), *variants[name], *options.also]
        folder = options.folder / re.sub(r"\W+", "_", name) / str(fold)
        summary = train(folder.absolute(), typed, options.threads)
        if summary is not None:
            runs.setdefault(name, {})[fold] = summary
        base = runs.get(study["base"], {})
        rows = (row(one, dict(runs[one]), dict(base)) for one in variants if one in runs)
        options.folder.mkdir(parents=True, exist_ok=True)
        (options.folder / "table.md").write_text("\n".join([*HEAD, *rows, ""]), encoding="utf-8")
        print(name, fold, "failed" if summary is None else found(summary, "rounded"), flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(trained, [(name, fold) for name in chosen for fold in folds]))
    print((options.folder / "table.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
