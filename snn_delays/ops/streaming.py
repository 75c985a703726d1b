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

    Those of (pre, delay j) are the entries from start[pre, j] up to start[pre, j + 1]."""

    start: np.ndarray
    post: np.ndarray
    coefficient: np.ndarray


def covers(x: Tensor, weight: Tensor, delay: Tensor, past: Tensor) -> bool:
    """Whether ``step`` can take these: on the CPU, in one precision, without gradients."""
    learning = torch.is_grad_enabled() and (
        x.requires_grad or weight.requires_grad or delay.requires_grad or past.requires_grad
    )
    return not learning and streaming_cpu is not None and for_loops(x, weight, delay, past)


def synapses(
    weight: Float[Tensor, "post pre contacts"],
    delay: Float[Tensor, "post_or_1 pre_or_1 contacts"],
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
    )


def step(
    x: Float[Tensor, "batch pre"],
    past: Float[Tensor, "max_delay batch pre"],
    table: Synapses,
    post: int,
) -> tuple[Float[Tensor, "batch post"], Float[Tensor, "max_delay batch pre"]]:
    """The currents of one step, and the past of the next; no tensor is written to."""
    out, kept = x.new_empty(x.shape[0], post), torch.empty_like(past)
    streaming_cpu.step(
        out.numpy(),
        kept.numpy(),
        x.detach().contiguous().numpy(),
        past.detach().numpy(),
        *table,
    )
    return out, kept


class Kept:
    """The last answer of ``synapses``, kept while weights and delays are the same to the bit.

    They are looked at in every step: torch's count of changes knows nothing of fused optimisers or
    of ``.data``. Reading them takes a tenth of the step that they are read for.
    """

    def __init__(self) -> None:
        self._last: tuple[tuple, Synapses] | None = None

    def synapses(
        self,
        weight: Float[Tensor, "post pre contacts"],
        delay: Float[Tensor, "post_or_1 pre_or_1 contacts"],
        sigma: float,
        max_delay: int,
        interpolation: str,
    ) -> Synapses:
        """As ``synapses``."""
        weight, delay = weight.detach(), delay.detach()
        seen = (sigma, max_delay, interpolation, _fingerprint(weight), _fingerprint(delay))
        if self._last is None or self._last[0] != seen:
            self._last = seen, synapses(weight, delay, sigma, max_delay, interpolation)
        return self._last[1]


def _fingerprint(x: Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    """What tells x from every other tensor; see ``streaming_cpu.fingerprint``."""
    lanes = np.zeros(streaming_cpu.LANES, np.uint32)
    streaming_cpu.fingerprint(lanes, x.contiguous().view(-1).numpy().view(np.uint32))
    return x.dtype, x.shape, lanes.tobytes()
