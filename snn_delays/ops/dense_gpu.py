"""The products of ``ops/dense.py`` as kernels: matrix products whose rows are shifted in time.

In ``[T, N, C]`` a step back is N rows back. So y[t] = Σ_j K_j x[t − j] is one matrix product over
taps and channels at once that reads, of x as it lies, rows j · N further up: no copy of x per tap.
"""

# Triton is not everywhere, and its language is not quite Python.
# pyright: reportMissingImports=false, reportGeneralTypeIssues=false, reportArgumentType=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

# Rows, columns and depth of a program's tile, its warps, and tiles that are loaded ahead.
TILE: dict[str, int] = {"ROWS": 128, "COLUMNS": 128, "DEPTH": 32, "num_warps": 8, "num_stages": 3}
# The same of a gradient of kernels, which is long rather than wide.
SUMS: dict[str, int] = {"ROWS": 64, "COLUMNS": 128, "DEPTH": 32, "num_warps": 4, "num_stages": 3}
# Channels are filled up to such a multiple, so that rows are read in whole vectors.
WHOLE = 16


@triton.jit(do_not_specialize=["rows", "taps"])
def _product(
    y, x, k, rows, shift, taps, inner, outer,
    AHEAD: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """y[m] = Σ_j x[m ∓ j · shift] @ k[j].T, for k ``[taps, outer, inner]``."""
    first = tl.program_id(0) * ROWS
    m = first + tl.arange(0, ROWS)
    o = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    c = tl.arange(0, DEPTH)
    blocks = tl.cdiv(inner, DEPTH)
    # Taps beyond both ends of the sequence add nothing.
    reach = (rows - 1 - first) // shift + 1 if AHEAD else (first + ROWS - 1) // shift + 1
    reach = tl.minimum(reach, taps)
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for step in range(reach * blocks):
        j = step // blocks
        at = (step % blocks) * DEPTH + c
        source = m + j * shift if AHEAD else m - j * shift
        there = (source >= 0) & (source < rows)
        inside = at < inner
        a = tl.load(
            x + source[:, None] * inner + at[None, :],
            mask=there[:, None] & inside[None, :], other=0.0,
        )  # fmt: skip
        b = tl.load(
            k + (j * outer + o)[None, :] * inner + at[:, None],
            mask=(o < outer)[None, :] & inside[:, None], other=0.0,
        )  # fmt: skip
        total = tl.dot(a, b, total, input_precision=PRECISION)
    keep = (m < rows)[:, None] & (o < outer)[None, :]
    tl.store(y + m[:, None] * outer + o[None, :], total, mask=keep)


@triton.jit(do_not_specialize=["rows"])
def _sums(
    gk, g, x, rows, shift, stride, inner, outer,
    PRECISION: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """gk[j, o, c] = Σ_m g[o, m] · x[c, m − j · shift]; each tile in one program, in order.

    Beyond so many rows g and x are 0, for another ``DEPTH`` at least: no mask breaks reads up.
    """
    o = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    c = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    j = tl.program_id(2)
    late = j * shift
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for begin in range(0, rows - late, DEPTH):
        m = begin + tl.arange(0, DEPTH)
        a = tl.load(
            g + o[:, None] * stride + (m + late)[None, :], mask=(o < outer)[:, None], other=0.0
        )
        b = tl.load(x + c[None, :] * stride + m[:, None], mask=(c < inner)[None, :], other=0.0)
        total = tl.dot(a, b, total, input_precision=PRECISION)
    keep = (o < outer)[:, None] & (c < inner)[None, :]
    tl.store(gk + (j * outer + o)[:, None] * inner + c[None, :], total, mask=keep)


def product(y: Tensor, x: Tensor, kernel: Tensor, ahead: bool, precision: str) -> None:
    """y[t] = Σ_j x[t − j] @ kernel[j].T, or of x[t + j].

    Shape:
        x ``[T, N, inner]``, kernel ``[taps, outer, inner]`` → y ``[T, N, outer]``.
    """
    steps, batch, outer = y.shape
    x, kernel = _whole(x), _whole(kernel)
    rows, columns = steps * batch, _columns(TILE["COLUMNS"], outer)
    kernel_of: Any = _product  # without Triton type checkers see a plain function
    with torch.cuda.device_of(y):
        kernel_of[(_parts(rows, TILE["ROWS"]), _parts(outer, columns))](
            y, x, kernel, rows, batch, len(kernel), x.shape[2], outer,
            AHEAD=ahead, PRECISION=precision, **{**TILE, "COLUMNS": columns},
        )  # fmt: skip


def sums(gkernel: Tensor, grad: Tensor, x: Tensor, precision: str) -> None:
    """gkernel[j] = Σ_t grad[t].T @ x[t − j].

    Shape:
        grad ``[T, N, outer]``, x ``[T, N, inner]`` → gkernel ``[taps, outer, inner]``.
    """
    taps, outer, inner = gkernel.shape
    steps, batch, _ = x.shape
    rows = steps * batch
    # Reads run along what is added up: along time and batch.
    beyond = -rows % SUMS["DEPTH"] + SUMS["DEPTH"]
    grad, x = (F.pad(one.flatten(0, 1).T, (0, beyond)) for one in (grad, x))
    tile = {**SUMS, "ROWS": _columns(SUMS["ROWS"], outer)}
    tile["COLUMNS"] = _columns(SUMS["COLUMNS"], inner)
    grid = (_parts(outer, tile["ROWS"]), _parts(inner, tile["COLUMNS"]), taps)
    kernel_of: Any = _sums
    with torch.cuda.device_of(gkernel):
        kernel_of[grid](
            gkernel, grad, x, rows, batch, rows + beyond, inner, outer,
            PRECISION=precision, **tile,
        )  # fmt: skip


def _whole(x: Tensor) -> Tensor:
    missing = -x.shape[-1] % WHOLE
    return F.pad(x, (0, missing)) if missing else x


def _columns(most: int, size: int) -> int:
    """Columns of a tile for so many."""
    return min(most, max(1 << (size - 1).bit_length(), 16))


def _parts(size: int, each: int) -> int:
    return -(-size // each)
