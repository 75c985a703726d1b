"""Are two delay tables the same network? Order of synapses does not matter, every digit does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from snn_delays.table.table import DelayTable, LayerTable, SynapseTable

_NETWORK = ("dt_ms", "readout", "tail_steps", "input_channels", "class_names")
_LAYER = ("source", "target", "n_pre", "n_post", "min_delay", "max_delay", "weight_scale")
_NEURON = ("model", "reset", "beta", "v_threshold", "v_reset")
_INTEGER_NEURON = ("decay", "decay_shift", "weight_shift")


def canonical(synapses: SynapseTable) -> SynapseTable:
    """The synapses sorted by pre, post, delay and weight, without those of weight zero.

    Rows that name the same pre, post and delay stay apart: their float weights may add up to
    something that float32 cannot hold.
    """
    kept = np.flatnonzero(synapses.weight)
    columns = (synapses.weight, synapses.delay, synapses.post, synapses.pre)
    order = kept[np.lexsort([column[kept] for column in columns])]
    return SynapseTable(
        synapses.pre[order], synapses.post[order], synapses.delay[order], synapses.weight[order]
    )


def same_network(a: DelayTable, b: DelayTable) -> str | None:
    """The first difference between two networks in words, or None if there is none.

    Everything that a run depends on is compared exactly, types included; who created a table,
    the order of its synapses and synapses of weight zero are not part of the network.
    """
    if len(a.layers) != len(b.layers):
        return f"number of layers: {len(a.layers)} and {len(b.layers)}"
    differences = chain(
        (_different(name, getattr(a, name), getattr(b, name)) for name in _NETWORK),
        (
            found and f"layer {index}: {found}"
            for index, (one, other) in enumerate(zip(a.layers, b.layers, strict=True))
            for found in _layer(one, other)
        ),
    )
    return next((found for found in differences if found), None)


def _layer(a: LayerTable, b: LayerTable) -> Iterator[str | None]:
    for name in _LAYER:
        yield _different(name, getattr(a, name), getattr(b, name))
    if type(a.neuron) is not type(b.neuron):
        yield f"neuron: {a.neuron.model} and {b.neuron.model}"
        return
    for name in (*_NEURON, *_INTEGER_NEURON) if a.integer else _NEURON:
        yield _different(f"neuron {name}", getattr(a.neuron, name), getattr(b.neuron, name))
    yield _different("bias", a.bias, b.bias)
    one, other = canonical(a.synapses), canonical(b.synapses)
    for name in ("pre", "post", "delay", "weight"):
        yield _different(f"synapse {name}", getattr(one, name), getattr(other, name))


def _different(name: str, a: object, b: object) -> str | None:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return _different_arrays(name, a, b)
    return None if a == b else f"{name}: {a!r} and {b!r}"


def _different_arrays(name: str, a: NDArray[np.generic], b: NDArray[np.generic]) -> str | None:
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return f"{name}: {a.dtype} of shape {a.shape} and {b.dtype} of shape {b.shape}"
    unequal = np.flatnonzero(a != b)
    if not unequal.size:
        return None
    first = int(unequal[0])
    return f"{name}: {unequal.size} of {a.size} differ, first {a[first]} and {b[first]} at {first}"
