"""Numbers that are read later are the numbers that were made."""

from __future__ import annotations

import math

import pytest
import torch

from snn_delays.run.late import Late, Mean


def test_a_mean_over_samples_of_batches_of_different_sizes() -> None:
    mean, numbers = Mean(), torch.rand(60)
    assert float(mean) == 0
    for batch in numbers.split([10, 7, 43]):
        mean.add(batch.mean().requires_grad_(), len(batch))
    assert float(mean) == pytest.approx(numbers.double().mean().item(), rel=1e-6)
    mean.add(torch.tensor(math.nan), 1)
    assert math.isnan(float(mean))


def test_a_late_number_is_that_of_when_it_was_taken() -> None:
    number = torch.tensor(2.5, requires_grad=True)
    late = Late(number * 1)
    with torch.no_grad():
        number.add_(1)
    assert float(late) == 2.5
