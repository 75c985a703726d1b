"""Training as recordings of its steps gives the numbers of training as it is."""

from __future__ import annotations

import functools
import inspect
import logging
import math
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import recorded
import small_runs
import torch
from small_runs import SETTINGS, network, timeless
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from snn_delays.callbacks import Callback, Training
from snn_delays.data import SpikeData
from snn_delays.data.augmentation import Augmentation
from snn_delays.data.splits.batch import Batch
from snn_delays.data.splits.change import BatchChange
from snn_delays.errors import UsageError
from snn_delays.graphs.decided import (
    others_watch,
    settings_of,
    settings_of_modules,
    settings_of_optimizer,
    settings_of_torch,
)
from snn_delays.graphs.parts import Parts, RepeatedParts, parts_for
from snn_delays.graphs.recordable import repeatable, unknown_code, watched
from snn_delays.graphs.recordings import Graphs
from snn_delays.layers import DelayLayer
from snn_delays.layers.networks import delay_layers
from snn_delays.losses import cross_entropy
from snn_delays.modules import width
from snn_delays.network import DelaySNN
from snn_delays.neurons import CAdLIFNode, LeakyReadout
from snn_delays.regularisers import SmallDelays
from snn_delays.run.firing import Firing
from snn_delays.schedules import Exponential
from snn_delays.training import fit, optimisation
from snn_delays.training import loop as training

data = small_runs.data
pytestmark = pytest.mark.usefixtures("unchecked")
RUN = SETTINGS | {"epochs": 3, "batch_size": 20, "schedule": Exponential(start=3.0, until=0.7)}


