"""Times in turns, what machine they are from, and how they are printed."""

from __future__ import annotations

import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

Run = Callable[[], object]


@dataclass
class Entry:
    """One line of a table: single measurements by whose they are, all in one unit."""

    row: str
    case: str
    values: dict[str, list[float]]
    unit: str = "s"
    notes: dict[str, float | str] = field(default_factory=dict)

    def median(self, whose: str) -> float:
        return statistics.median(self.values[whose])

    def ratio(self, whose: str = "ours") -> float | None:
        """How many times ``whose`` goes into the published figure; None without either."""
        if not {"published", whose} <= self.values.keys() or not self.median(whose):
            return None
        return self.median("published") / self.median(whose)

    def as_json(self) -> dict[str, Any]:
        medians = {whose: self.median(whose) for whose in self.values}
        return asdict(self) | {"medians": medians, "ratio": self.ratio()}


def alternate(runs: dict[str, Run], repeats: int, device: str = "cpu") -> dict[str, list[float]]:
    """Wall seconds of every run: one warm-up each, then in turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            duration = seconds(run, device)
            if repeat:  # the first call compiles
                times[name].append(duration)
    return times


def seconds(run: Run, device: str = "cpu") -> float:
    synchronize(device)
    began = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - began


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def machine(device: str) -> str:
    """The processor that does the work."""
    if device == "cuda":
        # Left as torch has it, which favours the published stack: it convolves, ours multiplies.
        tf32 = (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
        return f"{torch.cuda.get_device_name()}, TF32 in convolutions {tf32[0]}, products {tf32[1]}"
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    features = torch.backends.cpu.get_cpu_capability()
    return f"{model} ({features}), {torch.get_num_threads()} threads"


def versions() -> dict[str, str]:
    names = ("torch", "spikingjelly", "DCLS", "numba", "snn-delays")
    return {name: importlib.metadata.version(name) for name in names}


def heading(title: str, columns: list[str]) -> None:
    print(f"\n{title}")
    print(
        f"{'':44}" + "".join(f"{name:>16}" for name in columns) + f"{'published/ours':>16}  notes"
    )


def line(entry: Entry, columns: list[str]) -> None:
    """Medians in the unit's own size; "none" where a column was not measured."""
    cells = [
        f"{_short(entry.median(name), entry.unit):>16}" if name in entry.values else f"{'none':>16}"
        for name in columns
    ]
    ratio = entry.ratio()
    cells.append(f"{'' if ratio is None else f'{ratio:.2f}':>16}")
    notes = ", ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in entry.notes.items()
    )
    print(f"{entry.case:44}" + "".join(cells) + f"  {notes}", flush=True)


def _short(value: float, unit: str) -> str:
    if unit != "s":
        return f"{value:.1f} {unit}"
    return f"{value:.3f} s" if value >= 0.1 else f"{1000 * value:.3f} ms"
