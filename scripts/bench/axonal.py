#!/usr/bin/env python
"""Time and memory of delays of neurons (axonal, dendritic, both, common) against synaptic ones.

The bound is the one matrix product that is left, ``nn.Linear`` on the same input. All in one
process, in turns; medians. Memory is what autograd keeps between forward and backward.

    python scripts/bench/axonal.py [--repeats 5] [--density 0.1]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn

from snn_delays.layers import DelayLayer
from snn_delays.layers.granularity import GRANULARITIES
from snn_delays.loops.processor import prepare_cpu

STEPS, BATCH, SIZE, MAX_DELAY = 136, 128, 256, 24


def seconds(layer: Any, x: Tensor) -> float:
    """Wall time of one forward and backward pass."""
    layer.history = None
    began = time.perf_counter()
    layer(x).sum().backward()
    return time.perf_counter() - began


def kept_bytes(layer: Any, x: Tensor) -> int:
    """Bytes of the tensors that a forward pass keeps for its backward pass, each once."""
    layer.history = None
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        layer(x).sum()
    return sum(kept.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--density", type=float, default=0.1)
    options = parser.parse_args()
    prepare_cpu()
    torch.manual_seed(0)
    x = (torch.rand(STEPS, BATCH, SIZE) < options.density).float().requires_grad_()
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; "
        f"{SIZE} → {SIZE}, {MAX_DELAY + 1} taps, T = {STEPS}, N = {BATCH}, fp32, forward and "
        f"backward, inputs of density {options.density:g}"
    )
    print(
        f"{'σ':>6}  {'granularity':17} {'ms':>7} {'synaptic ÷':>10} {'÷ Linear':>8} {'MB kept':>8}"
    )
    for sigma in (12.27, 0.5, 0.0):
        make: Any = DelayLayer
        layers: dict[str, Any] = {
            name: make(SIZE, SIZE, MAX_DELAY, granularity=name, sigma=sigma)
            for name in GRANULARITIES
        }
        layers["Linear"] = nn.Linear(SIZE, SIZE, bias=False)
        times: dict[str, list[float]] = {name: [] for name in layers}
        for repeat in range(options.repeats + 1):
            for name, layer in layers.items():
                found = seconds(layer, x)
                if repeat:  # the first call compiles
                    times[name].append(found)
        medians = {name: statistics.median(found) for name, found in times.items()}
        for name, layer in layers.items():
            print(
                f"{sigma:6.2f}  {name:17} {1000 * medians[name]:7.1f} "
                f"{medians['synaptic'] / medians[name]:10.1f} "
                f"{medians[name] / medians['Linear']:8.1f} {kept_bytes(layer, x) / 1e6:8.1f}"
            )


if __name__ == "__main__":
    main()
