"""The published recipes, both networks for each, and inputs to feed them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from published import PublishedSNN
from torch import Tensor

from snn_delays import DelayLayer, DelaySNN, clamp_delays_, losses, set_sigma
from snn_delays.neurons import lif

# Spikes of the Free Spoken Digit Dataset through SHD's cochlea model, binned to 10 ms and 5 units
# per channel, training file: share of (step, channel) bins that are not 0 within a recording's
# own duration, by tens of the 140 channels (0.208 on average), and mean count of such a bin.
SHARE = (0.04, 0.04, 0.04, 0.05, 0.07, 0.10, 0.15, 0.21, 0.30, 0.36, 0.40, 0.41, 0.42, 0.34)
MEAN_COUNT = 3.02


@dataclass(frozen=True)
class Recipe:
    """A published network and the input it trains on; τ in steps of 10 ms."""

    name: str
    sizes: tuple[int, ...]
    max_delay: int
    tau: float
    dropout: float
    spikes: bool = True  # counts of spikes, or dense numbers

    def ours(self, device: str = "cpu") -> DelaySNN:
        synapses = partial(DelayLayer, max_delay=self.max_delay)
        neuron = partial(lif, tau=self.tau)
        return DelaySNN(self.sizes, synapses, neuron, dropout=self.dropout).to(device)

    def published(self, device: str = "cpu") -> PublishedSNN:
        return PublishedSNN(self.sizes, self.max_delay + 1, tau=self.tau, dropout=self.dropout).to(
            device
        )

    def batch(self, steps: int, size: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
        """Inputs ``[T, N, C]``, none of them padding, and labels; the same at every call."""
        generator = torch.Generator().manual_seed(0)
        shape = (steps, size, self.sizes[0])
        if self.spikes:
            x = spike_counts(shape, generator)
        else:
            x = torch.randn(shape, generator=generator)
        labels = torch.randint(self.sizes[-1], (size,), generator=generator)
        return x.to(device), labels.to(device)

    def small(self) -> Recipe:
        """The same with few neurons and taps, to try the benchmark itself."""
        return replace(self, sizes=(14, *(8,) * (len(self.sizes) - 2), 4), max_delay=6)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("shd", (140, 256, 256, 20), 24, 1.005, 0.4),
        Recipe("ssc", (140, 512, 512, 512, 35), 30, 1.5, 0.25),
        Recipe("gsc", (140, 512, 512, 512, 35), 30, 1.5, 0.25, spikes=False),
    )
}


def spike_counts(shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Counts with ``SHARE`` and ``MEAN_COUNT``: Bernoulli bins, geometric counts in them."""
    tens = torch.arange(shape[-1]) * len(SHARE) // shape[-1]
    filled = torch.rand(shape, generator=generator) < torch.tensor(SHARE)[tens]
    counts = torch.empty(shape).geometric_(1 / MEAN_COUNT, generator=generator)
    return torch.where(filled, counts, 0.0)


def our_optimizers(net: DelaySNN) -> list[torch.optim.Adam]:
    """Those of the published stack: weights decayed, BatchNorm not, delays apart."""
    named = dict(net.named_parameters())
    delays = net.delay_parameters()
    norms = [p for name, p in named.items() if ".norm." in name]
    apart = {id(p) for p in (*delays, *norms)}
    weights = [p for p in named.values() if id(p) not in apart]
    return [
        torch.optim.Adam(
            [{"params": weights, "weight_decay": 1e-5}, {"params": norms, "weight_decay": 0.0}],
            lr=1e-3,
        ),
        torch.optim.Adam(delays, lr=0.1),
    ]


def our_step(net: DelaySNN) -> Callable[..., None]:
    """A training step like ``published.training_step``, with optimisers of its own."""
    optimizers = our_optimizers(net)

    def step(x: Tensor, labels: Tensor, bf16: bool = False) -> None:
        for optimizer in optimizers:
            optimizer.zero_grad()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            v = net(x)
            assert isinstance(v, Tensor)
            loss = losses.cross_entropy(losses.sum_softmax(v), labels)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        clamp_delays_(net)

    return step


def set_both(ours: DelaySNN, theirs: PublishedSNN, sigma: float) -> None:
    set_sigma(ours, sigma)
    theirs.set_sigma(sigma)
