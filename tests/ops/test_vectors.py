"""Vectors at the ends of rows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from snn_delays.loops.loop import loop
from snn_delays.ops.vectors import LANES, load, load_left, load_two, store, store_left


@loop
def _copy_left(to: NDArray, source: NDArray, left: int) -> None:
    store(to, 0, load_left(source, 0, left))


@loop
def _write_left(to: NDArray, source: NDArray, left: int) -> None:
    store_left(to, 0, left, load(source, 0))


@loop
def _write_two_left(to: NDArray, source: NDArray, left: int) -> None:
    store_left(to, 0, left, load_two(source, 0))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("left", [-3, 0, 1, LANES - 1, LANES, LANES + 1, 2 * LANES, 3 * LANES])
def test_only_what_is_left_of_a_row_is_read_and_written(left: int, kind: type) -> None:
    source, nothing = np.arange(1, 2 * LANES + 1, dtype=kind), np.full(2 * LANES, -1, kind)
    there = max(0, left)
    read, one, two = nothing.copy(), nothing.copy(), nothing.copy()
    _copy_left(read, source, left)
    expected = np.where(np.arange(LANES) < there, source[:LANES], 0)
    assert read[:LANES].tolist() == expected.tolist()
    _write_left(one, source, left)
    written = min(there, LANES)
    assert one.tolist() == [*source[:written], *nothing[written:]]
    _write_two_left(two, source, left)
    written = min(there, 2 * LANES)
    assert two.tolist() == [*source[:written], *nothing[written:]]
