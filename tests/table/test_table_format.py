"""docs/table-format.md names every field that there is; the reader printed there runs, and agrees
with the simulator."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_tables import random_table

from snn_delays.table import schema
from snn_delays.table.hdf5 import FORMAT, VERSION, write_table
from snn_delays.table.models import MODELS, Model
from snn_delays.table.projection import COLUMNS
from snn_delays.table.simulator import simulate
from snn_delays.table.table import READOUTS

PAGE = (Path(__file__).parents[2] / "docs" / "table-format.md").read_text(encoding="utf-8")
FLOATS = [model for model in MODELS.values() if not model.integer]
KINDS = {"text": "string", "names": "string", "whole": "integer", "number": "float64"}


def field_table(header: str, after: str) -> list[list[str]]:
    """The cells of the first table with this header behind a text."""
    rows = PAGE[PAGE.index(after) :].partition(header)[2].splitlines()[2:]
    rows = rows[: next(n for n, row in enumerate(rows) if not row.startswith("|"))]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def unit(model: Model, name: str) -> str:
    (quantity,) = (one.quantity for one in model.parameters if one.name == name)
    return f"{quantity.low:g} … {quantity.high:g}" if np.isfinite(quantity.low) else quantity.unit


def test_models_are_described_as_they_are() -> None:
    equations = field_table("| model | what it is | one step, with current I |", "## Meaning")
    assert equations == [[f"`{model.name}`", model.text, f"`{model.equation}`"] for model in FLOATS]
    found = field_table("| model | array | unit | meaning |", "## Fields")
    assert found[0][:2] == ["all", "`bias`"]
    assert found[1:] == [
        [f"`{model.name}`", f"`{one.name}`", unit(model, one.name), one.text]
        for model in FLOATS
        for one in model.parameters
    ]
    found = field_table("| model | attribute | values | meaning |", "## Fields")
    scalars = {"Int…": MODELS["IntLI"].scalars, **{one.name: one.scalars for one in FLOATS}}
    assert found == [
        [
            f"`{name}`",
            f"`{one.name}`",
            ", ".join(f"`{choice}`" for choice in one.choices) or f"0 … {one.most}",
            one.text,
        ]
        for name, of_model in scalars.items()
        for one in of_model
    ]
    for model in MODELS.values():  # what whole numbers add is the same for all of them
        if model.of is not None:
            assert model.parameters == model.of.parameters
            assert model.scalars == (*model.of.scalars, *MODELS["IntLI"].scalars)


@pytest.mark.parametrize(
    ("after", "fields"),
    [
        ("Attributes of `/`", {"format": "text", "version": "whole", **schema.NETWORK}),
        ("Groups `/populations/NAME`", schema.POPULATION),
        ("Groups `/projections/NAME`", schema.PROJECTION),
    ],
)
def test_every_attribute_is_listed(after: str, fields: dict[str, str]) -> None:
    found = field_table("| attribute | type | unit | meaning |", after)
    assert {row[0].strip("`"): row[1] for row in found} == {
        name: KINDS[kind] for name, kind in fields.items()
    }


def test_columns_and_constants() -> None:
    found = field_table("| array | type | shape | unit | meaning |", "Groups `/projections/NAME`")
    assert [row[0].strip("`") for row in found] == list(COLUMNS)
    assert f"always `{FORMAT}`" in PAGE
    assert f"file format version {VERSION}\n" in PAGE
    assert all(f"`{readout}`" in PAGE for readout in READOUTS)


LINKS = ((0, 1), (1, 1), (1, 2), (0, 2), (2, 1), (2, 3), (0, 3))


@pytest.mark.parametrize("readout", ["mean", "spike_count"])
@pytest.mark.parametrize("links", [None, LINKS])
@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize(
    ("weight_type", "integer"),
    [("float32", False), ("int8", False), ("int8", True), ("int16", True)],
)
def test_documented_reader(
    reset: str, weight_type: str, integer: bool, links: Any, readout: str, tmp_path: Path
) -> None:
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    options = {"weight_type": weight_type, "integer": integer, "links": links, "readout": readout}
    table = random_table(3, (6, 7, 5, 3), reset=reset, **options)
    write_table(table, tmp_path / "delays.h5")
    counts = np.random.default_rng(0).poisson(0.5, (14, 6))
    expected = simulate(table, counts)
    assert all(spikes.any() for spikes in expected.spikes.values())
    potentials, spikes = names["run"](tmp_path / "delays.h5", counts)
    np.testing.assert_allclose(potentials, expected.potentials)
    for name, fired in expected.spikes.items():
        np.testing.assert_array_equal(spikes[name], fired)
