#!/usr/bin/env python
"""Recordings per second when the features of Speech Commands are computed, kept and read again.

The folder ``--root`` is repeated, by links, until it has ``--clips`` recordings, so that a small
part of the data set serves. Uses every core that the process may use: `taskset -c 0` for one.

    python scripts/bench/gsc.py --root DIR [--clips 6000] [--frontend published] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np

from snn_delays.data import SpikeData, load_gsc


def repeat(source: Path, root: Path, clips: int) -> int:
    """Fill ``root`` with links to the recordings of ``source``; how many there are then."""
    recordings = sorted(source.glob("[!_.]*/*.wav"))
    for number in range(clips):
        copy, index = divmod(number, len(recordings))
        path = recordings[index].resolve()
        speaker, mark, rest = path.name.partition("_nohash_")
        link = root / path.parent.name / f"{int(speaker, 16) + copy:08x}{mark}{rest}"
        link.parent.mkdir(exist_ok=True)
        if not link.exists():
            link.symlink_to(path)
    return len(list(root.glob("*/*.wav")))


def timed(root: Path, frontend: str, cache: Path) -> tuple[float, SpikeData]:
    began = time.perf_counter()
    data = load_gsc(root, frontend=frontend, cache=cache)  # pyright: ignore[reportArgumentType]
    return time.perf_counter() - began, data


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of the words' folders")
    parser.add_argument("--clips", type=int, default=6000)
    parser.add_argument("--frontend", default="standard")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder) / "gsc", Path(folder) / "cache"
        root.mkdir()
        clips = repeat(options.root, root, options.clips)
        making, data = timed(root, options.frontend, cache)
        reading, data = timed(root, options.frontend, cache)
        megabytes = sum(path.stat().st_size for path in cache.rglob("*.features")) / 1e6
        rng, batches = np.random.default_rng(0), []
        for _ in range(20):
            chosen = rng.permutation(len(data.train))[: options.batch]
            began = time.perf_counter()
            data.train.collate(chosen)
            batches.append(1000 * (time.perf_counter() - began))
    found = {
        "clips": clips,
        "cores": len(os.sched_getaffinity(0)),
        "making_s": making,
        "clips_per_second": clips / making,
        "reading_s": reading,
        "cache_mb": megabytes,
        "batch_ms": float(np.median(batches)),
    }
    print(f"{platform.machine()}, {found['cores']} cores, {options.frontend} front end")
    print(f"{clips} recordings, {megabytes:.0f} MB of features")
    print(f"computing and keeping  {making:8.2f} s   {found['clips_per_second']:.0f} per second")
    print(f"reading again          {reading:8.2f} s   every byte checked")
    print(f"batch of {options.batch}           {found['batch_ms']:8.2f} ms  median")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
