"""Networks of one's own as tables: the simulator, which knows the table alone, does the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from snn_delays.deploy.integer import integer_table, recorded
from snn_delays.deploy.loading import LoadedNetwork
from snn_delays.deploy.trace import trace
from snn_delays.errors import UsageError
from snn_delays.layers import DelayLayer, rounded
from snn_delays.network import DelaySNN
from snn_delays.neurons import LeakyReadout, LIFNode, lif
from snn_delays.table.equality import same_network
from snn_delays.table.simulator import Simulator
from snn_delays.table.table import DelayTable

CHANNELS = 6


def node(kind: type = neuron.LIFNode, **options: object) -> nn.Module:
    return kind(step_mode="m", surrogate_function=surrogate.ATan(), **options)


class Residual(nn.Module):
    """Spikes of two layers added up, and the input beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = DelayLayer(CHANNELS, 8, 5), DelayLayer(8, 8, 7, kernel_count=2)
        self.norm = layer.BatchNorm1d(8, step_mode="m")
        self.lif1, self.lif2 = node(tau=2.0, decay_input=False), node(tau=1.5)
        self.out, self.lif3 = layer.Linear(12, 4, step_mode="m"), node(neuron.IFNode)

    def forward(self, x: Tensor) -> Tensor:
        a = self.lif1(self.first(x))
        b = self.lif2(self.norm(self.second(a))) + a
        return self.lif3(self.out(torch.cat([b, x[..., 1:5]], dim=-1))).sum(0)


class Readout(nn.Module):
    """A branch of currents that are subtracted, and potentials that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(CHANNELS, 9), nn.Linear(CHANNELS, 9, bias=False)
        self.hidden = nn.Sequential(
            LIFNode(3.0, False, v_reset=None, step_mode="m"), nn.Dropout(0.5)
        )
        self.c, self.d = DelayLayer(5, 3, 4, bias=True), DelayLayer(4, 3, 9, granularity="axonal")
        self.readout = LeakyReadout(4.0)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.hidden(0.5 * self.a(x) - self.b(x) / 3).split([5, 4], dim=-1)
        return self.readout(self.c(left) + self.d(right))


def plif() -> nn.Sequential:
    return nn.Sequential(
        DelayLayer(CHANNELS, 10, 6),
        node(neuron.ParametricLIFNode, init_tau=2.5, v_reset=None),
        layer.Linear(10, 4, step_mode="m"),
        node(neuron.ParametricLIFNode, init_tau=1.7, decay_input=False),
    )


def flat() -> nn.Sequential:
    """A classifier of SpikingJelly's tutorial, on inputs [T, N, 1, 2, 3]."""
    return nn.Sequential(
        layer.Flatten(step_mode="m"),
        layer.Linear(CHANNELS, 12, bias=False, step_mode="m"),
        node(tau=2.0),
        layer.Dropout(0.3, step_mode="m"),
        layer.SeqToANNContainer(nn.Linear(12, 4), nn.BatchNorm1d(4)),
        node(tau=2.0),
    )


def contained() -> nn.Sequential:
    """Single steps inside a container of SpikingJelly's, sequences outside."""
    steps = nn.Linear(CHANNELS, 9), neuron.LIFNode(tau=2.0, step_mode="s")
    return nn.Sequential(layer.MultiStepContainer(*steps), DelayLayer(9, 4, 5), lif(2.0))


def weights_at_the_end() -> nn.Sequential:
    return nn.Sequential(DelayLayer(CHANNELS, 10, 6), lif(2.0), DelayLayer(10, 3, 3, bias=True))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "residual": Residual,
    "readout": Readout,
    "plif": plif,
    "flat": flat,
    "contained": contained,
    "weights at the end": weights_at_the_end,
    "DelaySNN": lambda: DelaySNN([CHANNELS, 10, 8, 3], partial(DelayLayer, max_delay=6, bias=True)),
}


def lively(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """With weights that make neurons fire, and statistics of normalisation that are some."""
    torch.manual_seed(seed)
    net = make()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, DelayLayer | nn.Linear):
                module.weight.abs_().mul_(1.5)
                module.weight[::3] *= -0.5
            if isinstance(module, nn.BatchNorm1d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.3, 1)
                module.bias.uniform_(0, 0.3)
    return net


def sample(shape: tuple[int, ...] = (CHANNELS,), steps: int = 40) -> Tensor:
    return (torch.rand(steps, 4, *shape) < 0.3).float()


