"""Data that reports are drawn of."""

from __future__ import annotations

import pytest

from snn_delays.data import SpikeData, load_synthetic


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SpikeData:
    root = tmp_path_factory.mktemp("synthetic")
    return load_synthetic(root, n_train=24, n_valid=8, n_test=20, n_classes=3, pattern_steps=11)
