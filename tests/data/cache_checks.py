"""What tests of the cache look at: its entries, and that two data sets are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from snn_delays.data import SpikeData, SpikeSplit

FOLDER = ".snn_delays_cache"


def assert_same_split(one: SpikeSplit, other: SpikeSplit) -> None:
    for name in ("steps", "channels", "counts", "offsets", "labels", "speakers", "lengths"):
        mine, yours = getattr(one, name), getattr(other, name)
        assert mine.dtype == yours.dtype, name
        assert torch.equal(mine, yours), name
    assert (one.name, one.n_channels, len(one)) == (other.name, other.n_channels, len(other))
    order = np.random.default_rng(0).permutation(len(one))
    for mine, yours in zip(one.collate(order), other.collate(order), strict=True):
        assert torch.equal(mine, yours)


def assert_same(one: SpikeData, other: SpikeData) -> None:
    for name in ("train", "valid", "test"):
        assert_same_split(getattr(one, name), getattr(other, name))
    for name in ("class_names", "n_channels", "dt_ms", "split", "invalid_events"):
        assert getattr(one, name) == getattr(other, name)


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.events"))
