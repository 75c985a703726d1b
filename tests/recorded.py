"""CUDA graphs without a GPU: what torch does is taken down, and done again with the same memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from snn_delays.graphs.parts import Parts
from snn_delays.graphs.recordings import Results, Work

_READS = torch.ops.aten._local_scalar_dense.default


class InTorch(TorchDispatchMode):
    """Within it everything is done in torch, since compiled loops cannot be watched."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        return func(*args, **(kwargs or {}))


class _TakesDown(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        if func is _READS:
            raise RuntimeError("operation not permitted when stream is capturing")
        found = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, found))
        return found


class InTorchParts(Parts):
    """The parts of a step as they are, in torch."""

    def gradients(self, work: Work, *inputs: Tensor) -> Results:
        with InTorch():
            return work(*inputs)

    moves = gradients

    def ranges(self, work: Work) -> Results:
        with InTorch():
            return work()


class Interpreter:
    """Records what torch does on the CPU. As in a graph nothing is done while it is recorded, and
    all memory is the same when it is repeated; a number that is read is an error.

    Attributes:
        recorded, repeated: how often it was.
    """

    def __init__(self, net: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        self.net, self.optimizers = net, optimizers
        self.recorded = self.repeated = self.run = 0

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()

    def watched(self, work: Work, *inputs: Tensor) -> tuple[Results, str]:
        self.run += 1
        with InTorch():
            return work(*inputs), ""

    def record(self, work: Callable[[], Results]) -> _Repeats:
        with self._undone(), _TakesDown() as taken:
            results = work()
        self.recorded += 1
        return _Repeats(self, taken.calls, results)

    @contextmanager
    def _undone(self) -> Iterator[None]:
        states = [one for opt in self.optimizers for one in tree_leaves(opt.state_dict()["state"])]
        tensors = [*self.net.parameters(), *self.net.buffers()]
        tensors += [one for one in states if isinstance(one, Tensor)]
        before, random = [one.detach().clone() for one in tensors], torch.get_rng_state()
        try:
            yield
        finally:
            torch.set_rng_state(random)
            with torch.no_grad():
                for one, was in zip(tensors, before, strict=True):
                    one.copy_(was)


class _Repeats:
    def __init__(self, owner: Interpreter, calls: list[Any], results: Results) -> None:
        self.owner, self.calls, self.results = owner, calls, results

    @torch.no_grad()
    def replay(self) -> None:
        self.owner.repeated += 1
        for func, args, kwargs, found in self.calls:
            again = func(*args, **kwargs)
            for result, old, new in zip(
                func._schema.returns, _listed(found), _listed(again), strict=False
            ):
                # Views, and what is written in place, are where they were.
                if result.alias_info is None:
                    for into, value in zip(tree_leaves(old), tree_leaves(new), strict=True):
                        if isinstance(into, Tensor):
                            into.detach().copy_(value)


def _listed(found: Any) -> Sequence[Any]:
    return found if isinstance(found, tuple) else (found,)
