#!/usr/bin/env python
"""Try up to eleven changes at once on recordings held out of the training file.

One change at a time needs two runs for each, and compares only those. In a design of Plackett and
Burman (1946, Biometrika 33) twelve runs change half of all settings each, so that every effect is
a mean over all twelve; every other fold has the same runs with what is changed and what is not
exchanged, which keeps effects apart from how two changes act together.

    python scripts/study/screen.py scripts/study/screen.yaml --root DIR --folder runs/screen

The file is like that of study.py, with ``factors`` for ``variants`` and ``base``. An effect's
standard error is taken from how folds differ, over all factors: it holds what a change does to one
speaker and not to another. What is finished is not trained again.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from study import arguments, found, read, settings, train

FIRST = (1, 1, -1, 1, 1, 1, -1, -1, -1, 1, -1)  # its rotations and all −1 are orthogonal


def design(number: int) -> list[tuple[int, ...]]:
    """What each of twelve runs changes (1) and what not (−1); ``number`` counts folds from 0."""
    rows = [FIRST[shift:] + FIRST[:shift] for shift in range(len(FIRST))]
    rows.append((-1,) * len(FIRST))
    return [tuple((-1) ** number * sign for sign in row) for row in rows]


def effects(accuracies: Sequence[float], number: int) -> list[float]:
    """Of each column, the mean of the runs with it less that of those without."""
    rows = design(number)
    pairs = list(zip(rows, accuracies, strict=True))
    return [2 / len(rows) * sum(row[i] * one for row, one in pairs) for i in range(len(FIRST))]


def standard_error(by_fold: Sequence[Sequence[float]]) -> float:
    """Of a mean over folds, pooled over the factors."""
    if len(by_fold) < 2:
        return math.nan
    variances = [statistics.variance(each) for each in zip(*by_fold, strict=True)]
    return math.sqrt(statistics.mean(variances) / len(by_fold))


def table(names: Sequence[str], by_fold: dict[int, list[float]]) -> str:
    error = standard_error([values[: len(names)] for values in by_fold.values()])
    folds = ", ".join(map(str, by_fold))
    lines = [f"| change | effect, points (± {error:.1f}) | folds {folds} |", "| --- | --- | --- |"]
    for i, name in enumerate(names):
        each = [values[i] for values in by_fold.values()]
        cells = (name, f"{statistics.mean(each):+.1f}", " ".join(f"{one:+.1f}" for one in each))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = arguments(__doc__)
    options = parser.parse_intermixed_args()
    study = read(parser, options.study, "factors")
    factors: dict[str, list[str]] = study["factors"]
    if len(factors) > len(FIRST):
        parser.error(f"{options.study} has {len(factors)} factors; at most {len(FIRST)} fit")

    def trained(job: tuple[int, int]) -> dict[str, Any] | None:
        index, run = job
        fold = study["folds"][index]
        typed = settings(study, options.root, fold)
        # `design` may hold more columns than there are factors.
        for changes, sign in zip(factors.values(), design(index)[run], strict=False):
            typed += changes if sign > 0 else []
        folder = options.folder / str(fold) / str(run)
        summary = train(folder.absolute(), [*typed, *options.also], options.threads)
        print(fold, run, "failed" if summary is None else found(summary, "rounded"), flush=True)
        return summary

    by_fold: dict[int, list[float]] = {}
    runs = range(len(design(0)))
    with ThreadPoolExecutor(options.jobs) as pool:
        jobs = [(index, run) for index in range(len(study["folds"])) for run in runs]
        summaries = dict(zip(jobs, pool.map(trained, jobs), strict=True))
    for index, fold in enumerate(study["folds"]):
        each = [summaries[index, run] for run in runs]
        whole = [found(one, "rounded") for one in each if one is not None]
        if len(whole) == len(each):
            by_fold[fold] = effects(whole, index)
        else:
            print(f"fold {fold} is left out: {len(each) - len(whole)} runs have failed")
    if by_fold:
        text = table(list(factors), by_fold)
        (options.folder / "table.md").write_text(text, encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
