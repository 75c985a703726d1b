#!/usr/bin/env python
"""Time of each method to compute a delay convolution, forward and backward, as ratios to ``dense``.

Prints the cost of one tap (``taps``), of one basis shape (``lowrank``) and of one product of
spectra with its share of the transforms (``fft``) in dense taps: the constants of
``snn_delays/ops/plan.py``. All methods run in one process, in turns; medians.

    python scripts/bench/paths.py [--density 0.1] [--repeats 5] [--json FILE]

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

import torch

from snn_delays.ops import fft, lowrank_basis, plan, taps

STEPS, BATCH, PRE, POST, MAX_DELAY = 136, 128, 256, 256, 24
SIGMAS = (12.27, 7.09, 4.15, 3.0, 2.47, 2.0, 1.52, 0.98, 0.5, 0.0)


def seconds(method: str, sigma: float, inputs: list[torch.Tensor]) -> float:
    """Wall time of one forward and backward pass."""
    began = time.perf_counter()
    y = plan.delay_convolution(
        inputs[0],
        inputs[1],
        inputs[2],
        sigma=sigma,
        max_delay=MAX_DELAY,
        interpolation="gaussian",
        method=method,
    )
    y.backward(torch.ones_like(y))
    return time.perf_counter() - began


def methods(sigma: float) -> dict[str, int]:
    """Those that make sense at this σ, and how many products each of them makes."""
    count, _, points = fft.blocks(STEPS, MAX_DELAY + 1)
    products = {"dense": MAX_DELAY + 1, "fft": round(3 * points * count / STEPS)}
    if lowrank_basis.worthwhile(sigma, MAX_DELAY):
        products["lowrank"] = len(lowrank_basis.basis(sigma, MAX_DELAY, 1e-6)[0])
    if sigma < 2.5:
        products["taps"] = taps.passes(taps.width(sigma, MAX_DELAY, "gaussian", torch.float32))
    return products


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    x = (torch.rand(STEPS, BATCH, PRE) < options.density).float().requires_grad_()
    weight = torch.randn(POST, PRE, 1, requires_grad=True)
    delay = (MAX_DELAY * torch.rand(POST, PRE, 1)).requires_grad_()
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; "
        f"{PRE} → {POST}, {MAX_DELAY + 1} taps, T = {STEPS}, N = {BATCH}, fp32, "
        f"inputs of density {options.density:g}"
    )
    print(f"{'σ':>6}  {'method':9} {'products':>8} {'seconds':>8} {'÷ dense':>8} {'each':>6}  plan")
    rows = []
    for sigma in SIGMAS:
        products_of = methods(sigma)
        times: dict[str, list[float]] = {method: [] for method in products_of}
        for repeat in range(options.repeats + 1):
            for method, measured in times.items():
                duration = seconds(method, sigma, [x, weight, delay])
                if repeat:  # the first call compiles
                    measured.append(duration)
        medians = {method: statistics.median(measured) for method, measured in times.items()}
        kernel = (sigma, MAX_DELAY, "gaussian")
        chosen = plan.method_for(x, weight, delay, *kernel)
        for method, products in products_of.items():
            ratio = medians[method] / medians["dense"]
            each = ratio * (MAX_DELAY + 1) / products
            mark = "←" if method == chosen else ""
            print(
                f"{sigma:6.2f}  {method:9} {products:8d} {medians[method]:8.3f} {ratio:8.2f} "
                f"{each:6.2f}  {mark}"
            )
            row = {"sigma": sigma, "method": method, "seconds": medians[method], "each": each}
            rows.append(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
