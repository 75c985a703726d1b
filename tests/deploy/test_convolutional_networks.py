"""Convolutions with delays as projections: shared weights become synapses, and no spike differs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from drawn_networks import enliven_, random_split
from spikingjelly.activation_based import functional, layer
from torch import Tensor, nn

from snn_delays.convolutional import DelayConvSNN, separable
from snn_delays.deploy import DeploySettings, compare, deploy, integer_table
from snn_delays.deploy.integer import recorded
from snn_delays.deploy.loading import load_table
from snn_delays.deploy.quantised_training import folded, make_quantisation_aware_
from snn_delays.deploy.trace import trace
from snn_delays.errors import UsageError
from snn_delays.layers import DelayConv1d, DelayConv2d, DelayLayer, rounded
from snn_delays.neurons import lif
from snn_delays.table import DelayTable, write_table
from snn_delays.table.equality import same_network
from snn_delays.table.simulator import Simulator, compare_with_nest


def small(frame: Any = 21, **settings: Any) -> DelayConvSNN:
    """Two stages over three positions, or over 6 × 5 of them."""
    torch.manual_seed(0)
    space = 1 if frame == 21 else 2
    stages = [
        partial(separable, max_delay=longest, kernel_size=3, stride=stride, space=space)
        for longest, stride in ((4, 1), (6, 2))
    ]
    net = DelayConvSNN(frame, 4, (3, 5), stages, neuron=partial(lif, 2.0), **settings)
    enliven_(net)
    for block in list(net.blocks)[:-1]:
        nn.init.constant_(block.norm.bias, 0.6)  # so that they fire
    return net


def require_the_same_spikes(
    net: nn.Module, table: DelayTable, x: Tensor, example: Tensor | None = None
) -> int:
    """How many spikes there were, none of them elsewhere in the table's simulator."""
    with torch.no_grad():
        output, fired = recorded(rounded(net), example=example)(x, return_spikes=True)
    total, simulator = 0, Simulator(table)
    for n in range(x.shape[1]):
        found = simulator.run(x[:, n].flatten(1).numpy())
        for name, spikes in fired.items():
            assert np.array_equal(found.spikes[name], spikes[:, n].bool().numpy()), name
            total += int(spikes[:, n].sum())
        if not table.output.spiking:
            np.testing.assert_allclose(found.potentials, output[:, n].numpy(), atol=1e-4)
    return total


def events(frame: tuple[int, ...], density: float = 0.2) -> Tensor:
    return (torch.rand(25, 4, *frame) < density).float()


def test_a_network_over_channels_and_its_table() -> None:
    net = small()
    table = integer_table(net, dt_ms=10.0)
    assert [one.name for one in table.populations] == ["hidden0", "hidden1", "hidden2", "readout"]
    assert [one.size for one in table.populations] == [9, 9, 10, 4]
    assert require_the_same_spikes(net, table, events((21,))) > 300
    agreement = compare(table, net.rounded(), random_split(0, 12, channels=21))
    assert agreement.spikes_total > 300
    assert agreement.spikes_differing == 0


def test_a_network_over_pixels_and_its_table() -> None:
    net = small((2, 12, 10))
    table = integer_table(net, dt_ms=1.0)
    assert table.input_channels == 240
    assert [one.size for one in table.populations] == [3 * 30, 3 * 30, 5 * 9, 4]
    assert require_the_same_spikes(net, table, events((2, 12, 10))) > 1000


def test_shared_weights_are_expanded() -> None:
    """Every position of the output has the synapses of its kernel that lie on the map."""
    conv = DelayConv1d(2, 3, 3, 5, padding=1, stride=2, kernel_count=1, sigma=0.0)
    net = nn.Sequential(conv, lif(2.0))
    table = integer_table(net, dt_ms=1.0, example=torch.zeros(4, 1, 2, 6))
    (projection,) = table.projections
    assert len(projection) == 3 * 2 * (3 * 3 - 1)  # the first position's kernel begins beside it
    weight, delay = conv.weight.detach()[..., 0], conv.delay.round().long()[..., 0]
    for pre, post, d, w in zip(
        *(projection.pre, projection.post, projection.delay, projection.weight), strict=True
    ):
        (i, p), (o, q) = divmod(int(pre), 6), divmod(int(post), 3)
        s = p - (2 * q - 1)
        assert (float(w), int(d)) == (float(weight[o, i, s]), int(delay[o, i, s]))


