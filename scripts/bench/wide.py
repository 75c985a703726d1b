#!/usr/bin/env python
"""Wide kernels: bases for the widths of a schedule, and a training step of a layer 4096 → 4096.

A basis for any σ is to take at most 0.2 s, and the step at most twice its bound: its products at
the rate of ``torch.mm`` on as many threads, none left out for being of zeros. Minima of the
repeats; seconds of the clock, and of all threads together ("CPU"), which others on the machine
disturb less.

    python scripts/bench/wide.py [--repeats 3] [--width 4096] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from spikingjelly.activation_based import functional
from timing import machine
from torch import Tensor, nn

from snn_delays import DelayLayer
from snn_delays.loops.processor import prepare_cpu
from snn_delays.ops import lowrank_basis, plan

LONG, EPOCHS = 2000, 30
STEPS, BATCH, MAX_DELAY, SIGMA = 50, 4, 24, 12.0
SPIKES = {"10 % spikes": 0.1, "currents": 1.0}


def quickest(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Seconds of the clock and of the processor, after a first run that compiles."""
    run()
    best = (float("inf"), float("inf"))
    for _ in range(repeats):
        clock, processor = time.perf_counter(), time.process_time()
        run()
        took = (time.perf_counter() - clock, time.process_time() - processor)
        best = (min(best[0], took[0]), min(best[1], took[1]))
    return best


def bases() -> dict[str, float]:
    """Of the widths of an annealed training, each its first time."""
    sigmas = [LONG / 2 * (LONG / 50 / (LONG / 2)) ** (i / EPOCHS) for i in range(EPOCHS)]
    found = {}
    for dtype in (torch.float32, torch.float64):
        took = []
        for sigma in sigmas:
            began = time.process_time()
            lowrank_basis.basis(sigma, LONG, lowrank_basis.tolerance(dtype))
            took.append(time.process_time() - began)
        found[str(dtype)] = sum(took)
        ranks = [len(lowrank_basis.basis(s, LONG, lowrank_basis.tolerance(dtype))[0])
                 for s in (sigmas[0], sigmas[-1])]  # fmt: skip
        print(
            f"{EPOCHS} bases, max_delay {LONG}, σ {sigmas[0]:.0f} … {sigmas[-1]:.0f}, {dtype}: "
            f"{sum(took):.3f} s, the slowest {max(took):.3f} s; ranks {ranks[0]} … {ranks[1]}"
        )
    began = time.process_time()
    for sigma in sigmas:
        plan.choose(sigma + 0.1, LONG, "gaussian", torch.float32, 1)
    found["choose"] = (time.process_time() - began) / EPOCHS
    print(f"plan.choose for a new σ: {1e6 * found['choose']:.0f} µs")
    return found


def inputs(width: int, density: float) -> Tensor:
    x = (torch.rand(STEPS, BATCH, width) < density) * torch.rand(STEPS, BATCH, width)
    return x.requires_grad_()


def step(module: nn.Module, x: Tensor) -> None:
    functional.reset_net(module)
    module.zero_grad()
    x.grad = None
    module(x).sum().backward()


def steps(width: int, repeats: int) -> list[dict[str, object]]:
    """The layer's training step beside that of a linear one."""
    factor = torch.randn(STEPS * BATCH, width)
    weight = torch.randn(width, width)
    mm = quickest(lambda: torch.mm(factor, weight), repeats)
    product = 2 * factor.numel() * width / 1e9
    rank = len(lowrank_basis.basis(SIGMA, MAX_DELAY, 1e-6).shapes)
    bound = tuple(3 * rank * one for one in mm)
    print(f"torch.mm: {product / mm[0]:.0f} GFLOP/s, {product / mm[1]:.0f} a CPU second")
    print(f"bound: 3 · {rank} products, {bound[0]:.2f} s, {bound[1]:.2f} s CPU")
    linear = nn.Linear(width, width, bias=False)
    rows = []
    for name, density in SPIKES.items():
        layer = DelayLayer(width, width, MAX_DELAY, sigma=SIGMA, method="lowrank")
        x = inputs(width, density)
        step(DelayLayer(64, 64, MAX_DELAY, sigma=SIGMA, method="lowrank"), inputs(64, density))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        took = quickest(partial(step, layer, x), repeats)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        of_linear = quickest(partial(step, linear, x), repeats)
        print(
            f"{width} → {width}, {name}: {took[0]:.2f} s, {took[1]:.2f} s CPU, "
            f"{took[1] / bound[1]:.2f} of the bound; Linear {of_linear[1]:.2f} s CPU; peak memory "
            f"+{grown:.0f} MB (gradients {8 * width * width / 2**20:.0f})"
        )
        rows.append({"input": name, "seconds": took, "bound": bound, "linear": of_linear})
        rows[-1]["megabytes"] = grown
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    prepare_cpu()
    torch.manual_seed(0)
    print(f"{machine('cpu')}, torch {torch.__version__}; T = {STEPS}, N = {BATCH}, σ = {SIGMA:g}")
    found = {"bases": bases(), "steps": steps(options.width, options.repeats)}
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
