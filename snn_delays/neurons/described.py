"""The torch side of a neuron model: its nodes as the description says them, and back.

The description itself is ``snn_delays/table/models``, without torch; nothing here calls its step.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snn_delays.errors import UsageError
from snn_delays.table.models import MODELS

# A table's parameters of a population, float64 ``[size]`` by name, and its scalars.
Parameters = Mapping[str, NDArray[np.float64]]
Scalars = Mapping[str, Any]


class Values(NamedTuple):
    """What a node is, in its model's words.

    Args:
        parameters, scalars: by the description's names; one number for all neurons, or ``[size]``.
        gain: what the node multiplies its input currents by, for weights to take up.
    """

    parameters: dict[str, Any]
    scalars: dict[str, Any]
    gain: float = 1.0


class Built(NamedTuple):
    """A node, and by what the weights and biases into it are to be divided.

    Shape:
        divisor: float64 ``[size]``.
    """

    node: nn.Module
    divisor: NDArray[np.float64]


def _whole_step(step: Callable[..., Any], shares: list[bool], *given: Any) -> tuple[Tensor, ...]:
    *rest, shift, _ = given  # scales of weights play no part in a step
    numbers = zip(rest, shares, strict=True)
    return step(*(_Share(one, shift) if share else one for one, share in numbers))


@dataclass(frozen=True, eq=False)
class TorchModel:
    """Nodes of one model.

    Args:
        model: the description's name.
        nodes: the classes that obey its equation, by exact type: a subclass may well obey another.
        describe: the values of such a node; refuses settings that the model does not have.
        build: a node to train on, from parameters ``[size]`` (float64) in the network's own unit
            and scalars; refuses neurons that differ where the node cannot. ``slack`` is how far
            rounding to a table's numbers may have put potentials apart.
        step: ``step(*state, current, *parameters, *scalars) → (*state, spikes, h)`` on tensors
            ``[N, size]``, h being v before its reset; a choice is given as its index.
    """

    model: str
    nodes: tuple[type[nn.Module], ...]
    describe: Callable[[Any], Values]
    build: Callable[[Parameters, Scalars, float], Built]
    step: Callable[..., tuple[Tensor, ...]]

    @property
    def whole_step(self) -> Callable[..., tuple[Tensor, ...]]:
        """``step`` in int64: what multiplies counts in 1 / 2^beta_shift."""
        kinds = {one.name: one.quantity.rounding for one in MODELS[self.model].parameters}
        shares = [kinds.get(one) == "share" for one in inspect.signature(self.step).parameters]
        return partial(_whole_step, self.step, shares)


class _Share(NamedTuple):
    """A factor in 1 / 2^shift that multiplies potentials in int64."""

    of: Tensor
    shift: int

    def __mul__(self, v: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Its fraction is dropped towards 0; in two parts whose products fit 64 bits."""
        m, of = v.abs(), self.of.abs()
        high = m >> self.shift
        whole = high * of + (((m - (high << self.shift)) * of) >> self.shift)
        return v.sign() * self.of.sign() * whole

    def __rsub__(self, one: int) -> _Share:
        return _Share((one << self.shift) - self.of, self.shift)


def require_spikes(node: Any) -> None:
    """Refuse a node whose surrogate function stands in for the spikes themselves.

    Raises:
        UsageError: it does.
    """
    if not getattr(node.surrogate_function, "spiking", True):
        raise UsageError(
            f"is a {type(node).__name__} whose surrogate function gives no spikes. Call "
            "surrogate_function.set_spiking_mode(True)."
        )


def common(name: str, values: NDArray[np.float64]) -> float:
    """The one value that all neurons have, to the precision of a table.

    Raises:
        UsageError: they differ.
    """
    if np.ptp(values.astype(np.float32)):
        raise UsageError(
            f"{name} must be the same for all neurons of a population, got {values.min()} … "
            f"{values.max()}. Use simulate or TableNetwork to run this table."
        )
    return float(values[0])


def firing_of(
    values: Parameters, scalars: Scalars, slack: float
) -> tuple[float, float | None, NDArray[np.float64]]:
    """v_threshold and v_reset of a node that has one of each, and the divisor that takes.

    Thresholds that differ from neuron to neuron become 1, with all else in their proportion.

    Raises:
        UsageError: thresholds or resets that cannot become one.
    """
    threshold, divisor = values["v_threshold"], np.ones_like(values["v_threshold"])
    at = 1.0
    if not np.ptp(threshold):  # One for all stays what it is.
        at = float(threshold[0])
    elif np.any(threshold <= 0):
        common("v_threshold, where it is not above 0,", threshold)
    else:
        divisor = threshold
    v_reset = values["v_reset"] / divisor
    # As far as rounding to the table's numbers let v_reset stay in proportion.
    if np.any(np.abs(v_reset - np.median(v_reset)) > slack / divisor):
        common("v_reset / v_threshold", v_reset)
    return at, float(np.median(v_reset)) if scalars["reset"] == "hard" else None, divisor


def tau_of(name: str, values: Parameters) -> float:
    """The time constant in steps of a share (beta, alpha) that all neurons have in common.

    One step where nothing is kept, infinity where all is.
    """
    share = common(name, values[name])
    return 1 / (1 - share) if share < 1 else float("inf")


def spiking_step(
    h: Tensor, v_threshold: Tensor, v_reset: Tensor, hard: bool
) -> tuple[Tensor, Tensor]:
    """v after the spikes of h ``[N, size]``, and these."""
    spikes = h >= v_threshold
    return torch.where(spikes, v_reset if hard else h - v_threshold, h), spikes
