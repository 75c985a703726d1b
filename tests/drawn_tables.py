"""Random delay tables for the tests of this folder."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st

from snn_delays.table.table import (
    NEVER,
    DelayTable,
    IntegerNeuronTable,
    LayerTable,
    NeuronTable,
    SynapseTable,
)


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
) -> DelayTable:
    """Every constant differs from neuron to neuron, and rows come in no order."""
    rng = np.random.default_rng(seed)
    layers = []
    for index, (n_pre, n_post) in enumerate(pairwise(sizes)):
        pre, post = np.nonzero(rng.random((n_pre, n_post)) < density)
        order = rng.permutation(len(pre))
        if weight_type == "float32":
            weight, scale = rng.normal(0.2, 1, len(pre)).astype(np.float32), 1.0
        else:
            weight, scale = rng.integers(-127, 128, len(pre)).astype(weight_type), 0.0123
        last = index == len(sizes) - 2
        hard = reset == "hard" and not last

        def whole(low: int, high: int, n: int = n_post) -> np.ndarray:
            return rng.integers(low, high, n).astype(np.int32)

        def drawn(low: float, high: float, n: int = n_post) -> np.ndarray:
            return rng.uniform(low, high, n).astype(np.float32)

        none = np.zeros(n_post)
        if integer:
            bias = whole(-80, 80)
            neuron = IntegerNeuronTable(
                model="IntLI" if last else "IntLIF",
                reset="none" if last else reset,
                decay=whole(0, 65),
                v_threshold=np.full(n_post, NEVER, np.int32) if last else whole(60, 400),
                v_reset=whole(-100, 50) if hard else none.astype(np.int32),
                decay_shift=6,
                weight_shift=2,
            )
        else:
            bias = drawn(-0.3, 0.3)
            neuron = NeuronTable(
                model="LI" if last else "LIF",
                reset="none" if last else reset,
                beta=drawn(0, 1),
                v_threshold=np.full(n_post, np.inf, np.float32) if last else drawn(0.3, 1),
                v_reset=drawn(-0.5, 0.2) if hard else none.astype(np.float32),
            )
        layers.append(
            LayerTable(
                source="input" if index == 0 else index - 1,
                target=index,
                n_pre=n_pre,
                n_post=n_post,
                min_delay=min_delay,
                max_delay=max_delay,
                synapses=SynapseTable(
                    pre[order].astype(np.int32),
                    post[order].astype(np.int32),
                    rng.integers(min_delay, max_delay + 1, len(pre)).astype(np.int32),
                    weight,
                ),
                bias=bias,
                neuron=neuron,
                weight_scale=scale,
            )
        )
    return DelayTable(
        layers=tuple(layers),
        dt_ms=10.0,
        class_names=tuple(f"drei «{n}»" for n in range(sizes[-1])),
        readout=readout,
        tail_steps=tail_steps,
        input_channels=sizes[0],
        created_by="a test",
    )


@st.composite
def tables(draw: st.DrawFn) -> DelayTable:
    integer = draw(st.booleans())
    weight_types = ["int8", "int16"] if integer else ["float32", "int8", "int16"]
    return random_table(
        draw(st.integers(0, 2**31)),
        tuple(draw(st.lists(st.integers(1, 6), min_size=2, max_size=4))),
        max_delay=draw(st.integers(1, 9)),
        min_delay=draw(st.integers(0, 1)),
        reset=draw(st.sampled_from(["hard", "soft"])),
        weight_type=draw(st.sampled_from(weight_types)),
        density=draw(st.sampled_from([0.0, 0.5, 1.0])),  # 0: layers without a synapse
        tail_steps=draw(st.integers(0, 5)),
        readout=draw(st.sampled_from(["sum_softmax", "max", "mean"])),
        integer=integer,
    )


def assert_same(got: Any, expected: Any) -> None:
    """Equal in every field, to the bit, types included."""
    assert type(got) is type(expected)
    if is_dataclass(expected):
        for field in fields(expected):
            assert_same(getattr(got, field.name), getattr(expected, field.name))
    elif isinstance(expected, np.ndarray):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected, strict=True)
    elif isinstance(expected, tuple):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other)
    else:
        assert got == expected
