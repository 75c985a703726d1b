"""Where a cache lies, and that one that cannot be written costs a line and nothing else."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from cache_checks import FOLDER, assert_same, entries

from snn_delays.data import load_shd
from snn_delays.data.cache import cache_folders
from snn_delays.errors import UsageError

pytestmark = pytest.mark.usefixtures("no_other_cache")


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
