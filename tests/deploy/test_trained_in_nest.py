"""A trained network does in NEST what it does in torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from snn_delays.data import load_synthetic
from snn_delays.deploy import integer_table
from snn_delays.network import DelaySNN
from snn_delays.schedules import Exponential
from snn_delays.table.simulator import compare_with_nest, run_in_nest
from snn_delays.training import fit


@pytest.mark.skipif(find_spec("nest") is None, reason="nest-simulator is not installed")
def test_a_trained_network_in_nest(tmp_path: Path) -> None:
    data = load_synthetic(tmp_path / "data", n_train=200, n_valid=40, n_test=60, n_classes=3)
    net = DelaySNN([data.n_channels, 24, 16, data.n_classes])
    fit(net, data, epochs=3, batch_size=32, schedule=Exponential(12.27), accelerator="cpu")
    rounded = net.eval().rounded()
    table = integer_table(rounded, dt_ms=data.dt_ms, class_names=data.class_names)
    batches = [data.test.collate([n]) for n in range(len(data.test))]
    samples = [batch.spikes[:, 0].numpy() for batch in batches]
    total = 0
    for batch, found in zip(batches, run_in_nest(table, samples), strict=True):
        _, hidden = rounded(batch.spikes, return_spikes=True)
        for by_network, by_nest in zip(hidden, found.spikes.values(), strict=True):
            np.testing.assert_array_equal(by_network[:, 0].bool().numpy(), by_nest)
            total += int(by_nest.sum())
    assert total > 1000
    assert compare_with_nest(table, samples).predictions_differing == 0
