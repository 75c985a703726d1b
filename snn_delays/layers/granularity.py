"""Whose delays they are: each synapse's, each neuron's before or after it, the layer's, or of both
ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from snn_delays.arguments import real_number, shown
from snn_delays.errors import UsageError
from snn_delays.modules.ranged import Spread, require_finite
from snn_delays.ops.factored import Stages

Granularity = Literal["synaptic", "axonal", "dendritic", "axonal+dendritic", "common"]
GRANULARITIES: tuple[str, ...] = get_args(Granularity)
BOTH_ENDS = "axonal+dendritic"
First = float | Sequence[float]


class Delays(Spread, nn.Module):
    """A layer's learned delays: one tensor ``delay``, or with both ends' ``delay_pre`` and
    ``delay_post``, and ``delay`` their sum.

    Of both ends each is spread over taps, and rounded, on its own, as a chip that has both stores
    them. The ends share the range: delay_pre ≤ max_delay − max_delay // 2 and
    delay_post ≤ max_delay // 2, so that no sum exceeds max_delay.
    """

    moves = "delays"
    min_delay = 0  # the shortest delay, in steps
    granularity: str
    max_delay: int
    first_delays: First  # in steps: half-normal of this width, or uniform from one to another

    def _make_delays(self, post: int, pre: int, *within: int) -> None:
        """Args: ``within``: positions of a kernel in space, if it has any, and ``kernel_count``."""
        own = (*[1] * (len(within) - 1), within[-1])
        shapes = {
            "synaptic": {"delay": (post, pre, *within)},
            "axonal": {"delay": (1, pre, *own)},
            "dendritic": {"delay": (post, 1, *own)},
            BOTH_ENDS: {"delay_pre": (1, pre, *own), "delay_post": (post, 1, *own)},
            "common": {"delay": (1, 1, *own)},
        }
        for name, shape in shapes[self.granularity].items():
            setattr(self, name, nn.Parameter(torch.empty(shape)))

    @property
    def delay_ranges(self) -> dict[str, tuple[int, int]]:
        """The learned delays by name, and from which delay to which they reach, in steps."""
        if self.granularity != BOTH_ENDS:
            return {"delay": (self.min_delay, self.max_delay)}
        half = (self.max_delay - self.min_delay) // 2
        return {"delay_pre": (self.min_delay, self.max_delay - half), "delay_post": (0, half)}

    @torch.no_grad()
    def draw_delays_(
        self, into: Tensor, name: str = "delay", generator: torch.Generator | None = None
    ) -> None:
        """Delays as they start; each of both ends takes its share of them."""
        shortest, longest = self.delay_ranges[name]
        share = (longest - shortest) / max(self.max_delay - self.min_delay, 1)
        first = self.first_delays
        if isinstance(first, int | float):
            into.normal_(0.0, first * share, generator=generator).abs_()
            into.add_(shortest).clamp_(shortest, longest)
        else:
            low, high = (shortest + share * (end - self.min_delay) for end in first)
            into.uniform_(low, high, generator=generator)

    def _checked_first(self, given: Any) -> First:
        low, high = float(self.min_delay), float(self.max_delay)
        name = f"{type(self).__name__}: first_delays"
        if given is None:
            return low, high
        if not isinstance(given, list | tuple):
            return float(real_number(name, given, above=0, unit="steps"))
        ends = [float(real_number(name, one, unit="steps")) for one in given]
        if len(ends) != 2 or not low <= ends[0] <= ends[1] <= high:
            raise UsageError(
                f"{name} must be a range (low, high) within {low:g} … {high:g} steps, or the width "
                f"of a half-normal distribution, got {shown(given)}."
            )
        return ends[0], ends[1]

    def delay_tensors(self) -> list[Tensor]:
        """The learned delays."""
        return [getattr(self, name) for name in self.delay_ranges]

    @property
    def ranges(self) -> dict[str, list[tuple[float, float]]]:
        return {name: [limits] for name, limits in self.delay_ranges.items()}

    def __getattr__(self, name: str) -> Any:
        if name == "delay" and self.__dict__.get("granularity") == BOTH_ENDS:
            return self.delay_pre + self.delay_post
        return super().__getattr__(name)

    def integer_delays(self) -> Int[Tensor, "post_or_1 pre_or_1 *k"]:
        """Delays rounded to steps (ties to even), int64, of ``delay``'s shape.

        Of both ends each is rounded, then they are added.
        """
        for one in self.delay_tensors():
            if not one.is_meta:
                require_finite(one)
        first, *others = (one.long() for one in self._rounded_delays())
        return first + others[0] if others else first

    def _rounded_delays(self) -> list[Tensor]:
        ranges = self.delay_ranges.items()
        return [getattr(self, name).detach().round().clamp(*limits) for name, limits in ranges]

    def _from_shortest(
        self, delays: list[Tensor]
    ) -> Float[Tensor, "post_or_1 pre_or_1 *k"] | Stages:
        """Delays as ``ops/plan.py`` takes them: counted from the shortest."""
        ranges = self.delay_ranges.values()
        shifted = [one - low if low else one for one, (low, _) in zip(delays, ranges, strict=True)]
        if len(shifted) == 1:
            return shifted[0]
        early, late = (high - low for low, high in ranges)
        return Stages(shifted[0], shifted[1], early, late)
