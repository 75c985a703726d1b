"""Small files in SHD's format, whole ones and ones broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from snn_delays.data.events import binned

WriteFile = Callable[..., Path]


def _vlen(values: Sequence[Any], dtype: type) -> tuple[np.ndarray, np.dtype]:
    lists = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        lists[i] = np.asarray(value, dtype=dtype)
    return lists, h5py.vlen_dtype(dtype)


@pytest.fixture
def write_file(tmp_path: Path) -> WriteFile:
    """Writes lists of times (s) and units as one file; a part given as None is left out."""

    def write(
        times: Sequence[Any] | None = ([0.0, 0.011], [0.02]),
        units: Sequence[Any] | None = ([0, 699], [7]),
        labels: Any = (0, 1),
        speakers: Any = (0, 1),
        keys: Sequence[str] | None = ("null", "fünf"),
        *,
        name: str = "shd_train.h5",
        time_dtype: type = np.float16,
        unit_dtype: type = np.uint16,
    ) -> Path:
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            for key, values, dtype in (
                ("spikes/times", times, time_dtype),
                ("spikes/units", units, unit_dtype),
            ):
                if values is not None:
                    lists, kind = _vlen(values, dtype)
                    file.create_dataset(key, data=lists, dtype=kind)
            if labels is not None:
                file["labels"] = np.asarray(labels)
            if speakers is not None:
                file["extra/speaker"] = np.asarray(speakers)
            if keys is not None:
                file["extra/keys"] = np.array([key.encode() for key in keys])
        return path

    return write


@pytest.fixture
def shd_root(write_file: WriteFile) -> Path:
    """A folder with SHD's two files: 3 classes, speakers 0–3 to train, 0 and 4 to test."""
    rng = np.random.default_rng(0)
    for name, speakers, each in (("train", [0, 1, 2, 3], 10), ("test", [0, 4], 5)):
        labels, speaker, _ = np.meshgrid(range(3), speakers, range(each), indexing="ij")
        counts = rng.integers(1, 20, labels.size)
        path = write_file(
            [rng.uniform(0, 0.3, count) for count in counts],
            [rng.integers(0, 700, count) for count in counts],
            labels.ravel(),
            speaker.ravel(),
            ["zero", "one", "two"],
            name=f"shd_{name}.h5",
        )
    return path.parent


@pytest.fixture
def no_other_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches lie within the test's own folder."""
    monkeypatch.delenv("SNN_DELAYS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home-cache"))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read and binned, in this order."""
    names: list[str] = []

    def counted(source: Any, **settings: Any) -> Any:
        names.append(source.path.name)
        return read(source, **settings)

    read = binned.read_binned
    monkeypatch.setattr(binned, "read_binned", counted)
    return names


@pytest.fixture(scope="session")
def fsdd_root() -> Path:
    """Real speech in SHD's format, where it lies beside the checkout."""
    root = Path(__file__).parents[3] / "shared" / "data" / "fsdd_shd"
    if not root.is_dir():
        pytest.skip(f"no recordings in {root}")
    return root


@pytest.fixture(scope="session")
def gsc_mini() -> Path:
    """Some real recordings of Speech Commands, where they lie beside the checkout."""
    root = Path(__file__).parents[3] / "shared" / "data" / "gsc_mini"
    if not root.is_dir():
        pytest.skip(f"no recordings in {root}")
    return root
