#!/usr/bin/env python
"""Training steps on a GPU with CUDA graphs and without: times, launches, and where the host is.

    python scripts/bench/graphs.py [--recipes shd ssc gsc] [--epochs 6] [--quick] [--profile]

Trains by ``fit`` on random recordings, whose lengths differ as those of spoken digits do. σ shrinks
over the first half of the epochs. Times are of a whole epoch's steps, without validation, divided
by their number; those of the first epoch hold what is compiled. ``--quick`` tries the script.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from snn_delays import DelaySNN
from snn_delays.callbacks import Callback, Training
from snn_delays.data import SpikeData, SpikeSplit
from snn_delays.graphs.recordings import CudaRecorder
from snn_delays.layers import DelayLayer
from snn_delays.neurons import CAdLIFNode, LeakyReadout
from snn_delays.schedules import Exponential
from snn_delays.training import fit

# Sizes, largest delay, batch, recordings.
RECIPES = {
    "shd": ([140, 256, 256, 20], 24, 256, 8156),
    "ssc": ([140, 512, 512, 35], 30, 256, 5120),
    "gsc": ([140, 512, 512, 35], 30, 128, 2560),
    "quick": ([6, 8, 8, 4], 4, 4, 40),
}
STARTS = ("cudaLaunchKernel", "cuLaunchKernel", "cudaMemcpyAsync", "cudaMemsetAsync")


def recordings(n: int, channels: int, classes: int, name: str, events: int = 2000) -> SpikeSplit:
    """Random ones, of 20 to 100 steps."""
    rng = np.random.default_rng(n)
    lengths = np.clip(rng.gamma(20.0, 2.3, n), 20, 100)
    steps = np.sort(rng.random((n, events)) * lengths[:, None], axis=1)
    return SpikeSplit(
        steps=steps.astype(np.int16).reshape(-1),
        channels=rng.integers(0, channels, n * events, dtype=np.int16),
        offsets=np.arange(n + 1) * events,
        labels=rng.integers(0, classes, n),
        speakers=np.full(n, -1),
        n_channels=channels,
        name=name,
    )


def data_for(recipe: str) -> SpikeData:
    sizes, _, batch, n = RECIPES[recipe]
    splits: dict[str, Any] = {
        name: recordings(many, sizes[0], sizes[-1], name)
        for name, many in (("train", n), ("valid", batch), ("test", batch))
    }
    names = tuple(map(str, range(sizes[-1])))
    return SpikeData(**splits, class_names=names, dt_ms=10.0, split="official", invalid_events=0)


def network(recipe: str, neurons: str, granularity: Any = "synaptic") -> DelaySNN:
    sizes, max_delay, *_ = RECIPES[recipe]
    torch.manual_seed(0)
    synapses: Any = partial(DelayLayer, max_delay=max_delay, granularity=granularity)
    if neurons == "cAdLIF":
        return DelaySNN(sizes, synapses, CAdLIFNode, output=partial(LeakyReadout, 2.0))
    return DelaySNN(sizes, synapses)


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Times(Callback):
    """Milliseconds a step of every epoch: until the host is done, and until the GPU is."""

    def __init__(self, profiled: int | None = None) -> None:
        self.host: list[float] = []
        self.both: list[float] = []
        self.steps: list[float] = []
        self.profiled, self.python = profiled, cProfile.Profile()
        self.starts: Counter[str] = Counter()
        self.kernels: list[tuple[float, int, str]] = []

    def on_batch_start(self, training: Training) -> None:
        now = time.perf_counter()
        if training.batch == 1:
            wait()
            self.began = self.last = time.perf_counter()
            if training.epoch == self.profiled:
                self.python.enable()
            if self.profiled and training.epoch == self.profiled + 1:
                kinds = [ProfilerActivity.CPU]
                kinds += [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
                self.torch = profile(activities=kinds)
                self.torch.__enter__()
        else:
            self.steps.append(1e3 * (now - self.last))
            self.last = now

    def on_batch(self, training: Training) -> None:
        if training.batch != training.batches:
            return
        if training.epoch == self.profiled:
            self.python.disable()
        host = time.perf_counter() - self.began
        wait()
        both = time.perf_counter() - self.began
        self.host.append(1e3 * host / training.batches)
        self.both.append(1e3 * both / training.batches)
        if self.profiled and training.epoch == self.profiled + 1:
            self.torch.__exit__(None, None, None)
            self._read(training.batches)

    def _read(self, batches: int) -> None:
        for one in self.torch.key_averages():
            if one.key.startswith((*STARTS, "cudaGraphLaunch", "cudaStreamSync", "cudaEventSync")):
                self.starts[one.key] = one.count
            gpu = getattr(one, "self_device_time_total", 0)
            if gpu and str(getattr(one, "device_type", "")).endswith("CUDA"):
                self.kernels.append((gpu / 1e3 / batches, one.count, one.key))
        self.starts = Counter({key: round(n / batches, 1) for key, n in self.starts.items()})  # pyright: ignore[reportArgumentType]


def trained(
    recipe: str, data: SpikeData, graphs: str, epochs: int, profiled: int | None, **network_of: Any
) -> tuple[Times, int, float]:
    """Times, how many graphs were made, and MB at most."""
    times, made, record = Times(profiled), [0], CudaRecorder.record

    def counted(self: CudaRecorder, work: Any) -> Any:
        made[0] += 1
        return record(self, work)

    CudaRecorder.record = counted
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        fit(
            network(recipe, **network_of),
            data,
            epochs=epochs,
            batch_size=RECIPES[recipe][2],
            graphs=graphs,
            schedule=Exponential(12.0, until=0.5),
            callbacks=[times],
        )
    finally:
        CudaRecorder.record = record
    memory = torch.cuda.max_memory_reserved() / 1e6 if torch.cuda.is_available() else float("nan")
    return times, made[0], memory


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipes", nargs="+", default=["shd"], choices=RECIPES)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--profile", action="store_true", help="two epochs more, of which to tell")
    given = parser.parse_args(arguments)
    there = torch.cuda.is_available()
    print(f"{torch.cuda.get_device_name() if there else 'CPU'}, torch {torch.__version__}")
    columns = [f"epoch {i}" for i in range(1, given.epochs + 1)]
    print("| recipe | network | graphs | made | MB | ms a step: " + " | ".join(columns), end=" | ")
    print("host, last | fastest step, host |\n|" + " --- |" * (len(columns) + 7))
    for recipe in ["quick"] if given.quick else given.recipes:
        data = data_for(recipe)
        for name, of in (
            ("LIF", {"neurons": "LIF"}),
            ("cAdLIF", {"neurons": "cAdLIF"}),
            ("LIF, axonal", {"neurons": "LIF", "granularity": "axonal"}),
        ):
            for graphs in ("off", "auto"):
                profiled = given.epochs + 1 if given.profile and name == "LIF" else None
                epochs = given.epochs + (2 if profiled else 0)
                times, made, memory = trained(recipe, data, graphs, epochs, profiled, **of)
                shown = [f"{one:.2f}" for one in times.both[: given.epochs]]
                cells = [recipe, name, graphs, str(made), f"{memory:.0f}", *shown]
                cells += [f"{times.host[given.epochs - 1]:.2f}", f"{min(times.steps):.2f}"]
                print("| " + " | ".join(cells) + " |", flush=True)
                if profiled:
                    tell(times)


def tell(times: Times) -> None:
    print(f"\n<!-- starts a step: {dict(times.starts)}")
    print(f"GPU: {sum(one[0] for one in times.kernels):.2f} ms a step, of which")
    for took, count, name in sorted(times.kernels, reverse=True)[:40]:
        print(f"  {took:.3f} ms {count:6d} {name[:150]}")
    pstats.Stats(times.python).sort_stats("tottime").print_stats(32)
    print("-->\n", flush=True)


if __name__ == "__main__":
    main()
