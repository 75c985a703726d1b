"""Images as a data set: splits, batches, training, and what is refused for them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snn_delays import callbacks, fit
from snn_delays.callbacks.callback import Callback, Training
from snn_delays.data import SpikeData
from snn_delays.data.augmentation import Augmentation
from snn_delays.data.splits.batch import Batch, SparseBatch
from snn_delays.data.splits.image_split import ImageSplit, channel_scale
from snn_delays.errors import UsageError
from snn_delays.evaluation import evaluate
from snn_delays.report import course, pictures
from snn_delays.tasks import MultiLabel, SingleLabel, Task

SHORT: dict[str, Any] = {"batch_size": 8, "accelerator": "cpu", "weight_lr": 0.02}


class OneLayer(nn.Module):
    """[T, N, C, H, W] → [T, N, classes]."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(2))


def images(task: Task | None = None, n: int = 48) -> SpikeData:
    """Classes that differ in which rows are bright; ``uint8``."""
    rng = np.random.default_rng(0)
    single = rng.integers(3, size=n)
    several = rng.integers(2, size=(n, 3))
    labels = several if isinstance(task, MultiLabel) else single
    lit = several if isinstance(task, MultiLabel) else np.eye(3, dtype=int)[single]
    pixels = 40 * rng.random((n, 2, 3, 4)) + 180 * lit[:, None, :, None]
    whole = torch.from_numpy(pixels.astype(np.uint8))
    mean, std = channel_scale(whole[: n // 2])
    split = ImageSplit(whole, labels=labels, mean=mean, std=std, name="all", task=task)
    parts = np.split(np.arange(n), [n // 2, 3 * n // 4])
    train, valid, test = map(split.subset, parts, ("train", "valid", "test"))
    return SpikeData(
        *(train, valid, test, ("a", "b", "c"), 1.0), split="stratified", invalid_events=0
    )


@pytest.fixture(params=[SingleLabel(), MultiLabel()], ids=["single", "several"])
def data(request: pytest.FixtureRequest) -> SpikeData:
    return images(request.param)


def test_a_batch_of_images(data: SpikeData):
    assert data.frame == (2, 3, 4)
    assert data.n_channels == 2
    batch = data.valid.collate([3, 0])
    assert batch.spikes.shape == (1, 2, 2, 3, 4)
    assert batch.lengths.tolist() == [1, 1]
    assert torch.equal(batch.labels, data.valid.labels[[3, 0]])
    raw = data.train.images[24 + 3].double() / 255  # pyright: ignore[reportAttributeAccessIssue]
    used = data.train.images[:24].double() / 255  # pyright: ignore[reportAttributeAccessIssue]
    mean, std = used.mean((0, 2, 3)), used.std((0, 2, 3), correction=0)
    expected = (raw - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(batch.spikes[0, 0], expected.float(), rtol=1e-5, atol=1e-5)
    step, label = data.valid[3]
    assert torch.equal(step, batch.spikes[:, 0])
    assert torch.equal(torch.as_tensor(label), batch.labels[0])


def test_images_are_learned_and_a_resumed_run_is_the_same(data: SpikeData, tmp_path):
    torch.manual_seed(0)
    first = OneLayer(24, 3)
    again = copy.deepcopy(first)
    watched = [callbacks.Checkpoints(tmp_path / "whole"), callbacks.ProgressBar()]
    rows = fit(first, data, epochs=6, callbacks=watched, **SHORT)
    metric = data.task.metric
    assert list(rows[0])[3] == metric
    assert rows[-1][f"valid_{metric}"] > 0.95 > rows[0][f"valid_{metric}"]
    found = evaluate(first, data.test, 5)
    assert found.score > 0.9 > data.task.chance(data.test.labels, 3)
    assert found.score == pytest.approx(evaluate(first, data.test).score)
    assert rows[-1]["valid_loss"] == pytest.approx(evaluate(first, data.valid).loss)

    class Stop(Callback):
        def on_epoch(self, training: Training) -> None:
            if training.epoch == 3:
                raise KeyboardInterrupt

    run = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        fit(again, data, epochs=6, callbacks=[callbacks.Checkpoints(run), Stop()], **SHORT)
    resumed = fit(
        again, data, epochs=6, callbacks=[callbacks.Checkpoints(run, resume=True)], **SHORT
    )
    for one, other in zip(rows, resumed, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_a_network_that_takes_other_images_is_refused_in_a_line(data: SpikeData):
    expected = r"the network must have 2 channels of 3 × 4 and 3 classes or more: mat"
    with pytest.raises(UsageError, match=expected):
        fit(OneLayer(20, 3), data, epochs=1)


def test_spikes_augmentation_is_refused_in_a_line(data: SpikeData):
    chosen = Augmentation(time_mask=2, cutmix=0.5)
    expected = (
        r"time_mask, cutmix are for input \[T, N, C\], got images \[1, 1, 2, 3, 4\]. Use augment"
    )
    with pytest.raises(UsageError, match=expected):
        fit(OneLayer(24, 3), data, epochs=1, augmentation=chosen)


def test_pictures_over_time_are_for_recordings_with_a_course(data: SpikeData, tmp_path):
    assert not course.has_course(data)
    with pytest.raises(UsageError, match="plot shows how one answer grows over time"):
        pictures.draw_networks([("one", OneLayer(24, 3))], data, tmp_path / "no.png")


def test_splits_of_other_frames_or_tasks_are_refused():
    one = images()
    several = images(MultiLabel())
    about = {"dt_ms": 1.0, "split": "stratified", "invalid_events": 0, "class_names": tuple("abc")}
    with pytest.raises(UsageError, match="must be judged by accuracy as train, got mAP in test"):
        SpikeData(train=one.train, valid=one.valid, test=several.test, **about)
    small = ImageSplit(
        torch.zeros(2, 1, 3, 4),
        labels=np.zeros(2, np.int64),
        mean=torch.zeros(1),
        std=torch.ones(1),
        name="small",
    )
    expected = "must have 2 channels of 3 × 4 as train, got 1 channel of 3 × 4 in test"
    with pytest.raises(UsageError, match=expected):
        SpikeData(train=one.train, valid=one.valid, test=small, **about)


def test_events_on_a_plane_are_laid_out():
    """What an event camera's split gives: [T, N, polarity, y, x]."""
    shape = (3, 2, 2, 4, 5)
    places = [(0, 1, 0, 3, 4), (2, 0, 1, 0, 0), (2, 0, 1, 0, 0)]
    cells = torch.tensor([int(np.ravel_multi_index(one, shape)) for one in places])
    about = {name: torch.tensor([0, 1]) for name in ("labels", "speakers")}
    batch = SparseBatch(
        cells=cells, counts=None, shape=shape, lengths=torch.tensor([3, 1]), **about
    )
    spikes = batch.dense().spikes
    expected = torch.zeros(shape)
    for one in places:
        expected[one] += 1
    assert torch.equal(spikes, expected)
    assert isinstance(batch.dense(), Batch)
