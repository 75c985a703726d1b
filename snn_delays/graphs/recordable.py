"""Whether a network's steps can be recorded (``graphs.py``), and what a recording depends on.

A recording repeats what the GPU did. What Python decided on the way must be the same whenever it is
repeated: settings of modules, where their tensors lie, the method of delays. All that goes into a
key (``decided.py``). Code that is not of torch, SpikingJelly or this package may decide by what no
key holds.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from snn_delays.modules.bypass import must_be_called
from snn_delays.modules.width import Width
from snn_delays.neurons.normalised import Counting

_KNOWN = ("torch", "spikingjelly", "snn_delays")
_CHECKERS = ("jaxtyping", "beartype")


def unknown_code(net: nn.Module, **given: Any) -> str:
    """Which code may do in Python what a recording would leave out, in words; none if all is known.

    Args:
        given: what ``fit`` was given to call, by name; None where it was not.
    """
    for name, module in net.named_modules():
        if _room(type(module)) not in _KNOWN:
            return f"{name or 'the network'} is a {type(module).__name__}, code not known here"
        for setting, value in vars(module).items():
            if "hook" not in setting and not all(_room(one) in _KNOWN for one in _code_in(value)):
                return f"{setting} of {name or 'the network'} is code not known here"
    for name, one in given.items():
        if one is None or isinstance(one, str):
            continue
        code = list(_code_in(one)) or [type(one)]
        code += [own for value in getattr(one, "__dict__", {}).values() for own in _code_in(value)]
        if isinstance(one, nn.Module) and (unknown := unknown_code(one)):
            return f"{name}: {unknown}"
        if any(_room(kind) not in _KNOWN for kind in code):
            return f"{name} is code not known here"
    return ""


def _code_in(value: Any) -> Iterator[Any]:
    """Functions and classes that a setting is or holds."""
    if isinstance(value, partial):
        yield from (
            own for part in (value.func, value.args, value.keywords) for own in _code_in(part)
        )
    elif isinstance(value, MethodType):
        yield from (value.__func__, type(value.__self__))
    elif isinstance(value, type | FunctionType | BuiltinFunctionType):
        yield value
    elif isinstance(value, dict | list | tuple | set | frozenset):
        parts = value.values() if isinstance(value, dict) else value
        yield from (own for part in parts if not isinstance(part, Tensor) for own in _code_in(part))


def _room(code: Any) -> str:
    """The package that it stands in, whatever name a wrapper gave it.

    Wrappers that check annotations do nothing else.
    """
    while getattr(code, "__globals__", {}).get("__name__", "").split(".")[0] in _CHECKERS:
        if not hasattr(code, "__wrapped__"):
            break
        code = code.__wrapped__
    of = getattr(code, "__globals__", {}).get("__name__") or getattr(code, "__module__", "")
    return str(of).split(".")[0]


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


def repeatable(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its step leaves all that it counts on the GPU, and nobody has hooked on to it."""
    own = vars(optimizer)
    if own.get("_optimizer_step_pre_hooks") or own.get("_optimizer_step_post_hooks"):
        return False
    # Those of all optimisers may be this package's, which keeps delays at rest by them.
    hooks = *_global_optimizer_pre_hooks.values(), *_global_optimizer_post_hooks.values()
    code = [type(optimizer), *hooks]
    if any(_room(one) not in _KNOWN for one in code):
        return False
    return all(group.get("fused") or group.get("capturable") for group in optimizer.param_groups)
