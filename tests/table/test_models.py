"""Every neuron model's description agrees with its step, and the steps with their equations."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.errors import UsageError
from snn_delays.table.models import MODELS, NAMES, model_named
from snn_delays.table.models.model import kept
from snn_delays.table.population import Population


@pytest.mark.parametrize("name", MODELS)
def test_a_step_takes_what_the_description_names(name: str) -> None:
    model = MODELS[name]
    described = [
        *model.state,
        "current",
        *(one.name for one in model.parameters),
        *(one.name for one in model.scalars),
    ]
    assert list(inspect.signature(model.step).parameters) == described
    starts = set(model.state.values()) - {None}
    assert starts <= {one.name for one in model.parameters}
    assert next(iter(model.state)) == "v"
    assert model.equation
    assert model.text


def test_every_listed_name_brings_a_model() -> None:
    families = {model.family.lower() for model in MODELS.values()}
    assert families == set(NAMES)
    with pytest.raises(UsageError, match="model must be one of .*LIF.*; got 'Lif'"):
        model_named("Lif")


def test_lif_steps() -> None:
    step = MODELS["LIF"].step
    # (1 + 0.5 · (2 − 1)) + 0.25, below the threshold
    assert step(2.0, 0.25, 0.5, 3.0, 1.0, 0) == (1.75, False)
    assert step(2.0, 1.5, 0.5, 3.0, 1.0, 0) == (1.0, True)  # at it, back to v_reset
    assert step(2.0, 2.5, 0.5, 3.0, 0.0, 1) == (0.5, True)  # soft: 3.5 − 3
    assert MODELS["LI"].step(2.0, 0.25, 0.5) == (1.25, False)


@given(
    v=st.integers(-(2**53) + 1, 2**53 - 1),
    shift=st.integers(0, 24),
    share=st.floats(0, 1),
)
def test_a_whole_leak_drops_the_fraction_towards_zero(v: int, shift: int, share: float) -> None:
    beta = round(share * 2**shift)
    exact = (abs(v) * beta) >> shift  # in Python's own integers
    assert kept(float(v), float(beta), float(shift)) == (exact if v >= 0 else -exact)


def test_what_a_population_must_be() -> None:
    good = {"beta": 0.5, "v_threshold": 1.0, "v_reset": 0.0, "reset": "hard"}
    population = Population.of("hidden0", "LIF", 3, bias=0.5, **good)
    assert population.size == 3
    assert population.bias.dtype == np.float32
    bad = {
        "beta must be within 0 … 1": {"beta": 1.5},
        "beta must be finite": {"beta": np.nan},
        "v_threshold must be finite": {"v_threshold": np.inf},
        "reset of LIF neurons must be one of hard, soft, got 'none'": {"reset": "none"},
        "v_reset must be 0 when reset is 'soft'": {"reset": "soft", "v_reset": 0.5},
        "LIF neurons have the parameters beta, v_threshold, v_reset; got .*tau": {"tau": 1.0},
    }
    for message, change in bad.items():
        with pytest.raises(UsageError, match=f"population hidden0: {message}"):
            Population.of("hidden0", "LIF", 3, **{**good, **change})
    with pytest.raises(UsageError, match="must be letters, digits and _"):
        Population.of("hidden/0", "LIF", 3, **good)
    with pytest.raises(UsageError, match="at least 1 neuron"):
        Population.of("hidden0", "LIF", 0, **good)
    with pytest.raises(UsageError, match="beta must be within 0 … 64, got 1 … 65"):
        Population.of("one", "IntLI", 2, beta=[1, 65], beta_shift=6, weight_shift=2)


def test_float_values_are_in_the_networks_own_unit() -> None:
    whole = Population.of(
        *("one", "IntLIF", 1),
        **{"beta": 48, "v_threshold": 20, "v_reset": 4, "reset": "hard", "bias": 8},
        **{"beta_shift": 6, "weight_shift": 2},
    )
    bias, values = whole.float_values(0.25)
    assert (bias.item(), values["beta"].item()) == (2.0, 0.75)
    assert (values["v_threshold"].item(), values["v_reset"].item()) == (5.0, 1.0)
