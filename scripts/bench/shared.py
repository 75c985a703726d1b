#!/usr/bin/env python
"""A training step of SHD's recipe beside other programs, and on a quiet machine.

One neighbour keeps one core busy; of two cores a fair scheduler leaves 1.5, so that a step takes
1.33 times as long at best, and twice where work is divided beforehand. Then two trainings of one
thread each, at once and alone. Processes wait in turns; medians. Needs a machine without other
work: how much of it others took meanwhile is printed. At most three minutes.

    python scripts/bench/shared.py [--repeats 5] [--plain] [--small] [--json FILE]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snn_delays.loops.passive import wait_passively

SIGMAS = (12.0, 0.5)
LIMIT_S = 170.0  # of everything; the neighbour ends by itself then, whatever happens
NEIGHBOUR = "import time; end = time.monotonic() + {}\nwhile time.monotonic() < end: pass"


def serve(whose: str, threads: int, small: bool) -> None:
    """A training that takes a step whenever a line with σ comes, and says its wall seconds."""
    import torch
    from published import training_step
    from recipes import RECIPES, our_step

    from snn_delays import set_sigma
    from snn_delays.loops.processor import prepare_cpu

    torch.set_num_threads(threads)
    prepare_cpu()
    torch.manual_seed(0)
    recipe = RECIPES["shd"].small() if small else RECIPES["shd"]
    x, labels = recipe.batch(12 if small else 100, 4 if small else 128)
    step: Callable[[], None]
    if whose == "ours":
        ours = recipe.ours()
        train = our_step(ours)
        step, change = lambda: train(x, labels), lambda sigma: set_sigma(ours, sigma)
    else:
        theirs = recipe.published()
        step, change = lambda: training_step(theirs, x, labels), theirs.set_sigma
    for line in sys.stdin:
        change(float(line))
        began = time.perf_counter()
        step()
        print(time.perf_counter() - began, flush=True)


class Training:
    """A process that runs ``serve``."""

    def __init__(self, whose: str, threads: int, small: bool) -> None:
        arguments = ["--serve", whose, str(threads), *(["--small"] * small)]
        self.process = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, sigma: float) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{sigma}\n")
        self.process.stdin.flush()

    def end(self) -> float:
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            raise SystemExit("a training has ended; what it said is above")
        return float(line)

    def step(self, sigma: float) -> float:
        self.begin(sigma)
        return self.end()


@contextmanager
def neighbour(seconds: float) -> Iterator[None]:
    """One core kept busy by another process, which has begun and always ends."""
    busy = subprocess.Popen([sys.executable, "-c", NEIGHBOUR.format(seconds)])
    try:
        time.sleep(0.3)
        yield
    finally:
        busy.kill()
        busy.wait()


@contextmanager
def trainings(kinds: list[tuple[str, int]], small: bool) -> Iterator[list[Training]]:
    """Processes that have made their first steps at every σ: loops are compiled."""
    found = [Training(*kind, small) for kind in kinds]
    try:
        for one in found:
            for sigma in SIGMAS:
                one.step(sigma)
        yield found
    finally:
        for one in found:
            one.process.kill()
            one.process.wait()


def beside(one: Training, sigma: float, repeats: int, left: Callable[[], float]) -> dict[str, Any]:
    """Steps on a quiet machine and beside a neighbour, in turns."""
    quiet, busy = [], []
    for _ in range(repeats):
        quiet.append(one.step(sigma))
        with neighbour(left()):
            busy.append(one.step(sigma))
    return ratio(quiet, busy)


def at_once(pair: list[Training], sigma: float, repeats: int) -> dict[str, Any]:
    """Steps of two trainings, one after the other and at once, in turns."""
    alone, both = [], []
    for _ in range(2 * repeats):
        alone += [one.step(sigma) for one in pair]
        for one in pair:
            one.begin(sigma)
        both += [one.end() for one in pair]
    return ratio(alone, both)


def ratio(quiet: list[float], busy: list[float]) -> dict[str, Any]:
    medians = statistics.median(quiet), statistics.median(busy)
    return {
        "quiet": medians[0],
        "busy": medians[1],
        "ratio": medians[1] / medians[0],
        "seconds": {"quiet": quiet, "busy": busy},
    }


def busy_cores() -> float:
    """Processor seconds that this machine has worked, where it tells."""
    if not Path("/proc/stat").exists():
        return 0.0
    ticks = [int(one) for one in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--plain", action="store_true", help="let OpenMP wait as it does in a script of one's own"
    )
    parser.add_argument("--small", action="store_true", help="tiny networks, to try it")
    parser.add_argument("--json", type=Path, help="where to write every single time")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve[0], int(options.serve[1]), options.small)
        return
    if not options.plain:
        wait_passively()
    kinds = [("ours", 2), *([("published", 2)] * (importlib.util.find_spec("DCLS") is not None))]
    ends = time.monotonic() + LIMIT_S
    began, worked, own = time.monotonic(), busy_cores(), own_seconds()
    found: list[dict[str, Any]] = []
    print(f"{'':44}{'quiet':>12}{'beside':>12}{'×':>8}")
    with trainings(kinds, options.small) as running:
        for sigma in SIGMAS:
            for (whose, _), one in zip(kinds, running, strict=True):
                entry = beside(
                    one, sigma, options.repeats, lambda: max(1.0, ends - time.monotonic())
                )
                found.append({"case": f"σ = {sigma:g}, {whose}, beside one busy process", **entry})
                line(found[-1])
    with trainings([("ours", 1)] * 2, options.small) as pair:
        for sigma in SIGMAS:
            entry = at_once(pair, sigma, options.repeats)
            found.append({"case": f"σ = {sigma:g}, two trainings of one thread", **entry})
            line(found[-1])
    lasted = time.monotonic() - began
    others = (busy_cores() - worked - own_seconds() + own) / lasted
    print(f"other programs took {max(0.0, others):.2f} cores meanwhile, in {lasted:.0f} s")
    if options.json:
        text = json.dumps({"others_cores": others, "entries": found}, indent=2, ensure_ascii=False)
        options.json.write_text(text + "\n", encoding="utf-8")


def line(entry: dict[str, Any]) -> None:
    times = "".join(f"{1000 * entry[name]:>9.0f} ms" for name in ("quiet", "busy"))
    print(f"{entry['case']:44}{times}{entry['ratio']:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
