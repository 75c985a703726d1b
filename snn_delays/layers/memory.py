"""What modules remember between calls: a layer's last inputs; and copies that remember nothing."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from jaxtyping import Float
from spikingjelly.activation_based import base
from torch import Tensor, nn

from snn_delays.errors import UsageError
from snn_delays.modules.eager import autocasts
from snn_delays.modules.state import Stateful, reset_memories, trainable

Net = TypeVar("Net", bound=nn.Module)


class InputMemory(Stateful, base.MemoryModule):
    """A layer that remembers its last ``max_delay`` inputs until ``functional.reset_net``.

    Every call leaves a new ``history`` and never writes to an old one, so that whoever keeps one
    (``extract_memories``, a monitor, a checkpoint) keeps what it was.

    Shape:
        ``history`` ``[max_delay, N, *frame]``, oldest first, ``frame`` being the shape of one step
        (``[in_features]``, or ``[C, (H,) W]``); None is silence.
    """

    max_delay: int
    weight: Tensor
    history: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_memory("history", None)

    def _require(self, x: Tensor, axes: tuple[str, ...]) -> None:
        """Refuse an input of another shape or precision."""
        name = type(self).__name__
        self._require_shape(x, axes)
        if not x.is_floating_point():
            raise UsageError(f"{name}: input must be floating point, got {x.dtype}. Use x.float().")
        if x.dtype != self.weight.dtype and not autocasts(x):
            raise UsageError(
                f"{name}: input must be {self.weight.dtype}, as the weights are, got {x.dtype}."
                f" Use x.to({self.weight.dtype}), or net.to({x.dtype})."
            )

    def _require_shape(self, x: Tensor, axes: tuple[str, ...]) -> None:
        """Refuse an input of another shape."""
        raise NotImplementedError

    def _context(
        self, step: tuple[int, ...], like: Tensor
    ) -> Float[Tensor, "max_delay batch *frame"]:
        """The last max_delay inputs, oldest first; silence after a reset.

        Args:
            step: shape of one step's input, its batch first.
        """
        history, name = self.history, type(self).__name__
        whole = (self.max_delay, *step)
        if history is None:
            return like.new_zeros(whole)
        if history.shape != whole:
            if history.dim() != len(whole) or history[:, 0].shape != (whole[0], *whole[2:]):
                raise UsageError(
                    f"{name}: history must be {list(whole)}, got {list(history.shape)}. Call "
                    "functional.reset_net(net)."
                )
            raise UsageError(
                f"{name}: remembers a batch of {history.shape[1]}, got one of {step[0]}. Call "
                "spikingjelly's functional.reset_net(net) between sequences."
            )
        history = trainable(history)
        return history if history.dtype == like.dtype else history.to(like.dtype)

    def _remember(self, whole: Float[Tensor, "time batch *frame"]) -> None:
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
    reset_memories(copied)
    return copied
