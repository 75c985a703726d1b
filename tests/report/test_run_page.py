"""A run's page: what it says is what the run says, and nothing on it is broken."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from browser import Outline, opened, require_drawn, require_whole
from drawn_networks import delay_snn, enliven_
from typed_commands import Shell

from snn_delays import DelaySNN
from snn_delays.data import SpikeData
from snn_delays.evaluation import evaluate
from snn_delays.report import course
from snn_delays.report.activity import rates, spikes_of
from snn_delays.report.misread import read
from snn_delays.report.page.axis import Axis, spanning
from snn_delays.report.page.chart import Chart
from snn_delays.report.run_page import SECTIONS
from snn_delays.report.sections.chips import ChipCost, _lead, _rank
from snn_delays.report.sections.delays import layer_delays
from snn_delays.report.sections.robustness import settled
from snn_delays.table.chips import load_chip


@pytest.fixture
def page(runs: Path) -> str:
    """What training has left."""
    return (runs / "runs/learned/report.html").read_text(encoding="utf-8")


def test_a_page_is_whole_and_needs_nothing_else(page: str):
    require_whole(page)
    assert page.count("<svg") > 15
    assert page.count("<table>") >= 7


def test_the_page_of_training_is_that_of_the_command(there: Path, shell: Shell):
    """Networks and delays before training are drawn anew, and are the same."""
    path = there / "runs/learned/report.html"
    left = path.read_text(encoding="utf-8")
    path.unlink()
    assert "→ runs/learned/report.html" in shell("report", "run=runs/learned")
    again = path.read_text(encoding="utf-8")
    place = r"[^ ]*runs/learned"  # as it was typed
    assert re.sub(place, "", again) == re.sub(place, "", left)


def test_a_run_without_delays_has_a_page_without_them(there: Path, shell: Shell):
    shell("report", "run=runs/none", "file=page.html")
    outline = Outline(Path("page.html").read_text(encoding="utf-8"))
    assert {"answers", "chips", "learning"} <= set(outline.ids)
    assert not {"delays", "kernels"} & set(outline.ids)


def test_every_section_of_a_page_is_there(page: str):
    assert set(SECTIONS) - {"positions"} <= set(Outline(page).ids)


def test_mistakes_end_in_one_line(there: Path, shell: Shell):
    assert "file must be FILE.html" in shell.fails("report", "run=runs/learned", "file=page.pdf")
    assert "samples must be" in shell.fails("report", "run=runs/learned", "samples=0")
    (there / "runs/learned/delays.csv").write_text("epoch,layer\n")
    line = shell.fails("report", "run=runs/learned")
    assert "delays.csv is no history of delays" in line
    summary = there / "runs/learned/summary.json"
    summary.write_text(summary.read_text().replace('"wall_time_s"', '"other"'))
    assert "wall_time_s missing. Write it anew" in shell.fails("report", "run=runs/learned")
    summary.unlink()
    assert "the run has not ended" in shell.fails("report", "run=runs/learned")


def test_without_a_history_the_page_says_so(there: Path, shell: Shell):
    (there / "runs/learned/delays.csv").unlink()
    shell("report", "run=runs/learned")
    page = (there / "runs/learned/report.html").read_text(encoding="utf-8")
    assert "was not kept in this run" in page


@pytest.mark.parametrize("width", [1400, 380])
def test_a_page_opens_in_a_browser(runs: Path, width: int):
    require_drawn(runs / "runs/learned/report.html", width)


# What the sections say.


def network(data: SpikeData, **settings) -> DelaySNN:
    torch.manual_seed(1)
    sizes = [data.n_channels, 16, data.n_classes]
    return delay_snn(sizes, **{"max_delay": 8, "dropout": 0.0, "batch_norm": False, **settings})


def test_projections_hold_what_moved(data: SpikeData):
    start, net = network(data), network(data)
    with torch.no_grad():
        net.blocks[0].synapses.delay[3, 5, 0] += 2.5
        net.blocks[0].synapses.set_mask(torch.rand(16, data.n_channels, 1) < 0.5)
    found = layer_delays(net, start)
    assert [one.name for one in found] == [
        f"blocks.0.synapses: {data.n_channels} → 16",
        f"blocks.1.synapses: 16 → {data.n_classes}",
    ]
    first, mask = found[0], net.blocks[0].synapses.mask
    assert len(first.weight) == int(mask.sum())
    moved = np.flatnonzero(np.abs(first.moved) > 1e-5)
    expected = [[3, 5, 0]] if mask[3, 5, 0] else []
    assert first.index[moved].tolist() == expected
    assert (found[1].moved == 0).all()


def test_rates_are_spikes_within_own_steps(data: SpikeData):
    net = enliven_(network(data, batch_norm=True))
    (found,) = rates(net, data.test)
    total, steps = torch.zeros(16, dtype=torch.float64), 0
    for at in range(len(data.test)):  # one by one there is no padding
        batch = data.test.collate([at])
        (fired,) = spikes_of(net, batch).values()
        total += fired.sum((0, 1)).double()
        steps += len(fired)
    assert total.sum() > 0
    torch.testing.assert_close(found.share, total / steps)


def test_a_reading_finds_the_window_that_decides(data: SpikeData):
    net = enliven_(network(data, batch_norm=True))
    deployed = net.rounded().eval()
    answers = evaluate(deployed, data.test).predictions
    for at in range(4):
        one = read(deployed, net, data.test, at)
        assert one.answer == answers[at]
        assert one.label == data.test.labels[at]
        assert (one.lead > 0) == one.right
        first, last = one.window
        hidden = one.batch.spikes.clone()
        hidden[first : last + 1] = 0
        changed = one.batch._replace(spikes=hidden)
        found = course.scores(deployed, changed)[-1]
        assert int(found.argmax()) == one.without
        gained = float(course.lead(found, one.batch.labels)[0]) - one.lead
        assert gained == pytest.approx(one.gained, abs=1e-4)


def test_spread_takes_samples_from_all_over(data: SpikeData):
    assert course.spread(data.test, 20) is data.test
    some = course.spread(data.test, 3)
    assert some.labels.tolist() == data.test.labels[[0, 10, 19]].tolist()


def test_ticks_of_what_counts_are_whole():
    for high in (1, 2, 3, 7, 24, 40, 1000):
        ticks = Axis("epoch", 0, high, whole=True).ticks(6)
        assert all(at == int(at) for at, _ in ticks)
        assert 2 <= len(ticks) <= 8


def test_an_axis_spans_equal_values_and_none():
    for values in ([], [3.0, 3.0], [0.0], [float("nan"), 1.0]):
        axis = spanning("loss", values, zero=True)
        assert axis.low < axis.high


def test_a_chart_says_what_is_given_and_no_markup():
    chart = Chart("<b>", Axis("x & y", 0, 1), Axis("", 0, 2, names=["<a>", "b"]))
    chart.bar(0, 1, -0.4, 0.4, "right", said="<c>")
    svg = ElementTree.fromstring(chart.svg())
    texts = [one.text for one in svg.iter() if one.text]
    assert {"<b>", "x & y", "<a>", "<c>"} <= set(texts)


def test_a_raster_has_every_spike_once():
    steps, rows = np.array([1, 2, 3, 5, 2]), np.array([0, 0, 0, 0, 4])
    chart = Chart("", Axis("", -0.5, 9.5), Axis("", -0.5, 4.5))
    chart.raster(steps, rows, "ink")
    path = re.search(r' d="(M1 [^"]*)"', chart.inner())
    assert path is not None
    assert path[1] == "M1 0h3M5 0h1M2 4h1"


def test_values_that_are_no_numbers_interrupt_a_line():
    chart = Chart("", Axis("", 0, 10), Axis("", 0, 10))
    chart.line([0, 1, 2, 3], [1, float("nan"), 2, 3], "a")
    path = re.search(r'class="s-a"[^>]* d="([^"]*)"', chart.inner())
    assert path is not None
    assert (path[1].count("M"), path[1].count("L")) == (2, 1)


def test_the_command_takes_moved_data(there: Path, shell: Shell):
    assert "root=nowhere: no such folder" in shell.fails(
        "report", "run=runs/learned", "root=nowhere"
    )
    shutil.move("data", "elsewhere")
    shell("report", "run=runs/learned", "root=elsewhere", "samples=5")


def test_the_browser_sees_what_is_broken(tmp_path: Path):
    path = tmp_path / "broken.html"
    path.write_text(
        "<head></head><body><script>nothing.at.all</script><svg style='width:0;height:0'></svg>"
        "<p style='width: 900px'>wide</p></body>"
    )
    seen = opened(path, 380)
    assert len(seen["errors"]) == 1
    assert (seen["pictures"], seen["drawn"]) == (1, 0)
    assert seen["overflow"] > 500
    assert len(seen["wide"]) == 1


def test_it_settles_after_the_last_step_that_is_worse():
    assert settled(np.array([0.1, 0.5, 0.8, 0.7, 0.79, 0.8])) == 5
    assert settled(np.array([0.8, 0.8])) == 1
    assert settled(np.array([0.0, 0.0, 0.9])) == 3


def test_a_gain_on_a_chip_is_no_merit():
    chip = load_chip("nest")
    costs = [
        ChipCost(replace(chip, name=name), score, changed)
        for name, score, changed in (("up", 0.9, 30), ("same", 0.8, 0), ("down", 0.7, 9))
    ]
    ranked = sorted(costs, key=lambda one: _rank(one, 0.8))
    assert [one.chip.name for one in ranked] == ["same", "up", "down"]
    said = _lead(ranked, 0.8, "accuracy", "20 validation samples")
    assert said == (
        "same loses least: accuracy 80.0 % on 20 validation samples, against 80.0 % with delays "
        "rounded (0.0 points). No answer changes. Most is lost on down: −10.0 points."
    )
