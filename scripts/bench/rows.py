"""Rows a, b, c, d, g: what is timed in one process, ours and published in turns."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from options import Options
from published import Synapses, training_step
from recipes import RECIPES, Recipe, our_step, set_both
from spikingjelly.activation_based import functional, neuron, surrogate
from timing import Entry, Run, alternate, seconds
from torch import Tensor, nn

from snn_delays import DelayLayer, neurons

DENSITY_B = 0.1  # of Bernoulli spikes, in row b
SHAPE_G = (136, 256)  # steps and neurons, in row g: SHD's hidden layer with its tail of silence


def training_steps(options: Options) -> Iterator[Entry]:
    """(a) One whole training step at each σ."""
    for recipe in options.recipes:
        torch.manual_seed(0)
        ours, theirs = recipe.ours(options.device), recipe.published(options.device)
        x, labels = recipe.batch(options.steps, options.batch, options.device)
        step = our_step(ours)
        runs: dict[str, Run] = {
            "ours": lambda step=step, x=x, y=labels: step(x, y),
            "published": lambda net=theirs, x=x, y=labels: training_step(net, x, y),
        }
        if options.bf16:
            runs["ours bf16"] = lambda step=step, x=x, y=labels: step(x, y, True)
            runs["published bf16"] = lambda net=theirs, x=x, y=labels: training_step(
                net, x, y, True
            )
        for sigma in options.sigmas:
            set_both(ours, theirs, sigma)
            times = alternate(runs, options.repeats, options.device)
            entry = Entry("a", f"{recipe.name} σ = {sigma:g}", times)
            if options.bf16:  # the published stack is fp32 as published
                entry.notes["published/ours bf16"] = entry.ratio("ours bf16") or 0.0
            yield entry


def layer_pair(width: int, max_delay: int, sigma: float, device: str) -> dict[str, nn.Module]:
    """One layer width → width, the same weights and delays in both."""
    torch.manual_seed(0)
    ours = DelayLayer(width, width, max_delay, sigma=sigma).to(device)
    theirs = Synapses(width, width, max_delay + 1, right=0).to(device)
    theirs.set_sigma(sigma)
    theirs.load(ours.weight, ours.delay)
    return {"ours": ours, "published": theirs}


def layer_run(layer: nn.Module, x: Tensor) -> Run:
    """Forward and backward, from zero state and without gradients of the run before."""
    judge = torch.randn_like(x)

    def run() -> None:
        functional.reset_net(layer)
        layer.zero_grad()
        x.grad = None
        layer(x).backward(judge)

    return run


def layer_input(options: Options) -> Tensor:
    torch.manual_seed(1)
    spikes = torch.rand(options.steps_b, options.batch_b, options.width_b) < DENSITY_B
    return spikes.float().to(options.device).requires_grad_()


def layers(options: Options) -> Iterator[Entry]:
    """(b) One layer, forward and backward, against its largest delay."""
    x = layer_input(options)
    for narrow in (True, False):
        first: Entry | None = None
        for max_delay in options.max_delays:
            sigma = 0.5 if narrow else max_delay / 2
            pair = layer_pair(options.width_b, max_delay, sigma, options.device)
            runs = {name: layer_run(layer, x) for name, layer in pair.items()}
            times = alternate(runs, options.repeats, options.device)
            entry = Entry("b", f"max_delay {max_delay}, σ = {sigma:g}", times)
            first = first or entry
            for name in times:
                entry.notes[f"{name} ×"] = entry.median(name) / first.median(name)
            yield entry


def evaluations(options: Options) -> Iterator[Entry]:
    """(c) Evaluation with rounded delays."""
    for recipe in options.recipes:
        torch.manual_seed(0)
        ours = recipe.ours(options.device).rounded().eval()
        theirs = recipe.published(options.device).rounded()
        x, _ = recipe.batch(options.steps, options.batch, options.device)
        with torch.no_grad():
            runs: dict[str, Run] = {
                "ours": lambda net=ours, x=x: net(x),
                "published": lambda net=theirs, x=x: net(x),
            }
            times = alternate(runs, options.repeats, options.device)
        yield Entry("c", f"{recipe.name}, {options.batch} samples", times)


def _shd(options: Options) -> Recipe:
    return RECIPES["shd"].small() if options.small else RECIPES["shd"]


def streaming(options: Options) -> Iterator[Entry]:
    """(d) One sample, step by step, on one thread; the published stack has no such mode."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    recipe = _shd(options)
    torch.manual_seed(0)
    net = recipe.ours(options.device).rounded().eval()
    functional.set_step_mode(net, "s")
    x, _ = recipe.batch(options.steps, 1, options.device)
    warm_up = 50
    ours = []
    with torch.no_grad():
        for step in range(options.stream_steps + warm_up):
            now = x[step % len(x)]
            took = seconds(lambda now=now: net(now), options.device)
            if step >= warm_up:
                ours.append(1e6 * took)
        theirs = recipe.published(options.device).rounded()
        whole = alternate({"published": lambda: theirs(x)}, options.repeats, options.device)
    torch.set_num_threads(threads)
    yield Entry("d", f"{recipe.name}, a step", {"ours": ours}, unit="µs")
    per_step = [1e6 * time / len(x) for time in whole["published"]]
    yield Entry(
        "d",
        f"{recipe.name}, whole sequence / {len(x)}",
        {"published": per_step},
        unit="µs",
        notes={"its answer": "at the end only"},
    )


def scans(options: Options) -> Iterator[Entry]:
    """(g) Neurons alone, forward and backward."""
    torch.manual_seed(0)
    steps, width = (options.steps, options.width_b) if options.small else SHAPE_G
    x = torch.randn(steps, options.batch, width, device=options.device).requires_grad_()
    kinds = {"LIF": {}, "LIF, soft reset": {"v_reset": None}}
    kinds["LIF, reset not detached"] = {"detach_reset": False}
    kinds["ParametricLIF"] = {}
    for kind, settings in kinds.items():
        name = "ParametricLIFNode" if kind == "ParametricLIF" else "LIFNode"
        if not hasattr(neurons, name):
            continue
        pair = {}
        for whose, source in (("ours", neurons), ("published", neuron)):
            tau = {"init_tau": 2.0} if name == "ParametricLIFNode" else {"tau": 2.0}
            common = {"v_reset": 0.0, "detach_reset": True, **tau, **settings}
            pair[whose] = getattr(source, name)(
                decay_input=False,
                surrogate_function=surrogate.ATan(alpha=5.0),
                step_mode="m",
                **common,
            ).to(options.device)
        runs = {whose: layer_run(node, x) for whose, node in pair.items()}
        times = alternate(runs, options.repeats, options.device)
        yield Entry("g", f"{kind} {list(x.shape)}", times)
