#!/usr/bin/env python
"""Ours and the published stack on a GPU (or any device): steps, methods, neurons, memory, an epoch.

    python scripts/bench/gpu.py [--device cuda] [--quick] [--seconds 200]

Prints Markdown tables. Times are medians of runs in turns in one process, each bounded by a
synchronisation. The bound of a figure is the larger of bytes moved over the bandwidth and of
operations over the rate of matrix products, both measured at the start. Needs the ``dev`` extra for
the published stack; what is missing is said and left out. After ``--seconds`` no new table begins.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import functional, neuron, surrogate
from torch import Tensor, nn

from snn_delays import DelaySNN, losses, set_sigma
from snn_delays.data import SpikeData, SpikeSplit
from snn_delays.layers import DelayLayer
from snn_delays.layers.networks import clamp_delays_
from snn_delays.neurons import CAdLIFNode, LeakyReadout, LIFNode, SEAdLIFNode
from snn_delays.ops import dense, lowrank_basis
from snn_delays.training import fit, optimisation

Run = Callable[[], object]
SIGMAS = (12.0, 5.0, 2.0, 0.5)


class Bench:
    """What everything is measured with."""

    def __init__(self, device: str, quick: bool, seconds: float) -> None:
        self.device, self.quick, self.began, self.seconds = (
            device,
            quick,
            time.perf_counter(),
            seconds,
        )
        self.repeats = 1 if quick else 7

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def turns(self, runs: dict[str, Run], warm_up: int = 2) -> dict[str, float | None]:
        """Milliseconds of each; None of what fails, which is said."""
        found: dict[str, list[float]] = {name: [] for name in runs}
        for repeat in range(warm_up + self.repeats):
            for name, run in runs.items():
                if name not in found:
                    continue
                try:
                    self.wait()
                    began = time.perf_counter()
                    run()
                    self.wait()
                except Exception as error:  # a backend that this machine lacks
                    print(f"<!-- {name}: {type(error).__name__}: {str(error)[:150]} -->")
                    del found[name]
                    continue
                if repeat >= warm_up:
                    found[name].append(1e3 * (time.perf_counter() - began))
        return {name: statistics.median(found[name]) if name in found else None for name in runs}

    def host(self, run: Run, steps: int = 5) -> tuple[float, float]:
        """Milliseconds a run: of the host alone, and of runs that are not waited for."""
        steps = 1 if self.quick else steps
        self.wait()
        began = time.perf_counter()
        for _ in range(steps):
            run()
        host = time.perf_counter() - began
        self.wait()
        return 1e3 * host / steps, 1e3 * (time.perf_counter() - began) / steps

    def memory(self, run: Run) -> float:
        """MB that a run needs above what is there before."""
        if self.device != "cuda":
            return float("nan")
        run()
        self.wait()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        self.wait()
        return (torch.cuda.max_memory_allocated() - before) / 1e6


def table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    print(f"\n### {title}\n")
    print("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns))
    for row in rows:
        print("| " + " | ".join(_shown(cell) for cell in row) + " |", flush=True)


def _shown(cell: Any) -> str:
    if cell is None:
        return "–"
    return f"{cell:.3g}" if isinstance(cell, float) else str(cell)


def ratio(theirs: float | None, ours: float | None) -> float | None:
    return theirs / ours if theirs and ours else None


def ceilings(bench: Bench) -> dict[str, float]:
    """GB/s of a copy, TFLOP/s of products."""
    x = torch.randn(2**28 if not bench.quick else 2**12, device=bench.device)
    y = torch.empty_like(x)
    copy = bench.turns({"copy": lambda: y.copy_(x)})["copy"] or 1.0
    found = {"GB/s": 8 * x.numel() / copy / 1e6}
    size = 8192 if not bench.quick else 64
    a, b = torch.randn(2, size, size, device=bench.device)
    for name, allowed in (("fp32", False), ("TF32", True)):
        torch.backends.cuda.matmul.allow_tf32 = allowed
        product = bench.turns({"product": lambda: a @ b})["product"] or 1.0
        found[name] = 2 * size**3 / product / 1e9
    torch.backends.cuda.matmul.allow_tf32 = False
    table("What the card can do", ["", *found], [["measured", *found.values()]])
    return found


def recipe(bench: Bench, name: str) -> tuple[list[int], int, float, int, int]:
    """Sizes, largest delay, tau, steps and batch."""
    if bench.quick:
        return [6, 8, 8, 4], 4, 1.5, 10, 4
    return {
        "SHD": ([140, 256, 256, 20], 24, 1.005, 100, 256),
        "SSC": ([140, 512, 512, 35], 30, 1.5, 100, 256),
        "GSC": ([140, 512, 512, 35], 30, 1.5, 100, 128),
    }[name]


def our_step(net: DelaySNN, x: Tensor, labels: Tensor) -> Run:
    timed = optimisation.published(net, 10, weight_lr=1e-3, weight_decay=1e-5, delay_lr=0.1)

    def step() -> None:
        for one, _ in timed:
            one.zero_grad()
        losses.cross_entropy(losses.score(net(x), None, "sum_softmax"), labels).backward()
        for one, _ in timed:
            one.step()
        clamp_delays_(net)

    return step


def cudnn(enabled: bool, step: Callable[..., object], *args: Any) -> None:
    with torch.backends.cudnn.flags(enabled=enabled, allow_tf32=True):
        step(*args)


def steps(bench: Bench, can: dict[str, float]) -> None:
    try:
        from published import PublishedSNN, training_step
    except ImportError as missing:
        print(f"<!-- the published stack is left out: {missing} -->")
        return
    rows = []
    for name in ("SHD",) if bench.quick else ("SHD", "SSC", "GSC"):
        sizes, max_delay, tau, length, batch = recipe(bench, name)
        torch.manual_seed(0)
        x = (torch.rand(length, batch, sizes[0], device=bench.device) < 0.02).float()
        labels = torch.randint(0, sizes[-1], (batch,), device=bench.device)
        layer = partial(DelayLayer, max_delay=max_delay)
        output = partial(LeakyReadout, tau=tau)
        lif = partial(LIFNode, tau=tau, decay_input=False, step_mode="m")
        nets = {
            "ours": DelaySNN(sizes, layer, lif, output=output),
            "cAdLIF": DelaySNN(sizes, layer, CAdLIFNode, output=output),
            "axonal": DelaySNN(sizes, partial(layer, granularity="axonal"), lif, output=output),
        }
        nets = {key: net.to(bench.device) for key, net in nets.items()}
        runs: dict[str, Run] = {key: our_step(net, x, labels) for key, net in nets.items()}
        theirs = PublishedSNN(sizes, max_delay + 1, tau=tau).to(bench.device)
        runs["published"] = partial(cudnn, False, training_step, theirs, x, labels)
        runs["published, cuDNN"] = partial(cudnn, True, training_step, theirs, x, labels)
        steps_done = length + nets["ours"].tail
        pairs = sum(a * b for a, b in itertools.pairwise(sizes))
        work = 3 * pairs - sizes[0] * sizes[1]  # nothing goes back into the input
        bound = 2e-9 * work * steps_done * batch * (max_delay + 1) / can["TF32"]
        for sigma in (SIGMAS if name == "SHD" else SIGMAS[1::2])[: 1 if bench.quick else None]:
            for net in nets.values():
                set_sigma(net, sigma)
            theirs.set_sigma(sigma)
            took = bench.turns(runs, 2)
            host, queued = bench.host(runs["ours"])
            row: list[Any] = [name, sigma, *took.values(), host, queued]
            row += [ratio(took[key], took["ours"]) for key in ("published", "published, cuDNN")]
            rows.append([*row, bound])
        peaks = {key: bench.memory(runs[key]) for key in ("ours", "published", "published, cuDNN")}
        print(
            f"\nMemory of a step, {name}, MB: {', '.join(f'{k} {v:.0f}' for k, v in peaks.items())}"
        )
    columns = ["recipe", "σ", "ours, LIF", "ours, cAdLIF", "ours, axonal, LIF", "published"]
    columns += ["published, cuDNN", "host of ours", "queued", "÷", "÷, cuDNN", "bound in TF32"]
    table("A training step, ms (batch 256; GSC 128)", columns, rows)


def methods(bench: Bench, can: dict[str, float]) -> None:
    """Forward and backward of one layer."""
    width, max_delay, length, batch = (8, 4, 10, 4) if bench.quick else (256, 24, 136, 256)
    x = (torch.rand(length, batch, width, device=bench.device) < 0.1).float().requires_grad_()
    judge, rows = torch.randn(length, batch, width, device=bench.device), []

    def run(layer: DelayLayer) -> None:
        functional.reset_net(layer)
        layer.zero_grad()
        x.grad = None
        layer(x).backward(judge)

    work = 6 * length * batch * width * width * (max_delay + 1)
    runs: dict[str, Run] = {}
    for sigma in SIGMAS:
        runs.clear()
        for name in ("dense", "lowrank", "axonal", "dendritic"):
            granularity: Any = "synaptic" if name in ("dense", "lowrank") else name
            settings: dict[str, Any] = {"sigma": sigma, "method": name, "granularity": granularity}
            layer = DelayLayer(width, width, max_delay, **settings).to(bench.device)
            runs[name] = partial(run, layer)
        layer = DelayLayer(width, width, max_delay, sigma=sigma, method="dense").to(bench.device)
        runs["dense, full precision"] = partial(in_full, partial(run, layer))
        runs["dense by cuDNN"] = partial(by_torch, partial(run, layer))
        took = bench.turns(runs)
        rank = 0
        if lowrank_basis.worthwhile(sigma, max_delay):
            rank = len(lowrank_basis.basis(sigma, max_delay, 1e-6)[0])
        bounds = [work / can[kind] / 1e9 for kind in ("TF32", "fp32")]
        rows.append([sigma, *took.values(), rank, *bounds])
        if rank and took["dense"] and took["lowrank"]:
            cost = took["lowrank"] / rank / (took["dense"] / (max_delay + 1))
            print(f'\nCOST["gpu"]: dense 1.0, lowrank {cost:.1f} (σ = {sigma:g})')
        if took["dense"] and took["axonal"]:
            columns = width * (took["axonal"] / took["dense"] * (max_delay + 1) - 1)
            print(f'COST["gpu"]: axonal at σ = {sigma:g} is worth {columns:.0f} columns in all')
    columns = ["σ", *runs, "rank", "bound in TF32", "bound in fp32"]
    table(f"One layer {width} → {width}, forward and backward, ms", columns, rows)


def in_full(run: Run) -> None:
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        run()


def by_torch(run: Run) -> None:
    """With cuDNN in place of our kernels."""
    kept = dense.LOOPS.callers
    dense.LOOPS.callers = {}
    try:
        run()
    finally:
        dense.LOOPS.callers = kept


def tiles(bench: Bench) -> None:
    """Kernels of ``ops/dense_gpu.py`` by the size of their tiles."""
    if bench.device != "cuda" or bench.quick:
        return
    from snn_delays.ops import dense_gpu as kernels

    x, g = torch.randn(2, 136, 256, 256, device="cuda")
    k, rows = torch.randn(25, 256, 256, device="cuda"), []
    before = dict(kernels.TILE), dict(kernels.SUMS)
    runs: dict[str, Run] = {}
    shapes = [(128, 128, 32, 8, 3), (128, 128, 32, 8, 4), (128, 128, 32, 4, 3), (128, 64, 32, 4, 4)]
    shapes += [(128, 256, 32, 8, 3), (64, 128, 32, 4, 4), (64, 256, 32, 8, 3), (128, 128, 64, 8, 2)]
    for shape in shapes:
        tile = dict(zip(kernels.TILE, shape, strict=True))
        kernels.TILE.update(tile)
        kernels.SUMS.update(tile)
        runs.clear()
        for precision in ("tf32", "tf32x3"):
            runs[f"product {precision}"] = partial(kernels.product, g, x, k, False, precision)
            runs[f"sums {precision}"] = partial(kernels.sums, k, g, x, precision)
        rows.append([shape, *bench.turns(runs, 1).values()])
    kernels.TILE.update(before[0])
    kernels.SUMS.update(before[1])
    table(
        "Tiles of the product kernels (rows, columns, depth, warps, stages), ms",
        ["tile", *runs],
        rows,
    )


def neurons(bench: Bench, can: dict[str, float]) -> None:
    """Neurons alone, forward and backward, against SpikingJelly's backends."""
    length, batch, width = (10, 4, 8) if bench.quick else (136, 256, 256)
    x = torch.randn(length, batch, width, device=bench.device).requires_grad_()
    judge = torch.randn_like(x)

    def run(node: nn.Module) -> None:
        functional.reset_net(node)
        x.grad = None
        node(x).backward(judge)

    settings: dict[str, Any] = {"tau": 2.0, "decay_input": False, "step_mode": "m"}
    settings |= {"detach_reset": True}
    runs: dict[str, Run] = {}
    ours = LIFNode(**settings, surrogate_function=surrogate.ATan(5.0)).to(bench.device)
    runs["ours, LIF"] = partial(run, ours)
    for backend in ("torch", "cupy", "triton", "inductor"):
        try:
            node = neuron.LIFNode(**settings, surrogate_function=surrogate.ATan(5.0))
            setattr(node, "backend", backend)  # noqa: B010 - a property unknown to type checkers
            runs[f"SpikingJelly, {backend}"] = partial(run, node.to(bench.device))
        except Exception as missing:
            print(f"<!-- SpikingJelly {backend}: {str(missing)[:150]} -->")
    for make in (CAdLIFNode, SEAdLIFNode):
        runs[f"ours, {make.__name__}"] = partial(run, make(width).to(bench.device))
    runs["ours, readout"] = partial(run, LeakyReadout(2.0).to(bench.device))
    took = bench.turns(runs)
    array = 4 * x.numel() / can["GB/s"] / 1e6
    bound = {"ours, LIF": 6, "ours, CAdLIFNode": 9, "ours, SEAdLIFNode": 9, "ours, readout": 4}
    rows = [
        [name, one, ratio(one, took["ours, LIF"]), array * bound[name] if name in bound else None]
        for name, one in took.items()
    ]
    title = f"Neurons alone {list(x.shape)}, forward and backward, ms"
    table(title, ["", "ms", "÷ ours, LIF", "bound (bytes)"], rows)


