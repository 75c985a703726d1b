"""Which synapses a layer has: drawn at random, pruned by magnitude, rewired; and few delays.

All work on the layer's ``mask`` and leave the number of synapses to the caller. What they draw
comes from a generator on the CPU, so that equal seeds give equal masks on every device.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor
from torch.nn.utils.parametrize import is_parametrized

from snn_delays.arguments import choice, real_number, whole_number
from snn_delays.errors import UsageError
from snn_delays.layers.delayed import Delayed
from snn_delays.modules.ranged import stored

PER = ("layer", "post", "pre")


def synapse_count(layer: Delayed, density: float) -> int:
    """How many synapses a density is: a share of all, rounded, and one at least.

    Raises:
        UsageError: a density that is not in (0, 1].
    """
    must = "lie in (0, 1], as a share of the synapses"
    density = real_number("density", density, above=0, most=1, must=must)
    return max(1, round(density * layer.weight.numel()))


def there(layer: Delayed) -> Bool[Tensor, "post pre *k"]:
    """Which synapses there are."""
    if layer.mask is None:
        return torch.ones_like(layer.weight, dtype=torch.bool)
    return layer.mask != 0


def random_mask_(layer: Delayed, density: float, generator: Generator | None = None) -> None:
    """Keep synapses drawn at random, exactly ``synapse_count`` of them; see ``set_mask``.

    Raises:
        UsageError: a density that is not in (0, 1].
    """
    count, total = synapse_count(layer, density), layer.weight.numel()
    mask = torch.zeros(total, dtype=torch.bool)
    mask[torch.randperm(total, generator=generator)[:count]] = True
    layer.set_mask(mask.view(layer.weight.shape))


@torch.no_grad()
def prune_(layer: Delayed, density: float) -> None:
    """Of the synapses that are there, keep those with the largest |weight|.

    None come back: with fewer than the density asks for, nothing changes.

    Raises:
        UsageError: a density that is not in (0, 1].
    """
    count, mask = synapse_count(layer, density), there(layer)
    if count < int(mask.sum()):
        size = torch.where(mask, layer.weight.abs(), -1).flatten()
        layer.set_mask(_only(size.topk(count).indices, mask))


@torch.no_grad()
def rewire_(
    layer: Delayed, dying: Bool[Tensor, "post pre *k"], grown: Bool[Tensor, "post pre *k"]
) -> None:
    """Take some synapses away and let others grow, with weight 0, as if they had never learned."""
    layer.set_mask((there(layer) & ~dying) | grown)
    if (weight := stored(layer, "weight")) is not None:
        weight.masked_fill_(grown, 0)


@torch.no_grad()
def crossed(layer: Delayed, signs: Float[Tensor, "post pre *k"]) -> Bool[Tensor, "post pre *k"]:
    """The synapses that are there, and whose weight has passed 0 since it had these ``signs``."""
    weight = stored(layer, "weight")
    return there(layer) & ((layer.weight if weight is None else weight) * signs < 0)


def drawn_absent(
    layer: Delayed, count: int, generator: Generator | None = None
) -> Bool[Tensor, "post pre *k"]:
    """``count`` of the absent synapses at random; all, if there are fewer."""
    absent = (~there(layer)).flatten().nonzero().squeeze(1).cpu()
    chosen = absent[torch.randperm(len(absent), generator=generator)[:count]]
    return _only(chosen.to(layer.weight.device), layer.weight)


@torch.no_grad()
def draw_delays_(
    layer: Delayed, of: Bool[Tensor, "post pre *k"], generator: Generator | None = None
) -> None:
    """Delays drawn anew, as they started, where each synapse has its own.

    An axonal or dendritic delay, which others share, stays; and so does one that a parametrisation
    makes.
    """
    own = [*layer.delay_ranges] == ["delay"] and layer.delay.shape == layer.weight.shape
    if own and not is_parametrized(layer, "delay"):
        drawn = torch.empty(layer.delay.shape)
        layer.draw_delays_(drawn, generator=generator)
        layer.delay.copy_(torch.where(of, drawn.to(layer.delay), layer.delay))


@torch.no_grad()
def rigl_exchange(
    layer: Delayed, gradient: Float[Tensor, "post pre *k"], share: float
) -> tuple[Bool[Tensor, "post pre *k"], Bool[Tensor, "post pre *k"]]:
    """What RigL takes away, the smallest |weight|, and lets grow, the largest |gradient|.

    Args:
        gradient: of all weights, of absent ones too (``layer.dense_gradient``).
        share: of the synapses that are there.

    Reference:
        Evci et al., "Rigging the lottery: making all tickets winners" (2020, arXiv:1911.11134).
    """
    mask = there(layer)
    count = min(int(share * int(mask.sum())), int((~mask).sum()))
    size = torch.where(mask, layer.weight.abs(), math.inf).flatten()
    steep = torch.where(mask, -1, gradient.abs()).flatten()
    dying = _only(size.topk(count, largest=False).indices, mask)
    return dying, _only(steep.topk(count).indices, mask)


@torch.no_grad()
def few_delays_(layer: Delayed, count: int, per: str = "layer") -> None:
    """Bring delays to ``few_delays``.

    Raises:
        UsageError: as that; delays that a parametrisation makes.
    """
    if is_parametrized(layer, "delay"):
        raise UsageError(
            "few_delays_: the delays are made by a parametrisation, which decides on their values."
            " Remove it first."
        )
    layer.delay.copy_(few_delays(layer, count, per))


@torch.no_grad()
def few_delays(
    layer: Delayed, count: int, per: str = "layer"
) -> Float[Tensor, "post_or_1 pre_or_1 *k"]:
    """For each delay the best of ``count`` whole numbers of steps, chosen for their synapses.

        minimises Σ |w| · (d − c)²   over the centres c, exactly

    Args:
        count: how many distinct delays there may be ...
        per: ... in the whole ``"layer"``, or at each ``"post"`` or ``"pre"`` neuron. Of delays that
            all neurons share (axonal ones per post, dendritic ones per pre) that is the layer.

    Raises:
        UsageError: a count below 1, an unknown ``per``.
    """
    count = whole_number("few_delays: count", count, 1)
    choice("few_delays: per", per, PER)
    if [*layer.delay_ranges] != ["delay"]:
        raise UsageError(
            f"few_delays: needs one delay of a synapse or neuron, got {layer.granularity} delays, "
            "which are sums. Use another granularity."
        )
    delay = layer.delay.double().clamp(layer.min_delay, layer.max_delay)
    weight = layer.acting_weight().double().abs().sum_to_size(delay.shape)
    groups = [_groups(each, per) for each in (delay, weight)]
    bins = groups[0].round().long()
    taps = layer.max_delay + 1
    # So many groups at once that a table of costs has at most 2^22 numbers.
    size, most = max(1, 2**22 // taps**2), min(count, taps)
    parts = zip(*(each.split(size) for each in (*groups, bins)), strict=True)
    centres = torch.cat([_clusters(d, w, at, taps, most) for d, w, at in parts])
    found = centres.gather(1, bins)
    if per == "pre":
        found = found.view(delay.shape[1], delay.shape[0], -1).transpose(0, 1)
    return found.reshape(delay.shape).to(layer.delay)


def _groups(values: Tensor, per: str) -> Float[Tensor, "groups values"]:
    if per == "layer":
        return values.reshape(1, -1)
    return (values if per == "post" else values.transpose(0, 1)).flatten(1)


def _clusters(
    delay: Float[Tensor, "groups values"],
    weight: Float[Tensor, "groups values"],
    bins: Int[Tensor, "groups values"],
    taps: int,
    count: int,
) -> Float[Tensor, "groups taps"]:
    """By dynamic programming, the centre that every rounded delay goes to.

    best[m][j] = min_i best[m − 1][i] + cost(i … j − 1): the first j taps in m + 1 clusters.
    """
    rows = delay.new_zeros(len(delay), 3, taps)
    # Delays without a weight count a little, so that they too have somewhere to go.
    heavy = weight + 1e-9 * weight.amax(1, keepdim=True).clamp(min=1e-30)
    for row, moment in enumerate((heavy, heavy * delay, heavy * delay**2)):
        rows[:, row].scatter_add_(1, bins, moment)
    zero = rows.new_zeros(*rows.shape[:2], 1)
    whole = torch.cat([zero, rows.cumsum(-1)], -1)
    mass, first, second = (whole.unsqueeze(2) - whole.unsqueeze(3)).unbind(1)  # [G, from, to]
    centre = (first / mass.clamp(min=1e-300)).round()
    cost = second - 2 * centre * first + centre**2 * mass
    steps = torch.arange(taps + 1, device=delay.device)
    cost = torch.where(steps.unsqueeze(1) < steps, cost.clamp(min=0), math.inf)
    best, came = cost[:, 0], []
    for _ in range(count - 1):
        least, since = (best.unsqueeze(2) + cost).min(1)
        better = least < best
        came.append(torch.where(better, since, -1))
        best = torch.where(better, least, best)
    found = delay.new_zeros(len(delay), taps)
    for group in range(len(delay)):
        end = taps
        for since in [*reversed(came), None]:
            begin = 0 if since is None else int(since[group, end])
            if begin >= 0:
                found[group, begin:end] = centre[group, begin, end]
                end = begin
            if end == 0:
                break
    return found


def _only(indices: Tensor, like: Tensor) -> Bool[Tensor, "*shape"]:
    chosen = torch.zeros(like.numel(), dtype=torch.bool, device=like.device)
    chosen[indices] = True
    return chosen.view(like.shape)
