#!/usr/bin/env python
"""How many times faster than real time one core simulates a delay table, sample by sample.

Whole samples (``run``) and a stream (``step`` after ``step``, from Python), and the reference; all
in one process, in turns, medians. The table is drawn: 140-256-256-20, every pair connected, delays
up to 24 steps of 10 ms, and input as dense as speech in SHD's format. With ``--run`` also that
run's best network, rounded, on samples of its test set.

Beside it the bound: an addition loads a synapse's place and weight, loads the current that waits
there, and stores it; a processor with three loads and one store a cycle takes one cycle for that at
least (one with two loads 1.5). The cycle is measured, by a chain of multiplications (3 cycles) and
exclusive-ors (1 cycle), as x86 processors have had them for long.

    python scripts/bench/simulate.py [--run DIR [--root DIR]] [--repeats 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numba import njit
from timing import alternate, machine, versions

from snn_delays import DelaySNN
from snn_delays.cli.runs import load_run
from snn_delays.deploy import integer_table
from snn_delays.run.folder import RunFolder
from snn_delays.table import DelayTable, Population, Projection, Simulator, synaptic_operations
from snn_delays.table.simulator.reference import ReferenceSimulator

SIZES, SMALL = (140, 256, 256, 20), (14, 16, 16, 4)
MAX_DELAY, TAIL, DT_MS, STEPS = 24, 36, 10.0, 100
INPUT_RATE = 0.65  # events per step and channel, as FSDD spikes have them
HIDDEN_RATE = 0.1  # spikes per step and neuron that the thresholds aim at

Counts = list[np.ndarray]


@dataclass(frozen=True)
class Result:
    """Medians of one network on one core; additions are what the simulator does per step."""

    network: str
    steps: float
    additions: float
    run_us: float
    step_us: float
    reference_us: float
    dt_ms: float

    @property
    def real_time(self) -> tuple[float, float, float]:
        """How many times faster than real time: ``run``, ``step`` and the reference."""
        times = (self.run_us, self.step_us, self.reference_us)
        return tuple(1000 * self.dt_ms / us for us in times)  # pyright: ignore

    @property
    def ns_per_addition(self) -> float:
        return 1000 * self.run_us / self.additions


def drawn_table(sizes: tuple[int, ...]) -> DelayTable:
    """Every pair connected once; thresholds such that about one neuron in ten fires a step."""
    rng = np.random.default_rng(0)
    names = ["input", *(f"hidden{index}" for index in range(len(sizes) - 2)), "readout"]
    populations, projections = [], []
    for (source, n_pre), (target, n_post) in pairwise(zip(names, sizes, strict=True)):
        if target == "readout":
            populations.append(Population.of(target, "LI", n_post, beta=0.5))
        else:
            constants = {"beta": 0.5, "v_threshold": 1.25, "v_reset": 0.0, "reset": "hard"}
            populations.append(Population.of(target, "LIF", n_post, **constants))
        pre, post = np.divmod(np.arange(n_pre * n_post, dtype=np.int32), np.int32(n_post))
        # v spreads like √(events a step · weight² / (1 − β²)); the threshold is a share of that.
        events = n_pre * (INPUT_RATE if source == "input" else HIDDEN_RATE)
        spread = np.sqrt(events / (1 - 0.5**2))
        projections.append(
            Projection(
                source=source,
                target=target,
                pre=pre,
                post=post,
                delay=rng.integers(0, MAX_DELAY + 1, len(pre)).astype(np.int32),
                weight=(rng.normal(0, 1, len(pre)) / spread).astype(np.float32),
                min_delay=0,
                max_delay=MAX_DELAY,
            )
        )
    return DelayTable(
        populations=tuple(populations),
        projections=tuple(projections),
        dt_ms=DT_MS,
        class_names=tuple(map(str, range(sizes[-1]))),
        readout="sum_softmax",
        tail_steps=TAIL,
        input_channels=sizes[0],
        created_by="scripts/bench/simulate.py",
    )


def drawn_counts(channels: int, samples: int, steps: int) -> Counts:
    rng = np.random.default_rng(1)
    return [rng.poisson(INPUT_RATE, (steps, channels)).astype(np.float32) for _ in range(samples)]


def trained(folder: Path, root: str | None, samples: int) -> tuple[DelayTable, Counts]:
    """The run's best network, and test samples spread over the file."""
    _, data, net = load_run(RunFolder(folder), "best", root)
    assert isinstance(net, DelaySNN)
    table = integer_table(net.eval().rounded(), dt_ms=data.dt_ms, class_names=data.class_names)
    taken = min(samples, len(data.test))
    chosen = [index * len(data.test) // taken for index in range(taken)]
    return table, [data.test.collate([index]).spikes[:, 0].numpy() for index in chosen]


def measure(name: str, table: DelayTable, samples: Counts, repeats: int) -> Result:
    simulator, slow = Simulator(table), ReferenceSimulator(table)
    silent = np.zeros((table.tail_steps, table.input_channels), np.float32)
    padded = [np.concatenate([counts, silent]) for counts in samples]

    def whole() -> None:
        for counts in samples:
            simulator.run(counts)

    def stream() -> None:
        for counts in padded:
            simulator.reset()
            for now in counts:
                simulator.step(now)

    times = alternate(
        {"run": whole, "step": stream, "reference": lambda: slow.run(samples[0])}, repeats
    )
    steps = sum(map(len, padded))
    per_step = {of: 1e6 * float(np.median(taken)) / steps for of, taken in times.items()}
    return Result(
        network=name,
        steps=steps / len(samples),
        additions=sum(additions(table, simulator, counts) for counts in samples) / steps,
        run_us=per_step["run"],
        step_us=per_step["step"],
        reference_us=per_step["reference"] * steps / len(padded[0]),
        dt_ms=table.dt_ms,
    )


def additions(table: DelayTable, simulator: Simulator, counts: np.ndarray) -> int:
    """Synapses that a sample's spikes are sent into; 3 spikes in one cell are one addition."""
    simulation = simulator.run(counts)
    return sum(synaptic_operations(table, counts != 0, simulation).values())


@njit
def chain(times: int, factor: int) -> int:
    x = 1
    for i in range(times):
        x = (x * factor) ^ i
    return x


def cycle_ns(repeats: int) -> float:
    """Duration of a clock cycle while one core works."""
    times = 5_000_000
    taken = alternate({"chain": lambda: chain(times, 7)}, repeats)["chain"]
    return 1e9 * float(np.median(taken)) / (4 * times)


def results(options: argparse.Namespace) -> Iterator[Result]:
    sizes, steps = (SMALL, 12) if options.small else (SIZES, STEPS)
    table = drawn_table(sizes)
    samples = drawn_counts(sizes[0], 2 if options.small else options.samples, steps)
    yield measure("-".join(map(str, sizes)) + ", drawn", table, samples, options.repeats)
    if options.run is not None:
        table, samples = trained(options.run, options.root, options.samples)
        yield measure(f"{options.run}, rounded", table, samples, options.repeats)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--run", type=Path, help="also a trained run")
    parser.add_argument("--root", help="where that run's data lies now, if it has moved")
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5, help="after one warm-up")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--small", action="store_true", help="tiny, to try the benchmark itself")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bound = cycle_ns(options.repeats)
    print(f"{machine('cpu')}; numba {versions()['numba']}; one sample at a time")
    print(f"bound: {bound:.2f} ns, a cycle, per addition")
    found = []
    for result in results(options):
        found.append(asdict(result) | {"real_time": result.real_time})
        run, step, slow = result.real_time
        print(
            f"\n{result.network}: {result.steps:.0f} steps of {result.dt_ms:g} ms a sample, "
            f"{result.additions:,.0f} additions a step"
        )
        print(f"run    {result.run_us:9.2f} µs a step {run:9,.0f} × real time")
        print(f"step   {result.step_us:9.2f} µs a step {step:9,.0f} × real time")
        print(f"Python {result.reference_us:9.2f} µs a step {slow:9,.0f} × real time")
        print(
            f"run takes {result.ns_per_addition:.2f} ns per addition, neurons included: "
            f"{result.ns_per_addition / bound:.1f} cycles"
        )
    if options.json:
        report = {"machine": machine("cpu"), "bound_ns": bound, "results": found}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
