"""Masks that are drawn, pruned and rewired, and delays brought to few distinct ones."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import functional
from torch import Tensor

from snn_delays import DelayLayer
from snn_delays.errors import UsageError
from snn_delays.layers import sparsity


def layer_of(**options) -> DelayLayer:
    torch.manual_seed(0)
    return DelayLayer(10, 8, 6, **{"sigma": 0.5, **options})


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_random_mask_has_its_density_and_its_seed():
    layer, other = layer_of(), layer_of()
    sparsity.random_mask_(layer, 0.1, seeded(1))
    sparsity.random_mask_(other, 0.1, seeded(1))
    assert sparsity.there(layer).sum() == 8
    assert torch.equal(sparsity.there(layer), sparsity.there(other))
    sparsity.random_mask_(other, 0.1, seeded(2))
    assert not torch.equal(sparsity.there(layer), sparsity.there(other))
    sparsity.random_mask_(layer, 1e-9)
    assert sparsity.there(layer).sum() == 1


@pytest.mark.parametrize("density", [0, -0.1, 1.1])
def test_what_is_no_density_is_named(density):
    with pytest.raises(UsageError, match=r"density must lie in \(0, 1\], as a share of the syn"):
        sparsity.random_mask_(layer_of(), density)


def test_pruning_keeps_the_largest_and_brings_none_back():
    layer = layer_of()
    weight = layer.weight.detach().clone()
    sparsity.prune_(layer, 0.25)
    kept = sparsity.there(layer)
    assert kept.sum() == 20
    assert weight[kept].abs().min() >= weight[~kept].abs().max()
    sparsity.prune_(layer, 0.5)
    assert torch.equal(sparsity.there(layer), kept)


def test_rewiring_swaps_synapses_and_draws_their_delays():
    layer = layer_of()
    sparsity.random_mask_(layer, 0.5, seeded(1))
    before, delay = sparsity.there(layer), layer.delay.detach().clone()
    dying = before & (layer.weight > layer.weight[before].median())
    grown = sparsity.drawn_absent(layer, int(dying.sum()), seeded(2))
    sparsity.draw_delays_(layer, grown, seeded(3))
    sparsity.rewire_(layer, dying, grown)
    assert sparsity.there(layer).sum() == before.sum()
    assert torch.equal(sparsity.there(layer), (before & ~dying) | grown)
    assert not layer.weight[grown].any()
    assert torch.equal(layer.delay[~grown], delay[~grown])
    assert (layer.delay[grown] != delay[grown]).all()
    shared = layer_of(granularity="axonal")
    delay = shared.delay.detach().clone()
    sparsity.draw_delays_(shared, torch.ones_like(shared.weight, dtype=torch.bool))
    assert torch.equal(shared.delay, delay)


@pytest.mark.parametrize("mode", ["s", "m"])
def test_dense_gradients_are_those_of_weights_that_were_there(mode: str):
    layer, full = layer_of(step_mode=mode), layer_of(step_mode=mode)
    sparsity.random_mask_(layer, 0.2, seeded(1))
    with torch.no_grad():
        full.weight.copy_(layer.weight)
    layer.dense_gradient = True
    x = torch.rand(3, 10) if mode == "s" else torch.rand(9, 3, 10)
    for each in (layer, full):
        each(x).square().sum().backward()
    assert torch.equal(layer.acting_weight(), full.weight)
    torch.testing.assert_close(layer.weight.grad, full.weight.grad)
    layer.dense_gradient = False
    layer.zero_grad()
    functional.reset_net(layer)
    layer(x).square().sum().backward()
    assert not layer.weight.grad[~sparsity.there(layer)].any()


def test_rigl_exchanges_the_smallest_for_the_steepest():
    layer = layer_of()
    sparsity.random_mask_(layer, 0.5, seeded(1))
    mask, gradient = sparsity.there(layer), torch.randn(layer.weight.shape)
    dying, grown = sparsity.rigl_exchange(layer, gradient, 0.3)
    assert dying.sum() == grown.sum() == 12
    assert mask[dying].all()
    assert not mask[grown].any()
    assert layer.weight[dying].abs().max() <= layer.weight[mask & ~dying].abs().min()
    assert gradient[grown].abs().min() >= gradient[~mask & ~grown].abs().max()


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**16),
    count=st.integers(1, 5),
    per=st.sampled_from(sparsity.PER),
    granularity=st.sampled_from(["synaptic", "axonal", "dendritic"]),
)
def test_few_delays_are_the_best_there_are(seed: int, count: int, per: str, granularity):
    """Against all sets of centres."""
    torch.manual_seed(seed)
    layer = DelayLayer(4, 3, 6, kernel_count=2, granularity=granularity)
    layer.set_mask(torch.rand(3, 4, 2) < 0.7)
    before = layer.delay.detach().clone()
    sparsity.few_delays_(layer, count, per)
    weight = layer.weight.detach().abs()

    def groups(values: Tensor) -> list[Tensor]:
        whole = values.expand(3, 4, 2)
        if per == "layer" or values.shape[0 if per == "post" else 1] == 1:
            return [whole.flatten()]
        return [one.flatten() for one in whole.unbind(0 if per == "post" else 1)]

    sizes = [len(one) for one in groups(before)]
    of_weight = weight.flatten().split(sizes) if per != "pre" or len(sizes) == 1 else None
    of_weight = of_weight or [one.flatten() for one in weight.unbind(1)]
    for d, found, w in zip(groups(before), groups(layer.delay.detach()), of_weight, strict=True):
        assert len(found.unique()) <= count
        assert torch.equal(found, found.round())
        cost = (w * (d - found) ** 2).sum()
        # Delays that round to one step share a centre, as they share a row of the table.
        tables = []
        for centres in itertools.combinations(range(7), min(count, 7)):
            options = (d.unsqueeze(1) - torch.tensor(centres)).square() * w.unsqueeze(1)
            by_step = torch.zeros(7, len(centres)).index_add(0, d.round().long(), options)
            tables.append(by_step.min(1).values.sum())
        assert cost <= min(tables) + 1e-4


def test_few_delays_of_nonsense_are_refused():
    with pytest.raises(UsageError, match="per must be one of layer, post, pre, got 'neuron'"):
        sparsity.few_delays_(layer_of(), 2, "neuron")
    with pytest.raises(UsageError, match="count must be a whole number >= 1, got 0"):
        sparsity.few_delays_(layer_of(), 0)
