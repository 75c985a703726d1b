"""Chip profiles: what ships is whole and sourced, and a user's own is read or refused in a line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from snn_delays.errors import UsageError
from snn_delays.table.chips.profile import CHIPS, FOLDER, load_chip

SECTIONS = ("delay", "weights", "fan", "neuron", "membrane")


def test_every_packaged_file_is_a_named_chip():
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(CHIPS)


@pytest.mark.parametrize("name", CHIPS)
def test_a_packaged_profile_bears_its_name_and_its_sources(name: str):
    profile = load_chip(name)
    assert profile.name == name
    for section in SECTIONS:
        assert len(getattr(profile, section).source) > 10
    # Unknown things are None, so that nobody computes with them.
    for unknown in profile.unknown:
        section, key = unknown.split(".")
        assert getattr(getattr(profile, section), key) is None


def test_the_numbers_of_the_field():
    ranges = {name: (load_chip(name).delay.min, load_chip(name).delay.max) for name in CHIPS}
    assert ranges == {
        "loihi1": (0, 62),
        "loihi2": (0, 62),
        "spinnaker1": (1, 144),
        "spinnaker2": (1, 8),
        "truenorth": (1, 15),
        "nest": (1, 2**21 - 1),
        "generic": (0, None),
    }
    assert load_chip("spinnaker1").delay.native_max == 16
    assert load_chip("spinnaker1").weights.power_of_two
    assert load_chip("truenorth").delay.granularity == "axon"
    assert load_chip("truenorth").weights.distinct_per_neuron == 4
    weights = {name: load_chip(name).weights.bits for name in CHIPS}
    assert weights == {
        "loihi1": 8,
        "loihi2": 8,
        "spinnaker1": 16,
        "spinnaker2": 5,
        "truenorth": 9,
        "nest": None,
        "generic": 8,
    }
    assert [name for name in CHIPS if load_chip(name).delay.transport] == ["loihi1", "loihi2"]
    loihi = load_chip("loihi1").membrane
    assert (loihi.bits, loihi.beta_shift, loihi.weight_shift) == (24, 12, 6)


def test_none_and_unknown_differ():
    assert load_chip("nest").unknown == ()
    assert load_chip("nest").membrane.beta_shift is None
    assert "membrane.beta_shift" in load_chip("spinnaker2").unknown


def test_a_users_own_file(tmp_path: Path):
    text = (FOLDER / "loihi1.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(text.replace("max = 62\nnative_max = 62", "max = 100\nnative_max = 20"))
    for given in (path, str(path)):
        profile = load_chip(given)
        assert (profile.delay.max, profile.delay.native_max) == (100, 20)
        assert profile.weights == load_chip("loihi1").weights


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError, match=re.escape(", ".join(CHIPS)) + ".* got 'loihi3'") as one:
        load_chip("loihi3")
    assert "\n" not in str(one.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("native_max", "nativ_max", "unknown key delay.nativ_max; did you mean delay.native_max"),
        ("[membrane]", "[membrain]", "unknown key membrain; did you mean membrane"),
        ("min = 0\n", "", "missing delay.min; it must be said"),
        ("max = 62\n", "", 'missing delay.max; what nobody knows is "unknown"'),
        ("not_simulated = []", "not_simulated = 3", "not_simulated must be a list of texts, or"),
        (
            "min = 0",
            'min = "unknown"',
            "delay.min must be a whole number from 0 to 16777216, got \"?'unknown",
        ),
        ("max = 62\n", "max = -1\n", "delay.max"),
        ("beta_shift = 12", "beta_shift = true", "membrane.beta_shift must be a whole number"),
        ("beta_shift = 12", "beta_shift = 1.5", "membrane.beta_shift must be a whole number"),
        ('"synapse"', '"dendrite"', "delay.granularity must be one of synapse, axon, none"),
        ('["LIF", "LI"]', '["IntLIF"]', 'neuron.models must be a list of "LIF" or "LI"'),
        ('["LIF", "LI"]', '[["LIF"]]', 'neuron.models must be a list of "LIF" or "LI"'),
        ('["hard"]', '["cold"]', 'neuron.resets must be a list of "hard" or "soft"'),
        ("min = 0", "min = 70", "delay must not decrease"),
        ("low = -128", "low = 300", "weights must not decrease"),
        (
            "max = 62\n",
            "max = 4294967296\n",
            "delay.max must be a whole number .*16777216, got 4294967296",
        ),
        (
            "beta_shift = 12",
            "beta_shift = 40",
            'membrane.beta_shift must be .* from 0 to 24, got 40. It may be "none" or',
        ),
        ("bias_exponent_max = 7", "bias_exponent_max = 70", "membrane.bias_exponent_max must be"),
        ('name = "loihi1"', 'name = ""', "name must be text"),
        ("[fan]", "fan = 3\n[fun]", "not readable as TOML|must be a section|unknown key"),
        ("min = 0", "min = ", "not readable as TOML"),
    ],
)
def test_what_is_no_profile_is_refused_in_one_line(
    tmp_path: Path, old: str, new: str, message: str
):
    text = (FOLDER / "loihi1.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UsageError, match=message) as refused:
        load_chip(path)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"name = 'x'"])
def test_damage_is_refused_in_one_line(tmp_path: Path, content: bytes):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as refused:
        load_chip(path)
    assert "\n" not in str(refused.value)
