#!/usr/bin/env python
"""Time of each method to compute a delay convolution, forward and backward, as ratios to ``dense``.

Prints the cost of one tap (``taps``), of one basis shape (``lowrank``) and of one product of
spectra with its share of the transforms (``fft``) in dense taps: the constants of
``snn_delays/ops/plan.py``; and how much more ``auto`` takes than the quickest. All methods run in
one process, in turns; medians of the processor time of all threads, which neighbours change least.

    python scripts/bench/paths.py [--density 0.1] [--shape 136,128,256,256,24] [--repeats 5]

``--density`` is the share of inputs that are not zero: 0.1 is about what dropout leaves of a hidden
layer's spikes; 1 stands for currents, such as log-mel features.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from snn_delays.ops import fft, lowrank_basis, plan, registers, taps

SHAPE = "136,128,256,256,24"  # that of a hidden layer of SHD's network
SIGMAS = "12.27,7.09,4.15,3,2.47,2,1.52,0.98,0.5,0"


def seconds(method: str, sigma: float, max_delay: int, inputs: list[torch.Tensor]) -> float:
    """Processor time of one forward and backward pass."""
    began = time.process_time()
    kernel: dict[str, Any] = {"max_delay": max_delay, "interpolation": "gaussian"}
    y = plan.delay_convolution(*inputs, sigma=sigma, **kernel, method=method)
    y.backward(torch.ones_like(y))
    return time.process_time() - began


def methods(sigma: float, steps: int, max_delay: int) -> dict[str, int]:
    """Those that make sense at this σ, and how many products each of them makes."""
    count, _, points = fft.blocks(steps, max_delay + 1)
    products = {"dense": max_delay + 1, "fft": round(3 * points * count / steps)}
    if lowrank_basis.worthwhile(sigma, max_delay):
        products["lowrank"] = len(lowrank_basis.basis(sigma, max_delay, 1e-6)[0])
    if sigma < max_delay / 10:
        products["taps"] = taps.passes(taps.width(sigma, max_delay, "gaussian", torch.float32))
    return products


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--shape", default=SHAPE, help="steps, batch, pre, post, max_delay")
    parser.add_argument("--sigmas", default=SIGMAS)
    options = parser.parse_args()
    steps, batch, pre, post, max_delay = map(int, options.shape.split(","))
    torch.manual_seed(0)
    x = (torch.rand(steps, batch, pre) < options.density).float().requires_grad_()
    weight = torch.randn(post, pre, 1, requires_grad=True)
    delay = (max_delay * torch.rand(post, pre, 1)).requires_grad_()
    print(
        f"{platform.machine()}, {registers.HOST.number} registers of {registers.HOST.bits} bits, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}; {pre} → {post}, "
        f"{max_delay + 1} taps, T = {steps}, N = {batch}, fp32, inputs of density "
        f"{options.density:g}"
    )
    head = f"{'σ':>6}  {'method':9} {'products':>8} {'seconds':>8} {'÷ dense':>8} {'each':>6}"
    print(f"{head}  plan, ÷ quickest")
    rows = []
    for sigma in map(float, options.sigmas.split(",")):
        products_of = methods(sigma, steps, max_delay)
        times: dict[str, list[float]] = {method: [] for method in products_of}
        for repeat in range(options.repeats + 1):
            for method, measured in times.items():
                duration = seconds(method, sigma, max_delay, [x, weight, delay])
                if repeat:  # the first call compiles
                    measured.append(duration)
        medians = {method: statistics.median(measured) for method, measured in times.items()}
        chosen = plan.method_for(x, weight, delay, sigma, max_delay, "gaussian")
        for method, products in products_of.items():
            ratio = medians[method] / medians["dense"]
            each = ratio * (max_delay + 1) / products
            lost = medians[method] / min(medians.values())
            mark = f"← {lost:.2f}" if method == chosen else ""
            print(
                f"{sigma:6.2f}  {method:9} {products:8d} {medians[method]:8.3f} {ratio:8.2f} "
                f"{each:6.2f}  {mark}",
                flush=True,
            )
            row = {"sigma": sigma, "method": method, "seconds": medians[method], "each": each}
            rows.append({**row, "chosen": method == chosen})
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
