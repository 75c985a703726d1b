"""What is computed of runs beside each other, how it is written, and what the picture shows."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from snn_delays.errors import UsageError
from snn_delays.report.comparison.files import write_comparison
from snn_delays.report.comparison.numbers import (
    MEASURES,
    Group,
    Numbers,
    Result,
    TestSet,
    numbers_of,
)
from snn_delays.report.comparison.picture import draw_comparison

SUMMARY = {
    "metric": "accuracy",
    "chance": 0.125,
    "last": {
        "test": {
            "float": {"accuracy": 0.75, "known_speakers": None, "unseen_speakers": None},
            "rounded": {"accuracy": 0.5, "known_speakers": None, "unseen_speakers": None},
        }
    },
    "parameters": 176,
    "exported_synapses": {"last": 160},
    "seconds_per_epoch": 0.5,
}


def group(name: str, *accuracies: float, asked: int = 0) -> Group:
    empty: Numbers = {one.name: None for one in MEASURES}
    results = [
        Result(f"{name}/{seed}", seed, 5, 2, empty | {"test_float": one, "test_rounded": one})
        for seed, one in enumerate(accuracies)
    ]
    return Group(name, asked or len(results), results)


def test_numbers_of_a_summary():
    found = numbers_of(SUMMARY)
    assert list(found) == [one.name for one in MEASURES]
    assert found["rounding_loss"] == 0.25
    assert found["known_speakers"] is None
    assert found["synapses"] == 160
    for wrong, expected in (
        ({"parameters": True}, "parameters must be a number >= 0, got True"),
        ({"seconds_per_epoch": None}, "seconds_per_epoch must be a number >= 0, got None"),
        ({"seconds_per_epoch": float("inf")}, "seconds_per_epoch must be a number >= 0, got inf"),
        ({"last": {"test": []}}, "last.test.float.accuracy is missing"),
        ({"metric": "mAP"}, "last.test.float.mAP is missing"),
        ({"metric": None}, "metric is missing"),
    ):
        with pytest.raises(UsageError, match=expected):
            numbers_of(SUMMARY | wrong)


def test_of_one_seed_there_is_no_deviation_and_of_some_seeds_no_mean():
    assert group("one", 0.5).std("test_float") is None
    three = group("three", 0.25, 0.5, 1.0)
    assert three.mean("test_float") == pytest.approx(1.75 / 3)
    assert three.std("test_float") == statistics.stdev([0.25, 0.5, 1.0])
    three.results[1].numbers["parameters"] = 3.0
    assert three.values("parameters") == []


def test_files_say_what_is_there_and_what_is_not(tmp_path: Path):
    named = TestSet(
        "a set, 8 test samples", [group("a|b", 0.25, 0.5, asked=3), group("c", asked=1)]
    )
    write_comparison(tmp_path, [named], [("a|b/2", "it failed")])
    found = list(csv.DictReader((tmp_path / "comparison.csv").read_text().splitlines()))
    assert [(row["setting"], row["n"], row["runs_asked"]) for row in found] == [
        ("a|b", "2", "3"),
        ("c", "0", "1"),
    ]
    assert float(found[0]["test_float_mean"]) == 0.375
    assert found[1]["test_float_mean"] == ""
    text = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert "| a\\|b | 2 of 3 | 37.5 ± 17.7 | 37.5 ± 17.7 |" in text
    assert "| a\\|b/2 | it failed |" in text


@pytest.mark.filterwarnings("error")  # such as: no room for the panels
@pytest.mark.parametrize(
    ("accuracies", "begins", "said"),
    [((0.2, 0.9), 0, False), ((0.930, 0.934), 91, True), ((0.999, 1.0), 97, True)],
)
def test_an_axis_that_does_not_begin_at_0_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    accuracies: tuple[float, ...],
    begins: int,
    said: bool,
):
    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure,
        "savefig",
        lambda self, *args, **how: (figures.append(self), save(self, *args, **how)),
    )
    one = TestSet("a set", [group("a", *accuracies), group("none there", asked=2)])
    draw_comparison([one, one], tmp_path / "comparison.png")
    axis = figures[0].axes[0]
    first, last = axis.get_xlim()
    assert (first, last <= 100) == (begins, True)
    assert last - first >= 3
    assert (f"; the axis begins at {begins} %" in axis.get_xlabel()) == said
    points = [x for line in axis.lines for x in line.get_xdata() if line.get_marker() == "o"]
    assert points == pytest.approx([100 * one for one in accuracies])
