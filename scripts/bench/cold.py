#!/usr/bin/env python
"""What the loops of a training step take to compile, from an empty folder: processor time by loop.

    python scripts/bench/cold.py [--recipe shd] [--sigmas 12,5,2,0.5] [--evaluate]

The first step at each σ compiles what no step before it did, and pays for Python's collection of
garbage afterwards. A loop's own time is without that of functions that were compiled for it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from typing import Any

import torch
from numba.core import event
from recipes import RECIPES, our_step

from snn_delays import set_sigma

_EMPTY = "SNN_DELAYS_BENCH_EMPTY"


class _Compilations(event.Listener):
    """Processor time of each function that is compiled."""

    def __init__(self) -> None:
        self.whole: dict[str, float] = defaultdict(float)
        self.own: dict[str, float] = defaultdict(float)
        self._begun: list[list[float]] = []

    def on_start(self, event: Any) -> None:
        self._begun.append([time.process_time(), 0.0])

    def on_end(self, event: Any) -> None:
        began, others = self._begun.pop()
        took = time.process_time() - began
        if self._begun:
            self._begun[-1][1] += took
        function = event.data["dispatcher"].py_func
        name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        self.whole[name] += took
        self.own[name] += took - others

    def total(self) -> float:
        return sum(self.own.values())


def _measure(given: argparse.Namespace) -> None:
    listener = _Compilations()
    event.register("numba:compile", listener)
    torch.set_num_threads(1)
    recipe = RECIPES[given.recipe]
    net, batch = recipe.ours(), recipe.batch(100, 128)
    step = our_step(net)
    compiled = whole = 0.0

    def took(label: str, run: Any) -> None:
        nonlocal compiled, whole
        began = time.process_time()
        run()
        duration = time.process_time() - began
        print(f"{label:24}{duration:8.2f} s, {listener.total() - compiled:.2f} s of it compiling")
        compiled, whole = listener.total(), whole + duration

    for sigma in map(float, given.sigmas.split(",")):
        set_sigma(net, sigma)
        took(f"first step, σ = {sigma:g}", lambda: step(*batch))
    if given.evaluate:
        with torch.no_grad():
            rounded = net.rounded().eval()
            took("evaluation, rounded", lambda: rounded(batch[0]))
    print(f"{'all':24}{whole:8.2f} s, {compiled:.2f} s of it compiling\n")
    print(f"{'loop':40}{'whole':>8}{'own':>8}")
    for name, own in sorted(listener.own.items(), key=lambda one: -one[1])[: given.lines]:
        print(f"{name:40}{listener.whole[name]:8.2f}{own:8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", choices=list(RECIPES), default="shd")
    parser.add_argument("--sigmas", default="12,5,2,0.5")
    parser.add_argument("--evaluate", action="store_true", help="with rounded delays, at the end")
    parser.add_argument("--lines", type=int, default=30)
    given = parser.parse_args()
    if _EMPTY in os.environ:
        return _measure(given)
    with tempfile.TemporaryDirectory() as folder:  # which numba reads as it is imported
        variables = {**os.environ, "NUMBA_CACHE_DIR": folder, _EMPTY: "1"}
        sys.exit(subprocess.run([sys.executable, *sys.argv], env=variables).returncode)


if __name__ == "__main__":
    main()
