"""The loops of ``ops/packed.py``, compiled by numba."""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from snn_delays.loops.loop import loop

CHUNK = 4096  # numbers that stay in the first-level cache, whole bytes of bits
TASK = 16 * CHUNK  # numbers of a task


@loop(parallel=True)
def pack(bits: NDArray, values: NDArray, x: NDArray) -> None:
    """A bit of each number of x, and of each task the one value that is not 0, or −1 for several.

    Shape:
        x ``[M]``, numbers as whole ones of the same bits; bits uint8 ``[⌈M / 8⌉]``; values
        ``[⌈M / TASK⌉]``.
    """
    total = len(x)
    for task in prange(len(values)):
        seen, odd = x[0] ^ x[0], x[0] ^ x[0]
        flags = np.zeros(CHUNK, np.uint8)
        words = flags.view(np.uint64)
        for first in range(task * TASK, min(total, (task + 1) * TASK), CHUNK):
            part = x[first : min(total, first + CHUNK)]
            if seen == 0:
                for m in range(len(part)):
                    seen |= part[m]
            for m in range(len(part)):
                flags[m] = part[m] != 0
            for m in range(len(part)):
                odd |= part[m] ^ (seen if part[m] != 0 else part[m])
            for m in range(len(part), CHUNK):
                flags[m] = 0
            to = bits[first // 8 : (first + len(part) + 7) // 8]
            for byte in range(len(to)):
                # Flag k of eight is moved to bit k of the highest byte.
                to[byte] = (words[byte] * np.uint64(0x0102040810204080)) >> np.uint64(56)
            if odd != 0:
                break
        values[task] = seen if odd == 0 else -1


@loop(parallel=True)
def unpack(x: NDArray, bits: NDArray, table: NDArray) -> None:
    """x from its bits.

    Shape:
        x ``[M]``, bits ``[⌈M / 8⌉]``; table ``[256, 8]``, the numbers of every byte.
    """
    total = len(x)
    for task in prange((total + TASK - 1) // TASK):
        first, last = task * TASK, min(total, (task + 1) * TASK)
        for byte in range(first // 8, last // 8):
            for place in range(8):
                x[8 * byte + place] = table[bits[byte], place]
        for m in range(last // 8 * 8, last):
            x[m] = table[bits[m // 8], m % 8]
