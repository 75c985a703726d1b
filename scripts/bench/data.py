#!/usr/bin/env python
"""Time to load a data set in SHD's format without and with a cache, and to make a batch of it.

Without ``--root`` the data set is drawn: as many recordings and events as SHD's training file
has, uniformly distributed, so that fewer of them share a cell than in speech. Medians.

    python scripts/bench/data.py [--root DIR] [--repeats 5] [--device cpu] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from snn_delays.data import SpikeSplit, load_shd
from snn_delays.files.shd_format import write_events

RECORDINGS, EVENTS, CLASSES, SPEAKERS, BATCH = 8156, 8000, 20, 10, 128


def draw(root: Path, recordings: int, events: int) -> None:
    """Write ``shd_train.h5``, and a small ``shd_test.h5``, of random events within one second."""
    rng = np.random.default_rng(0)
    for name, n in (("train", recordings), ("test", 100)):
        write_events(
            root / f"shd_{name}.h5",
            times=rng.random(n * events, dtype=np.float32),
            units=rng.integers(700, size=n * events, dtype=np.uint16),
            offsets=np.arange(n + 1) * events,
            labels=rng.permutation(np.arange(n) % CLASSES),
            speakers=rng.permutation(np.arange(n) % SPEAKERS),
            class_names=[str(label) for label in range(CLASSES)],
            n_units=700,
        )


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Median wall time."""
    durations = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        durations.append(time.perf_counter() - began)
    return statistics.median(durations)


def loading(root: Path, repeats: int) -> dict[str, float]:
    """Seconds to load without a cache, to make one, and to load with it; its size in MB."""
    found = {"without": seconds(lambda: load_shd(root, split="stratified", cache=False), repeats)}
    with tempfile.TemporaryDirectory() as folder:

        def load() -> object:
            return load_shd(root, split="stratified", cache=folder)

        found["making"] = seconds(load, 1)
        # A hash is remembered once the file has been there for two seconds.
        time.sleep(2.1)
        load()
        found["with"] = seconds(load, repeats)
        for note in Path(folder).glob("*.sha256"):
            note.unlink()
        found["hashing"] = seconds(load, 1)
        found["megabytes"] = sum(p.stat().st_size for p in Path(folder).glob("*.events")) / 1e6
    return found


def batches(split: SpikeSplit, device: str, repeats: int) -> dict[str, float]:
    """Milliseconds to make a batch dense at home and move it, and to move it and make it dense."""
    rng = np.random.default_rng(0)
    chosen = [rng.permutation(len(split))[:BATCH] for _ in range(10 * repeats)]

    def finished(tensor: torch.Tensor) -> None:
        if device != "cpu":
            tensor[0, 0, 0].item()  # waits for the device

    methods: dict[str, Callable[[np.ndarray], None]] = {
        "events alone": lambda indices: finished(split.sparse(indices).cells[:, None, None]),
        "dense, then moved": lambda indices: finished(split.collate(indices).spikes.to(device)),
        "moved, then dense": lambda indices: finished(
            split.sparse(indices).to(device).dense().spikes
        ),
    }
    if device == "cpu":
        del methods["moved, then dense"]
    times: dict[str, list[float]] = {method: [] for method in methods}
    for indices in chosen:
        for method, make in methods.items():
            times[method].append(seconds(lambda make=make, indices=indices: make(indices), 1))
    return {method: 1000 * statistics.median(measured) for method, measured in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder of shd_train.h5 and shd_test.h5")
    parser.add_argument("--recordings", type=int, default=RECORDINGS, help="to draw")
    parser.add_argument("--events", type=int, default=EVENTS, help="to draw per recording")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as drawn:
        root = options.root or Path(drawn)
        if options.root is None:
            draw(root, options.recordings, options.events)
        load = loading(root, options.repeats)
        split = load_shd(root, split="stratified", cache=False).train
        assert isinstance(split, SpikeSplit)
        source = sum(path.stat().st_size for path in root.glob("shd_*.h5")) / 1e6
    batch = batches(split, options.device, options.repeats)
    shape = split.sparse(range(min(BATCH, len(split)))).shape

    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(
        f"{len(split)} training recordings; files of {source:.0f} MB, "
        f"cache of {load['megabytes']:.0f} MB"
    )
    print(f"load, no cache        {load['without']:8.3f} s")
    print(f"load, making a cache  {load['making']:8.3f} s")
    print(f"load, cached          {load['with']:8.3f} s   ÷ {load['without'] / load['with']:.1f}")
    print(f"  and hashing anew    {load['hashing']:8.3f} s")
    for method, milliseconds in batch.items():
        print(f"batch [T, N, C] = {list(shape)}, {method:17} {milliseconds:8.2f} ms")
    if options.json:
        about = {"recordings": len(split), "source_mb": source}
        options.json.write_text(
            json.dumps({**about, "load_s": load, "batch_ms": batch}, indent=2) + "\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
