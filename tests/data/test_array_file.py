"""A file of arrays: every byte is checked, and it appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snn_delays.data.cache import DamagedError, map_arrays, write_arrays
from snn_delays.errors import UsageError


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
