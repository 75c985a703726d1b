"""What is put together by hand is checked: whoever mixes columns up is told so in one line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.data import Batch, SparseBatch, SpikeData, SpikeSplit
from snn_delays.data.augmentation import Augmentation
from snn_delays.data.events.binning import Grid
from snn_delays.data.events.reading import Events
from snn_delays.data.gsc.encoders import Encoder
from snn_delays.data.gsc.log_mel import LogMel
from snn_delays.data.gsc.split import FeatureBatch, FeatureSplit, Scale
from snn_delays.data.synthetic import SyntheticTask
from snn_delays.errors import UsageError

pytestmark = pytest.mark.usefixtures("unchecked")

COLUMNS: dict[str, Any] = {
    "steps": torch.tensor([0, 5, 2]),
    "channels": torch.tensor([0, 3, 3], dtype=torch.int16),
    "counts": torch.tensor([1, 2, 1], dtype=torch.uint8),
    "offsets": torch.tensor([0, 1, 1, 3]),
    "labels": torch.tensor([0, 1, 0]),
    "speakers": torch.tensor([4, -1, 4]),
    "n_channels": 4,
    "name": "train",
}
PARTS: dict[str, Any] = {
    "parts": [np.zeros((2, 5, 3), np.float16), np.zeros((1, 5, 3), np.float16)],
    "places": np.array([[0, 1], [1, 0]]),
    "labels": torch.tensor([0, 1]),
    "speakers": torch.tensor([-1, -1]),
    "scale": Scale(torch.zeros(3), torch.ones(3)),
    "encoder": Encoder("none", 0.5),
    "name": "train",
}
N = torch.zeros(2, dtype=torch.int64)
SPARSE: dict[str, Any] = {
    "cells": torch.tensor([0, 3]),
    "counts": None,
    "shape": (1, 2, 4),
    "labels": N,
    "lengths": N + 1,
    "speakers": N,
}
BATCH: dict[str, Any] = {
    "spikes": torch.zeros(1, 2, 4),
    "labels": N,
    "lengths": N + 1,
    "speakers": N,
}
EVENTS: dict[str, Any] = {
    "times": np.array([0.0, 0.5, 0.2]),
    "units": np.array([0, 3, 3]),
    "offsets": np.array([0, 1, 3]),
    "labels": np.array([0, 1]),
    "speakers": np.array([0, -1]),
    "n_units": 4,
    "invalid_events": 0,
}
SCALE: dict[str, Any] = {"mean": torch.zeros(3), "inverse": torch.ones(3)}
FEATURES: dict[str, Any] = {
    "features": torch.zeros(2, 5, 3, dtype=torch.float16),
    "scale": Scale(torch.zeros(3), torch.ones(3)),
    "encoder": Encoder("none", 0.5),
    "labels": N,
    "speakers": N,
}

WHOLE = "a one-dimensional array or CPU tensor of whole numbers"


def data(**changed: Any) -> SpikeData:
    split = SpikeSplit(**COLUMNS)
    settings = {
        **dict.fromkeys(("train", "valid", "test"), split),
        "class_names": ("a", "b"),
        "dt_ms": 10.0,
        "split": "official",
        "invalid_events": 0,
    }
    return SpikeData(**settings | changed)


def refused(make: Callable[..., Any], settings: dict[str, Any], **changed: Any) -> str:
    make(**settings)
    with pytest.raises(UsageError) as caught:
        make(**settings | changed)
    message = str(caught.value)
    assert "\n" not in message
    assert ", got " in message
    assert len(message) < 240
    return message


def int64(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int64)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        # Unit 4 of 4 would be unit 0 of the next recording.
        (
            {"channels": int64(0, 4, 3)},
            "must be 0 to 3 (n_channels = 4), got 4 at place 1",
        ),
        ({"channels": int64(0, -1, 3)}, "channels must be 0 to 3 (n_channels = 4), got -1"),
        (
            {"steps": torch.tensor([0.0, 5.7, 2.0])},
            f"steps must be {WHOLE}",
        ),
        ({"steps": int64(0, -1, 2)}, "steps must be 0 to 2147483647, got -1 at place 1"),
        ({"steps": int64(0, 2**31, 2)}, "steps must be 0 to 2147483647, got 2147483648"),
        ({"steps": int64(0, 1)}, "channels must be 2 numbers, got 3"),
        ({"steps": torch.zeros(3, 1, dtype=torch.int64)}, "got int64 of shape [3, 1]"),
        ({"steps": torch.zeros(3, dtype=torch.bool)}, "got bool of shape [3]"),
        ({"steps": torch.eye(3).long().to_sparse()[0]}, f"steps must be {WHOLE}"),
        ({"steps": torch.zeros(3, dtype=torch.int64, device="meta")}, "on meta"),
        (
            {"steps": [0, 5, 2]},
            f"steps must be {WHOLE}",
        ),
        ({"steps": None}, "got None"),
        ({"channels": np.array([0.0, 3.0, 3.0])}, "got float64 of shape [3]"),
        ({"counts": int64(1, 0, 1)}, "counts must be 1 to 2147483647, got 0"),
        ({"counts": int64(1, 1)}, "counts must be 3 numbers, got 2"),
        ({"offsets": int64(0, 1, 3)}, "labels must be 2 numbers, got 3"),
        ({"offsets": int64(0, 2, 1, 3)}, "offsets must never fall, got 1 after 2 at place 2"),
        ({"offsets": int64(0, 1, 1, 2)}, "must go from 0 to the number of events, 3, got 0 to 2"),
        ({"offsets": int64(1, 1, 1, 3)}, "must go from 0 to the number of events, 3, got 1 to 3"),
        ({"offsets": int64(0, 1, 4, 3)}, "offsets must be 0 to 3 (3 events), got 4"),
        ({"offsets": int64()}, "offsets must go from 0 to the number of events, 3, got none"),
        ({"labels": int64(0, -1, 0)}, "labels must be 0 to 2147483647, got -1 at place 1"),
        ({"labels": torch.tensor([0.0, 1.0, 0.0])}, "got float32 of shape [3]"),
        ({"speakers": int64(0, 1)}, "speakers must be 3 numbers, got 2"),
        ({"n_channels": 0}, "n_channels must be a whole number >= 1, got 0"),
        ({"n_channels": 4.0}, "n_channels must be a whole number >= 1, got 4.0"),
        ({"name": 7}, "name must be text, got 7"),
    ],
)
def test_columns_of_a_spike_split(changed: dict[str, Any], expected: str) -> None:
    message = refused(SpikeSplit, COLUMNS, **changed)
    assert message.startswith("SpikeSplit")
    assert expected in message


@given(
    kind=st.sampled_from([np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.uint64]),
    tensors=st.booleans(),
    n_channels=st.sampled_from([4, np.int32(4), torch.tensor(4)]),
)
def test_integers_of_any_width_make_the_same_batches(
    kind: Any, tensors: bool, n_channels: Any
) -> None:
    columns = dict(COLUMNS)
    for name in ("steps", "channels", "counts", "offsets", "labels"):
        columns[name] = COLUMNS[name].numpy().astype(kind)
        if tensors:
            columns[name] = torch.from_numpy(columns[name])
        else:
            columns[name].flags.writeable = False
    made = SpikeSplit(**columns | {"n_channels": n_channels})
    for mine, theirs in zip(
        made.collate([2, 0, 1]), SpikeSplit(**COLUMNS).collate([2, 0, 1]), strict=True
    ):
        assert mine.dtype == theirs.dtype
        assert torch.equal(mine, theirs)
    assert SpikeSplit.concatenate([made, made], "twice").collate([3]).spikes.sum() == 1


def test_parts_of_different_channels_are_not_joined() -> None:
    wide = SpikeSplit(**COLUMNS | {"n_channels": 5, "name": "wide"})
    with pytest.raises(UsageError, match="one number of channels, got train: 4, wide: 5"):
        SpikeSplit.concatenate([SpikeSplit(**COLUMNS), wide], "both")
    with pytest.raises(UsageError, match="got no parts"):
        SpikeSplit.concatenate([], "none")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"parts": []}, "expected at least 1 part, got none"),
        ({"parts": [np.zeros((2, 5, 3), np.float32)]}, "got float32 of shape [2, 5, 3]"),
        ({"parts": [PARTS["parts"][0], PARTS["parts"][1][:, :4]]}, "of shape [1, 4, 3] at place 1"),
        ({"scale": Scale(torch.zeros(4), torch.ones(4))}, "5 steps, 4 bands], got float16"),
        ({"places": np.array([0, 1])}, "places must be an array [n, 2], got int64 of shape [2]"),
        ({"places": np.array([[0, 1], [2, 0]])}, "places[:, 0] must be 0 to 1, got 2"),
        ({"places": np.array([[0, 1], [1, 1]])}, "places[:, 1] must be rows of their part, 1 in"),
        ({"places": np.array([[0, -1], [1, 0]])}, "places[:, 1] must be 0 to 2147483647, got -1"),
        ({"labels": int64(0, -1)}, "labels must be 0 to"),
        ({"labels": int64(0)}, "labels must be 2 numbers, got 1"),
        ({"name": None}, "name must be text"),
    ],
)
def test_parts_of_a_feature_split(changed: dict[str, Any], expected: str) -> None:
    message = refused(FeatureSplit, PARTS, **changed)
    assert message.startswith("FeatureSplit")
    assert expected in message


@pytest.mark.parametrize(
    ("make", "settings", "changed", "expected"),
    [
        (SparseBatch, SPARSE, {"shape": (1, 2)}, "shape must be (T, N, C, …), got (1, 2)"),
        (SparseBatch, SPARSE, {"shape": (1, 3, 4)}, "labels must be a tensor of 3 whole numbers"),
        (SparseBatch, SPARSE, {"counts": int64(1)}, "counts must be a tensor of 2 whole numbers"),
        (SparseBatch, SPARSE, {"cells": torch.zeros(2)}, "cells must be a tensor of whole numbers"),
        (SparseBatch, SPARSE, {"lengths": torch.ones(2)}, "lengths must be a tensor of 2 whole"),
        (Batch, BATCH, {"spikes": torch.zeros(2, 4)}, "be a dense tensor [T, N, C, …], got fl"),
        (Batch, BATCH, {"spikes": torch.ones(1, 2, 4).to_sparse()}, "got sparse float32 of shape"),
        (Batch, BATCH, {"labels": int64(1, 2, 3)}, "labels must be a tensor of 2 whole numbers"),
        (Batch, BATCH, {"speakers": [0, 0]}, "speakers must be a tensor of 2 whole numbers"),
        (FeatureBatch, FEATURES, {"labels": int64(1)}, "labels must be a tensor of 2"),
        (FeatureBatch, FEATURES, {"features": torch.zeros(2, 5)}, "must be a tensor [N, T, bands]"),
        (Scale, SCALE, {"mean": [0.0]}, "mean must be"),
        (Scale, SCALE, {"inverse": torch.ones(2)}, "of"),
        (data, {}, {"class_names": ("a",)}, "train must be 0 to 0 (1 class_names), got 1"),
        (data, {}, {"class_names": "ab"}, "class_names must be a tuple of str, got 'ab'"),
        (data, {}, {"class_names": ("a", "b", "a")}, "class_names must differ, got ['a']"),
        (data, {}, {"valid": [1, 2]}, "valid must be a Split, got [1, 2]"),
        (data, {}, {"dt_ms": 0}, "dt_ms must be a number of ms > 0, got 0"),
        (data, {}, {"test": SpikeSplit(**COLUMNS | {"n_channels": 5})}, "got 5 channels in test"),
        (Events, EVENTS, {"times": np.array([0.0, 0.5, -0.2])}, "of shape [3] from -0.2 s"),
        (Events, EVENTS, {"times": np.array([0.0, 0.5, np.nan])}, "finite numbers >= 0, got"),
        (Events, EVENTS, {"times": np.array([0, 5, 2])}, "times must be seconds, a float array"),
        (Events, EVENTS, {"units": np.array([0, 4, 3])}, "must be 0 to 3 (n_units = 4), got 4"),
        (Events, EVENTS, {"offsets": np.array([0, 1, 2])}, "offsets must go from 0 to the number"),
        (Events, EVENTS, {"labels": np.array([0, -2])}, "labels must be 0 to"),
        (Grid, {"dt_ms": 1, "pool": 1}, {"dt_ms": "10"}, "dt_ms must be a number of ms > 0, got"),
        (Grid, {"dt_ms": 1, "pool": 1}, {"pool": True}, "pool must be a whole number of units"),
        (SyntheticTask, {}, {"dt_ms": None}, "dt_ms must be a number of ms > 0, got None"),
        (SyntheticTask, {}, {"n_classes": True}, "n_classes must be a whole number >= 2, got True"),
        (Encoder, {"name": "none", "threshold": 1}, {"threshold": "much"}, "got 'much'"),
    ],
)  # fmt: skip
def test_all_else_that_is_made_by_hand(
    make: Any, settings: dict[str, Any], changed: dict[str, Any], expected: str
) -> None:
    assert expected in refused(make, settings, **changed)


def test_numbers_of_numpy_and_torch_are_taken() -> None:
    three, half = np.int64(3), torch.tensor(0.5)
    assert Grid(np.float32(10), three) == Grid(10.0, 3, None)
    assert Grid(10, torch.tensor(3), np.int16(70)) == Grid(10.0, 3, 70.0)
    assert Augmentation(speed=half, time_mask=three) == Augmentation(speed=0.5, time_mask=3)
    assert SyntheticTask(n_classes=three, jitter=half) == SyntheticTask(n_classes=3, jitter=0.5)
    assert Encoder("delta", half) == Encoder("delta", 0.5)
    front_end = LogMel(8000, three, 256, 80, 256, np.float64(50), 4000)
    assert dataclasses.astuple(front_end)[:7] == (8000, 3, 256, 80, 256, 50.0, 4000.0)
