"""A training that is stopped within an epoch saves there, and goes on to the same numbers."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import small_runs
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from small_runs import SETTINGS, Silent, network, require_equal, require_same_files
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from snn_delays import rewiring
from snn_delays.callbacks import Checkpoints, MetricsCsv, TensorBoard
from snn_delays.callbacks.callback import Callback, Training
from snn_delays.callbacks.delay_history import DelayHistory
from snn_delays.callbacks.stopping import ASKING, EXIT_CODE, StopOnSignals, Stopped
from snn_delays.data import SpikeData
from snn_delays.data.augmentation import Augmentation
from snn_delays.errors import UsageError
from snn_delays.run.folder import RunFolder
from snn_delays.run.progress import load_progress
from snn_delays.training import fit

data = small_runs.data
SHORT = SETTINGS | {"epochs": 3, "batch_size": 20}  # 5 batches of an epoch
RANDOM = Augmentation(event_drop=0.1, speed=0.2, time_jitter=0.5, cutmix=0.5)


class StopAt(Callback):
    """Asks the training to stop in a batch, or with batch 0 in the validation of an epoch."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.at = (epoch, batch)

    def on_batch_start(self, training: Training) -> None:
        if (training.epoch, training.batch) == self.at:
            training.stopping = "SIGTERM"


def trained(
    data: SpikeData,
    folder: Path,
    *callbacks: Callback,
    resume: bool = False,
    minutes: float | None = None,
    **settings: Any,
) -> Path:
    kept = Checkpoints(folder, resume=resume, minutes=minutes)
    watched = [MetricsCsv(folder / "metrics.csv"), DelayHistory(folder / "delays.csv")]
    fit(network(data), data, callbacks=[*watched, *callbacks, kept], **(SHORT | settings))
    return folder


def require_same(one: Path, other: Path) -> None:
    """Networks, optimisers and metrics, all to the bit."""
    require_same_files(one, other)
    assert (one / "delays.csv").read_text() == (other / "delays.csv").read_text()
    last = [RunFolder(folder).load_checkpoint("last") for folder in (one, other)]
    require_equal(*(flat(state["optimisation"]) for state in last))
    assert not any((folder / "checkpoints/within.ckpt").exists() for folder in (one, other))


def flat(node: Any, name: str = "") -> dict[str, Any]:
    if isinstance(node, dict | list):
        inside = node.items() if isinstance(node, dict) else enumerate(node)
        return {k: v for at, one in inside for k, v in flat(one, f"{name}.{at}").items()}
    return {name: node}


WAYS: dict[str, Callable[[], tuple[list[Callback], dict[str, Any]]]] = {
    "plain": lambda: ([], {}),
    "augmented": lambda: ([], {"augmentation": RANDOM}),
    "accumulated": lambda: ([], {"batch_size": 10, "accumulate": 2, "clip_norm": 0.5}),
    "few delays": lambda: ([rewiring.FewDelays(2, since=0.3)], {}),
    "rigl": lambda: ([rewiring.RigL(0.5, every=2)], {}),
    "deepr": lambda: ([rewiring.DeepR(0.5)], {}),
    "pruned": lambda: ([rewiring.MagnitudePruning(0.3, until=1.0)], {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_stopped_within_epochs_equals_one_that_was_not(
    data: SpikeData, tmp_path: Path, way: str
):
    callbacks, settings = WAYS[way]()
    whole = trained(data, tmp_path / "whole", *callbacks, **settings)
    parts, stops = tmp_path / "parts", [(1, 1), (1, 4), (2, 2), (3, 5)]
    for number, at in enumerate(stops):
        again, settings = WAYS[way]()
        with pytest.raises(Stopped) as stopped:
            trained(data, parts, *again, StopAt(*at), resume=number > 0, **settings)
        assert stopped.value.code == EXIT_CODE == 75
        saved = RunFolder(parts).load_checkpoint("within")
        assert (saved["within"]["epoch"], saved["within"]["batch"]) == at
        assert len(saved["rows"]) == at[0] - 1
    again, settings = WAYS[way]()
    trained(data, parts, *again, resume=True, **settings)
    require_same(whole, parts)


def test_a_signal_in_validation_need_not_wait_for_its_end(
    data: SpikeData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = trained(data, tmp_path / "whole")
    evaluate, calls = fit.__globals__["evaluate"], 0

    def signalled(*args: Any, **settings: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*args, **settings)

    with monkeypatch.context() as patch:
        patch.setattr("snn_delays.training.loop.evaluate", signalled)
        with pytest.raises(Stopped):
            trained(data, tmp_path / "parts", StopOnSignals())
    progress = load_progress(RunFolder(tmp_path / "parts"))
    assert progress is not None
    assert progress.within is not None
    assert (progress.within["epoch"], progress.within["batch"]) == (2, 5)
    trained(data, tmp_path / "parts", resume=True)
    require_same(whole, tmp_path / "parts")


class Signals(Callback):
    """Sends this process signals while the second batch is trained."""

    def __init__(self, *signals: int) -> None:
        self.signals, self.batches = signals, 0

    def on_batch_start(self, training: Training) -> None:
        if training.batch == 2:
            for one in self.signals:
                os.kill(os.getpid(), one)

    def on_batch(self, training: Training) -> None:
        self.batches += 1


@pytest.fixture
def handlers() -> Iterator[list[Any]]:
    """Those of before, which a training must leave."""
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT, ASKING)]
    yield before
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT, ASKING)] == before


