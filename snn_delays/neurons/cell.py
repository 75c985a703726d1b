"""Neurons whose constants are learned, one of each per neuron, in one compiled scan."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from spikingjelly.activation_based import base
from torch import Tensor, nn

from snn_delays.arguments import choice, real_number, whole_number
from snn_delays.errors import UsageError
from snn_delays.modules.bypass import steps_as
from snn_delays.modules.inputs import require_sequence
from snn_delays.modules.ranged import Ranged
from snn_delays.modules.state import Stateful
from snn_delays.neurons.swept import remembered, reset_of
from snn_delays.ops import adaptive, surrogates
from snn_delays.ops.adaptive import Cell
from snn_delays.ops.lif import Firing

_log = logging.getLogger("snn_delays")

Range = tuple[float, float]
ANY: Range = (-math.inf, math.inf)
_said: set[str] = set()


class CellNode(Ranged, Stateful, base.MemoryModule):
    """A node that ``snn_delays/ops/adaptive.py`` runs, with constants ``[size]`` to learn.

    Constants are learned within their ranges: they act as the nearest value inside, and
    ``clamp_delays_``, which training calls, brings them back.

    Raises:
        UsageError: values out of range; a state dict with constants beyond their ranges; constants
            that are NaN; an input of another shape.
    """

    decays: ClassVar[bool] = False  # no weights: an optimiser's decay would pull them to 0
    feedback = "before"

    def __init__(
        self,
        size: int,
        ranges: Mapping[str, Range],
        *,
        v_threshold: float,
        v_reset: float | None,
        surrogate: str,
        surrogate_alpha: float,
        detach_reset: bool,
        step_mode: Literal["s", "m"],
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.size = whole_number(f"{name}: size", size, 1)
        self.v_threshold = real_number(f"{name}: v_threshold", v_threshold)
        self.v_reset = None if v_reset is None else real_number(f"{name}: v_reset", v_reset)
        self.surrogate_function: Any = surrogates.made(name, surrogate, surrogate_alpha)
        self.detach_reset = bool(detach_reset)
        self.step_mode = choice(f"{name}: step_mode", step_mode, ("s", "m"))
        self.ranges = {key: in_order(f"{name}: {key}", given) for key, given in ranges.items()}
        for key in self.ranges:
            self.register_parameter(key, nn.Parameter(torch.empty(self.size)))
        self.register_memory("v", 0.0 if self.v_reset is None else self.v_reset)

    @torch.no_grad()
    def clamp_(self) -> None:
        """Bring every constant back into its range.

        A parametrised one is left to its parametrisation; it acts within the range all the same.

        Raises:
            UsageError: constants that are NaN; not looked for on a GPU.
        """
        for name, constant in self.named_parameters(recurse=False):
            if constant.is_cpu and bool(constant.isnan().any()):
                raise UsageError(
                    f"{type(self).__name__}: {name} is NaN. Go back to a state from before, and "
                    "lower the learning rate of the weights."
                )
            constant.clamp_(*self.ranges.get(name, ANY))

    def inside(self, name: str) -> Tensor:
        """A constant within its range; its gradient as if it had not been brought there."""
        # Not get_parameter, which knows no value of a parametrisation or of torch.func.
        value, limits = getattr(self, name), self.ranges[name]
        return value if limits == ANY else value + (value.clamp(*limits) - value).detach()

    def constants(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """alpha, gain, beta, a and b of the scan, each ``[size]`` or one for all."""
        raise NotImplementedError

    def cell(self, like: Tensor) -> Cell | None:
        """The node as a scan that has its synapses, too, takes it; for currents ``[N, size]``.

        None of one that makes something of its currents first.
        """
        return self._swept(like) if steps_as(self, CellNode) else None

    def _swept(self, like: Tensor) -> Cell | None:
        """The node as a compiled scan takes it, for currents ``[N, size]``; else None."""
        known = surrogates.index(self.surrogate_function) is not None
        return self._cell(like) if known and adaptive.covers(like) else None

    def settle(self, v: Tensor, w: Tensor) -> None:
        """Remember what such a scan has left."""
        self.v = v
        if "w" in self._memories:
            self.w = w

    def _cell(self, like: Tensor) -> Cell:
        constants = (one.to(like) for one in self.constants())
        adapts = "w" in self._memories
        v = remembered(self, like, like.shape)
        w = remembered(self, like, like.shape, "w") if adapts else torch.zeros_like(v)
        kind, function = surrogates.index(self.surrogate_function), self.surrogate_function
        firing = Firing(
            *(*reset_of(self), self.detach_reset),
            *((-1, 0.0) if kind is None else (kind, float(function.alpha))),
        )
        return Cell(*constants, v, w, firing, self.feedback == "before", adapts)  # pyright: ignore[reportCallIssue, reportArgumentType]

    def multi_step_forward(self, x: Tensor) -> Tensor:
        require_sequence(type(self).__name__, x, self.size, ("T", "N"))
        if not len(x):
            return x
        if not x.is_floating_point():
            x = x.to(torch.get_default_dtype())
        cell = self._swept(x[0])
        if cell is not None:
            spikes, v, w = adaptive.sweep(x, cell)
        elif surrogates.index(self.surrogate_function) is None:
            _say_slow(type(self).__name__, self.surrogate_function)
            spikes, v, w = adaptive.scan(x, self._cell(x[0]), self.surrogate_function)
        else:
            spikes, v, w = adaptive.scan(x, self._cell(x[0]))
        self.settle(v, w)
        return spikes

    def single_step_forward(self, x: Tensor) -> Tensor:
        require_sequence(type(self).__name__, x, self.size, ("N",))
        return self.multi_step_forward(x.unsqueeze(0))[0]

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for name, _ in self.named_parameters(recurse=False):
            value, (low, high) = state_dict.get(f"{prefix}{name}"), self.ranges.get(name, ANY)
            if not isinstance(value, Tensor) or value.is_meta or not value.is_floating_point():
                continue
            # As far as rounding to this precision may have put it.
            finite = [abs(end) for end in (low, high) if math.isfinite(end)]
            slack = torch.finfo(value.dtype).eps * max(finite, default=0)
            outside = ~((value >= low - slack) & (value <= high + slack))
            if bool(outside.any()):
                must = "be numbers" if (low, high) == ANY else f"lie in {low:.4g} … {high:.4g}"
                raise UsageError(
                    f"{type(self).__name__}: {prefix}{name} must {must}, got "
                    f"{float(value[outside][0]):.4g} in {int(outside.sum())} of {value.numel()} "
                    "neurons. Load a state from before, make the node with the range that it was "
                    "trained with, or call clamp_delays_(net) before the state is saved."
                )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        ranges = "".join(
            f", {name}={low:.3g}…{high:.3g}" for name, (low, high) in self.ranges.items()
        )
        return (
            f"{self.size}{ranges}, v_threshold={self.v_threshold:g}, v_reset={self.v_reset}, "
            f"feedback={self.feedback}, step_mode={self.step_mode}"
        )


def in_order(name: str, given: Any) -> Range:
    """Two numbers, the lower one first."""
    try:
        low, high = map(float, given)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not low <= high:
        raise UsageError(f"{name} must be a range (low, high), got {given!r}.")
    return low, high


def _say_slow(owner: str, function: Any) -> None:
    """Once for each surrogate in a process."""
    name = type(function).__name__
    if name not in _said:
        _said.add(name)
        _log.warning(
            "%s: the compiled scan knows %s, got %s: a loop in torch runs it, many times slower.",
            owner,
            ", ".join(surrogates.SURROGATES),
            name if getattr(function, "spiking", True) else f"{name} without spikes",
        )
