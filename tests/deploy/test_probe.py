"""What no graph shows is tried: every network here once became a table of other answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn
from torch.nn.utils import prune, weight_norm

from snn_delays.deploy.integer import integer_table
from snn_delays.deploy.trace import trace
from snn_delays.errors import UsageError
from snn_delays.layers import DelayLayer, rounded
from snn_delays.neurons import LeakyReadout, LIFNode
from snn_delays.table.simulator import Simulator

CHANNELS = 6


def lif(**options: Any) -> nn.Module:
    return LIFNode(
        **{"tau": 2.0, "surrogate_function": surrogate.ATan(), "step_mode": "m"} | options
    )


def delays(n_pre: int = CHANNELS, n_post: int = 8, **options: Any) -> DelayLayer:
    return DelayLayer(n_pre, n_post, 5, **options)


class Net(nn.Module):
    """A forward of one's own over parts."""

    def __init__(self, forward: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.own = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor, mask: Tensor | None = None, scale: float = 1.0) -> Any:
        return (
            self.own(self, x)
            if self.own.__code__.co_argcount == 2
            else self.own(self, x, mask, scale)
        )


def net(forward: Callable[..., Any], **parts: Any) -> Net:
    parts = {"a": delays(), "b": delays(), "l1": lif(), "l2": lif(), "out": lif()} | parts
    return Net(forward, **{"c": nn.Linear(8, 4)} | parts)


def lively(made: nn.Module) -> nn.Module:
    """With weights that make neurons fire."""
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, DelayLayer | nn.Linear):
                module.weight.abs_().mul_(4.0)
                module.weight[::3] *= -0.3
    return made.eval()


def spikes(shape: tuple[int, ...] = (CHANNELS,)) -> Tensor:
    return (torch.rand(30, 4, *shape, generator=torch.Generator().manual_seed(0)) < 0.3).float()


def require_agreement(made: nn.Module, read: Callable[[Any], Any] = lambda y: y) -> None:
    """The table's output, as the network reads it, and what the network itself gives."""
    torch.manual_seed(0)
    table, x = integer_table(lively(made), dt_ms=1.0), spikes()
    with torch.no_grad():
        y = rounded(made)(x).numpy()
    for n in range(x.shape[1]):
        found = Simulator(table).run(x[:, n].numpy())
        output = found.spikes[table.output.name] if table.output.spiking else found.potentials
        np.testing.assert_allclose(y[..., n, :], read(output), atol=1e-4)
    assert np.ptp(y) > 0


def changed_in_place(kept: bool) -> Callable[..., Any]:
    def forward(self: Any, x: Tensor) -> Tensor:
        h = self.l1(self.a(x))
        before = h
        h += self.l2(self.b(x))
        return self.out(self.c(h + 0.5 * before if kept else h))

    return forward


