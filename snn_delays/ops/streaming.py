"""One step at a time, for inference: every spike meets each of its synapses once, as it arrives.

    coming[t + j, post] += c · x[t, pre]        for each synapse of (pre, post) with delay j
    y[t, post] = coming[t, post]

Synapses are listed by presynaptic neuron, so that a step costs one addition per synapse that a
spike reaches. What is still to come follows from the last inputs, which are the layer's memory: it
is kept from step to step as long as they are those that it was made of, and else made anew.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.interpolation import interpolate_window
from snn_delays.modules.eager import for_loops
from snn_delays.ops import taps
from snn_delays.ops.compiled import loops

streaming_cpu = loops("streaming_cpu")  # None: the dense kernel serves.


class Synapses(NamedTuple):
    """Unsigned, so that no index could mean one from the end.

    Those of pre are the entries from first[pre] up to first[pre + 1], their ``place`` being
    delay · posts + post. ``known`` is the fingerprint of the weights and delays that they were made
    of.
    """

    first: np.ndarray
    place: np.ndarray
    coefficient: np.ndarray
    known: np.ndarray


class Rings(NamedTuple):
    """What has arrived and what is to come, by step modulo max_delay + 1.

    Shape:
        arrived ``[max_delay + 1, N, pre]``, coming ``[N, (max_delay + 1) · post]``.
    """

    arrived: np.ndarray
    coming: np.ndarray


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
    """The layer's synapses, one for each tap that is not zero, listed by pre."""
    width = taps.width(sigma, max_delay, interpolation, weight.dtype)
    start, spread = interpolate_window(delay, sigma, max_delay, interpolation, width)
    coefficient = (weight.unsqueeze(-1) * spread).numpy().swapaxes(0, 1)
    pre, post, k, q = np.nonzero(coefficient)
    j = start.expand(weight.shape).numpy()[post, pre, k] + q
    return Synapses(
        first=np.searchsorted(pre, np.arange(weight.shape[1] + 1)).astype(np.uint32),
        place=(j * weight.shape[0] + post).astype(np.uint32),
        coefficient=coefficient[pre, post, k, q],
        known=streaming_cpu.fingerprint(weight.numpy(), delay.numpy()),
    )


class Stream:
    """Steps of one layer, whose synapses are listed anew when a weight or a delay has changed.

    They are looked at in every step, to the bit: torch's count of changes knows nothing of fused
    optimisers or of ``.data``.
    """

    def __init__(self) -> None:
        self._settings: tuple[Any, ...] | None = None
        self._synapses: Any = None
        self._rings: Any = None
        self._at = 0

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
        settings = (sigma, interpolation, history.shape, weight.dtype, weight.shape, delay.shape)
        at = -1
        if settings == self._settings:
            at = streaming_cpu.step(*flows, *self._rings, self._at, *self._synapses, *learned)
        if at < 0:
            self._list(settings, weight, delay)
            at = streaming_cpu.step(*flows, *self._rings, self._at, *self._synapses, *learned)
        self._at = at
        return out, following

    def _list(self, settings: tuple[Any, ...], weight: Tensor, delay: Tensor) -> None:
        """List the synapses, and begin with rings of silence."""
        sigma, interpolation, (max_delay, batch, pre), *_ = settings
        table = synapses(weight, delay, sigma, max_delay, interpolation)
        kind, rows = table.coefficient.dtype, max_delay + 1
        coming = np.zeros((batch, rows * weight.shape[0]), kind)
        self._rings, self._at = Rings(np.zeros((rows, batch, pre), kind), coming), 0
        self._synapses, self._settings = table, settings
