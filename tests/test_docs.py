"""The Python on the pages of docs/ runs as it stands there, most of it on an exported network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm_models
import torch
from drawn_networks import random_network

from snn_delays.deploy import integer_table
from snn_delays.table import DelayTable, predict, write_table
from snn_delays.table.simulator.trials import Recording, Sample, trials

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md") if "```python" in page.read_text("utf-8"))


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
    for block in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL):
        exec(compile(block, page, "exec"), names)
    return names


def test_pages_have_code() -> None:
    pages = [
        "chips.md",
        "convolutions.md",
        "dcls.md",
        "drop-in.md",
        "formats.md",
        "simulator.md",
        "table-format.md",
    ]
    assert [*pages, "torch.md"] == PAGES


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