class Recorded:
    """Trains with recordings, or in torch without them, and says how often what was done."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch, self.made = patch, []
        # Of optimisers only fused ones can be recorded, which on the CPU have to be asked for.
        patch.setattr(training.optimisation, "published", self._fused(optimisation.published))
        patch.setattr(width, "_waits", lambda _: True)  # as on a GPU, whose numbers are kept

    def _fused(self, published: Any) -> Any:
        return lambda *args, **settings: published(*args, **{**settings, "fused": True})

    def __call__(self, as_it_is: bool, net: nn.Module, data: SpikeData, **settings: Any) -> Any:
        def parts(graphs: str, net: nn.Module, optimizers: Any, *_: Any, **__: Any) -> Any:
            if as_it_is:
                return recorded.InTorchParts()
            self.made.append(recorded.Interpreter(net, optimizers))
            return RepeatedParts(self.made[-1], net, optimizers)

        self.patch.setattr(training, "parts_for", parts)
        return fit(net, data, **{**RUN, **settings})


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    return Recorded(monkeypatch)


def require_alike(one: nn.Module, other: nn.Module) -> None:
    states = one.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-5, msg=name)


def adaptive(data: SpikeData) -> nn.Module:
    torch.manual_seed(3)
    sizes = [data.n_channels, 16, data.n_classes]
    synapses = partial(DelayLayer, max_delay=8)
    return DelaySNN(sizes, synapses, CAdLIFNode, output=partial(LeakyReadout, 2.0))


CASES: dict[str, dict[str, Any]] = {
    "lif": {},
    "no dropout": {"net": {"dropout": 0.0}},
    "adaptive": {"make": adaptive},
    "axonal": {"net": {"granularity": "axonal"}},
    "augmentation": {"fit": {"augmentation": Augmentation(event_drop=0.2, cutmix=0.5)}},
    "clipped": {"fit": {"clip_norm": 0.05}},
    "regulariser": {"fit": {"regulariser": SmallDelays(0.1, weighted=True)}},
}


@pytest.mark.parametrize("name", CASES)
def test_recordings_train_as_the_steps_do(name: str, train: Recorded, data: SpikeData):
    case = CASES[name]
    make = case.get("make") or partial(network, **case.get("net", {}))
    nets = [make(data) for _ in range(2)]
    rows = [
        train(as_it_is, net, data, **case.get("fit", {}))
        for as_it_is, net in zip((True, False), nets, strict=True)
    ]
    assert train.made[0].recorded >= 3  # passes, steps and ranges
    assert train.made[0].repeated > 8
    require_alike(*nets)
    for one, other in zip(*map(timeless, rows), strict=True):
        assert other == pytest.approx(one, rel=1e-3, abs=1e-5)
    pairs = zip(make(data).parameters(), nets[1].parameters(), strict=True)
    assert all(not torch.equal(first, now) for first, now in pairs)


@dataclass(frozen=True)
class Spoils(BatchChange):
    """Makes NaN of the input of one step in three."""

    steps: list[int] = field(default_factory=list)

    def __call__(self, batch: Batch, n_classes: int) -> tuple[Batch, Tensor]:
        if batch.spikes.shape[1] > 1:  # not where fit tries a single recording
            self.steps.append(1)
            if len(self.steps) % 3 == 0:
                batch = batch._replace(spikes=batch.spikes * math.nan)
        return batch, batch.labels


def test_steps_are_left_out_alike(train: Recorded, data: SpikeData):
    nets = [network(data) for _ in range(2)]
    for as_it_is, net in zip((True, False), nets, strict=True):
        rows = train(as_it_is, net, data, on_nan="skip", augmentation=Spoils(), epochs=3)
        assert [row["skipped"] for row in rows] == [1, 2, 2]
    assert train.made[0].repeated > 5
    require_alike(*nets)


@pytest.mark.parametrize(
    ("granularity", "method"),
    [("synaptic", "dense"), ("axonal", "dense"), ("axonal", "axonal"), ("synaptic", "reference")],
)
def test_dense_delays_are_recorded_once_for_all_sigmas(
    train: Recorded, data: SpikeData, granularity: str, method: str
):
    """Other methods go by σ in Python, and are recorded anew for each."""
    net = network(data, method=method, granularity=granularity)
    train(False, net, data, schedule=Exponential(start=3.0, until=1.0), epochs=6)
    made = train.made[0]
    # Steps of six learning rates, ranges, and passes of two lengths.
    assert made.repeated > 40
    assert (made.recorded <= 6 + 1 + 3) is (method == "dense")
    assert {layer.method_used for layer in delay_layers(net)} == {method}


class Steps:
    """Records work that adds its input to a sum, on which it is told how to fail."""

    def __init__(self) -> None:
        self.sum, self.ran, self.recorded, self.repeated = torch.zeros(()), 0, 0, 0
        self.waits, self.fails = "", False

    def work(self, x: Tensor) -> tuple[Tensor]:
        self.ran += 1
        self.sum += x
        return (self.sum * 2,)

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()

    def watched(self, work: Any, *inputs: Tensor) -> Any:
        return work(*inputs), self.waits

    def record(self, work: Any) -> Any:
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing\nmore lines")
        self.recorded += 1
        return self.Repeats(self, work)

    class Repeats:
        def __init__(self, owner: Steps, work: Any) -> None:
            self.owner, self.work, self.results = owner, work, (torch.zeros(()),)

        def replay(self) -> None:
            self.owner.repeated += 1
            self.results[0].copy_(self.work()[0])


def test_work_is_recorded_when_it_comes_again():
    steps = Steps()
    graphs = Graphs(steps, 2, "this work")
    found = [float(graphs("a", steps.work, torch.tensor(float(i)))[0]) for i in range(1, 6)]  # pyright: ignore[reportArgumentType]
    assert found == [2, 6, 12, 20, 30]
    assert (steps.recorded, steps.repeated) == (1, 4)
    graphs("a", steps.work, torch.tensor([1.0]).sum())
    assert steps.repeated == 5
    for key in ("b", "c", None, None, "b"):  # other work, each the first time, and of no key
        graphs(key, steps.work, torch.tensor(1.0))
    assert (steps.recorded, steps.repeated) == (2, 6)
    graphs("a", steps.work, torch.tensor(1, dtype=torch.int32))  # another input
    assert (steps.recorded, steps.repeated) == (2, 6)
    graphs("c", steps.work, torch.tensor(1.0))
    assert len(graphs.kept) == 2  # "a" has not been used for longest
    graphs("a", steps.work, torch.tensor(1.0))
    assert steps.recorded == 4


def test_work_that_cannot_be_recorded_runs_as_it_is(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "snn_delays")
    steps, one = Steps(), torch.tensor(1.0)
    steps.fails = True
    graphs = Graphs(steps, 2, "this work")
    found = [float(graphs("a", steps.work, one)[0]) for _ in range(5)]  # pyright: ignore[reportArgumentType]
    assert found == [2, 4, 6, 8, 10]
    assert [one.getMessage() for one in caplog.records] == [
        "No CUDA graph of this work, which runs as it is: operation not permitted when stream is "
        "capturing"
    ]
    required = Graphs(steps, 2, "this work", required=True)
    required("a", steps.work, one)
    with pytest.raises(UsageError, match=r"graphs=on: this work .* capturing.*graphs=auto"):
        required("a", steps.work, one)


def test_work_that_waits_runs_as_it_is(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "snn_delays")
    steps, one = Steps(), torch.tensor(1.0)
    graphs = Graphs(steps, 2, "this work")
    steps.waits = "it waits"
    graphs("a", steps.work, one)
    steps.waits = ""  # what it waited for once is kept
    for _ in range(3):
        graphs("a", steps.work, one)
    assert (steps.ran, steps.repeated) == (2 + 2, 2)
    steps.waits = "it waits"
    for _ in range(4):
        graphs("b", steps.work, one)
    assert (steps.recorded, steps.repeated) == (1, 2)
    assert caplog.messages == ["No CUDA graph of this work, which runs as it is: it waits"]


class Own(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def test_code_that_is_not_known():
    net = DelaySNN([3, 4, 2])
    assert unknown_code(net, loss=cross_entropy, readout="mean", regulariser=None) == ""
    assert unknown_code(net, loss=nn.CrossEntropyLoss(), regulariser=SmallDelays(1.0)) == ""
    assert unknown_code(net, loss=lambda scores, labels: scores.sum()) == (
        "loss is code not known here"
    )
    assert unknown_code(net, regulariser=partial(len)) == "regulariser is code not known here"
    block: Any = net.blocks[0]
    block.dropout = Own()
    assert unknown_code(net) == "blocks.0.dropout is a Own, code not known here"


def test_code_in_disguise_is_not_known():
    @functools.wraps(torch.relu)
    def wrapped(*given: Any) -> Any:
        return torch.relu(*given)

    assert unknown_code(DelaySNN([3, 4, 2]), loss=wrapped) == "loss is code not known here"
    bound = partial(cast(Any, torch.relu), wrapped)
    for hidden in (wrapped, [wrapped], {"act": (wrapped,)}, bound, Own):
        net: Any = DelaySNN([3, 4, 2])
        net.blocks[0].act = hidden
        assert unknown_code(net) == "act of blocks.0 is code not known here"
        net.blocks[0].act = partial(torch.add, alpha=2)
        assert unknown_code(net) == ""


def test_optimisers_of_others_are_not_recorded():
    class OwnAdam(torch.optim.Adam):
        pass

    weights: Any = [nn.Parameter(torch.ones(2))]
    adam = torch.optim.Adam(weights, fused=True)
    assert repeatable(adam)
    assert not repeatable(OwnAdam(weights, fused=True))
    hook = register_optimizer_step_post_hook(lambda *_: None)
    assert not repeatable(adam)
    hook.remove()
    assert repeatable(adam)


def change_dropout(net: Any) -> None:
    net.blocks[0].dropout.p = 0.1


def change_threshold(net: Any) -> None:
    net.blocks[0].neuron.v_threshold = 0.7


def change_surrogate(net: Any) -> None:
    net.blocks[0].neuron.surrogate_function.alpha = 3.0


def freeze(net: Any) -> None:
    net.blocks[0].synapses.weight.requires_grad_(False)


def freeze_norm(net: Any) -> None:
    net.blocks[0].norm.eval()


def prune(net: Any) -> None:
    net.blocks[0].synapses.set_mask(torch.ones(4, 3, 1, dtype=torch.bool))


def round_delays(net: Any) -> None:
    net.blocks[0].synapses.rounding = "integer"


def replace_weight(net: Any) -> None:
    net.blocks[0].synapses.weight = nn.Parameter(torch.zeros(4, 3, 1))


def allow_no_tf32(net: Any) -> None:
    torch.backends.cudnn.allow_tf32 = False


def compute_in_doubles(net: Any) -> None:
    torch.set_default_dtype(torch.float64)


def be_deterministic(net: Any) -> None:
    torch.backends.cudnn.deterministic = True


class OtherNorm(nn.BatchNorm1d):
    pass


def change_class(net: Any) -> None:
    net.blocks[0].norm.__class__ = OtherNorm


def change_tuple(net: Any) -> None:
    net.blocks[0].synapses.first_delays = (1.0, 24.0)


def change_list(net: Any) -> None:
    net.sizes[0] = 4


def set_dictionary(net: Any) -> None:
    net.blocks[0].settings = {"gain": [1.0]}


def set_function(net: Any) -> None:
    net.blocks[0].act = torch.relu


CHANGES = [
    allow_no_tf32, be_deterministic, compute_in_doubles,
    change_dropout, change_threshold, change_surrogate, freeze, freeze_norm, prune, round_delays,
    replace_weight, change_class, change_tuple, change_list, set_dictionary, set_function,
]  # fmt: skip


def decided(net: nn.Module) -> Any:
    return settings_of_torch(), settings_of_modules(net.modules())


@pytest.mark.parametrize("change", CHANGES)
def test_what_python_reads_is_part_of_the_key(
    change: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    request.addfinalizer(lambda: torch.set_default_dtype(torch.float32))
    net = DelaySNN([3, 4, 2])
    net(torch.ones(5, 2, 3))  # which chooses methods
    before = decided(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1)
    net(torch.ones(5, 2, 3))
    assert decided(net) == before
    change(net)
    assert decided(net) != before
    hash(before)


def test_settings_within_settings_are_told():
    def one(*given: Any, **named: Any) -> Any:
        return given, named

    tensor, other = torch.ones(2), torch.ones(2)
    pairs: list[tuple[Any, Any]] = [
        (1, True), (1, 1.0), ((1,), [1]), ({"a": 1}, {"a": 2}), ({1}, {2}), (one, torch.relu),
        (partial(one, 1), partial(one, 2)), (partial(one, p=1), partial(one, p=2)),
        ([{"a": (1, 2)}], [{"a": (1, 3)}]), (tensor, other), ({"a": tensor}, {"a": other}),
        (tensor.view(1, 2), tensor), (nn.ReLU, nn.Tanh), (torch.float32, torch.float64),
        (np.float64(1), np.float64(2)), (np.int8(1), np.int8(2)), (np.ones(2), 2 * np.ones(2)),
        (np.ones(2), np.ones((1, 2))), (inspect._ParameterKind(0), inspect._ParameterKind(1)),
        (tensor.to_sparse(), other), (nn.LazyLinear(2).weight, nn.LazyLinear(2).weight),
    ]  # fmt: skip
    for before, after in pairs:
        assert settings_of(before) == settings_of(before)
        assert settings_of(before) != settings_of(after), (before, after)
        hash(settings_of(before))
    tensor.fill_(3)
    assert settings_of(tensor) == settings_of(tensor)


PRECISIONS = """
import torch
from snn_delays.graphs.decided import settings_of_torch
from snn_delays.ops.dense import precisions

