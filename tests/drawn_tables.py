"""Random delay tables: chains, and graphs with skips and recurrence."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st

from snn_delays.table import schema
from snn_delays.table.models import MODELS, Model
from snn_delays.table.population import Population
from snn_delays.table.projection import Projection
from snn_delays.table.table import DelayTable

BETA_SHIFT, WEIGHT_SHIFT = 6, 2
SPIKING = tuple(name for name, model in MODELS.items() if model.spiking and not model.integer)


def random_table(
    seed: int,
    sizes: tuple[int, ...],
    *,
    max_delay: int = 6,
    min_delay: int = 0,
    reset: str = "hard",
    weight_type: str = "float32",
    density: float = 0.8,
    tail_steps: int = 4,
    readout: str = "sum_softmax",
    integer: bool = False,
    model: str = "LIF",
    links: tuple[tuple[int, int], ...] | None = None,
) -> DelayTable:
    """Every constant differs from neuron to neuron, and rows come in no order.

    Args:
        sizes: of the input and of each population.
        links: (source, target) as places in ``sizes``; None makes a chain.
    """
    rng = np.random.default_rng(seed)
    populations = []
    for index, size in enumerate(sizes[1:]):
        last = index == len(sizes) - 2
        name = "readout" if last else f"hidden{index}"
        kind = "LI" if last and readout != "spike_count" else model
        described = MODELS[f"Int{kind}" if integer else kind]
        populations.append(random_population(rng, name, described, size, reset))
    names = ["input", *(one.name for one in populations)]
    projections = []
    for source, target in links or tuple(pairwise(range(len(sizes)))):
        back = source >= target
        pre, post = np.nonzero(rng.random((sizes[source], sizes[target])) < density)
        order = rng.permutation(len(pre))
        if weight_type == "float32":
            weight, scale = rng.normal(0.2, 1, len(pre)).astype(np.float32), 1.0
        else:
            weight, scale = rng.integers(-127, 128, len(pre)).astype(weight_type), 0.0123
        low, high = max(min_delay, int(back)), max(max_delay, int(back))
        projections.append(
            Projection(
                source=names[source],
                target=names[target],
                pre=pre[order].astype(np.int32),
                post=post[order].astype(np.int32),
                delay=rng.integers(low, high + 1, len(pre)).astype(np.int32),
                weight=weight,
                min_delay=low,
                max_delay=high,
                weight_scale=scale,
            )
        )
    return DelayTable(
        populations=tuple(populations),
        projections=tuple(projections),
        dt_ms=2.5,
        class_names=tuple(f"class {index}" for index in range(sizes[-1])),
        readout=readout,
        tail_steps=tail_steps,
        input_channels=sizes[0],
        created_by="a test",
    )


def random_population(
    rng: np.random.Generator, name: str, model: Model, size: int, reset: str = "hard"
) -> Population:
    """Neurons whose every constant is drawn."""
    scalars: dict[str, Any] = {}
    for scalar in model.scalars:
        shifts = {"beta_shift": BETA_SHIFT, "weight_shift": WEIGHT_SHIFT}
        if scalar.name == "reset":
            scalars[scalar.name] = reset
        elif scalar.choices:
            scalars[scalar.name] = scalar.choices[int(rng.integers(len(scalar.choices)))]
        else:
            scalars[scalar.name] = shifts[scalar.name]
    drawn = {}
    for parameter in model.parameters:
        share = parameter.quantity.rounding == "share"
        least = 0 if np.isfinite(parameter.quantity.low) else -1  # of what multiplies
        if parameter.name == "v_reset" and reset != "hard":
            values = np.zeros(size)
        elif model.integer:
            low, high = (
                (least << BETA_SHIFT, (1 << BETA_SHIFT) + 1)
                if share
                else _WHOLE[parameter.quantity.rounding]
            )
            values = rng.integers(low, high, size)
        else:
            low, high = (least, 1) if share else _FLOAT[parameter.quantity.rounding]
            values = rng.uniform(low, high, size)
        drawn[parameter.name] = values.astype(model.dtype)
    bias = rng.integers(-80, 80, size) if model.integer else rng.uniform(-0.3, 0.3, size)
    return Population(name, model, bias.astype(model.dtype), drawn, scalars)


_WHOLE = {"up": (60, 400), "nearest": (-100, 50)}
_FLOAT = {"up": (0.3, 1), "nearest": (-0.5, 0.2)}


@st.composite
def tables(draw: st.DrawFn, *members: str) -> DelayTable:
    """Graphs of 1 to 4 populations: chains, skips, recurrence; float and whole numbers.

    Of neuron models that have these members, of those that need not.
    """
    sizes = tuple(draw(st.lists(st.integers(1, 6), min_size=2, max_size=5)))
    count = len(sizes)
    chain = tuple(pairwise(range(count)))
    readout = draw(st.sampled_from(["sum_softmax", "max", "mean", "spike_count"]))
    # A readout of potentials never spikes, and so leads nowhere.
    sources = count if readout == "spike_count" else count - 1
    others = [
        (source, target)
        for source in range(sources)
        for target in range(1, count)
        if (source, target) not in chain
    ]
    extra = draw(st.lists(st.sampled_from(others), unique=True, max_size=4)) if others else []
    integer = draw(st.booleans())
    needed = (*members, "whole_step") if integer else members
    models = [one for one in SPIKING if all(getattr(MODELS[one], name) for name in needed)]
    return random_table(
        draw(st.integers(0, 2**32 - 1)),
        sizes,
        max_delay=draw(st.integers(0, 9)),
        reset=draw(st.sampled_from(["hard", "soft"])),
        weight_type=draw(st.sampled_from(["int8", "int16"] if integer else ["float32", "int8"])),
        density=draw(st.floats(0, 1)),
        tail_steps=draw(st.integers(0, 5)),
        readout=readout,
        integer=integer,
        model=draw(st.sampled_from(models)),
        links=(*chain, *extra),
    )


def assert_same(got: DelayTable, expected: DelayTable) -> None:
    """Equal to the last bit, in the same order."""
    assert schema.network_header(got) == schema.network_header(expected)
    for kind in ("populations", "projections"):
        mine, theirs = getattr(got, kind), getattr(expected, kind)
        assert [one.name for one in mine] == [one.name for one in theirs]
        for one, other in zip(mine, theirs, strict=True):
            assert schema.header_of(got, one) == schema.header_of(expected, other)
            arrays = schema.arrays_of(one)
            assert list(arrays) == list(schema.arrays_of(other))
            for name, values in schema.arrays_of(other).items():
                assert arrays[name].dtype == values.dtype, name
                np.testing.assert_array_equal(arrays[name], values, err_msg=name)


def floats(table: DelayTable) -> bool:
    """Whether no constant and no weight of it is an integer yet."""
    return not any(one.integer for one in (*table.populations, *table.projections))
