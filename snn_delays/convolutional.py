"""A convolutional classifier: a stem, stages of separable convolutions with delays, a readout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from inspect import signature
from typing import Any

import torch
from spikingjelly.activation_based import functional, layer
from torch import Tensor, nn

from snn_delays import losses
from snn_delays.arguments import choice, shown, whole_number
from snn_delays.errors import UsageError
from snn_delays.layers import DelayConv1d, DelayConv2d, DelayLayer, delay_layers
from snn_delays.modules.inputs import require_frames, require_sequence
from snn_delays.network import (
    PUBLISHED_NEURON,
    Chain,
    leaky_as,
    made,
    neurons_of,
    of_each,
)

_DELAYED: dict[int, Any] = {1: DelayConv1d, 2: DelayConv2d}
_PLAIN: dict[int, Any] = {1: layer.Conv1d, 2: layer.Conv2d}
_POOLS: dict[int, Any] = {1: layer.AdaptiveAvgPool1d, 2: layer.AdaptiveAvgPool2d}
_NORMS: dict[int, Any] = {1: layer.BatchNorm1d, 2: layer.BatchNorm2d}

Factory = Callable[[int, int], nn.Module]


def patches(pre: int, post: int, size: int, *, space: int = 1) -> nn.Module:
    """A stem: a plain convolution of patches that do not overlap, Kaiming-uniform for ReLU.

    Args:
        pre, post: channels.
        size: of a patch, and the stride from one to the next.
        space: axes of a map.
    """
    stem = _PLAIN[space](pre, post, size, stride=size, bias=False, step_mode="m")
    nn.init.kaiming_uniform_(stem.weight, nonlinearity="relu")
    return stem


def separable(
    pre: int,
    post: int,
    *,
    max_delay: int,
    kernel_size: int = 7,
    stride: int = 1,
    space: int = 1,
    **settings: Any,
) -> nn.Module:
    """A stage's synapses: a depthwise convolution with delays, then a plain one of size 1.

    Args:
        pre, post: channels.
        kernel_size: odd; a map keeps its size but for the ``stride``.
        max_delay, settings: of the depthwise convolution, see ``DelayConv1d``; of 0 steps, it has
            no delays.
        space: axes of a map.
    """
    shape = {"stride": stride, "padding": kernel_size // 2, "groups": pre}
    if max_delay:
        depthwise = _DELAYED[space](pre, pre, kernel_size, max_delay, **shape, **settings)
    else:
        depthwise = _PLAIN[space](pre, pre, kernel_size, bias=False, step_mode="m", **shape)
        nn.init.kaiming_uniform_(depthwise.weight, nonlinearity="relu")
    return nn.Sequential(depthwise, patches(pre, post, 1, space=space))


# By axes of a map: the size of a patch, and what stages there are.
PATCH = {1: 7, 2: 2}
STAGES: dict[int, list[Factory]] = {
    1: [partial(separable, max_delay=longest) for longest in (7, 9, 11)],
    2: [
        partial(separable, max_delay=longest, kernel_size=3, stride=stride, space=2)
        for longest, stride in ((7, 1), (9, 2), (11, 2))
    ],
}
LAST = partial(DelayLayer, max_delay=11)


class DelayConvSNN(Chain):
    """Spiking classifier of maps: convolutions over space, each weight in time with its delay.

    A stem of patches, then stages, each synapses → norm → neurons → dropout; the last synapses lead
    from all that remains of the map into leaky membranes that never spike::

        DelayConvSNN(140, 20)                      # a cochlea's 140 channels, one axis
        DelayConvSNN((2, 34, 34), 10)              # an event camera's pixels, two
        DelayConvSNN(140, 20, (16, 32), [partial(separable, max_delay=n) for n in (8, 12)])

    Args:
        frame: shape of one step's input: channels of one map, or (channels, W) or (channels, H, W)
            of several.
        classes: how many there are.
        widths: channels of each stage; the stem has those of the first.
        synapses: makes the synapses of a stage, of (pre, post) channels; one for all or one for
            each. ``None``: separable ones with delays up to 7, 9 and 11 steps (70 to 110 ms at 10
            ms a step), over 7 positions of one axis or 3 × 3 of two; for three stages.
        stem: makes the stem, of (pre, post) channels. ``None``: patches of 7 positions, or 2 × 2.
        pool: whether the readout has the mean of each map, not all its positions: fewer synapses,
            and a class may shift over the map.
        last: makes the synapses of the readout, of (pre, post) neurons.
        neuron: makes the neurons of a stage, which are alike all over a map.
        norm: makes what normalises so many channels; ``"batch"`` is BatchNorm, ``None`` nothing.
        dropout: share of spiking neurons silenced per sample for its whole duration, in training.
        output, readout, tail: as for ``DelaySNN``.

    Shape:
        ``[T, N, *frame] → [T + tail, N, classes]``. With ``step_mode="s"`` (streaming)
        ``[N, *frame] → [N, classes]``. A whole sequence always starts from silence.

    Raises:
        UsageError: sizes, ranges or names that make no network; neurons with constants of each;
            an input of another shape.

    Reference:
        Khalfaoui-Hassani, Pellegrini, Masquelier (2021, arXiv:2112.03740), and Hammouamri,
        Khalfaoui-Hassani, Masquelier (2024, arXiv:2306.17670), whose chain of blocks this is.
    """

    def __init__(
        self,
        frame: int | Sequence[int],
        classes: int,
        widths: Sequence[int] = (32, 64, 128),
        synapses: Factory | Sequence[Factory] | None = None,
        *,
        stem: Factory | None = None,
        pool: bool = False,
        last: Factory = LAST,
        neuron: Callable[..., nn.Module] = PUBLISHED_NEURON,
        norm: Callable[[int], nn.Module] | str | None = "batch",
        dropout: float = 0.25,
        output: Callable[[], nn.Module] | None = None,
        readout: losses.Readout = "sum_softmax",
        tail: int | None = None,
    ) -> None:
        super().__init__()
        name = "DelayConvSNN"
        self.frame = _frame(frame)
        maps = self.frame if len(self.frame) > 1 else (1, *self.frame)
        space = len(maps) - 1
        classes = whole_number(f"{name}: classes", classes, 1)
        must = "be a whole number >= 1 for each of at least one stage"
        if not isinstance(widths, Iterable) or not (given := list(widths)):
            raise UsageError(f"{name}: widths must {must}, got {shown(widths)}.")
        widths = [whole_number(f"{name}: widths", one, 1, must=must) for one in given]
        stages = STAGES[space] if synapses is None else synapses
        makers = of_each(f"{name}: synapses", stages, len(widths), "stages")
        if not callable(norm):
            choice(f"{name}: norm", norm, ("batch", None))
        self._settle(dropout, readout, tail)
        self.widths = widths
        self._single = len(self.frame) == 1
        first = stem or partial(patches, size=PATCH[space], space=space)
        pre = [maps[0], widths[0], *widths[:-1]]
        for one, own, width in zip([first, *makers], pre, [widths[0], *widths], strict=True):
            between = made(f"{name}: synapses", one, own, width)
            maps = _after(between, maps)
            normed = _NORMS[space] if norm == "batch" else norm
            self._append(between, normed, width, _alike(neuron, width))
        means = [_POOLS[space](1)] if choice(f"{name}: pool", pool, (True, False)) else []
        size = maps[0] if means else int(torch.Size(maps).numel())
        head = made(f"{name}: last", last, size, classes)
        whole = nn.Sequential(*means, layer.Flatten(), head)
        self._read_out(whole, output or partial(leaky_as, name, neuron, classes))
        self._begin([one.max_delay for block in self.blocks for one in delay_layers(block)])

    def _require(self, x: Tensor, axes: tuple[str, ...]) -> None:
        if self._single:
            require_sequence("DelayConvSNN", x, self.frame[0], axes)
            return
        require_frames("DelayConvSNN", x, self.frame[0], len(self.frame) - 1, axes)
        if tuple(x.shape[len(axes) :]) != self.frame:
            raise UsageError(
                f"DelayConvSNN: input must be maps {list(self.frame)}, got "
                f"{list(x.shape[len(axes) :])}."
            )

    def _seen(self, x: Any) -> Any:
        return x.unsqueeze(-2) if self._single else x  # one map of all channels


def _frame(given: Any) -> tuple[int, ...]:
    """The shape of one step's input."""
    name = "DelayConvSNN: frame"
    must = "be a number of channels, or the shape (channels, W) or (channels, H, W) of maps"
    sizes = list(given) if isinstance(given, Iterable) else [given]
    if not 1 <= len(sizes) <= 3:
        raise UsageError(f"{name} must {must}, got {shown(given)}.")
    return tuple(whole_number(name, one, 1, must=must) for one in sizes)


@torch.no_grad()
def _after(synapses: nn.Module, maps: tuple[int, ...]) -> tuple[int, ...]:
    """Channels and size of the maps that synapses make of such maps."""
    functional.set_step_mode(synapses, "m")
    like = next(synapses.parameters(), torch.zeros(0))
    try:
        found = synapses(like.new_zeros(1, 1, *maps))
    except RuntimeError as error:  # torch's own, of a kernel that exceeds the map
        raise UsageError(
            f"DelayConvSNN: maps of {list(maps)} are too small for the next stage. Use fewer "
            "stages, or a smaller stride or stem."
        ) from error
    functional.reset_net(synapses)
    return tuple(found.shape[2:])


def _alike(neuron: Callable[..., nn.Module], width: int) -> nn.Module:
    """Neurons of a factory that are the same all over a map."""
    size = signature(neuron).parameters.get("size") if callable(neuron) else None
    if size is not None and size.default is size.empty:
        raise UsageError(
            "DelayConvSNN: neuron must make neurons that are alike all over a map, got some with "
            f"constants of each, {shown(neuron)}. Use lif or cubalif."
        )
    return neurons_of("DelayConvSNN", neuron, width)
