"""Row e: peak memory of training steps, each measured in a fresh process.

    python scripts/bench/memory.py '{"whose": "ours", …}'     (compare.py calls it so)

On the CPU: the highest resident memory during two steps, less what was resident right before them,
after a warm-up on a tiny network, so that neither imports nor compilation count. glibc is told to
give freed memory back at once: what it would keep for later depends on the order of sizes more than
on what is needed.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from options import Options
from published import training_step
from recipes import Recipe, our_step
from rows import DENSITY_B, layer_pair, layer_run
from timing import Entry
from torch import nn

from snn_delays import set_sigma
from snn_delays.layers.networks import delay_layers

STATUS = Path("/proc/self/status")


def peaks(options: Options) -> Iterator[Entry]:
    """(e) Peak memory in MB, one fresh process per measurement."""
    common = {"device": options.device}
    cases: list[tuple[str, dict[str, Any]]] = []
    for recipe in options.recipes:
        for sigma in dict.fromkeys((options.sigmas[0], options.sigmas[-1])):
            case = {"recipe": asdict(recipe), "steps": options.steps, "batch": options.batch}
            cases.append((f"{recipe.name} step σ = {sigma:g}", {**case, "sigma": sigma}))
    for max_delay in (options.max_delays[0], options.max_delays[-1]):
        for sigma in (0.5, max_delay / 2):
            case = {"width": options.width_b, "steps": options.steps_b, "batch": options.batch_b}
            label = f"layer, max_delay {max_delay}, σ = {sigma:g}"
            cases.append((label, {**case, "max_delay": max_delay, "sigma": sigma}))
    for label, case in cases:
        values = {
            whose: [_measure({**common, **case, "whose": whose})] for whose in ("ours", "published")
        }
        yield Entry("e", label, values, unit="MB")


def _measure(case: dict[str, Any]) -> float:
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(case)],
        capture_output=True,
        text=True,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"},
    )
    if done.returncode:
        raise RuntimeError(f"measuring {case} failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def _run(case: dict[str, Any], tiny: bool) -> Any:
    """What is measured: two calls of it, so that the optimisers' state is there too."""
    device, sigma, ours = case["device"], case["sigma"], case["whose"] == "ours"
    torch.manual_seed(0)
    if "max_delay" in case:
        width, steps, batch = (8, 8, 2) if tiny else (case["width"], case["steps"], case["batch"])
        layer = layer_pair(width, case["max_delay"], sigma, device)[case["whose"]]
        spikes = torch.rand(steps, batch, width, device=device) < DENSITY_B
        return layer_run(layer, spikes.float().requires_grad_())
    recipe = Recipe(**{**case["recipe"], "sizes": tuple(case["recipe"]["sizes"])})
    if tiny:  # the same delays, hence the same kernels
        recipe = replace(recipe.small(), max_delay=recipe.max_delay)
    # As many steps as it takes for spikes to be kept as bits, whose loops then are there.
    x, labels = recipe.batch(*((512, 16) if tiny else (case["steps"], case["batch"])), device)
    if ours:
        net = recipe.ours(device)
        set_sigma(net, sigma)
        step = our_step(net)
        return lambda: [step(x, labels) for _ in _methods(net, every=tiny)]
    theirs = recipe.published(device)
    theirs.set_sigma(sigma)
    return lambda: training_step(theirs, x, labels)


def _methods(net: nn.Module, every: bool) -> Iterator[str]:
    """The methods that a network's layers have, one after the other where all are to be loaded.

    Which is the quickest depends on sizes: a tiny network would leave another's loops to be loaded
    where memory is measured.
    """
    for method in ("dense", "fft", "taps", "lowrank") if every else ("auto",):
        for layer in delay_layers(net):
            layer.method = method
        yield method


def _resident(field: str) -> float:
    """MB from /proc/self/status; VmHWM (peak) or VmRSS (now)."""
    for line in STATUS.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"no {field} in {STATUS}")


def _peak() -> float:
    # Not ru_maxrss where avoidable: Linux hands a parent's peak down to the processes it starts.
    if STATUS.exists():
        return _resident("VmHWM")
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def main() -> None:
    case = json.loads(sys.argv[1])
    torch.set_flush_denormal(True)
    _run(case, tiny=True)()
    run = _run(case, tiny=False)
    if case["device"] == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
    else:
        before = _resident("VmRSS") if STATUS.exists() else _peak()
    run()
    run()
    peak = torch.cuda.max_memory_allocated() / 2**20 if case["device"] == "cuda" else _peak()
    print(peak - before)


if __name__ == "__main__":
    main()
