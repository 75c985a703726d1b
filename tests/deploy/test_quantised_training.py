"""Training on the chip's grid: forward as deployed, backward as if nothing were rounded."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from drawn_networks import delay_snn, random_network, random_split
from spikingjelly.activation_based import functional, layer
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from snn_delays.deploy import compare, integer_table
from snn_delays.deploy.deployment import DeploySettings, deploy
from snn_delays.deploy.quantise import Scale, quantised
from snn_delays.deploy.quantised_training import (
    QuantisedWeight,
    folded,
    make_quantisation_aware_,
    trained_scales,
)
from snn_delays.deploy.table_network import TableNetwork
from snn_delays.errors import UsageError
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.layers.networks import clamp_delays_, rounded, set_sigma
from snn_delays.losses import cross_entropy, score
from snn_delays.network import DelaySNN
from snn_delays.neurons import LeakyReadout, LIFNode, lif
from snn_delays.ops import plan
from snn_delays.ops.plan import Method
from snn_delays.training.optimisation import published

NAMES = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    "options",
    [{}, {"kernel_count": 2, "bias": True}, {"granularity": "axonal"}, {"max_delay": 0, "tail": 3}],
    ids=str,
)
def test_folding_changes_nothing(options: dict[str, Any]) -> None:
    net = random_network(1, **options)
    copied, x = folded(net), random_split(2, 8).collate(range(8)).spikes
    assert not any(isinstance(module, nn.BatchNorm1d) for module in copied.modules())
    with torch.no_grad():
        torch.testing.assert_close(copied(x), net(x), rtol=1e-4, atol=1e-4)
    # A network that was built without normalisation takes its parameters.
    fresh = random_network(9, **options | {"bias": True, "batch_norm": False})
    fresh.load_state_dict(copied.state_dict())


def test_folding_right_after_training() -> None:
    """Neurons then remember potentials that hang on the graph."""
    net, x = random_network(1), random_split(2, 8).collate(range(8)).spikes
    v = net(x)
    copied = folded(net)
    v.sum().backward()
    torch.testing.assert_close(copied(x), v, rtol=1e-4, atol=1e-4)


def test_folding_into_a_smaller_range() -> None:
    copied = folded(random_network(1), max_delay=3)
    assert copied.max_delay == 3
    assert copied.tail == random_network(1).tail
    assert 2.9 < max(float(delay.detach().max()) for delay in copied.delay_parameters()) <= 3
    for wrong in (0, 8):
        with pytest.raises(UsageError, match=r"max_delay must be from 1 to .* 7 steps"):
            folded(random_network(1), max_delay=wrong)


@pytest.mark.parametrize("by_neuron", [False, True])
@pytest.mark.parametrize("levels", [1, 7])
def test_weights_on_their_grid(levels: int, by_neuron: bool) -> None:
    torch.manual_seed(0)
    weight = torch.randn(5, 6, 2) * torch.linspace(0.1, 1, 5)[:, None, None]
    module = QuantisedWeight(weight, levels, by_neuron=by_neuron)
    assert module.log_scale.shape == ((5,) if by_neuron else (1,))
    number = module(weight) / module.log_scale.exp()[:, None, None]
    torch.testing.assert_close(number, number.round(), atol=1e-4, rtol=0)
    assert int(number.abs().max().round()) == levels


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_scales_come_from_a_gpu() -> None:
    net = make_quantisation_aware_(folded(random_network(7)), 4)
    here, there = trained_scales(net), trained_scales(net.cuda())
    assert here is not None
    assert there is not None
    for name, scale in here.items():
        np.testing.assert_allclose(there[name], scale, rtol=1e-6)


def test_gradients_pass_straight_through() -> None:
    """Inside the range dw = 1 and ds = n − w / s; beyond it dw = 0 and ds = ±L."""
    module = QuantisedWeight(torch.ones(1, 4), 3, by_neuron=False)
    scale = 0.2
    with torch.no_grad():
        module.log_scale.fill_(np.log(scale))
    weight = torch.tensor([[0.31, -0.45, 2.0, -2.0]], requires_grad=True)
    for index, slope in enumerate((2 - 0.31 / scale, -2 + 0.45 / scale, 3.0, -3.0)):
        weight.grad = module.log_scale.grad = None
        module(weight)[0, index].backward()
        inside = torch.zeros(1, 4)
        inside[0, index] = float(index < 2)
        torch.testing.assert_close(weight.grad, inside)
        torch.testing.assert_close(
            float(module.log_scale.grad) / scale, slope, rtol=1e-4, atol=1e-4
        )


def test_delays_act_rounded_and_move_by_the_kernel() -> None:
    torch.manual_seed(1)
    soft = DelayLayer(5, 4, max_delay=6, sigma=0.7, bias=True)
    hard = copy.deepcopy(soft)
    hard.rounding = "straight_through"
    x, out = torch.rand(12, 3, 5), torch.randn(12, 3, 4)
    torch.testing.assert_close(hard(x), rounded(soft)(x))

    def gradients(layer: DelayLayer) -> list[Any]:
        inputs = x.clone().requires_grad_()
        layer.history = None
        (layer(inputs) * out).sum().backward()
        found = [inputs.grad, layer.weight.grad, layer.delay.grad]
        layer.zero_grad()
        return found

    x_hard, weight_hard, delay_hard = gradients(hard)
    _, _, delay_soft = gradients(soft)
    deployed = rounded(soft)
    deployed.delay.requires_grad_(True)
    x_rounded, weight_rounded, _ = gradients(deployed)
    torch.testing.assert_close(delay_hard, delay_soft)
    torch.testing.assert_close(x_hard, x_rounded)
    torch.testing.assert_close(weight_hard, weight_rounded)
    assert float(delay_hard.abs().min()) > 0


def aware_layer(method: Method = "auto", **options: Any) -> DelayLayer:
    """Rounded delays and weights on a grid, in double precision."""
    torch.manual_seed(1)
    hard = DelayLayer(5, 4, max_delay=6, sigma=0.5, bias=True, method=method, **options).double()
    hard.rounding = "straight_through"
    grid = QuantisedWeight(hard.weight, 3, by_neuron=True)
    parametrize.register_parametrization(hard, "weight", grid)
    return hard


def in_pieces(layer: DelayLayer, x: Tensor, pieces: list[int]) -> Tensor:
    """The output for x in pieces of so many steps; of 0 means step by step up to the end."""
    functional.reset_net(layer)
    found = []
    for size in pieces:
        if size:
            layer.step_mode = "m"
            found.append(layer(x[:size]))
        else:
            layer.step_mode = "s"
            found.append(torch.stack([layer(step) for step in x]))
        x = x[size:]
    return torch.cat(found)


@pytest.mark.parametrize("options", [{}, {"kernel_count": 2, "interpolation": "triangle"}], ids=str)
@pytest.mark.parametrize("pieces", [[0], [4, 8], [3, 2, 0]], ids=str)
def test_steps_and_pieces_are_the_whole_sequence(
    options: dict[str, Any], pieces: list[int]
) -> None:
    layer, x = aware_layer(**options), torch.rand(12, 3, 5, dtype=torch.float64)
    judge = torch.randn(12, 3, 4, dtype=torch.float64)
    deployed = DelayLayer(5, 4, max_delay=6, bias=True, **options).double()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.3)
    before = torch.zeros(12, 3, 4, dtype=torch.float64)
    for _ in range(3):  # the stream follows what an optimiser changes
        with torch.no_grad():
            for name, values in (("weight", layer.weight), ("bias", layer.bias)):
                getattr(deployed, name).copy_(values)
            deployed.delay.copy_(layer.delay.round())
            deployed.sigma = 0.0
            functional.reset_net(deployed)
            expected = deployed(x)
            assert not torch.allclose(expected, before)
            torch.testing.assert_close(in_pieces(layer, x, pieces), expected)
        gradients = []
        for sizes in ([12], pieces):
            optimizer.zero_grad()
            y = in_pieces(layer, x, sizes)
            torch.testing.assert_close(y, expected)
            (y * judge).sum().backward()
            parameters = list(layer.parameters())
            gradients.append([one.grad.clone() for one in parameters if one.grad is not None])
            assert len(gradients[-1]) == len(parameters) == 4
        for mine, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(mine, theirs)
            assert float(mine.abs().max()) > 0
        optimizer.step()
        layer.clamp_()
        before = expected


@torch.no_grad()
def test_a_running_stream_follows_weights_and_scales() -> None:
    layer, x = aware_layer(), torch.rand(3, 5, dtype=torch.float64)
    layer.delay.zero_()
    nn.init.zeros_(layer.get_parameter("bias"))
    layer.step_mode = "s"
    grid: Any = layer.get_submodule("parametrizations.weight")
    before = layer(x)
    silence = [layer(torch.zeros_like(x)) for _ in range(layer.max_delay)]
    assert not torch.stack(silence).any()
    grid[0].log_scale += np.log(2.0)
    grid.original *= 2.0
    torch.testing.assert_close(layer(x), 2 * before)
    grid.original.zero_()
    assert not layer(x).any()
    with torch.inference_mode():  # where made-up tensors count no changes
        assert not layer(x).any()


def test_networks_stream_as_they_are_trained() -> None:
    net = make_quantisation_aware_(folded(random_network(3)), 4).double()
    for delay in net.delay_parameters():
        assert float((delay - delay.round()).abs().detach().mean()) > 0.1
    set_sigma(net, 0.5)
    x = random_split(4, 8).collate(range(8)).spikes.double()
    with torch.no_grad():
        whole = net(x)
        functional.reset_net(net)
        functional.set_step_mode(net, "s")
        stream = torch.cat([x, x.new_zeros(net.tail, *x.shape[1:])])
        torch.testing.assert_close(torch.stack([net(step) for step in stream]), whole)


@pytest.mark.parametrize("method", ["dense", "taps", "lowrank", "reference"])
def test_the_layers_method_is_taken(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    taken, original = [], plan.delay_convolution

    def seen(*args: Any, **settings: Any) -> Tensor:
        taken.append((settings["sigma"], settings["method"]))
        return original(*args, **settings)

    monkeypatch.setattr(plan, "delay_convolution", seen)
    layer, x = aware_layer(method), torch.rand(12, 3, 5, dtype=torch.float64)
    layer.sigma = 1.5
    with torch.no_grad():
        layer(x)
    (_, alone), *_ = taken
    # No basis of smooth functions makes sense of single taps.
    assert alone == method if method != "lowrank" else alone in ("dense", "taps")
    assert layer.method_used == alone
    layer.history = None
    layer(x)
    assert taken[1:] == [(0.0, alone), (1.5, method)]
    assert layer.method_used == (alone if alone == method else f"{alone}, its slopes by {method}")


def trained(scale: Scale, **options: Any) -> DelaySNN:
    """A network with the numbers −3 … 3 for weights that has learned."""
    net = make_quantisation_aware_(folded(random_network(3, **options)), 3, scale)
    batch = random_split(4, 24).collate(range(24))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = cross_entropy(score(net(batch.spikes), None, net.readout), batch.labels)
        loss.backward()
        optimizer.step()
        clamp_delays_(net)
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    return net.eval()


@pytest.mark.parametrize("scale", ["population", "neuron"])
@pytest.mark.parametrize(
    "options",
    [{}, {"granularity": "dendritic"}, {"kernel_count": 3}, {"max_delay": 0, "tail": 3}],
    ids=str,
)
def test_learns_and_becomes_the_same_table(scale: Scale, options: dict[str, Any]) -> None:
    net, split = trained(scale, **options), random_split(4, 24)
    table = integer_table(net, dt_ms=10.0, class_names=NAMES)
    scales = trained_scales(net)
    assert scales is not None
    assert list(scales) == ["hidden0", "hidden1", "readout"]
    sizes = [16, 14, 1] if scale == "neuron" else [1, 1, 1]
    assert [one.size for one in scales.values()] == sizes
    small = quantised(table, 3, scales=scales)
    assert {int(n) for one in small.projections for n in one.weight} <= set(range(-3, 4))
    for network in (net.rounded(), TableNetwork(small)):
        agreement = compare(small, network, split)
        assert agreement.spikes_total > 300
        assert agreement.spikes_differing <= agreement.spikes_total / 500


@pytest.mark.parametrize("scale", ["population", "neuron"])
def test_several_synapses_of_a_pair_become_whole_rows(scale: Scale) -> None:
    """Those that round to one delay add up to one row, which may lie beyond the levels."""
    net = trained(scale, kernel_count=3)
    table = integer_table(net, dt_ms=10.0, class_names=NAMES)
    scales = trained_scales(net)
    assert scales is not None
    largest = 0
    for one in table.projections:
        step = np.broadcast_to(scales[one.target], table.size(one.target))
        number = one.weight.astype(float) / step[one.post]
        np.testing.assert_allclose(number, np.rint(number), atol=1e-4)
        largest = max(largest, int(np.rint(np.abs(number).max())))
    assert 3 < largest <= 9
    agreement = compare(table, net, random_split(4, 24))
    assert agreement.spikes_total > 300
    assert agreement.spikes_differing <= agreement.spikes_total / 500


def test_checkpoints_fit() -> None:
    net = make_quantisation_aware_(folded(random_network(5)), 4, "neuron")
    options = {"max_delay": 7, "tau": 2.0, "batch_norm": False, "bias": True}
    fresh = make_quantisation_aware_(delay_snn((12, 16, 14, 4), **options), 4, "neuron").eval()
    fresh.load_state_dict(net.state_dict())
    x = random_split(6, 4).collate(range(4)).spikes
    torch.testing.assert_close(fresh(x), net(x))


def test_scales_do_not_decay() -> None:
    """Far from 1 and without a gradient, weight decay would move a scale by a whole step."""
    net = make_quantisation_aware_(folded(random_network(7)), 4, "neuron")
    optimizer = published(net, 10, weight_lr=0.01, weight_decay=1e-5, delay_lr=0.1)[0][0]
    groups = {
        id(one): group["weight_decay"]
        for group in optimizer.param_groups
        for one in group["params"]
    }
    learnt = [name for name, _ in net.named_parameters() if not name.endswith(".synapses.delay")]
    assert len(groups) == len(learnt)
    for name in learnt:
        expected = 0.0 if name.endswith("log_scale") else 1e-5
        assert groups[id(net.get_parameter(name))] == expected, name
    before = trained_scales(net)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    after = trained_scales(net)
    assert before is not None
    assert after is not None
    for name, then in before.items():
        np.testing.assert_array_equal(after[name], then)


def test_refused() -> None:
    with pytest.raises(UsageError, match="must be folded before"):
        make_quantisation_aware_(random_network(0), 4)
    with pytest.raises(UsageError, match="bits must be a whole number from 2"):
        make_quantisation_aware_(folded(random_network(0)), 1)
    assert trained_scales(random_network(0)) is None


@pytest.mark.parametrize("scale", ["population", "neuron"])
def test_layers_into_one_population_share_its_scale(scale: Scale) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.lif = nn.Linear(4, 3), DelayLayer(4, 3, 5), lif(2.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.lif(self.a(x) + self.b(x))

    torch.manual_seed(0)
    net = make_quantisation_aware_(Two(), 4, scale)
    log_scales = [name for name, _ in net.named_parameters() if name.endswith("log_scale")]
    assert len(log_scales) == 1
    assert net.get_parameter(log_scales[0]).numel() == (1 if scale == "population" else 3)
    table = quantised(integer_table(net, dt_ms=1.0), 4, scales=trained_scales(net))
    x = (torch.rand(20, 6, 4) < 0.4).float()
    functional.reset_net(net)
    with torch.no_grad():
        assert torch.equal(TableNetwork(table)(x).float(), net.eval()(x))


def test_networks_of_ones_own_are_folded_and_quantised() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        DelayLayer(12, 9, 5),
        nn.Sequential(layer.BatchNorm1d(9, step_mode="m"), lif(2.0)),
        layer.Linear(9, 4, step_mode="m"),
        LeakyReadout(2.0),
    )
    x = random_split(2, 8).collate(range(8)).spikes
    net(x)  # for statistics
    functional.reset_net(net)
    aware = make_quantisation_aware_(folded(net.eval()), 4, "neuron")
    scales = trained_scales(aware)
    assert scales is not None
    assert {name: scale.size for name, scale in scales.items()} == {
        "lif_1_1": 9,
        "leakyreadout_3": 1,
    }
    table = integer_table(aware, dt_ms=1.0)
    small = quantised(table, 4, scales=scales)
    agreement = compare(small, TableNetwork(small), random_split(2, 8))
    assert agreement.spikes_total > 50
    assert agreement.spikes_differing == 0


class Bent(nn.Module):
    """Weights that something multiplies behind their layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.lif = nn.Linear(12, 4, bias=False), lif(2.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.lif(0.3 * self.a(x))


def firing(*parts: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(*parts).eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, DelayLayer | nn.Linear):
                module.weight.abs_().mul_(4.0)
                module.weight[::3] *= -0.3
    return net


@pytest.mark.parametrize("decay_input", [False, True])
def test_a_nodes_own_gain_is_in_the_scales(decay_input: bool) -> None:
    net = firing(
        DelayLayer(12, 9, 5), LIFNode(3.0, decay_input, step_mode="m"), nn.Linear(9, 4), lif(2.0)
    )  # fmt: skip
    made = deploy(make_quantisation_aware_(net, 4), DeploySettings(), dt_ms=1.0)
    agreement = compare(made.table, rounded(net), random_split(2, 8))
    assert agreement.spikes_total > 50
    assert agreement.spikes_differing == 0
    assert made.table.projections[0].integer


def test_layers_in_containers_are_folded_and_quantised() -> None:
    net = firing(
        layer.SeqToANNContainer(nn.Linear(12, 9), nn.BatchNorm1d(9)), lif(2.0), nn.Linear(9, 4)
    )
    copied = folded(net)
    assert not any(isinstance(module, nn.BatchNorm1d) for module in copied.modules())
    x = random_split(2, 8).collate(range(8)).spikes
    torch.testing.assert_close(copied(x), net(x), rtol=1e-4, atol=1e-4)
    scales = trained_scales(make_quantisation_aware_(copied, 4))
    assert scales is not None
    assert set(scales) == {"lif_1", "readout"}


def test_scales_that_something_multiplies_are_refused() -> None:
    net = make_quantisation_aware_(Bent().eval(), 4)
    with pytest.raises(UsageError, match="projection input_to_lif are no whole multiples .* bits="):
        trained_scales(net)


def test_weights_that_act_elsewhere_too_do_not_take_up_normalisation() -> None:
    linear, norm = nn.Linear(6, 6), layer.BatchNorm1d(6, step_mode="m")
    other = layer.BatchNorm1d(6, step_mode="m")
    for parts in (
        (linear, norm, lif(2.0), linear, other, lif(2.0)),
        (linear, norm, lif(2.0), linear, lif(2.0)),
        (linear, norm, lif(2.0), nn.Linear(6, 6), norm, lif(2.0)),
    ):
        with pytest.raises(UsageError, match="0 has weights or a normalisation that another layer"):
            folded(nn.Sequential(*parts).eval())
    computed = nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 6)), norm, lif(2.0))
    with pytest.raises(UsageError, match="a parametrisation makes.*remove_parametrizations"):
        folded(computed.eval())
