"""A comparison as files: CSV for programs, Markdown for people. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from snn_delays.files.atomic import write_atomically, write_csv
from snn_delays.report.comparison.numbers import MEASURES, TestSet
from snn_delays.report.words import sentence


def write_comparison(
    folder: Path, test_sets: Sequence[TestSet], missing: Sequence[tuple[str, str]]
) -> None:
    """``comparison.csv`` and ``comparison.md``.

    Args:
        missing: runs that are not among the numbers, and why.

    Raises:
        UsageError: the file system refuses.
    """
    numbers = [f"{one.name}_{which}" for one in MEASURES for which in ("mean", "std")]
    head = ["test_set", "setting", "runs_asked", "n", "seeds", "epochs", *numbers]
    write_csv(folder / "comparison.csv", head, _rows(test_sets))
    # A path that is not valid text is escaped.
    text = _markdown(test_sets, missing).encode(errors="backslashreplace")
    write_atomically(folder / "comparison.md", text)


def _rows(test_sets: Sequence[TestSet]) -> Iterator[dict[str, Any]]:
    """One for each group; accuracies are shares, an empty cell is no number."""
    for test_set in test_sets:
        for group in test_set.groups:
            row: dict[str, Any] = {"test_set": test_set.title, "setting": group.name}
            row |= {"runs_asked": group.asked, "n": len(group.results)}
            row["seeds"] = " ".join(str(one.seed) for one in group.results)
            row["epochs"] = " ".join(map(str, sorted({one.epochs for one in group.results})))
            for one in MEASURES:
                row[f"{one.name}_mean"] = group.mean(one.name)
                row[f"{one.name}_std"] = group.std(one.name)
            yield row


def _markdown(test_sets: Sequence[TestSet], missing: Sequence[tuple[str, str]]) -> str:
    """The table that is printed, every single run, and what is not in it."""
    lines = []
    for test_set in test_sets:
        shown = test_set.shown()
        table = _table(test_set.columns(shown), test_set.rows(shown))
        lines += [
            f"## {test_set.title}",
            "",
            f"{sentence(test_set.headline())}.",
            "",
            *table,
            *(f"- {one}" for one in test_set.notes()),
        ]
        single = [
            [
                group.name,
                str(one.seed),
                *(measure.shown(one.numbers[measure.name]) for measure in shown),
                one.run,
            ]
            for group in test_set.groups
            for one in group.results
        ]
        head = ["setting", "seed", *(one.title for one in shown), "run"]
        lines += ["", "Single runs:", "", *_table(head, single)]
    if missing:
        lines += [
            "## Not in the tables",
            "",
            *_table(["run", "why"], [list(one) for one in missing]),
        ]
    return "\n".join(lines)


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    def line(cells: list[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    return [line(head), line(["---"] * len(head)), *map(line, rows), ""]
