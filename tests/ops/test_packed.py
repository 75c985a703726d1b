"""Spikes kept as bits for the backward pass: the same bits back, and the same gradients."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snn_delays.layers import DelayConv1d, DelayLayer
from snn_delays.ops import packed


@pytest.fixture
def _any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "LEAST", 1)


def drawn(*shape: int, dtype: torch.dtype = torch.float32, value: float = 1 / 0.6) -> Tensor:
    return (torch.rand(*shape) < 0.2).to(dtype) * value


def bits_of(x: Tensor) -> Tensor:
    return x.view(torch.int32 if x.dtype is torch.float32 else torch.int64)


@given(
    size=st.integers(1, 70) | st.integers(4090, 4100) | st.integers(65530, 65600),
    value=st.sampled_from([1.0, -1.5, 1 / 0.6, 1e-40, float("inf"), float("nan")]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 9),
)
def test_bits_are_the_tensor(size: int, value: float, dtype: torch.dtype, seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.where(torch.rand(size) < 0.3, value, 0.0).to(dtype)
    kept = packed.packed(x)
    assert kept is not None
    assert kept.bits.nbytes == (size + 7) // 8
    assert torch.equal(bits_of(kept.unpacked()), bits_of(x))


@given(
    size=st.integers(2, 70) | st.integers(4096, 4100) | st.integers(65530, 70000),
    where=st.floats(0, 1),
    other=st.sampled_from([2.0, -1.0, -0.0, float("nan")]),
)
def test_one_other_number_anywhere_is_seen(size: int, where: float, other: float) -> None:
    x = torch.ones(size)
    x[::3] = 0
    x[round(where * (size - 1))] = other
    kept = packed.packed(x)
    assert kept is None or (bits_of(x) != 0).sum() <= 1  # it stands alone among zeros


def test_no_spikes_are_packed_too() -> None:
    kept = packed.packed(torch.zeros(3, 5))
    assert kept is not None
    assert torch.equal(kept.unpacked(), torch.zeros(3, 5))


LAYERS = {
    "taps": lambda: DelayLayer(5, 32, 7, sigma=0.5, method="taps"),
    "dense": lambda: DelayLayer(5, 32, 7, sigma=2.0, method="dense"),
    "lowrank": lambda: DelayLayer(5, 32, 7, sigma=4.0, method="lowrank"),
    "axonal": lambda: DelayLayer(5, 32, 7, sigma=2.0, granularity="axonal"),
    "both": lambda: DelayLayer(5, 32, 7, sigma=2.0, granularity="axonal+dendritic"),
    "masked": lambda: DelayLayer(5, 32, 7, sigma=0.5),
    "conv": lambda: DelayConv1d(5, 32, 3, max_delay=7, sigma=0.5, method="taps"),
}


def gradients(layer: Any, spikes: Tensor, twice: bool) -> list[Tensor]:
    """Of all that is learned and of the spikes; with ``twice`` also of a penalty on them."""
    layer.reset()
    source = spikes.clone().requires_grad_()
    y = layer(source * 1)  # not a leaf: nobody else holds it
    inputs = [source, *layer.parameters()]
    found = torch.autograd.grad(y.square().sum(), inputs, create_graph=twice)
    if not twice:
        return list(found)
    penalty = torch.stack([one.square().sum() for one in found]).sum()
    return [*found, *torch.autograd.grad(penalty, inputs, materialize_grads=True)]


@pytest.mark.usefixtures("_any_size")
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_those_of_the_spikes_themselves(
    name: str, twice: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = LAYERS[name]().double()
    if name == "masked":
        layer.set_mask(torch.rand(layer.weight.shape) < 0.2)
    shape = (11, 3, 5, 6) if name == "conv" else (11, 3, 5)
    x = drawn(*shape, dtype=torch.float64)
    made: list[bool] = []
    whole = packed.Packed.unpacked
    monkeypatch.setattr(packed.Packed, "unpacked", lambda kept: made.append(True) or whole(kept))
    found = gradients(layer, x, twice)
    assert made  # else there is nothing to compare
    monkeypatch.setattr(packed, "packed_cpu", None)
    expected = gradients(layer, x, twice)
    assert all(one.abs().max() > 0 for one in expected[: 1 + len(list(layer.parameters()))])
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.usefixtures("_any_size")
@pytest.mark.parametrize("name", ["taps", "dense", "lowrank", "conv"])
def test_nothing_else_of_the_spikes_is_kept(name: str) -> None:
    layer = LAYERS[name]()
    x = drawn(*((40, 3, 5, 6) if name == "conv" else (40, 3, 5))).requires_grad_() * 1
    known = weakref.ref(x.untyped_storage())
    y = layer(x)
    del x
    gc.collect()  # a loop that has just been compiled may stand in a cycle with its arguments
    assert known() is None
    y.sum().backward()
    assert layer.weight.grad.abs().max() > 0


@pytest.mark.usefixtures("_any_size")
def test_what_is_written_to_between_the_passes_is_refused() -> None:
    layer = LAYERS["dense"]()
    y = layer(drawn(11, 3, 5))
    with torch.no_grad():
        layer.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.usefixtures("_any_size")
def test_hooks_of_others_see_the_spikes() -> None:
    layer, seen = LAYERS["taps"](), []

    def pack(saved: Tensor) -> Tensor:
        seen.append(saved.data_ptr())
        return saved

    x = drawn(11, 3, 5)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        layer(x)
    assert x.data_ptr() in seen
