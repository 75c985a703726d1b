"""Compiled loops after a fork, and without a disk to keep them on."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numba import njit
from numba.core.errors import TypingError
from spikingjelly.activation_based import functional
from torch import Tensor

from snn_delays import set_sigma
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.loops import loop, team
from snn_delays.neurons import lif

ROOT = Path(__file__).resolve().parents[2]
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

# Loops and torch's threads both run before anything is forked. What the children find is printed
# and compared with what the parent does, so that a child that gives nothing is seen as well.
PARENT = """
import multiprocessing, sys, torch
from spikingjelly.activation_based import functional
from torch.utils.data import DataLoader
from snn_delays import DelayLayer, set_sigma
from snn_delays.data import Batch
from snn_delays.data.augmentation import Augmentation
from snn_delays.neurons import lif

torch.set_num_threads(2)
torch.manual_seed(0)
layer, neurons = DelayLayer(40, 48, max_delay=12), lif(2.0)
net = torch.nn.Sequential(layer, neurons)
set_sigma(net, 0.5)
spikes = (torch.rand(30, 20, 40) < 0.1).float()

def learn(sample):
    functional.reset_net(net)
    net.zero_grad()
    out = net(spikes[:, sample : sample + 4])
    out.sum().backward()
    return out.detach(), layer.weight.grad.clone(), layer.delay.grad.clone()

def collate(indices):
    with torch.no_grad():
        torch.manual_seed(indices[0])
        labels = torch.tensor(indices)
        batch = Batch(spikes[:, indices], labels, torch.full_like(labels, 30), labels)
        batch, _ = Augmentation(time_jitter=1.0, channel_shift=0.1, cutmix=0.5)(batch, 20)
        functional.reset_net(net)
        return net(batch.spikes)

assert (torch.rand(500, 500) @ torch.rand(500, 500)).sum() > 0
learn(0)
expected = [learn(n) for n in range(4)]
"""
POOL = """
with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map(learn, range(4))
for one, other in zip(found, expected, strict=True):
    assert other[0].any() and all(map(torch.equal, one, other))
print("computed on")
"""
LOADER = """
expected = [collate([n, n + 1]) for n in range(0, 20, 2)]
loader = DataLoader(range(20), 2, collate_fn=collate, num_workers=2, multiprocessing_context="fork")
for _ in range(2):
    found = list(loader)
    assert all(map(torch.equal, found, expected))
print("computed on")
"""
CHILD_OF_NOTHING = """
from snn_delays.loops import team

def threads(_):
    learn(0)
    return team.forked(), torch.get_num_threads()

