"""Callbacks of ``fit`` that decide which synapses there are, and how many distinct delays.

They act on every delay layer alike. What they draw is seeded by ``fit``'s seed and where training
stands, and the masks lie in the state dict, so that a resumed run is the run that never stopped.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from snn_delays.arguments import choice, real, settle, whole
from snn_delays.callbacks.callback import Callback, Training
from snn_delays.errors import UsageError
from snn_delays.layers import sparsity
from snn_delays.layers.delayed import Delayed
from snn_delays.layers.networks import delay_layers
from snn_delays.modules.ranged import stored
from snn_delays.run.generators import seed_of

_SHARE = real(above=0, most=1, must="be a share of training in (0, 1]")
_DENSITY = real(above=0, most=1, must="lie in (0, 1], as a share of the synapses")


class Rewiring(Callback):
    """What these callbacks share: they are dataclasses, and a run is configured with their fields.

    Raises:
        UsageError: fields out of range; from ``fit`` a network without delay layers, or with
            weights that a parametrisation makes of several tensors.
    """

    everywhere = True  # they draw alike, and gradients are those of all processes

    def settings(self) -> dict[str, Any]:
        return asdict(self)  # pyright: ignore[reportArgumentType]

    def _layers(self, training: Training) -> list[Delayed]:
        name, layers = type(self).__name__, delay_layers(training.net)
        if not layers:
            raise UsageError(f"{name}: needs a network with delay layers, got one without any.")
        weights = [(stored(layer, "weight"), layer.weight) for layer in layers]
        if any(own is None or own.shape != acting.shape for own, acting in weights):
            raise UsageError(
                f"{name}: weights that a parametrisation makes of several tensors, or of others "
                "than these, cannot be pruned. Remove it first, or use spacing='dense'."
            )
        return layers

    def _mask_at_first(self, training: Training, density: float) -> None:
        """A random mask, where a layer does not go on with one of this density that it has."""
        generator = generator_of(training)
        for layer in self._layers(training):
            count = int(sparsity.there(layer).sum())
            if count != sparsity.synapse_count(layer, density):
                sparsity.random_mask_(layer, density, generator)


@dataclass
class FixedMask(Rewiring):
    """Synapses drawn at random before training; the others never are.

    Args:
        density: share of synapses that there are, in (0, 1].
    """

    density: float

    def __post_init__(self) -> None:
        settle(self, "FixedMask: ", density=_DENSITY)

    def on_start(self, training: Training) -> None:
        self._mask_at_first(training, self.density)


@dataclass
class MagnitudePruning(Rewiring):
    """The smallest weights go, epoch by epoch, and do not come back.

        S(t) = (1 − final) · (1 − (1 − t / t_f)³),      t_f = until · epochs

    Before epoch t (from 1), each layer keeps a share 1 − S(t) of its synapses.

    Args:
        final: density at the end, in (0, 1].
        until: share of training in which it is reached, in (0, 1].

    Reference:
        Zhu, Gupta, "To prune, or not to prune" (2017, arXiv:1710.01878) for S(t).
    """

    final: float
    until: float = 0.25

    def __post_init__(self) -> None:
        settle(self, "MagnitudePruning: ", final=_DENSITY, until=_SHARE)

    def density(self, epoch: int, epochs: int) -> float:
        """Share of synapses in ``epoch``."""
        left = 1 - min(1.0, epoch / max(1, math.floor(self.until * epochs + 1e-9)))
        return 1 - (1 - self.final) * (1 - left**3)

    def on_start(self, training: Training) -> None:
        self._layers(training)

    def on_batch_start(self, training: Training) -> None:
        if training.batch == 1:
            for layer in self._layers(training):
                sparsity.prune_(layer, self.density(training.epoch, training.epochs))


@dataclass
class DeepR(Rewiring):
    """A synapse whose weight would change its sign dies, and another grows at random.

    So their number never changes. Of the paper it keeps the L1 penalty and the noise in every step,

        w ← w − η·l1·sign(w) + √(2·η·temperature)·ν,      ν ~ N(0, 1)

    after the optimiser's own step with learning rate η. A synapse begins at weight 0, with a delay
    drawn uniformly; its sign is that of its first step, where the paper draws it in advance.

    Args:
        density: share of synapses that there are, in (0, 1].
        l1: of every weight's decay towards 0.
        temperature: of the noise.

    Reference:
        Bellec, Kappel, Maass, Legenstein, "Deep rewiring: training very sparse deep networks"
        (2018, arXiv:1711.05136).
    """

    density: float
    l1: float = 1e-3
    temperature: float = 1e-9

    def __post_init__(self) -> None:
        settle(self, "DeepR: ", density=_DENSITY, l1=real(0), temperature=real(0))

    def on_start(self, training: Training) -> None:
        self._mask_at_first(training, self.density)

    @torch.no_grad()
    def on_batch_start(self, training: Training) -> None:
        self.signs = [_weight(layer).sign() for layer in self._layers(training)]

    @torch.no_grad()
    def on_batch(self, training: Training) -> None:
        generator = generator_of(training)
        for layer, signs in zip(self._layers(training), self.signs, strict=True):
            weight = _weight(layer)
            rate = _rate(training, weight)
            noise = torch.randn(weight.shape, generator=generator).to(weight)
            weight.sub_(rate * self.l1 * weight.sign())
            weight.add_(math.sqrt(2 * rate * self.temperature) * noise)
            layer.clear_absent_()
            dying = sparsity.crossed(layer, signs)
            grown = sparsity.drawn_absent(layer, int(dying.sum()), generator)
            sparsity.draw_delays_(layer, grown, generator)
            _exchange(training, layer, dying, grown)


@dataclass
class RigL(Rewiring):
    """Every so many batches the smallest weights go, and the steepest absent ones grow.

        share(t) = share / 2 · (1 + cos(π·t / t_end)),      t_end = until · batches of training

    In such a batch all weights have gradients, those of absent synapses at delays drawn anew for
    it: so they grow with the delay that made them steep.

    Args:
        density: share of synapses that there are, in (0, 1].
        every: batches from one exchange to the next.
        share: of a layer's synapses that are exchanged at first, in (0, 1].
        until: share of training after which the mask stays, in (0, 1].

    Raises:
        UsageError: also where weights are not learned.

    Reference:
        Evci et al., "Rigging the lottery: making all tickets winners" (2020, arXiv:1911.11134).
    """

    density: float
    every: int = 100
    share: float = 0.3
    until: float = 0.75

    def __post_init__(self) -> None:
        exchanged = real(above=0, most=1, must="be a share of the synapses in (0, 1]")
        rules = {"every": whole(1, unit="batches"), "share": exchanged, "until": _SHARE}
        settle(self, "RigL: ", density=_DENSITY, **rules)

    def on_start(self, training: Training) -> None:
        self._mask_at_first(training, self.density)
        if not all(_weight(layer).requires_grad for layer in self._layers(training)):
            raise UsageError(
                "RigL: grows synapses by the gradients of their weights, got frozen weights. "
                "Use DeepR or FixedMask, or let weights learn."
            )

    def on_batch_start(self, training: Training) -> None:
        if self._share(training):
            generator = generator_of(training)
            for layer in self._layers(training):
                sparsity.draw_delays_(layer, ~sparsity.there(layer), generator)
                layer.dense_gradient = True

    def on_batch(self, training: Training) -> None:
        if share := self._share(training):
            for layer in self._layers(training):
                gradient = _weight(layer).grad
                assert gradient is not None
                _exchange(training, layer, *sparsity.rigl_exchange(layer, gradient, share))
            self.on_end(training)

    def on_skip(self, training: Training) -> None:
        self.on_end(training)

    def on_end(self, training: Training) -> None:
        for layer in delay_layers(training.net):
            layer.dense_gradient = False

    def _share(self, training: Training) -> float:
        """What is exchanged in this batch."""
        step = (training.epoch - 1) * training.batches + training.batch
        end = self.until * training.epochs * training.batches
        if step % self.every or step >= end:
            return 0.0
        return self.share / 2 * (1 + math.cos(math.pi * step / end))


@dataclass
class FewDelays(Rewiring):
    """From a share of training on, few distinct delays, as chips with few delay slots need.

    Then delays rest at the whole steps that ``sparsity.few_delays_`` finds for them, and weights
    learn to live with these.

    Args:
        count: how many distinct delays ...
        per: ... in each ``"layer"``, or at each of its ``"post"`` or ``"pre"`` neurons.
        since: share of training, in (0, 1), after which delays rest.
    """

    count: int
    per: str = "layer"
    since: float = 0.5

    def __post_init__(self) -> None:
        share = real(above=0, below=1, must="be a share of training in (0, 1)")
        per = partial(choice, known=sparsity.PER)
        settle(self, "FewDelays: ", count=whole(1), per=per, since=share)

    def on_start(self, training: Training) -> None:
        self.layers, self.kept = self._layers(training), []

    def on_batch_start(self, training: Training) -> None:
        first = math.floor(self.since * training.epochs + 1e-9) + 1
        if training.batch == 1 and training.epoch == first:
            for layer in self.layers:
                sparsity.few_delays_(layer, self.count, self.per)
        if training.batch == 1:
            resting = self.layers if training.epoch >= first else []
            self.kept = [layer.delay.detach().clone() for layer in resting]

    @torch.no_grad()
    def on_batch(self, training: Training) -> None:
        for layer, delay in zip(self.layers if self.kept else [], self.kept, strict=True):
            layer.delay.copy_(delay)

    def state_dict(self) -> dict[str, Any]:
        return {"kept": self.kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.kept = state["kept"]


def generator_of(training: Training) -> Generator:
    """Random numbers that depend on the seed, the epoch and the batch alone."""
    seed = seed_of(training.config["settings"]["seed"], training.epoch, training.batch)
    return Generator().manual_seed(seed)


def _weight(layer: Delayed) -> Tensor:
    weight = stored(layer, "weight")
    assert weight is not None  # Rewiring._layers has refused others
    return weight


def _optimizers(training: Training) -> list[Optimizer]:
    return [one for one in training.optimisation if isinstance(one, Optimizer)]


def _rate(training: Training, parameter: Tensor) -> float:
    """The learning rate of a parameter; 0 if none moves it."""
    for optimizer in _optimizers(training):
        for group in optimizer.param_groups:
            if any(one is parameter for one in group["params"]):
                return float(group["lr"])
    return 0.0


def _exchange(training: Training, layer: Delayed, dying: Tensor, grown: Tensor) -> None:
    """Rewire a layer; of what grows the optimiser remembers nothing, of weight and of delay."""
    sparsity.rewire_(layer, dying, grown)
    for parameter in (_weight(layer), stored(layer, "delay")):
        if isinstance(parameter, nn.Parameter) and parameter.shape == grown.shape:
            for optimizer in _optimizers(training):
                for value in optimizer.state.get(parameter, {}).values():
                    if isinstance(value, Tensor) and value.shape == grown.shape:
                        value.masked_fill_(grown, 0)
