"""From readout potentials over time to class scores, a loss and an accuracy.

Only a sample's own steps count, never the padding that its batch brought along.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from snn_delays.arguments import choice, described
from snn_delays.errors import UsageError
from snn_delays.interpolation import at_least_single
from snn_delays.modules.eager import readable
from snn_delays.modules.inputs import require_dense

Readout = Literal["sum_softmax", "mean", "max", "spike_count"]
READOUTS: tuple[str, ...] = get_args(Readout)


def sum_softmax(
    v: Float[Tensor, "time batch classes"], lengths: Int[Tensor, " batch"] | None = None
) -> Float[Tensor, "batch classes"]:
    """score = Σ_{t < length} softmax(v[t]).

    Args:
        v: readout potentials.
        lengths: steps that count for each sample, its own duration and the tail
            (``batch.lengths + net.tail``); ``None`` counts all.

    Shape:
        v ``[T, N, classes]``, lengths ``[N]`` → ``[N, classes]``.

    Reference:
        Hammouamri et al. (2024, arXiv:2306.17670).
    """
    v = _potentials(v)
    return (torch.softmax(v, dim=-1) * _counted(v, lengths)).sum(0)


def mean_potential(
    v: Float[Tensor, "time batch classes"], lengths: Int[Tensor, " batch"] | None = None
) -> Float[Tensor, "batch classes"]:
    """score = mean over the sample's own steps of v; arguments as for ``sum_softmax``."""
    v, counted = _potentials(v), _counted(v, lengths)
    return (v * counted).sum(0) / counted.sum(0)


def max_potential(
    v: Float[Tensor, "time batch classes"], lengths: Int[Tensor, " batch"] | None = None
) -> Float[Tensor, "batch classes"]:
    """score = max over the sample's own steps of v; arguments as for ``sum_softmax``."""
    v = _potentials(v)
    return v.masked_fill(~_counted(v, lengths), -torch.inf).amax(0)


def sum_over_steps(
    v: Float[Tensor, "time batch classes"], lengths: Int[Tensor, " batch"] | None = None
) -> Float[Tensor, "batch classes"]:
    """score = Σ over the sample's own steps of v: of spikes, their number; as ``sum_softmax``."""
    v = _potentials(v)
    return (v * _counted(v, lengths)).sum(0)


def score(
    v: Float[Tensor, "time batch classes"], lengths: Int[Tensor, " batch"] | None, readout: str
) -> Float[Tensor, "batch classes"]:
    """Class scores by the named readout: ``sum_softmax``, ``mean``, ``max`` or ``spike_count``.

    They are in single precision at least: among sums in half precision many would be equal.

    Raises:
        UsageError: an unknown readout, lengths of another shape.
    """
    functions = (sum_softmax, mean_potential, max_potential, sum_over_steps)
    of_name = dict(zip(READOUTS, functions, strict=True))
    return of_name[choice("readout", readout, READOUTS)](v, lengths)


def cross_entropy(
    scores: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"] | Float[Tensor, "batch classes"],
) -> Float[Tensor, ""]:
    """Mean of −Σ_c p[c] · log softmax(score)[c], with the scores as logits, as published.

    Args:
        scores: class scores.
        labels: the classes, which have p = 1, or the probabilities p of all classes.

    Shape:
        scores ``[N, classes]``, labels ``[N]`` or ``[N, classes]`` → a scalar.

    Raises:
        UsageError: labels that are no tensor, of another shape, or on the CPU none of the classes.
    """
    require_dense("cross_entropy", labels, "labels")
    shape = scores.shape if labels.is_floating_point() else scores.shape[:1]
    if labels.shape != shape:
        raise UsageError(
            f"cross_entropy: labels must be {list(scores.shape[:1])} (classes) or "
            f"{list(scores.shape)} (probabilities), got {described(labels)}."
        )
    # Torch would leave −100 out without a word.
    if not labels.is_floating_point() and labels.is_cpu and readable(labels) and labels.numel():
        least, most = (int(end) for end in labels.aminmax())
        if least < 0 or most >= scores.shape[1]:
            raise UsageError(
                f"cross_entropy: labels must lie from 0 to {scores.shape[1] - 1}, "
                f"got {least if least < 0 else most}. Give the network as many outputs as classes."
            )
    return F.cross_entropy(scores, labels.to(scores if labels.is_floating_point() else torch.long))


def binary_cross_entropy(
    scores: Float[Tensor, "batch classes"], labels: Float[Tensor, "batch classes"]
) -> Float[Tensor, ""]:
    """Mean of −p · log s − (1 − p) · log(1 − s), s = sigmoid(score), over samples and classes.

    Args:
        scores: class scores.
        labels: p of every class: 1 where a sample has it, 0 where not, or between.

    Shape:
        scores, labels ``[N, classes]`` → a scalar.

    Raises:
        UsageError: labels that are no tensor, or of another shape.
    """
    require_dense("binary_cross_entropy", labels, "labels")
    if labels.shape != scores.shape or not labels.is_floating_point():
        raise UsageError(
            f"binary_cross_entropy: labels must be {list(scores.shape)}, a share of every class, "
            f"got {described(labels)}."
        )
    return F.binary_cross_entropy_with_logits(scores, labels.to(scores))


def count_spikes(
    fired: Float[Tensor, "time batch neurons"], lengths: Int[Tensor, " batch"]
) -> Int[Tensor, ""]:
    """Spikes of all samples within their own ``lengths``; as for ``sum_softmax``."""
    # Rows in single precision, which is exact, and their sum in whole numbers.
    rows = fired.sum(2, keepdim=True, dtype=torch.float32) * _counted(fired, lengths)
    return rows.long().sum()


def _potentials(v: Tensor) -> Tensor:
    """v, dense and in single precision at least."""
    require_dense("score", v, "v")
    return v.to(at_least_single(v.dtype))


def _counted(v: Tensor, lengths: Tensor | None) -> Bool[Tensor, "time batch_or_1 1"]:
    steps = torch.arange(v.shape[0], device=v.device)[:, None, None]
    if lengths is None:
        return torch.ones_like(steps, dtype=torch.bool)
    require_dense("score", lengths, "lengths")
    if lengths.shape != v.shape[1:2]:
        raise UsageError(
            f"score: lengths must be {list(v.shape[1:2])}, the steps of each sample, "
            f"got {described(lengths)}."
        )
    if lengths.is_cpu and readable(lengths) and lengths.numel():
        least, most = (int(end) for end in lengths.aminmax())
        if least < 0 or most > len(v):
            raise UsageError(
                f"score: lengths must lie from 0 to the {len(v)} steps there are, got "
                f"{least if least < 0 else most}. Give batch.lengths, plus net.tail of a network "
                "that appends so many."
            )
    return steps < lengths[None, :, None]