print(precisions())
for name in ("cuda.matmul", "cudnn", "cudnn.conv"):
    for to in ("ieee", "tf32"):
        before, of = settings_of_torch(), torch.backends
        for part in name.split("."):
            of = getattr(of, part)
        of.fp32_precision = to
        assert settings_of_torch() != before, (name, to)
        assert name == "cuda.matmul" or precisions()[0] == to
"""


def test_precisions_are_read_however_they_were_set():
    """What torch had for them before raises then."""
    command = [sys.executable, "-W", "error", "-c", PRECISIONS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("('tf32', ")


def test_a_default_device_is_nobody_who_watches():
    before = torch.get_default_device()
    torch.set_default_device("cpu")
    try:
        assert not others_watch()
    finally:
        torch.set_default_device(None if before.type == "cpu" else before)


def test_whoever_looks_at_operations_is_heard():
    assert not others_watch()
    for looks in (
        torch.autograd.detect_anomaly(check_nan=False),
        recorded.InTorch(),
        torch.overrides.BaseTorchFunctionMode(),
        torch.autograd.graph.save_on_cpu(),
    ):
        with looks:
            assert others_watch()
        assert not others_watch()


@dataclass
class Changes(Callback):
    """Changes something about a training after its second epoch."""

    how: Any
    optimizers: list[Any] = field(default_factory=list)

    def on_epoch(self, training: Training) -> None:
        if training.epoch == 2:
            self.how(training.net, self.optimizers)


def forgets(net: Any, optimizers: list[Any]) -> None:
    for state in optimizers[0].state.values():
        for name in ("exp_avg", "exp_avg_sq"):
            state[name] = torch.zeros_like(state[name])


def decays(net: Any, optimizers: list[Any]) -> None:
    optimizers[0].param_groups[0]["weight_decay"] = 0.5


def moves_less(net: Any, optimizers: list[Any]) -> None:
    optimizers[0].param_groups[0]["lr"].fill_(1e-4)


def freezes(net: Any, optimizers: list[Any]) -> None:
    net.blocks[0].synapses.weight.requires_grad_(False)


def fires_later(net: Any, optimizers: list[Any]) -> None:
    net.blocks[0].neuron.v_threshold = 1.5


@pytest.mark.parametrize("change", [forgets, decays, moves_less, freezes, fires_later])
def test_changes_between_steps_are_heard_of(change: Any, train: Recorded, data: SpikeData):
    nets, unchanged = [network(data) for _ in range(2)], network(data)
    for as_it_is, net, how in (
        (True, nets[0], change),
        (False, nets[1], change),
        (False, unchanged, lambda *_: None),
    ):
        rate = torch.tensor(0.01)
        adam = torch.optim.Adam([{"params": [*net.parameters()], "lr": rate}], fused=True)
        train(*(as_it_is, net, data), optimizers=[adam], callbacks=[Changes(how, [adam])], epochs=5)
    assert train.made[0].repeated > 8
    require_alike(*nets)
    with pytest.raises(AssertionError):
        require_alike(nets[1], unchanged)


@pytest.mark.parametrize("integer_from", [0.3, 0.6])
def test_rounding_goes_on_alike(integer_from: float, train: Recorded, data: SpikeData):
    """Delays come to rest in the midst of training, and Adam's momentum moves them no more."""
    nets = [network(data) for _ in range(2)]
    schedule = Exponential(start=3.0, until=0.3, integer_from=integer_from)
    for as_it_is, net in zip((True, False), nets, strict=True):
        train(as_it_is, net, data, schedule=schedule, epochs=6)
    assert train.made[0].repeated > 8
    require_alike(*nets)


