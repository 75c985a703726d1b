"""Where there is no GPU, Triton's interpreter runs the kernels in another process, and its compiler
makes them for a processor that is not there."""

# pyright: reportMissingImports=false

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="Triton comes with torch's CUDA packages")
HERE = Path(__file__).parent


@pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels run on the GPU itself")
def test_kernels_in_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *(str(HERE / f"test_{one}_kernels.py") for one in ("neuron", "product"))],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


POINTERS = {
    "lif_gpu._forward": "spikes h v_last x v_first numbers",
    "lif_gpu._backward": "gx gv_first gspikes gh h numbers",
    "adaptive_gpu._forward": "spikes h w v_last x v_first w_first cells numbers",
    "adaptive_gpu._backward": "gx gv_first gw_first gcells gspikes gv_last gw_last x h w v_first "
    "w_first cells numbers",
    "leaky_gpu._sweep": "out x first numbers",
}
SETTINGS = {
    "FROM_SPIKES": True, "FROM_H": True, "SOFT": False, "DETACH": False, "BEFORE": True,
    "BACK": True, "KIND": 4, "BLOCK": 128, "AHEAD": 4,
}  # fmt: skip


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
@pytest.mark.parametrize("name", POINTERS)
def test_kernels_compile_for_an_h100(name: str, precision: str) -> None:
    import triton
    from triton.backends.compiler import GPUTarget

    module, function = name.split(".")
    kernel = getattr(kernels_of(module), function)
    pointers = POINTERS[name].split()
    settings = {key: SETTINGS[key] for key in kernel.arg_names if key in SETTINGS}
    signature = {
        key: f"*{precision}" if key in pointers else "constexpr" if key in settings else "i32"
        for key in kernel.arg_names
    }
    source = triton.compiler.ASTSource(kernel, signature, settings)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    ptx = made.asm["ptx"]
    assert made.asm["cubin"]
    # Loads of later steps are under way while this one is computed.
    assert "cp.async" in ptx


def kernels_of(module: str):
    return importlib.import_module(f"snn_delays.ops.{module}")
