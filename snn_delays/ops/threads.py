"""Loops compiled by numba run on as many threads as torch does."""

from __future__ import annotations

import torch

try:
    import numba
except ImportError:
    numba = None


def numba_on_torch_threads() -> None:
    """Give numba torch's thread count, as far as there are cores."""
    if numba is not None:
        numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