def test_whoever_hooks_on_is_heard():
    net = DelaySNN([3, 4, 2])
    with Firing(net):
        assert not watched(net.modules())
    weight = next(net.parameters())
    for hook_on in (
        lambda: net.register_forward_hook(lambda *_: None),
        lambda: net.blocks[0].register_forward_pre_hook(lambda *_: None),
        lambda: weight.register_hook(lambda grad: grad),
        lambda: weight.register_post_accumulate_grad_hook(lambda parameter: None),
    ):
        hook = hook_on()
        assert watched(net.modules())
        hook.remove()
        assert not watched(net.modules())


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"graphs": "on"}, r"fit: graphs=on: it needs an NVIDIA GPU, and this trains on cpu\. Use"),
        ({"graphs": "yes"}, "fit: graphs must be one of auto, on, off, got 'yes'"),
    ],
)
def test_graphs_that_there_cannot_be(data: SpikeData, settings: dict[str, Any], line: str):
    with pytest.raises(UsageError, match=line):
        fit(network(data), data, **{**RUN, **settings})


def test_why_a_run_has_no_graphs(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "snn_delays")
    net, gpu = DelaySNN([3, 4, 2]), torch.device("cuda")
    here = SimpleNamespace(precision=SimpleNamespace(scaler=None))
    scaled = SimpleNamespace(precision=SimpleNamespace(scaler=object()))
    for fabric, accumulate, called, reason in (
        (SimpleNamespace(device=gpu, world_size=2, strategy=here), 1, {}, "several processes"),
        (SimpleNamespace(device=gpu, world_size=1, strategy=here), 2, {}, "accumulate is 2"),
        (SimpleNamespace(device=gpu, world_size=1, strategy=scaled), 1, {}, "16-mixed asks"),
        (
            SimpleNamespace(device=gpu, world_size=1, strategy=here),
            *(1, {"loss": lambda *_: None}, "loss is code not known here"),
        ),
    ):
        caplog.clear()
        assert type(parts_for("auto", net, [], fabric, accumulate, **called)) is Parts
        assert reason in caplog.text
        if "known" not in reason:
            with pytest.raises(UsageError, match=reason):
                parts_for("on", net, [], fabric, accumulate, **called)