class Mixed(nn.Module):
    """Parts of every kind: plain convolutions, pools, norms, skips, joined maps."""

    frame = (2, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.first = DelayConv2d(2, 4, 3, 5, padding=1, bias=True, granularity="dendritic")
        self.norm = layer.BatchNorm2d(4, step_mode="m")
        self.lif = lif(2.0)
        self.plain = layer.Conv2d(4, 2, 3, padding=1, groups=2, dilation=1, step_mode="m")
        self.other = DelayConv2d(4, 2, (1, 2), 3, dilation=(1, 2), padding=(0, 1), kernel_count=2)
        self.lif2 = lif(2.0)
        self.pool = layer.AvgPool2d(2, step_mode="m")
        self.flatten = layer.Flatten(step_mode="m")
        self.out = DelayLayer(4 * 16, 3, 4)
        self.lif3 = lif(2.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lif(self.norm(self.first(x)))
        x = self.lif2(torch.cat([self.plain(x), self.other(x)], 2))
        return self.lif3(self.out(self.flatten(self.pool(x))))


def over_channels() -> nn.Module:
    """Of modules of torch's own inside a container, with a mean over all positions."""
    return nn.Sequential(
        layer.SeqToANNContainer(nn.Conv1d(1, 6, 5, stride=2, bias=False), nn.BatchNorm1d(6)),
        lif(2.0),
        DelayConv1d(6, 6, 3, 8, groups=6, padding=1, first_delays=(0, 8)),
        layer.AdaptiveAvgPool1d(1, step_mode="m"),
        layer.Flatten(step_mode="m"),
        layer.Linear(6, 3, step_mode="m"),
        lif(2.0),
    )


@pytest.mark.parametrize(("make", "frame"), [(Mixed, (2, 8, 8)), (over_channels, (1, 15))])
def test_networks_of_ones_own(make: Callable[[], nn.Module], frame: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    net = enliven_(make())
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() > 1:
                parameter.abs_().mul_(2)
    example = torch.zeros(4, 1, *frame)
    table = integer_table(net, dt_ms=1.0, example=example)
    assert require_the_same_spikes(net, table, events(frame), example) > 300


def test_step_by_step_it_is_the_same_table() -> None:
    net = small()
    whole = integer_table(net, dt_ms=1.0)
    functional.set_step_mode(net, "s")
    assert same_network(integer_table(net, dt_ms=1.0), whole) is None


def test_a_deployment_counts_weights_and_synapses() -> None:
    net = small()
    found = deploy(net, DeploySettings(bits=8), dt_ms=10.0)
    weights = sum(one.weight.numel() for one in net.modules() if hasattr(one, "kernel_size"))
    weights += net.blocks[-1].synapses[1].weight.numel()
    assert found.stages[0].synapses == weights
    assert found.stages[1].synapses == integer_table(net, dt_ms=10.0).synapses > weights
    x = events((21,))
    assert torch.isfinite(found.stages[-1].network(x)).all()


def test_a_table_comes_back_as_a_network(tmp_path: Any) -> None:
    table = integer_table(small(), dt_ms=10.0)
    write_table(table, tmp_path / "delays.h5")
    loaded = load_table(tmp_path / "delays.h5")
    assert same_network(integer_table(loaded, dt_ms=10.0), table) is None


def test_normalisation_folds_into_a_convolution() -> None:
    net, x = small(), events((21,))
    inside = folded(net)
    assert not [one for one in inside.modules() if isinstance(one, layer.BatchNorm1d)]
    torch.testing.assert_close(inside(x), net(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "frame", "said"),
    [
        (lambda: nn.MaxPool2d(2), (1, 4, 4), "is a MaxPool2d, which a delay table cannot express"),
        (lambda: nn.Conv2d(1, 1, 3, padding="same"), (1, 4, 4), "pads with padding='same'. Give"),
        (
            lambda: nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"),
            (1, 4, 4),
            "pads with padding_mode='circular'",
        ),
        (lambda: nn.AvgPool2d(3, padding=1), (1, 4, 4), "pools beyond its maps. Use padding=0"),
        (lambda: nn.AdaptiveAvgPool2d(2), (1, 4, 4), "pools to 2; only to 1, the mean, can be."),
        (lambda: nn.AvgPool2d(2), (4,), "takes maps with 2 axes of space, got [4]."),
        (lambda: DelayConv2d(3, 1, 1, 2), (1, 4, 4), "takes 3 maps with 2 axes of space, got [1,"),
        (lambda: nn.Linear(4, 2), (2, 4), "takes channels, got maps [2, 4]. Put Flatten before it"),
    ],
)
def test_what_a_table_cannot_express(
    make: Callable[[], nn.Module], frame: tuple[int, ...], said: str
) -> None:
    net = nn.Sequential(make(), lif(2.0))
    with pytest.raises(UsageError) as caught:
        trace(net, torch.zeros(4, 1, *frame))
    assert f"trace: module '0' {said}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_how_large_maps_are_has_to_be_known() -> None:
    with pytest.raises(UsageError, match="how large its maps are. Give an example input."):
        trace(nn.Sequential(DelayConv1d(1, 2, 3, 4), lif(2.0)))


@pytest.mark.skipif(find_spec("nest") is None, reason="nest-simulator is not installed")
def test_in_nest_it_does_the_same() -> None:
    table = integer_table(small(), dt_ms=1.0)
    found = compare_with_nest(table, [x.numpy() for x in events((21,)).unbind(1)])
    assert (found.spikes_differing, found.predictions_differing) == (0, 0)
    assert found.spikes_total > 100


def test_weights_that_multiply_each_other_are_not_trained_on_a_grid() -> None:
    with pytest.raises(UsageError, match=r"blocks.1.synapses.0 leads through blocks.1.synapses.1"):
        make_quantisation_aware_(folded(small()), 8)


def test_a_convolution_trains_on_a_grid() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(DelayConv1d(1, 4, 3, 5, padding=1), layer.BatchNorm1d(4, step_mode="m"), lif(2.0)),
        *(layer.Flatten(step_mode="m"), DelayLayer(4 * 15, 3, 4), lif(2.0)),
    )
    example, x = torch.zeros(4, 1, 1, 15), events((1, 15), 0.5)
    coarse = make_quantisation_aware_(folded(enliven_(net)), 4)
    coarse(x).sum().backward()
    table = integer_table(coarse, dt_ms=1.0, example=example)
    for one in table.projections:
        assert len(np.unique(one.weight)) <= 15
    assert require_the_same_spikes(coarse, table, x, example) > 50


def test_elements_that_learned_their_places_and_their_table() -> None:
    torch.manual_seed(0)
    conv = DelayConv2d(1, 4, 3, 4, kernel_count=2, padding=1, spacing="learned")
    placed: Any = conv.parametrizations.weight
    with torch.no_grad():
        placed.original.mul_(3)
        placed[0].position.uniform_(-1, 1)
    net = nn.Sequential(
        *(conv, lif(2.0), layer.Flatten(step_mode="m")),
        *(layer.Linear(4 * 5 * 6, 3, step_mode="m"), lif(2.0)),
    )
    functional.set_step_mode(net, "m")
    example = torch.zeros(4, 1, 1, 5, 6)
    table = integer_table(net, dt_ms=1.0, example=example)
    assert require_the_same_spikes(net, table, events((1, 5, 6), 0.4), example) > 100
