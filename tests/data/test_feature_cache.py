"""Features are computed once, and a cache changes nothing but time whatever happens to it."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_speech import tone, write_speech, write_wav

from snn_delays.data.gsc import features as feature_cache
from snn_delays.data.gsc.clips import find_clips
from snn_delays.data.gsc.features import Features, read_features
from snn_delays.data.gsc.log_mel import LogMel

FRONT_END = LogMel(16_000, 12, 400, 160, 512, 20.0, 8000.0)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """24 recordings of 3 words, in parts of 3."""
    monkeypatch.setattr(feature_cache, "CLIPS_PER_PART", 3)
    return write_speech(tmp_path / "speech")


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first recording of every part that was computed."""
    names: list[str] = []

    def counted(root: Path, clips: Any, front_end: LogMel) -> Any:
        names.append(clips[0].name)
        return compute(root, clips, front_end)

    compute = feature_cache.compute_part
    monkeypatch.setattr(feature_cache, "compute_part", counted)
    return names


def load(root: Path, *folders: Path, front_end: LogMel = FRONT_END) -> Features:
    clips = [clip for of_word in find_clips(root).values() for clip in of_word]
    return read_features(root, clips, front_end, folders)


def rows(features: Features) -> np.ndarray:
    return np.stack([features.parts[part][row] for part, row in features.places])


def assert_same(one: Features, other: Features) -> None:
    np.testing.assert_array_equal(rows(one), rows(other))
    np.testing.assert_array_equal(one.sums, other.sums)
    np.testing.assert_array_equal(one.squares, other.squares)
    assert one.bad == other.bad


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.features"))


def test_the_second_time_nothing_is_computed(
    root: Path, tmp_path: Path, computed: list[str]
) -> None:
    plain = load(root)
    assert len(computed) == 9
    first = load(root, tmp_path / "cache")
    assert len(computed) == 18
    second = load(root, tmp_path / "cache")
    assert len(computed) == 18
    assert len(files(tmp_path / "cache")) == 9
    assert_same(plain, first)
    assert_same(plain, second)
    assert rows(plain).shape == (24, 101, 12)
    exact = rows(plain).astype(np.float64)
    np.testing.assert_allclose(plain.sums, exact.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(plain.squares, (exact**2).sum(axis=1), rtol=1e-5)


def test_a_recording_costs_its_part_and_a_setting_costs_all(
    root: Path, tmp_path: Path, computed: list[str]
) -> None:
    before = load(root, tmp_path / "cache")
    changed = sorted((root / "no").iterdir())[4]
    write_wav(changed, tone(3000, seconds=0.9))
    computed.clear()
    after = load(root, tmp_path / "cache")
    assert computed == ["no/000000a3_nohash_1.wav"]
    assert_same(after, load(root))
    assert (rows(after) != rows(before)).any(axis=(1, 2)).sum() == 1
    computed.clear()
    load(root, tmp_path / "cache", front_end=LogMel(16_000, 12, 400, 160, 512, 40.0, 8000.0))
    assert len(computed) == 9


def test_a_change_under_the_same_size_is_noticed_by_its_time(root: Path, tmp_path: Path) -> None:
    before = load(root, tmp_path / "cache")
    path = root / "yes" / "000000a1_nohash_0.wav"
    size = path.stat().st_size
    write_wav(path, tone(3000))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert path.stat().st_size == size
    assert not np.array_equal(rows(load(root, tmp_path / "cache")), rows(before))


@pytest.mark.parametrize("how", ["truncated", "flipped", "empty", "other", "swapped"])
def test_what_is_damaged_is_made_again(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, computed: list[str], how: str
) -> None:
    cache = tmp_path / "cache"
    whole = load(root, cache)
    path, another = files(cache)[3:5]
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(8 if how in ("truncated", "flipped") else 1):
        place = int(rng.integers(len(content)))
        path.unlink()  # a new file: what is mapped stays as it was
        path.write_bytes(
            {
                "truncated": content[:place],
                "flipped": content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :],
                "empty": b"",
                "other": b"something else",
                "swapped": another.read_bytes(),
            }[how]
        )
        computed.clear()
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="snn_delays"):
            assert_same(load(root, cache), whole)
        (line,) = caplog.messages
        assert line.startswith(f"GSC: the cache {path} ")
        assert line.endswith("Making it again.")
        assert len(computed) == 1
        assert path.read_bytes() == content


