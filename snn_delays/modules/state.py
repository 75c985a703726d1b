"""Modules that remember: how they are copied, and how a forgotten ``reset_net`` is named.

A SpikingJelly module keeps its memory until ``functional.reset_net``, and the memory keeps the
graph that made it. Torch says what comes of that in its own words ("backward through the graph a
second time", "only graph leaves support deepcopy"), or, of a checkpoint, nothing at all.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from inspect import Parameter, signature
from typing import Any, NoReturn

import torch
from spikingjelly.activation_based import base
from torch import Tensor, nn
from torch._C import _autograd
from torch._C._functorch import is_functorch_wrapped_tensor

from snn_delays.errors import UsageError
from snn_delays.modules.eager import has_numbers, readable
from snn_delays.modules.inputs import require_dense

_NONE = -1  # the number of the backward pass that runs where none does


class Stateful:
    """A SpikingJelly module; stands before ``base.MemoryModule`` among the parents.

    Copies and pickles take values along, never a graph, and are fit for training wherever they
    were made (``torch.inference_mode`` included).

    Raises:
        UsageError: in a backward pass, from a memory whose own backward pass has run; in a forward
            pass that ``torch.utils.checkpoint`` repeats, from a memory that has gone on since; in
            a trace, from a memory of before; by ``torch.jit.script``.
    """

    _memories: dict[str, Any]
    # The last forward pass; of one without gradients what it left, None if that has no numbers.
    _last: _Pass | tuple[Any, ...] | None = ()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        run = super().forward  # pyright: ignore[reportAttributeAccessIssue]
        if torch.compiler.is_compiling() or not args:
            return run(*args, **kwargs)
        require_dense(type(self).__name__, args[0])
        if torch._C._is_tracing():
            self._refuse_memory(
                lambda value: not _traced(value),
                "remembers a sequence from before this trace. Trace a module whose forward calls "
                "functional.reset_net(net) first.",
            )
        graded = torch.is_grad_enabled() and readable(args[0])
        if self._last is None and has_numbers(args[0]):
            self._refuse_memory(
                lambda value: not has_numbers(value) or is_functorch_wrapped_tensor(value),
                "remembers a sequence without numbers, as traced, transformed or fake. Call "
                "functional.reset_net(net) before a new one.",
            )
        elif graded:
            self._go_on()
        y = run(*args, **kwargs)
        left = self._memories.values()
        if graded:
            last = _Pass(type(self).__name__, left)
            for made in (y, *left):  # a loss may be of either
                if isinstance(made, Tensor) and made.grad_fn is not None:
                    made.grad_fn.register_prehook(last.spend)
        else:
            last = tuple(left) if has_numbers(args[0]) else None
        self.__dict__["_last"] = last
        return y

    def _refuse_memory(self, wrong: Callable[[Tensor], bool], said: str) -> None:
        if any(isinstance(value, Tensor) and wrong(value) for value in self._memories.values()):
            raise UsageError(f"{type(self).__name__}: {said}")

    def __prepare_scriptable__(self) -> NoReturn:
        raise UsageError(
            f"{type(self).__name__}: torch.jit.script does not follow it. Use torch.jit.trace or "
            "torch.export.export."
        )

    def _go_on(self) -> None:
        """Look at the memory that a forward pass with gradients goes on from."""
        now, last = torch._C._current_graph_task_id(), self._last
        graded = isinstance(last, _Pass)
        left = last.left() if graded else last or ()
        values = [v for v in self._memories.values() if isinstance(v, Tensor)]
        values = [v for v in values if any(v is known for known in left)]
        if values and now not in (_NONE, last.began if graded else _NONE):
            raise UsageError(
                f"{type(self).__name__}: torch.utils.checkpoint repeats a forward pass, but not "
                "from the memory that it began with. Checkpoint a function that calls "
                "functional.reset_net(net) first."
            )
        for value in values:
            if graded and value.grad_fn is not None:
                value.grad_fn.register_prehook(last.refuse_if_spent)

    def detach(self) -> None:
        """Cut the memory off its graph, as ``functional.detach_net`` asks, in new tensors."""
        for name, value in self._memories.items():
            if isinstance(value, Tensor):
                self._memories[name] = value.detach()
        super().detach()  # pyright: ignore[reportAttributeAccessIssue]
        if self._last is not None:  # what a repeated pass would go on from is this memory now
            self.__dict__["_last"] = tuple(self._memories.values())

    def reset(self) -> None:
        super().reset()  # pyright: ignore[reportAttributeAccessIssue]
        if not torch.compiler.is_compiling():
            self.__dict__["_last"] = ()  # and with it the memory that it holds

    def carried(self) -> dict[str, Any]:
        """What a copy or a pickle takes along."""
        carried = {name: _cut(value) for name, value in self.__dict__.items() if name != "_last"}
        return {**carried, "_memories": {n: _cut(v) for n, v in self._memories.items()}}

    def __getstate__(self) -> dict[str, Any]:
        return self.carried()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        # Not by __getstate__, which a parametrised module refuses.
        return deep_copy(self, self.carried(), memo)


class _Pass:
    """One forward pass of a module: what memory it left, and whether its graph is used up."""

    def __init__(self, owner: str, left: Iterable[Any]) -> None:
        self.owner = owner
        self.began = torch._C._current_graph_task_id()
        self._left = [weakref.ref(value) for value in left if isinstance(value, Tensor)]
        self._spent = _NONE

    def left(self) -> list[Any]:
        """The memory that it left, as far as someone still has it."""
        return [value() for value in self._left]

    def spend(self, grads: Any) -> None:
        """Note the first backward pass that frees the graph."""
        if self._spent == _NONE and not _autograd._get_current_graph_task_keep_graph():
            self._spent = torch._C._current_graph_task_id()

    def refuse_if_spent(self, grads: Any) -> None:
        """Refuse a backward pass into what an earlier one freed."""
        if self._spent not in (_NONE, torch._C._current_graph_task_id()):
            raise UsageError(
                f"{self.owner}: remembers a sequence whose backward pass has run. Call "
                "functional.reset_net(net) before every new sequence, or "
                "functional.detach_net(net) to go on from the last."
            )


def deep_copy(module: Any, carried: dict[str, Any], memo: dict[int, Any]) -> Any:
    """A copy of ``module`` made of copies of ``carried``, normal tensors wherever it is made."""
    copied = module.__new__(type(module))
    memo[id(module)] = copied
    with torch.inference_mode(False):
        copied.__setstate__(copy.deepcopy(carried, memo))
    return copied


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Evaluation for a while; then every module is in the mode that it was in."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def kept_from_training(net: nn.Module) -> list[nn.Module]:
    """Parts in evaluation, such as a frozen BatchNorm, of a network that itself is in training."""
    return [module for module in net.modules() if net.training and not module.training]


def train_all_but(net: nn.Module, kept: Iterable[nn.Module]) -> None:
    """Training, but for such parts."""
    net.train()
    for part in kept:
        part.training = False


def reset_memories(net: nn.Module) -> None:
    """As ``functional.reset_net``, but for a ``reset`` that needs arguments and is something else,
    such as timm's, which makes a new classifier of so many classes."""
    for module in net.modules():
        reset = getattr(module, "reset", None)
        if isinstance(module, base.MemoryModule) or (callable(reset) and _needs_nothing(reset)):
            module.reset()  # pyright: ignore[reportCallIssue]


def _needs_nothing(function: Callable[..., Any]) -> bool:
    free = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    takes = signature(function).parameters.values()
    return all(one.kind in free or one.default is not one.empty for one in takes)


def trainable(value: Tensor) -> Tensor:
    """A memory that autograd takes: not one of inference mode, once that is over."""
    if torch.compiler.is_compiling() or torch.is_inference_mode_enabled():
        return value
    return value.clone() if value.is_inference() else value


def _traced(value: Tensor) -> bool:
    """Whether ``torch.jit.trace``, which runs now, has seen how ``value`` was made."""
    try:
        node = torch._C._get_value_trace(value).node()  # pyright: ignore[reportAttributeAccessIssue]
    except RuntimeError:  # a constant that would require a gradient
        return False
    return node.kind() != "prim::Constant"


def _cut(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) and not value.is_leaf else value
