"""Merging rows that name one synapse: the same sums, each triple once."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_delays.table.projection import merged


@given(seed=st.integers(0, 2**31), rows=st.integers(0, 60))
@settings(max_examples=40, deadline=None)
def test_merging_keeps_every_sum(seed: int, rows: int):
    rng = np.random.default_rng(seed)
    pre, post, delay = (rng.integers(0, high, rows).astype(np.int32) for high in (4, 3, 5))
    weight = rng.integers(-2, 3, rows) / 4  # cancels often, and adds up exactly
    expected = np.zeros((4, 3, 5))
    np.add.at(expected, (pre, post, delay), weight)
    got = np.zeros_like(expected)
    table = merged(pre, post, delay, weight)
    pre, post, delay, weight = table.columns.values()
    got[pre, post, delay] = weight  # would lose a row named twice
    np.testing.assert_array_equal(got, expected)
    assert np.all(weight != 0)
    assert len(pre) == rows - table.joined - table.cancelled
    keys = list(zip(pre, post, delay, strict=True))
    assert keys == sorted(set(keys))


def test_sums_are_made_in_float64():
    weight = np.array([2.0**24, 1.0, 1.0], np.float32)  # in float32, 2²⁴ + 1 = 2²⁴
    zero = np.zeros(3, np.int32)
    assert merged(zero, zero, zero, weight).columns["weight"].tolist() == [2.0**24 + 2]
