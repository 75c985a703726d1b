"""Numbers of any library are taken; what is none is refused in one line."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from drawn_networks import delay_snn

from snn_delays.arguments import choice, real_number, shown, whole_number
from snn_delays.errors import UsageError
from snn_delays.neurons import LIFNode, ParametricLIFNode
from snn_delays.schedules import Exponential, Step


@pytest.mark.parametrize("value", ["layer", np.str_("layer"), None, False])
def test_a_choice_is_what_it_was(value: Any) -> None:
    assert choice("Layer: scale", value, ("layer", None, False)) is value


@pytest.mark.parametrize("value", ["row", 0, True, "null", ["layer"]])
def test_what_is_no_choice_is_refused_with_those_there_are(value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        choice("Layer: scale", value, ("layer", None, False))
    said = "Layer: scale must be one of layer, null, false, got"
    assert str(caught.value) == f"{said} {shown(value)}."


@pytest.mark.parametrize(
    "value",
    [5, np.int64(5), np.uint8(5), np.array(5), torch.tensor(5), torch.tensor(5, dtype=torch.uint8)],
)
def test_whole_numbers_of_any_library_become_ints(value: Any) -> None:
    number = whole_number("Layer: size", value, 1, 5)
    assert (number, type(number)) == (5, int)
    assert type(real_number("Layer: size", value, 0)) is float


@pytest.mark.parametrize(
    "value", [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5)]
)
def test_floats_of_any_library_become_floats(value: Any) -> None:
    number = real_number("Layer: sigma", value, 0.5, below=0.6)
    assert (number, type(number)) == (0.5, float)


@pytest.mark.parametrize(
    "value",
    [
        True,
        np.bool_(True),
        torch.tensor(True),
        3.0,
        np.float64(3.0),
        torch.tensor(3.0),
        "3",
        np.str_("3"),
        3j,
        None,
        np.array([3]),
        torch.tensor([3]),
        torch.tensor(3, device="meta"),
        2,
        np.int64(2),
        math.nan,
    ],
)
def test_what_is_no_whole_number_in_range_is_refused(value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        whole_number("Layer: size", value, 3, unit="steps", advice="Use more.")
    assert (
        str(caught.value)
        == f"Layer: size must be a whole number of steps >= 3, got {shown(value)}. Use more."
    )


@pytest.mark.parametrize(
    "value",
    [
        *(True, np.bool_(True), "0.5", None, math.nan, torch.tensor(math.nan)),
        *(np.array([0.5]), torch.rand(1), 1j, np.complex64(1), 0, 1, np.float32(-0.5)),
    ],
)
def test_what_is_no_number_in_range_is_refused(value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        real_number("Layer: share", value, above=0, below=1)
    assert str(caught.value) == f"Layer: share must be a number > 0 and < 1, got {shown(value)}."


@pytest.mark.parametrize("value", [math.inf, -math.inf, 10**400, np.float32("inf")])
def test_what_is_not_finite_is_refused_without_bounds_too(value: Any) -> None:
    with pytest.raises(UsageError, match=r"^Layer: gain must be a number, got "):
        real_number("Layer: gain", value)


def test_the_message_is_one_short_line_whatever_was_given() -> None:
    with pytest.raises(UsageError) as caught:
        whole_number("Layer: size", np.arange(300.0).reshape(100, 3), 0, 9)
    said = str(caught.value)
    assert said.startswith("Layer: size must be a whole number from 0 to 9, got array([[")
    assert "\n" not in said
    assert len(said) < 150


NODES: dict[str, Any] = {"LIFNode": LIFNode, "ParametricLIFNode": ParametricLIFNode}
NUMBERS = {
    "numpy": (np.int64, np.float32),
    "0-d arrays": (np.array, np.array),
    "0-d tensors": (torch.tensor, torch.tensor),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_of_numpy_and_torch_make_the_network_that_pythons_make(kind: str) -> None:
    whole, real = NUMBERS[kind]
    nets = []
    for count, number in ((int, float), (whole, real)):
        torch.manual_seed(0)
        nets.append(
            delay_snn(
                [count(3), count(5), count(2)],
                max_delay=count(4),
                tau=number(2.5),
                v_threshold=number(0.5),
                v_reset=number(-0.25),
                surrogate_alpha=number(2.0),
                dropout=number(0.25),
                kernel_count=count(2),
                sigma=number(1.5),
                tail=count(3),
            )
        )
    x = torch.rand(6, 2, 3)
    assert repr(nets[0]) == repr(nets[1])
    torch.manual_seed(1)
    expected = nets[0](x)
    torch.manual_seed(1)
    assert torch.equal(nets[1](x), expected)
    steps = Step(start=real(8.0), end=real(0.5), until=real(0.5), steps=whole(2))
    assert steps.epochs(8) == Step(start=8.0, end=0.5, until=0.5, steps=2).epochs(8)
    published = Exponential(start=real(12.0), offset=real(0.25))
    assert published.epochs(whole(8)) == Exponential(start=12.0, offset=0.25).epochs(8)
    for name in ("LIFNode: tau", "ParametricLIFNode: tau"):
        with pytest.raises(UsageError, match=f"{name} must be above 1 step, got"):
            NODES[name.split(":")[0]](real(0.5))
    for node in NODES.values():
        settings = {"v_threshold": 0.5, "v_reset": -0.25, "step_mode": "m"}
        theirs = {**settings, "v_threshold": real(0.5), "v_reset": real(-0.25)}
        assert torch.equal(node(real(2.5), **theirs)(x), node(2.5, **settings)(x))
        assert repr(node(whole(2), v_threshold=1)) == repr(node(2.0))
    with pytest.raises(UsageError, match="Exponential: epochs must be a whole number >= 0"):
        published.epochs(8.0)
    with pytest.raises(UsageError, match="Step: steps must be a whole number >= 1"):
        Step(start=8.0, steps=True)
