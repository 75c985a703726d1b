"""DelaySNN: the published sizes, and a result that is the sample's own."""

from __future__ import annotations

import itertools

import pytest
import torch
from drawn_networks import delay_snn
from spikingjelly.activation_based import functional, neuron, surrogate
from torch import Tensor, nn

from snn_delays import losses
from snn_delays.errors import UsageError
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.layers.granularity import GRANULARITIES
from snn_delays.layers.networks import delay_layers, set_sigma
from snn_delays.network import DelaySNN


def count(net: DelaySNN) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def lively(sizes: list[int], max_delay: int = 6, **options: object) -> DelaySNN:
    """A small network in which many neurons fire, its BatchNorm past a few batches."""
    net = delay_snn(sizes, max_delay, **options)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.bias.fill_(0.5)
        for _ in range(20):
            net(spikes(20, 8, sizes[0]))
    return net


def spikes(steps: int, batch: int, channels: int) -> Tensor:
    return (torch.rand(steps, batch, channels) < 0.3).float()


# --- the published recipe -------------------------------------------------------------------------


def test_parameter_counts_are_the_published_ones() -> None:
    sizes = [140, 256, 256, 20]
    weights = sum(pre * post for pre, post in itertools.pairwise(sizes))
    norms = 2 * (256 + 256)  # BatchNorm's scale and shift
    assert count(delay_snn(sizes, max_delay=24)) == 2 * weights + norms == 214_016
    assert count(delay_snn(sizes, max_delay=0)) == weights + norms == 107_520


@pytest.mark.parametrize(
    ("granularity", "delays"),
    [("synaptic", 2 * (7 * 8 + 8 * 3)), ("axonal", 2 * (7 + 8)), ("dendritic", 2 * (8 + 3))],
)
def test_granularity_decides_the_number_of_delays(granularity: str, delays: int) -> None:
    net = delay_snn([7, 8, 3], 4, granularity=granularity, kernel_count=2)
    assert sum(parameter.numel() for parameter in net.delay_parameters()) == delays


def test_the_defaults_are_the_published_recipe() -> None:
    net = delay_snn([140, 256, 256, 20])
    assert net.tail == 36  # (25 − 1) / 2 for each of the three layers
    assert [child.max_delay for child in delay_layers(net)] == [24] * 3
    assert [child.sigma for child in delay_layers(net)] == [12.27] * 3
    nodes = [module for module in net.modules() if isinstance(module, neuron.LIFNode)]
    assert len(nodes) == 2
    for node in nodes:
        assert (node.tau, node.v_threshold, node.v_reset) == (1.005, 1.0, 0.0)
        assert node.detach_reset
        assert not node.decay_input
        assert isinstance(node.surrogate_function, surrogate.ATan)
        assert node.surrogate_function.alpha == 5.0
    assert net(torch.zeros(4, 2, 140)).shape == (40, 2, 20)
    assert "dropout): Dropout(p=0.4)" in repr(net)
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_dropout_silences_a_neuron_for_the_whole_of_a_sample() -> None:
    block = delay_snn([4, 64, 2], 3, dropout=0.5, batch_norm=False).blocks[0]
    out = block.dropout(torch.ones(9, 3, 64))
    assert torch.equal(out, out[:1].expand_as(out))
    assert 0.3 < (out == 0).float().mean() < 0.7


# --- what it computes -----------------------------------------------------------------------------


@pytest.mark.parametrize("max_delay", [0, 6])
def test_the_forward_pass_is_its_blocks_in_a_row(max_delay: int) -> None:
    net = delay_snn([5, 16, 16, 3], max_delay, dropout=0.0, tail=4).eval()
    x = spikes(12, 2, 5)
    v, fired = net(x, return_spikes=True)
    assert [spike.shape for spike in fired] == [(16, 2, 16)] * 2
    assert all(set(spike.unique().tolist()) <= {0.0, 1.0} for spike in fired)
    functional.reset_net(net)
    last = net.blocks[-1]
    torch.testing.assert_close(v, last.neuron(last.synapses(fired[-1])))
    assert torch.equal(net(x), v)


