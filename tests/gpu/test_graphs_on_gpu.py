"""On a GPU training by CUDA graphs gives the numbers of training without them."""

from __future__ import annotations

import gc
import logging
import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snn_delays import DelaySNN
from snn_delays.callbacks import Callback, Checkpoints, Stopped, Training
from snn_delays.data import SpikeData, SpikeSplit
from snn_delays.data.augmentation import Augmentation
from snn_delays.data.splits.batch import Batch
from snn_delays.data.splits.change import BatchChange
from snn_delays.errors import UsageError
from snn_delays.graphs import parts
from snn_delays.graphs.recordings import CudaRecorder, Graphs
from snn_delays.layers import DelayLayer, RecurrentDelayLayer
from snn_delays.neurons import CAdLIFNode, LeakyReadout, LIFNode, PLIFNode
from snn_delays.regularisers import SmallDelays
from snn_delays.run.folder import RunFolder
from snn_delays.schedules import Exponential
from snn_delays.training import fit

CHANNELS, CLASSES, BATCH = 13, 4, 16
RUN: dict[str, Any] = {
    "epochs": 4,
    "batch_size": BATCH,
    "schedule": Exponential(start=5.0, until=0.75),
    "accelerator": "cuda",
    "seed": 3,
}


def split(n: int, name: str) -> SpikeSplit:
    """Recordings of some lengths, whose class is where most of their events are."""
    rng = np.random.default_rng(n)
    labels, sizes = rng.integers(0, CLASSES, n), rng.integers(60, 120, n)
    steps = [np.sort(rng.integers(0, 20 + 4 * (i % 3), size)) for i, size in enumerate(sizes)]
    channels = [
        np.where(rng.random(size) < 0.5, 3 * label, rng.integers(0, CHANNELS, size))
        for label, size in zip(labels, sizes, strict=True)
    ]
    return SpikeSplit(
        steps=np.concatenate(steps).astype(np.int16),
        channels=np.concatenate(channels).astype(np.int16),
        offsets=np.concatenate([[0], sizes.cumsum()]),
        labels=labels,
        speakers=np.full(n, -1),
        n_channels=CHANNELS,
        name=name,
    )


@pytest.fixture(scope="module")
def data() -> SpikeData:
    splits: Any = {name: split(n, name) for name, n in (("train", 160), ("valid", 33), ("test", 9))}
    names = tuple(map(str, range(CLASSES)))
    return SpikeData(**splits, class_names=names, dt_ms=10.0, split="official", invalid_events=0)


@dataclass
class Counts:
    recorded: int = 0
    repeated: int = 0


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """How often work was recorded, and repeated."""
    found, record, begun = Counts(), CudaRecorder.record, Graphs.__call__

    def recorded(self: CudaRecorder, work: Any) -> Any:
        made = record(self, work)
        found.recorded += 1
        return made

    def called(self: Graphs, key: Any, work: Any, *inputs: Tensor) -> Any:
        result = begun(self, key, work, *inputs)
        found.repeated += any(result is one.recording.results for one in self.kept.values())
        return result

    monkeypatch.setattr(CudaRecorder, "record", recorded)
    monkeypatch.setattr(Graphs, "__call__", called)
    return found


def network(seed: int = 3, neuron: Any = None, **settings: Any) -> DelaySNN:
    torch.manual_seed(seed)
    synapses = partial(DelayLayer, max_delay=12, **settings.pop("synapses", {}))
    neuron = neuron or partial(LIFNode, tau=1.5, decay_input=False, step_mode="m")
    settings = {"dropout": 0.0, "output": partial(LeakyReadout, 1.5), **settings}
    return DelaySNN([CHANNELS, 24, 16, CLASSES], synapses, neuron, **settings)


def as_it_is(patch: pytest.MonkeyPatch) -> None:
    """No recordings, but all else that comes with them, such as σ as a tensor."""
    begun = Graphs.__init__

    def begin(self: Graphs, *args: Any, **settings: Any) -> None:
        begun(self, *args, **settings)
        self.given_up = True

    patch.setattr(Graphs, "__init__", begin)


def state(net: nn.Module) -> dict[str, Tensor]:
    return {name: one.detach().cpu().clone() for name, one in net.state_dict().items()}


def require_alike(one: dict[str, Tensor], other: dict[str, Tensor], close: float = 1e-5) -> None:
    assert one.keys() == other.keys()
    wrong = []
    for name, value in one.items():
        there = other[name]
        apart = float((value.double() - there.double()).abs().max()) if value.numel() else 0.0
        if not apart <= close * max(1.0, float(value.double().abs().max())):
            wrong.append(f"{name}: {apart:.3g} of {float(value.double().abs().max()):.3g}")
    assert not wrong, "; ".join(wrong)


