"""``fit`` on networks of one's own: any module, optimisers and callbacks, and nothing on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_runs
import torch
from small_runs import SETTINGS, network, timeless
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn
from torch.utils.data import DataLoader

from snn_delays import DelayLayer, fit, parameter_groups, rounded, schedules
from snn_delays.callbacks import Checkpoints
from snn_delays.callbacks.callback import Callback, Training
from snn_delays.data import SpikeData, recordings
from snn_delays.errors import UsageError
from snn_delays.evaluation import class_scores, evaluate
from snn_delays.training import published_schedule

data = small_runs.data


def lif(step_mode: str = "m") -> neuron.LIFNode:
    return neuron.LIFNode(tau=2.0, decay_input=False, detach_reset=True, step_mode=step_mode)


def spiking(data: SpikeData) -> nn.Sequential:
    """A SpikingJelly network whose last neurons' spikes are counted."""
    torch.manual_seed(1)
    sizes = (data.n_channels, 24), (24, data.n_classes)
    delays = [DelayLayer(pre, post, max_delay=14) for pre, post in sizes]
    dropout = layer.Dropout(0.1, step_mode="m")
    norm = layer.BatchNorm1d(24, step_mode="m")
    return nn.Sequential(delays[0], norm, lif(), dropout, delays[1], lif())


def lags(n: int) -> SpikeData:
    """Two channels, the second of which follows after 2, 6 or 10 steps of 1 ms: the class."""
    rng = np.random.default_rng(0)
    events = []
    for at in range(n):
        first = rng.uniform(0, 6)
        times = [first, first + 2 + 4 * (at % 3)]
        events.append((np.array(times), np.array([0, 1])))
    return recordings(events, [at % 3 for at in range(n)], n_units=2, dt_ms=1.0, time_unit="ms")


class Names(Callback):
    """Writes down what it is called with."""

    def __init__(self, name: str, called: list[str]) -> None:
        self.name, self.called = name, called

    def on_start(self, training: Training) -> None:
        self.called.append(f"{self.name} start")

    def on_batch(self, training: Training) -> None:
        self.called.append(f"{self.name} {training.epoch}.{training.batch}/{training.batches}")

    def on_epoch(self, training: Training) -> None:
        assert training.rows[-1]["epoch"] == training.epoch
        self.called.append(f"{self.name} {training.epoch}")

    def on_end(self, training: Training) -> None:
        self.called.append(f"{self.name} end")


