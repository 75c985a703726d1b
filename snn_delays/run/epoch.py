"""The sums of one epoch of training, batch by batch, and the row of metrics made from them."""

from __future__ import annotations

import time
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn

from snn_delays.errors import UsageError
from snn_delays.layers.networks import delay_layers
from snn_delays.run.firing import Firing
from snn_delays.run.late import Mean
from snn_delays.run.ranks import Ranks
from snn_delays.tasks import Task


class Epoch:
    """The sums of an epoch. They stay on the network's device until they are read.

    Reading makes the host wait for a GPU: do not read in every batch.

    Args:
        net: the network, as the epoch begins with it.
        task: how answers are judged.
        in_a_row: how many steps just before it were left out.
    """

    def __init__(self, net: nn.Module, task: Task, in_a_row: int = 0) -> None:
        self.net, self.metric = net, task.metric
        self.began = time.perf_counter()
        self.before = _delays(net)
        self.seen = self.skipped = 0
        self.in_a_row = in_a_row
        self.mean_loss = Mean()
        self.tally, self.firing = task.tally(), Firing(net)

    def add(self, loss: Tensor, scores: Tensor, labels: Tensor) -> None:
        """Take the answers to some samples, and their mean loss."""
        self.mean_loss.add(loss, len(labels))
        self.seen += len(labels)
        self.in_a_row = 0
        self.tally.add(scores, labels)

    @property
    def loss(self) -> float:
        """Mean over the samples so far."""
        return float(self.mean_loss)

    @property
    def score(self) -> float | None:
        """Of the samples so far; ``None`` if only the whole epoch has one."""
        return self.tally.so_far()

    def metrics(self, dt_ms: float) -> dict[str, float]:
        """Of the whole epoch.

        Raises:
            UsageError: every step was left out.
        """
        if not self.seen:
            raise UsageError(
                f"fit: all {self.skipped} steps of an epoch were left out, since they were not "
                "finite. Begin a new run with a lower weight_lr, or with clip_norm=1."
            )
        found = {"loss": self.loss, self.metric: self.tally.score(), **self.firing.rate_hz(dt_ms)}
        found["delay_change"] = _mean_change(self.before, _delays(self.net))
        return found | {"skipped": self.skipped}

    def add_up(self, ranks: Ranks) -> None:
        """Make the sums of this process those of all processes."""
        if ranks.count == 1:
            return
        parts = {"loss": self.mean_loss, "tally": self.tally, "firing": self.firing}
        mine = {name: part.state_dict() for name, part in parts.items()}
        mine["epoch"] = {"seen": self.seen, "skipped": self.skipped}
        states = ranks.gathered(mine)
        summed = {
            name: {key: reduce(add, (of[name][key] for of in states)) for key in own}
            for name, own in mine.items()
        }
        for name, part in parts.items():
            part.load_state_dict(summed[name])
        self.seen, self.skipped = summed["epoch"]["seen"], summed["epoch"]["skipped"]

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return time.perf_counter() - self.began

    def state_dict(self) -> dict[str, Any]:
        """All of it, to resume in another process."""
        return {
            **{"seen": self.seen, "skipped": self.skipped, "in_a_row": self.in_a_row},
            **{"before": self.before, "loss": self.mean_loss.state_dict()},
            "seconds": self.seconds,
            **{"tally": self.tally.state_dict(), "firing": self.firing.state_dict()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.seen, self.skipped = state["seen"], state["skipped"]
        self.in_a_row = state["in_a_row"]
        self.began = time.perf_counter() - state["seconds"]
        self.before = [then.to(now) for then, now in zip(state["before"], self.before, strict=True)]
        self.mean_loss.load_state_dict(state["loss"])
        self.tally.load_state_dict(state["tally"])
        self.firing.load_state_dict(state["firing"])


def _delays(net: nn.Module) -> list[Tensor]:
    found = [delay for layer in delay_layers(net) for delay in layer.delay_tensors()]
    return [delay.detach().clone().flatten() for delay in found]


def _mean_change(before: list[Tensor], after: list[Tensor]) -> float:
    """Mean |Δdelay| in steps over all delays; 0 without delays."""
    return (torch.cat(after) - torch.cat(before)).abs().mean().item() if before else 0.0