def test_saved_optimisers_go_on_in_the_form_of_the_device(data: SpikeData):
    rates: dict[str, Any] = {"weight_lr": 0.1, "weight_decay": 0.0, "delay_lr": 0.1}
    net = network(data)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    for before, after in ((False, True), (True, False)):
        (saved, _), _ = optimisation.published(net, 2, **rates, fused=before)
        saved.step()
        (adam, _), _ = optimisation.published(net, 2, **rates, fused=after)
        adam.load_state_dict(saved.state_dict())
        assert {group["fused"] for group in adam.param_groups} == {True if after else None}
        assert repeatable(adam) is after
        adam.step()
        assert {float(state["step"]) for state in adam.state.values()} == {2.0}


def test_what_an_optimiser_goes_by_is_part_of_the_key():
    weight = nn.Parameter(torch.ones(2))
    rate = torch.tensor(0.1)
    adam = torch.optim.Adam([{"params": [weight], "lr": rate}], fused=True)
    before = settings_of_optimizer(adam)
    assert settings_of_optimizer(adam) == before
    rate.fill_(0.2)  # on the CPU, whence Python reads it
    assert settings_of_optimizer(adam) != before
    before = settings_of_optimizer(adam)
    adam.param_groups[0]["weight_decay"] = 0.5
    assert settings_of_optimizer(adam) != before
    assert repeatable(adam)
    before = settings_of_optimizer(adam)
    weight.grad = torch.ones(2)
    assert settings_of_optimizer(adam) != before
    adam.step()
    before = settings_of_optimizer(adam)
    adam.step()
    assert settings_of_optimizer(adam) == before
    adam.state[weight]["exp_avg"] = torch.zeros(2)
    assert settings_of_optimizer(adam) != before
    adam.register_step_post_hook(lambda *_: None)
    assert not repeatable(adam)