def with_defaults(self: Any, x: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    h = self.a(x) if mask is None else self.b(x)
    return self.out(self.c(self.l1(h * scale if isinstance(scale, float) else -h)))


def by_sum(self: Any, x: Tensor) -> Tensor:
    return self.out(self.c(self.l1(sum([self.a(x), 0.5 * self.b(x)]) + 0.1)))  # pyright: ignore[reportArgumentType]


def by_keywords(self: Any, x: Tensor) -> Tensor:
    h = self.l1(self.a(x)).chunk(dim=-1, chunks=2)
    return self.out(self.c(input=torch.cat(dim=-1, tensors=h)))


AGREE: dict[str, Callable[[], nn.Module]] = {
    "in place, and not used before": lambda: net(changed_in_place(kept=False)),
    "a forward that asks for its defaults": lambda: net(with_defaults),
    "python's sum, and a number": lambda: net(by_sum),
    "by keywords": lambda: net(by_keywords),
    "a constant minus a signal": lambda: net(
        lambda self, x: self.out(self.k - self.c(self.l1(self.a(x)))), k=nn.Parameter(torch.rand(4))
    ),
    "one layer twice in a container": lambda: (
        lambda linear: nn.Sequential(layer.SeqToANNContainer(linear, linear), lif())
    )(nn.Linear(CHANNELS, CHANNELS)),
    "a container in a container": lambda: nn.Sequential(
        layer.MultiStepContainer(nn.Sequential(nn.Linear(CHANNELS, 8), lif(step_mode="s"))),
        nn.Linear(8, 4),
        lif(),
    ),
    "some of the spikes": lambda: net(lambda self, x: self.l1(self.a(x))[..., :3]),
}  # fmt: skip


@pytest.mark.parametrize("name", AGREE)
def test_unusual_networks_agree_with_their_tables(name: str) -> None:
    torch.manual_seed(0)
    require_agreement(AGREE[name]())


def test_a_number_times_a_mean_over_time_is_the_same_answer() -> None:
    torch.manual_seed(0)
    made = net(lambda self, x: 5 * self.out(self.c(self.l1(self.a(x)))).mean(0))
    require_agreement(made, lambda y: 5 * y.mean(0))


def test_names_of_modules_that_meet_become_two_populations() -> None:
    made = net(lambda self, x: self.p_l(self.c(self.p["l"](self.a(x)))))
    made.p, made.p_l = nn.ModuleDict({"l": lif()}), lif()
    assert [one.name for one in trace(lively(made)).populations] == ["p_l", "p_l_"]


def view_in_place(self: Any, x: Tensor) -> Tensor:
    h = self.l1(self.a(x))
    first = h[..., :4]
    first *= 2.0
    return self.out(self.c(h))


def sequences_inside_steps() -> nn.Module:
    inner: Any = lif(step_mode="s")
    made = nn.Sequential(layer.MultiStepContainer(nn.Linear(CHANNELS, 8), inner), lif())
    inner.step_mode = "m"
    return made


def hooked(name: str, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        made = net(lambda self, x: self.out(self.c(self.l1(self.a(x)))), **options)
        part = made.get_submodule(name)
        part.register_forward_hook(lambda _, __, y: y / 2)
        return made

    return make


def before_hooked(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        made = net(lambda self, x: self.out(self.c(self.l1(self.a(x)))))
        made.get_submodule(name).register_forward_pre_hook(lambda _, given: (2 * given[0],))
        return made

    return make


def changed(node: nn.Module, **values: Any) -> Callable[[], nn.Module]:
    """A node whose values were set after it was made."""

    def make() -> nn.Module:
        for name, value in values.items():
            setattr(node, name, value)
        return nn.Sequential(delays(), node, nn.Linear(8, 4), lif())

    return make


def of_surrogate(given: Any) -> Callable[[], nn.Module]:
    return changed(neuron.LIFNode(step_mode="m", surrogate_function=given))


class Doubled(DelayLayer):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def patched() -> nn.Module:
    made = nn.Sequential(delays(), lif(), nn.Linear(8, 4), lif())
    plain = made[2].forward
    made[2].forward = lambda x: -plain(x)  # pyright: ignore[reportAttributeAccessIssue]
    return made


def normed(make: Callable[[nn.Module], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(delays(), lif(), make(nn.Linear(8, 4)), lif())


CURRENT = "the current into module '.*' is off by .* from what the trace makes of the same spikes"
NODE = "module '1' is a .* that does not do what .* neurons do from rest. Make a new one"
REFUSED: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "in place, and used before": (CURRENT, lambda: net(changed_in_place(kept=True))),
    "a view in place": (
        CURRENT,
        lambda: net(view_in_place),
    ),
    "a hook of a layer": (CURRENT, hooked("a")),
    "a hook of a neuron": (CURRENT, hooked("l1")),
    "a hook before a neuron": (CURRENT, before_hooked("l1")),
    "a hook before a layer": (CURRENT, before_hooked("c")),
    "weight_norm of old": ("module '2' has weights that a hook makes", normed(weight_norm)),
    "pruning under way": (
        "module '2' has weights that a hook makes",
        normed(lambda one: prune.random_unstructured(one, "weight", 0.4)),
    ),
    "a layer of one's own": (CURRENT, lambda: nn.Sequential(Doubled(CHANNELS, 8, 5), lif())),
    "a forward that was replaced": (CURRENT, patched),
    "neurons over samples": (
        r"module '0.1' takes single steps .* gives \[12, 8\] where \[3, 8\] are due",
        lambda: nn.Sequential(
            layer.SeqToANNContainer(nn.Linear(CHANNELS, 8), lif(step_mode="s")), nn.Linear(8, 4)
        ),
    ),
    "delays over samples": (
        CURRENT,
        lambda: nn.Sequential(layer.SeqToANNContainer(delays(step_mode="s")), lif()),
    ),
    "sequences inside steps": (
        r"module '0.1' takes whole sequences .* gives \[3, 8\] where",
        sequences_inside_steps,
    ),
    "one neuron in two containers": (
        "module '1' is called twice, and remembers",
        lambda: (
            lambda node: nn.Sequential(
                layer.MultiStepContainer(nn.Linear(CHANNELS, 8), node),
                layer.MultiStepContainer(nn.Linear(8, 8), node),
            )
        )(lif(step_mode="s")),
    ),
    "steps and samples flattened": (
        r"module 'out' takes whole sequences .* gives \[12, 4\]",
        lambda: net(lambda self, x: self.out(self.c(x.flatten(0, 1))), c=nn.Linear(CHANNELS, 4)),
    ),
    "an output that is flattened": (
        r"the output is \[27, 4\]",
        lambda: net(lambda self, x: self.out(self.c(self.l1(self.a(x)))).flatten(0, 1)),
    ),
    "v_reset changed": (NODE, changed(lif(), v_reset=-5.0)),
    "a reset value changed": (NODE, changed(lif(), _memories_rv={"v": 0.9})),
    "the readout's start changed": (NODE, changed(LeakyReadout(3.0), _memories_rv={"v": 0.9})),
    "numbers of spikes": (
        "module '1' is a LIFNode that gives [2-4]; spikes are 0 or 1",
        of_surrogate(surrogate.MultiLevelSpikeCount(4)),
    ),
    "currents for spikes": ("module '1' is a LIFNode that gives 0", of_surrogate(torch.relu)),
    "shares for spikes": ("module '1' is a LIFNode that gives 0", of_surrogate(nn.Sigmoid())),
    "a tensor for tau": ("module '1' cannot be read", changed(lif(), tau=torch.tensor([2.0, 3.0]))),
    "a width that nothing says": (
        "no layer says how many inputs it takes. Give an example input",
        lambda: net(lambda self, x: self.out(self.c(x[..., :4])), c=nn.Linear(4, 4)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_graph_does_not_show_is_refused(name: str) -> None:
    torch.manual_seed(0)
    message, make = REFUSED[name]
    with pytest.raises(UsageError, match=f"trace: {message}") as refused:
        trace(lively(make()))
    assert "\n" not in str(refused.value)


def test_several_channel_axes_are_joined_along_the_first_only() -> None:
    for made in (
        net(lambda self, x: self.out(self.c(torch.cat([self.l1(x), x], -1).flatten(2)))),
        net(lambda self, x: self.out(self.c(torch.cat([x, x], -1).flatten(2)))),
    ):
        made.c = nn.Linear(12, 4)
        with pytest.raises(UsageError, match="works along dimension -1; only channels, -2, can"):
            trace(lively(made), spikes((3, 2)))


def test_a_network_of_single_steps_cannot_sum_over_time() -> None:
    made = net(lambda self, x: self.out(self.c(self.l1(self.a(x)))).sum(0))
    functional.set_step_mode(made, "s")
    with pytest.raises(UsageError, match="a sum over time; .* in multi-step mode"):
        trace(lively(made))


@pytest.mark.parametrize("name", ["traced", "signals", "connections", "tail", "readout"])
def test_parts_may_have_any_name(name: str) -> None:
    torch.manual_seed(0)
    made = net(lambda self, x: getattr(self, name)(self.c(self.l1(self.a(x)))), **{name: lif()})
    require_agreement(made)


def test_attributes_that_a_trace_reads_are_checked() -> None:
    made = lively(net(lambda self, x: self.out(self.c(self.l1(self.a(x)))), population_names=3))
    with pytest.raises(UsageError, match="population_names must be names of populations .* got 3"):
        integer_table(made, dt_ms=1.0)
    made = lively(net(lambda self, x: self.out(self.c(self.l1(self.a(x)))), tail=True))
    with pytest.raises(UsageError, match="tail_steps must be a whole number >= 0, got True"):
        integer_table(made, dt_ms=1.0)
    made = lively(net(lambda self, x: self.out(self.c(self.l1(self.a(x)))), step_mode=3))
    assert integer_table(made, dt_ms=1.0).readout == "spike_count"


def test_the_state_of_the_random_generator_is_left_as_it_is() -> None:
    made = lively(net(lambda self, x: self.out(self.c(self.l1(self.a(x))))))
    before = torch.get_rng_state()
    trace(made)
    assert torch.equal(torch.get_rng_state(), before)
