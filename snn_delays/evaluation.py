"""What a network answers on every sample of a split."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from snn_delays import losses
from snn_delays.arguments import whole_number
from snn_delays.data import Batch, Split
from snn_delays.errors import UsageError
from snn_delays.modules.state import evaluating, reset_memories
from snn_delays.tasks import Task

_log = logging.getLogger("snn_delays")
# Share of the answers above which it is said that rounding the delays spoils them.
_MOST_LOST = 0.05

ReadOut = str | Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Evaluation:
    """What a network answers on every sample of a split, in the split's order.

    Shape:
        ``scores`` ``[n, classes]``; ``labels`` as the task has them; ``speakers`` ``[n]``.
    """

    loss: float
    scores: Tensor
    labels: Tensor
    speakers: Tensor
    task: Task

    @property
    def predictions(self) -> Tensor:
        """The answers, in the form of labels."""
        return self.task.answers(self.scores)

    @property
    def score(self) -> float:
        """How good they are: of single labels the accuracy, of several the mAP."""
        return self.task.score(self.scores, self.labels)

    def score_where(self, chosen: Tensor) -> float:
        """The score of the chosen samples; NaN if there are none."""
        if not bool(chosen.any()):
            return float("nan")
        return self.task.score(self.scores[chosen], self.labels[chosen])


def tail(net: nn.Module) -> int:
    """Steps by which ``net`` lengthens its input, its attribute ``tail``; 0 without one."""
    found = getattr(net, "tail", 0)
    return found if isinstance(found, int) else 0


def class_scores(
    net: nn.Module, batch: Batch, readout: ReadOut | None = None, run: Any = None
) -> Tensor:
    """Scores of every class, of a network that starts from silence.

    Args:
        readout: how the output ``[T, N, C]`` becomes scores ``[N, C]``: a name of ``losses.score``
            or a function ``(output, lengths) → scores``. ``None`` is the network's own, its
            attribute ``readout``, or else ``"spike_count"``: its sum over the sample's steps.
        run: what to call in place of ``net``, such as a wrapper of it.

    Raises:
        UsageError: an output of another shape.
    """
    v, lengths, how = output_of(net, batch, readout, run)
    return losses.score(v, lengths, how) if isinstance(how, str) else how(v, lengths)


def output_of(
    net: nn.Module, batch: Batch, readout: ReadOut | None = None, run: Any = None
) -> tuple[Tensor, Tensor, ReadOut]:
    """What ``class_scores`` are made of: output, steps that count, readout; arguments as there."""
    reset_memories(net)
    v = (run or net)(batch.spikes)
    steps, n = batch.spikes.shape[0] + tail(net), batch.spikes.shape[1]
    if not isinstance(v, Tensor) or v.dim() != 3 or v.shape[:2] != (steps, n):
        got = list(v.shape) if isinstance(v, Tensor) else type(v).__name__
        raise UsageError(
            f"{type(net).__name__} must answer in every step, [{steps}, {n}, classes] (T, N, C), "
            f"got {got}. Return the output before it is summed over time, and call "
            "functional.set_step_mode(net, 'm')."
        )
    own = getattr(net, "readout", None)
    how = readout or (own if isinstance(own, str) else "spike_count")
    return v, batch.lengths + tail(net), how


def evaluate(
    net: nn.Module,
    split: Split,
    batch_size: int = 256,
    *,
    readout: ReadOut | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Evaluation:
    """Answers of ``net`` as it is (``rounded(net)`` for the deployed one); it is left in its mode.

    Args:
        net: a ``DelaySNN``, a table in torch, or any module ``[T, N, *frame] → [T, N, classes]``.
        readout: see ``class_scores``.
        loss: of scores ``[N, classes]`` and labels, a mean over samples; ``None`` is that of the
            split's task.

    Raises:
        UsageError: a batch size below 1, an output of another shape; a network or scores that are
            NaN, of which the first class would be the answer, and neurons would be silent.
    """
    batch_size = whole_number("evaluate: batch_size", batch_size, 1)
    _require_numbers(net)
    device = next(net.parameters(), torch.empty(0)).device
    task, total, found = split.task, 0.0, []
    with torch.no_grad(), evaluating(net):
        for sparse in DataLoader(split, batch_size, collate_fn=split.sparse):
            scores = class_scores(net, sparse.to(device).dense(), readout)
            found.append((scores, sparse.labels, sparse.speakers))
        # Only now: no batch waits for a GPU.
        found = [tuple(one.cpu() for one in answers) for answers in found]
        for scores, labels, _ in found:
            total += (loss or task.loss)(scores, labels) * len(labels)
    reset_memories(net)
    scores, labels, speakers = map(torch.cat, zip(*found, strict=True))
    if none := int(scores.isnan().any(1).sum()):
        raise UsageError(
            f"evaluate: the scores of {none} of {len(scores)} samples are NaN, which is no answer. "
            "Look for potentials beyond the range of half precision, or take a state from before."
        )
    return Evaluation(float(total) / len(split), scores, labels, speakers, task)


def _require_numbers(net: nn.Module) -> None:
    """Refuse parameters and buffers that are NaN."""
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    for name, one in tensors.items():
        if one.is_floating_point() and not one.is_meta and (none := int(one.isnan().sum())):
            raise UsageError(
                f"evaluate: {name} is NaN in {none:,} of {one.numel():,} places. Take a state from "
                "before, such as an earlier checkpoint, and lower the learning rate."
            )


def warn_of_rounding(
    where: str, as_trained: float, rounded: float, metric: str = "accuracy"
) -> None:
    """Log a warning where rounding the delays costs more than 5 points of the score.

    A Gaussian of σ = 0.5 has 0.79 of its weight on the nearest step. A neuron that a single
    synapse drives may lie below its threshold in training and above it with delays rounded.

    Args:
        where: which samples, and which network, begins the line.
        as_trained, rounded: scores with σ-kernels and with integer delays.
        metric: what the score is called.
    """
    if as_trained - rounded > _MOST_LOST:
        _log.warning(
            "%s: %s %.1f %% with σ-kernels, but %.1f %% with delays rounded, as they are "
            "exported. Try a narrower kernel at the end (schedule.end=0.3), or "
            "schedule.integer_from=0.8, which trains weights on rounded delays; neither saves "
            "every network.",
            where,
            metric,
            100 * as_trained,
            100 * rounded,
        )
