"""A table that makes no sense cannot be built."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn_tables import random_table

from snn_delays.errors import UsageError

TABLE = random_table(0, (3, 4, 2))
HIDDEN, LAST = TABLE.layers


def test_weights_are_currents() -> None:
    integers = random_table(0, (3, 4, 2), weight_type="int8").layers[0]
    np.testing.assert_allclose(integers.current_weight, integers.synapses.weight * 0.0123)
    np.testing.assert_array_equal(HIDDEN.current_weight, HIDDEN.synapses.weight, strict=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dt_ms": 0.0}, "dt_ms must be"),
        ({"dt_ms": float("nan")}, "dt_ms must be"),
        ({"tail_steps": -1}, "tail_steps must be >= 0"),
        ({"readout": "last"}, "readout must be one of"),
        ({"class_names": ("a",)}, "class_names must name the 2 neurons"),
        ({"input_channels": 5}, "layer 0 must have n_pre = 5"),
        ({"layers": ()}, "at least one layer"),
        ({"layers": (HIDDEN,)}, "must have LI or IntLI neurons"),
        ({"layers": (LAST, HIDDEN)}, "must lead from 'input' to 0"),
        ({"layers": (HIDDEN, replace(LAST, source=1))}, "recurrent groups need a later version"),
    ],
)
def test_network_must_fit_together(change: dict[str, Any], message: str) -> None:
    _assert_refused(TABLE, change, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_pre": 0}, "n_pre must be >= 1"),
        ({"n_pre": 2}, "pre must be within 0 … 1"),
        ({"max_delay": 1}, "delay must be within 0 … 1"),
        ({"min_delay": 7}, "0 <= min_delay <= max_delay"),
        ({"min_delay": 5}, "delay must be within 5 … 6"),
        ({"bias": np.zeros(3, np.float32)}, "bias must be a vector of float32 of length 4"),
        ({"bias": np.zeros(4)}, "bias must be a vector of float32"),
        ({"bias": np.full(4, np.nan, np.float32)}, "bias must be finite, got 4 of 4"),
        ({"weight_scale": 0.5}, "weight_scale of float weights must be 1"),
        ({"weight_scale": float("inf")}, "weight_scale must be finite"),
        ({"neuron": LAST.neuron}, "beta must be a vector of float32 of length 4"),
    ],
)
def test_layer_must_fit_together(change: dict[str, Any], message: str) -> None:
    _assert_refused(HIDDEN, change, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "Izhikevich"}, "neuron model must be one of LIF, LI"),
        ({"reset": "none"}, "reset of LIF neurons must be one of hard, soft"),
        ({"reset": "soft"}, "v_reset must be 0"),
        ({"beta": np.full(4, 1.5, np.float32)}, "beta must be within 0 … 1"),
        ({"beta": np.full(4, np.nan, np.float32)}, "beta must be within 0 … 1"),
        ({"v_threshold": np.full(4, np.inf, np.float32)}, "v_threshold must be finite"),
        ({"v_reset": np.zeros(5, np.float32)}, "v_reset must be a vector of float32 of length 4"),
    ],
)
def test_neurons_must_be_known(change: dict[str, Any], message: str) -> None:
    _assert_refused(HIDDEN.neuron, change, message)


def test_readout_neurons_never_spike() -> None:
    _assert_refused(LAST.neuron, {"v_threshold": np.ones(2, np.float32)}, "must be [+]inf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pre": np.zeros(1, np.int32)}, "post must be a vector of int32 of length 1"),
        ({"delay": HIDDEN.synapses.delay.astype(np.int64)}, "delay must be a vector of int32"),
        ({"weight": HIDDEN.synapses.weight.astype(np.float64)}, "float32 or int8 or int16"),
        ({"weight": HIDDEN.synapses.weight * np.float32(np.inf)}, "weight must be finite"),
    ],
)
def test_synapses_must_be_rows(change: dict[str, Any], message: str) -> None:
    _assert_refused(HIDDEN.synapses, change, message)


def _assert_refused(valid: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        replace(valid, **change)
    assert "\n" not in str(refused.value)
