"""Several runs on one page: which are compared, and that means and spreads are theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import require_drawn, require_whole
from typed_commands import Shell

from snn_delays.callbacks.delay_history import Count
from snn_delays.report.comparison.numbers import MEASURES, Group, Result, TestSet
from snn_delays.report.comparison.page import Compared, comparison_page


def result(run: str, seed: int, rounded: float) -> Result:
    numbers = dict.fromkeys([one.name for one in MEASURES], None)
    numbers |= {"test_float": rounded + 0.02, "test_rounded": rounded, "rounding_loss": 0.02}
    numbers |= {"parameters": 10.0, "seconds_per_epoch": 1.0}
    return Result(run, seed, 2, 1, numbers, chance=0.1)


def compared(sigma: float, delays: str) -> Compared:
    rows = [
        {"epoch": epoch, "sigma": sigma / epoch, "loss": 2 / epoch, "valid_loss": 2.1 / epoch}
        | {"accuracy": 0.2 * epoch, "valid_accuracy": 0.3 * epoch, "delay_change": 0.1}
        for epoch in (1, 2)
    ]
    counts = [Count(epoch, "one", at, at, 5, 0.5) for epoch in (0, 1, 2) for at in (0, 1)]
    return Compared(rows, {"model.delays": delays, "trainer.epochs": 2}, counts)


@pytest.fixture
def page() -> str:
    learned = Group("model.delays=learned <&>", 3, [result("a", 0, 0.8), result("b", 1, 0.9)])
    fixed = Group("model.delays=fixed", 1, [result("c", 0, 0.5)])
    runs = {"a": compared(2, "learned"), "b": compared(3, "learned"), "c": compared(2, "fixed")}
    sets = [TestSet("shd, 20 test samples", [learned, fixed])]
    return comparison_page(sets, runs, [("d", "it has not ended")]).html()


def test_means_are_over_seeds_and_what_differs_is_told(page: str):
    outline = require_whole(page)
    assert outline.ids[1:] == ["scores", "settings", "curves", "delays", "missing"]
    assert "A (model.delays=learned &lt;&amp;&gt;), 85.0 ± 7.1 % (n = 2)" in page
    assert "85.0 ± 7.1</td>" in page
    assert "2 of 3</td>" in page
    assert "1 of 2 settings differ." in page
    assert "it has not ended" in page
    assert "not all have the same seeds: A: 0 1; B: 0." in page
    # Five curves that all have (no rate), delays of one layer, and the scores.
    assert page.count("<svg") == 5 + 1 + 1


def test_runs_of_one_setting_differ_in_nothing():
    group = Group("all settings alike", 2, [result("a", 0, 0.8), result("b", 1, 0.8)])
    runs = {name: compared(2, "learned") for name in "ab"}
    page = comparison_page([TestSet("shd, 20 test samples", [group])], runs, []).html()
    require_whole(page)
    assert "All settings are alike but for the seed." in page
    assert "Best in the mean" not in page


def test_every_test_set_has_sections_of_its_own():
    groups = [Group("one", 1, [result("a", 0, 0.8)]), Group("two", 1, [result("b", 0, 0.8)])]
    runs = {name: compared(2, "learned") for name in "ab"}
    sets = [
        TestSet(f"{name}, 20 test samples", [of]) for name, of in zip("xy", groups, strict=True)
    ]
    outline = require_whole(comparison_page(sets, runs, []).html())
    assert {"scores0", "scores1", "delays0", "delays1"} <= set(outline.ids)


@pytest.mark.parametrize("typed", ["run=[runs/learned,runs/none]", "run=runs"])
def test_several_runs_are_compared(there: Path, shell: Shell, typed: str):
    assert "→ comparison.html" in shell("report", typed)
    page = (there / "comparison.html").read_text(encoding="utf-8")
    outline = require_whole(page)
    assert {"scores", "settings", "curves", "delays"} <= set(outline.ids)
    assert ">model.delays</th>" in page


@pytest.mark.parametrize("width", [1400, 380])
def test_it_opens_in_a_browser(page: str, tmp_path: Path, width: int):
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    require_drawn(tmp_path / "page.html", width)


def test_what_has_not_ended_is_named(there: Path, shell: Shell):
    (there / "runs/none/summary.json").unlink()
    out = shell("report", "run=runs", "file=page.html")
    assert "runs/none is left out" in out
    assert "2 of 2 epochs. Go on with it" in Path("page.html").read_text(encoding="utf-8")
    (there / "runs/learned/summary.json").unlink()
    assert "none of 2 runs has ended" in shell.fails("report", "run=runs")