def both(make: Any, data: SpikeData, **settings: Any) -> list[tuple[Any, dict[str, Tensor]]]:
    found = []
    for graphs in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if not graphs:
                as_it_is(patch)
            net = make()
            rows = fit(net, data, **{**RUN, "graphs": "on", **settings})
            found.append((rows, state(net)))
    return found


CASES: dict[str, dict[str, Any]] = {
    "lif": {},
    "plif": {"net": {"neuron": partial(PLIFNode, tau=1.5)}},
    "cadlif": {"net": {"neuron": partial(CAdLIFNode, v_threshold=0.3)}},
    "axonal": {"net": {"synapses": {"granularity": "axonal", "method": "axonal"}}},
    "dendritic": {"net": {"synapses": {"granularity": "dendritic", "method": "dendritic"}}},
    "lowrank": {"net": {"synapses": {"method": "lowrank"}}},
    "learned σ": {"net": {"synapses": {"sigma_learned": True, "sigma": 3.0}}},
    "dropout": {"net": {"dropout": 0.3}},
    "recurrent": {"net": {"recurrent": partial(RecurrentDelayLayer, max_delay=4)}},
    "augmentation": {
        "fit": {"augmentation": Augmentation(event_drop=0.1, channel_shift=0.1, cutmix=0.5)}
    },
    "clipped": {"fit": {"clip_norm": 0.1}},
    "regulariser": {"fit": {"regulariser": SmallDelays(0.01, weighted=True)}},
    "bf16": {"fit": {"precision": "bf16-mixed"}},
    "skip": {"fit": {"on_nan": "skip"}},
    "rounded": {"fit": {"schedule": Exponential(start=5.0, until=0.5, integer_from=0.5)}},
}


@pytest.mark.parametrize("name", CASES)
def test_graphs_train_as_the_steps_do(gpu: str, data: SpikeData, counts: Counts, name: str) -> None:
    case = CASES[name]
    plain, graphs = both(partial(network, **case.get("net", {})), data, **case.get("fit", {}))
    print(f"{name}: {counts}, losses {plain[0][-1]['loss']:.6g} {graphs[0][-1]['loss']:.6g}")
    assert counts.recorded >= 3
    assert counts.repeated > 10
    require_alike(plain[1], graphs[1])
    for here, there in zip(plain[0], graphs[0], strict=True):
        here, there = ({k: v for k, v in row.items() if k != "seconds"} for row in (here, there))
        assert there == pytest.approx(here, rel=1e-4, abs=1e-6)


def test_auto_makes_graphs_and_off_makes_none(gpu: str, data: SpikeData, counts: Counts) -> None:
    rows = []
    for graphs in ("off", "auto"):
        assert counts.recorded == 0
        rows.append(fit(network(), data, **{**RUN, "graphs": graphs}))
    assert counts.recorded > 0
    for here, there in zip(*rows, strict=True):
        assert there["loss"] == pytest.approx(here["loss"], rel=2e-2)
        assert there["rate_hz"] == pytest.approx(here["rate_hz"], rel=2e-2)


@dataclass(frozen=True)
class Spoils(BatchChange):
    """Makes NaN of the input of one step in three, once so many steps are over."""

    after: int
    steps: list[int] = field(default_factory=list)

    def __call__(self, batch: Batch, n_classes: int) -> tuple[Batch, Tensor]:
        if batch.spikes.shape[1] == BATCH:  # not where fit tries a single recording
            self.steps.append(1)
            if len(self.steps) % 3 == 0 and len(self.steps) > self.after:
                batch = batch._replace(spikes=batch.spikes * math.nan)
        return batch, batch.labels


def test_steps_that_are_left_out(gpu: str, data: SpikeData, counts: Counts) -> None:
    found = []
    for graphs in ("off", "on"):
        net = network()
        rows = fit(net, data, **RUN, graphs=graphs, on_nan="skip", augmentation=Spoils(0))
        assert [row["skipped"] for row in rows] == [3, 3, 4, 3]
        assert all(bool(one.isfinite().all()) for one in state(net).values())
        found.append(rows)
    assert counts.repeated > 10
    assert found[1][-1]["loss"] == pytest.approx(found[0][-1]["loss"], rel=5e-2)


def test_a_step_that_stops_is_named(gpu: str, data: SpikeData, counts: Counts) -> None:
    with pytest.raises(UsageError) as stopped:
        fit(network(), data, **RUN, graphs="on", augmentation=Spoils(25))
    print(stopped.value)
    assert "in epoch 3, batch 7 of 10 (step 27)" in str(stopped.value)
    assert counts.repeated > 5


class StopsAt(Callback):
    def on_batch(self, training: Training) -> None:
        if (training.epoch, training.batch) == (2, 6):
            training.stopping = "the test"


