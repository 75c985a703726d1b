"""Single and several labels: loss, score and chance, against scikit-learn."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from snn_delays import losses
from snn_delays.errors import UsageError
from snn_delays.tasks import MultiLabel, SingleLabel, average_precision

metrics = pytest.importorskip("sklearn.metrics")


def drawn(seed: int, n: int, classes: int, levels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of few distinct values, so that many are equal; labels of 0 and 1."""
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.integers(levels, size=(n, classes)) / 7).float()
    return scores, torch.from_numpy(rng.integers(2, size=(n, classes))).float()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9999), st.integers(1, 40), st.integers(1, 6), st.integers(1, 50))
def test_map_is_scikit_learns(seed: int, n: int, classes: int, levels: int):
    scores, labels = drawn(seed, n, classes, levels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a class without positives
        each = [
            metrics.average_precision_score(labels[:, one].numpy(), scores[:, one].numpy())
            for one in range(classes)
        ]
    there = labels.any(0).numpy()
    for one in np.flatnonzero(there):
        found = average_precision(scores[:, one], labels[:, one] > 0)
        assert found == pytest.approx(each[one], abs=1e-12)
    found = MultiLabel().score(scores, labels)
    expected = np.mean(np.array(each)[there]) if there.any() else math.nan
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_chance_is_what_blind_answers_get():
    labels = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, 0]])
    task = MultiLabel()
    assert task.chance(labels, 3) == pytest.approx((0.75 + 0.5) / 2)
    assert task.score(torch.zeros(4, 3), labels) == pytest.approx(task.chance(labels, 3))
    single = torch.tensor([0, 2, 2, 1])
    assert SingleLabel().chance(single, 4) == 0.5
    blind = F.one_hot(torch.full((4,), 2), 4).float()
    assert SingleLabel().score(blind, single) == 0.5


def test_a_tally_is_the_score_of_all_batches():
    scores, labels = drawn(1, 30, 4, 1000)
    several, single = MultiLabel(), SingleLabel()
    for task, asked in ((several, labels), (single, labels.argmax(1))):
        tally = task.tally()
        for part in torch.arange(30).split(7):
            tally.add(scores[part], asked[part])
        assert tally.score() == pytest.approx(task.score(scores, asked))
    assert several.tally().so_far() is None
    tally = single.tally()
    tally.add(scores[:1], scores[:1].argmax(1))
    assert tally.so_far() == 1.0


def test_binary_cross_entropy_is_its_equation():
    scores, labels = drawn(2, 8, 5, 20)
    s, p = torch.sigmoid(scores), labels * 0.75
    expected = -(p * s.log() + (1 - p) * (1 - s).log()).mean()
    torch.testing.assert_close(losses.binary_cross_entropy(scores, p), expected)


@pytest.mark.usefixtures("unchecked")
def test_labels_of_other_classes_are_refused():
    with pytest.raises(UsageError, match=r"labels must be \[8, 5\], a share of every class"):
        losses.binary_cross_entropy(torch.zeros(8, 5), torch.zeros(8, 4))


def test_labels_are_checked():
    task = MultiLabel()
    for wrong, said in (
        (np.array([0, 1]), "must be an array [2, classes] of 0 and 1"),
        (np.array([[0, 2], [1, 1]]), "must be an array [2, classes] of 0 and 1"),
        (np.zeros((3, 2)), "must be of 2 recordings, got 3"),
    ):
        with pytest.raises(UsageError) as error:
            task.labels("train: labels", wrong, 2)
        assert said in str(error.value)
    kept = task.labels("train: labels", np.eye(2, dtype=np.int64), 2)
    assert kept.dtype == torch.float32
    with pytest.raises(UsageError, match="a column for each of 3 class_names, got 2"):
        task.require_classes("train", kept, 3)
    assert task.carries(kept, 2).tolist() == [[True, False], [False, True]]
    assert SingleLabel().carries(torch.tensor([1]), 2).tolist() == [[False, True]]
