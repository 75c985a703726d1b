"""What command lines do to their process."""

from __future__ import annotations

import torch

from snn_delays.loops.processor import prepare_cpu


def test_denormal_numbers_become_zero_and_others_stay() -> None:
    numbers = torch.tensor([1e-40, 1e-37])
    assert (numbers * 1.0).all()
    prepare_cpu()
    if torch.set_flush_denormal(True):  # not every processor can
        assert (numbers * 1.0).tolist() == [0.0, numbers[1].item()]
