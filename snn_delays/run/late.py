"""Numbers of a GPU that the host reads when it needs them, not when they are made.

To read a number is to wait until the GPU has made it, with nothing left to do for it then: a
training that does so in every batch leaves the GPU idle while the next one is prepared.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Mean:
    """A mean over samples, whose sum stays on the device."""

    def __init__(self) -> None:
        self._sum, self._count = torch.zeros(()), 0

    def add(self, mean: Tensor, count: int) -> None:
        """Take the mean of so many more."""
        exact = torch.float32 if mean.device.type == "mps" else torch.float64
        self._sum = self._sum.to(exact) + mean.detach().to(exact) * count
        self._count += count

    def __float__(self) -> float:
        """The mean of all so far; 0 of none. Waits for a GPU."""
        return float(self._sum) / max(self._count, 1)

    def state_dict(self) -> dict[str, Any]:
        """All of it, to go on with in another process."""
        return {"sum": self._sum.cpu(), "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._sum, self._count = state["sum"], state["count"]


class Late:
    """A number on its way to the host, where reading it once the next is made costs no wait."""

    def __init__(self, number: Tensor) -> None:
        number = number.detach()
        self._event = None
        # On a GPU into pinned memory: what comes after it need not be done for it to arrive.
        self._number = number.to("cpu", non_blocking=True)
        if number.is_cuda:
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(number.device))

    def __float__(self) -> float:
        if self._event is not None:
            self._event.synchronize()
        return float(self._number)
