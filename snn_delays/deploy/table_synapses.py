"""A table's projection in torch: over whole sequences, or step by step through a ring."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snn_delays.errors import UsageError
from snn_delays.ops.plan import delay_convolution
from snn_delays.table.projection import Projection
from snn_delays.table.table import DelayTable

# Largest sums that whole numbers in float32 and float64 reach without rounding.
_EXACT = {torch.float32: 2.0**24, torch.float64: 2.0**53}


class Synapses(nn.Module):
    """The currents that one projection brings, in the target's unit: int64 or float64.

    Where no projection of the table leads back these are ``convolved`` from what the source sends
    over all steps. Else ``send`` takes one step of it at a time, and ``arriving`` gives the current
    of the step that the target takes next.

    Args:
        table: the whole of which it is a part.
        projection: one of its projections.
    """

    delay: Tensor

    def __init__(self, table: DelayTable, projection: Projection) -> None:
        super().__init__()
        self.source, self.target = projection.source, projection.target
        target, n_pre = table[self.target], table.size(self.source)
        self.max_delay, self.scale = projection.max_delay, projection.weight_scale
        self.shift = target.scalars["weight_shift"] if target.integer else None
        sums = np.zeros(target.size)
        np.add.at(sums, projection.post, np.abs(projection.weight.astype(np.float64)))
        self.largest_sum = float(sums.max(initial=0))
        self.dtype = torch.float64
        if table.recurrent:
            # A target that has taken its step already waits for the next one.
            due = projection.delay - int(table.leads_back(projection))
            self.slots = int(due.max(initial=0)) + 1
            weight = np.zeros((self.slots, target.size, n_pre))
            np.add.at(weight, (due, projection.post, projection.pre), projection.weight)
        else:
            if self.shift is not None and self.largest_sum * 64 < _EXACT[torch.float32]:
                self.dtype = torch.float32  # quicker, and exact for 64 spikes a step and channel
            weight, delay = as_layer(projection, n_pre, target.size)
            self.register_buffer("delay", torch.from_numpy(delay).to(self.dtype))
        # A parameter, so that the module has a device; not to be trained.
        values = torch.from_numpy(weight).to(self.dtype)
        self.weight = nn.Parameter(values, requires_grad=False)

    def require_exact(self, x: Tensor) -> None:
        """Refuse an input that whole numbers cannot take."""
        if self.shift is None or not x.numel():
            return
        if x.is_floating_point() and not bool((x == x.round()).all()):
            raise UsageError(
                "TableNetwork: integer neurons take whole numbers of spikes, got fractions. "
                "Export with float neurons (fixed_point=false)."
            )
        if self.largest_sum * float(x.abs().max()) >= _EXACT[torch.float64]:
            raise UsageError(
                f"TableNetwork: {float(x.abs().max()):g} spikes in one step and channel make "
                "sums too large to be exact. Bin with dataset.max_count."
            )

    def convolved(self, x: Tensor) -> Tensor:
        """What the source sends ``[T, N, pre]`` → currents ``[T, N, post]``."""
        dtype = self.dtype
        most = float(x.abs().max()) if x.numel() and x.dtype != torch.bool else 1.0
        if self.largest_sum * most >= _EXACT[dtype]:
            dtype = torch.float64
        sums = delay_convolution(
            x.to(dtype),
            self.weight.to(dtype),
            self.delay.to(dtype),
            sigma=0.0,
            max_delay=self.max_delay,
            interpolation="gaussian",
        )
        return self._currents(sums)

    def start(self, batch: int) -> None:
        """Silence."""
        self.ring = self.weight.new_zeros(self.slots, batch, self.weight.shape[1])
        self.now = 0

    def send(self, x: Tensor) -> None:
        """Take what the source sends in this step ``[N, pre]``."""
        arriving = torch.matmul(x.to(self.dtype), self.weight.transpose(1, 2))
        self.ring += arriving.roll(self.now, 0)

    def arriving(self) -> Tensor:
        """The currents ``[N, post]`` of this step; the next one is then to come."""
        sums = self.ring[self.now].clone()
        self.ring[self.now] = 0
        self.now = (self.now + 1) % self.slots
        return self._currents(sums)

    def _currents(self, sums: Tensor) -> Tensor:
        return sums.double() * self.scale if self.shift is None else sums.long() << self.shift


def as_layer(
    projection: Projection, n_pre: int, n_post: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Synapses as a layer has them: weight and delay, both ``[post, pre, k]``.

    k is the largest number of synapses of one pair; what a pair lacks has weight and delay 0.
    """
    pair = projection.post.astype(np.int64) * n_pre + projection.pre
    order = np.argsort(pair, kind="stable")
    pair = pair[order]
    first = np.searchsorted(pair, pair)  # of each synapse, the first one of the same pair
    nth = np.arange(len(pair)) - first
    shape = (n_post * n_pre, int(nth.max(initial=0)) + 1)
    weight, delay = np.zeros(shape), np.zeros(shape)
    weight[pair, nth] = projection.weight[order]
    delay[pair, nth] = projection.delay[order]
    return weight.reshape(n_post, n_pre, -1), delay.reshape(n_post, n_pre, -1)