@pytest.mark.parametrize("sent", [(signal.SIGTERM,), (signal.SIGINT,), (ASKING, ASKING)])
def test_a_signal_stops_after_the_batch(
    data: SpikeData,
    tmp_path: Path,
    sent: tuple[int, ...],
    handlers: list[Any],
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.INFO, logger="snn_delays")
    sends = Signals(*sent)
    with pytest.raises(Stopped) as stopped:
        trained(data, tmp_path / "run", sends, StopOnSignals())
    assert stopped.value.by == signal.Signals(sent[0]).name
    assert sends.batches == 2
    (line,) = [one.message for one in caplog.records if one.message.startswith("Stopped by")]
    assert line.endswith("run/checkpoints/within.ckpt, in epoch 1 after batch 2.")


def test_a_second_signal_ends_at_once(data: SpikeData, tmp_path: Path):
    """By the system, whatever Python is doing; seen in a child."""
    pid = os.fork()
    if not pid:
        torch.set_num_threads(1)
        try:
            sends = Signals(signal.SIGTERM, signal.SIGTERM)
            trained(data, tmp_path / "run", sends, StopOnSignals())
        finally:
            os._exit(3)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGTERM
    assert not (tmp_path / "run/checkpoints/within.ckpt").exists()


def test_around_a_training_a_signal_stops_right_away(handlers: list[Any]):
    with pytest.raises(Stopped) as stopped, StopOnSignals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert stopped.value.code == EXIT_CODE
    assert not isinstance(stopped.value, Exception)  # so that no sweep goes on


def test_a_child_is_ended_by_its_signals(handlers: list[Any]):
    with StopOnSignals():
        pid = os.fork()
        if not pid:
            signal.alarm(20)
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(3)
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGTERM


def test_another_thread_is_refused():
    found: list[BaseException] = []

    def enter() -> None:
        try:
            StopOnSignals().__enter__()
        except UsageError as error:
            found.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join(20)
    assert "signals reach the main thread only" in str(found[0])


class Killed(BaseException):
    """As a process that is killed: nothing more is saved."""


class KillAt(StopAt):
    def on_batch_start(self, training: Training) -> None:
        if (training.epoch, training.batch) == self.at:
            raise Killed


def test_every_so_many_minutes_it_is_saved_within_the_epoch(data: SpikeData, tmp_path: Path):
    whole, parts = trained(data, tmp_path / "whole"), tmp_path / "parts"
    often = {"minutes": 1e-9}
    with pytest.raises(Killed):
        trained(data, parts, KillAt(2, 4), **often)
    progress = load_progress(RunFolder(parts))
    assert progress is not None
    assert progress.within is not None
    assert (progress.within["epoch"], progress.within["batch"]) == (2, 3)
    with pytest.raises(Killed):
        trained(data, tmp_path / "seldom", KillAt(2, 4), minutes=60.0)
    assert not (tmp_path / "seldom/checkpoints/within.ckpt").exists()
    trained(data, parts, resume=True, **often)
    require_same(whole, parts)


