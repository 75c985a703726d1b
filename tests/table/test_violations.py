"""What a chip cannot take is said with counts; what fits raises nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn_tables import random_table

from snn_delays.deploy.adapt import adapt_delays
from snn_delays.table.chips import CHIPS, ChipProfile, load_chip
from snn_delays.table.chips.violations import not_simulated, unknowns, violations
from snn_delays.table.table import NEVER, DelayTable, IntegerNeuronTable

GENERIC = load_chip("generic")


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
    """Whole numbers as Loihi has them: decay of 12 bits, thresholds 64 · k + 1."""
    table = random_table(0, (5, 4, 3), max_delay=62, weight_type="int8", integer=True)
    layers = []
    for layer in table.layers:
        last = layer is table.layers[-1]
        neuron = IntegerNeuronTable(
            model="IntLI" if last else "IntLIF",
            reset="none" if last else "hard",
            decay=np.full(layer.n_post, 3687, np.int32),
            v_threshold=np.full(layer.n_post, NEVER if last else 64 * 500 + 1, np.int32),
            v_reset=np.zeros(layer.n_post, np.int32),
            decay_shift=12,
            weight_shift=6,
        )
        layers.append(replace(layer, neuron=neuron, bias=(layer.bias * 128).astype(np.int32)))
    return replace(table, layers=tuple(layers))


def with_layer(table: DelayTable, **fields: Any) -> DelayTable:
    return replace(table, layers=(replace(table.layers[0], **fields), *table.layers[1:]))


def with_neuron(table: DelayTable, **fields: Any) -> DelayTable:
    return with_layer(table, neuron=replace(table.layers[0].neuron, **fields))


def test_a_fitting_table_has_no_violation():
    table = loihi_table()
    for name in ("loihi1", "loihi2", "generic"):
        assert violations(table, load_chip(name)) == []
    floating = adapt_delays(random_table(1, (5, 4, 3)), load_chip("nest")).table
    assert violations(floating, load_chip("nest"), largest_count=3) == []


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("options", [{}, {"weight_type": "int16"}, {"density": 0.0}])
def test_any_profile_reads_any_table(name: str, options: dict[str, Any]):
    for line in violations(random_table(2, (5, 4, 3), **options), load_chip(name)):
        assert "\n" not in line


def test_delays_out_of_range():
    table = random_table(3, (5, 4, 3), max_delay=6, weight_type="int8", integer=True)
    lines = only(table, profile(delay={"min": 1, "max": 4}))
    for layer, line in zip(table.layers, lines, strict=True):
        delay = layer.synapses.delay
        bad = int(np.sum((delay < 1) | (delay > 4)))
        assert line.startswith(f"layer {layer.target}: {bad} of {delay.size} delays are outside")
        assert "1 … 4 steps" in line


def test_axons_with_several_delays():
    table = random_table(4, (5, 4, 3), max_delay=6, weight_type="int8", integer=True)
    lines = only(table, profile(delay={"granularity": "axon"}))
    rows = table.layers[0].synapses
    mixed = sum(len(set(rows.delay[rows.pre == n])) > 1 for n in range(5))
    assert f"layer 0: {mixed} of 5 axons" in lines[0]
    none = only(table, profile(delay={"granularity": "none"}))
    assert f"{np.count_nonzero(rows.delay)} of {len(rows)} synapses" in none[0]


def test_a_limit_on_one_side():
    table = random_table(5, (8, 4, 3), weight_type="int8", integer=True, density=1.0)
    weight = table.layers[0].synapses.weight
    lines = only(table, profile(weights={"low": None, "high": 20}))
    outside = int(np.sum(weight > 20))
    assert lines[0].startswith(f"layer 0: {outside} of 32 weights are outside -inf … 20")


def test_what_is_not_simulated():
    table = random_table(5, (8, 4, 3))
    assert not_simulated(table, load_chip("nest")) == []
    for one in (table, random_table(5, (8, 4, 3), weight_type="int8", integer=True)):
        (line,) = not_simulated(one, load_chip("spinnaker2"))
        assert line.startswith("v: ")
        assert line.endswith(" in the simulation, unknown on the chip")


def test_weights():
    table = random_table(5, (8, 4, 3), weight_type="int8", integer=True, density=1.0)
    weight = table.layers[0].synapses.weight
    lines = only(table, profile(weights={"bits": 5, "low": -15, "high": 15}))
    outside = int(np.sum(np.abs(weight.astype(int)) > 15))
    assert lines[0].startswith(f"layer 0: {outside} of 32 weights are outside -15 … 15")
    floating = random_table(5, (8, 4, 3))
    count = len(floating.layers[0].synapses)
    assert any(f"{count} weights are float32" in line for line in violations(floating, GENERIC))
    lines = only(table, profile(weights={"power_of_two": True}))
    assert "weight_scale is 0.0123" in lines[0]
    power = with_layer(table, weight_scale=2.0**-7)
    assert len(only(power, profile(weights={"power_of_two": True}))) == len(lines) - 1


def test_different_weights_per_neuron():
    table = random_table(6, (8, 4, 3), weight_type="int8", integer=True, density=1.0)
    rows = table.layers[0].synapses
    weight = np.where(rows.post == 2, rows.pre, rows.pre % 4).astype(np.int8)
    table = with_layer(table, synapses=replace(rows, weight=weight))
    (line,) = [
        line
        for line in only(table, profile(weights={"distinct_per_neuron": 4}))
        if line.startswith("layer 0")
    ]
    assert "1 of 4 neurons have more than 4 different weights (up to 8)" in line


def test_partners_are_counted_once_per_pair():
    table = random_table(7, (8, 4, 3), weight_type="int8", integer=True, density=1.0)
    rows = table.layers[0].synapses
    twice = {name: np.concatenate([getattr(rows, name)] * 2) for name in vars(rows)}
    table = with_layer(table, synapses=type(rows)(**twice))
    assert only(table, profile(fan={"fan_in": 8, "fan_out": 4})) == []
    lines = only(table, profile(fan={"fan_in": 7, "fan_out": 3}))
    assert lines == [
        "layer 0: 4 of 4 neurons are reached by more than 7 others (up to 8)",
        "layer 0: 8 of 8 neurons reach more than 3 others (up to 4)",
    ]


def test_neurons():
    table = random_table(8, (5, 4, 3), weight_type="int8", integer=True, reset="soft")
    assert (
        "reset is soft; the chip's is hard" in only(table, profile(neuron={"resets": ("hard",)}))[0]
    )
    assert "IntLI" in only(table, profile(neuron={"models": ("LIF",)}))[0]
    assert "keep a share of v" in only(table, profile(neuron={"leak": "linear"}))[0]
    hard = random_table(8, (5, 4, 3), weight_type="int8", integer=True)
    away = int(np.count_nonzero(hard.layers[0].neuron.v_reset))
    (line,) = only(hard, profile(neuron={"reset_to_zero": True}))
    assert f"{away} of 4 neurons are reset to another v than 0" in line


def test_the_input_and_the_step():
    table = random_table(9, (5, 4, 3), weight_type="int8", integer=True)
    binary = profile(neuron={"multiple_input_spikes": False})
    assert only(table, binary) == only(table, binary, largest_count=1) == []
    assert only(table, binary, largest_count=3)[0].startswith("input: up to 3 spikes")
    assert "10 times" in only(table, profile(neuron={"dt_ms": 1.0}))[0]


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
    table = with_neuron(loihi_table(), v_threshold=np.full(4, threshold, np.int32))
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
    table = with_layer(loihi_table(), bias=np.full(4, bias, np.int32))
    lines = [one for one in violations(table, load_chip("loihi1")) if "biases" in one]
    assert bool(lines) != fits


def test_the_width_of_v_and_its_shifts():
    chip = load_chip("loihi1")
    table = with_neuron(loihi_table(), v_reset=np.full(4, 1 << 23, np.int32))
    assert any("4 of bias, v_reset and v_threshold" in line for line in violations(table, chip))
    table = with_neuron(loihi_table(), decay_shift=13, weight_shift=8)
    assert violations(table, chip) == [
        "layer 0: decay_shift is 13, the chip's is 12",
        "layer 0: weight_shift is 8, the chip's is 6",
    ]
    assert any("floating point" in line for line in violations(random_table(0, (4, 3)), chip))


def test_unknown_limits_are_listed_and_not_checked():
    chip = load_chip("spinnaker2")
    assert "membrane.decay_shift" in unknowns(chip)
    assert unknowns(load_chip("nest")) == []
    assert not any("decay_shift" in line for line in violations(loihi_table(), chip))
