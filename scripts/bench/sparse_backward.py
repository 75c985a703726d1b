#!/usr/bin/env python
"""How much of the gradient into spikes matters, and what leaving out the rest would gain.

A spike's gradient is multiplied by its surrogate's slope, and by 0 where dropout has silenced the
neuron. With a bounded surrogate few entries are left (Perez-Nieves & Goodman, "Sparse spiking
gradient descent", 2021, arXiv:2105.08810). The first table trains the SHD recipe with each
surrogate and tells which share is left before each layer with delays, and the validation accuracy.
The second has the time of one layer's gradient into spikes, all of it by two methods and some of it
entry by entry, each with the rest of the layer's step beside it: what no such gradient could save.

    python scripts/bench/sparse_backward.py [--root DIR] [--epochs 4] [--seeds 0,1,2] [--json FILE]

Without --root there is the second table alone. In turns; minima of one process's own CPU time.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import prange
from numpy.typing import NDArray
from timing import machine
from torch import Tensor, nn

from snn_delays import DelayLayer, DelaySNN
from snn_delays.callbacks.callback import Callback, Training
from snn_delays.data import SpikeData, load_shd
from snn_delays.loops.loop import loop
from snn_delays.neurons import CAdLIFNode, LeakyReadout, lif
from snn_delays.ops import plan
from snn_delays.ops.compiled import use_torch_threads
from snn_delays.ops.surrogates import made
from snn_delays.ops.vectors import LANES, fma, load, splat, total
from snn_delays.training import fit

# In steps of 10 ms, as published; cAdLIF as in shd_best.
TAU, MAX_DELAY, HIDDEN, DROPOUT, BATCH = 1.005, 24, [256, 256], 0.4, 128
RUNS = (
    *(
        ("lif", name, alpha)
        for name, alpha in (("atan", 5.0), ("triangle", 1.0), ("triangle", 2.0))
    ),
    *(("lif", "boxcar", alpha) for alpha in (1.0, 2.0, 5.0)),
    ("cadlif", "boxcar", 1.0),
)
SHARES = (0.6, 0.3, 0.1, 0.05, 0.02)
SAMPLES = 4  # of a task: each row of the kernel is read once for all of them


def network(data: SpikeData, kind: str, surrogate: str, alpha: float) -> DelaySNN:
    settings = {"surrogate": surrogate, "surrogate_alpha": alpha}
    neurons: dict[str, Callable[..., nn.Module]] = {
        "lif": partial(lif, tau=TAU, **settings),
        "cadlif": partial(CAdLIFNode, v_threshold=0.5, **settings),
    }
    sizes = [data.n_channels, *HIDDEN, data.n_classes]
    synapses, output = partial(DelayLayer, max_delay=MAX_DELAY), partial(LeakyReadout, tau=TAU)
    return DelaySNN(sizes, synapses, neurons[kind], dropout=DROPOUT, output=output)


class Distances(nn.Module):
    """A surrogate that fires, and keeps how far the potentials were from the threshold."""

    spiking, alpha = True, 1.0

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def forward(self, u: Tensor) -> Tensor:
        self.found.append(u.detach())
        return (u >= 0).to(u)


@torch.no_grad()
def shares(net: DelaySNN, x: Tensor, surrogate: str, alpha: float) -> list[list[float]]:
    """Of each hidden layer: entries with a slope, and those that dropout leaves of them."""
    net = copy.deepcopy(net).train()
    blocks: list[Any] = list(net.blocks)[:-1]
    for block in blocks:
        block.neuron.surrogate_function = Distances()
    net(x)
    slope, found = made("bench", surrogate, alpha), []
    for block in blocks:
        u = torch.stack(block.neuron.surrogate_function.found).requires_grad_()
        with torch.enable_grad():
            (of_u,) = torch.autograd.grad(slope(u).sum(), u)
        sloped = of_u != 0
        kept = sloped & (block.dropout.mask != 0)
        found.append([sloped.float().mean().item(), kept.float().mean().item()])
    return found


class Shares(Callback):
    """Those of one training batch, at first and after every epoch."""

    def __init__(self, x: Tensor, surrogate: str, alpha: float) -> None:
        self.asked = (x, surrogate, alpha)
        self.found: list[list[list[float]]] = []

    def on_start(self, training: Training) -> None:
        self.on_epoch(training)

    def on_epoch(self, training: Training) -> None:
        assert isinstance(training.net, DelaySNN)
        self.found.append(shares(training.net, *self.asked))


def trained(data: SpikeData, run: tuple[str, str, float], seed: int, epochs: int) -> dict[str, Any]:
    """Shares by epoch, layer and (sloped, kept), and validation accuracy by epoch."""
    torch.manual_seed(seed)
    net = network(data, *run)
    split = data.train
    batch = split.sparse(np.arange(min(BATCH, len(split)))).dense()
    watch = Shares(batch.spikes, *run[1:])
    rows = fit(net, data, epochs=epochs, batch_size=BATCH, seed=seed, callbacks=[watch])
    accuracy = [row["valid_accuracy"] for row in rows]
    return {"run": run, "seed": seed, "shares": watch.found, "valid_accuracy": accuracy}


@loop(parallel=True)
def entries(out: NDArray, needed: NDArray, grad: NDArray, kernel: NDArray) -> None:
    """out[t, n, c] = Σ_j Σ_o grad[t + j, n, o] · kernel[c, j, o] where needed, 0 elsewhere.

    Shape:
        out, needed ``[T, N, C]``, grad ``[T, N, O]``, kernel ``[C, J, O]``; O a multiple of
        2 · ``LANES``.
    """
    steps, batch, channels = out.shape
    taps, post = kernel.shape[1:]
    k, length, sample = kernel.reshape(-1), taps * post, (steps + taps - 1) * post
    for task in prange((batch + SAMPLES - 1) // SAMPLES):
        first = task * SAMPLES
        count = min(SAMPLES, batch - first)
        # The steps of a sample one after the other: all taps of an entry are one row of numbers.
        rows = np.zeros(count * sample, grad.dtype)
        start = np.zeros(channels * count + 1, np.int64)
        for i in range(count):
            for t in range(steps):
                rows[i * sample + t * post : i * sample + (t + 1) * post] = grad[t, first + i]
                for c in range(channels):
                    start[c * count + i + 1] += needed[t, first + i, c]
        for b in range(channels * count):
            start[b + 1] += start[b]
        place, at = np.empty(start[-1], np.int64), start[:-1].copy()
        for i in range(count):
            for t in range(steps):
                for c in range(channels):
                    out[t, first + i, c] = 0
                    if needed[t, first + i, c]:
                        place[at[c * count + i]] = i * sample + t * post
                        at[c * count + i] += 1
        for c in range(channels):
            begin, end = start[c * count], start[(c + 1) * count]
            while begin < end:
                # Four entries share what they load of the kernel; of the last, some come twice.
                p0, p1 = place[begin], place[min(begin + 1, end - 1)]
                p2, p3 = place[min(begin + 2, end - 1)], place[min(begin + 3, end - 1)]
                if begin + 1 == end:
                    d0 = one_dot(rows, p0, k, c * length, length)
                    d1, d2, d3 = d0, d0, d0
                else:
                    d0, d1, d2, d3 = four_dots(rows, p0, p1, p2, p3, k, c * length, length)
                for p, d in ((p0, d0), (p1, d1), (p2, d2), (p3, d3)):
                    out[(p % sample) // post, first + p // sample, c] = d
                begin += 4


@loop
def one_dot(x, i, k, o, count):
    """Σ_m x[i + m] · k[o + m], m < count."""
    a = b = splat(k.dtype.type(0))
    for m in range(0, count, 2 * LANES):
        a = fma(load(x, i + m), load(k, o + m), a)
        b = fma(load(x, i + m + LANES), load(k, o + m + LANES), b)
    return total(fma(splat(k.dtype.type(1)), a, b))


@loop
def four_dots(x, i0, i1, i2, i3, k, o, count):
    """The same of four rows of x."""
    zero, one = splat(k.dtype.type(0)), splat(k.dtype.type(1))
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zero
    for m in range(0, count, 2 * LANES):
        v, w = load(k, o + m), load(k, o + m + LANES)
        a0, b0 = fma(load(x, i0 + m), v, a0), fma(load(x, i0 + m + LANES), w, b0)
        a1, b1 = fma(load(x, i1 + m), v, a1), fma(load(x, i1 + m + LANES), w, b1)
        a2, b2 = fma(load(x, i2 + m), v, a2), fma(load(x, i2 + m + LANES), w, b2)
        a3, b3 = fma(load(x, i3 + m), v, a3), fma(load(x, i3 + m + LANES), w, b3)
    sums = fma(one, a0, b0), fma(one, a1, b1), fma(one, a2, b2), fma(one, a3, b3)
    return total(sums[0]), total(sums[1]), total(sums[2]), total(sums[3])


def times(steps: int, batch: int, width: int, repeats: int) -> dict[str, float]:
    """Seconds of the parts of a step of one layer, forward and backward, σ = 2."""
    torch.manual_seed(0)
    x = (torch.rand(steps, batch, width) < 0.05).float()
    weight = torch.randn(width, width, 1, requires_grad=True)
    delay = (MAX_DELAY * torch.rand(width, width, 1)).requires_grad_()
    kernel = torch.randn(width, width, MAX_DELAY + 1)
    rows = kernel.permute(1, 2, 0).contiguous()
    grad, out = torch.randn(steps, batch, width), torch.empty(steps, batch, width)

    def layer(method: str, of_x: bool) -> None:
        settings: dict[str, Any] = {"max_delay": MAX_DELAY, "interpolation": "gaussian"}
        inputs = (x.clone().requires_grad_(of_x), weight, delay)
        plan.delay_convolution(*inputs, sigma=2.0, **settings, method=method).backward(grad)

    def some(needed: Tensor) -> None:
        use_torch_threads()
        entries(out.numpy(), needed.numpy(), grad.numpy(), rows.numpy())

    # Dropout silences neurons for good, and slopes leave some steps of the others.
    kept = torch.rand(batch, width) < 1 - DROPOUT
    masks = {f: kept & (torch.rand(out.shape) < f / (1 - DROPOUT)) for f in SHARES}
    check(masks[SHARES[-1]], grad, kernel, out, some)
    runs: dict[str, Callable[[], None]] = {
        f"{method}, {'all' if of_x else 'without'}": partial(layer, method, of_x)
        for method in ("dense", "fft")
        for of_x in (True, False)
    }
    runs |= {f"entries, {share:g}": partial(some, mask) for share, mask in masks.items()}
    least = dict.fromkeys(runs, np.inf)
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            began = time.process_time()
            run()
            if repeat:  # the first call compiles
                least[name] = min(least[name], time.process_time() - began)
    return least


def check(needed: Tensor, grad: Tensor, kernel: Tensor, out: Tensor, some: Any) -> None:
    """Refuse to time entries that are not those of the equation."""
    some(needed)
    later = torch.nn.functional.pad(grad, (0, 0, 0, 0, 0, MAX_DELAY)).permute(1, 2, 0)
    right = torch.nn.functional.conv1d(later, kernel.transpose(0, 1)).permute(2, 0, 1)
    torch.testing.assert_close(out, right * needed, rtol=1e-4, atol=1e-4 * float(right.std()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder of shd_train.h5 and shd_test.h5")
    parser.add_argument("--cache", help="folder for the binned files")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--runs", default=",".join(f"{n}:{s}:{a:g}" for n, s, a in RUNS))
    parser.add_argument("--shape", default="136,128,256", help="steps, batch, neurons")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(f"{machine('cpu')}, torch {torch.__version__}")
    steps, batch, width = (int(number) for number in options.shape.split(","))
    least = times(steps, batch, width, options.repeats)
    print(
        f"one layer, {width} → {width}, T = {steps}, N = {batch}, milliseconds of one core's time:"
    )
    for name, value in least.items():
        print(f"  {name:16} {1000 * value:8.1f}")
    for method in ("dense", "fft"):
        all_of_it = least[f"{method}, all"] - least[f"{method}, without"]
        gains = (f"{s:g}: {least[f'entries, {s:g}'] / all_of_it:.2f}" for s in SHARES)
        print(f"entries ÷ all of the gradient by {method}, by share: {', '.join(gains)}")
    rows: list[dict[str, Any]] = []
    if options.root:
        cache = True if options.cache is None else options.cache
        data = load_shd(options.root, split="stratified", valid_fraction=0.05, cache=cache)
        print("share with a slope → left by dropout, before each layer, at first and at last:")
        for named in options.runs.split(","):
            neuron, surrogate, alpha = named.split(":")
            for seed in map(int, options.seeds.split(",")):
                run = (neuron, surrogate, float(alpha))
                row = trained(data, run, seed, options.epochs)
                rows.append(row)
                told = " ".join(
                    "; ".join(f"{a:.3f} → {b:.3f}" for a, b in of) + " |"
                    for of in (row["shares"][0], row["shares"][-1])
                )
                accuracy = 100 * row["valid_accuracy"][-1]
                print(f"  {named:18} seed {seed}: {told} valid {accuracy:.1f} %", flush=True)
    if options.json:
        text = json.dumps({"machine": machine("cpu"), "seconds": least, "runs": rows}, indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
