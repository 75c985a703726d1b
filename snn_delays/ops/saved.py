"""Hooks for what a backward pass needs, which look for changes in place as torch itself does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

Again = Callable[[], Tensor]  # makes a tensor again that was not kept


def saving(instead: Callable[[Tensor], Again | None]) -> AbstractContextManager[Any]:
    """Within it a tensor saved for a backward pass is kept as what makes it again.

    Args:
        instead: of a tensor that is to be saved; None keeps it as it is.

    Raises:
        RuntimeError: in the backward pass, if a tensor that was kept as it is was written into
            meanwhile. Where there are hooks torch does not look for that.
    """

    def pack(saved: Tensor) -> Again:
        found = instead(saved)
        return _unchanged(saved) if found is None else found

    return torch.autograd.graph.saved_tensors_hooks(pack, lambda again: again())


def _unchanged(saved: Tensor) -> Again:
    version = saved._version

    def again() -> Tensor:
        if saved._version != version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an "
                f"inplace operation: {list(saved.shape)} is at version {saved._version}; "
                f"expected version {version} instead."
            )
        return saved

    return again
