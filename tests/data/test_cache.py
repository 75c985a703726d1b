"""A cache changes how long loading takes, and nothing else whatever happens to it."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from snn_delays.data import SpikeData, SpikeSplit, load_shd, load_ssc
from snn_delays.data.events import binned_cache as cache_module
from snn_delays.data.files.array_file import DamagedError, map_arrays, write_arrays
from snn_delays.data.files.cache_folder import cache_folders
from snn_delays.errors import UsageError

FOLDER = ".snn_delays_cache"


@pytest.fixture(autouse=True)
def _nothing_leaves_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SNN_DELAYS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home-cache"))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read and binned, in this order."""
    names: list[str] = []

    def counted(source: Any, **settings: Any) -> Any:
        names.append(source.path.name)
        return read(source, **settings)

    read = cache_module.read_binned
    monkeypatch.setattr(cache_module, "read_binned", counted)
    return names


def assert_same_split(one: SpikeSplit, other: SpikeSplit) -> None:
    for name in ("steps", "channels", "counts", "offsets", "labels", "speakers", "lengths"):
        mine, yours = getattr(one, name), getattr(other, name)
        assert mine.dtype == yours.dtype, name
        assert torch.equal(mine, yours), name
    assert (one.name, one.n_channels, len(one)) == (other.name, other.n_channels, len(other))
    order = np.random.default_rng(0).permutation(len(one))
    for mine, yours in zip(one.collate(order), other.collate(order), strict=True):
        assert torch.equal(mine, yours)


def assert_same(one: SpikeData, other: SpikeData) -> None:
    for name in ("train", "valid", "test"):
        assert_same_split(getattr(one, name), getattr(other, name))
    for name in ("class_names", "n_channels", "dt_ms", "split", "invalid_events"):
        assert getattr(one, name) == getattr(other, name)


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.events"))


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
    monkeypatch.setattr("snn_delays.data.heidelberg.official.N_UNITS", 800)
    assert load_shd(shd_root).n_channels == 160
    monkeypatch.setattr(cache_module, "_VERSION", cache_module._VERSION + 1)
    load_shd(shd_root)
    assert len(reads) == 6


@pytest.mark.parametrize("remembers", [False, True])
def test_other_content_is_noticed_under_the_same_size_and_time(
    shd_root: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch, remembers: bool
) -> None:
    if remembers:  # files are not new enough for a second change to hide in the same tick
        monkeypatch.setattr("snn_delays.data.files.source_hash._TICK_NS", 0)
    path = shd_root / "shd_test.h5"
    before = load_shd(shd_root)
    assert bool(list((shd_root / FOLDER).glob("*.json"))) == remembers
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
    monkeypatch.setattr("snn_delays.data.files.source_hash._TICK_NS", 0)
    data = load_shd(shd_root)
    notes = list((shd_root / FOLDER).glob("*.json"))
    hashed: list[Path] = []
    sha256 = cache_module.source_hash.sha256
    monkeypatch.setattr(
        "snn_delays.data.files.source_hash.sha256", lambda path: hashed.append(path) or sha256(path)
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


def damaged(content: bytes, rng: np.random.Generator, how: str) -> bytes:
    place = int(rng.integers(len(content)))
    if how == "truncated":
        return content[:place]
    if how == "flipped":
        return (
            content[:place]
            + bytes([content[place] ^ (1 << rng.integers(8))])
            + content[place + 1 :]
        )
    if how == "longer":
        return content + b"\0"
    if how == "zeroed":  # what a crash of the machine may leave: the length, but no bytes
        return content[:place] + bytes(len(content) - place)
    return {
        "empty": b"",
        "other": b"something else",
        "version": content.replace(b"format 1", b"format 0"),
    }[how]


@pytest.mark.parametrize(
    "how", ["truncated", "flipped", "longer", "zeroed", "empty", "other", "version"]
)
def test_what_is_damaged_is_made_again(
    shd_root: Path, caplog: pytest.LogCaptureFixture, reads: list[str], how: str
) -> None:
    data = load_shd(shd_root)
    _, path = entries(shd_root / FOLDER)
    assert path.name.startswith("shd_train")
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(10 if how in ("truncated", "flipped") else 1):
        path.write_bytes(damaged(whole, rng, how))
        reads.clear()
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="snn_delays"):
            again = load_shd(shd_root)
        assert_same(again, data)
        (line,) = caplog.messages
        assert line.startswith(f"SHD: the cache {path} ")
        assert line.endswith(". Making it again.")
        assert "\n" not in line
        assert reads == ["shd_train.h5"]
        assert path.read_bytes() == whole


