"""An event camera's recordings: where events go, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.recfunctions import unstructured_to_structured

from snn_delays.data import load_events, recordings
from snn_delays.errors import UsageError

CAMERA = (2, 6, 9)


def drawn(n: int = 40, events: int = 30) -> tuple[list[np.ndarray], list[int]]:
    """Arrays with the fields t (µs), x, y, p, as event cameras' libraries give them."""
    rng = np.random.default_rng(0)
    kind = np.dtype([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "i1")])
    found = []
    for _ in range(n):
        polarities, height, width = CAMERA
        columns = [np.sort(rng.integers(0, 60_000, events)), rng.integers(0, width, events)]
        columns += [rng.integers(0, height, events), rng.integers(0, polarities, events)]
        found.append(unstructured_to_structured(np.stack(columns, 1), kind))
    return found, [i % 2 for i in range(n)]


def made(events: Any, labels: Any, **settings: Any) -> Any:
    about = {"frame": CAMERA, "dt_ms": 5.0, "time_unit": "us", "test": 0.25, "valid_fraction": 0.25}
    return recordings(events, labels, **{**about, **settings})


@pytest.mark.parametrize("pool", [1, 2, 4])
def test_every_event_is_where_its_pixel_is(pool: int) -> None:
    events, labels = drawn()
    data = made(events, labels, pool=pool)
    assert data.frame == (2, -(-6 // pool), -(-9 // pool))
    total = 0.0
    for split in (data.train, data.valid, data.test):
        batch = split.collate(range(len(split)))
        assert batch.spikes.shape[2:] == data.frame
        total += float(batch.spikes.sum())
    assert total == 40 * 30
    dense = np.zeros((40, 12, *CAMERA), np.float32)
    for n, one in enumerate(events):
        np.add.at(dense[n], (one["t"] // 5000, one["p"], one["y"], one["x"]), 1)
    whole = {dense_sum(x, pool).tobytes() for x in dense}
    for split in (data.train, data.valid, data.test):
        for n in range(len(split)):
            spikes = split.collate([n]).spikes[:, 0].numpy()
            padded = np.zeros((12, *data.frame), np.float32)
            padded[: len(spikes)] = spikes
            assert padded.tobytes() in whole


def dense_sum(x: np.ndarray, pool: int) -> np.ndarray:
    """Counts of pool × pool pixels."""
    for axis in (2, 3):
        x = np.add.reduceat(x, np.arange(0, x.shape[axis], pool), axis=axis)
    return x.astype(np.float32)


def test_all_forms_mean_the_same() -> None:
    events, labels = drawn()
    wanted = made(events, labels)
    signed = [(one["t"], one["x"], one["y"], 2 * one["p"] - 1) for one in events]
    mappings = [{name: one[name] for name in "txyp"} for one in events]
    dense = np.zeros((40, 12, *CAMERA), np.int64)
    for n, one in enumerate(events):
        np.add.at(dense[n], (one["t"] // 5000, one["p"], one["y"], one["x"]), 1)
    for found in (
        made(signed, labels),
        made(mappings, labels),
        made(list(zip(events, labels, strict=True)), None),
        made(dense, labels, time_unit=None),
    ):
        for mine, other in ((found.train, wanted.train), (found.test, wanted.test)):
            both = mine.collate(range(len(mine))), other.collate(range(len(other)))
            assert (both[0].spikes == both[1].spikes).all()
            assert (both[0].labels == both[1].labels).all()


def test_one_polarity_asks_for_none() -> None:
    events, labels = drawn()
    data = made([one[["t", "x", "y"]] for one in events], labels, frame=(1, 6, 9))
    assert data.frame == (1, 6, 9)
    assert float(data.train.collate(range(len(data.train))).spikes.sum()) == 30 * len(data.train)


@pytest.mark.parametrize("apart", [True, False])
def test_a_folder_of_files(tmp_path: Path, apart: bool) -> None:
    events, labels = drawn()
    for n, (one, label) in enumerate(zip(events, labels, strict=True)):
        part = ("test" if n >= 30 else "train") if apart else "."
        folder = tmp_path / part / f"class {label}"
        folder.mkdir(parents=True, exist_ok=True)
        if n % 3:
            np.save(folder / f"{n:02}.npy", one)
        else:
            np.savez(folder / f"{n:02}.npz", **{name: one[name] for name in "txyp"})
    data = load_events(tmp_path, frame=CAMERA, dt_ms=5.0, valid_fraction=0.2, test=0.25)
    assert data.class_names == ("class 0", "class 1")
    assert len(data.test) == 10
    assert len(data.train) + len(data.valid) == 30


@pytest.mark.parametrize(
    ("change", "settings", "said"),
    [
        ({"x": 9}, {}, "recordings: recording 0: x must be whole numbers from 0 to 8, got "),
        ({"y": -1}, {}, "recordings: recording 0: y must be whole numbers from 0 to 5, got "),
        ({"p": 2}, {}, "recordings: recording 0: p must be 0 or 1, or −1 or 1, got ["),
        ({}, {"frame": (2, 6)}, "recordings: frame must be (polarities, H, W), such as"),
        (
            {},
            {"frame": (3, 6, 9)},
            "recordings: frame: polarities must be a whole number from",
        ),
        ({}, {"n_units": 108}, "recordings: give n_units or frame, got both."),
        ({}, {"frame": None}, "recordings: n_units must be a whole number >= 1, got None."),
        ({}, {"pool": 0}, "recordings: pool must be a whole number of pixels >= 1, got 0."),
    ],
)
def test_what_is_no_event(change: dict[str, int], settings: dict[str, Any], said: str) -> None:
    events, labels = drawn()
    for name, value in change.items():
        events[0][name][0] = value
    with pytest.raises(UsageError) as caught:
        made(events, labels, **settings)
    assert str(caught.value).startswith(said)


def test_what_is_no_recording() -> None:
    events, labels = drawn()
    with pytest.raises(UsageError, match="recording 0 must have the fields t, x, y, p, got t"):
        made([one[["t", "x", "y"]] for one in events], labels)
    with pytest.raises(UsageError, match="recording 0 must be an array with the fields t"):
        made([(one["t"], one["x"]) for one in events], labels)
    with pytest.raises(
        UsageError, match="recording 0: t, x, y and p must be as long as each other"
    ):
        made([(one["t"], one["x"][1:], one["y"], one["p"]) for one in events], labels)
    with pytest.raises(UsageError, match=r"must have the frame \[2, 6, 9\], got \[40, 12, 2, 6, 8"):
        made(np.zeros((40, 12, 2, 6, 8)), labels, time_unit=None)


def test_folders_that_hold_none(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"frame": CAMERA, "dt_ms": 5.0}
    with pytest.raises(UsageError, match="is no folder. Give the one with a folder per class."):
        load_events(tmp_path / "none", **settings)
    with pytest.raises(UsageError, match="must have files CLASS/NAME.npy or .npz, got none."):
        load_events(tmp_path, **settings)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.npy").write_bytes(b"none")
    with pytest.raises(UsageError, match="1.npy cannot be read: "):
        load_events(tmp_path, **settings)
