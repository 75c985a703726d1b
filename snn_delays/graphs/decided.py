"""What Python may decide by between two steps of training, as a key that changes when it does.

Numbers in tensors are read anew by a recording; where those tensors lie is not.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from enum import Enum
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

from snn_delays.ops.dense import precisions

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_PLAIN += (torch.dtype, torch.device, torch.Size, np.generic, Enum)
_CODE = (type, FunctionType, BuiltinFunctionType, MethodType)
# Submodules are looked at themselves, hooks by ``watched``; and what neurons remember is forgotten
# between steps.
_ELSEWHERE = ("_modules", "_parameters", "_buffers", "_memories")


def settings_of(one: Any) -> Hashable:
    """A setting, such as a number, a tuple, a dictionary or a function.

    Of other objects Python may keep what it likes, such as what was computed last: they are told
    by their type.
    """
    kind = type(one)
    if isinstance(one, _PLAIN + _CODE):
        return kind, one
    if isinstance(one, np.ndarray):
        return kind, one.shape, one.dtype.str, one.tobytes()
    if isinstance(one, Tensor):
        return place(one)
    if isinstance(one, partial):
        return kind, *map(settings_of, (one.func, one.args, one.keywords))
    if isinstance(one, dict):
        return kind, *((settings_of(key), settings_of(value)) for key, value in one.items())
    if isinstance(one, list | tuple):
        return kind, *map(settings_of, one)
    if isinstance(one, set | frozenset):
        return kind, frozenset(map(settings_of, one))
    return kind


def place(one: Tensor | None) -> Hashable:
    """Where a tensor lies, what of, and whether it learns."""
    if one is None:
        return None
    if one.layout is not torch.strided or nn.parameter.is_lazy(one):  # which has no such place
        return type(one), id(one)
    return one.data_ptr(), one.shape, one.stride(), one.dtype, one.requires_grad


def settings_of_modules(modules: Iterable[Any]) -> Hashable:
    """Of modules, or of other objects with settings."""
    found: list[Hashable] = []
    for module in modules:
        own = vars(module) if hasattr(module, "__dict__") else {}
        found.append(type(module) if own else settings_of(module))
        found += [
            (name, settings_of(value))
            for name, value in own.items()
            if name not in _ELSEWHERE and "hook" not in name
        ]
        if isinstance(module, nn.Module):
            found += map(place, (*module._parameters.values(), *module._buffers.values()))
    return tuple(found)


def settings_of_torch() -> Hashable:
    """How torch computes."""
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return (
        *(precisions(), torch.get_default_dtype(), torch.get_default_device()),
        *(torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        *(torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")),
        *(torch.is_autocast_cache_enabled(), torch.are_deterministic_algorithms_enabled()),
        torch.utils.deterministic.fill_uninitialized_memory,  # pyright: ignore
        *(cuda.allow_fp16_reduced_precision_reduction, cuda.allow_bf16_reduced_precision_reduction),
        *(cudnn.enabled, cudnn.benchmark, cudnn.deterministic),
    )


def settings_of_optimizer(optimizer: torch.optim.Optimizer) -> Hashable:
    """By what it moves, which parameters have gradients, and where all of it lies."""
    found: list[Hashable] = [type(optimizer)]
    for group in optimizer.param_groups:
        for name, value in group.items():
            # A number on the CPU is read by Python; one on a GPU is read anew.
            read = isinstance(value, Tensor) and value.device.type == "cpu"
            if name != "params":
                found.append((name, settings_of(value.tolist() if read else value)))
        for one in group["params"]:
            state = optimizer.state.get(one, {})
            found.append((place(one), one.grad is None, settings_of(state)))
    return tuple(found)


def others_watch() -> bool:
    """Whether someone else's code sees every operation."""
    c: Any = torch._C
    hooks = getattr(c._autograd, "_top_saved_tensors_default_hooks", None)  # from torch 2.8 on
    return bool(
        torch.is_anomaly_enabled()
        or c._len_torch_dispatch_stack()
        # A default device is a mode as well.
        or any(type(one) is not DeviceContext for one in _get_current_function_mode_stack())
        or (hooks is not None and hooks(True))
    )