def test_every_single_byte_counts(tmp_path: Path) -> None:
    path = tmp_path / "small"
    write_arrays(path, {"of": "what"}, {"a": np.arange(9, dtype=np.int16), "b": np.zeros(0)})
    about, arrays = map_arrays(path)
    assert about == {"of": "what"}
    np.testing.assert_array_equal(arrays["a"], np.arange(9))
    assert (arrays["b"].dtype, len(arrays["b"])) == (np.float64, 0)
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        path.write_bytes(whole[:place])
        with pytest.raises(DamagedError):
            map_arrays(path)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DamagedError):
            map_arrays(path)


def test_an_entry_under_the_name_of_another_is_not_believed(
    shd_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = load_shd(shd_root)
    test, train = entries(shd_root / FOLDER)
    shutil.copy(test, train)
    assert_same(load_shd(shd_root), data)
    assert "belongs to another file or to other settings. Making it again." in caplog.text
    caplog.clear()
    assert_same(load_shd(shd_root), data)
    assert not caplog.records


def test_writing_to_what_is_mapped_leaves_the_file_alone(shd_root: Path) -> None:
    load_shd(shd_root)
    mapped = load_shd(shd_root, split="paper")
    before = [path.read_bytes() for path in entries(shd_root / FOLDER)]
    mapped.train.steps.fill_(0)
    mapped.test.labels.fill_(0)
    assert [path.read_bytes() for path in entries(shd_root / FOLDER)] == before


def test_who_has_mapped_an_entry_keeps_it_when_it_goes(shd_root: Path) -> None:
    load_shd(shd_root)
    mapped, plain = load_shd(shd_root), load_shd(shd_root, cache=False)
    shutil.rmtree(shd_root / FOLDER)
    load_shd(shd_root)
    assert_same(mapped, plain)


def _load_at(barrier: Any, root: Path, results: Any) -> None:
    barrier.wait(timeout=60)
    data = load_shd(root, split="paper")
    batch = data.train.collate(range(len(data.train)))
    results.put((batch.spikes.double().sum().item(), batch.labels.tolist()))


def test_two_processes_may_prepare_at_once(shd_root: Path) -> None:
    plain = load_shd(shd_root, split="paper", cache=False)
    # Spawned, since a forked child of a process with threads may hang. This process is the other.
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    other = context.Process(target=_load_at, args=(barrier, shd_root, results), daemon=True)
    other.start()
    try:
        barrier.wait(timeout=60)
        assert_same(load_shd(shd_root, split="paper"), plain)
        found = results.get(timeout=60)
        other.join(timeout=60)
        assert other.exitcode == 0
    finally:
        other.kill()
    batch = plain.train.collate(range(len(plain.train)))
    assert found == (batch.spikes.double().sum().item(), batch.labels.tolist())
    assert len(entries(shd_root / FOLDER)) == 2
    assert not list((shd_root / FOLDER).glob(".*.tmp"))


def test_who_comes_second_leaves_the_entry_of_the_first_alone(
    shd_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = cache_module.read_binned
    written: list[int] = []

    def while_another_reads(source: Any, **settings: Any) -> Any:
        monkeypatch.setattr(cache_module, "read_binned", read)
        load_shd(shd_root)
        written.extend(path.stat().st_ino for path in entries(shd_root / FOLDER))
        return read(source, **settings)

    monkeypatch.setattr(cache_module, "read_binned", while_another_reads)
    load_shd(shd_root)
    assert [path.stat().st_ino for path in entries(shd_root / FOLDER)] == written != []


def test_a_folder_that_cannot_be_written_costs_one_line(
    shd_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = shd_root / "file"
    blocked.write_text("in the way")
    with caplog.at_level(logging.WARNING, logger="snn_delays"):
        data = load_shd(shd_root, cache=blocked)
    assert_same(data, load_shd(shd_root, cache=False))
    (line,) = caplog.messages
    assert line.startswith(f"SHD: going on without a cache: cannot write {blocked}")
    assert "SNN_DELAYS_CACHE" in line
    assert "\n" not in line
    assert blocked.read_text() == "in the way"


def test_beside_files_that_are_read_only_the_users_cache_takes_over(
    shd_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, reads: list[str]
) -> None:
    read_only = tmp_path / "read-only"
    read_only.mkdir()
    for name in ("train", "test"):
        (shd_root / f"shd_{name}.h5").rename(read_only / f"shd_{name}.h5")
    read_only.chmod(0o555)  # respected by root as well
    try:
        with caplog.at_level(logging.WARNING, logger="snn_delays"):
            first = load_shd(read_only)
            assert_same(load_shd(read_only), first)
    finally:
        read_only.chmod(0o755)
    assert not caplog.records
    assert len(reads) == 2
    assert not (read_only / FOLDER).exists()
    assert len(entries(tmp_path / "home-cache" / "snn_delays")) == 2


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.mkdir"])
def test_a_full_disk_costs_one_line_and_leaves_nothing_behind(
    shd_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    call: str,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    plain = load_shd(shd_root, cache=False)
    monkeypatch.setattr(call, full)
    with caplog.at_level(logging.WARNING, logger="snn_delays"):
        data = load_shd(shd_root)
    assert_same(data, plain)
    (line,) = caplog.messages
    assert "No space left on device" in line
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".h5"]


def test_a_disk_that_fills_up_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(UsageError, match="^cannot write "):
            write_arrays(tmp_path / "large", {}, {"a": np.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_a_source_that_is_damaged_or_missing_says_so_as_ever(
    shd_root: Path, write_file: Callable[..., Path]
) -> None:
    def refusal(**choice: Any) -> str:
        with pytest.raises(UsageError) as caught:
            load_shd(shd_root, **choice)
        return str(caught.value)

    path = shd_root / "shd_test.h5"
    load_shd(shd_root)
    path.write_bytes(path.read_bytes()[:1000])
    assert refusal() == refusal(cache=False)
    write_file([[], []], [[], []], name=path.name)
    assert refusal() == refusal(cache=False)
    path.unlink()
    assert refusal() == refusal(cache=False)
    assert len(entries(shd_root / FOLDER)) == 2  # of the whole files


def test_where_the_cache_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    default = [root / FOLDER, tmp_path / "home-cache" / "snn_delays"]
    assert cache_folders(root, None) == cache_folders(root, True) == default
    assert cache_folders(root, False) == []
    assert cache_folders(root, str(tmp_path)) == cache_folders(root, tmp_path) == [tmp_path]
    monkeypatch.setenv("SNN_DELAYS_CACHE", str(tmp_path / "named"))
    assert cache_folders(root, None) == [tmp_path / "named"]
    assert cache_folders(root, "mine") == [Path("mine")]
    assert cache_folders(root, False) == []
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folders(root, "~/mine") == [tmp_path / "mine"]
    monkeypatch.delenv("SNN_DELAYS_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folders(root, None)[1] == tmp_path / ".cache" / "snn_delays"


@pytest.mark.parametrize("choice", [3, 0, "", 1.5, ["a"]])
def test_a_cache_that_is_none_is_refused(shd_root: Path, choice: Any) -> None:
    with pytest.raises(UsageError, match="^cache must be a folder, true, false or null, got ") as e:
        load_shd(shd_root, cache=choice)
    assert "\n" not in str(e.value)