def test_a_build_that_was_killed_goes_on(root: Path, tmp_path: Path, computed: list[str]) -> None:
    """Killed as nothing can be caught, with some parts done and one begun."""
    cache = tmp_path / "cache"
    script = textwrap.dedent(
        f"""
        import os, time
        from pathlib import Path
        from snn_delays.data.gsc import features as feature_cache
        from snn_delays.data.gsc.clips import find_clips
        from snn_delays.data.gsc.log_mel import LogMel
        feature_cache.CLIPS_PER_PART = 3
        keep, done = feature_cache.keep_part, []
        def slow(cache, entry, part):
            if len(done) == 4:  # as if the disk were slow, with a part half written
                path = cache.folders[0] / entry.file_name
                path.with_name(f".{{path.name}}.half.tmp").write_bytes(b"half")
                print("half", flush=True)
                time.sleep(60)
            done.append(keep(cache, entry, part))
        feature_cache.keep_part = slow
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        clips = [c for of in find_clips(Path({str(root)!r})).values() for c in of]
        front_end = LogMel(16_000, 12, 400, 160, 512, 20.0, 8000.0)
        feature_cache.read_features(Path({str(root)!r}), clips, front_end, [Path({str(cache)!r})])
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=300)
    assert len(files(cache)) == 4
    assert_same(load(root, cache), load(root))
    assert len(computed) == 5 + 9  # what was missing, then all of it without a cache
    assert len(files(cache)) == 9


def _load_and_save(root: str, cache: str, to: str, barrier: Any) -> None:
    feature_cache.CLIPS_PER_PART = 3
    barrier.wait(timeout=300)
    np.save(to, rows(load(Path(root), Path(cache))))


def test_two_processes_at_once(root: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    saved = [str(tmp_path / f"{number}.npy") for number in range(2)]
    both = [
        context.Process(target=_load_and_save, args=(str(root), str(tmp_path / "c"), to, barrier))
        for to in saved
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(timeout=300)
        assert process.exitcode == 0
    expected = rows(load(root))
    for to in saved:
        np.testing.assert_array_equal(np.load(to), expected)
    assert len(files(tmp_path / "c")) == 9
    assert not list((tmp_path / "c").rglob("*.tmp"))


def test_a_file_that_changes_while_it_is_read_is_not_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = feature_cache.compute_part

    def disturbed(where: Path, clips: Any, front_end: LogMel) -> Any:
        part = compute(where, clips, front_end)
        os.utime(where / clips[0].name, ns=(0, time.time_ns()))
        return part

    monkeypatch.setattr(feature_cache, "compute_part", disturbed)
    assert len(rows(load(root, tmp_path / "cache"))) == 24
    assert not files(tmp_path / "cache")


def test_a_full_disk_costs_the_cache_and_one_line(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = load(root)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("snn_delays.files.atomic.os.fsync", full)
    with caplog.at_level(logging.WARNING, logger="snn_delays"):
        assert_same(load(root, tmp_path / "cache"), plain)
    (line,) = caplog.messages
    assert "going on without a cache" in line
    assert "No space left on device" in line
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_where_the_first_folder_is_read_only_the_second_serves(root: Path, tmp_path: Path) -> None:
    locked, free = tmp_path / "locked", tmp_path / "free"
    locked.mkdir()
    locked.chmod(0o555)
    try:
        load(root, locked, free)
    finally:
        locked.chmod(0o755)
    assert not files(locked)
    assert len(files(free)) == 9
    shutil.copytree(free, locked, dirs_exist_ok=True)
    assert_same(load(root, locked), load(root, free))


def test_bad_files_are_remembered(root: Path, tmp_path: Path, computed: list[str]) -> None:
    (root / "bed" / "000000a2_nohash_0.wav").write_bytes(b"")
    (root / "yes" / "000000a7_nohash_0.wav").write_bytes(b"<html>")
    first = load(root, tmp_path / "cache")
    computed.clear()
    second = load(root, tmp_path / "cache")
    assert not computed
    assert_same(first, second)
    assert sorted(first.bad) == [2, 23]
    assert "0 bytes" in first.bad[2]
    assert "is not audio" in first.bad[23]
    assert not rows(first)[[2, 23]].any()
    assert rows(first)[3].any()
