"""Scores over time against naive loops; what is not a sample's own never counts."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from snn_delays import losses
from snn_delays.errors import UsageError

EACH = pytest.mark.parametrize("readout", losses.READOUTS)


@dataclass
class Batch:
    v: Tensor
    lengths: Tensor


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    torch.manual_seed(draw(st.integers(0, 2**16)))
    steps, batch, classes = (
        draw(st.integers(1, 12)),
        draw(st.integers(1, 5)),
        draw(st.integers(1, 6)),
    )
    return Batch(
        v=5 * torch.randn(steps, batch, classes, dtype=torch.float64),
        lengths=torch.randint(1, steps + 1, (batch,)),
    )


def naive_score(own: list[list[float]], readout: str) -> list[float]:
    """One sample's own steps, ``own[t][class]``, by the readout's definition."""
    if readout == "sum_softmax":
        rows = [torch.tensor(row, dtype=torch.float64).exp().tolist() for row in own]
        own = [[value / sum(row) for value in row] for row in rows]
    columns = list(zip(*own, strict=True))
    if readout == "max":
        return [max(column) for column in columns]
    return [sum(column) / (len(column) if readout == "mean" else 1) for column in columns]


@EACH
@given(batch=batches())
def test_scores_are_those_of_the_naive_loop(readout: str, batch: Batch) -> None:
    got = losses.score(batch.v, batch.lengths, readout)
    for n, length in enumerate(batch.lengths.tolist()):
        expected = naive_score(batch.v[:length, n].tolist(), readout)
        assert got[n].tolist() == pytest.approx(expected, abs=1e-10)


@EACH
@given(batch=batches())
def test_without_lengths_every_step_counts(readout: str, batch: Batch) -> None:
    everything = torch.full_like(batch.lengths, batch.v.shape[0])
    got = losses.score(batch.v, None, readout)
    assert torch.equal(got, losses.score(batch.v, everything, readout))


@EACH
@given(batch=batches(), garbage=st.sampled_from([-1e30, -7.0, 7.0, 1e30]))
def test_padding_changes_nothing_and_gets_no_gradient(
    readout: str, batch: Batch, garbage: float
) -> None:
    steps = batch.v.shape[0] + 3
    ignored = torch.arange(steps)[:, None] >= batch.lengths
    padded = torch.cat([batch.v, torch.zeros_like(batch.v[:1]).expand(3, -1, -1)])
    padded = padded.masked_fill(ignored.unsqueeze(-1), garbage).requires_grad_()
    got = losses.score(padded, batch.lengths, readout)
    torch.testing.assert_close(got, losses.score(batch.v, batch.lengths, readout))

    # Each class is judged differently: Σ of a softmax alone is constant.
    (got * torch.rand_like(got)).sum().backward()
    assert padded.grad is not None
    assert (padded.grad[ignored] == 0).all()
    if batch.v.shape[2] > 1:
        assert (padded.grad[:, 0] != 0).any()


@given(batch=batches())
def test_the_sum_of_softmax_shares_out_the_duration(batch: Batch) -> None:
    scores = losses.sum_softmax(batch.v, batch.lengths)
    torch.testing.assert_close(scores.sum(1), batch.lengths.double())


@EACH
@given(batch=batches())
def test_gradients_are_the_finite_differences(readout: str, batch: Batch) -> None:
    v = batch.v.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: losses.score(v, batch.lengths, readout), (v,))


def test_score_calls_the_readout_it_is_given() -> None:
    v, lengths = torch.randn(6, 3, 4), torch.tensor([2, 6, 3])
    for name, function in {
        "sum_softmax": losses.sum_softmax,
        "mean": losses.mean_potential,
        "max": losses.max_potential,
    }.items():
        assert torch.equal(losses.score(v, lengths, name), function(v, lengths))


def test_cross_entropy_takes_the_scores_as_logits() -> None:
    scores, labels = torch.randn(4, 3, dtype=torch.float64), torch.tensor([0, 2, 1, 1])
    expected = sum(
        -(row[label].exp() / row.exp().sum()).log()
        for row, label in zip(scores, labels, strict=True)
    )
    torch.testing.assert_close(losses.cross_entropy(scores, labels), expected / 4)
    assert losses.cross_entropy(F.one_hot(labels).double() * 100, labels) < 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cross_entropy_takes_probabilities_of_classes(dtype: torch.dtype) -> None:
    scores, labels = torch.randn(4, 3, dtype=torch.float64), torch.tensor([0, 2, 1, 1])
    certain = F.one_hot(labels, 3).to(dtype)
    torch.testing.assert_close(
        losses.cross_entropy(scores, certain), losses.cross_entropy(scores, labels)
    )
    other = torch.tensor([1, 1, 0, 1])
    mixed = 0.75 * certain + 0.25 * F.one_hot(other, 3).to(dtype)
    expected = 0.75 * losses.cross_entropy(scores, labels)
    expected = expected + 0.25 * losses.cross_entropy(scores, other)
    torch.testing.assert_close(losses.cross_entropy(scores, mixed), expected)


@given(batch=batches())
def test_spikes_are_counted_within_each_samples_duration(batch: Batch) -> None:
    fired = (batch.v > 0).float()
    expected = sum(int(fired[:length, n].sum()) for n, length in enumerate(batch.lengths.tolist()))
    assert losses.count_spikes(fired, batch.lengths) == expected


def test_many_spikes_are_counted_exactly() -> None:
    fired = torch.ones(1, 4, 5_000_001)  # 20,000,004 is no sum of ones in single precision
    assert losses.count_spikes(fired, torch.ones(4, dtype=torch.int64)) == 20_000_004


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("steps", [-1, 6])
@pytest.mark.parametrize("readout", losses.READOUTS)
def test_steps_that_there_are_not_are_refused(readout: str, steps: int) -> None:
    """Durations of another unit, or with a tail that the output lacks, would count all of it."""
    v = torch.randn(5, 2, 3)
    assert losses.score(v, torch.tensor([5, 1]), readout).isfinite().all()
    with pytest.raises(UsageError, match=f"from 0 to the 5 steps there are, got {steps}. Give"):
        losses.score(v, torch.tensor([2, steps]), readout)


def test_an_unknown_readout_is_named() -> None:
    said = "readout must be one of sum_softmax, mean, max, spike_count, got 'last'"
    with pytest.raises(UsageError, match=said):
        losses.score(torch.zeros(2, 1, 3), None, "last")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (torch.tensor([0, 3]), "labels must lie from 0 to 2, got 3"),
        (torch.tensor([-100, 1]), "labels must lie from 0 to 2, got -100"),
        (torch.tensor([[0, 1]]), r"must be \[2\] \(classes\) or \[2, 3\] \(probabilities\)"),
        (torch.rand(2), r"got float32 of shape \[2\]"),
    ],
)
def test_labels_of_no_class_are_named(labels: Tensor, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        losses.cross_entropy(torch.zeros(2, 3), labels)
