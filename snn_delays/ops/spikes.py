"""When and how to multiply spikes one by one: ``ops/spikes_cpu.py`` for tensors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from snn_delays.modules.eager import for_loops
from snn_delays.ops.compiled import loops, use_torch_threads

spikes_cpu = loops("spikes_cpu")  # None: dense products serve.
# Share of inputs that are not zero below which spikes are multiplied one by one.
FEW = 0.25


def per_block(x: Tensor, steps: int) -> np.ndarray | None:
    """How many numbers of x ``[T, N, C]`` are not zero in every ``steps`` steps.

    None where the compiled loops cannot tell (without numba, on GPUs, in half precision), and of
    an empty x.
    """
    if spikes_cpu is None or not for_loops(x) or not x.numel():
        return None
    use_torch_threads()
    return spikes_cpu.count(x.flatten(0, 1).numpy(), steps * x.shape[1])


def few(x: Tensor, counts: np.ndarray | None) -> bool:
    """Whether x is so sparse that its products are quicker one by one."""
    return counts is not None and bool(counts.sum() < FEW * x.numel())


def fits(post: int) -> bool:
    """Whether rows of ``post`` numbers are whole strips of the loops' vectors."""
    return spikes_cpu is not None and post % spikes_cpu.NARROW == 0


def multiply(x: Tensor, matrices: Tensor, out: Tensor) -> None:
    """out[r] = x @ matrices[r]: ``[M, pre]``, ``[R, pre, post]`` → ``[R, M, post]``."""
    use_torch_threads()
    spikes_cpu.multiply(out.numpy(), x.numpy(), matrices.numpy())


def convolve(x: Tensor, matrices: Tensor) -> Tensor:
    """y[t] = Σ_j x[t − j] @ matrices[j]: ``[T, N, pre]``, ``[J, pre, post]`` → ``[T, N, post]``."""
    padded = _whole_strips(matrices)
    out = x.new_empty(*x.shape[:2], padded.shape[2])
    use_torch_threads()
    rows = spikes_cpu.by_row(x.flatten(0, 1).numpy())
    spikes_cpu.convolve(out.flatten(0, 1).numpy(), *rows, padded.numpy(), x.shape[1])
    return out[..., : matrices.shape[2]].contiguous()


class Channels:
    """The spikes of x ``[T, N, C]``, by blocks of ``steps`` steps and then by channel."""

    def __init__(self, x: Tensor, steps: int) -> None:
        self.rows = steps * x.shape[1]
        self.batch = x.shape[1]
        use_torch_threads()
        self._start, self._place, self._value = spikes_cpu.by_channel(
            x.flatten(0, 1).numpy(), self.rows
        )

    def add_product(self, block: int, g: Tensor, out: Tensor) -> None:
        """out[r] += x[block]ᵀ @ g[r]: ``[R, M, post]`` → ``[R, C, post]``."""
        use_torch_threads()
        rows = g.flatten(0, 1).numpy()
        spikes_cpu.add_correlation(
            out.numpy(), self._start[block], self._place, self._value, rows, 0, g.shape[1]
        )

    def correlate(self, g: Tensor, shifts: int) -> Tensor:
        """out[j] = Σ_t x[t]ᵀ @ g[t + j]: ``[T, N, post]`` → ``[shifts, C, post]``."""
        padded = _whole_strips(g)
        rows = padded.flatten(0, 1).numpy()
        out = g.new_zeros(shifts, self._start.shape[1] - 1, padded.shape[2])
        use_torch_threads()
        for block, start in enumerate(self._start):
            spikes_cpu.add_correlation(
                out.numpy(), start, self._place, self._value, rows, block * self.rows, self.batch
            )
        return out[..., : g.shape[2]]


def _whole_strips(x: Tensor) -> Tensor:
    """x with zero columns appended up to whole strips."""
    return torch.nn.functional.pad(x, (0, -x.shape[-1] % spikes_cpu.NARROW)).contiguous()


def blocks(steps: int, size: int) -> Iterator[slice]:
    """Blocks of ``size`` steps, the last perhaps shorter."""
    for first in range(0, steps, size):
        yield slice(first, min(first + size, steps))
