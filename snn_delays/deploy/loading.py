"""From a delay table back to a torch network whose weights can be trained on."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from snn_delays.deploy.table_network import contacts
from snn_delays.errors import UsageError
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.network import Block, DelaySNN
from snn_delays.neurons import LeakyReadout, lif
from snn_delays.table.hdf5 import read_table
from snn_delays.table.table import DelayTable, LayerTable


def load_table(path: Path | str) -> DelaySNN:
    """The network of ``delays.h5`` with integer delays at rest, and weights and biases to train.

    Without training it does what the table says, in float32. Synapses that the table lacks stay
    at zero, in copies too (``DelayLayer.present``). Thresholds that differ from neuron to neuron
    become 1, with weights and biases in their proportion; the readout of integer weights is in the
    network's own unit. Integer neurons become float ones with the same constants. Any beta from 0
    (tau of one step) to 1 (infinite tau) is taken.

    Raises:
        UsageError: no readable table, or neurons of one layer that differ in beta or reset.
    """
    return trainable(read_table(path))


def trainable(table: DelayTable) -> DelaySNN:
    """``load_table`` for a table in memory."""
    sizes = [table.input_channels, *(layer.n_post for layer in table.layers)]
    parts = [contacts(one.synapses, one.n_pre, one.n_post) for one in table.layers]
    synapses = partial(
        DelayLayer,
        max_delay=max(1, *(layer.max_delay for layer in table.layers)),
        kernel_count=max(weight.shape[2] for weight, _ in parts),
        sigma=0.0,
        bias=True,
    )
    net = DelaySNN(
        sizes,
        synapses,
        norm=None,
        dropout=0.0,
        readout=table.readout,  # pyright: ignore[reportArgumentType]  # the table checks it
        tail=table.tail_steps,
    )
    for delay in net.delay_parameters():
        delay.requires_grad_(False)
    for index, (layer, block, (weight, delay)) in enumerate(
        zip(table.layers, net.blocks, parts, strict=True)
    ):
        assert isinstance(block, Block)
        try:
            _fill(block, layer, weight, delay)
        except UsageError as error:
            raise UsageError(f"load_table: layer {index}: {error}") from error
    return net.eval()


def _fill(block: Block, layer: LayerTable, weight: np.ndarray, delay: np.ndarray) -> None:
    neuron, synapses = layer.neuron, block.synapses
    assert isinstance(synapses, DelayLayer)
    # Of integer neurons everything counts in units; the synapses' weights do not.
    threshold = neuron.v_threshold * layer.unit if neuron.spiking else np.ones(layer.n_post)
    if np.ptp(neuron.beta.astype(np.float32)):
        raise _unlike("beta", neuron.beta)
    common = 1.0
    if not np.ptp(threshold):  # One for all stays what it is.
        common, threshold = float(threshold[0]), np.ones(layer.n_post)
    elif np.any(threshold <= 0):
        raise _unlike("v_threshold, where it is not above 0,", threshold)
    # As far as rounding to the table's numbers let v_reset stay in proportion.
    v_reset = neuron.v_reset * layer.unit / threshold
    slack = (layer.unit if layer.integer else 1e-6) / threshold
    if np.any(np.abs(v_reset - np.median(v_reset)) > slack):
        raise _unlike("v_reset / v_threshold", v_reset)
    beta = float(neuron.beta[0])
    tau = 1 / (1 - beta) if beta < 1 else np.inf
    hard = float(np.median(v_reset)) if neuron.reset == "hard" else None
    # A tau of 1 or inf, refused as a user's setting, is what a table's beta of 0 or 1 means. The
    # equation holds for them too.
    node = lif(2.0, v_threshold=common, v_reset=hard) if neuron.spiking else LeakyReadout(2.0)
    node.tau = tau
    block.neuron = node
    with torch.no_grad():
        current = weight * layer.weight_scale / threshold[:, None, None]
        count = current.shape[2]
        synapses.weight.zero_()
        synapses.delay.zero_()
        synapses.weight[:, :, :count] = torch.from_numpy(current)
        synapses.delay[:, :, :count] = torch.from_numpy(delay)
        assert synapses.bias is not None
        synapses.bias.copy_(torch.from_numpy(layer.bias * layer.unit / threshold))
    synapses.set_present(synapses.weight.detach() != 0)


def _unlike(name: str, values: np.ndarray) -> UsageError:
    return UsageError(
        f"{name} must be the same for all neurons of a layer, got {values.min()} … "
        f"{values.max()}. Use simulate or TableNetwork to run this table."
    )
