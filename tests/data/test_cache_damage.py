"""A cache that is damaged is made again; a source that is damaged says so as ever."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_checks import FOLDER, assert_same, entries

from snn_delays.data import load_shd
from snn_delays.errors import UsageError

pytestmark = pytest.mark.usefixtures("no_other_cache")


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
