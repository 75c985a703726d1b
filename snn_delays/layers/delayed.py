"""What layers with delays have in common, fully connected or convolutional."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, register_parametrization

from snn_delays.arguments import choice, real_number, whole_number
from snn_delays.errors import UsageError
from snn_delays.interpolation import INTERPOLATIONS, Interpolation, first_sigma
from snn_delays.layers.buffers import Buffers
from snn_delays.layers.granularity import GRANULARITIES, Delays
from snn_delays.layers.memory import InputMemory
from snn_delays.modules.eager import has_numbers
from snn_delays.modules.ranged import stored
from snn_delays.modules.rest import rest_if_integer
from snn_delays.ops import packed


class Delayed(Delays, Buffers, InputMemory):  # pyright: ignore[reportIncompatibleVariableOverride]
    """Synapses with learnable delays, that remember the last ``max_delay`` inputs.

    A subclass says which shape its weights and inputs have, and computes the sums: of a sequence in
    ``_convolved``, of its last step in ``_latest``.

    Shape:
        ``weight`` ``[out, in, *within]``, ``delay`` broadcastable to it; ``within`` is
        ``kernel_count``, behind a kernel's positions in space if it has any.
    """

    geometry: Any = None  # of a convolution, how its kernel goes over a map
    space: ClassVar[int] = 0  # axes of an input behind its channels
    undelayed: ClassVar[str] = "nn.Linear"  # what does the same without delays
    granularities: ClassVar[tuple[str, ...]] = GRANULARITIES
    interpolation: Interpolation
    neuron: Any  # those that its synapses lead from and to, if they are its own

    def _settle(self, owner: str, methods: tuple[str, ...], settings: dict[str, Any]) -> None:
        """Check and keep the settings that all such layers have.

        Args:
            owner: as messages name it.
            methods: by which the sums can be computed.
        """
        self.kernel_count = whole_number(f"{owner}: kernel_count", settings["kernel_count"], 1)
        self.max_delay = whole_number(
            *(f"{owner}: max_delay", settings["max_delay"], 1),
            unit="steps",
            advice=f"Use a smaller dt, or {self.undelayed} if no delay is wanted.",
        )
        self.granularity = choice(
            f"{type(self).__name__}: granularity", settings["granularity"], self.granularities
        )
        known = INTERPOLATIONS
        self.interpolation = choice(f"{owner}: interpolation", settings["interpolation"], known)
        self.method = choice(f"{owner}: method", settings["method"], methods)
        self.step_mode = choice(f"{owner}: step_mode", settings["step_mode"], ("s", "m"))
        sigma = settings["sigma"]
        sigma = first_sigma(self.reach) if sigma is None else sigma
        self.first_sigma = real_number(f"{owner}: sigma", sigma, 0, unit="steps")
        self.first_delays = self._checked_first(settings["first_delays"])
        self.method_used: str | None = None  # how the last sequence was computed
        self.neuron = None

    def _make(self, post: int, pre: int, *within: int, bias: bool, sigma_learned: bool) -> None:
        """The parameters, as they are at first."""
        self.weight = nn.Parameter(torch.empty(post, pre, *within))
        self._make_delays(post, pre, *within)
        self.bias = nn.Parameter(torch.empty(post)) if bias else None
        if sigma_learned:
            self.log_sigma = nn.Parameter(torch.zeros(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """σ as at first; weights Kaiming-uniform for ReLU, delays as ``first_delays``."""
        self.sigma = self.first_sigma
        if (weight := stored(self, "weight")) is not None:
            nn.init.kaiming_uniform_(weight.flatten(1), nonlinearity="relu")
        for name in self.delay_ranges:
            self.draw_delays_(getattr(self, name), name)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @property
    def ends(self) -> str:
        """What it leads from and to, in words."""
        raise NotImplementedError

    @property
    def reach(self) -> int:
        """Steps between the shortest delay and the longest; the kernel has one tap more."""
        return self.max_delay - self.min_delay

    @torch.no_grad()
    def clamp_(self) -> None:
        """Bring every delay back into [min_delay, max_delay]; call it after an optimiser step.

        Weights of synapses that are not there become 0 again. A parametrised delay is left to its
        parametrisation; it acts within the range all the same.

        Raises:
            UsageError: delays that are NaN or infinite; not looked for on a GPU.
        """
        self.clear_absent_()
        super().clamp_()

    @torch.no_grad()
    def round_(self) -> None:
        """Act as deployed: integer delays and σ = 0, so that every synapse is one tap.

        Raises:
            UsageError: delays that are NaN or infinite, or that a hook makes.
        """
        self.integer_delays()  # refuses them
        for name, limits in self.delay_ranges.items():
            if is_parametrized(self, name):
                register_parametrization(self, name, _Rounded(*limits), unsafe=True)
            elif name in self.__dict__:
                raise UsageError(
                    f"{type(self).__name__}: {name} is made by a hook, as of torch.nn.utils.prune, "
                    f"which would make it again. Call prune.remove(layer, {name!r}), or the like, "
                    "before it is rounded."
                )
            else:
                delay = getattr(self, name)
                delay.copy_(delay.round().clamp(*limits))
        if self.log_sigma is not None:
            self.rounding = "integer"
        else:
            self.sigma, self.rounding = 0.0, "none"

    def multi_step_forward(
        self, x: Float[Tensor, "time batch pre *space"]
    ) -> Float[Tensor, "time batch post *space_after"]:
        self._require(x, ("T", "N"))
        rest_if_integer(self)
        # What came before matters to the first steps only; after a reset that is silence.
        context = 0 if self.history is None else self.max_delay
        whole = torch.cat([self._context(x.shape[1:], x), x]) if context else x
        y = self._convolve(whole)
        self._remember(whole)
        return self._biased(y[context:])

    def single_step_forward(
        self, x: Float[Tensor, "batch pre *space"]
    ) -> Float[Tensor, "batch post *space_after"]:
        self._require(x, ("N",))
        rest_if_integer(self)
        y, self.history = self._step(x, self._context(x.shape, x))
        return self._biased(y)

    def _biased(self, y: Tensor) -> Tensor:
        if self.bias is None:
            return y
        return y + (self.bias.view(-1, *[1] * self.space) if self.space else self.bias)

    def _convolve(
        self, x: Float[Tensor, "time batch pre *space"]
    ) -> Float[Tensor, "time batch post *space_after"]:
        """The layer's equation without bias, for an x that nothing precedes."""
        weight, acting = self.acting_weight(), self._acting()
        with packed.kept(x):
            y, self.method_used = self._convolved(x, weight, *acting)
        if (learned := self._learned()) is None:
            return y
        slope, method = self._convolved(x.detach(), weight.detach(), *learned)
        if method != self.method_used:
            self.method_used += f", its slopes by {method}"
        return y + (slope - slope.detach())

    def _convolved(
        self, x: Tensor, weight: Tensor, delay: Any, sigma: float | Tensor
    ) -> tuple[Tensor, str]:
        """The sums, and the method by which they were computed."""
        raise NotImplementedError

    def _step(
        self,
        x: Float[Tensor, "batch pre *space"],
        history: Float[Tensor, "taps_before batch pre *space"],
    ) -> tuple[Tensor, Tensor]:
        """The layer's equation without bias for one step, and what to remember for the next."""
        weight = self.acting_weight()
        acting = self._acting()
        if (done := self._streamed(x, history, weight, *acting)) is not None:
            return done
        whole = torch.cat([history, x.unsqueeze(0)])
        y = self._latest(whole, weight, *acting)
        if (learned := self._learned()) is not None:
            slope = self._latest(whole.detach(), weight.detach(), *learned)
            y = y + (slope - slope.detach())
        return y.to(weight.dtype), whole[1:]  # not that of autocast, as in ops/plan.py

    def _streamed(
        self, x: Tensor, history: Tensor, weight: Tensor, delay: Any, sigma: float | Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """``_step`` by a loop of its own, where there is one."""
        return None

    def _latest(
        self, x: Tensor, weight: Tensor, delay: Any, sigma: float | Tensor
    ) -> Float[Tensor, "batch post *space_after"]:
        """The sums of the last step, of an x with as many steps as there are taps."""
        raise NotImplementedError

    def _acting(self) -> tuple[Any, float | Tensor]:
        """The delays, counted from the shortest, and the σ that make the layer's output."""
        if self.rounding == "none":
            return self._from_shortest(self.delay_tensors()), self._width()
        # A gradient of zeros, not none, as of σ = 0.
        pairs = zip(self._rounded_delays(), self.delay_tensors(), strict=True)
        return self._from_shortest([one + 0 * own for one, own in pairs]), 0.0

    def _learned(self) -> tuple[Any, float | Tensor] | None:
        """The delays and σ whose slopes move delays that act as rounded."""
        delays = self.delay_tensors()
        moves = self.rounding == "straight_through" and torch.is_grad_enabled()
        if not (moves and any(one.requires_grad for one in delays)) or self.at_rest:
            return None
        return self._from_shortest(delays), self._width()

    @property
    def at_rest(self) -> bool:
        """Whether delays act as integers, and have no gradient to move them."""
        if self.rounding == "integer":
            return True
        if self.log_sigma is not None or (
            self.rounding == "none" and self.interpolation != "gaussian"
        ):
            return False
        return self.sigma == 0

    def _settings_repr(self) -> str:
        """The settings that all such layers have, as ``repr`` shows them."""
        sigma = f"{self.sigma:.2f}" if has_numbers(self._sigma) else "?"
        return (
            f"max_delay={self.max_delay}, "
            f"kernel_count={self.kernel_count}, granularity={self.granularity}, "
            f"interpolation={self.interpolation}, sigma={sigma}, "
            + ("" if self.rounding == "none" else f"rounding={self.rounding}, ")
            + f"bias={self.bias is not None}, step_mode={self.step_mode}, method={self.method}"
            + (f" (last: {self.method_used})" if self.method == "auto" and self.method_used else "")
        )


class _Rounded(nn.Module):
    """Integer delays, of delays that a parametrisation makes."""

    def __init__(self, *limits: int) -> None:
        super().__init__()
        self.limits = limits

    def forward(self, delay: Tensor) -> Tensor:
        return delay.round().clamp(*self.limits)
