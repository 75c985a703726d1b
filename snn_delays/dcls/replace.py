"""Convolutions of a network that exists, swapped for ones that learn where their elements stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from snn_delays.arguments import choice, per_axis, whole_number
from snn_delays.dcls.convolution import DclsConv1d, DclsConv2d, DclsConv3d
from snn_delays.dcls.selection import Select, selected, swap_
from snn_delays.errors import UsageError
from snn_delays.ops.spacings import Spacing
from snn_delays.table.require import naming

_OURS: dict[type, Any] = {nn.Conv1d: DclsConv1d, nn.Conv2d: DclsConv2d, nn.Conv3d: DclsConv3d}


@dataclass(frozen=True)
class Swapped:
    """One convolution that was swapped: what it was, what it is, and its parameters."""

    name: str
    before: str
    after: str
    parameters_before: int
    parameters_after: int


@dataclass(frozen=True)
class Replacement:
    """What ``replace_convs`` has swapped, and the whole model's parameters before and after.

    Positions that several layers share count for the first of them. ``str`` is a table.
    """

    layers: tuple[Swapped, ...]
    parameters_before: int
    parameters_after: int

    def __str__(self) -> str:
        whole = (f"{self.parameters_before:,}", f"{self.parameters_after:,}")
        rows = [("layer", "before", "after", "parameters", "now")]
        rows += [
            (s.name, s.before, s.after, f"{s.parameters_before:,}", f"{s.parameters_after:,}")
            for s in self.layers
        ]
        rows.append(("whole model", "", "", *whole))
        wide = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = [
            "  ".join(
                cell.rjust(size) if column > 2 else cell.ljust(size)
                for column, (cell, size) in enumerate(zip(row, wide, strict=True))
            ).rstrip()
            for row in rows
        ]
        return "\n".join(lines)


def replace_convs(
    model: nn.Module,
    select: Select = "depthwise",
    *,
    extent: int | Sequence[int],
    kernel_count: int | None = None,
    learned_axes: Sequence[int] | None = None,
    interpolation: Spacing = "bilinear",
    sigma: float | Sequence[float] | None = None,
    sigma_learned: bool | Literal["axis", "element"] = False,
    share_positions: Literal["stage"] | None = None,
    same_parameters: bool = False,
) -> Replacement:
    """Swap convolutions inside ``model`` for DCLS's, in place.

    Each keeps its channels, groups, stride, padding mode, bias (with its values), dtype, device,
    training mode and ``requires_grad``, which positions have as the weight had it. Padding changes
    so that the output keeps its shape: ``padding + (extent − 1 − dilation · (kernel − 1)) / 2``.
    The dilation becomes 1: how far elements stand apart is what is learned, and ``extent`` is
    counted undilated. Weights and positions are drawn as ``DclsConv2d`` does. Optimisers made
    before still hold the old parameters: make them afterwards.

    Args:
        model: any network.
        select: ``"depthwise"`` (one filter for each channel, larger than 1), a function of (name,
            convolution), or the names in ``model.named_modules()``.
        extent: how large the new kernels are, one number or one for each axis.
        kernel_count: elements of each kernel.
        learned_axes, interpolation, sigma, sigma_learned: as for ``DclsConv2d``.
        share_positions: ``"stage"`` lets all swapped layers with weights of one shape (the blocks
            of a stage) share one ``position``, as in ConvNeXt-dcls; None gives each its own.
        same_parameters: choose each ``kernel_count`` so that the number of parameters, positions
            included, stays what it was.

    Returns:
        What was swapped; printed, a table.

    Raises:
        UsageError: nothing to swap; convolutions that cannot be (transposed, lazy, pruned,
            parametrised, hooked, of another class); an extent that no padding fits; no count that
            keeps the parameters. The model is then as it was.

    Reference:
        Khalfaoui-Hassani, Pellegrini, Masquelier (2021, arXiv:2112.03740).
    """
    choice("replace_convs: share_positions", share_positions, ("stage", None))
    if same_parameters == (kernel_count is not None):
        raise UsageError(
            "replace_convs: needs either kernel_count or same_parameters=True, which chooses it, "
            f"got kernel_count={kernel_count} and same_parameters={same_parameters}."
        )
    if kernel_count is not None:
        kernel_count = whole_number("replace_convs: kernel_count", kernel_count, 1)
    settings = {
        "extent": extent,
        "learned_axes": learned_axes,
        "interpolation": interpolation,
        "sigma": sigma,
        "sigma_learned": sigma_learned,
    }
    convs = selected(model, select)
    stages: dict[Any, list[str]] = {}
    for name, conv in convs.items():
        shared = share_positions is not None
        stages.setdefault((type(conv), conv.weight.shape) if shared else name, []).append(name)
    made: dict[nn.Module, Any] = {}
    for names in stages.values():
        of_stage = [convs[name] for name in names]
        for name, conv in zip(names, of_stage, strict=True):
            count = kernel_count
            if count is None:
                count = _same_count(names[0], conv, len(names), share_positions, settings)
            made[conv] = _made(name, conv, count, settings)
        first = made[of_stage[0]].position  # alone in its stage, a layer keeps its own
        first.requires_grad_(any(conv.weight.requires_grad for conv in of_stage))
        for conv in of_stage:
            made[conv].position = first
    before = _count(model)
    report = []
    counted: set[int] = set()
    for name, conv in convs.items():
        ours = made[conv]
        new = [own for own in ours.parameters() if id(own) not in counted]
        counted |= {id(own) for own in new}
        sizes = (_count(conv), sum(own.numel() for own in new))
        report.append(Swapped(name, _told(conv), _told(ours), *sizes))
    swap_(model, made)
    return Replacement(tuple(report), before, _count(model))


def _made(name: str, conv: Any, count: int, settings: dict[str, Any]) -> Any:
    """The convolution that takes the place of ``conv``."""
    kind = _OURS[type(conv)]
    with naming(name):
        ours = kind(
            *(conv.in_channels, conv.out_channels, count),
            **settings,
            stride=conv.stride,
            padding=_padding(
                conv, per_axis("extent", settings["extent"], len(conv.kernel_size), 1)
            ),
            groups=conv.groups,
            bias=conv.bias is not None,
            padding_mode=conv.padding_mode,
        )
    ours.to(conv.weight)
    ours.weight.requires_grad_(conv.weight.requires_grad)
    ours.position.requires_grad_(conv.weight.requires_grad)
    if conv.bias is not None:
        ours.bias.data.copy_(conv.bias.data)
        ours.bias.requires_grad_(conv.bias.requires_grad)
    return ours.train(conv.training)


def _padding(conv: Any, extents: Sequence[int]) -> Any:
    """What keeps the output's shape."""
    if conv.padding == "same":
        return "same"
    old = [0] * len(extents) if conv.padding == "valid" else list(conv.padding)
    padding = []
    for axis, extent in enumerate(extents):
        span = conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1
        more = extent - span
        if more % 2 or 2 * old[axis] + more < 0:
            fits = (
                f"{'odd' if span % 2 else 'even'} as the old span of {span}"
                if more % 2
                else f"at least {span - 2 * old[axis]}"
            )
            raise UsageError(
                f"extent must be {fits} along axis {axis}, so that padding can keep the output's "
                f"shape, got {extent}."
            )
        padding.append(old[axis] + more // 2)
    return padding


def _same_count(
    name: str, conv: Any, layers: int, share: str | None, settings: dict[str, Any]
) -> int:
    """How many elements make as many parameters as ``layers`` convolutions like ``conv`` have.

    An element is a weight and its places, which the layers have in common if they share them.
    """
    single = _made(name, conv, 1, settings)
    each = layers * single.weight.numel() + (1 if share else layers) * single.position.numel()
    widths = 0 if single.log_sigma is None else layers * single.log_sigma.numel()
    fixed = 0
    if settings["sigma_learned"] == "element":
        each += widths
    else:
        fixed = widths
    target = layers * conv.weight.numel() - fixed
    if target > 0 and target % each == 0:
        return target // each
    nearest = max(round(target / each), 1)
    more = nearest * each - target
    others = f" and the {layers - 1} that share its positions" if share and layers > 1 else ""
    raise UsageError(
        f"{name}: no kernel_count keeps as many parameters as the {layers * conv.weight.numel():,} "
        f"weights of it{others}. kernel_count={nearest} makes {abs(more):,} "
        f"{'more' if more > 0 else 'fewer'}."
    )


def _count(module: nn.Module) -> int:
    return sum(own.numel() for own in module.parameters())


def _told(conv: Any) -> str:
    """A convolution in a few words."""
    if isinstance(conv, tuple(_OURS.values())):
        said = f"{conv.kernel_count} elements on {' × '.join(map(str, conv.extent))}"
    else:
        said = " × ".join(map(str, conv.kernel_size))
    for name in ("stride", "dilation"):
        if set(getattr(conv, name)) != {1}:
            said += f", {name} {' × '.join(map(str, getattr(conv, name)))}"
    return said if conv.groups == 1 else f"{said}, groups {conv.groups}"
