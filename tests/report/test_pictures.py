"""Pictures say what was measured: which sample, what was answered, which delays."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_networks import delay_snn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from torch.nn.utils.parametrize import register_parametrization
from typed_commands import SHORT, SMALL, Shell

from snn_delays import DelaySNN, losses
from snn_delays.data import SpikeData
from snn_delays.evaluation import evaluate
from snn_delays.layers.networks import delay_layers
from snn_delays.report import course, pictures


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that is saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *args, **kwargs) -> None:
        figures.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def network(data: SpikeData, **settings) -> DelaySNN:
    torch.manual_seed(1)
    sizes = [data.n_channels, 16, data.n_classes]
    return delay_snn(sizes, **{"max_delay": 8, "dropout": 0.0, **settings})


def words(figure: Figure) -> str:
    """All that is written on a figure, but for the numbers at ticks."""
    axes = figure.axes
    said = [text for axis in axes for text in (axis.get_title("left"), axis.get_xlabel())]
    said += [axis.get_ylabel() for axis in axes]
    legends = [axis.get_legend() for axis in axes]
    return "\n".join(said + [t.get_text() for one in legends if one for t in one.get_texts()])


def counts_whole(axis: Axes, which: str) -> bool:
    ticks = getattr(axis, f"get_{which}ticks")()
    return bool((np.asarray(ticks) % 1 == 0).all())


def answer(net: DelaySNN, data: SpikeData, sample: int) -> int:
    return int(evaluate(net.rounded(), data.test).predictions[sample])


@pytest.mark.parametrize("readout", losses.READOUTS)
def test_scores_after_each_step_are_those_of_a_sample_that_ends_there(
    data: SpikeData, readout: str
):
    batch = data.test.collate(range(6))
    net = network(data, readout=readout).eval()
    with torch.no_grad():
        v = net(batch.spikes)
    durations = batch.lengths + net.tail
    found = course.gathered(v, durations, readout)
    assert torch.equal(found.argmax(2)[-1], losses.score(v, durations, readout).argmax(1))
    for steps in (1, 7, len(v)):
        alone = losses.score(v[:steps], durations.clamp(max=steps), readout)
        torch.testing.assert_close(found[steps - 1], alone - alone.mean(1, keepdim=True))


def test_all_samples_are_answered_as_in_evaluation(data: SpikeData, monkeypatch):
    monkeypatch.setattr(course, "BATCH", 7)  # batches of several lengths
    net = network(data).rounded().eval()
    right, leads = course.right_over_time(net, data.test)
    assert right[-1] == pytest.approx(evaluate(net, data.test).score)
    assert (leads > 0).mean() == pytest.approx(right[-1])
    assert len(right) == data.test.lengths.max() + net.tail


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "learned delays"),
        ({"learn_delays": False}, "fixed random delays"),
        ({"max_delay": 0}, "no delays"),
    ],
)
def test_pictures_name_the_delays_that_a_network_has(
    data: SpikeData, drawn: list[Figure], tmp_path: Path, settings: dict, kind: str
):
    net = network(data, **settings)
    assert pictures.kind(net) == kind
    pictures.draw_networks([(kind, net)], data, tmp_path / "new/comparison.png")
    if net.max_delay:
        pictures.draw_delays(net, copy.deepcopy(net), data.dt_ms, tmp_path / "delays.png")
        pictures.draw_readout(net, data, tmp_path / "readout.png")
    assert len(drawn) == (3 if net.max_delay else 1)
    for figure in drawn:
        assert kind in words(figure)
        if figure.axes[0].get_ylabel() == "share of Σ|w|":
            assert figure.axes[0].get_title("left").startswith("blocks.0.synapses: 12 → 16")
        assert ("learned" in words(figure)) == (kind == "learned delays")


def test_the_readout_says_which_sample_was_answered_how(
    data: SpikeData, drawn: list[Figure], tmp_path: Path
):
    pictures.draw_readout(net := network(data), data, tmp_path / "readout.png")
    raster, own, shuffled = drawn[0].axes
    names = data.class_names
    label = int(data.test.labels[0])
    assert raster.get_title("left") == f"input: test sample 0 of 20, of class {names[label]}"
    given = answer(net, data, 0)
    verdict = "right" if given == label else "wrong"
    assert own.get_title("left") == f"learned delays: answers {names[given]}, {verdict}"
    assert own.get_title("left").endswith(("right", "wrong"))
    assert shuffled.get_title("left").startswith("the same delays, shuffled: answers ")
    lines = own.get_lines()
    # The right class stands out, and so does another one that was answered.
    assert lines[-1].get_color() == "tab:blue"
    assert (lines[-2].get_color() == "tab:red") == (given != label)
    for axis, which in ((raster, "x"), (raster, "y"), (own, "x"), (shuffled, "x")):
        assert counts_whole(axis, which)
    # Nothing is cut off.
    assert own.get_xlim()[1] >= len(lines[0].get_ydata()) - 1


def test_runs_are_drawn_beside_each_other(there: Path, shell: Shell, drawn: list[Figure]):
    out = shell("evaluate", "run=[runs/none,runs/learned]", "plot=new/both.png")
    assert "→ new/both.png" in out
    assert imread(there / "new/both.png").shape[2] == 4
    text = words(drawn[0])
    assert "of 32 test samples" in text
    for kind in ("no delays", "learned delays"):
        assert f"{kind}\nanswers pattern" in text
    shell("train", *SMALL, *SHORT, "trainer.epochs=1", "run=runs/again", "seed=1")
    shell("evaluate", "run=[runs/learned,runs/again]", "plot=same.png")
    assert "learned\nanswers" in words(drawn[-1])
    assert "again\nanswers" in words(drawn[-1])


def test_runs_on_other_data_are_not_drawn_together(there: Path, shell: Shell):
    shell("train", *SMALL, *SHORT, "trainer.epochs=1", "run=runs/other", "dataset.seed=1")
    line = shell.fails("evaluate", "run=[runs/none,runs/other]", "plot=both.png")
    assert "plot=both.png: runs/other has other test samples than runs/none" in line
    assert not (there / "both.png").exists()
    assert "NAME.png, got 'both'" in shell.fails("evaluate", "run=runs/none", "plot=both")


class Within(torch.nn.Module):
    """A range of one's own for delays."""

    def forward(self, delay: torch.Tensor) -> torch.Tensor:
        return delay.clamp(0, 5)