def test_a_damaged_one_costs_what_it_held_and_a_line(
    data: SpikeData, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    whole = trained(data, tmp_path / "whole")
    for number, (name, at, said) in enumerate(
        [
            ("within", (2, 3), "within.ckpt is damaged: going on from last.ckpt; epoch 2 is trai"),
            ("within", (1, 3), "within.ckpt is damaged: the run is begun again."),
            ("last", (2, 2), "last.ckpt is damaged: going on from "),
        ]
    ):
        folder = tmp_path / str(number)
        with pytest.raises(Stopped):
            trained(data, folder, StopAt(*at))
        path = folder / f"checkpoints/{name}.ckpt"
        path.write_bytes(path.read_bytes()[:-100])
        caplog.clear()
        trained(data, folder, resume=True)
        assert said in caplog.text
        require_same(whole, folder)


def test_one_that_is_older_than_the_last_epoch_is_not_gone_on_from(data: SpikeData, tmp_path: Path):
    """A process killed between saving an epoch and removing what was saved within it."""
    whole = trained(data, tmp_path / "whole")
    with pytest.raises(Stopped):
        trained(data, tmp_path / "run", StopAt(2, 4))
    old = (tmp_path / "run/checkpoints/within.ckpt").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        trained(data, tmp_path / "run", Silent(stop_at=2), resume=True)
    (tmp_path / "run/checkpoints/within.ckpt").write_bytes(old)
    progress = load_progress(RunFolder(tmp_path / "run"))
    assert progress is not None
    assert progress.within is None
    trained(data, tmp_path / "run", resume=True)
    require_same(whole, tmp_path / "run")


def test_what_is_shown_of_epochs_is_that_of_their_ends(data: SpikeData, tmp_path: Path):
    """Not of a network in the middle of the next."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trained(data, whole, TensorBoard(whole / "board"))
    for number, at in enumerate([(1, 2), (2, 3)]):
        board = TensorBoard(parts / "board")
        with pytest.raises(Stopped):
            trained(data, parts, board, StopAt(*at), resume=number > 0)
    trained(data, parts, TensorBoard(parts / "board"), resume=True)
    seen = []
    for folder in (whole, parts):
        events = EventAccumulator(str(folder / "board"), {"histograms": 0})
        events.Reload()
        losses = [(one.step, one.value) for one in events.Scalars("loss")]
        delays = {
            tag: [(one.step, repr(one.histogram_value)) for one in events.Histograms(tag)]
            for tag in events.Tags()["histograms"]
        }
        seen.append((losses, delays))
    assert [step for step, _ in seen[0][0]] == [1, 2, 3]
    assert [one[0] for one in next(iter(seen[0][1].values()))] == [0, 1, 2, 3]
    assert seen[0] == seen[1]


class Averaged(Callback):
    """Has a state of its own, an average of a weight."""

    average: Tensor | None = None

    def on_batch(self, training: Training) -> None:
        weight = next(training.net.parameters()).detach().clone()
        self.average = weight if self.average is None else 0.9 * self.average + 0.1 * weight

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.average = state["average"]


@pytest.mark.parametrize("at", [(2, 3), (2, 5)])
def test_states_of_callbacks_go_on_too(data: SpikeData, tmp_path: Path, at: tuple[int, int]):
    whole, parts = (Averaged(), Averaged()), (Averaged(), Averaged())
    trained(data, tmp_path / "whole", *whole)
    with pytest.raises(Stopped):
        trained(data, tmp_path / "parts", Averaged(), StopAt(*at), Averaged())
    trained(data, tmp_path / "parts", *parts, resume=True)
    for one, other in zip(whole, parts, strict=True):
        assert one.average is not None
        assert other.average is not None
        assert torch.equal(one.average, other.average)


def test_the_scale_of_half_precision_goes_on_too(
    data: SpikeData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With clipping, which must not scale back the second optimiser's gradients twice."""

    def half(**_: object) -> Fabric:  # which Fabric itself does on GPUs only
        scaler = torch.amp.GradScaler("cpu", growth_interval=4)
        plugin = MixedPrecision("16-mixed", "cpu", scaler)
        return Fabric(accelerator="cpu", devices=1, plugins=[plugin])

    monkeypatch.setattr("snn_delays.run.ranks.Fabric", half)
    settings = {"clip_norm": 1.0}
    whole = trained(data, tmp_path / "whole", **settings)
    with pytest.raises(Stopped):
        trained(data, tmp_path / "parts", StopAt(2, 3), **settings)
    saved = RunFolder(tmp_path / "parts").load_checkpoint("within")["optimisation"][-1]
    assert saved["scale"] not in (65536.0, 0.0)
    trained(data, tmp_path / "parts", resume=True, **settings)
    require_same(whole, tmp_path / "parts")
    last = RunFolder(whole).load_checkpoint("last")["optimisation"][-1]
    assert last["scale"] != saved["scale"]


@pytest.mark.usefixtures("unchecked")
def test_minutes_are_more_than_none(tmp_path: Path):
    for wrong in (0, -1.0, "5", True):
        with pytest.raises(UsageError, match="Checkpoints: minutes must be a number > 0, got"):
            Checkpoints(tmp_path, minutes=wrong)
