"""From network to table: folding, rounding, merging, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from drawn_networks import random_network
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import layer, neuron
from torch import nn

from snn_delays.deploy.integer import integer_table
from snn_delays.deploy.trace import trace
from snn_delays.errors import UsageError
from snn_delays.table.projection import merged
from snn_delays.table.table import DelayTable

NAMES = ("a", "b", "c", "d")


def currents(table: DelayTable, name: str, x: np.ndarray) -> np.ndarray:
    """I[t, post] of one sample x [T, pre], synapse by synapse."""
    (rows,) = table.into(name)
    y = np.tile(table[name].bias.astype(np.float64), (len(x), 1))
    for pre, post, delay, weight in zip(rows.pre, rows.post, rows.delay, rows.weight, strict=True):
        y[delay:, post] += weight * x[: len(x) - delay, pre]
    return y


def merged_synapses(weight: np.ndarray, delay: np.ndarray) -> Iterable[np.ndarray]:
    """[post, pre, k] as columns pre, post, delay and weight."""
    post, pre, _ = np.indices(weight.shape)
    rows = merged(pre.ravel(), post.ravel(), delay.ravel(), weight.ravel())
    return rows.columns.values()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("max_delay", [0, 7])
def test_folded_currents_equal_normalised_ones(max_delay: int, bias: bool) -> None:
    net = random_network(0, max_delay=max_delay, bias=bias)
    table = integer_table(net, dt_ms=10.0, class_names=NAMES)
    x = np.random.default_rng(0).poisson(0.5, (20, 12))
    block = net.rounded().blocks[0]
    with torch.no_grad():
        expected = block.norm(block.synapses(torch.from_numpy(x).float().unsqueeze(1)))[:, 0]
    np.testing.assert_allclose(currents(table, "hidden0", x), expected.numpy(), rtol=0, atol=1e-5)


def test_constants_of_the_network_are_in_the_table() -> None:
    net = random_network(1, tau=4.0, v_reset=-0.25, v_threshold=0.75, readout="max", tail=9)
    table = integer_table(net, dt_ms=5.0, class_names=NAMES)
    assert (table.dt_ms, table.class_names, table.readout) == (5.0, NAMES, "max")
    assert (table.tail_steps, table.input_channels) == (9, 12)
    assert table.created_by.startswith("snn-delays")
    assert [one.name for one in table.populations] == ["hidden0", "hidden1", "readout"]
    assert [(one.source, one.target) for one in table.projections] == [
        *(("input", "hidden0"), ("hidden0", "hidden1"), ("hidden1", "readout")),
    ]
    for one in table.projections:
        assert (one.min_delay, one.max_delay) == (0, 7)
    for one in table.populations:
        np.testing.assert_array_equal(one.parameters["beta"], np.float32(0.75))
    hidden = table["hidden1"].parameters
    np.testing.assert_array_equal(hidden["v_reset"], np.float32(-0.25))
    np.testing.assert_array_equal(hidden["v_threshold"], np.float32(0.75))


def test_export_leaves_the_network_alone() -> None:
    net = random_network(2)
    before = {name: value.clone() for name, value in net.named_parameters()}
    rounded = integer_table(net.rounded(), dt_ms=10.0, class_names=NAMES)
    table = integer_table(net, dt_ms=10.0, class_names=NAMES)
    for name, value in net.named_parameters():
        assert torch.equal(value, before[name])
    for one, other in zip(table.projections, rounded.projections, strict=True):
        np.testing.assert_array_equal(one.delay, other.delay)
        np.testing.assert_array_equal(one.weight, other.weight)


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4)),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=40, deadline=None)
def test_merging_keeps_the_kernel(shape: tuple[int, int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=shape) * (rng.random(shape) < 0.7)
    delay = rng.integers(0, 3, shape)
    pre, post, to_wait, merged_weight = merged_synapses(weight, delay)
    expected, got = np.zeros((2, *shape[:2], 3))
    for place, value in np.ndenumerate(weight):
        expected[(*place[:2], delay[place])] += value
    got[post, pre, to_wait] = merged_weight  # would lose a row named twice
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    keys = list(zip(pre, post, to_wait, strict=True))
    assert keys == sorted(set(keys))


def test_contacts_on_one_step_become_one_synapse() -> None:
    weight = np.array([[[0.5, 0.25, 2.0], [1.0, -1.0, 0.0]]])
    delay = np.array([[[3, 3, 1], [2, 2, 0]]])
    pre, _, to_wait, merged_weight = merged_synapses(weight, delay)
    # The second pair's synapses cancel out, and its third one has no weight.
    assert pre.tolist() == [0, 0]
    assert to_wait.tolist() == [1, 3]
    assert merged_weight.tolist() == [2.0, 0.75]


def test_a_silenced_neuron_has_no_synapses() -> None:
    net = random_network(3)
    torch.nn.init.zeros_(net.blocks[0].norm.weight)
    table = integer_table(net, dt_ms=10.0, class_names=NAMES)
    assert len(table.into("hidden0")[0]) == 0
    np.testing.assert_array_equal(table["hidden0"].bias, net.blocks[0].norm.bias.detach().numpy())


@pytest.mark.parametrize(
    ("part", "replacement", "message"),
    [
        ("synapses", nn.Bilinear(12, 12, 16), "cannot follow|Bilinear"),
        ("norm", nn.LayerNorm(16), "is a LayerNorm, which a delay table cannot express"),
        (
            "norm",
            layer.BatchNorm1d(16, track_running_stats=False, step_mode="m"),
            "without running statistics",
        ),
        ("neuron", neuron.QIFNode(step_mode="m"), "is a QIFNode, which"),
        ("neuron", type("Refractory", (neuron.LIFNode,), {})(step_mode="m"), "Refractory"),
    ],
)
def test_what_a_table_cannot_express(part: str, replacement: Any, message: str) -> None:
    net = random_network(4)
    setattr(net.blocks[0], part, replacement)
    with pytest.raises(UsageError, match=f"trace: .*({message})") as refused:
        integer_table(net, dt_ms=10.0, class_names=NAMES)
    assert "\n" not in str(refused.value)


def test_input_decay_is_in_the_weights() -> None:
    net = random_network(4, batch_norm=False)
    plain = integer_table(net, dt_ms=10.0, class_names=NAMES)
    net.blocks[0].neuron = neuron.LIFNode(tau=2.0, step_mode="m")
    table = integer_table(net, dt_ms=10.0, class_names=NAMES)
    np.testing.assert_allclose(table.into("hidden0")[0].weight, plain.into("hidden0")[0].weight / 2)
    assert trace(net).readout == "mean"


def test_class_names_must_fit() -> None:
    with pytest.raises(UsageError, match="class_names must name the 4 neurons"):
        integer_table(random_network(5), dt_ms=10.0, class_names=("yes", "no"))
