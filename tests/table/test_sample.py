"""sample.npz: what goes in comes out, and equal samples give equal bytes."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from drawn_tables import random_table

from snn_delays.errors import UsageError
from snn_delays.table import predict, simulate, write_sample


def test_reads_back_and_repeats(tmp_path: Path) -> None:
    table = random_table(1, (5, 7, 6, 3))
    counts = np.random.default_rng(0).poisson(0.5, (9, 5)).astype(np.float32)
    found = simulate(table, counts)
    for name in ("one.npz", "other.npz"):
        write_sample(tmp_path / name, counts, 2, found, predict(found, table.readout))
    with np.load(tmp_path / "one.npz") as sample:
        spikes = {"spikes_hidden0", "spikes_hidden1"}
        assert set(sample) == {"counts", "label", "prediction", "potentials", *spikes}
        np.testing.assert_array_equal(sample["counts"], counts, strict=True)
        np.testing.assert_array_equal(sample["potentials"], found.potentials, strict=True)
        for name, spikes in found.spikes.items():
            np.testing.assert_array_equal(sample[f"spikes_{name}"], spikes, strict=True)
        assert sample["label"] == 2
        assert sample["prediction"] == predict(found, table.readout)
        assert sample["label"].shape == sample["prediction"].shape == ()
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "other.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.npz") as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_file_in_the_way(tmp_path: Path) -> None:
    table = random_table(1, (2, 3))
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot write"):
        write_sample(
            tmp_path / "file" / "s.npz", np.zeros((1, 2)), 0, simulate(table, np.zeros((1, 2))), 0
        )