def test_a_resumed_run_is_the_whole_one(gpu: str, data: SpikeData, tmp_path: Path) -> None:
    make = partial(network, dropout=0.3)
    whole = make()
    rows = fit(whole, data, **RUN, graphs="on", callbacks=[Checkpoints(RunFolder(tmp_path / "a"))])
    folder = RunFolder(tmp_path / "b")
    with pytest.raises(Stopped):
        fit(make(), data, **RUN, graphs="on", callbacks=[Checkpoints(folder), StopsAt()])
    net = make()
    again = fit(net, data, **RUN, graphs="on", callbacks=[Checkpoints(folder, resume=True)])
    # The first pass after a break reads σ as a number, which rounds otherwise.
    require_alike(state(whole), state(net), 2e-2)
    assert again[-1]["loss"] == pytest.approx(rows[-1]["loss"], rel=2e-2)


class Reads(nn.Module):
    """The identity, which the host has to wait for."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > -1 else x * 0


def reading() -> DelaySNN:
    net = network(dropout=0.3)
    block: Any = net.blocks[0]
    block.norm = nn.Sequential(block.norm, Reads())
    return net


def test_networks_that_wait_train_without(
    gpu: str, data: SpikeData, counts: Counts, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "snn_delays")
    rows = [fit(reading(), data, **{**RUN, "graphs": graphs}) for graphs in ("off", "auto")]
    assert "is a Reads, code not known here" in caplog.text
    with pytest.raises(UsageError, match="it waits for the GPU") as refused:
        fit(reading(), data, **RUN, graphs="on")
    print(refused.value)
    assert rows[0][-1]["loss"] == pytest.approx(rows[1][-1]["loss"], rel=1e-4)
    assert counts.recorded == 0


def test_a_recording_that_fails_changes_nothing(
    gpu: str,
    data: SpikeData,
    counts: Counts,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "snn_delays")
    monkeypatch.setattr(parts, "unknown_code", lambda *_, **__: "")
    monkeypatch.setattr(CudaRecorder, "watched", lambda self, work, *inputs: (work(*inputs), ""))
    found = []
    for graphs in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if not graphs:
                as_it_is(patch)
            net = reading()
            rows = fit(net, data, **{**RUN, "graphs": "auto"})
            found.append((rows, state(net)))
    print([one.getMessage() for one in caplog.records])
    assert "No CUDA graph of the passes of a training step, which runs as it is: " in caplog.text
    assert "No CUDA graph of the optimisers" not in caplog.text
    require_alike(found[0][1], found[1][1])
    before = counts.recorded
    fit(network(dropout=0.3), data, **RUN, graphs="on")  # and spoils nothing for others
    assert counts.recorded >= before + 3


def test_graphs_go_with_the_training(gpu: str, data: SpikeData) -> None:
    """And none is destroyed while another one is recorded."""
    left = []
    for _ in range(4):
        fit(network(), data, **{**RUN, "graphs": "on"})
        gc.collect()
        torch.cuda.empty_cache()
        left.append(torch.cuda.memory_reserved())
    print("MB left:", [one / 1e6 for one in left])
    assert left[-1] <= left[0] + 2**21


class Hooks(Callback):
    """Hooks on to a module for one epoch, and counts what it sees."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_batch_start(self, training: Training) -> None:
        if training.batch == 1:
            self.seen.append(0)
        if (training.epoch, training.batch) == (3, 1):
            node = training.net.blocks[0].neuron  # pyright: ignore[reportIndexIssue, reportAttributeAccessIssue]
            self.hook = node.register_forward_hook(self.look)
        if (training.epoch, training.batch) == (4, 1):
            self.hook.remove()

    def look(self, *_: Any) -> None:
        self.seen[-1] += torch.is_grad_enabled()


def test_hooks_and_settings_are_heard_of(gpu: str, data: SpikeData, counts: Counts) -> None:
    hooks = Hooks()
    fit(network(), data, **RUN, graphs="on", callbacks=[hooks])
    assert hooks.seen == [0, 0, 10, 0]
    assert counts.repeated > 5


class Changes(Callback):
    """Another threshold from the third epoch on, and a frozen weight from the fourth."""

    everywhere = True

    def on_batch_start(self, training: Training) -> None:
        net: Any = training.net
        if training.epoch == 3:
            net.blocks[0].neuron.v_threshold = 0.7
        if training.epoch == 4:
            net.blocks[1].synapses.weight.requires_grad_(False)


def test_changes_of_callbacks_are_not_missed(gpu: str, data: SpikeData, counts: Counts) -> None:
    plain, graphs = both(network, data, callbacks=[Changes()])
    require_alike(plain[1], graphs[1])
    assert counts.repeated > 5
