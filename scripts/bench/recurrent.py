#!/usr/bin/env python
"""Time of a step of ``RecurrentDelayLayer``, neurons included, against its bound and its loop.

The bound is the one thing that no recurrence can leave out: every step one product of the batch
with an N × N matrix, forward, and two more backward. Beside it the same layer as a loop over time
in torch, over a part of the steps. All in one process, in turns; medians.

    python scripts/bench/recurrent.py [--repeats 3] [--batch 128] [--delays 25 100 400]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from spikingjelly.activation_based import functional
from torch import Tensor

from snn_delays.layers import RecurrentDelayLayer
from snn_delays.loops.processor import prepare_cpu
from snn_delays.neurons import lif

STEPS, SIZE, LOOP_STEPS = 100, 256, 20


def seconds(run: Callable[[Tensor], Tensor], x: Tensor) -> tuple[float, float]:
    """Wall time of a step, forward, and forward and backward."""
    began = time.perf_counter()
    y = run(x)
    forward = time.perf_counter() - began
    y.sum().backward()
    return forward / len(x), (time.perf_counter() - began) / len(x)


def products(weight: Tensor) -> Callable[[Tensor], Tensor]:
    """One matrix product a step, which does not wait for anything."""
    return lambda x: torch.stack([now @ weight.T for now in x])


def layer_run(layer: RecurrentDelayLayer, method: str) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        functional.reset_net(layer)
        layer.method = method
        return layer(x)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--delays", type=int, nargs="+", default=[25, 100, 400])
    options = parser.parse_args()
    prepare_cpu()
    torch.manual_seed(0)
    x = (0.6 * torch.randn(STEPS, options.batch, SIZE)).requires_grad_()
    short = x[:LOOP_STEPS].detach().requires_grad_()
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; "
        f"N = {SIZE}, T = {STEPS}, batch {options.batch}, fp32; ms a step of the whole batch"
    )
    print(
        f"{'granularity':12} {'delays':>6} {'σ':>6} {'forward':>8} {'both':>8} {'÷ bound':>8} "
        f"{'÷ bound':>8} {'loop ÷ scan':>11}"
    )
    weight = torch.randn(SIZE, SIZE, requires_grad=True)
    for granularity in ("axonal", "synaptic"):
        for longest in options.delays:
            for sigma in (0.5, longest / 2):
                layer = RecurrentDelayLayer(
                    SIZE, lif(2.0), longest, granularity=granularity, sigma=sigma
                )
                runs = {
                    "bound": (products(weight), x),
                    "scan": (layer_run(layer, "auto"), x),
                    "loop": (layer_run(layer, "reference"), short),
                }
                times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
                for repeat in range(options.repeats + 1):
                    for name, (run, given) in runs.items():
                        found = seconds(run, given)
                        if repeat:  # the first call compiles
                            times[name].append(found)
                medians = {
                    name: [1000 * statistics.median(part) for part in zip(*found, strict=True)]
                    for name, found in times.items()
                }
                forward, both = medians["scan"]
                print(
                    f"{granularity:12} {longest:6d} {sigma:6.1f} {forward:8.2f} {both:8.2f} "
                    f"{forward / medians['bound'][0]:8.1f} {both / medians['bound'][1]:8.1f} "
                    f"{medians['loop'][1] / both:11.1f}"
                )


if __name__ == "__main__":
    main()
