"""What modules have in common whose delays, positions or constants keep within a range."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized


class Ranged:
    """A module that has parameters with ranges; stands before ``nn.Module`` among the parents."""

    def clamp_(self) -> None:
        """Bring what an optimiser has moved back into its range; call it after every step."""
        raise NotImplementedError


class Spread(Ranged):
    """A module that learns where its weights stand, each spread over taps by a kernel of width σ.

    Attributes:
        moves: what it learns of places, as ``parameter_groups`` calls it: ``"delays"`` or
            ``"positions"``.
    """

    moves: ClassVar[str]

    @property
    def at_rest(self) -> bool:
        """Whether places act as whole numbers, and have no gradient to move them."""
        raise NotImplementedError

    def stored_places(self) -> list[Tensor | None]:
        """What an optimiser changes of the places; None of what a parametrisation makes of
        several tensors."""
        raise NotImplementedError

    def learned_widths(self) -> list[nn.Parameter]:
        """What an optimiser changes of σ, if it is learned."""
        raise NotImplementedError

    def schedule_sigma(self, sigma: float) -> None:
        """Take the width ``sigma`` unless σ is learned."""
        raise NotImplementedError


def stored(module: nn.Module, name: str) -> Tensor | None:
    """The tensor that an optimiser changes and a state dict holds of an attribute.

    None if a parametrisation makes it of several.
    """
    if not is_parametrized(module, name):
        return getattr(module, name)
    return getattr(module.get_submodule(f"parametrizations.{name}"), "original", None)