def recordings(
    n: int, steps: int, channels: int, events: int, classes: int, name: str
) -> SpikeSplit:
    """Random ones."""
    rng = np.random.default_rng(n)
    return SpikeSplit(
        steps=rng.integers(0, steps, n * events, dtype=np.int16),
        channels=rng.integers(0, channels, n * events, dtype=np.int16),
        offsets=np.arange(n + 1) * events,
        labels=rng.integers(0, classes, n),
        speakers=np.full(n, -1),
        n_channels=channels,
        name=name,
    )


def epoch(bench: Bench) -> None:
    """``fit`` on random recordings, as many as SHD has."""
    n, batch = (32, 16) if bench.quick else (8156, 256)
    sizes, *_ = recipe(bench, "SHD")
    shape = (10, sizes[0], 30, sizes[-1]) if bench.quick else (100, sizes[0], 2000, sizes[-1])
    splits: dict[str, Any] = {
        name: recordings(many, *shape, name)
        for name, many in (("train", n), ("valid", batch), ("test", batch))
    }
    names = tuple(map(str, range(sizes[-1])))
    data = SpikeData(
        **splits, class_names=names, dt_ms=10.0, split="official", invalid_events=0
    )  # fmt: skip
    rows = []
    for name, make in {"LIF": None, "cAdLIF": CAdLIFNode}.items():
        settings = {} if make is None else {"neuron": make, "output": partial(LeakyReadout, 2.0)}
        net = DelaySNN(sizes, **settings)
        given: dict[str, Any] = {"batch_size": batch, "accelerator": bench.device}
        found = fit(net, data, epochs=4, **given)
        rows.append([name, n // batch, *(row["seconds"] for row in found)])
    columns = ["neurons", "batches", *(f"epoch {i}, s" for i in range(1, 5))]
    table(f"Epochs of fit, {n} recordings, validation included", columns, rows)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    there = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=there, choices=("cpu", "cuda"))
    parser.add_argument("--quick", action="store_true", help="tiny shapes, to try the script")
    parser.add_argument("--seconds", type=float, default=200.0)
    given = parser.parse_args(arguments)
    bench = Bench(given.device, given.quick, given.seconds)
    name = torch.cuda.get_device_name() if given.device == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, TF32 in convolutions as torch has it")
    can = ceilings(bench)
    for measure in (
        partial(methods, bench, can),
        partial(neurons, bench, can),
        partial(steps, bench, can),
        partial(tiles, bench),
        partial(epoch, bench),
    ):
        if time.perf_counter() - bench.began > bench.seconds:
            print(f"<!-- {given.seconds:g} s are over: {measure.func.__name__} is left out -->")
            continue
        began = time.perf_counter()
        measure()
        print(
            f"\n<!-- {measure.func.__name__}: {time.perf_counter() - began:.1f} s -->", flush=True
        )


if __name__ == "__main__":
    main()
