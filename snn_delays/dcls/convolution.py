"""Convolutions whose kernels have few elements, at learned places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from snn_delays.arguments import choice, per_axis, shown, whole_number
from snn_delays.dcls.padding import PADDING_MODES, checked_padding, ends, padded
from snn_delays.errors import UsageError
from snn_delays.interpolation import DCLS_OFFSET
from snn_delays.modules.eager import has_numbers, readable
from snn_delays.modules.rest import rest_if_integer
from snn_delays.modules.width import Width
from snn_delays.ops import spacings, spacings_plan
from snn_delays.ops.spacings import SPACINGS, Spacing
from snn_delays.ops.spacings_plan import METHODS, Method

Sizes = int | Sequence[int]


class _DclsConv(Width):
    """See ``DclsConv2d``."""

    dimensions: ClassVar[int]
    moves = "positions"
    unit = "elements"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_count: int,
        *,
        extent: Sizes,
        learned_axes: Sequence[int] | None = None,
        interpolation: Spacing = "bilinear",
        sigma: float | Sequence[float] | None = None,
        sigma_learned: bool | Literal["axis", "element"] = False,
        stride: Sizes = 1,
        padding: Sizes | Literal["same", "valid"] = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        method: Method = "auto",
    ) -> None:
        owner, n = type(self).__name__, self.dimensions
        axes = list(range(n)) if learned_axes is None else list(learned_axes)
        if not axes or sorted({a for a in axes if isinstance(a, int) and 0 <= a < n}) != axes:
            raise UsageError(
                f"{owner}: learned_axes must be rising axes from 0 to {n - 1}, as torch orders "
                f"them, got {shown(learned_axes)}."
            )
        super().__init__(len(axes))
        self.learned_axes = tuple(axes)
        self.in_channels = whole_number(f"{owner}: in_channels", in_channels, 1)
        self.out_channels = whole_number(f"{owner}: out_channels", out_channels, 1)
        self.kernel_count = whole_number(f"{owner}: kernel_count", kernel_count, 1)
        self.groups = whole_number(f"{owner}: groups", groups, 1)
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise UsageError(
                    f"{owner}: {name} must be a multiple of groups = {self.groups}, got "
                    f"{getattr(self, name)}."
                )
        self.extent = per_axis(f"{owner}: extent", extent, n, 1)
        self.stride = per_axis(f"{owner}: stride", stride, n, 1)
        self.dilation = per_axis(f"{owner}: dilation", dilation, n, 1)
        self.padding_mode = choice(f"{owner}: padding_mode", padding_mode, PADDING_MODES)
        self.padding = checked_padding(owner, padding, self.stride)
        self.interpolation = choice(f"{owner}: interpolation", interpolation, SPACINGS)
        self.method = choice(f"{owner}: method", method, METHODS)
        if method == "taps" and not spacings_plan.is_depthwise(n, in_channels, groups):
            raise UsageError(
                f"{owner}: method='taps' needs groups = in_channels, in one or two dimensions, got "
                f"groups={groups} of {in_channels} channels in {n}. Use method='auto'."
            )
        self.method_used: str | None = None  # how the last input was computed
        self.first_sigma = self._first_sigma(sigma, sigma_learned)

        dense = [self.extent[a] for a in range(n) if a not in axes]
        shape = (out_channels, in_channels // groups, *dense, kernel_count)
        self.weight = nn.Parameter(torch.empty(shape))
        self.position = nn.Parameter(torch.empty(len(axes), *shape))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        if sigma_learned:
            of_each = shape if sigma_learned == "element" else (1,) * len(shape)
            self.log_sigma = nn.Parameter(torch.zeros(len(axes), *of_each))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As published: weights as of torch's convolutions, positions N(0, 0.5) if all axes are
        learned, else uniform over the extent."""
        self.write_sigma(self.first_sigma)
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)
        with torch.no_grad():
            for places, limit in zip(self.position, self.limits, strict=True):
                if len(self.learned_axes) == self.dimensions:
                    nn.init.normal_(places, 0.0, 0.5)
                else:
                    nn.init.uniform_(places, -limit, limit)
        self.clamp_()

    @property
    def limits(self) -> list[float]:
        """How far from the centre a position may be, along each learned axis."""
        return [(self.extent[axis] - 1) / 2 for axis in self.learned_axes]

    @property
    def sigma(self) -> tuple[float, ...]:
        """Standard deviation of the interpolation along each learned axis, in elements.

        Where σ is learned of each element, the mean of each axis.
        """
        if self.log_sigma is not None and has_numbers(self.log_sigma):
            return tuple(self.log_sigma.detach().exp().flatten(1).mean(1).tolist())
        return tuple(self.read_sigma())

    @sigma.setter
    def sigma(self, value: float | Sequence[float]) -> None:
        self.write_sigma(value)

    @property
    def at_rest(self) -> bool:
        """Whether positions act as whole numbers, and have no gradient to move them."""
        fixed = self.log_sigma is None and self.interpolation == "gaussian"
        return fixed and not any(self.read_sigma())

    @property
    def ranges(self) -> dict[str, list[tuple[float, float]]]:
        return {"position": [(-limit, limit) for limit in self.limits]}

    def kernel(self) -> Float[Tensor, "out in *extent"]:
        """The dense kernel that it is a convolution with."""
        return spacings.dense_kernel(*self._elements())

    def forward(self, x: Float[Tensor, "*batch_channels_space"]) -> Tensor:
        rest_if_integer(self)
        n = self.dimensions
        if x.dim() not in (n + 1, n + 2) or x.shape[-n - 1] != self.in_channels:
            raise UsageError(
                f"{type(self).__name__}: needs [N, {self.in_channels}, {n} axes of space] or the "
                f"same without N, got {list(x.shape)}."
            )
        y, self.method_used = self._convolved(x if x.dim() == n + 2 else x.unsqueeze(0))
        return y if x.dim() == n + 2 else y.squeeze(0)

    def _convolved(self, x: Tensor) -> tuple[Tensor, str]:
        """The sums, and the method by which they were computed."""
        around = ends(self.padding, self.extent, self.dilation)
        x, padding = padded(x, around, self.padding_mode)
        return spacings_plan.convolution(
            x,
            *self._elements(),
            bias=self.bias,
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            groups=self.groups,
            method=self.method,
        )

    def _elements(self) -> tuple[Any, ...]:
        """Weights, positions and widths, as ``ops/spacings.py`` takes them."""
        settings = (self.extent, self.learned_axes, self.interpolation)
        return self.weight, self.position, self._widths(), *settings

    def _widths(self) -> list[float | Tensor]:
        """σ of each learned axis, a number, or where a graph outlives it or learns it a tensor."""
        learned: Any = self.log_sigma
        if learned is not None:
            widths = learned.exp()
            return [one if one.numel() > 1 else one.reshape(()) for one in widths]
        if self.interpolation == "bilinear":
            return [0.0] * len(self.learned_axes)
        return list(self.read_sigma() if readable(self._sigma) else self._sigma.unbind())

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        # Weights and positions are no images, which channels_last would take some of them for.
        return super()._apply(lambda one: fn(one.flatten()).view(one.shape), recurse)

    def _first_sigma(self, given: Any, learned: Any) -> Any:
        owner = type(self).__name__
        learned = choice(f"{owner}: sigma_learned", learned, (False, True, "axis", "element"))
        if self.interpolation == "bilinear":
            if given is not None or learned:
                raise UsageError(
                    f"{owner}: interpolation='bilinear' has no width, got sigma={shown(given)}, "
                    f"sigma_learned={learned!r}. Use 'triangle' or 'gaussian'."
                )
            return 0.0
        if given is not None:
            return given
        # As published: SIG = 0.23 and 0. The logarithm of 0 cannot be learned.
        triangle = 0.5 if learned else 0.0
        return 0.23 + DCLS_OFFSET if self.interpolation == "gaussian" else triangle

    def extra_repr(self) -> str:
        width = ""
        if self.interpolation != "bilinear" and has_numbers(self._sigma):
            width = f", sigma=({', '.join(f'{one:.2f}' for one in self.sigma)})"
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_count={self.kernel_count}",
            f"extent={self.extent}, interpolation={self.interpolation}{width}",
        ]
        usual = {
            "learned_axes": tuple(range(self.dimensions)),
            "stride": (1,) * self.dimensions,
            "padding": (0,) * self.dimensions,
            "dilation": (1,) * self.dimensions,
            "groups": 1,
            "padding_mode": "zeros",
            "method": "auto",
        }
        parts += [f"{n}={getattr(self, n)}" for n, v in usual.items() if getattr(self, n) != v]
        return ", ".join(parts + ([] if self.bias is not None else ["bias=False"]))


