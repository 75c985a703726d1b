#!/usr/bin/env python
"""Time of every compiled loop by instruction set and by the sizes of its vectors and tiles.

Every column is a process of its own, whose loops are compiled for its processor and with its sizes;
the columns are timed in turns, on one thread, by processor time; the fastest of all turns counts.
Prints milliseconds of the first column, and how many times longer the others take.

    python scripts/bench/tiles.py [--repeats 5] [--loops NAME,…] [COLUMN …]

A column is ``PROCESSOR[:NAME=NUMBER,…]``: a processor by LLVM's name (``native``, ``znver3``,
``haswell``), and sizes of ``snn_delays/ops/registers.py`` that it shall take instead of its own:

    python scripts/bench/tiles.py znver3 znver3:LANES=16,TILE=16,COLUMNS=16,SHORT=7,TALL=14
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS, BATCH, SIZE, MAX_DELAY = 136, 64, 256, 24


def columns_of(names: list[str]) -> dict[str, dict[str, int]]:
    """Sizes by the names of columns."""
    found = {}
    for name in names:
        _, _, sizes = name.partition(":")
        pairs = [pair.split("=") for pair in sizes.split(",") if pair]
        found[name] = {key: int(value) for key, value in pairs}
    return found


def start(name: str, sizes: dict[str, int], folder: Path) -> subprocess.Popen[str]:
    """The process of a column, with compiled loops of its own."""
    processor = name.partition(":")[0]
    own = {"NUMBA_CACHE_DIR": str(folder / name.replace(":", "-")), "OMP_NUM_THREADS": "1"}
    if processor != "native":
        # Without features those of this machine would be added to the processor's own.
        own |= {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": "+fma"}
        own |= {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    return subprocess.Popen(
        [sys.executable, __file__, "--serve", json.dumps(sizes)],
        env=os.environ | own,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(process: subprocess.Popen[str], loop: str) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(loop + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def serve(sizes: dict[str, int]) -> None:
    """Answer every name of a loop with the times of its passes."""
    from snn_delays.ops import registers

    for key, value in sizes.items():
        if not hasattr(registers, key):
            raise SystemExit(f"registers.py has no {key}")
        setattr(registers, key, value)
    import torch

    from snn_delays.loops.processor import prepare_cpu

    prepare_cpu()
    torch.set_num_threads(1)
    made: dict[str, Callable[[], dict[str, float]]] = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in made:
            torch.manual_seed(0)
            made[name] = passes(*LOOPS[name]())
            made[name]()  # compiles
        print(json.dumps(made[name]()), flush=True)


def passes(function: Callable[..., Any], x: Any, *learned: Any) -> Callable[[], dict[str, float]]:
    """Processor seconds of the forward pass and of the gradients."""
    import torch

    judge = torch.randn_like(function(x, *learned))

    def run() -> dict[str, float]:
        with torch.no_grad():
            began = time.process_time()
            function(x, *learned)
            found = {"y": time.process_time() - began}
        for name, inputs in {"gx": [x], "gw": list(learned)}.items():
            for one in (x, *learned):  # what needs no gradient is not made
                one.requires_grad_(any(one is other for other in inputs))
            y = function(x, *learned)
            began = time.process_time()
            torch.autograd.grad(y, inputs, judge)
            found[name] = time.process_time() - began
        return found

    return run


def delays(sigma: float, method: str, *, share: float = 1.0, max_delay: int = MAX_DELAY) -> Any:
    """One layer SIZE → SIZE, its input spikes in one place of ten."""
    import torch

    from snn_delays.ops import plan

    x = (torch.rand(STEPS, BATCH, SIZE) < 0.1).float().requires_grad_()
    mask = (torch.rand(SIZE, SIZE, 1) < share).float()
    weight = (torch.randn(SIZE, SIZE, 1) * mask).requires_grad_()
    post = 1 if method == "axonal" else SIZE
    delay = (max_delay * torch.rand(post, SIZE, 1)).requires_grad_()

    def layer(x: Any, weight: Any, delay: Any) -> Any:
        return plan.delay_convolution(
            x, weight, delay, sigma=sigma, max_delay=max_delay, interpolation="gaussian",
            method=method, mask=mask if share < 1 else None,
        )  # fmt: skip

    return layer, x, weight, delay


def events(width: int) -> Any:
    """A convolution over space, of events in one place of fifty."""
    import torch

    from snn_delays.layers import DelayConv2d

    layer = DelayConv2d(width, 32, 3, padding=1, max_delay=20, sigma=0.5)
    x = (torch.rand(60, 4, width, 8, 8) < 0.02).float().requires_grad_()

    def convolution(x: Any, *_: Any) -> Any:
        layer.history = None
        return layer(x)

    return convolution, x, *layer.parameters()


def depthwise(size: int, interpolation: str) -> Any:
    import torch

    from snn_delays.dcls import DclsConv2d

    settings: Any = {"sigma": 0.5} if interpolation == "gaussian" else {}
    make: Any = DclsConv2d
    layer = make(
        24, 24, 34, extent=17, padding=8, groups=24, interpolation=interpolation, method="taps",
        **settings,
    )  # fmt: skip
    x = torch.randn(2, 24, size, size, requires_grad=True)

    def convolution(x: Any, *_: Any) -> Any:
        return layer(x)

    return convolution, x, layer.weight, layer.position


def recurrent(granularity: str, sigma: float) -> Any:
    import torch
    from spikingjelly.activation_based import functional

    from snn_delays.layers import RecurrentDelayLayer
    from snn_delays.neurons import lif

    layer = RecurrentDelayLayer(128, lif(2.0), 25, granularity=granularity, sigma=sigma)  # pyright: ignore[reportArgumentType]
    x = (0.6 * torch.randn(60, BATCH, 128)).requires_grad_()

    def recurrent(x: Any, *_: Any) -> Any:
        functional.reset_net(layer)
        return layer(x)

    return recurrent, x, layer.weight, layer.delay


def product() -> Any:
    """torch's own matrix product, for comparison."""
    import torch

    weight = torch.randn(SIZE, SIZE, requires_grad=True)
    return (
        (lambda x, weight: x @ weight),
        torch.randn(STEPS * BATCH, SIZE, requires_grad=True),
        weight,
    )


