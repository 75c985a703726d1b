"""Damaged files, by the hundred: no hang, and nothing but one line of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from damage import damaged, read_all
from hypothesis import given, settings
from hypothesis import strategies as st

LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": (16,), "maxshape": (None,)},
    "compressed": {"chunks": (16,), "compression": "gzip", "shuffle": True},
}


def write(path: Path, layout: str) -> Path:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 60, 40)
    with h5py.File(path, "w") as file:
        for name, dtype, high in (("times", np.float16, 1), ("units", np.uint16, 700)):
            kind = h5py.vlen_dtype(dtype)
            lists = file.create_dataset(f"spikes/{name}", (40,), dtype=kind, **LAYOUTS[layout])
            for i, count in enumerate(counts):
                lists[i] = (high * rng.random(count)).astype(dtype)
        file["labels"] = np.arange(40) % 5
        file["extra/speaker"] = np.arange(40) % 3
        file["extra/keys"] = np.array([b"a", b"b", b"c", b"d", b"e"])
        file["extra/meta_info/gender"] = np.array([b"female", b"male", b"male"])
    return path


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("damage")
    return {layout: write(folder / f"{layout}.h5", layout).read_bytes() for layout in LAYOUTS}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_whole_files_of_every_layout_are_read(tmp_path: Path, layout: str) -> None:
    assert read_all(write(tmp_path / "whole.h5", layout)) == ""


# In this process: what ends it would be a finding. Who is stuck is ended by damage.py itself.
@settings(max_examples=510, deadline=None)
@given(layout=st.sampled_from(sorted(LAYOUTS)), seed=st.integers(0, 2**32))
def test_damage_is_never_anything_but_one_line(
    wholes: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, layout: str, seed: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.h5"
    path.write_bytes(damaged(wholes[layout], seed))
    read_all(path)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_thousands_of_damaged_files(wholes: dict[str, bytes], tmp_path: Path, layout: str) -> None:
    outcomes = []
    for seed in range(2000):
        path = tmp_path / "damaged.h5"
        path.write_bytes(damaged(wholes[layout], seed))
        outcomes.append(read_all(path))
    assert 0 < sum(bool(outcome) for outcome in outcomes) < len(outcomes)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_truncated_at_a_hundred_places(
    wholes: dict[str, bytes], tmp_path: Path, layout: str
) -> None:
    path = tmp_path / "truncated.h5"
    whole = wholes[layout]
    for place in np.random.default_rng(1).choice(len(whole), 100, replace=False).tolist():
        path.write_bytes(whole[:place])
        assert read_all(path), place


@pytest.mark.parametrize("layout", LAYOUTS)
def test_zeros_in_place_of_a_list_do_not_hang(
    wholes: dict[str, bytes], tmp_path: Path, layout: str
) -> None:
    # Where HDF5 2.0.0 alone goes round for ever.
    whole = wholes[layout]
    first = whole.index(b"GCOL") + 16
    path = tmp_path / "zeros.h5"
    path.write_bytes(whole[:first] + bytes(64) + whole[first + 64 :])
    assert "is damaged: expected whole lists in spikes/" in read_all(path)