class DclsConv1d(_DclsConv):
    """``nn.Conv1d`` with few elements at learned places; see ``DclsConv2d``.

    Shape:
        ``[N, in, L] → [N, out, L']``, or the same without N.
    """

    dimensions = 1


class DclsConv2d(_DclsConv):
    """``nn.Conv2d`` whose kernel has few elements, which learn where they stand.

        K[o, i, y, x] = Σ_k w[o, i, k] · g(y − p_y[o, i, k]) · g(x − p_x[o, i, k])

    Args:
        in_channels, out_channels, stride, padding, dilation, groups, bias, padding_mode: as for
            ``nn.Conv2d``.
        kernel_count: elements of each kernel.
        extent: how large the kernel is, over all its elements, in torch's order of axes.
        learned_axes: along which axes elements move; ``None`` is all. On the others the kernel is
            dense: every place has ``kernel_count`` elements of its own.
        interpolation: how a position between places acts: ``"bilinear"`` (DCLS's v1),
            ``"triangle"`` (max) or ``"gaussian"`` (gauss), normalised over the extent.
        sigma: the Gaussian's true standard deviation, or by how much a triangle is wider than a
            bilinear one, in elements: one number, or one for each learned axis. ``None`` is 0.5 and
            0, as published. Schedules set it (``set_sigma``); at 0 Gaussian positions act as whole
            numbers and rest.
        sigma_learned: whether σ is learned, as its logarithm ``log_sigma``: one for each learned
            ``"axis"`` (True) or for each ``"element"`` and axis.
        method: how to compute it: ``"dense"``; ``"taps"``, without the zeros between elements, for
            depthwise kernels on the CPU; ``"reference"``, element by element; or ``"auto"``, the
            fastest. ``method_used`` says which it was.

    Shape:
        ``[N, in, H, W] → [N, out, H', W']``, or the same without N. ``weight``
        ``[out, in / groups, *extents of axes not learned, kernel_count]``; ``position`` one row for
        each learned axis, in torch's order, of ``weight``'s shape: elements from the centre of the
        extent, within ± (extent − 1) / 2.

    Raises:
        UsageError: sizes or names that make no convolution; an input of another shape; positions
            that are NaN or infinite (on a GPU the output is NaN instead).

    Reference:
        Khalfaoui-Hassani, Pellegrini, Masquelier, "Dilated convolution with learnable spacings"
        (2021, arXiv:2112.03740) and "… beyond bilinear interpolation" (2023, arXiv:2306.00817).
    """

    dimensions = 2


class DclsConv3d(_DclsConv):
    """``nn.Conv3d`` with few elements at learned places; see ``DclsConv2d``.

    Shape:
        ``[N, in, D, H, W] → [N, out, D', H', W']``, or the same without N.
    """

    dimensions = 3
