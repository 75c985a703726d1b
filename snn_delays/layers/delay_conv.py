"""Convolutions over space in which every weight also has a learnable delay."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.parametrize import register_parametrization

from snn_delays.arguments import choice, per_axis, whole_number
from snn_delays.errors import UsageError
from snn_delays.interpolation import Interpolation, dense_kernel
from snn_delays.layers.delayed import Delayed
from snn_delays.layers.granularity import First
from snn_delays.layers.placed import Placed
from snn_delays.modules.inputs import require_frames
from snn_delays.ops import convolution
from snn_delays.ops.convolution import METHODS, Method
from snn_delays.ops.convolution_dense import Geometry, product

Granularity = Literal["synaptic", "axonal", "dendritic", "common"]


class _DelayConv(Delayed):
    """What both have in common; see ``DelayConv1d``."""

    granularities: ClassVar[tuple[str, ...]] = ("synaptic", "axonal", "dendritic", "common")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        max_delay: int,
        *,
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        kernel_count: int = 1,
        granularity: Granularity = "synaptic",
        interpolation: Interpolation = "gaussian",
        sigma: float | None = None,
        sigma_learned: bool = False,
        first_delays: First | None = None,
        spacing: Literal["dense", "learned"] = "dense",
        bias: bool = False,
        step_mode: Literal["s", "m"] = "m",
        method: Method = "auto",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.in_channels = whole_number(f"{name}: in_channels", in_channels, 1)
        self.out_channels = whole_number(f"{name}: out_channels", out_channels, 1)
        self.groups = whole_number(f"{name}: groups", groups, 1)
        for which, channels in (("in", self.in_channels), ("out", self.out_channels)):
            if channels % self.groups:
                raise UsageError(
                    f"{name}: groups must divide {which}_channels, got {self.groups} of {channels}."
                )
        self.kernel_size = per_axis(f"{name}: kernel_size", kernel_size, self.space, 1)
        self.stride = per_axis(f"{name}: stride", stride, self.space, 1)
        self.padding = per_axis(f"{name}: padding", padding, self.space, 0)
        self.dilation = per_axis(f"{name}: dilation", dilation, self.space, 1)
        settings = {"kernel_count": kernel_count, "max_delay": max_delay, "method": method}
        settings |= {"granularity": granularity, "interpolation": interpolation, "sigma": sigma}
        settings |= {"first_delays": first_delays, "step_mode": step_mode}
        self._settle(name, METHODS, settings)
        if granularity == "axonal" and self.groups > 1:
            raise UsageError(
                f"{name}: granularity='axonal' needs groups=1, got {self.groups}. Use 'dendritic': "
                "a depthwise output has one input."
            )
        own = self.in_channels // self.groups
        self.spacing = choice(f"{name}: spacing", spacing, ("dense", "learned"))
        places = self.kernel_size if spacing == "dense" else (1,) * self.space
        shape = (self.out_channels, own, *places, self.kernel_count)
        self._make(*shape, bias=bias, sigma_learned=sigma_learned)
        if spacing == "learned":
            placed = Placed(shape, self.kernel_size)
            register_parametrization(self, "weight", placed, unsafe=True)

    @property
    def geometry(self) -> Geometry:
        """How its kernel goes over a map."""
        return Geometry(self.stride, self.padding, self.dilation, self.groups)

    @property
    def ends(self) -> str:
        kernel = " × ".join(map(str, self.kernel_size))
        if self.groups == self.in_channels == self.out_channels:
            return f"{self.groups} depthwise, {kernel}"
        return f"{self.in_channels} → {self.out_channels}, {kernel}"

    def _require_shape(self, x: Tensor, axes: tuple[str, ...]) -> None:
        require_frames(type(self).__name__, x, self.in_channels, self.space, axes)
        if min(self.geometry.after(self.kernel_size, tuple(x.shape[-self.space :]))) < 1:
            raise UsageError(
                f"{type(self).__name__}: input must be at least the kernel's "
                f"{list(self.kernel_size)} in space, padding included, got {list(x.shape)}."
            )

    def _convolved(
        self, x: Tensor, weight: Tensor, delay: Tensor, sigma: float | Tensor
    ) -> tuple[Tensor, str]:
        method = convolution.method_for(x, weight, sigma, self.reach, self.groups, self.method)
        kernel: dict[str, Any] = {"max_delay": self.reach, "interpolation": self.interpolation}
        kernel |= {"sigma": sigma, "geometry": self.geometry, "method": method}
        return convolution.delay_convolution(x, weight, delay, **kernel), method

    def _latest(
        self, x: Tensor, weight: Tensor, delay: Tensor, sigma: float | Tensor
    ) -> Float[Tensor, "batch out *space_after"]:
        kernel = dense_kernel(weight, delay, sigma, self.reach, self.interpolation)
        return product(x, kernel, self.geometry, history=True)[-1]

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, groups={self.groups}, "
            + ("" if self.spacing == "dense" else f"spacing={self.spacing}, ")
            + self._settings_repr()
        )


class DelayConv1d(_DelayConv):
    """A convolution over one axis of space, such as a cochlea's channels, with learnable delays.

        y[t, o, p] = b[o] + Σ_i Σ_s Σ_k w[o, i, s, k]·Σ_j g_σ(j − d[o, i, s, k])·x[t − j, i, p + s]

    Its kernel is shared by all positions, delays included. Like ``DelayLayer`` it is a SpikingJelly
    module that remembers the last ``max_delay`` inputs between calls, until
    ``functional.reset_net``; a sequence may come whole, in pieces or step by step.

    Args:
        in_channels, out_channels: channels of the maps.
        kernel_size, stride, padding, dilation: in space, a number or one per axis, as of torch's
            Conv1d and Conv2d.
        max_delay: largest delay, in steps; the kernel has ``max_delay + 1`` taps in time.
        groups: of channels that do not hear each other; ``in_channels`` makes it depthwise.
        kernel_count: how many delayed synapses each weight's place has.
        granularity: one delay per weight (``"synaptic"``), per input channel (``"axonal"``, with
            one group), per output channel (``"dendritic"``), or for all (``"common"``).
        interpolation, sigma, sigma_learned, first_delays, bias: as for ``DelayLayer``.
        spacing: ``"dense"``, ``kernel_count`` weights at every place of the kernel; or
            ``"learned"``, ``kernel_count`` in all, each of which learns its place in
            ``kernel_size`` as well as its delay (``parametrizations.weight[0].position``,
            ``placed.py``).
        method: ``"dense"`` is torch's convolution with time as one more axis, ``"taps"`` takes
            spikes one by one on the CPU; ``"auto"`` chooses by how many there are
            (``ops/convolution.py``).

    Shape:
        ``[T, N, C, W] → [T, N, out_channels, W']``, or ``[N, C, W]`` with ``step_mode="s"``; W' as
        torch's. ``weight`` is ``[out, in / groups, kernel_size, kernel_count]``; ``delay`` (steps)
        is the same, with 1 in the place of what shares it.

    Raises:
        UsageError: sizes, ranges or names that make no layer; an input of another shape; a batch of
            another size than the remembered one; delays that are NaN or infinite.

    Reference:
        Khalfaoui-Hassani, Pellegrini, Masquelier, "Dilated convolution with learnable spacings"
        (2021, arXiv:2112.03740): a kernel dense in space whose spacings are learned in time.
        Hammouamri, Khalfaoui-Hassani, Masquelier (2024, arXiv:2306.17670): its times as delays.
    """

    space: ClassVar[int] = 1
    undelayed: ClassVar[str] = "nn.Conv1d"


class DelayConv2d(_DelayConv):
    """A convolution over two axes of space, such as an event camera's, with learnable delays.

        y[t, o, p] = b[o] + Σ_i Σ_s Σ_k w[o, i, s, k]·Σ_j g_σ(j − d[o, i, s, k])·x[t − j, i, p + s]

    As ``DelayConv1d``, whose arguments, errors and references it has, with p and s of two axes.

    Shape:
        ``[T, N, C, H, W] → [T, N, out_channels, H', W']``, or ``[N, C, H, W]`` with
        ``step_mode="s"``. ``weight`` is ``[out, in / groups, *kernel_size, kernel_count]``.
    """

    space: ClassVar[int] = 2
    undelayed: ClassVar[str] = "nn.Conv2d"