def test_a_network_of_spikingjelly_learns_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Events of one's own, a network of one's own: nothing else is needed."""
    monkeypatch.chdir(tmp_path)
    data = lags(150)
    net = spiking(data)
    schedule = schedules.Exponential(7.27, until=0.5, integer_from=0.8)
    settings = {"epochs": 30, "batch_size": 16, "weight_lr": 0.02, "accelerator": "cpu"}
    rows = fit(net, data, schedule=schedule, **settings)
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert evaluate(rounded(net), data.train).score > 0.8
    assert [rows[at]["sigma"] for at in (0, 15, -1)] == [7.27, 0.5, 0.0]
    assert all(row["rate_hz"] > 0 for row in rows)
    assert list(tmp_path.rglob("*")) == []
    assert not any(module._forward_hooks for module in net.modules())


def test_frozen_statistics_stay_as_they_are(data: SpikeData):
    net = spiking(data)
    norm, dropout = net[1], net[3]
    norm.eval()
    before = [one.clone() for one in norm.buffers()]
    for _ in range(2):
        fit(net, data, epochs=2, batch_size=32, accelerator="cpu")
        evaluate(net, data.test)
        assert (net.training, norm.training, dropout.training) == (True, False, True)
        for one, expected in zip(norm.buffers(), before, strict=True):
            assert torch.equal(one, expected)
    net.eval()  # as a whole, which training begins with
    fit(net, data, epochs=1, batch_size=32, accelerator="cpu")
    assert not torch.equal(norm.running_mean, before[0])


def test_a_network_without_delays_has_none_that_change(data: SpikeData):
    net = nn.Sequential(layer.Linear(data.n_channels, data.n_classes, step_mode="m"), lif())
    rows = fit(net, data, epochs=2, batch_size=32, accelerator="cpu")
    assert published_schedule(spiking(data)).start == 14 / 2 + 0.27
    assert [(row["delay_change"], row["delay_lr"]) for row in rows] == [(0.0, 0.0)] * 2


def test_spikes_are_counted_within_each_sample(data: SpikeData):
    batch = data.test.collate([0, 1])
    counts = class_scores(nn.Identity(), batch)
    torch.testing.assert_close(counts, batch.spikes.sum(0))
    noisy = batch._replace(spikes=batch.spikes + (batch.spikes.cumsum(0) >= 0))
    shorter = int(batch.lengths.min())
    first = int(batch.lengths.argmin())
    found = class_scores(nn.Identity(), noisy)[first]
    torch.testing.assert_close(found, noisy.spikes[:shorter, first].sum(0))
    assert class_scores(nn.Identity(), batch, "max").max() == batch.spikes.max()
    assert class_scores(nn.Identity(), batch, lambda v, _: v[0]).equal(batch.spikes[0])


def test_ones_own_optimisers_and_timetables(data: SpikeData):
    """Those that are published, made by hand, give the numbers that are published."""
    nets = [network(data), network(data)]
    groups = parameter_groups(nets[1], weight_lr=5e-3, delay_lr=0.1)
    weights = torch.optim.Adam([group for group in groups if group["name"] != "delays"])
    delays = torch.optim.Adam([group for group in groups if group["name"] == "delays"])
    schedulers = torch.optim.lr_scheduler
    own = [
        (weights, schedulers.OneCycleLR(weights, max_lr=5e-3, total_steps=4)),
        (delays, schedulers.CosineAnnealingLR(delays, T_max=4)),
    ]
    published = fit(nets[0], data, **SETTINGS)
    assert timeless(fit(nets[1], data, optimizers=own, **SETTINGS)) == timeless(published)
    constant = torch.optim.SGD(nets[0].parameters(), lr=0.01)
    rows = fit(nets[0], data, optimizers=[constant], **SETTINGS)
    assert {(row["weight_lr"], row["delay_lr"]) for row in rows} == {(0.01, 0.01)}


def test_an_optimiser_of_another_network_is_refused(data: SpikeData):
    other = torch.optim.Adam(network(data).parameters())
    with pytest.raises(UsageError, match="must move parameters of the network given"):
        fit(network(data), data, optimizers=[other], **SETTINGS)


def test_what_two_optimisers_or_none_move_is_told(
    data: SpikeData, caplog: pytest.LogCaptureFixture
):
    net = network(data)
    delays = [one.synapses.delay for one in net.blocks]
    both = [torch.optim.Adam(net.parameters()), torch.optim.SGD(delays, lr=0.1)]
    with pytest.raises(UsageError, match=r"two of the optimizers move blocks.0.synapses.delay"):
        fit(net, data, optimizers=both, **SETTINGS)
    before = [one.detach().clone() for one in net.parameters()]
    rows = fit(net, data, optimizers=both[1:], **SETTINGS)
    assert {(row["weight_lr"], row["delay_lr"]) for row in rows} == {(0.0, 0.1)}
    for (name, one), was in zip(net.named_parameters(), before, strict=True):
        assert torch.equal(one, was) == (not name.endswith("delay")), name
    said = "none of the optimizers moves blocks.0.synapses.weight, blocks.0.norm.weight, "
    assert f"{said}blocks.0.norm.bias and 1 more, which" in caplog.text
    caplog.clear()
    for one in net.parameters():
        one.requires_grad_(any(one is delay for delay in delays))
    fit(net, data, optimizers=both[1:], **SETTINGS)
    assert "none of the optimizers" not in caplog.text


def test_classes_that_nothing_teaches_are_named(data: SpikeData, caplog: pytest.LogCaptureFixture):
    known = data.train.labels != 1
    part = replace(data, train=data.train.subset(known.nonzero().flatten().numpy(), "train"))
    fit(network(data), part, **SETTINGS | {"epochs": 1})
    said = "1 of 3 classes have no training recording, but others: the first of them is "
    assert said + data.class_names[1] in caplog.text
    caplog.clear()
    fit(network(data), data, **SETTINGS | {"epochs": 1})
    assert "no training recording" not in caplog.text


def test_callbacks_are_called_in_order_checkpoints_first(data: SpikeData, tmp_path: Path):
    called: list[str] = []
    kept = Checkpoints(tmp_path / "run")
    settings = SETTINGS | {"epochs": 1, "batch_size": 50}
    fit(network(data), data, callbacks=[Names("a", called), Names("b", called), kept], **settings)
    both = [f"{name} {what}" for what in ("start", "1.1/2", "1.2/2", "1") for name in "ab"]
    assert called == [*both, "b end", "a end"]
    called.clear()
    go_on = Checkpoints(tmp_path / "run", resume=True)
    rows = fit(network(data), data, callbacks=[Names("a", called), go_on], **settings)
    assert called == ["a start", "a end"]
    assert len(rows) == 1


def test_callbacks_end_whatever_ends_the_training(data: SpikeData):
    class Stops(Callback):
        def on_batch(self, training: Training) -> None:
            raise KeyboardInterrupt

    called: list[str] = []
    net = network(data)
    with pytest.raises(KeyboardInterrupt):
        fit(net, data, callbacks=[Names("a", called), Stops()], **SETTINGS)
    assert called == ["a start", "a 1.1/3", "a end"]
    assert not any(module._forward_hooks for module in net.modules())


class Summed(nn.Sequential):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).sum(0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda net: Summed(*net), r"Summed must answer in every step, .* got \[1, 3\]"),
        (
            lambda net: nn.Sequential(*net[:1], lif("s"), net[-1]),
            "LIFNode is in step mode 's' and got a whole sequence",
        ),
        (lambda net: nn.Sequential(nn.Linear(5, 3)), "12 inputs and 3 classes or more: "),
    ],
)
def test_a_network_that_cannot_answer_is_refused_in_one_line(
    data: SpikeData, change: Any, expected: str
):
    net = change(spiking(data))
    before = torch.get_rng_state()
    with pytest.raises(UsageError, match=expected) as refused:
        fit(net, data, **SETTINGS)
    assert "\n" not in str(refused.value)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_no_data_or_cannot_learn_is_refused(data: SpikeData):
    net, loader = spiking(data), DataLoader(data.train, 4)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="fit: data must be a SpikeData, got <torch"):
        fit(net, loader, **SETTINGS)  # pyright: ignore[reportArgumentType]
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(UsageError, match="fit: the network has no parameter that learns"):
        fit(net, data, **SETTINGS)
