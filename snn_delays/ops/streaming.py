"""One step at a time, for inference: every spike meets each of its synapses once, when it is due.

    y[t, post] = Σ_j Σ_pre Σ_{synapses of (pre, post) with delay j} c · x[t − j, pre]

Synapses are listed by presynaptic neuron and delay, so that a step costs one look at each input
that is remembered, and one addition per synapse that a spike reaches.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.eager import for_loops
from snn_delays.interpolation import interpolate_window
from snn_delays.ops import taps
from snn_delays.ops.compiled import loops

streaming_cpu = loops("streaming_cpu")  # None: the dense kernel serves.


class Synapses(NamedTuple):
    """Unsigned, so that no index could mean one from the end.

    Those of (pre, delay j) are the entries from start[pre, j] up to start[pre, j + 1]. ``known`` is
    the fingerprint of the weights and delays that they were made of.
    """

    start: np.ndarray
    post: np.ndarray
    coefficient: np.ndarray
    known: np.ndarray


def covers(x: Tensor, weight: Tensor, delay: Tensor, history: Tensor) -> bool:
    """Whether ``step`` can take these: on the CPU, in one precision, without gradients."""
    learning = torch.is_grad_enabled() and (
        x.requires_grad or weight.requires_grad or delay.requires_grad or history.requires_grad
    )
    return not learning and streaming_cpu is not None and for_loops(x, weight, delay, history)


def synapses(
    weight: Float[Tensor, "post pre k"],
    delay: Float[Tensor, "post_or_1 pre_or_1 k"],
    sigma: float,
    max_delay: int,
    interpolation: str,
) -> Synapses:
    """The layer's synapses, one for each tap that is not zero, listed by pre and delay."""
    width = taps.width(sigma, max_delay, interpolation, weight.dtype)
    first, spread = interpolate_window(delay, sigma, max_delay, interpolation, width)
    coefficient = (weight.unsqueeze(-1) * spread).numpy()
    j = first.unsqueeze(-1).expand(*weight.shape, 1).numpy() + np.arange(width)
    post, pre, k, q = np.nonzero(coefficient)
    key = pre * (max_delay + 1) + j[post, pre, k, q]
    order = np.argsort(key, kind="stable")
    bounds = np.searchsorted(key[order], np.arange(weight.shape[1] * (max_delay + 1) + 1))
    # One row per pre, whose end is the next one's beginning.
    rows = np.arange(weight.shape[1])[:, None] * (max_delay + 1) + np.arange(max_delay + 2)
    return Synapses(
        start=bounds[rows].astype(np.uint32),
        post=post[order].astype(np.uint32),
        coefficient=coefficient[post, pre, k, q][order],
        known=streaming_cpu.fingerprint(weight.numpy(), delay.numpy()),
    )


class Stream:
    """Steps of one layer, whose synapses are listed anew when a weight or a delay has changed.

    They are looked at in every step, to the bit: torch's count of changes knows nothing of fused
    optimisers or of ``.data``.
    """

    def __init__(self) -> None:
        self._last: tuple[tuple, Synapses] | None = None

    def step(
        self,
        x: Float[Tensor, "batch pre"],
        history: Float[Tensor, "max_delay batch pre"],
        weight: Float[Tensor, "post pre k"],
        delay: Float[Tensor, "post_or_1 pre_or_1 k"],
        sigma: float,
        interpolation: str,
    ) -> tuple[Float[Tensor, "batch post"], Float[Tensor, "max_delay batch pre"]]:
        """The currents of one step, and the history of the next; no tensor is written to."""
        out, following = x.new_empty(x.shape[0], weight.shape[0]), torch.empty_like(history)
        weight, delay = weight.detach().contiguous(), delay.detach().contiguous()
        flows = (out, following, x.detach().contiguous(), history.detach())
        flows, learned = [one.numpy() for one in flows], (weight.numpy(), delay.numpy())
        settings = (sigma, interpolation, history.shape[0], weight.dtype, weight.shape, delay.shape)
        known, table = self._last if self._last is not None else (None, ())
        if known != settings or not streaming_cpu.step(*flows, *table, *learned):
            table = synapses(weight, delay, sigma, history.shape[0], interpolation)
            self._last = settings, table
            streaming_cpu.step(*flows, *table, *learned)
        return out, following
