#!/usr/bin/env python
"""Time of one convolution with learnable delays against conv3d of its dense kernel.

Events of a camera, ``[T, N, 2, H, W]``, into one layer; conv3d is torch's own of the same dense
kernel, which it is given ready made. A first layer, whose input needs no gradient, and one behind
others, whose does. All in one process, in turns; medians of wall time.

    python scripts/bench/delay_conv.py [--repeats 5] [--density 0.02] [--kernel 3] [--small]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from spikingjelly.activation_based import functional
from timing import alternate, machine
from torch import Tensor
from torch.nn import functional as F

from snn_delays.interpolation import dense_kernel
from snn_delays.layers import DelayConv2d
from snn_delays.loops.processor import prepare_cpu

MAX_DELAY = 20


def conv3d(x: Tensor, kernel: Tensor, groups: int) -> Tensor:
    """The same sums, ``[N, O, T, H, W]``, of a kernel ``[O, I, taps, h, w]`` turned in time."""
    lanes = F.pad(x.movedim(0, 2), (0, 0, 0, 0, kernel.shape[2] - 1, 0))
    return F.conv3d(
        lanes, kernel, padding=(0, kernel.shape[-1] // 2, kernel.shape[-1] // 2), groups=groups
    )


def runs(layer: DelayConv2d, x: Tensor, *, step: bool) -> dict[str, Callable[[], object]]:
    """What is timed: a forward pass, or one forward and backward."""

    def ours() -> None:
        functional.reset_net(layer)
        layer.zero_grad()
        x.grad = None
        y = layer(x)
        if step:
            y.backward(torch.ones_like(y))

    with torch.no_grad():
        kernel = dense_kernel(layer.weight, layer.delay, layer.sigma, MAX_DELAY, "gaussian")
    turned = kernel.movedim(-1, 2).flip(2).contiguous().requires_grad_(step)

    def theirs() -> None:
        turned.grad = x.grad = None
        y = conv3d(x, turned, layer.groups)
        if step:
            y.backward(torch.ones_like(y))

    return {"ours": ours, "conv3d": theirs}


def cases(options: argparse.Namespace) -> dict[str, tuple[dict[str, Any], list[int], bool]]:
    """Settings of the layer, shape of its input, and whether that needs a gradient."""
    size, wide = (34, 32) if not options.small else (6, 4)
    k = {"kernel_size": options.kernel, "padding": options.kernel // 2}
    steps, batch = (60, 16) if not options.small else (8, 2)
    half = size // 2
    return {
        f"2 → {wide}, first": (
            {"in_channels": 2, "out_channels": wide, **k},
            [steps, batch, 2, size, size],
            False,
        ),
        f"{wide} → {wide}": (
            {"in_channels": wide, "out_channels": wide, **k},
            [steps, batch, wide, half // 2, half // 2],
            True,
        ),
        f"{wide} depthwise": (
            {"in_channels": wide, "out_channels": wide, "groups": wide, **k},
            [steps, batch, wide, half, half],
            True,
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--density", type=float, default=0.02)
    parser.add_argument("--kernel", type=int, default=3)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    prepare_cpu()
    torch.manual_seed(0)
    print(
        f"{machine('cpu')}, torch {torch.__version__}; kernel {options.kernel} × {options.kernel} "
        f"× {MAX_DELAY + 1} taps, inputs of density {options.density:g}, fp32"
    )
    print(f"{'layer':>14} {'σ':>6} {'':>8} {'method':>7} {'ours ms':>9} {'conv3d ms':>9} {'÷':>6}")
    for name, (settings, shape, graded) in cases(options).items():
        layer = DelayConv2d(max_delay=MAX_DELAY, **settings)
        x = (torch.rand(shape) < options.density).float().requires_grad_(graded)
        for sigma in (10.0, 0.5, 0.0):
            layer.sigma = sigma
            for step in (False, True):
                with torch.set_grad_enabled(step):
                    times = alternate(runs(layer, x, step=step), options.repeats)
                mine, theirs = (statistics.median(one) for one in times.values())
                print(
                    f"{name:>14} {sigma:6.2f} {'training' if step else 'forward':>8} "
                    f"{layer.method_used:>7} {1000 * mine:9.3g} {1000 * theirs:9.3g} "
                    f"{theirs / mine:6.3g}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
