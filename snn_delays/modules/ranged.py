"""What modules have in common whose delays, positions or constants keep within a range."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from snn_delays.errors import UsageError
from snn_delays.modules.eager import readable

_log = logging.getLogger("snn_delays")


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
    def ranges(self) -> dict[str, list[tuple[float, float]]]:
        """By attribute the least and greatest place: of all, or of each part of its first axis."""
        raise NotImplementedError

    @torch.no_grad()
    def clamp_(self) -> None:
        """Bring all places back into their ranges; call it after an optimiser step.

        Parametrised ones are left to their parametrisation; they act within the range all the same.

        Raises:
            UsageError: places that are NaN or infinite; not looked for on a GPU.
        """
        for name, limits in self.ranges.items():
            places = getattr(self, name)
            if places.is_cpu and readable(places):
                require_finite(places, self.moves)
            if not is_parametrized(self, name):  # pyright: ignore[reportArgumentType]
                for part, ends in _parts(places, limits):
                    part.clamp_(*ends)

    @torch.no_grad()
    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        several = [
            (part - (least + greatest) / 2, (greatest - least) / 2)
            for name, limits in self.ranges.items()
            if f"{prefix}{name}" in state_dict and readable(getattr(self, name))
            for part, (least, greatest) in _parts(getattr(self, name), limits)
        ]
        # An optimiser without clamp_ goes a little too far: that is nothing to tell.
        if beyond := sum(int((places.abs() > reach + 0.5).sum()) for places, reach in several):
            _log.warning(
                "%s: %d of %d %s that were loaded lie outside the range by up to %.3g, and act as "
                "its nearest end. Was the state saved from a layer that reaches further?",
                *(prefix.rstrip(".") or type(self).__name__, beyond),
                *(sum(places.numel() for places, _ in several), self.moves),
                max(float((one.abs() - reach).nan_to_num(0.0).max()) for one, reach in several),
            )

    @property
    def at_rest(self) -> bool:
        """Whether places act as whole numbers, and have no gradient to move them."""
        raise NotImplementedError

    def stored_places(self) -> list[Tensor | None]:
        """What an optimiser changes of the places; None of what a parametrisation makes of
        several tensors."""
        return [stored(self, name) for name in self.ranges]  # pyright: ignore[reportArgumentType]

    def learned_widths(self) -> list[nn.Parameter]:
        """What an optimiser changes of σ, if it is learned."""
        raise NotImplementedError

    def schedule_sigma(self, sigma: float) -> None:
        """Take the width ``sigma`` unless σ is learned."""
        raise NotImplementedError


def _parts(
    places: Tensor, limits: list[tuple[float, float]]
) -> Iterator[tuple[Tensor, tuple[float, float]]]:
    yield from zip(places if len(limits) > 1 else [places], limits, strict=True)


def require_finite(delay: Tensor, what: str = "delays") -> None:
    """Refuse delays that are no numbers: there is no step that a spike could wait for."""
    finite = delay.detach().isfinite()
    if not finite.all():
        raise UsageError(
            f"{int((~finite).sum()):,} of {delay.numel():,} {what} are NaN or infinite. "
            f"Go back to a state from before, and lower the learning rate of the {what}."
        )


def stored(module: nn.Module, name: str) -> Tensor | None:
    """The tensor that an optimiser changes and a state dict holds of an attribute.

    None if a parametrisation makes it of several.
    """
    if not is_parametrized(module, name):
        return getattr(module, name)
    return getattr(module.get_submodule(f"parametrizations.{name}"), "original", None)
