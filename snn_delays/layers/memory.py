"""What modules remember between calls: a layer's last inputs; and copies that remember nothing."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from jaxtyping import Float
from spikingjelly.activation_based import base, functional
from torch import Tensor, nn

from snn_delays.eager import autocasts
from snn_delays.errors import UsageError
from snn_delays.inputs import require_sequence
from snn_delays.state import Stateful, trainable

Net = TypeVar("Net", bound=nn.Module)


class InputMemory(Stateful, base.MemoryModule):
    """A layer that remembers its last ``max_delay`` inputs until ``functional.reset_net``.

    Every call leaves a new ``history`` and never writes to an old one, so that whoever keeps one
    (``extract_memories``, a monitor, a checkpoint) keeps what it was.

    Shape:
        ``history`` ``[max_delay, N, in_features]``, oldest first; None is silence.
    """

    in_features: int
    max_delay: int
    weight: Tensor
    history: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_memory("history", None)

    def _require(self, x: Tensor, axes: tuple[str, ...]) -> None:
        """Refuse an input of another shape or precision."""
        name = type(self).__name__
        require_sequence(name, x, self.in_features, axes)
        if not x.is_floating_point():
            raise UsageError(f"{name}: input must be floating point, got {x.dtype}. Use x.float().")
        if x.dtype != self.weight.dtype and not autocasts(x):
            raise UsageError(
                f"{name}: input must be {self.weight.dtype}, as the weights are, got {x.dtype}."
                f" Use x.to({self.weight.dtype}), or net.to({x.dtype})."
            )

    def _context(self, batch: int, like: Tensor) -> Float[Tensor, "max_delay batch pre"]:
        """The last max_delay inputs, oldest first; silence after a reset."""
        history, name = self.history, type(self).__name__
        if history is None:
            return like.new_zeros(self.max_delay, batch, self.in_features)
        if history.shape != (self.max_delay, batch, self.in_features):
            if history.dim() != 3 or history.shape[::2] != (self.max_delay, self.in_features):
                raise UsageError(
                    f"{name}: history must be [{self.max_delay}, {batch}, {self.in_features}], "
                    f"got {list(history.shape)}. Call functional.reset_net(net)."
                )
            raise UsageError(
                f"{name}: remembers a batch of {history.shape[1]}, got one of {batch}. Call "
                "spikingjelly's functional.reset_net(net) between sequences."
            )
        history = trainable(history)
        return history if history.dtype == like.dtype else history.to(like.dtype)

    def _remember(self, whole: Float[Tensor, "time batch pre"]) -> None:
        """Keep the last of these inputs; silence came before them."""
        if whole.shape[0] < self.max_delay:
            silence = whole.new_zeros(self.max_delay - whole.shape[0], *whole.shape[1:])
            whole = torch.cat([silence, whole])
        # A copy: the caller may write to its input, and the rest of a sequence need not be kept.
        self.history = whole[whole.shape[0] - self.max_delay :].clone()


def fresh_copy(module: Net) -> Net:
    """A copy of ``module`` with no memory of past inputs; the module keeps its own."""
    # What hangs on a graph cannot be copied, and is reset in the copy anyway.
    parts = [{**vars(part), **vars(part).get("_memories", {})} for part in module.modules()]
    graphs = [v for part in parts for v in part.values() if isinstance(v, Tensor) and v.grad_fn]
    memo = dict.fromkeys(map(id, graphs))
    with torch.inference_mode(False):  # whose tensors could not be trained or changed later
        copied = copy.deepcopy(module, memo)
    functional.reset_net(copied)
    return copied
