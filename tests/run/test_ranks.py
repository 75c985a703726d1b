"""Two processes, half of every batch each, are one process with the whole of it."""

from __future__ import annotations

import copy
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_runs import CASES, data, trained
from spikingjelly.activation_based import layer
from torch import nn

from snn_delays.errors import UsageError
from snn_delays.run.ranks import Ranks, Share, fabric_of, sync_norms, unsync_norms

HERE = Path(__file__).parents[1]
_LONGEST_S = 800


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What each of two processes has left of every case."""
    folder = tmp_path_factory.mktemp("ranks")
    data(folder / "data")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, str(HERE / "rank_runs.py"), str(folder), ",".join(CASES)]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    common |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)])}
    started = [
        subprocess.Popen(
            command,
            env={**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    try:
        for process in started:
            _, said = process.communicate(timeout=_LONGEST_S)
            assert process.returncode == 0, said
    finally:
        for process in started:
            process.kill()
    return {name: [torch.load(folder / f"{name}{rank}.pt") for rank in "01"] for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_two_processes_are_one(two: dict[str, Any], name: str, tmp_path: Path):
    """Without dropout and augmentation, which draw otherwise in each."""
    one, (first, second) = trained(name, tmp_path, devices=1), two[name]
    for mine, other in zip(first["steps"], second["steps"], strict=True):
        assert torch.equal(mine, other)  # bit by bit, after every step
    assert first["rows"] == second["rows"]
    assert first["kinds"] == one["kinds"]
    assert len(first["rows"]) == CASES[name].get("fit", {}).get("epochs", 2)
    assert (first["told"], second["told"]) == (one["told"], 0)
    steps = list(zip(first["steps"], one["steps"], strict=True))
    assert len(steps) >= 4
    assert float((one["steps"][0] - one["steps"][-1]).abs().max()) > 0.1
    if name == "bf16":  # whose products are rounded to three digits: a look at the first step
        torch.testing.assert_close(*steps[0], rtol=0, atol=1e-2)
        return
    for mine, alone in steps:
        torch.testing.assert_close(mine, alone, rtol=0, atol=1e-4)
    for row, alone in zip(first["rows"], one["rows"], strict=True):
        assert row == pytest.approx(alone, rel=1e-4)
    for key, value in one["net"].items():  # BatchNorm's running statistics, masks, σ
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(first["net"][key], value, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["batch_norm", "spiking", "maps"])
def test_a_synced_norm_is_torchs_own_on_one_process(kind: str, monkeypatch: pytest.MonkeyPatch):
    """Values, gradients, running statistics; and it becomes what it was."""
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda summed: None)
    made = {
        "batch_norm": (nn.BatchNorm1d(3), (8, 3)),
        "spiking": (layer.BatchNorm1d(3, step_mode="m"), (5, 4, 3)),
        "maps": (nn.BatchNorm2d(3, momentum=None), (4, 3, 5, 5)),
    }
    norm, shape = made[kind]
    own = copy.deepcopy(norm)
    changed = sync_norms(norm)
    assert len(changed) == 1
    for _ in range(2):
        x = (2 * torch.randn(shape) + 1).requires_grad_()
        other = x.detach().clone().requires_grad_()
        y, expected = norm(x), own(other)
        torch.testing.assert_close(y, expected)
        weight = torch.randn_like(y)
        (y * weight).sum().backward()
        (expected * weight).sum().backward()
        torch.testing.assert_close(x.grad, other.grad)
    copied = copy.deepcopy(norm).eval()
    unsync_norms(changed)
    assert type(norm) is type(own)
    assert list(norm.state_dict()) == list(own.state_dict())
    for mine, expected in zip(norm.state_dict().values(), own.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, expected)
    torch.testing.assert_close(copied(x), own.eval()(x))


def test_processes_that_were_not_started_are_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UsageError, match="num_nodes is 2, but 1 of its processes"):
        fabric_of("cpu", 2, 1, "32-true")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="but 2 of its processes were started. Give devices"):
        fabric_of("cpu", 1, 1, "32-true")


def test_shares_are_neighbours_of_one_size():
    lengths = torch.arange(1, 11)
    for n in (3, 7, 9):
        shares = [Ranks(Of(rank, 3)).share(list(range(n)), lengths) for rank in range(3)]
        assert [one for share in shares for one in share.indices] == list(range(n))
        sizes = {len(share.indices) for share in shares}
        assert max(sizes) - min(sizes) <= 1
        assert {share.steps for share in shares} == {n}
    with pytest.raises(UsageError, match="batch_size must be >= 3, a sample for each"):
        Ranks(Of(0, 3)).share([0, 1], lengths)
    assert Ranks(Of(0, 1)).share([4, 2], lengths) == Share([4, 2], None)


@dataclass
class Of:
    """So much of Fabric as says who is asked."""

    global_rank: int
    world_size: int
