"""Where the elements of DCLS's kernels stand, before and after training: the papers' figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from snn_delays.modules.ranged import Spread
from snn_delays.report.figure import saved_figure, whole_numbers

_TITLES = ("before training", "after", "after, share of Σ|w|")


def draw_positions(net: nn.Module, initial: nn.Module, path: Path) -> None:
    """Density of the elements over the extent, a row for each stage: before training, after it,
    and after it by how strong they are.

    A stage is the convolutions whose kernels have one shape. Along one learned axis the density is
    a curve; of three the first is summed over.

    Args:
        net, initial: after training and before.
        path: of the PNG file.
    """
    stages = _stages(net)
    starts = _stages(initial)
    with saved_figure(path, 8.0, 3.2 * len(stages)) as figure:
        parts = np.atleast_1d(np.asarray(figure.subfigures(len(stages), 1)))
        for part, (key, after) in zip(parts, stages.items(), strict=True):
            part.suptitle(_name(after), x=0.01, ha="left", fontsize=9.5, fontweight="bold")
            panels = [(starts[key], False), (after, False), (after, True)]
            for axis, title, panel in zip(part.subplots(1, 3), _TITLES, panels, strict=True):
                _draw(axis, *panel)
                axis.set_title(title)


class _Kernels(NamedTuple):
    """Elements of a layer's kernels.

    Shape:
        position ``[learned axes, *weight's]``.
    """

    position: Tensor
    weight: Tensor
    extent: tuple[int, ...]
    learned_axes: tuple[int, ...]
    kernel_count: int


def _stages(net: nn.Module) -> dict[Any, list[tuple[str, _Kernels]]]:
    """Kernels with learned spacings and their layers' names, by shape."""
    found: dict[Any, list[tuple[str, _Kernels]]] = {}
    for name, part in net.named_modules():
        if isinstance(part, Spread) and part.moves == "positions":
            one: Any = part
            weight = getattr(one, "weight", None)
            if weight is None:  # it places those of the layer that it is a parametrisation of
                owner: Any = net.get_submodule(name.rpartition(".")[0])
                name, weight = name.partition(".parametrizations.")[0], owner.original
            axes = getattr(one, "learned_axes", tuple(range(len(one.extent))))
            kernels = _Kernels(one.position, weight, one.extent, axes, weight.shape[-1])
            key = (one.position.shape, one.extent, axes)
            found.setdefault(key, []).append((name, kernels))
    return found


def _name(layers: Sequence[tuple[str, Any]]) -> str:
    name, layer = layers[0]
    more = f" and {len(layers) - 1} more" if layers[1:] else ""
    return f"{name}{more}: {layer.kernel_count} elements"


def _draw(axis: Axes, layers: Sequence[tuple[str, Any]], weighted: bool) -> None:
    layer = layers[0][1]
    places, weights = _elements([of for _, of in layers], weighted)
    edges = [np.arange(layer.extent[a] + 1) - layer.extent[a] / 2 for a in layer.learned_axes]
    if len(places) == 1:
        axis.hist(places[0], edges[0], weights=weights, color="tab:blue")
        axis.set(xlabel="position (elements)", ylabel="share", ylim=(0, None))
    else:
        # Rows of an image go down; what is drawn is y against x.
        axis.hist2d(places[-1], places[-2], [edges[-1], edges[-2]], weights=weights, cmap="viridis")
        axis.set(xlabel="x (elements)", ylabel="y (elements)", aspect="equal")
        axis.invert_yaxis()
        whole_numbers(axis.yaxis)
    whole_numbers(axis.xaxis)


def _elements(layers: Sequence[Any], weighted: bool) -> tuple[np.ndarray, np.ndarray]:
    """Positions of all elements, a row for each learned axis, and their shares."""
    positions, shares = [], []
    for layer in layers:
        weight: Tensor = layer.weight.detach().abs()
        share = weight if weighted else torch.ones_like(weight)
        positions.append(layer.position.detach().expand(-1, *weight.shape).flatten(1))
        shares.append(share.flatten())
    share = torch.cat(shares)
    return torch.cat(positions, 1).numpy(), (share / share.sum()).numpy()