@pytest.mark.parametrize("readout", losses.READOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_in_evaluation_a_result_never_depends_on_the_batch(
    readout: str, dtype: torch.dtype
) -> None:
    net = lively([12, 32, 32, 5]).to(dtype).eval()
    lengths = torch.randint(5, 41, (64,))
    x = spikes(40, 64, 12).to(dtype)
    x = x * (torch.arange(40)[:, None] < lengths).unsqueeze(-1)
    with torch.no_grad():
        v, fired = net(x, return_spikes=True)
        together = losses.score(v, lengths + net.tail, readout)
        assert 0.1 < fired[0].mean() < 0.9
        assert 0.1 < fired[1].mean() < 0.9
        for n, length in enumerate(lengths.tolist()):
            v, alone = net(x[:length, n : n + 1], return_spikes=True)
            for mine, theirs in zip(alone, fired, strict=True):
                assert torch.equal(mine[:, 0], theirs[: length + net.tail, n])
            score = losses.score(v, torch.tensor([length + net.tail]), readout)[0]
            torch.testing.assert_close(score, together[n], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("max_delay", [0, 5])
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_streaming_is_the_whole_sequence_and_a_tail_of_silence(
    max_delay: int, granularity: str
) -> None:
    net = lively([6, 20, 20, 4], max_delay, granularity=granularity, tail=7).eval()
    x = spikes(15, 3, 6)
    whole, fired = net(x, return_spikes=True)
    assert fired[1].sum() > 0
    functional.reset_net(net)
    functional.set_step_mode(net, "s")
    stream = torch.cat([x, x.new_zeros(7, 3, 6)])
    torch.testing.assert_close(torch.stack([net(step) for step in stream]), whole)


def test_every_whole_sequence_starts_from_silence() -> None:
    net = lively([6, 20, 4]).eval()
    x = spikes(10, 2, 6)
    first = net(x)
    net(spikes(25, 5, 6))  # of another batch size, too
    assert torch.equal(net(x), first)


def test_a_spike_at_the_very_end_still_arrives_within_the_tail() -> None:
    net = delay_snn([1, 1], max_delay=8, tail=8)
    delayed = net.blocks[0].synapses
    with torch.no_grad():
        delayed.weight.fill_(1.0)
        delayed.delay.fill_(8.0)
    set_sigma(net, 0.0)
    x = torch.zeros(5, 1, 1)
    x[-1] = 1
    v = net(x).flatten()
    assert len(v) == 13
    assert (v[:12] == 0).all()
    assert v[12] == 1


def test_every_parameter_learns() -> None:
    net = lively([6, 20, 20, 4], bias=True)
    losses.sum_softmax(net(spikes(20, 8, 6)))[:, 0].sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


def test_frozen_delays_stay_where_they_are() -> None:
    net = delay_snn([6, 20, 4], 5, learn_delays=False)
    start = [delay.clone() for delay in net.delay_parameters()]
    learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
    assert len(start) == 2
    assert len(learned) == 4  # two weights, BatchNorm's scale and shift
    optimiser = torch.optim.Adam(net.parameters(), lr=0.1)
    weight = net.blocks[0].synapses.weight.clone()
    for _ in range(3):
        optimiser.zero_grad()
        net(spikes(20, 4, 6)).square().sum().backward()
        optimiser.step()
    assert all(
        torch.equal(now, then) for now, then in zip(net.delay_parameters(), start, strict=True)
    )
    assert not torch.equal(net.blocks[0].synapses.weight, weight)


# --- the deployed copy ----------------------------------------------------------------------------


def test_rounded_is_a_copy_that_leaves_the_original_untouched() -> None:
    net = lively([6, 20, 20, 4])
    x = spikes(12, 3, 6)
    v = net(x)  # the memories of its neurons now hang on a graph
    before = {name: value.clone() for name, value in net.named_parameters()}
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    remembered = [module.v for module in net.modules() if isinstance(module, neuron.LIFNode)]

    copied = net.rounded()
    assert [child.sigma for child in delay_layers(copied)] == [0.0] * 3
    for mine, theirs in zip(delay_layers(copied), delay_layers(net), strict=True):
        assert torch.equal(mine.delay, theirs.delay.round())
        assert mine.history is None
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()

    assert [child.sigma for child in delay_layers(net)] == [3.27] * 3
    assert all(torch.equal(value, before[name]) for name, value in net.named_parameters())
    assert all(torch.equal(value, buffers[name]) for name, value in net.named_buffers())
    now = [module.v for module in net.modules() if isinstance(module, neuron.LIFNode)]
    assert all(a is b for a, b in zip(now, remembered, strict=True))
    v.sum().backward()  # its graph is whole
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_rounding_whole_delays_at_sigma_zero_changes_nothing() -> None:
    net = lively([6, 20, 4]).eval()
    with torch.no_grad():
        for delay in net.delay_parameters():
            delay.round_()
    set_sigma(net, 0.0)
    x = spikes(12, 3, 6)
    assert torch.equal(net.rounded()(x), net(x))
    assert not net.rounded().training


def test_a_network_without_delays_has_none() -> None:
    net = delay_snn([6, 20, 4], max_delay=0)
    assert net.delay_parameters() == []
    assert not any(isinstance(module, DelayLayer) for module in net.modules())
    assert net.tail == 0
    x = spikes(12, 3, 6)
    net.eval()
    assert torch.equal(net.rounded()(x), net(x))


@pytest.mark.parametrize(("steps", "batch"), [(0, 3), (1, 1), (4, 0), (0, 0)])
def test_small_and_empty_inputs(steps: int, batch: int) -> None:
    net = lively([6, 20, 4]).eval()
    assert net(torch.zeros(steps, batch, 6)).shape == (steps + net.tail, batch, 4)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"sizes": [5]}, "DelaySNN: sizes must be at least two whole numbers >= 1 (input, hidden"),
        ({"sizes": [5, 0, 2]}, "DelaySNN: sizes must be at least two whole numbers >= 1 (input, "),
        ({"sizes": [5, 2.5]}, "DelaySNN: sizes must be at least two whole numbers >= 1 (input, hi"),
        ({"max_delay": -1}, "DelayLayer: max_delay must be a whole number of steps >= 1, got -1."),
        (
            {"max_delay": 1.5},
            "DelayLayer: max_delay must be a whole number of steps >= 1, got 1.5.",
        ),
        ({"dropout": 1.0}, "DelaySNN: dropout must lie in [0, 1), got 1.0."),
        ({"dropout": None}, "DelaySNN: dropout must lie in [0, 1), got None."),
        ({"readout": "last"}, "DelaySNN: readout must be one of sum_softmax, mean, max, spike_co"),
        ({"tail": -3}, "DelaySNN: tail must be a whole number of steps >= 0, got -3."),
        ({"tail": 2.0}, "DelaySNN: tail must be a whole number of steps >= 0, got 2.0."),
        ({"tau": 1.0}, "lif: tau must be above 1 step, got 1.0. Use a longer"),
        ({"v_threshold": 0.0}, "lif: v_threshold must be a number > 0, got 0.0."),
        ({"granularity": "soma"}, "DelayLayer: granularity must be one of synaptic, axonal, den"),
        ({"kernel_count": 0}, "DelayLayer: kernel_count must be a whole number >= 1, got 0."),
        ({"sigma": -1.0}, "DelayLayer: sigma must be a number of steps >= 0, got -1.0."),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_impossible_networks_are_named(bad: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        delay_snn(**{"sizes": [5, 6, 2], "max_delay": 3, **bad})
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("mode", ["m", "s"])
@pytest.mark.parametrize("shape", [(5,), (3, 5, 4), (3, 5), (2, 3, 5, 6)])
def test_impossible_inputs_are_named(mode: str, shape: tuple[int, ...]) -> None:
    net = delay_snn([6, 8, 2], 3)
    functional.set_step_mode(net, mode)
    expected = "[T, N, 6]" if mode == "m" else "[N, 6]"
    with pytest.raises(UsageError) as caught:
        net(torch.zeros(shape))
    assert str(caught.value) == (
        f"DelaySNN: input must be {expected} with step_mode='{mode}', got {list(shape)}."
    )
