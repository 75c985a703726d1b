"""Tasks: which label a recording has, and how answers are judged by loss, score and chance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from snn_delays import losses
from snn_delays.arguments import described
from snn_delays.columns import MOST, column
from snn_delays.errors import UsageError


class Tally:
    """The score of answers that come batch by batch."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.answers: list[tuple[Tensor, Tensor]] = []

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Take the scores and labels of a batch."""
        self.answers.append((scores.detach(), labels))

    def so_far(self) -> float | None:
        """The score so far; ``None`` if only the end has one."""
        return None

    def score(self) -> float:
        """The score of all of them."""
        there = self.answers[-1][0].device
        found = [(scores.to(there), labels.to(there)) for scores, labels in self.answers]
        scores, labels = (torch.cat(part).cpu() for part in zip(*found, strict=True))
        return self.task.score(scores, labels)

    def state_dict(self) -> dict[str, Any]:
        """All that was taken, to resume in another process."""
        return {"answers": [(scores.cpu(), labels.cpu()) for scores, labels in self.answers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.answers = list(state["answers"])


class Task(ABC):
    """What a data set asks; ``fit``, ``evaluate``, summaries and comparisons judge answers by it.

    A split has one (``split.task``), a data set that of its splits.

    Attributes:
        metric: what the score is called, in metrics, summaries and tables; it lies in [0, 1].
    """

    metric: ClassVar[str]

    @staticmethod
    @abstractmethod
    def loss(scores: Tensor, labels: Tensor) -> Tensor:
        """Of scores ``[N, classes]`` and labels, or probabilities ``[N, classes]``: a mean over
        samples."""

    @abstractmethod
    def labels(self, name: str, values: Any, n: int) -> Tensor:
        """Labels of ``n`` recordings as a tensor, checked; ``name`` begins an error."""

    @abstractmethod
    def require_classes(self, name: str, labels: Tensor, n_classes: int) -> None:
        """Refuse labels that are not among so many classes."""

    @abstractmethod
    def item(self, label: Tensor) -> int | Tensor:
        """One recording's label as an item of a data set has it."""

    @abstractmethod
    def carries(self, labels: Tensor, n_classes: int) -> Bool[Tensor, "n classes"]:
        """Which classes each recording belongs to."""

    @abstractmethod
    def answers(self, scores: Float[Tensor, "n classes"]) -> Tensor:
        """What the scores say, in the form of labels."""

    @abstractmethod
    def score(self, scores: Float[Tensor, "n classes"], labels: Tensor) -> float:
        """How good the answers are, from 0 to 1; NaN of none."""

    @abstractmethod
    def chance(self, labels: Tensor, n_classes: int) -> float:
        """The score of answers that know the frequencies of labels, but no recording."""

    def tally(self) -> Tally:
        """An empty one."""
        return Tally(self)


class SingleLabel(Task):
    """One class per recording: labels ``[n]``, softmax cross-entropy, accuracy."""

    metric = "accuracy"
    loss = staticmethod(losses.cross_entropy)

    def labels(self, name: str, values: Any, n: int) -> Tensor:
        return column(name, values, n, 0, MOST).long()

    def require_classes(self, name: str, labels: Tensor, n_classes: int) -> None:
        column(name, labels, None, 0, n_classes - 1, why=f"{n_classes} class_names")

    def item(self, label: Tensor) -> int:
        return int(label)

    def carries(self, labels: Tensor, n_classes: int) -> Bool[Tensor, "n classes"]:
        return F.one_hot(labels, n_classes).bool()

    def answers(self, scores: Float[Tensor, "n classes"]) -> Tensor:
        return scores.argmax(1)

    def score(self, scores: Float[Tensor, "n classes"], labels: Tensor) -> float:
        """Share of recordings whose own class has the largest score."""
        return (self.answers(scores) == labels).double().mean().item()

    def chance(self, labels: Tensor, n_classes: int) -> float:
        """Share of the most frequent class."""
        return torch.bincount(labels, minlength=n_classes).max().item() / len(labels)

    def tally(self) -> Tally:
        return _Right(self)


class _Right(Tally):
    """Counts right answers, so that there is a score at any time."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.right, self.seen = torch.zeros((), dtype=torch.long), 0

    def add(self, scores: Tensor, labels: Tensor) -> None:
        # It stays on the scores' device until it is read, so that no batch waits for a GPU.
        self.right = self.right + (self.task.answers(scores.detach()) == labels).sum()
        self.seen += len(labels)

    def so_far(self) -> float:
        return int(self.right) / max(self.seen, 1)

    def score(self) -> float:
        return self.so_far()

    def state_dict(self) -> dict[str, Any]:
        return {"right": self.right.cpu(), "seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.right, self.seen = state["right"], state["seen"]


class MultiLabel(Task):
    """Any number of classes per recording: labels ``[n, classes]`` of 0 and 1, binary
    cross-entropy of every class, mAP.

    Reference:
        AudioSet: Gemmeke et al. (2017), which uses it.
    """

    metric = "mAP"
    loss = staticmethod(losses.binary_cross_entropy)

    def labels(self, name: str, values: Any, n: int) -> Tensor:
        found = torch.as_tensor(values) if isinstance(values, np.ndarray | Tensor) else None
        if found is None or found.ndim != 2 or not bool(((found == 0) | (found == 1)).all()):
            raise UsageError(
                f"{name} must be an array [{n}, classes] of 0 and 1, got {described(values)}."
            )
        if len(found) != n:
            raise UsageError(f"{name} must be of {n} recordings, got {len(found)}.")
        return found.float()

    def require_classes(self, name: str, labels: Tensor, n_classes: int) -> None:
        if labels.shape[1] != n_classes:
            raise UsageError(
                f"{name} must have a column for each of {n_classes} class_names, "
                f"got {labels.shape[1]}."
            )

    def item(self, label: Tensor) -> Tensor:
        return label

    def carries(self, labels: Tensor, n_classes: int) -> Bool[Tensor, "n classes"]:
        return labels > 0

    def answers(self, scores: Float[Tensor, "n classes"]) -> Tensor:
        """1 for every class that is more probable than not."""
        return (scores > 0).to(scores)

    def score(self, scores: Float[Tensor, "n classes"], labels: Tensor) -> float:
        """Mean over classes of the average precision; a class that no recording has is left out."""
        found = [
            average_precision(scores[:, one], labels[:, one] > 0.5)
            for one in range(labels.shape[1])
            if bool((labels[:, one] > 0.5).any())
        ]
        return float(np.mean(found)) if found else float("nan")

    def chance(self, labels: Tensor, n_classes: int) -> float:
        """Mean share of recordings that have a class, over the classes that any has: the score of
        a network that gives all recordings the same scores."""
        shares = labels.double().mean(0)
        return shares[shares > 0].mean().item()


def average_precision(scores: Float[Tensor, " n"], positive: Bool[Tensor, " n"]) -> float:
    """AP = Σ_k (R_k − R_{k−1}) · P_k, over the distinct scores from the largest down.

    P_k and R_k are precision and recall where all recordings with at least the k-th score are
    called positive. NaN without a positive recording.

    Args:
        scores: of one class.
        positive: whether each recording has it.

    Reference:
        Zhu, "Recall, precision and average precision" (2004).
    """
    values, found = scores.double().numpy(), positive.numpy()
    order = np.argsort(-values, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(values[order]) != 0, True))  # of equal scores
    hits = found[order].cumsum()[ends]
    if not hits[-1]:
        return float("nan")
    return float((np.diff(hits, prepend=0) / hits[-1] * hits / (ends + 1)).sum())
