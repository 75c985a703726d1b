"""Leaky integrate-and-fire with a time constant that each neuron learns."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from snn_delays.neurons.cell import ANY, CellNode
from snn_delays.neurons.swept import steps


class PLIFNode(CellNode):
    """PLIF of Fang et al. (2021, arXiv:2007.05785), with a τ of each neuron's own.

        h[t] = v_reset + (1 − 1/τ) · (v[t−1] − v_reset) + x[t],   1/τ = sigmoid(rate)

    Args:
        size: number of neurons.
        tau: time constant of all at first, in steps, > 1.
        v_threshold: v from which they spike.
        v_reset: where v goes then; ``None`` subtracts the threshold.
        surrogate, surrogate_alpha: slope in place of the spike's, see ``ops/surrogates.py``.
        detach_reset: whether gradients leave out the way through the reset.

    Shape:
        ``[T, N, size] → [T, N, size]`` or, with ``step_mode="s"``, ``[N, size] → [N, size]``.
        ``rate``: ``[size]``.

    Raises:
        UsageError: as ``CellNode`` does; ``tau`` not above one step.
    """

    def __init__(
        self,
        size: int,
        tau: float = 2.0,
        *,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        surrogate: str = "atan",
        surrogate_alpha: float = 5.0,
        detach_reset: bool = True,
        step_mode: Literal["s", "m"] = "m",
    ) -> None:
        super().__init__(
            size,
            {"rate": ANY},
            v_threshold=v_threshold,
            v_reset=v_reset,
            surrogate=surrogate,
            surrogate_alpha=surrogate_alpha,
            detach_reset=detach_reset,
            step_mode=step_mode,
        )
        self.first_tau = steps(type(self).__name__, tau)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The first time constant for all."""
        nn.init.constant_(self.get_parameter("rate"), -math.log(self.first_tau - 1))

    def beta(self) -> Tensor:
        """Shares of v kept per step, ``[size]``."""
        return 1 - self.inside("rate").sigmoid()

    def constants(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        beta = self.beta()
        none = torch.zeros_like(beta)
        return beta, torch.ones_like(beta), none, none, none