def test_pictures_leave_delays_that_a_parametrisation_makes_as_they_are(
    data: SpikeData, tmp_path: Path
) -> None:
    net, start = network(data), network(data)
    for one in (net, start):
        for layer in delay_layers(one):
            register_parametrization(layer, "delay", Within(), unsafe=True)
    before = [layer.delay.clone() for layer in delay_layers(net)]
    pictures.draw_delays(net, start, data.dt_ms, tmp_path / "delays.png")
    pictures.draw_readout(net, data, tmp_path / "readout.png")
    assert (tmp_path / "readout.png").stat().st_size > 1000
    for layer, delay in zip(delay_layers(net), before, strict=True):
        assert torch.equal(layer.delay, delay)


@pytest.mark.parametrize("seed", range(4))
def test_scores_of_both_orders_of_delays_fit_into_the_picture(
    data: SpikeData, tmp_path: Path, drawn: list[Figure], seed: int
) -> None:
    net = network(data)
    torch.manual_seed(seed)
    with torch.no_grad():
        for layer in delay_layers(net):
            layer.weight.normal_()
    pictures.draw_readout(net, data, tmp_path / "readout.png")
    for axis in drawn[0].axes[1:]:
        scores = np.array([line.get_ydata() for line in axis.get_lines()], float)
        low, high = axis.get_ylim()
        assert low <= scores.min()
        assert scores.max() <= high
