"""DelayConvSNN: shapes, streaming, learning, and errors that help."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional
from torch import nn

from snn_delays.convolutional import DelayConvSNN, patches, separable
from snn_delays.data import SpikeData, recordings
from snn_delays.errors import UsageError
from snn_delays.layers import delay_layers
from snn_delays.network import plain_synapses
from snn_delays.neurons import AdLIFNode, LeakyReadout, lif
from snn_delays.neurons.cubalif import cubalif
from snn_delays.schedules import Exponential
from snn_delays.training import fit

SMALL = [partial(separable, max_delay=longest, kernel_size=3) for longest in (4, 6)]


def small(frame: Any = 21, **settings: Any) -> DelayConvSNN:
    return DelayConvSNN(frame, 4, (3, 5), SMALL, **settings)


def test_the_published_shape() -> None:
    """A stem of 7 / 7 over 140 channels; three stages of 32, 64 and 128; up to 70 to 110 ms."""
    net = DelayConvSNN(140, 20)
    depthwise = [one for one in delay_layers(net) if hasattr(one, "kernel_size")]
    assert net.blocks[0].synapses.kernel_size == net.blocks[0].synapses.stride == (7,)
    assert [one.kernel_size for one in depthwise] == [(7,)] * 3
    assert [one.max_delay for one in depthwise] == [7, 9, 11]
    assert [one.groups for one in depthwise] == [32, 32, 64]
    assert [block.norm.num_features for block in list(net.blocks)[:-1]] == [32, 32, 64, 128]
    assert net.tail == 3 + 4 + 5 + 5


@pytest.mark.parametrize(
    ("net", "frame"),
    [
        (small(), (21,)),
        (small((2, 21)), (2, 21)),
        (DelayConvSNN((2, 12, 14), 4), (2, 12, 14)),
        (small(norm=None, dropout=0.0, tail=0, last=plain_synapses), (21,)),
        (
            small(neuron=partial(cubalif, tau=2.0, tau_syn=3.0), output=partial(LeakyReadout, 2.0)),
            (21,),
        ),
    ],
)
def test_sequences_and_steps_are_the_same(net: DelayConvSNN, frame: tuple[int, ...]) -> None:
    net.eval()
    x = (torch.rand(12, 3, *frame) < 0.4).float()
    with torch.no_grad():
        whole, spikes = net(x, return_spikes=True)
        functional.set_step_mode(net, "s")
        functional.reset_net(net)
        silence = torch.zeros(net.tail, *x.shape[1:])
        steps = torch.stack([net(now) for now in torch.cat([x, silence])])
    assert whole.shape == (12 + net.tail, 3, 4)
    assert len(spikes) == len(net.blocks) - 1
    torch.testing.assert_close(steps, whole, rtol=1e-4, atol=1e-4)


def data() -> SpikeData:
    """Two classes that differ in which of two neighbouring bands fires first."""
    generator = torch.Generator().manual_seed(0)
    counts, labels = torch.zeros(160, 20, 21), torch.arange(160) % 2
    for n, label in enumerate(labels):
        start = int(torch.randint(0, 6, (1,), generator=generator))
        band = int(torch.randint(0, 2, (1,), generator=generator))
        lag = 5 if label else 0
        counts[n, start + lag, 3 * band : 3 * band + 6] = 1
        counts[n, start + 5 - lag, 9 + 3 * band : 15 + 3 * band] = 1
    return recordings(counts.numpy(), labels.numpy(), n_units=21, dt_ms=10.0)


def test_it_learns_what_only_time_tells() -> None:
    torch.manual_seed(0)
    stages = [partial(separable, max_delay=8, kernel_size=3)]
    net = DelayConvSNN(21, 2, (8,), stages, neuron=partial(lif, 2.0), dropout=0.0)
    rows = fit(net, data(), epochs=12, batch_size=16, schedule=Exponential(4.0), weight_lr=0.01)
    assert rows[-1]["valid_accuracy"] > 0.9
    assert rows[-1]["delay_change"] > 0


def test_copies_round() -> None:
    net = small()
    deployed = net.rounded()
    assert all(one.sigma == 0 for one in delay_layers(deployed))
    assert all(bool((own == own.round()).all()) for own in deployed.delay_parameters())
    assert [one.max_delay for one in delay_layers(net)] == [4, 6, 11]


def test_without_delays() -> None:
    net = small(last=plain_synapses)
    plain = DelayConvSNN(21, 4, (3,), partial(separable, max_delay=0), last=plain_synapses)
    assert net.tail == 2 + 3
    assert (plain.tail, plain.delay_parameters()) == (0, [])
    assert plain(torch.rand(5, 2, 21)).shape == (5, 2, 4)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: DelayConvSNN(0, 4), "frame must be a number of channels, or the shape (channels,"),
        (lambda: DelayConvSNN((1, 2, 3, 4), 4), "frame must be a number of channels, or the shape"),
        (lambda: DelayConvSNN(21, 0), "classes must be a whole number >= 1, got 0."),
        (lambda: DelayConvSNN(21, 4, ()), "widths must be a whole number >= 1 for each of at leas"),
        (lambda: DelayConvSNN(21, 4, (3, 5)), "synapses must be one for all or one for each of 2 "),
        (lambda: small(stem=3), "synapses must be a function or class that makes modules, got 3."),
        (lambda: small(norm="layer"), "norm must be one of batch, null, got 'layer'."),
        (lambda: small(dropout=1.0), "dropout must lie in [0, 1), got 1.0."),
        (lambda: small(readout="vote"), "readout must be one of "),
        (lambda: small(tail=-1), "tail must be a whole number of steps >= 0, got -1."),
        (lambda: small(neuron=AdLIFNode), "neuron must make neurons that are alike all over a map"),
        (
            lambda: small(stem=partial(patches, size=30)),
            "maps of [1, 21] are too small for the next stage. Use fewer stages, or a smaller str",
        ),
        (
            lambda: small()(torch.rand(5, 2, 20)),
            "input must be [T, N, 21] with step_mode='m', got [5, 2, 20].",
        ),
        (
            lambda: small((2, 21))(torch.rand(5, 2, 2, 20)),
            "input must be maps [2, 21], got [2, 20].",
        ),
    ],
)
def test_what_makes_no_network(make: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value).startswith(f"DelayConvSNN: {said}")


def test_factories_make_what_they_are_asked_for() -> None:
    made = separable(3, 5, max_delay=4, kernel_size=3, stride=2, space=2, kernel_count=2)
    assert isinstance(made, nn.Sequential)
    assert made(torch.rand(6, 2, 3, 8, 9)).shape == (6, 2, 5, 4, 5)
    assert made[0].kernel_count == 2
