"""Whether a network's steps can be recorded (``graphs.py``), and what a recording depends on.

A recording repeats what the GPU did. What Python decided on the way must be the same whenever it is
repeated: settings of modules, where their tensors lie, the method of delays. All that goes into a
key. Code that is not of torch, SpikingJelly or this package may decide by what no key holds.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from snn_delays.modules.bypass import must_be_called
from snn_delays.modules.width import Width
from snn_delays.neurons.normalised import Counting

_KNOWN = ("torch", "spikingjelly", "snn_delays")
_PLAIN = (bool, int, float, str, type(None))


def unknown_code(net: nn.Module, **given: Any) -> str:
    """Which code may do in Python what a recording would leave out, in words; none if all is known.

    Args:
        given: what ``fit`` was given to call, by name; None where it was not.
    """
    for name, module in net.named_modules():
        if _room(type(module)) not in _KNOWN:
            return f"{name or 'the network'} is a {type(module).__name__}, code not known here"
    for name, one in given.items():
        kind = one if isinstance(one, type) or hasattr(one, "__qualname__") else type(one)
        if one is not None and not isinstance(one, str) and _room(kind) not in _KNOWN:
            return f"{name} is code not known here"
    return ""


def _room(kind: Any) -> str:
    return str(getattr(kind, "__module__", "")).split(".")[0]


def watched(modules: Iterable[nn.Module]) -> bool:
    """Whether someone has hooked on to one of them, or to the gradient of its parameters."""
    for module in modules:
        if must_be_called(module, but=(Counting,)):
            return True
        for one in module._parameters.values():
            if one is not None and (one._backward_hooks or one._post_accumulate_grad_hooks):
                return True
    return False


class Widths:
    """The σ of all layers, as a recording depends on them.

    Where every layer makes a dense kernel of its delays a recording reads σ anew, and takes part in
    a schedule; of other methods Python decides by σ, and each has recordings of its own.
    """

    def __init__(self, net: nn.Module) -> None:
        stored = [one for one in net.modules() if isinstance(one, Width)]
        self.scheduled: list[Any] = [one for one in stored if one.log_sigma is None]
        self._passed: list[Any] | None = None

    def values(self) -> list[Any]:
        """They themselves; a GPU is asked once after each change."""
        return [one.read_sigma() for one in self.scheduled]

    def note_pass(self) -> None:
        """Python has just passed through the network, and chosen methods by these σ."""
        self._passed = self.values()

    @property
    def chosen(self) -> bool:
        """Whether methods are those of the present σ."""
        return self._passed == self.values()

    @property
    def read_anew(self) -> bool:
        """Whether a recording can take σ as it will be."""
        return all(getattr(one, "method_used", None) == "dense" for one in self.scheduled)

    def key(self) -> Hashable:
        """What a recording depends on."""
        rests = tuple(one.at_rest for one in self.scheduled)
        return rests if self.read_anew else (rests, str(self.values()))


def state_of(modules: Iterable[nn.Module]) -> Hashable:
    """Their settings, where their tensors lie and which of them learn; and torch's own settings."""
    cudnn = torch.backends.cudnn
    found: list[Any] = [torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.enabled]
    found += [cudnn.benchmark, torch.are_deterministic_algorithms_enabled()]
    for module in modules:
        own = vars(module)
        found.append(tuple(one for one in own.values() if type(one) in _PLAIN))
        found += [_place(one) for one in own["_parameters"].values()]
        found += [_place(one) for one in own["_buffers"].values()]
    return tuple(found)


def _place(one: Tensor | None) -> Hashable:
    return None if one is None else (one.data_ptr(), one.shape, one.dtype, one.requires_grad)


def hyperparameters(optimizer: torch.optim.Optimizer) -> Hashable:
    """The numbers by which an optimiser moves; tensors are read anew."""
    return tuple(
        (name, value.data_ptr() if isinstance(value, Tensor) else str(value))
        for group in optimizer.param_groups
        for name, value in group.items()
        if name != "params"
    )


def repeatable(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its step leaves all that it counts on the GPU, and nobody has hooked on to it."""
    own = vars(optimizer)
    if own.get("_optimizer_step_pre_hooks") or own.get("_optimizer_step_post_hooks"):
        return False
    return all(group.get("fused") or group.get("capturable") for group in optimizer.param_groups)
