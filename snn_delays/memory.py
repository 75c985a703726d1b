"""What modules remember between calls: a layer's last inputs; and copies that remember nothing."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from spikingjelly.activation_based import base, functional
from torch import Tensor, nn

from snn_delays.errors import UsageError

Net = TypeVar("Net", bound=nn.Module)


class InputMemory(base.MemoryModule):
    """A layer that remembers its last ``max_delay`` inputs until ``functional.reset_net``.

    ``history`` is a ring: ``slot`` is the oldest input, and the next to be overwritten. None is
    silence.

    Shape:
        ``history`` ``[max_delay, N, in_features]``.
    """

    in_features: int
    max_delay: int
    history: Tensor | None
    slot: int

    def __init__(self) -> None:
        super().__init__()
        self.register_memory("history", None)
        self.register_memory("slot", 0)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle takes along: the memory's values, not their autograd graph."""
        memories = {
            name: value.detach() if isinstance(value, Tensor) else value
            for name, value in self._memories.items()
        }
        return {**self.__dict__, "_memories": memories}

    def _past(self, batch: int, like: Tensor) -> Float[Tensor, "max_delay batch pre"]:
        """The last max_delay inputs, oldest first; silence after a reset."""
        if self.history is None:
            return like.new_zeros(self.max_delay, batch, self.in_features)
        self._check_batch(batch)
        return self.history.roll(-self.slot, 0).to(like.dtype)

    def _remember(self, whole: Float[Tensor, "time batch pre"]) -> None:
        """Keep the last of these inputs; silence came before them."""
        if whole.shape[0] < self.max_delay:
            silence = whole.new_zeros(self.max_delay - whole.shape[0], *whole.shape[1:])
            whole = torch.cat([silence, whole])
        # A copy: the ring is written in place, while autograd may still need `whole`.
        self.history, self.slot = whole[whole.shape[0] - self.max_delay :].clone(), 0

    def _check_batch(self, batch: int) -> None:
        if self.history is not None and self.history.shape[1] != batch:
            raise UsageError(
                f"DelayLayer: remembers a batch of {self.history.shape[1]}, got one of {batch}. "
                "Call spikingjelly's functional.reset_net(net) between sequences."
            )


def fresh_copy(module: Net) -> Net:
    """A copy of ``module`` with no memory of past inputs; the module keeps its own."""
    # A neuron's state hangs on the autograd graph, which cannot be copied: set it aside.
    memories = base.extract_memories(module)
    functional.reset_net(module)
    try:
        return copy.deepcopy(module)
    finally:
        base.load_memories(module, memories)
