"""Spikes that a backward pass needs are kept as bits: a 32nd of what they take as numbers.

A layer's input are spikes of neurons: 0, or one other number (1, or what dropout makes of it).
Whatever method computes the layer keeps them for the gradient of its weights, for as long as the
whole network's forward and backward passes take.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch._C import _autograd

from snn_delays.modules.eager import for_loops
from snn_delays.ops.compiled import loops, use_torch_threads
from snn_delays.ops.saved import Again, saving

packed_cpu = loops("packed_cpu")  # None: spikes are kept as they are.
# Numbers of a tensor below which there is nothing to gain.
LEAST = 2**16
_WHOLE = {torch.float32: np.dtype(np.int32), torch.float64: np.dtype(np.int64)}


class Packed(NamedTuple):
    """A tensor of zeros and one other number; ``value`` has that number's bits."""

    bits: np.ndarray
    value: np.integer[Any]
    shape: torch.Size
    dtype: torch.dtype

    def unpacked(self) -> Tensor:
        """The tensor, bit for bit."""
        x = torch.empty(self.shape, dtype=self.dtype)
        every = np.arange(256, dtype=np.uint8)[:, None]
        table = np.unpackbits(every, axis=1, bitorder="little") * self.value
        use_torch_threads()
        packed_cpu.unpack(_whole(x), self.bits, table.astype(self.value.dtype))
        return x


def packed(x: Tensor) -> Packed | None:
    """x as bits; None if it has more than one number beside 0 (−0, too, is another)."""
    numbers = _whole(x)
    bits = np.empty(-(-numbers.size // 8), np.uint8)
    values = np.empty(-(-numbers.size // packed_cpu.TASK), numbers.dtype)
    use_torch_threads()
    packed_cpu.pack(bits, values, numbers)
    found = values[values != 0]
    if found.size and (found[0] == -1 or (found != found[0]).any()):
        return None
    return Packed(bits, found[0] if found.size else numbers.dtype.type(0), x.shape, x.dtype)


def _whole(x: Tensor) -> np.ndarray:
    """The numbers of a contiguous x, as whole ones of the same bits."""
    return x.detach().numpy().reshape(-1).view(_WHOLE[x.dtype])


def kept(x: Tensor) -> AbstractContextManager[Any]:
    """Within it, what is saved of x for a backward pass is saved as bits, where that is possible.

    On the CPU. Not if someone else holds x anyway, or has hooks for what is saved.

    Raises:
        RuntimeError: in the backward pass, if something else that was saved was written into
            meanwhile, as of torch. To x nothing can be done any more.
    """
    held = x.is_leaf and x.requires_grad
    if packed_cpu is None or not torch.is_grad_enabled() or held or x.numel() < LEAST:
        return nullcontext()
    if not (for_loops(x) and x.is_contiguous()) or _others():
        return nullcontext()
    place, size = x.data_ptr(), x.numel()  # not x itself, which would be kept

    def as_bits(saved: Tensor) -> Again | None:
        same = saved.data_ptr() == place and saved.numel() == size and saved.is_contiguous()
        found = packed(saved) if same else None
        return None if found is None else found.unpacked

    return saving(as_bits)


def _others() -> bool:
    """Whether what is saved goes through hooks already: to disk, or to be made again."""
    return _autograd._top_saved_tensors_default_hooks(False) is not None  # pyright: ignore[reportAttributeAccessIssue]
