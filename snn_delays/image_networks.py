"""Networks for images: ConvNeXt-style and ResNet-style, their convolutions given as a factory.

A convolution keeps height and width: ``standard``, ``dilated`` or ``learned_spacings`` of one
number of parameters differ in how far their kernels reach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from snn_delays.arguments import choice, real_number, whole_number
from snn_delays.dcls import DclsConv2d
from snn_delays.errors import UsageError

# Of (channels in, channels out, groups, whether it has a bias).
Convolution = Callable[[int, int, int, bool], nn.Module]
# Of (channels, convolution).
Block = Callable[[int, Convolution], nn.Module]
# Of (channels).
Norm = Callable[[int], nn.Module]


def standard(kernel_size: int) -> Convolution:
    """Dense kernels of ``kernel_size`` × ``kernel_size``."""
    return dilated(kernel_size, 1)


def dilated(kernel_size: int, dilation: int) -> Convolution:
    """Kernels whose elements stand ``dilation`` apart, in a square of
    ``dilation · (kernel_size − 1) + 1``."""

    def made(n_in: int, n_out: int, groups: int, bias: bool) -> nn.Module:
        settings: dict[str, Any] = {"dilation": dilation, "groups": groups, "bias": bias}
        return nn.Conv2d(n_in, n_out, kernel_size, padding="same", **settings)

    return made


def learned_spacings(
    kernel_count: int, extent: int, first_spread: float = 0.5, **settings: Any
) -> Convolution:
    """Kernels of ``kernel_count`` elements that learn where they stand in a square of ``extent``.

    Args:
        first_spread: standard deviation of the first positions, in pixels; 0.5 as published. A
            short training moves them by little: then they had better start far apart.
        settings: as for ``DclsConv2d``.
    """
    first_spread = real_number("learned_spacings: first_spread", first_spread, 0)

    def made(n_in: int, n_out: int, groups: int, bias: bool) -> nn.Module:
        of_each: dict[str, Any] = {"extent": extent, "groups": groups, "bias": bias}
        conv = DclsConv2d(n_in, n_out, kernel_count, padding="same", **of_each, **settings)
        nn.init.normal_(conv.position, 0.0, first_spread)
        conv.clamp_()
        return conv

    return made


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of ``[N, C, H, W]``, at every place by itself."""

    def forward(self, input: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """y = x + MLP(norm(depthwise(x))), the MLP at every place by itself.

    Args:
        channels: of input and output.
        convolution: makes the depthwise convolution.
        expansion: how many times as wide the MLP is inside.
        drop_path: share of samples whose branch is left out in training.

    Shape:
        ``[N, C, H, W] → [N, C, H, W]``.

    Reference:
        Liu et al., "A ConvNet for the 2020s" (2022, arXiv:2201.03545); without its layer scale.
    """

    def __init__(
        self, channels: int, convolution: Convolution, expansion: int = 4, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.depthwise = convolution(channels, channels, channels, True)
        self.norm = nn.LayerNorm(channels)
        inside = expansion * channels
        self.mlp = nn.Sequential(
            nn.Linear(channels, inside), nn.GELU(), nn.Linear(inside, channels)
        )
        self.drop_path = drop_path

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        y = self.mlp(self.norm(self.depthwise(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        if self.training and self.drop_path:
            kept = y.new_empty(len(y), 1, 1, 1).bernoulli_(1 - self.drop_path)
            y = y * kept / (1 - self.drop_path)
        return x + y


class ResNetBlock(nn.Module):
    """y = relu(x + norm(conv(relu(norm(conv(x))))))

    Args:
        channels: of input and output.
        convolution: makes both convolutions.

    Shape:
        ``[N, C, H, W] → [N, C, H, W]``.

    Reference:
        He et al., "Deep residual learning for image recognition" (2016, arXiv:1512.03385).
    """

    def __init__(self, channels: int, convolution: Convolution) -> None:
        super().__init__()
        self.first = convolution(channels, channels, 1, False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = convolution(channels, channels, 1, False)
        self.second_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        y = F.relu(self.first_norm(self.first(x)))
        return F.relu(x + self.second_norm(self.second(y)))


class ImageNetwork(nn.Module):
    """A stem, stages of blocks, each with half the height and width of the one before, and the
    mean over what is left of the image into a linear layer.

    Args:
        frame: shape of an image, ``(C, H, W)``.
        n_classes: number of classes.
        widths: channels of each stage.
        depths: blocks of each stage.
        block: makes a block of (channels, convolution), such as ``ConvNeXtBlock``.
        convolution: makes the blocks' convolutions, such as ``standard(7)``.
        norm: makes the norms between stages.
        patch: the stem takes so many by so many pixels together.
        share_positions: ``"stage"`` lets the convolutions of a stage that learn spacings share
            them; None gives each its own.

    Shape:
        ``[T, N, C, H, W] → [T, N, classes]``: every step is an image, answered by itself.

    Raises:
        UsageError: an input that is no image, or too small for so many stages.
    """

    readout = "mean"

    def __init__(
        self,
        frame: tuple[int, ...],
        n_classes: int,
        widths: Sequence[int],
        depths: Sequence[int],
        block: Block,
        convolution: Convolution,
        *,
        norm: Norm = ChannelNorm,
        patch: int = 2,
        share_positions: Literal["stage"] | None = "stage",
    ) -> None:
        super().__init__()
        patch = whole_number("ImageNetwork: patch", patch, 1)
        choice("ImageNetwork: share_positions", share_positions, ("stage", None))
        if len(widths) != len(depths) or not len(widths):
            raise UsageError(
                f"ImageNetwork: depths must be one for each of widths, at least one, got "
                f"{list(depths)} for {list(widths)}."
            )
        least = patch * 2 ** (len(widths) - 1)
        if len(frame) != 3 or min(frame[1:]) < least:
            raise UsageError(
                f"ImageNetwork: the input must be images (C, H, W) of at least {least} × {least} "
                f"for {len(widths)} stages, got {tuple(frame)}. Give fewer widths or a smaller "
                "patch, or data of images."
            )
        stages, before = [], frame[0]
        for place, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            size = 2 if place else patch
            smaller = nn.Conv2d(before, width, size, stride=size)
            ends = [norm(before), smaller] if place else [smaller, norm(width)]
            stage = nn.Sequential(*ends, *(block(width, convolution) for _ in range(depth)))
            if share_positions is not None:
                share_positions_(stage)
            stages.append(stage)
            before = width
        self.stages = nn.Sequential(*stages)
        self.head_norm = nn.LayerNorm(before)
        self.head = nn.Linear(before, n_classes)

    def forward(self, x: Float[Tensor, "T N C H W"]) -> Float[Tensor, "T N classes"]:
        if x.dim() != 5:
            raise UsageError(f"ImageNetwork: needs images [T, N, C, H, W], got {list(x.shape)}.")
        found = self.stages(x.flatten(0, 1)).mean((2, 3))
        return self.head(self.head_norm(found)).unflatten(0, x.shape[:2])

    def traced(self) -> Any:
        """Refuses: what is exported is spikes and their delays.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "trace: a network for images has no spikes and no delays, so there is no delay table "
            "of it. Save it with torch.save(net.state_dict(), …), or trace a spiking network."
        )


def share_positions_(stage: nn.Module) -> None:
    """Let all convolutions in ``stage`` that learn spacings and have kernels of one shape share
    the first one's ``position``, as ConvNeXt-dcls does; it then counts once."""
    first: dict[Any, nn.Parameter] = {}
    for part in stage.modules():
        if isinstance(part, DclsConv2d):
            part.position = first.setdefault(part.position.shape, part.position)
