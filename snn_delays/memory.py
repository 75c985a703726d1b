"""What modules remember between calls: a layer's last inputs; and copies that remember nothing."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from spikingjelly.activation_based import base, functional
from torch import Tensor, nn

from snn_delays.eager import readable
from snn_delays.errors import UsageError

Net = TypeVar("Net", bound=nn.Module)


class CopyableMemory:
    """A SpikingJelly module whose copies and pickles take its memory along, not the graph of it."""

    _memories: dict[str, Any]

    def __getstate__(self) -> dict[str, Any]:
        memories = {
            name: value.detach() if isinstance(value, Tensor) else value
            for name, value in self._memories.items()
        }
        return {**self.__dict__, "_memories": memories}


class InputMemory(CopyableMemory, base.MemoryModule):
    """A layer that remembers its last ``max_delay`` inputs until ``functional.reset_net``.

    Every call leaves a new ``history`` and never writes to an old one, so that whoever keeps one
    (``extract_memories``, a monitor, a checkpoint) keeps what it was.

    Shape:
        ``history`` ``[max_delay, N, in_features]``, oldest first; None is silence.
    """

    in_features: int
    max_delay: int
    history: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_memory("history", None)

    def detach(self) -> None:
        """Cut the memory off its graph, as ``functional.detach_net`` asks."""
        if self.history is not None:
            self.history = self.history.detach()

    def _past(self, batch: int, like: Tensor) -> Float[Tensor, "max_delay batch pre"]:
        """The last max_delay inputs, oldest first; silence after a reset."""
        past = self.history
        if past is None:
            return like.new_zeros(self.max_delay, batch, self.in_features)
        if past.shape[1] != batch:
            raise UsageError(
                f"DelayLayer: remembers a batch of {past.shape[1]}, got one of {batch}. "
                "Call spikingjelly's functional.reset_net(net) between sequences."
            )
        if past.dtype != like.dtype:
            past = past.to(like.dtype)
        # Autograd takes no tensors of inference mode.
        if torch.is_grad_enabled() and readable(past) and past.is_inference():
            return past.clone()
        return past

    def _remember(self, whole: Float[Tensor, "time batch pre"]) -> None:
        """Keep the last of these inputs; silence came before them."""
        if whole.shape[0] < self.max_delay:
            silence = whole.new_zeros(self.max_delay - whole.shape[0], *whole.shape[1:])
            whole = torch.cat([silence, whole])
        # A copy: the caller may write to its input, and the rest of a sequence need not be kept.
        self.history = whole[whole.shape[0] - self.max_delay :].clone()


def fresh_copy(module: Net) -> Net:
    """A copy of ``module`` with no memory of past inputs; the module keeps its own."""
    # A neuron's state hangs on the autograd graph, which cannot be copied: set it aside.
    memories = base.extract_memories(module)
    functional.reset_net(module)
    try:
        with torch.inference_mode(False):  # whose tensors could not be trained or changed later
            return copy.deepcopy(module)
    finally:
        base.load_memories(module, memories)
