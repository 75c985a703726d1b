"""A cache changes how long loading takes and nothing else: every change of input is noticed."""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cache_checks import FOLDER, assert_same, entries

from snn_delays.data import load_shd, load_ssc
from snn_delays.data.cache import sha256 as sha256_of
from snn_delays.data.events import binned as cache_module

pytestmark = pytest.mark.usefixtures("no_other_cache")


@pytest.mark.parametrize("split", ["speaker", "stratified", "paper"])
def test_a_hit_gives_what_reading_gives(shd_root: Path, reads: list[str], split: Any) -> None:
    plain = load_shd(shd_root, split=split, cache=False)
    assert not (shd_root / FOLDER).exists()
    reads.clear()
    made = load_shd(shd_root, split=split)
    assert reads == ["shd_train.h5", "shd_test.h5"]
    found = load_shd(shd_root, split=split)
    assert len(reads) == 2
    assert len(entries(shd_root / FOLDER)) == 2
    assert_same(made, plain)
    assert_same(found, plain)


def test_ssc_is_kept_as_well(shd_root: Path, reads: list[str]) -> None:
    for name in ("train", "valid", "test"):
        shutil.copy(shd_root / "shd_test.h5", shd_root / f"ssc_{name}.h5")
    assert_same(load_ssc(shd_root), load_ssc(shd_root))
    assert reads == ["ssc_train.h5", "ssc_valid.h5", "ssc_test.h5"]


def test_names_and_warnings_come_out_of_the_cache_too(
    shd_root: Path, caplog: pytest.LogCaptureFixture, reads: list[str]
) -> None:
    with h5py.File(shd_root / "shd_train.h5", "r+") as file:
        file["spikes/times"][0] = np.array([np.nan, 0.1], dtype=np.float16)
        file["spikes/units"][0] = np.array([1, 2], dtype=np.uint16)
    said = []
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="snn_delays"):
            data = load_shd(shd_root)
        said.append(caplog.messages)
        assert data.invalid_events == 1
        assert data.class_names == ("zero", "one", "two")
    assert said[0] == said[1] != []
    assert len(reads) == 2


@pytest.mark.parametrize("change", [{"dt_ms": 5.0}, {"pool": 10}, {"max_time_ms": 100.0}])
def test_every_setting_has_an_entry_of_its_own(
    shd_root: Path, reads: list[str], change: dict[str, Any]
) -> None:
    load_shd(shd_root)
    assert_same(load_shd(shd_root, **change), load_shd(shd_root, **change, cache=False))
    assert_same(load_shd(shd_root), load_shd(shd_root, cache=False))
    assert len(entries(shd_root / FOLDER)) == 4
    assert len(reads) == 4 + 4


def test_number_of_units_and_version_are_part_of_the_key(
    shd_root: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_shd(shd_root)
    assert load_shd(shd_root, n_units=800, pool=5).n_channels == 160
    monkeypatch.setattr(cache_module, "_VERSION", cache_module._VERSION + 1)
    load_shd(shd_root)
    assert len(reads) == 6


@pytest.mark.parametrize("remembers", [False, True])
def test_other_content_is_noticed_under_the_same_size_and_time(
    shd_root: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch, remembers: bool
) -> None:
    if remembers:  # files are not new enough for a second change to hide in the same tick
        monkeypatch.setattr("snn_delays.data.cache._TICK_NS", 0)
    path = shd_root / "shd_test.h5"
    before = load_shd(shd_root)
    assert bool(list((shd_root / FOLDER).glob("*.sha256"))) == remembers
    found = path.stat()
    time.sleep(0.05)
    with h5py.File(path, "r+") as file:
        file["labels"][0] = 2 - file["labels"][0]
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (found.st_size, found.st_mtime_ns)
    after = load_shd(shd_root)
    assert after.test.labels[0] == 2 - before.test.labels[0]
    assert reads == ["shd_train.h5", "shd_test.h5", "shd_test.h5"]


def test_a_remembered_file_is_not_hashed_again(
    shd_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snn_delays.data.cache._TICK_NS", 0)
    data = load_shd(shd_root)
    notes = list((shd_root / FOLDER).glob("*.sha256"))
    hashed: list[Path] = []
    sha256 = sha256_of
    monkeypatch.setattr(
        "snn_delays.data.cache.sha256", lambda path: hashed.append(path) or sha256(path)
    )
    assert_same(load_shd(shd_root), data)
    assert not hashed
    for note, content in zip(notes, (b"{", b'{"stamp": 3}'), strict=True):
        note.write_bytes(content)
    assert_same(load_shd(shd_root), data)
    assert len(hashed) == 2


def test_a_file_that_changes_while_it_is_read_is_not_kept(
    shd_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = cache_module.read_binned

    def slow(source: Any, **settings: Any) -> Any:
        os.utime(source.path, ns=(0, 0))
        return read(source, **settings)

    monkeypatch.setattr(cache_module, "read_binned", slow)
    load_shd(shd_root)
    assert not entries(shd_root / FOLDER)