with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.map(threads, [0]))
"""


def run(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=os.sep,  # Python looks there first
        env={**environment, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )


@FORKS
@pytest.mark.parametrize("child", [POOL, LOADER], ids=["Pool", "DataLoader"])
def test_a_fork_computes_on_what_its_parent_would(child: str) -> None:
    done = run(PARENT + child)
    assert (done.returncode, done.stdout) == (0, "computed on\n"), done.stderr


@FORKS
def test_a_fork_from_before_the_first_loop_has_threads_of_its_own() -> None:
    before = PARENT[: PARENT.index("assert (torch")]
    assert run(before + CHILD_OF_NOTHING).stdout == "[(False, 2)]\n"


@pytest.mark.parametrize("sigma", [0.0, 0.5, 2.4, 8.0])
def test_loops_on_one_thread_are_equal_to_the_bit(
    sigma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = DelayLayer(20, 64, max_delay=16)
    net = torch.nn.Sequential(layer, lif(2.0))
    set_sigma(net, sigma)
    spikes = (torch.rand(40, 5, 20) < 0.1).float()

    def found() -> list[Tensor]:
        functional.reset_net(net)
        x = spikes.clone().requires_grad_()
        out = net(x)
        probe = torch.sin(torch.arange(out.numel())).view_as(out)
        return [out, *torch.autograd.grad((out * probe).sum(), [x, layer.weight])]

    monkeypatch.setattr(team, "SMALL", 0)
    monkeypatch.setattr(loop, "use_threads", lambda _: None)  # torch keeps its own
    monkeypatch.setattr(loop, "_threads", 3)
    threads = found()
    monkeypatch.setattr(loop, "_threads", 1)
    assert threads[0].any()
    assert all(map(torch.equal, found(), threads))


def test_a_read_only_installation_without_a_home_computes_and_says_so_once(tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "snn_delays", tmp_path / "snn_delays", ignore=shutil.ignore_patterns("__pycache__")
    )
    for folder in [path for path in tmp_path.rglob("*") if path.is_dir()]:
        (folder / "__pycache__").touch()  # a file: no folder of that name can be made, by nobody
    script = (
        "import torch, snn_delays; from snn_delays.neurons import lif; print(snn_delays.__file__)\n"
        "for kind in (torch.float32, torch.float64):\n"
        "    print(lif(2.0)(torch.ones(2, 1, 1, dtype=kind)).sum())"
    )
    home = {"HOME": "/proc/nobody", "XDG_CACHE_HOME": "/proc/nobody", "NUMBA_CACHE_DIR": ""}
    done = run(script, PYTHONPATH=str(tmp_path), **home)
    where, *sums = done.stdout.splitlines()
    assert Path(where).is_relative_to(tmp_path)
    assert sums == ["tensor(2.)", "tensor(2., dtype=torch.float64)"]
    (line,) = done.stderr.splitlines()
    assert line.startswith("Compiled loops cannot be kept on disk (no folder for them can be")
    assert "NUMBA_CACHE_DIR" in line


COMPILING = "Compiling loops for this processor, once: about 15 s in all. They are kept on disk."
ANSWER = """
import logging, resource, sys
logging.basicConfig(format="%(message)s", level=logging.INFO)
from snn_delays.loops.loop import loop
if "full" in sys.argv:  # an index of the cache is smaller than this, code is larger
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
from answers import answer, another
print(answer(1.0), another(1.0))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on files there")
def test_a_full_disk_costs_a_line_and_never_brings_old_code_back(tmp_path: Path) -> None:
    def found(returned: str, *arguments: str) -> tuple[str, list[str]]:
        functions = [f"@loop\ndef {f}(x):\n    return {returned}\n" for f in ("answer", "another")]
        (tmp_path / "answers.py").write_text(
            "\n\n".join(["from snn_delays.loops.loop import loop", *functions]), encoding="utf-8"
        )
        path = f"{ROOT}{os.pathsep}{tmp_path}"
        done = run(ANSWER, *arguments, PYTHONPATH=path, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
        return done.stdout.strip(), done.stderr.splitlines()

    values, said = found("x + 1")
    assert values == "2.0 2.0"
    assert said == [COMPILING]  # before both
    assert found("x + 1") == ("2.0 2.0", [])
    values, said = found("x + 9", "full")
    assert values == "10.0 10.0"
    assert said[0] == COMPILING
    assert len(said) == 2
    assert "File too large" in said[1]
    assert found("x + 9")[0] == "10.0 10.0"  # numba's index alone would name the code of x + 1


@pytest.mark.parametrize("damage", [b"", b"\0" * 99], ids=["empty", "zeros"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    script = "from answers import answer; print(answer(1.0))"
    (tmp_path / "answers.py").write_text(
        "from snn_delays.loops.loop import loop\n@loop\ndef answer(x):\n    return x + 1\n"
    )
    variables = {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
    }
    run(script, **variables)
    for kind in ("nbi", "nbc"):
        (file,) = (tmp_path / "cache").rglob(f"*.{kind}")
        file.write_bytes(damage)
        done = run(script, **variables)
        assert (done.stdout, done.stderr) == ("2.0\n", f"{COMPILING}\n")
        (file,) = (tmp_path / "cache").rglob(f"*.{kind}")
        assert len(file.read_bytes()) > len(damage)


def test_constants_do_not_compile_a_function_again() -> None:
    @loop.called
    def sum_of(numbers, count, again):
        total = 0
        for i in range(count):
            total += numbers[i] * (2 if again else 1)
        return total

    @njit  # not kept on disk, whence it would come without being compiled
    def sums(numbers):
        return sum_of(numbers, 1, True) + sum_of(numbers, 2, False) + sum_of(numbers, 3, True)

    assert sums(np.arange(1.0, 4.0)) == 2 + 3 + 12
    assert len(sum_of.overloads) == 1


@loop.loop
def _no_number(x):
    return x + "one"


@pytest.mark.parametrize("collects", [True, False])
def test_garbage_is_collected_after_compilation_as_before(collects: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        with pytest.raises(TypingError):
            _no_number(1)
        assert gc.isenabled() == collects
    finally:
        (gc.enable if before else gc.disable)()


def test_everything_that_is_compiled_is_compiled_this_way() -> None:
    package = ROOT / "snn_delays"
    files = [path for path in package.rglob("*.py") if "njit" in path.read_text(encoding="utf-8")]
    assert set(files) == {package / "loops" / f"{name}.py" for name in ("kept", "loop", "shares")}
