"""Whether code outside torch may read tensors: compiled loops, NumPy, or an ``if`` in Python.

A tracer, a transform (``torch.func``, forward mode) or a fake tensor follows what torch does with
a tensor. Of what others do with its numbers it sees nothing, and would take the result for a
constant; often there are no numbers yet. Then everything has to be done in torch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._C._functorch import TransformType, get_interpreter_stack
from torch.autograd import forward_ad

_PLAIN = (Tensor, nn.Parameter)


def autocasts(x: Tensor) -> bool:
    """Whether ``torch.autocast`` is on where x is; there is none for tensors without numbers."""
    return not x.is_meta and torch.is_autocast_enabled(x.device.type)


def watched() -> bool:
    """Whether torch records or rewrites what happens now, or makes no numbers of it."""
    return (
        torch.compiler.is_compiling()
        or torch._C._is_tracing()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
        or forward_ad._current_level >= 0
    )


def readable(*tensors: Tensor) -> bool:
    """Whether these are plain tensors with numbers, and nothing watches what is done with them."""
    for x in tensors:
        if type(x) not in _PLAIN or x.is_meta:
            return False
    return not watched()


def has_numbers(x: Tensor) -> bool:
    """Whether x, and what is made of it now, can be read later, by whoever it is handed to."""
    active = torch._C._are_functorch_transforms_active()
    return type(x) in _PLAIN and not x.is_meta and not active


def differentiated() -> bool:
    """Whether ``torch.func`` takes gradients of what happens now."""
    kinds = (TransformType.Grad, TransformType.Jvp)
    return any(level.key() in kinds for level in get_interpreter_stack() or ())


def for_loops(*tensors: Tensor, device: str = "cpu") -> bool:
    """Whether compiled loops can take these: readable, on such a device, all float32 or all
    float64."""
    dtype = tensors[0].dtype
    if dtype is not torch.float32 and dtype is not torch.float64:
        return False
    for x in tensors:
        if x.device.type != device or x.dtype is not dtype or x.layout is not torch.strided:
            return False
    return readable(*tensors)
