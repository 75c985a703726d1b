"""A run killed at any moment, or with damaged files, goes on to the same numbers or says why."""

from __future__ import annotations

import copy
import errno
import logging
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import small_runs
import torch
from drawn_networks import delay_snn
from small_runs import SETTINGS, Silent, network, require_equal, require_same_files, run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from snn_delays.callbacks import best_epoch
from snn_delays.callbacks.callback import Training
from snn_delays.data import SpikeData
from snn_delays.errors import UsageError
from snn_delays.run.folder import RunFolder
from snn_delays.run.progress import load_progress
from snn_delays.schedules import Exponential

data = small_runs.data


class Killed(BaseException):
    """No handler is meant for it, as for a signal."""


@pytest.fixture(scope="module")
def whole(data: SpikeData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(network(data), data, folder)
    return folder


@pytest.fixture
def stopped(data: SpikeData, tmp_path: Path) -> Callable[[int], Path]:
    """Makes a run that was stopped after so many epochs."""

    def stop(epochs: int) -> Path:
        folder = tmp_path / f"stopped-{epochs}"
        with pytest.raises(KeyboardInterrupt):
            run(network(data), data, folder, Silent(stop_at=epochs))
        return folder

    return stop


def removed(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def one_bit_flipped(path: Path) -> None:
    """In the middle of the largest tensor; between tensors torch pads, and nothing is lost."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        largest = max(file.infolist(), key=lambda one: one.file_size)
    name, extra = struct.unpack_from("<HH", content, largest.header_offset + 26)
    content[largest.header_offset + 30 + name + extra + largest.file_size // 2] ^= 1
    path.write_bytes(content)


def replaced_by_best(path: Path) -> None:
    shutil.copy(path.with_name("best.ckpt"), path)


def test_a_run_killed_at_any_moment_of_saving_goes_on_to_the_same_numbers(
    data: SpikeData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Killed before the nth time that a file takes its place, for every n."""
    short = SETTINGS | {"epochs": 2}
    run(network(data), data, tmp_path / "whole", settings=short)
    rename = Path.replace
    renames = 0
    while True:
        folder, left = tmp_path / str(renames), renames

        def die(source: Path, target: Path) -> Path:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return rename(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", die)
            try:
                run(network(data), data, folder, settings=short)
                break
            except Killed:
                pass
        run(network(data), data, folder, settings=short, resume=True)
        require_same_files(tmp_path / "whole", folder)
        renames += 1
    assert renames >= 3 * 2


@pytest.mark.parametrize("epochs", [2, SETTINGS["epochs"]])
@pytest.mark.parametrize("damage", [removed, cut, one_bit_flipped, replaced_by_best])
def test_a_damaged_checkpoint_costs_one_epoch(
    data: SpikeData,
    whole: Path,
    stopped: Callable[[int], Path],
    damage: Callable[[Path], None],
    epochs: int,
    caplog: pytest.LogCaptureFixture,
):
    folder = stopped(epochs)
    damage(RunFolder(folder).checkpoint("last"))
    (folder / "summary.json").write_text("{}")
    caplog.set_level(logging.INFO)
    run(network(data), data, folder, Witness(folder, epochs - 1), resume=True)
    (line,) = [record.message for record in caplog.records if "last.ckpt" in record.message]
    what = "missing" if damage is removed else "damaged"
    assert f"last.ckpt is {what}: going on from previous.ckpt, after epoch {epochs - 1};" in line
    assert line.endswith(f"epoch {epochs} is lost and trained again.")
    require_same_files(whole, folder)
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == list(
        range(1, SETTINGS["epochs"] + 1)
    )


class Witness(Silent):
    """Sees that a run's files are cut to so many epochs before the next one is trained."""

    def __init__(self, folder: Path, epochs: int) -> None:
        super().__init__()
        self.folder, self.epochs, self.seen = folder, epochs, False

    def on_batch(self, training: Training) -> None:
        if not self.seen:
            self.seen = True
            files = RunFolder(self.folder)
            assert len(files.metrics.read_text().splitlines()) == 1 + self.epochs
            assert not files.summary.exists()
            rows = files.load_checkpoint("last")["rows"]
            assert len(rows) == self.epochs
            assert files.load_checkpoint("best")["epoch"] == best_epoch(rows)
        super().on_batch(training)


def test_best_is_that_of_the_epochs_that_count(
    data: SpikeData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """The lost epoch was the best; the one that was best before it is so again, to the bit."""
    accuracies = [0.5, 0.3, 0.9]

    def scripted(*_: object, **__: object) -> SimpleNamespace:
        accuracy = accuracies.pop(0) if accuracies else 0.0  # after the last epoch
        return SimpleNamespace(loss=1.0, score=accuracy)

    monkeypatch.setattr("snn_delays.training.loop.evaluate", scripted)
    files = RunFolder(tmp_path / "run")
    net = network(data)
    watch = Silent(stop_at=3)
    first: dict = {}
    keep = watch.on_epoch

    def on_epoch(training: Training) -> None:
        if not first:
            first.update(copy.deepcopy(net.state_dict()))
        keep(training)

    monkeypatch.setattr(watch, "on_epoch", on_epoch)
    with pytest.raises(KeyboardInterrupt):
        run(net, data, files.path, watch)
    assert files.load_checkpoint("best")["epoch"] == 3
    cut(files.checkpoint("last"))
    accuracies = [0.1, 0.1]
    run(network(data), data, files.path, resume=True)
    best = files.load_checkpoint("best")
    assert best["epoch"] == 1
    require_equal(best["network"], first)


def test_both_damaged_is_the_end_and_changes_nothing(
    data: SpikeData,
    stopped: Callable[[int], Path],
):
    folder = stopped(2)
    for name in ("last", "previous"):
        cut(RunFolder(folder).checkpoint(name))
    before = contents(folder)
    with pytest.raises(UsageError, match="last.ckpt is damaged and previous.ckpt is damaged: noth"):
        run(network(data), data, folder, resume=True)
    assert contents(folder) == before


def test_the_only_one_damaged_is_the_end(data: SpikeData, stopped: Callable[[int], Path]):
    folder = stopped(1)
    cut(RunFolder(folder).checkpoint("last"))
    with pytest.raises(UsageError, match="last.ckpt is damaged and previous.ckpt is missing: noth"):
        run(network(data), data, folder, resume=True)


@pytest.mark.parametrize("kept", ["checkpoints/best.ckpt", "metrics.csv", "summary.json"])
def test_results_without_a_checkpoint_to_go_on_from_are_kept(
    data: SpikeData,
    stopped: Callable[[int], Path],
    kept: str,
):
    folder = stopped(2)
    (folder / "summary.json").write_text("{}")
    for path in [*folder.glob("checkpoints/*"), folder / "metrics.csv", folder / "summary.json"]:
        if path != folder / kept:
            path.unlink()
    before = contents(folder)
    with pytest.raises(UsageError, match=f"last.ckpt not found, but {Path(kept).name}: going on"):
        run(network(data), data, folder, resume=True)
    assert contents(folder) == before


def test_a_used_folder_is_taken_by_nobody(data: SpikeData, stopped: Callable[[int], Path]):
    """Not by fit() in Python, nor by what the command line does first, whatever is left of it."""
    folder = stopped(1)
    with pytest.raises(UsageError, match="already holds a run. Choose another run=DIR, or go on"):
        run(network(data), data, folder)
    shutil.rmtree(folder / "checkpoints")
    for take in (
        lambda: run(network(data), data, folder),
        lambda: RunFolder(folder).save_config(""),
    ):
        before = contents(folder)
        with pytest.raises(UsageError, match="already holds a run"):
            take()
        assert contents(folder) == before


def test_a_run_stopped_in_its_first_epoch_is_begun_again(
    data: SpikeData,
    whole: Path,
    tmp_path: Path,
):
    class Impatient(Silent):
        def on_batch(self, training: Training) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(network(data), data, tmp_path / "run", Impatient())
    assert load_progress(RunFolder(tmp_path / "run")) is None
    run(network(data), data, tmp_path / "run", resume=True)
    require_same_files(whole, tmp_path / "run")


OTHER = [
    ({"epochs": 5}, {}, "settings.epochs is 5, was 4, sigma.4 is 0.5, was missing. Restore"),
    (
        {"weight_lr": 1e-3, "seed": 4},
        {},
        "weight_lr is 0.001, was 0.005, settings.seed is 4, was 3",
    ),
    ({}, {"learn_delays": False}, "learned.blocks.0.synapses.delay is False, was True"),
    ({}, {"batch_norm": False}, "learned.blocks.0.norm.weight is missing, was True"),
]


@pytest.mark.parametrize(("settings", "settings_of_network", "expected"), OTHER)
def test_another_configuration_is_refused_before_an_epoch_is_trained(
    data: SpikeData,
    stopped: Callable[[int], Path],
    settings: dict,
    settings_of_network: dict,
    expected: str,
):
    folder = stopped(2)
    before = contents(folder)
    other = SETTINGS | settings
    with pytest.raises(UsageError, match="is not what the run was trained with: ") as refused:
        run(network(data, **settings_of_network), data, folder, settings=other, resume=True)
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)
    assert contents(folder) == before


def test_another_schedule_or_width_is_refused(
    data: SpikeData,
    stopped: Callable[[int], Path],
):
    folder = stopped(2)
    schedule = Exponential(start=5.27, until=0.5)
    with pytest.raises(UsageError, match="sigma.0 is 5.27, was 4.27"):
        run(network(data), data, folder, schedule=schedule, resume=True)
    other = delay_snn([data.n_channels, 17, data.n_classes], max_delay=8, dropout=0.2)
    with pytest.raises(
        UsageError, match="trained with another network: .*size mismatch"
    ) as refused:
        run(other, data, folder, resume=True)
    assert "\n" not in str(refused.value)


def test_another_accelerator_is_not_another_run(
    data: SpikeData,
    whole: Path,
    stopped: Callable[[int], Path],
):
    folder = stopped(2)
    elsewhere = SETTINGS | {"accelerator": "auto"}
    if torch.cuda.is_available():
        pytest.skip("auto would take the GPU, whose numbers are others")
    run(network(data), data, folder, settings=elsewhere, resume=True)
    require_same_files(whole, folder)


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_checkpoint_that_cannot_be_read_is_not_taken_for_damaged(
    data: SpikeData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run(network(data), data, tmp_path / "run", settings=SETTINGS | {"epochs": 2})
    plain = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "last.ckpt":
            raise OSError(errno.EIO, "Input/output error")
        return plain(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(UsageError, match=r"cannot read .*last\.ckpt: Input/output error"):
        load_progress(RunFolder(tmp_path / "run"))


def test_a_file_in_the_place_of_a_run_is_named(data: SpikeData, tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match=r"file is a file\. Choose another run=DIR"):
        run(network(data), data, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
