"""The Python on the pages of docs/ runs as it stands there, much of it on an exported network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm_models
import torch
from drawn_networks import random_network
from written_pages import DOCS, PAGES, blocks

from snn_delays.deploy import integer_table
from snn_delays.table import DelayTable, predict, write_table
from snn_delays.table.simulator.trials import Recording, Sample, trials

WITH_PYTHON = {page.relative_to(DOCS).as_posix() for page in PAGES if blocks(page, "python")}
# Those with a test of their own below. All others run, with an exported network at hand.
LOOKED_AT = set(re.findall(r'names_after\("([^"]+)"\)', Path(__file__).read_text("utf-8")))


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DelayTable:
    """The files that the pages name, in the folder that a reader would be in."""
    net = random_network(1)
    table = integer_table(net, dt_ms=10.0, class_names=[str(n) for n in range(net.sizes[-1])])
    (tmp_path / "runs/mine/export").mkdir(parents=True)
    for path in ("delays.h5", "runs/mine/export/delays.h5"):
        write_table(table, tmp_path / path)
    recording, rng = Recording(table), np.random.default_rng(0)
    shape = (20, table.input_channels)
    samples = (Sample(n, 0, rng.poisson(0.5, shape).astype(np.float32)) for n in range(4))
    for trial in trials(table, samples):
        recording.add(trial)
    recording.write(tmp_path / "spikes.npz")
    monkeypatch.chdir(tmp_path)
    return table


def names_after(page: str) -> dict[str, Any]:
    """What the blocks of a page, run one after the other, leave behind."""
    names: dict[str, Any] = {}
    for block in blocks(DOCS / page, "python"):
        exec(compile(block, page, "exec"), names)
    return names


@pytest.mark.parametrize("page", sorted(WITH_PYTHON - LOOKED_AT))
def test_page(page: str, table: DelayTable, unchecked: None) -> None:
    names_after(page)


def test_pages_have_code() -> None:
    assert WITH_PYTHON >= LOOKED_AT


def test_delays(unchecked: None, capsys: pytest.CaptureFixture[str]) -> None:
    names_after("tutorials/delays.md")
    sigmas, answers = capsys.readouterr().out.splitlines()[:2]
    assert f"\n# {sigmas}\n" in (DOCS / "tutorials/delays.md").read_text("utf-8")
    assert answers == "tensor([0, 1])"


def test_spikingjelly(
    unchecked: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    names = names_after("tutorials/spikingjelly.md")
    assert names["rows"][-1]["valid_accuracy"] == 1.0
    assert names["found"].spikes_differing == 0 < names["found"].spikes_total
    assert capsys.readouterr().out.startswith("320 40 40\n")


def test_own_network(
    capsys: pytest.CaptureFixture[str],
    unchecked: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    names = names_after("own-network.md")
    assert names["rows"][-1]["valid_accuracy"] == 1.0
    printed = capsys.readouterr().out
    assert "tensor([0, 1])" in printed
    assert "torch.Size([96, 2, 2])" in printed
    assert "epoch  20/20" in printed
    assert re.search(r"\d+ 0 of [1-9]\d* spikes differ", printed)
    assert [path.name for path in tmp_path.iterdir()] == ["delays.h5"]


def test_chips(table: DelayTable, capsys: pytest.CaptureFixture[str]) -> None:
    names = names_after("chips.md")
    assert {one.weight.dtype for one in names["small"].projections} == {np.dtype(np.int8)}
    assert "[] ['" in capsys.readouterr().out  # nothing is violated, something is unknown


def test_dcls() -> None:
    names = names_after("dcls.md")
    assert names["y"].shape == (2, 96, 28, 28)
    assert names["wide"].sigma == (0.5,)


def test_drop_in(capsys: pytest.CaptureFixture[str]) -> None:
    timm_models.imported()
    names = names_after("drop-in.md")
    assert len(names["report"].layers) == 16
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1 + 18 + 1
    page = (DOCS / "drop-in.md").read_text("utf-8")
    before, after = printed[-1].split()[-2:]
    assert f"{before} parameters that became {after}" in page


def test_convolutions() -> None:
    assert names_after("convolutions.md")["layer"].method_used == "taps"


def test_formats(table: DelayTable) -> None:
    names_after("formats.md")
    assert {path.name for path in Path("chip").iterdir()} == {"csv", "pynn", "sonata", "nir"}


def test_simulator(table: DelayTable) -> None:
    names = names_after("simulator.md")
    assert predict(names["result"], table.readout) in range(table.output.size)
    assert names["raster"].any()


def test_table_format(table: DelayTable) -> None:
    names = names_after("table-format.md")
    assert names["potentials"].shape == (80 + table.tail_steps, 4, table.output.size)


def test_the_checkpoint_gives_the_gradients_of_one_pass(unchecked: None) -> None:
    names = names_after("torch.md")
    net = names["net"]
    found = [own.grad.clone() for own in net.parameters()]
    net.zero_grad()
    names["from_silence"](names["x"]).sum().backward()
    for one, own in zip(found, net.parameters(), strict=True):
        torch.testing.assert_close(one, own.grad)
