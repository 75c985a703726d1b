"""Sizes of vectors and tiles by the processor, and loops compiled for another one."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from llvmlite import binding

from snn_delays.ops.registers import HOST, LANES, Registers, registers, sizes

ROOT = Path(__file__).resolve().parents[2]
X86 = "x86_64-unknown-linux-gnu"
PROCESSORS = {
    (X86, "nehalem"): Registers(16, 128),
    (X86, "haswell"): Registers(16, 256),
    (X86, "znver3"): Registers(16, 256),
    (X86, "skylake-avx512"): Registers(32, 512),
    (X86, "znver5"): Registers(32, 512),
    ("aarch64-unknown-linux-gnu", "neoverse-n1"): Registers(32, 128),
    ("arm64-apple-darwin", "apple-m1"): Registers(32, 128),
}
AVX2 = pytest.mark.skipif(
    platform.machine() != "x86_64" or HOST.bits < 256, reason="no processor with AVX2"
)
# Without features numba would add this machine's to the named processor's.
HASWELL = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+fma"}


def run(*arguments: str, timeout: float, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.parametrize(("processor", "expected"), PROCESSORS.items(), ids=str)
def test_llvm_knows_the_registers(processor: tuple[str, str], expected: Registers) -> None:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    assert registers(*processor, "") == expected


def test_features_widen_a_processor() -> None:
    assert registers(X86, "x86-64", "+avx2") == Registers(16, 256)


@pytest.mark.parametrize("processor", set(PROCESSORS.values()), ids=str)
def test_tiles_fit_into_the_registers(processor: Registers) -> None:
    found = sizes(processor)
    assert 32 * found.lanes == processor.bits
    assert found.tile + 5 + 1 <= processor.number
    assert found.columns + 1 + 1 <= processor.number
    assert max(found.short, found.tall) + 4 + 1 <= processor.number
    assert found.columns % found.strip == 0
    assert found.strip * found.group + 1 + 1 <= processor.number
    assert found.high * found.wide + found.wide + 1 <= processor.number


# Loops of a compiled function that multiply and add often enough, as lines of assembly.
BODIES = """
import re

def bodies(assembly, products):
    lines, labels, found = assembly.splitlines(), {}, []
    for n, line in enumerate(lines):
        label = re.match(r"(\\.L\\w+):", line)
        if label:
            labels[label[1]] = n
        jump = re.search(r"\\s(\\.L\\w+)$", line)
        if jump and jump[1] in labels:
            inner = lines[labels[jump[1]] : n]
            if sum("fmla" in one or "fmadd" in one for one in inner) >= products:
                found.append(inner)
    return found

def on_stack(body):
    return [one for one in body if "(%rsp)" in one or "[sp" in one]
"""
FIVE = """
import numpy as np
from snn_delays.loops.loop import loop
from snn_delays.ops.registers import LANES, TILE
from snn_delays.ops.vectors import add_five_taps, load_tile, store

@loop
def five(sums, coefficients, x, times):
    tile = load_tile(sums, 0)
    for i in range(times):
        tile = add_five_taps(tile, coefficients, 5 * i, x, i * LANES)
    store(sums, 0, tile)

sums, x = np.zeros(TILE * LANES, np.float32), np.arange(40 * LANES, dtype=np.float32)
coefficients = np.arange(15, dtype=np.float32)
"""
NO_STACK = """
five(sums, coefficients, x, 3)
(assembly,) = five.inspect_asm().values()
print(on_stack(min(bodies(assembly, 5 * TILE), key=len)))
"""
SUMS = """
five(sums, coefficients, x, 3)
rows = x.reshape(-1, LANES)
pairs = [(i, p) for i in range(3) for p in range(5)]
expected = sum(coefficients[5 * i + p] * rows[i + p : i + p + TILE] for i, p in pairs)
assert np.array_equal(sums.reshape(TILE, LANES), expected)
(hits,) = five.stats.cache_hits.values() or (0,)
print(LANES, hits)
"""


@pytest.mark.parametrize("processor", [{}, pytest.param(HASWELL, marks=AVX2)], ids=["host", "AVX2"])
def test_a_tile_of_five_taps_stays_in_registers(processor: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "five.py"
    file.write_text(BODIES + FIVE + NO_STACK, encoding="utf-8")
    done = run(str(file), timeout=800, **processor)
    assert done.stdout == "[]\n", done.stderr


# Squares of lowrank's blocks: what multiplies and adds most often lies in the innermost loops.
SQUARES = """
import torch
from snn_delays.ops import lowrank_cpu, plan
from snn_delays.ops.registers import LANES

