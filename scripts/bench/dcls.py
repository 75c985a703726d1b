#!/usr/bin/env python
"""Training step of depthwise DCLS convolutions on the CPU: DCLS 0.1.1, our dense kernel, our taps.

A step is forward and backward, to x, weights and positions, all in one process, in turns, on one
thread; medians of its processor time, which other programs disturb less than the clock on the wall.
The bound is the innermost operation alone on numbers that stay in the first-level cache: fifteen
rows loaded for twenty-eight fused multiply-adds, as often as the taps of three passes need it.

    python scripts/bench/dcls.py [--repeats 5] [--small]
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from typing import Any

import numpy as np
import torch
from timing import machine, versions
from torch import Tensor, nn

from snn_delays.dcls import DclsConv2d
from snn_delays.loops.loop import loop
from snn_delays.loops.processor import prepare_cpu
from snn_delays.ops.vectors import LANES, TALL, add_two_rows, load_tall, store_apart

BATCH = 8
PLANES = [(96, 56), (192, 28)]  # channels, and rows and columns
KERNELS = [(17, 34, "bilinear"), (23, 26, "bilinear"), (23, 26, "gaussian")]
FLAT = [7, 11, 17, 23, 41]
SIGMA, SIG = 0.5, 0.23  # the same width, in ours and in the package's numbers
VERSIONS = {"bilinear": "v1", "gaussian": "gauss"}


def package(channels: int, extent: int, count: int, interpolation: str) -> nn.Module:
    """DCLS's module, its elements anywhere within the extent."""
    from DCLS.construct.modules import Dcls2d

    logging.disable(logging.WARNING)  # that there is no GPU, for every module
    theirs: Any = Dcls2d(
        channels,
        channels,
        kernel_count=count,
        padding=extent // 2,
        dilated_kernel_size=extent,
        groups=channels,
        version=VERSIONS[interpolation],
    )
    logging.disable(logging.NOTSET)
    with torch.no_grad():
        theirs.P.uniform_(-(extent // 2), extent // 2)
        if interpolation == "gaussian":
            theirs.SIG.fill_(SIG)
    return theirs


def ours(theirs: Any, extent: int, interpolation: str, method: Any) -> nn.Module:
    """The same convolution: DCLS's first row of positions belongs to the last axis."""
    channels, _, count = theirs.weight.shape
    make: Any = DclsConv2d
    conv = make(
        channels,
        channels,
        count,
        extent=extent,
        padding=extent // 2,
        groups=channels,
        interpolation=interpolation,
        sigma=SIGMA if interpolation == "gaussian" else None,
        method=method,
    )
    with torch.no_grad():
        conv.weight.copy_(theirs.weight)
        conv.position.copy_(theirs.P.flip(0))
        conv.bias.copy_(theirs.bias)
    return conv


def step(module: nn.Module, x: Tensor) -> float:
    """Processor seconds of one forward and backward pass."""
    x.grad = None
    module.zero_grad()
    began = time.process_time()
    module(x).sum().backward()
    return time.process_time() - began


def medians(modules: dict[str, nn.Module], x: Tensor, repeats: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in modules}
    for repeat in range(repeats + 1):
        for name, module in modules.items():
            found = step(module, x)
            if repeat:  # the first call compiles
                times[name].append(found)
    return {name: 1000 * statistics.median(found) for name, found in times.items()}


@loop
def _inner(sums, coefficients, plane, stride, times):
    """The loops' innermost operation, ``times`` times."""
    tile = load_tall(sums, 0, LANES)
    for i in range(times):
        tile = add_two_rows(tile, coefficients, 0, plane, i % 8, stride)
    store_apart(sums, 0, LANES, tile)


def inner_seconds(repeats: int) -> float:
    """Of one innermost operation, at its fastest."""
    numbers = [np.zeros(size, np.float32) for size in (TALL * LANES, 2, (TALL + 2) * 80)]
    times, found = 200_000, []
    for _ in range(repeats + 1):
        began = time.process_time()
        _inner(*numbers, 80, times)
        found.append((time.process_time() - began) / times)
    return min(found)


def bound(inner: float, channels: int, size: int, count: int) -> float:
    """Milliseconds of three passes over the two parts of every bilinear element."""
    tiles = -(-size // TALL) * -(-size // LANES)
    return 3000 * inner * BATCH * channels * tiles * 2 * count


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="tiny planes: only to see it run")
    options = parser.parse_args()
    prepare_cpu()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    planes = [(4, 10)] if options.small else PLANES
    inner = inner_seconds(options.repeats)
    print(f"{machine('cpu')}, {versions()}")
    print(f"batch {BATCH}, float32, milliseconds of a training step, processor time of one thread")
    print(f"{28e-9 * LANES / inner:.0f} billion fused multiply-adds a second in the inner loop")
    columns = ("DCLS", "dense", "taps")
    heads = "".join(f"{name:>9}" for name in (*columns, "bound", "÷ dense", "÷ taps"))
    print(f"\n{'plane':14}{'extent':>7}{'elements':>9}  {'interpolation':13}{heads}")
    for channels, size in planes:
        x = torch.randn(BATCH, channels, size, size, requires_grad=True)
        for extent, count, interpolation in KERNELS:
            theirs = package(channels, extent, count, interpolation)
            modules = {"DCLS": theirs} | {
                method: ours(theirs, extent, interpolation, method) for method in columns[1:]
            }
            with torch.no_grad():
                expected = theirs(x)
                for method in columns[1:]:
                    torch.testing.assert_close(modules[method](x), expected, rtol=0, atol=1e-3)
            ms = medians(modules, x, options.repeats)
            least = bound(inner, channels, size, count) if interpolation == "bilinear" else None
            cells = "".join(f"{ms[name]:9.1f}" for name in columns)
            cells += f"{'' if least is None else f'{least:.1f}':>9}"
            cells += "".join(f"{ms['DCLS'] / ms[name]:9.1f}" for name in columns[1:])
            plane = f"{channels} × {size} × {size}"
            print(f"{plane:14}{extent:7}{count:9}  {interpolation:13}{cells}", flush=True)
    count = KERNELS[0][1]
    print(f"\ntaps with {count} bilinear elements, by extent")
    print(f"{'plane':14}" + "".join(f"{extent:9}" for extent in FLAT))
    for channels, size in planes:
        x = torch.randn(BATCH, channels, size, size, requires_grad=True)
        layers = {
            str(extent): ours(
                package(channels, extent, count, "bilinear"), extent, "bilinear", "taps"
            )
            for extent in FLAT
        }
        ms = medians(layers, x, options.repeats)
        plane = f"{channels} × {size} × {size}"
        print(f"{plane:14}" + "".join(f"{ms[str(extent)]:9.1f}" for extent in FLAT), flush=True)


if __name__ == "__main__":
    main()
