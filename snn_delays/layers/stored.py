"""What an optimiser changes and a state dict holds of an attribute, parametrised or not."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized


def stored(module: nn.Module, name: str) -> Tensor | None:
    """The tensor that ``name`` is stored as; None if a parametrisation makes it of several."""
    if not is_parametrized(module, name):
        return getattr(module, name)
    return getattr(module.get_submodule(f"parametrizations.{name}"), "original", None)
