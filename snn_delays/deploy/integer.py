"""From a trained torch network to its delay table: fold, round, merge.

Normalisation has no place on a chip, so its running statistics move into weights and bias:

    γ · (y − mean) / √(var + eps) + β   with   y = Σ w·x + b
    = Σ (s·w)·x + (β + s·(b − mean)),        s = γ / √(var + eps)

in float64, and only the result is rounded to float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from spikingjelly.activation_based import layer as sj_layer
from spikingjelly.activation_based import neuron as spikingjelly
from torch import Tensor, nn

from snn_delays.errors import UsageError
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.network import Block, DelaySNN
from snn_delays.neurons import LeakyReadout, LIFNode
from snn_delays.table.merge import merged
from snn_delays.table.neuron_table import NeuronTable
from snn_delays.table.table import DelayTable, LayerTable, SynapseTable

Float64 = NDArray[np.float64]


class Contacts(NamedTuple):
    """A layer's delayed connections before they become rows.

    Shape:
        weight: float64, delay: int64 steps, both ``[post, pre, k]``; bias: float64 ``[post]``.
    """

    weight: Float64
    delay: NDArray[np.int64]
    bias: Float64
    max_delay: int


def integer_table(net: DelaySNN, *, dt_ms: float, class_names: Sequence[str]) -> DelayTable:
    """The network as it acts in evaluation with rounded delays, as a table.

    The network itself is left as it is; its delays need not be rounded before.

    Args:
        dt_ms: duration of a step.
        class_names: one per neuron of the last layer.

    Raises:
        UsageError: a connection, normalisation or neuron that the table cannot express.
    """
    layers = []
    for index, block in enumerate(net.blocks):
        assert isinstance(block, Block)
        try:
            layers.append(_layer(index, block))
        except UsageError as error:
            raise UsageError(f"export: layer {index}: {error}") from error
    return DelayTable(
        layers=tuple(layers),
        dt_ms=dt_ms,
        class_names=tuple(class_names),
        readout=net.readout,
        tail_steps=net.tail,
        input_channels=layers[0].n_pre,
        created_by=_created_by(),
    )


def _layer(index: int, block: Block) -> LayerTable:
    contacts = folded_contacts(block)
    n_post, n_pre, _ = contacts.weight.shape
    return LayerTable(
        source="input" if index == 0 else index - 1,
        target=index,
        n_pre=n_pre,
        n_post=n_post,
        min_delay=0,
        max_delay=contacts.max_delay,
        synapses=merged_synapses(contacts.weight, contacts.delay),
        bias=contacts.bias.astype(np.float32),
        neuron=_neurons(block.neuron, n_post),
    )


def folded_contacts(block: Block) -> Contacts:
    """The block's synapses with its normalisation inside weight and bias, delays rounded.

    Raises:
        UsageError: a connection or normalisation that the table cannot express.
    """
    return fold_norm(_contacts(block.synapses), block.norm)


def _contacts(connection: nn.Module) -> Contacts:
    if isinstance(connection, DelayLayer):
        weight = _float64(connection.acting_weight())
        delay = connection.integer_delays().detach().cpu().numpy()
        max_delay = connection.max_delay
    elif isinstance(connection, (nn.Linear, sj_layer.Linear)):
        weight = _float64(connection.weight)[:, :, None]
        delay = np.zeros(1, np.int64)
        max_delay = 0
    else:
        raise UsageError(
            "connections must be a DelayLayer or a Linear layer to become a delay table, "
            f"got {type(connection).__name__}."
        )
    bias = np.zeros(len(weight)) if connection.bias is None else _float64(connection.bias)
    return Contacts(weight, np.broadcast_to(delay, weight.shape), bias, max_delay)


def fold_norm(contacts: Contacts, norm: nn.Module) -> Contacts:
    """The same contacts with an evaluation-mode normalisation inside weight and bias.

    Raises:
        UsageError: neither BatchNorm1d nor Identity, or a BatchNorm without running statistics.
    """
    if isinstance(norm, nn.Identity):
        return contacts
    if not isinstance(norm, (nn.BatchNorm1d, sj_layer.BatchNorm1d)):
        raise UsageError(
            "normalisation must be BatchNorm1d or Identity to fold into weights, "
            f"got {type(norm).__name__}."
        )
    if norm.running_mean is None or norm.running_var is None:
        raise UsageError(
            "BatchNorm without running statistics depends on its batch and cannot be folded. "
            "Train with track_running_stats=True."
        )
    scale = 1 / np.sqrt(_float64(norm.running_var) + norm.eps)
    shift = np.zeros_like(scale)
    if norm.affine:
        scale = scale * _float64(norm.weight)
        shift = _float64(norm.bias)
    return contacts._replace(
        weight=contacts.weight * scale[:, None, None],
        bias=shift + scale * (contacts.bias - _float64(norm.running_mean)),
    )


def merged_synapses(weight: Float64, delay: NDArray[np.int64]) -> SynapseTable:
    """One row per (pre, post, delay), sorted; what is zero as float32 is left out.

    Contacts of one pair that round to the same delay add up to one synapse.

    Shape:
        weight, delay: ``[post, pre, k]``.
    """
    post, pre, _ = np.indices(weight.shape)
    return merged(pre.ravel(), post.ravel(), delay.ravel(), weight.ravel()).synapses


def _neurons(neuron: nn.Module, n_post: int) -> NeuronTable:
    # By exact type: a subclass may well obey another equation.
    if type(neuron) is LeakyReadout:
        model, reset, threshold, v_reset = "LI", "none", np.inf, 0.0
    elif isinstance(neuron, spikingjelly.LIFNode) and type(neuron) in (
        LIFNode,
        spikingjelly.LIFNode,
    ):
        if neuron.decay_input:
            raise UsageError(
                "LIFNode(decay_input=True) divides its input by tau, which the table does not. "
                "Use decay_input=False."
            )
        reset = "soft" if neuron.v_reset is None else "hard"
        model, threshold, v_reset = "LIF", neuron.v_threshold, neuron.v_reset or 0.0
    else:
        raise UsageError(
            "neurons must be LIFNode or LeakyReadout to become a delay table, "
            f"got {type(neuron).__name__}."
        )
    return NeuronTable(
        model=model,
        reset=reset,
        beta=np.full(n_post, 1 - 1 / neuron.tau, np.float32),
        v_threshold=np.full(n_post, threshold, np.float32),
        v_reset=np.full(n_post, v_reset, np.float32),
    )


def _float64(tensor: Tensor) -> Float64:
    return tensor.detach().to("cpu", torch.float64).numpy()


def _created_by() -> str:
    try:
        return f"snn-delays {version('snn-delays')}"
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "snn-delays"