LOOPS: dict[str, Callable[[], Any]] = {
    "product": product,
    "taps 5": lambda: delays(0.5, "taps"),
    "taps 1": lambda: delays(0.0, "taps"),
    "sparse 5": lambda: delays(0.5, "taps", share=0.1),
    "axonal 5": lambda: delays(0.5, "axonal"),
    "axonal 25": lambda: delays(12.0, "axonal"),
    "spikes": lambda: delays(2.0, "dense", max_delay=9),
    "lowrank": lambda: delays(12.0, "lowrank"),
    "events 2": lambda: events(2),
    "events 16": lambda: events(16),
    "depthwise 56": lambda: depthwise(56, "bilinear"),
    "depthwise 14": lambda: depthwise(14, "bilinear"),
    "depthwise 28 gauss": lambda: depthwise(28, "gaussian"),
    "recurrent": lambda: recurrent("synaptic", 0.5),
    "recurrent axonal": lambda: recurrent("axonal", 0.5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("columns", nargs="*", default=["native", "znver3"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--loops", default=",".join(LOOPS))
    parser.add_argument("--cache", type=Path, help="where compiled loops are kept")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(json.loads(options.serve))
        return
    with tempfile.TemporaryDirectory() as folder:
        columns = columns_of(options.columns)
        processes = {
            name: start(name, sizes, options.cache or Path(folder))
            for name, sizes in columns.items()
        }
        print(f"{'':24}" + "  ".join(f"{name:>10}" for name in columns))
        for loop in options.loops.split(","):
            best: dict[str, dict[str, float]] = {name: {} for name in columns}
            for _ in range(options.repeats):
                for name, process in processes.items():
                    for part, seconds in ask(process, loop).items():
                        best[name][part] = min(seconds, best[name].get(part, seconds))
            first = best[next(iter(columns))]
            for part, seconds in first.items():
                cells = [f"{1000 * seconds:7.2f} ms"]
                cells += [f"{one[part] / seconds:10.2f}" for one in list(best.values())[1:]]
                print(f"{loop + ', ' + part:24}" + "  ".join(cells), flush=True)
        for process in processes.values():
            process.communicate()


if __name__ == "__main__":
    main()
