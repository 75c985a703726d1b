"""What kernels on a GPU are started with: blocks of neurons, and constants that lie there."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# Neurons of a block, one for each thread; and steps that a sweep over time loads ahead.
BLOCK, AHEAD = 128, 4


def constants(values: Sequence[float | Tensor], like: Tensor) -> Tensor:
    """Numbers in the precision of ``like`` and on its device, without a wait for it.

    Those that are plain numbers are written there once, and kept.
    """
    if not any(isinstance(value, Tensor) for value in values):
        return _written(tuple(map(float, values)), like.dtype, like.device)
    parts = [one if isinstance(one, Tensor) else like.new_full((), one) for one in values]
    return torch.stack([one.detach().to(like).view(()) for one in parts])


@functools.lru_cache(maxsize=4096)
def _written(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


def launch(kernel: Any, cells: int, *args: Any, **settings: Any) -> None:
    """One program for each block of so many neurons, on the device of the first argument."""
    if cells == 0:
        return
    # Triton starts kernels on the current device, whichever that of the tensors is.
    with torch.cuda.device_of(args[0]):
        kernel[(math.ceil(cells / BLOCK),)](*args, **settings, BLOCK=BLOCK, AHEAD=AHEAD)
