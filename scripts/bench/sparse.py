#!/usr/bin/env python
"""A training step of a layer with a mask, forward and backward, as ratios to the full layer's.

All densities run in one process, in turns; minima of the repeats. At 10 % and σ = 0.5 a step is
to cost at most 35 % of the full layer's. A mask that has all synapses runs the same loops as none.

    python scripts/bench/sparse.py [--repeats 7] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from spikingjelly.activation_based import functional
from timing import alternate, machine

from snn_delays import DelayLayer

STEPS, BATCH, WIDTH, MAX_DELAY = 100, 128, 256, 24
SPIKES = 0.1  # share of inputs that are not zero
DENSITIES, SIGMAS = (1.0, 0.5, 0.1, 0.05), (0.5, 12.0)
BOUND = 0.35


def run_of(density: float | None, sigma: float) -> tuple[DelayLayer, Callable[[], None]]:
    """A layer of this density, None without a mask, and its step."""
    torch.manual_seed(0)
    layer = DelayLayer(WIDTH, WIDTH, MAX_DELAY, sigma=sigma)
    x = (torch.rand(STEPS, BATCH, WIDTH) < SPIKES).float().requires_grad_()
    judge = torch.randn(STEPS, BATCH, WIDTH)
    if density is not None:
        layer.set_mask(torch.rand(layer.weight.shape) < density)

    def run() -> None:
        functional.reset_net(layer)
        layer.zero_grad()
        x.grad = None
        layer(x).backward(judge)

    return layer, run


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(
        f"{machine('cpu')}, torch {torch.__version__}; {WIDTH} → {WIDTH}, {MAX_DELAY + 1} taps, "
        f"T = {STEPS}, N = {BATCH}, fp32, {SPIKES:.0%} spikes"
    )
    print(f"{'σ':>5} {'density':>8} {'method':>8} {'seconds':>8} {'÷ full':>7}")
    rows = []
    for sigma in SIGMAS:
        made = {str(density): run_of(density, sigma) for density in (None, *DENSITIES)}
        times = alternate({name: run for name, (_, run) in made.items()}, options.repeats)
        full = min(times["None"])
        for name, (layer, _) in made.items():
            ratio = min(times[name]) / full
            bound = f"  (at most {BOUND:g})" if (name, sigma) == ("0.1", 0.5) else ""
            shown = "no mask" if name == "None" else name
            print(
                f"{sigma:5.1f} {shown:>8} {layer.method_used!s:>8} {min(times[name]):8.3f} "
                f"{ratio:7.2f}{bound}"
            )
            rows.append({"sigma": sigma, "density": name, "method": layer.method_used})
            rows[-1] |= {"seconds": min(times[name]), "ratio": ratio}
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
