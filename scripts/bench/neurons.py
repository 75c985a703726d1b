#!/usr/bin/env python
"""Time of neurons over a sequence, forward and backward: the compiled sweep against a Python loop.

The bound is memory: a sweep has to read and write a number of numbers per neuron and step, whatever
it computes. All in one process, in turns; medians.

    python scripts/bench/neurons.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from spikingjelly.activation_based import functional, neuron, surrogate
from torch import Tensor

from snn_delays.loops.processor import prepare_cpu
from snn_delays.neurons import AdLIFNode, CAdLIFNode, PLIFNode, SEAdLIFNode, SiLIFNode, lif
from snn_delays.ops import adaptive

STEPS, BATCH, SIZE = 100, 128, 256
# Numbers that are read or written per neuron and step: x, h, spikes (and w) forward; x, h, w and
# the two gradients backward.
TRAFFIC = {"LIF": 6, "adaptive": 10}


def seconds(run: Callable[[Tensor], Tensor], x: Tensor) -> float:
    began = time.perf_counter()
    run(x).sum().backward()
    return time.perf_counter() - began


def bandwidth() -> float:
    """Numbers per second that a copy moves, reads and writes together."""
    numbers = torch.rand(STEPS * BATCH * SIZE)
    copied = torch.empty_like(numbers)
    times = []
    for _ in range(7):
        began = time.perf_counter()
        copied.copy_(numbers)
        times.append(time.perf_counter() - began)
    return 2 * len(numbers) / statistics.median(times)


def sweep_of(node: Any) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        functional.reset_net(node)
        return node(x)

    return run


def loop_of(node: Any) -> Callable[[Tensor], Tensor]:
    """The same equations as a loop in torch."""

    def run(x: Tensor) -> Tensor:
        functional.reset_net(node)
        return adaptive.scan(x, node.cell(x[0]))[0]

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    prepare_cpu()
    torch.manual_seed(0)
    x = torch.randn(STEPS, BATCH, SIZE).requires_grad_()
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; "
        f"T = {STEPS}, N = {BATCH}, C = {SIZE}, fp32, forward and backward"
    )
    theirs = neuron.LIFNode(
        2.0, False, surrogate_function=surrogate.ATan(5.0), detach_reset=True, step_mode="m"
    )
    pairs: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
        "LIF": (sweep_of(lif(2.0)), sweep_of(theirs))
    }
    for make in (PLIFNode, AdLIFNode, CAdLIFNode, SEAdLIFNode, SiLIFNode):
        node = make(SIZE)
        pairs[make.__name__] = (sweep_of(node), loop_of(node))
    moved = bandwidth()
    print(
        f"{'neurons':12} {'sweep ms':>9} {'loop ms':>9} {'loop ÷ sweep':>12} {'sweep ÷ bound':>13}"
    )
    for name, runs in pairs.items():
        times: tuple[list[float], list[float]] = ([], [])
        for repeat in range(options.repeats + 1):
            for run, kept in zip(runs, times, strict=True):
                found = seconds(run, x)
                if repeat:  # the first call compiles
                    kept.append(found)
        ours, loop = (statistics.median(kept) for kept in times)
        bound = TRAFFIC.get(name, TRAFFIC["adaptive"]) * x.numel() / moved
        print(
            f"{name:12} {1000 * ours:9.1f} {1000 * loop:9.1f} {loop / ours:12.1f} "
            f"{ours / bound:13.1f}"
        )


if __name__ == "__main__":
    main()
