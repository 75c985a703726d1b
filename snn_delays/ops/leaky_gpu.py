"""The loop of ``ops/leaky.py`` as a kernel: a program sweeps over time for a block of neurons."""

# Triton is not everywhere, and its language is not quite Python.
# pyright: reportMissingImports=false, reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from snn_delays.ops.launches import constants, launch


@triton.jit(do_not_specialize=["steps"])
def _sweep(
    out, x, first, numbers, steps, cells,
    BACK: tl.constexpr, BLOCK: tl.constexpr, AHEAD: tl.constexpr,
):  # fmt: skip
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = m < cells
    beta = tl.load(numbers)
    v = tl.load(first + m, mask=there, other=0.0)
    at = m.to(tl.int64)
    if BACK:
        at += (steps - 1).to(tl.int64) * cells
    for _ in tl.range(steps, num_stages=AHEAD):
        v = beta * v + tl.load(x + at, mask=there, other=0.0)
        tl.store(out + at, v, mask=there)
        if BACK:
            at -= cells
        else:
            at += cells


def sweep(out: Tensor, x: Tensor, first: Tensor, beta: float, back: bool) -> None:
    """out[t] = beta · out[t−1] + x[t], or of t + 1 from the end backwards; all ``[T, M]``."""
    steps, cells = x.shape
    numbers = constants((beta,), x)
    launch(_sweep, cells, out, x, first, numbers, steps, cells, BACK=back)
