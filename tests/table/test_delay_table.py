"""A table that makes no sense cannot be built."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn_tables import random_table

from snn_delays.errors import UsageError
from snn_delays.table.models import MODELS
from snn_delays.table.table import DelayTable

TABLE = random_table(0, (3, 4, 2))
WHOLE = random_table(0, (3, 4, 2), weight_type="int8", integer=True)
HIDDEN, LAST = TABLE.populations
FIRST, SECOND = TABLE.projections
# From the hidden neurons to themselves.
LOOP = replace(
    SECOND, target="hidden0", delay=np.maximum(SECOND.delay, 1), min_delay=1, name="loop"
)


def test_weights_are_currents() -> None:
    integers = random_table(0, (3, 4, 2), weight_type="int8").projections[0]
    np.testing.assert_allclose(integers.current_weight, integers.weight * 0.0123)
    np.testing.assert_array_equal(FIRST.current_weight, FIRST.weight, strict=True)


def test_projections_are_kept_in_one_order() -> None:
    skip = replace(FIRST, target="readout", post=FIRST.post % 2, name="")
    copy = replace(FIRST, name="a_copy")
    table = replace(TABLE, projections=(LOOP, skip, SECOND, FIRST, copy))
    assert [one.name for one in table.projections] == [
        *("a_copy", "input_to_hidden0", "loop", "input_to_readout", "hidden0_to_readout"),
    ]
    assert [table.leads_back(one) for one in table.projections] == [
        False,
        False,
        True,
        *2 * [False],
    ]
    assert table.recurrent
    assert not TABLE.recurrent
    assert [one.name for one in table.into("readout")] == ["input_to_readout", "hidden0_to_readout"]
    assert table.synapses == sum(len(one) for one in table.projections)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dt_ms": 0.0}, "dt_ms must be"),
        ({"dt_ms": float("nan")}, "dt_ms must be"),
        ({"tail_steps": -1}, "tail_steps must be a whole number of steps >= 0"),
        ({"readout": "last"}, "readout must be one of"),
        ({"readout": "spike_count"}, "readout spike_count does not go with the LI neurons of"),
        ({"class_names": ("a",)}, "class_names must name the 2 neurons"),
        ({"input_channels": 0}, "input_channels must be a whole number >= 1"),
        ({"input_channels": 2}, "projection input_to_hidden0: pre must be within 0 … 1"),
        ({"populations": ()}, "at least one population"),
        ({"populations": (HIDDEN,)}, "leads from or to 'readout'; there is hidden0"),
        ({"populations": (HIDDEN, HIDDEN)}, "populations must have different names"),
        ({"populations": (LAST, HIDDEN), "readout": "spike_count", "class_names": tuple("abcd")},
         "delays must be >= 1 step"),
        ({"populations": (replace(LAST, name="other"), HIDDEN, LAST)}, "is not the last, but"),
        ({"projections": (FIRST, FIRST)}, "projections must have different names"),
        ({"projections": (FIRST, replace(SECOND, source="eye"))}, "leads from or to 'eye'"),
        ({"projections": (FIRST, replace(SECOND, target="input"))}, "leads from or to 'input'"),
        ({"projections": (replace(FIRST, source="readout", pre=0 * FIRST.pre),)},
         "readout has LI neurons, which never spike"),
        ({"projections": (replace(LOOP, min_delay=0),)}, "from hidden0 back to hidden0 delay"),
    ],
)  # fmt: skip
def test_network_must_fit_together(change: dict[str, Any], message: str) -> None:
    _assert_refused(TABLE, change, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_delay": 1}, "delay must be within 0 … 1"),
        ({"min_delay": 7}, "max_delay must be a whole number of steps >= 7"),
        ({"min_delay": 5}, "delay must be within 5 … 6"),
        ({"weight_scale": 0.5}, "weight_scale of float weights must be 1"),
        ({"weight_scale": float("inf")}, "weight_scale must be a number > 0"),
        ({"pre": np.zeros(1, np.int32)}, "post must be a vector of int32 of length 1"),
        ({"delay": FIRST.delay.astype(np.int64)}, "delay must be a vector of int32"),
        ({"weight": FIRST.weight.astype(np.float64)}, "float32 or int8 or int16"),
        ({"weight": FIRST.weight * np.float32(np.inf)}, "weight must be finite"),
        ({"name": "a/b"}, "its name must be letters, digits and _"),
    ],
)
def test_synapses_must_be_rows(change: dict[str, Any], message: str) -> None:
    _assert_refused(FIRST, change, f"projection {change.get('name', FIRST.name)}: .*{message}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bias": np.zeros(3, np.float32)}, "beta must be a vector of float32 of length 3"),
        ({"bias": np.zeros(4)}, "bias must be a vector of float32"),
        ({"bias": np.full(4, np.nan, np.float32)}, "bias must be finite, got 4 of 4"),
        ({"model": MODELS["LI"]}, "LI neurons have the parameters beta; got beta, v_threshold"),
        ({"scalars": {}}, "LIF neurons have the scalars reset; got none"),
        ({"scalars": {"reset": "none"}}, "reset of LIF neurons must be one of hard, soft"),
        ({"scalars": {"reset": "soft"}}, "v_reset must be 0"),
        ({"beta": np.full(4, 1.5, np.float32)}, "beta must be within 0 … 1"),
        ({"beta": np.full(4, np.nan, np.float32)}, "beta must be finite"),
        ({"v_threshold": np.full(4, np.inf, np.float32)}, "v_threshold must be finite"),
        ({"v_reset": np.zeros(5, np.float32)}, "v_reset must be a vector of float32 of length 4"),
    ],
)
def test_neurons_must_be_known(change: dict[str, Any], message: str) -> None:
    own = {name: change[name] for name in change if name in ("bias", "model", "scalars")}
    parameters = {name: change.get(name, HIDDEN.parameters[name]) for name in HIDDEN.parameters}
    _assert_refused(HIDDEN, {**own, "parameters": parameters}, f"population hidden0: {message}")


def test_whole_numbers_need_integer_weights_of_one_scale() -> None:
    first, second = WHOLE.projections
    floats = replace(second, weight=second.weight.astype(np.float32), weight_scale=1.0)
    _assert_refused(WHOLE, {"projections": (first, floats)}, "readout: IntLI neurons need integer")
    other = replace(second, weight_scale=0.5, name="other")
    _assert_refused(
        *(WHOLE, {"projections": (first, second, other)}),
        "projections to IntLI neurons must have one weight_scale, got 0.0123, 0.5",
    )


def test_a_change_says_where_it_failed() -> None:
    def shorter(one: Any) -> Any:
        return replace(one, max_delay=1)

    with pytest.raises(UsageError, match="projection input_to_hidden0: delay must be within 0 … 1"):
        TABLE.map(projection=shorter)
    same = TABLE.map()
    assert isinstance(same, DelayTable)
    assert same.projections == TABLE.projections


def _assert_refused(valid: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        replace(valid, **change)
    assert "\n" not in str(refused.value)


def test_names_of_classes_are_several_texts() -> None:
    given: list[Any] = [["a", "b"], np.array(["a", "b"]), {"a": 0, "b": 1}.keys()]
    for named in given:
        found = replace(TABLE, class_names=named).class_names
        assert found == ("a", "b")
        assert [type(one) for one in found] == [str, str]
    for wrong in ("ab", (0, 1), None):
        with pytest.raises(UsageError, match="class_names must be names, such as"):
            replace(TABLE, class_names=wrong)  # pyright: ignore[reportArgumentType]
