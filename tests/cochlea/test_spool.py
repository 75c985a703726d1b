"""The spool: nothing done twice, nothing half-written taken for whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snn_delays.cochlea.spool import Spool
from snn_delays.errors import UsageError

CLIPS = [(np.array([0.1, 0.25]), np.array([3, 699])), (np.zeros(0), np.zeros(0, np.int64)),
         (np.array([0.5]), np.array([7]))]  # fmt: skip


def fill(output: Path, plan: str = "plan") -> Path:
    with Spool(output, plan) as spool:
        for times, units in CLIPS[len(spool) :]:
            spool.append(times, units)
        return spool.folder


def test_what_is_kept_comes_back(tmp_path: Path):
    fill(tmp_path / "a.h5")
    with Spool(tmp_path / "a.h5", "plan") as spool:
        assert len(spool) == 3
        times, units, offsets = spool.read()
        np.testing.assert_array_equal(offsets, [0, 2, 2, 3])
        np.testing.assert_array_equal(units, [3, 699, 7])
        np.testing.assert_allclose(times, [0.1, 0.25, 0.5], rtol=1e-3)
        spool.remove()
    assert not list(tmp_path.iterdir())


def test_nothing_is_a_spool_too(tmp_path: Path):
    with Spool(tmp_path / "a.h5", "plan") as spool:
        times, units, offsets = spool.read()
        assert len(spool) == len(times) == len(units) == 0
        np.testing.assert_array_equal(offsets, [0])


def test_another_plan_starts_anew(tmp_path: Path):
    fill(tmp_path / "a.h5")
    with Spool(tmp_path / "a.h5", "other plan") as spool:
        assert len(spool) == 0
        assert len(spool.read()[0]) == 0


@pytest.mark.parametrize("name", ["times", "units", "clips"])
def test_a_crash_costs_what_it_left_half_written(tmp_path: Path, name: str):
    file = fill(tmp_path / "a.h5") / name
    whole = file.read_bytes()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        with Spool(tmp_path / "a.h5", "plan") as spool:
            assert len(spool) < 3
            for times, units in CLIPS[len(spool) :]:
                spool.append(times, units)
            np.testing.assert_array_equal(spool.read()[1], [3, 699, 7])
        assert file.read_bytes() == whole


def test_changed_bytes_are_noticed(tmp_path: Path):
    file = fill(tmp_path / "a.h5") / "units"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with Spool(tmp_path / "a.h5", "plan") as spool:
        assert len(spool) == 2


def test_one_process_at_a_time(tmp_path: Path):
    with (
        Spool(tmp_path / "a.h5", "plan"),
        pytest.raises(UsageError, match="is being written by another process"),
        Spool(tmp_path / "a.h5", "plan"),
    ):
        pass
    fill(tmp_path / "a.h5")


def test_a_folder_in_the_way_is_one_line(tmp_path: Path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match="cannot write .*file/.a.h5.unfinished"),
        Spool(tmp_path / "file/a.h5", "plan"),
    ):
        pass