def require_agreement(net: nn.Module, table: DelayTable, x: Tensor) -> None:
    """Every spike and, as far as rounding lets it, every potential."""
    run = recorded(rounded(net.eval()))
    with torch.no_grad():
        y, spikes = run(x, return_spikes=True)
    simulator = Simulator(table)
    assert set(spikes) == {one.name for one in table.populations if one.spiking}
    for n in range(x.shape[1]):
        found = simulator.run(x[:, n].flatten(1).numpy())
        for name, fired in found.spikes.items():
            np.testing.assert_array_equal(spikes[name][:, n].bool().numpy(), fired, err_msg=name)
        if not table.output.spiking:
            np.testing.assert_allclose(y[:, n].numpy(), found.potentials, rtol=1e-4, atol=1e-4)
    assert all(0 < float(one.mean()) < 1 for one in spikes.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_and_its_table_agree(name: str) -> None:
    net = lively(NETWORKS[name])
    x = sample((1, 2, 3) if name == "flat" else (CHANNELS,))
    table = integer_table(net, dt_ms=1.0, example=x)
    require_agreement(net, table, x)
    loaded = LoadedNetwork(table)
    require_agreement(loaded, table, x.flatten(2))
    again = integer_table(loaded, dt_ms=1.0, class_names=table.class_names)
    assert same_network(again, table) is None


def test_the_first_layer_tells_how_many_inputs_there_are() -> None:
    for name, net in NETWORKS.items():
        assert trace(net()).input_channels == CHANNELS, name
    with pytest.raises(UsageError, match="no layer says how many inputs .* example input"):
        trace(nn.Sequential(lif(2.0)))


def test_what_a_residual_network_becomes() -> None:
    table = integer_table(Residual(), dt_ms=2.0, class_names=["a", "b", "c", "d"])
    assert [one.name for one in table.populations] == ["lif1", "lif2", "lif3"]
    assert [one.name for one in table.projections] == [
        *("input_to_lif1", "lif1_to_lif2"),
        *("input_to_lif3", "lif1_to_lif3", "lif2_to_lif3"),
    ]
    assert table.readout == "spike_count"
    assert table.tail_steps == 0
    # Of SpikingJelly's LIF that divides its input by tau, weights take it up.
    assert table["lif2"].parameters["beta"] == pytest.approx(1 / 3)
    assert table["lif3"].parameters["beta"] == pytest.approx(1)


def test_how_an_output_is_read() -> None:
    class Over(nn.Module):
        def __init__(self, how: Callable[[Tensor], Tensor], last: nn.Module) -> None:
            super().__init__()
            self.layer, self.last, self.how = nn.Linear(3, 2), last, how

        def forward(self, x: Tensor) -> Tensor:
            return self.how(self.last(self.layer(x)))

    for how, last, readout in (
        (lambda y: y, lif(2.0), "spike_count"),
        (lambda y: y.mean(0) * 5, lif(2.0), "spike_count"),
        (lambda y: torch.sum(y, dim=0), lif(2.0), "spike_count"),
        (lambda y: y, LeakyReadout(2.0), "mean"),
        (lambda y: y.sum(0) / 7, LeakyReadout(2.0), "mean"),
        (lambda y: y.amax(0), LeakyReadout(2.0), "max"),
        (lambda y: y.amax(0), nn.Identity(), "max"),
    ):
        assert integer_table(Over(how, last), dt_ms=1.0).readout == readout
    table = integer_table(Over(lambda y: y, LeakyReadout(2.0)), dt_ms=1.0, readout="sum_softmax")
    assert table.readout == "sum_softmax"
    with pytest.raises(UsageError, match="readout spike_count does not go with the LI neurons"):
        integer_table(Over(lambda y: y, LeakyReadout(2.0)), dt_ms=1.0, readout="spike_count")


def test_single_steps_are_followed_too() -> None:
    net = lively(plif)
    x = sample()
    table = integer_table(net, dt_ms=1.0)
    functional.set_step_mode(net, "s")
    assert same_network(integer_table(net, dt_ms=1.0), table) is None
    require_agreement(net, table, x)


@given(seed=st.integers(0, 2**31 - 1), skip=st.booleans(), depth=st.integers(1, 4))
@settings(max_examples=8, deadline=None)
def test_drawn_networks_agree_with_their_tables(seed: int, skip: bool, depth: int) -> None:
    class Drawn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            draw = np.random.default_rng(seed)
            sizes = [CHANNELS, *draw.integers(1, 7, depth).tolist(), 3]
            self.blocks = nn.ModuleList()
            for a, b in pairwise(sizes):
                count, longest = int(draw.integers(1, 3)), int(draw.integers(1, 9))
                taken = a + (CHANNELS if skip and self.blocks else 0)
                v_reset = None if draw.random() < 0.5 else -0.1
                parts = DelayLayer(taken, b, longest, kernel_count=count), lif(1.8, v_reset=v_reset)
                self.blocks.append(nn.Sequential(*parts))

        def forward(self, x: Tensor) -> Tensor:
            y = x
            for index, block in enumerate(self.blocks):
                y = block(torch.cat([y, x], -1) if skip and index else y)
            return y.sum(0)

    net = lively(Drawn, seed).double()
    table, x = integer_table(net, dt_ms=1.0), sample().double()
    run = recorded(rounded(net.eval()))
    with torch.no_grad():
        _, spikes = run(x, return_spikes=True)
    total = differing = 0
    for n in range(x.shape[1]):
        for name, fired in Simulator(table).run(x[:, n].numpy()).spikes.items():
            total += fired.size
            differing += int((spikes[name][:, n].bool().numpy() != fired).sum())
    # Weights of the table are in single precision: a tie may tip, and others after it.
    assert differing <= total / 50


class Looking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.sum() > 0 else x


def wrapped(forward: Callable[[nn.Module, Tensor], Tensor], **parts: nn.Module) -> nn.Module:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return forward(self, x)

    net = Net()
    for name, part in parts.items():
        net.add_module(name, part)
    return net


LINEAR, CELL = nn.Linear(3, 3), lif(2.0)
REFUSED = {
    "module '0' is a MaxPool1d, which a delay table cannot express. Known are": nn.Sequential(
        nn.MaxPool1d(1)
    ),
    "module '1' is a GatedLIFNode": nn.Sequential(LINEAR, neuron.GatedLIFNode(T=4)),
    "operation 'relu'": wrapped(lambda net, x: torch.relu(net.a(x)), a=LINEAR),
    "operation 'mul' multiplies a signal and a signal": wrapped(
        lambda net, x: net.a(x) * x, a=LINEAR
    ),
    "operation 'add' adds a signal and a sum over time": wrapped(
        lambda net, x: net.a(x) + x.sum(0), a=LINEAR
    ),
    "operation 'div' is an operation": wrapped(
        lambda net, x: net.a(torch.div(x, 2, rounding_mode="floor")), a=LINEAR
    ),
    "get_attr '_tensor_constant0' is a tensor that the forward makes": wrapped(
        lambda net, x: net.a(x) + torch.rand(3), a=LINEAR
    ),
    "the output is the largest value of spikes": wrapped(
        lambda net, x: net.b(net.a(x)).amax(0), a=LINEAR, b=CELL
    ),
    "operation 'truediv' .* signals take numbers only": wrapped(
        lambda net, x: net.a(x / 0.0), a=LINEAR
    ),
    "module 'b' is called twice, and remembers": wrapped(
        lambda net, x: net.b(net.b(net.a(x))), a=LINEAR, b=lif(2.0)
    ),
    "operation 'getitem' takes .* only channels": wrapped(lambda net, x: net.a(x[1:]), a=LINEAR),
    "operation 'cat' works along dimension 0": wrapped(
        lambda net, x: torch.cat([net.a(x), x], 0), a=LINEAR
    ),
    "module 'b' delays a constant current": wrapped(
        lambda net, x: net.b(net.a(x)), a=nn.Linear(3, 3), b=DelayLayer(3, 2, 4)
    ),
    "module 'a' takes 3 channels, got 6": wrapped(
        lambda net, x: net.a(torch.cat([x, x], -1)), a=LINEAR
    ),
    "the output is .*; a table has one": wrapped(lambda net, x: (net.a(x), x), a=LINEAR),
    "cannot follow Looking.forward": Looking(),
    "module '1' BatchNorm without running statistics": nn.Sequential(
        LINEAR, layer.BatchNorm1d(3, track_running_stats=False, step_mode="m")
    ),
    "module '1' is a LIFNode whose surrogate function gives no spikes": nn.Sequential(
        LINEAR, neuron.LIFNode(surrogate_function=surrogate.ATan(spiking=False), step_mode="m")
    ),
    "module '1' takes dimension 1 of .*, the samples, for channels": nn.Sequential(
        LINEAR, nn.BatchNorm1d(3), CELL
    ),
    "1 takes single steps .*, 0 whole sequences": nn.Sequential(
        DelayLayer(3, 3, 2), neuron.LIFNode()
    ),
    r"0.weight is torch.bfloat16, .* Export net.float\(\)": nn.Sequential(
        DelayLayer(3, 3, 2), lif(2.0)
    ).bfloat16(),
    "Sequential fails on an input": nn.Sequential(nn.Flatten(), LINEAR),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_a_table_cannot_express_is_named(message: str) -> None:
    with pytest.raises(UsageError, match=f"trace: {message}"):
        trace(REFUSED[message], torch.zeros(4, 2, 3))


def test_the_network_is_left_as_it_is() -> None:
    net = lively(Residual).train()
    x = sample()
    before = net(x)
    functional.reset_net(net)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    integer_table(net, dt_ms=1.0)
    assert net.training
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in state.items())
    assert before.shape == (4, 4)
