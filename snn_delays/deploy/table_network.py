"""A delay table in torch: batches of samples at once, in exactly the table's arithmetic.

The simulator sends events one by one; this multiplies whole sequences. Integer layers agree with
it to the bit: their sums stay below what the float type holds exactly, and their leak is made of
64-bit integers. Float layers compute in float64 and may differ in the last bits.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from snn_delays.errors import UsageError
from snn_delays.ops.plan import delay_convolution
from snn_delays.table.neuron_table import IntegerNeuronTable
from snn_delays.table.table import DelayTable, LayerTable, SynapseTable

# Largest sums that whole numbers in float32 and float64 reach without rounding.
_EXACT = {torch.float32: 2.0**24, torch.float64: 2.0**53}


class TableNetwork(nn.Module):
    """The network that a table describes, for evaluation; ``load_table`` is for training.

    Args:
        table: what to compute.

    Shape:
        ``[T, N, input_channels] → [T + tail, N, classes]``, as ``DelaySNN``: readout potentials in
        the network's own unit (float64).

    Raises:
        UsageError: input of another width; for integer layers input that is not whole numbers, or
            sums beyond 2^53.
    """

    def __init__(self, table: DelayTable) -> None:
        super().__init__()
        self.sizes = [table.input_channels, *(layer.n_post for layer in table.layers)]
        self.tail = table.tail_steps
        self.readout = table.readout
        self.layers = nn.ModuleList(_Layer(layer) for layer in table.layers)

    def peaks(self) -> list[Tensor]:
        """Largest |v| of each layer, ``[T, N]``, of the last input; in the layer's own counting."""
        return [layer.peaks for layer in self.layers if isinstance(layer, _Layer)]

    @torch.no_grad()
    def forward(
        self, x: Float[Tensor, "time batch channels"], return_spikes: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Readout potentials; with ``return_spikes`` also each hidden layer's spikes."""
        if x.dim() != 3 or x.shape[-1] != self.sizes[0]:
            raise UsageError(
                f"TableNetwork: input must be [T, N, {self.sizes[0]}], got {list(x.shape)}."
            )
        x = torch.cat([x, x.new_zeros(self.tail, *x.shape[1:])])
        fired = []
        for layer in self.layers:
            x = layer(x)
            fired.append(x)
        return (x, fired[:-1]) if return_spikes else x


class _Layer(nn.Module):
    """The synapses into one layer and its neurons."""

    delay: Tensor
    bias: Tensor
    share: Tensor
    v_threshold: Tensor
    v_reset: Tensor

    def __init__(self, layer: LayerTable) -> None:
        super().__init__()
        rows, neuron = layer.synapses, layer.neuron
        self.max_delay = layer.max_delay
        self.reset, self.spiking, self.unit = neuron.reset, neuron.spiking, layer.unit
        self.shifts = (
            (neuron.weight_shift, neuron.decay_shift)
            if isinstance(neuron, IntegerNeuronTable)
            else None
        )
        weight, delay = contacts(rows, layer.n_pre, layer.n_post)
        self.dtype, self.scale = torch.float64, layer.weight_scale
        self.peaks = torch.zeros(0, 0)  # largest |v| at every step of the last input
        self.largest_sum = float(np.abs(weight).sum((1, 2)).max(initial=0))
        if self.shifts and self.largest_sum * 64 < _EXACT[torch.float32]:
            self.dtype = torch.float32  # quicker, and exact for 64 spikes a step and channel
        v = torch.int64 if self.shifts else torch.float64
        # Parameters, so that the module has a device; not to be trained.
        self.weight = nn.Parameter(torch.from_numpy(weight).to(self.dtype), requires_grad=False)
        self.register_buffer("delay", torch.from_numpy(delay).to(self.dtype))
        share = neuron.decay if isinstance(neuron, IntegerNeuronTable) else neuron.beta
        for name, values in (
            ("bias", layer.bias),
            ("share", share),
            ("v_threshold", neuron.v_threshold),
            ("v_reset", neuron.v_reset),
        ):
            self.register_buffer(name, torch.from_numpy(values).to(v))

    def forward(self, x: Tensor) -> Tensor:
        """What the source sends ``[T, N, pre]`` → spikes, or the readout's potentials."""
        current = self._current(x) + self.bias
        v = self.v_reset.expand(current.shape[1:])
        potentials, spikes = torch.empty_like(current), torch.empty_like(current, dtype=torch.bool)
        self.peaks = torch.zeros_like(current[..., 0])
        for t, now in enumerate(current):
            v = self.v_reset + self._kept(v - self.v_reset) + now
            self.peaks[t] = v.abs().amax(1)
            spikes[t] = fired = v >= self.v_threshold
            if self.spiking:
                after = self.v_reset if self.reset == "hard" else v - self.v_threshold
                v = torch.where(fired, after, v)
            potentials[t] = v
        return spikes if self.spiking else potentials.double() * self.unit

    def _current(self, x: Tensor) -> Tensor:
        dtype = self.dtype
        if self.shifts and x.is_floating_point():
            if not bool((x == x.round()).all()):
                raise UsageError(
                    "TableNetwork: integer layers take whole numbers of spikes, got fractions. "
                    "Export with float neurons (fixed_point=false)."
                )
            bound = self.largest_sum * float(x.abs().max()) if x.numel() else 0.0
            if bound >= _EXACT[dtype]:
                dtype = torch.float64
            if bound >= _EXACT[dtype]:
                raise UsageError(
                    f"TableNetwork: {float(x.abs().max()):g} spikes in one step and channel make "
                    "sums too large to be exact. Bin with dataset.max_count."
                )
        sums = delay_convolution(
            x.to(dtype),
            self.weight.to(dtype),
            self.delay.to(dtype),
            sigma=0.0,
            max_delay=self.max_delay,
            interpolation="gaussian",
        )
        if self.shifts:
            return sums.long() << self.shifts[0]
        return sums.double() * self.scale

    def _kept(self, v: Tensor) -> Tensor:
        """What a step's leak leaves of v."""
        if self.shifts:
            # (m · share) >> shift in two parts, whose products fit into 64 bits.
            m, shift = v.abs(), self.shifts[1]
            high = m >> shift
            return v.sign() * (high * self.share + (((m - (high << shift)) * self.share) >> shift))
        return v * self.share


def contacts(
    rows: SynapseTable, n_pre: int, n_post: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows as a layer's contacts: weight and delay, both ``[post, pre, k]``.

    k is the largest number of synapses of one pair; what a pair lacks has weight and delay 0.
    """
    pair = rows.post.astype(np.int64) * n_pre + rows.pre
    order = np.argsort(pair, kind="stable")
    pair = pair[order]
    first = np.searchsorted(pair, pair)  # of each row, the first row of the same pair
    nth = np.arange(len(pair)) - first
    shape = (n_post * n_pre, int(nth.max(initial=0)) + 1)
    weight, delay = np.zeros(shape), np.zeros(shape)
    weight[pair, nth] = rows.weight[order]
    delay[pair, nth] = rows.delay[order]
    return weight.reshape(n_post, n_pre, -1), delay.reshape(n_post, n_pre, -1)