torch.manual_seed(0)
x, weight, delay = torch.rand(60, 2, 64), torch.randn(64, 64, 1), 24 * torch.rand(64, 64, 1)
leaves = [one.requires_grad_() for one in (x, weight, delay)]
settings = {"sigma": 4.0, "max_delay": 24, "interpolation": "gaussian", "method": "lowrank"}
plan.delay_convolution(*leaves, **settings).sum().backward()
for loop in (lowrank_cpu.mix, lowrank_cpu.unmix):
    (assembly,) = loop._compiled.inspect_asm().values()
    found = bodies(assembly, LANES)
    texts = ["\\n".join(one) for one in found]
    inner = [a for a, own in zip(found, texts) if not any(b in own and b != own for b in texts)]
    vectors = [one for body in inner for one in on_stack(body) if re.search("[xyz]mm|q[0-9]", one)]
    print(len(inner) > 0, vectors)
"""


@pytest.mark.slow
@pytest.mark.parametrize("processor", [{}, pytest.param(HASWELL, marks=AVX2)], ids=["host", "AVX2"])
def test_squares_of_neurons_stay_in_registers(processor: dict[str, str], tmp_path: Path) -> None:
    kept = {"NUMBA_CACHE_DIR": str(tmp_path / "kept")}  # Loops read from disk have no assembly.
    done = run("-c", BODIES + SQUARES, timeout=800, **kept, **processor)
    assert done.stdout == "True []\n" * 2, done.stderr


@AVX2
def test_loops_kept_for_one_processor_are_not_taken_for_another(tmp_path: Path) -> None:
    file = tmp_path / "five.py"
    file.write_text(FIVE + SUMS, encoding="utf-8")
    own = {"NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    runs: list[dict[str, str]] = [{}, HASWELL, {}, HASWELL]
    found = [run(str(file), timeout=800, **own, **one).stdout for one in runs]
    assert found == [f"{LANES} 0\n", "8 0\n", f"{LANES} 1\n", "8 1\n"]


COMPARED = """
import torch
from snn_delays.ops import plan, registers, taps

torch.manual_seed(0)
assert registers.LANES == 8 and taps.taps_cpu is not None
x = (torch.rand(37, 11, 20) < 0.3).float()
weight, delay = torch.randn(48, 20, 1), 12 * torch.rand(48, 20, 1)
found = []
for method in ("taps", "reference"):
    leaves = [one.clone().requires_grad_() for one in (x, weight, delay)]
    y = plan.delay_convolution(
        *leaves, sigma=0.5, max_delay=12, interpolation="gaussian", method=method
    )
    found.append([y, *torch.autograd.grad((y**2).sum(), leaves)])
for one, other in zip(*found, strict=True):
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * other.abs().max().item())
print("equal")
"""


@AVX2
def test_taps_on_avx2_are_those_of_the_reference() -> None:
    assert run("-c", COMPARED, timeout=800, **HASWELL).stdout == "equal\n"


@pytest.mark.slow
@AVX2
@pytest.mark.parametrize(
    "file",
    [
        *("ops/test_ops.py", "ops/test_sparse_taps.py", "ops/test_depthwise.py"),
        *("ops/test_convolution.py", "ops/test_fft.py", "layers/test_recurrent.py"),
        "ops/test_lowrank_blocks.py",
    ],
)
def test_all_loops_on_avx2(file: str) -> None:
    done = run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/{file}", timeout=800, **HASWELL
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_vectors_of_the_host_are_not_longer_than_a_cache_line() -> None:
    assert LANES * torch.float32.itemsize <= 64
