"""Settings of the process that make long CPU runs faster. Only command lines use them."""

from __future__ import annotations

import ctypes
import platform

import torch

# glibc's names for "blocks from this size are given back when freed" and "… from this much".
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def prepare_cpu() -> None:
    """Keep freed memory for the next step, and count denormal numbers as 0.

    Every training step allocates and frees the same tensors; glibc gives large ones back to the
    system each time, which then clears their pages anew. Denormal numbers (below 1e-38) arise in
    decaying gradients, and processors are many times slower with them. Call it before torch starts
    its threads: they inherit the second setting.
    """
    torch.set_flush_denormal(True)
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
