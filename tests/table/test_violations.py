"""What a chip cannot take is said with counts; what fits raises nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn_tables import random_table

from snn_delays.deploy.adapt import adapt_delays
from snn_delays.errors import UsageError
from snn_delays.table.chips import CHIPS, ChipProfile, load_chip
from snn_delays.table.chips.violations import not_simulated, violations
from snn_delays.table.population import Population
from snn_delays.table.schema import arrays_of
from snn_delays.table.table import DelayTable

GENERIC = load_chip("generic")
FIRST = "projection input_to_hidden0"


def profile(**sections: dict[str, Any]) -> ChipProfile:
    """The generic profile with some limits replaced."""
    changed = {name: replace(getattr(GENERIC, name), **new) for name, new in sections.items()}
    return replace(GENERIC, **changed)


def only(table: DelayTable, chip: ChipProfile, **options: Any) -> list[str]:
    """The lines that the changed limits add to those of the generic profile."""
    known = violations(table, GENERIC)
    lines = violations(table, chip, **options)
    assert all("\n" not in line for line in lines)
    return [line for line in lines if line not in known]


def loihi_table() -> DelayTable:
    """Whole numbers as Loihi has them: beta of 12 bits, thresholds 64 · k + 1."""
    table = random_table(0, (5, 4, 3), max_delay=62, weight_type="int8", integer=True)
    shifts: dict[str, Any] = {"beta_shift": 12, "weight_shift": 6, "beta": 3687}
    hidden = {"v_threshold": 64 * 500 + 1, "v_reset": 0, "reset": "hard"}
    populations = [
        Population.of(one.name, one.model.name, one.size, bias=one.bias * 128, **shifts, **more)
        for one, more in zip(table.populations, (hidden, {}), strict=True)
    ]
    return replace(table, populations=tuple(populations))


def with_projection(table: DelayTable, **fields: Any) -> DelayTable:
    """The first one changed."""
    first = table.projections[0].name
    return table.map(projection=lambda one: replace(one, **fields) if one.name == first else one)


def with_population(table: DelayTable, **values: Any) -> DelayTable:
    """Constants of the first one changed."""
    first, *others = table.populations
    known = {"bias": first.bias, **first.parameters, **first.scalars}
    changed = Population.of(first.name, first.model.name, first.size, **known | values)
    return replace(table, populations=(changed, *others))


def test_a_fitting_table_has_no_violation():
    table = loihi_table()
    for name in ("loihi1", "loihi2", "generic"):
        assert violations(table, load_chip(name)) == []
    floating = random_table(1, (5, 4, 3), min_delay=1)
    assert violations(floating, load_chip("nest"), largest_count=3) == []


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("options", [{}, {"weight_type": "int16"}, {"density": 0.0}])
def test_any_profile_reads_any_table(name: str, options: dict[str, Any]):
    for line in violations(random_table(2, (5, 4, 3), **options), load_chip(name)):
        assert "\n" not in line


def test_delays_out_of_range():
    table = random_table(3, (5, 4, 3), max_delay=6, weight_type="int8", integer=True)
    lines = only(table, profile(delay={"min": 1, "max": 4}))
    for one, line in zip(table.projections, lines, strict=True):
        bad = int(np.sum((one.delay < 1) | (one.delay > 4)))
        expected = f"projection {one.name}: {bad} of {len(one)} delays are outside"
        assert line.startswith(expected)
        assert "1 … 4 steps" in line


def test_axons_with_several_delays():
    table = random_table(4, (5, 4, 3), max_delay=6, weight_type="int8", integer=True)
    lines = only(table, profile(delay={"granularity": "axon"}))
    rows = table.projections[0]
    mixed = sum(len(set(rows.delay[rows.pre == n])) > 1 for n in range(5))
    assert lines[0].startswith(f"input: {mixed} of 5 axons")
    none = only(table, profile(delay={"granularity": "none"}))
    assert f"{np.count_nonzero(rows.delay)} of {len(rows)} synapses" in none[0]


def test_a_limit_on_one_side():
    table = random_table(5, (8, 4, 3), weight_type="int8", integer=True, density=1.0)
    weight = table.projections[0].weight
    lines = only(table, profile(weights={"low": None, "high": 20}))
    outside = int(np.sum(weight > 20))
    assert lines[0].startswith(
        f"projection input_to_hidden0: {outside} of 32 weights are outside -inf … 20"
    )


def test_what_is_not_simulated():
    table = random_table(5, (8, 4, 3))
    assert not_simulated(table, load_chip("nest")) == []
    for one in (table, random_table(5, (8, 4, 3), weight_type="int8", integer=True)):
        (line,) = not_simulated(one, load_chip("spinnaker2"))
        assert line.startswith("v: ")
        assert line.endswith(" in the simulation, unknown on the chip")


def test_weights():
    table = random_table(5, (8, 4, 3), weight_type="int8", integer=True, density=1.0)
    weight = table.projections[0].weight
    lines = only(table, profile(weights={"bits": 5, "low": -15, "high": 15}))
    outside = int(np.sum(np.abs(weight.astype(int)) > 15))
    assert lines[0].startswith(
        f"projection input_to_hidden0: {outside} of 32 weights are outside -15 … 15"
    )
    floating = random_table(5, (8, 4, 3))
    count = len(floating.projections[0])
    assert any(f"{count} weights are float32" in line for line in violations(floating, GENERIC))
    lines = only(table, profile(weights={"power_of_two": True}))
    assert "weight_scale is 0.0123" in lines[0]
    power = with_projection(table, weight_scale=2.0**-7)
    assert len(only(power, profile(weights={"power_of_two": True}))) == len(lines) - 1


def test_different_weights_per_neuron():
    table = random_table(6, (8, 4, 3), weight_type="int8", integer=True, density=1.0)
    rows = table.projections[0]
    weight = np.where(rows.post == 2, rows.pre, rows.pre % 4).astype(np.int8)
    table = with_projection(table, weight=weight)
    (line,) = [
        line
        for line in only(table, profile(weights={"distinct_per_neuron": 4}))
        if line.startswith("population hidden0")
    ]
    assert "1 of 4 neurons have more than 4 different weights (up to 8)" in line


def test_partners_are_counted_once_per_pair():
    table = random_table(7, (8, 4, 3), weight_type="int8", integer=True, density=1.0)
    rows = table.projections[0]
    twice = {name: np.tile(values, 2) for name, values in arrays_of(rows).items()}
    table = with_projection(table, **twice)
    assert only(table, profile(fan={"fan_in": 8, "fan_out": 4})) == []
    lines = only(table, profile(fan={"fan_in": 7, "fan_out": 3}))
    assert lines == [
        "input: 8 of 8 neurons reach more than 3 others (up to 4)",
        "population hidden0: 4 of 4 neurons are reached by more than 7 others (up to 8)",
    ]


def test_neurons():
    table = random_table(8, (5, 4, 3), weight_type="int8", integer=True, reset="soft")
    assert (
        "reset is soft; the chip's is hard" in only(table, profile(neuron={"resets": ("hard",)}))[0]
    )
    assert "IntLI" in only(table, profile(neuron={"models": ("LIF",)}))[0]
    lines = only(table, profile(neuron={"leak": "linear"}))
    assert "neurons have beta 0" in lines[0]
    assert "(share of v kept per step); the chip takes a constant away" in lines[0]
    assert len(lines) == 2
    hard = random_table(8, (5, 4, 3), weight_type="int8", integer=True)
    away = int(np.count_nonzero(hard.populations[0].parameters["v_reset"]))
    (line,) = only(hard, profile(neuron={"reset_to_zero": True}))
    assert f"{away} of 4 neurons are reset to another v than 0" in line


def test_the_input_and_the_step():
    table = random_table(9, (5, 4, 3), weight_type="int8", integer=True)
    binary = profile(neuron={"multiple_input_spikes": False})
    assert only(table, binary) == only(table, binary, largest_count=1) == []
    assert only(table, binary, largest_count=3)[0].startswith("input: up to 3 spikes")
    assert "2.5 times" in only(table, profile(neuron={"dt_ms": 1.0}))[0]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (64 * 500, "no multiple of 64 + 1"),
        (64 * 131071 + 1, None),
        (64 * 131072 + 1, "outside 0 … 8388544"),
        (0, "outside 0"),
        (1, None),
    ],
)
def test_thresholds_of_loihi(threshold: int, expected: str | None):
    table = with_population(loihi_table(), v_threshold=threshold)
    lines = [one for one in violations(table, load_chip("loihi1")) if "thresholds" in one]
    assert bool(lines) == (expected is not None)
    if expected:
        assert expected in lines[0]


@pytest.mark.parametrize(
    ("bias", "fits"),
    [
        (4095, True),
        (-4096, True),
        (4097, False),
        (4098, True),
        (4095 << 7, True),
        (4095 << 8, False),
    ],
)
def test_biases_of_loihi(bias: int, fits: bool):
    table = with_population(loihi_table(), bias=bias)
    lines = [one for one in violations(table, load_chip("loihi1")) if "biases" in one]
    assert bool(lines) != fits


def test_the_width_of_v_and_its_shifts():
    chip = load_chip("loihi1")
    table = with_population(loihi_table(), v_reset=1 << 23)
    assert any(
        "4 of 12 values of bias, v_threshold, v_reset do not fit the 24 bits" in line
        for line in violations(table, chip)
    )
    table = with_population(loihi_table(), beta_shift=13, weight_shift=8)
    assert violations(table, chip) == [
        "population hidden0: beta_shift is 13, the chip's is 12",
        "population hidden0: weight_shift is 8, the chip's is 6",
    ]
    assert any("floating point" in line for line in violations(random_table(0, (4, 3)), chip))


def test_unknown_limits_are_listed_and_not_checked():
    chip = load_chip("spinnaker2")
    assert "membrane.beta_shift" in chip.unknown
    assert load_chip("nest").unknown == ()
    assert not any("beta_shift" in line for line in violations(loihi_table(), chip))


def graph(**options: Any) -> DelayTable:
    """hidden0 → hidden1 and both to the readout; hidden0 has a loop; the input skips hidden0."""
    options = {"weight_type": "int8", "integer": True, "density": 1.0, **options}
    links = ((0, 1), (1, 1), (1, 2), (0, 2), (1, 3), (2, 3))
    return random_table(11, (5, 4, 3, 2), links=links, **options)


def test_partners_and_axons_are_those_of_all_projections():
    table = graph()
    lines = only(table, profile(fan={"fan_in": 8, "fan_out": 8}))
    assert lines == [  # 4 + 3 + 2 from hidden0; 5 + 4 into each neuron of hidden0 and hidden1
        "population hidden0: 4 of 4 neurons are reached by more than 8 others (up to 9)",
        "population hidden0: 4 of 4 neurons reach more than 8 others (up to 9)",
        "population hidden1: 3 of 3 neurons are reached by more than 8 others (up to 9)",
    ]
    delays = {one.name: index for index, one in enumerate(table.projections)}
    same = table.map(
        projection=lambda one: replace(one, delay=np.full_like(one.delay, delays[one.name]))
    )
    lines = only(same, profile(delay={"granularity": "axon"}))
    assert [line.partition(" axons")[0] for line in lines] == [
        "input: 5 of 5",
        "population hidden0: 4 of 4",
    ]


def test_a_loop_and_a_shortcut_fit_chips_that_know_no_such_limit():
    free = profile(membrane={"beta_shift": None, "weight_shift": None})
    assert violations(graph(), free) == []
    assert not_simulated(graph(), GENERIC) == []


def test_latency_matters_where_paths_meet():
    """Along a chain it only makes everything later."""
    chip = profile(delay={"transport": 2, "max": 7})
    chain = random_table(11, (5, 4, 3), weight_type="int8", integer=True)
    later = "latency: 2 more per projection, whatever the delays"
    assert not_simulated(chain, chip) == [later]
    assert only(chain, chip) == []
    table = graph()
    changes = {"hidden0_to_hidden0": "-2", "input_to_hidden1": "+2", "hidden0_to_readout": "+2"}
    assert not_simulated(table, chip) == [
        later,
        *(
            f"latency: {name} closes a loop or a shortcut, so its delays change by {by} on the chip"
            for name, by in changes.items()
        ),
    ]
    found = {one.name: one for one in table.projections}
    short = int(np.sum(found["hidden0_to_hidden0"].delay < 2))
    assert short > 0
    assert (
        f"projection hidden0_to_hidden0: {short} of 16 delays are outside 0 … 7 steps"
        in (violations(table, chip)[0])
    )
    assert ", -2 for latency)" in only(table, chip)[0]


def test_a_name_is_no_chip() -> None:
    name: Any = "loihi2"
    for check in (violations, adapt_delays):
        with pytest.raises(UsageError, match="must be a chip, as of load_chip, got 'loihi2'"):
            check(random_table(0, (3, 4, 2)), name)
