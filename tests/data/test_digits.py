"""Scikit-learn's digits: splits, and how small images become larger ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snn_delays.data.digits import load_digits, upscaled
from snn_delays.data.splits.image_split import ImageSplit
from snn_delays.errors import UsageError

datasets = pytest.importorskip("sklearn.datasets")


def between(line: np.ndarray, size: int) -> np.ndarray:
    """Linear interpolation along the last axis, between centres, in NumPy."""
    n = line.shape[-1]
    places = (np.arange(size) + 0.5) * n / size - 0.5
    rows = line.reshape(-1, n)
    found = np.stack([np.interp(places, np.arange(n), row) for row in rows])
    return found.reshape(*line.shape[:-1], size)


def test_images_are_upscaled_bilinearly():
    small = np.random.default_rng(0).random((2, 1, 8, 8))
    expected = between(between(small, 32).swapaxes(2, 3), 32).swapaxes(2, 3)
    found = upscaled(torch.from_numpy(small).float(), 32)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_splits_are_disjoint_whole_and_drawn_by_seed():
    data, again, other = load_digits(), load_digits(), load_digits(seed=1)
    assert data.frame == (1, 32, 32)
    sizes = [len(split) for split in (data.train, data.valid, data.test)]
    assert sum(sizes) == 1797
    assert sizes[1:] == pytest.approx([270, 270], abs=1)
    assert torch.equal(data.test.labels, again.test.labels)
    assert not torch.equal(data.test.labels, other.test.labels)
    places = [split._places for split in (data.train, data.valid, data.test)]
    together = torch.cat([one for one in places if one is not None])
    assert together.sort().values.tolist() == list(range(1797))
    for split in (data.valid, data.test):
        each = torch.bincount(split.labels) / len(split)
        assert each.max() - each.min() < 0.02
    images, labels = datasets.load_digits(return_X_y=True)
    whole, first = data.train, int(places[0][0])  # pyright: ignore[reportOptionalSubscript]
    assert isinstance(whole, ImageSplit)
    assert int(whole.labels[0]) == labels[first]
    back = whole.images[first, 0].reshape(8, 4, 8, 4).mean((1, 3))
    assert np.corrcoef(back.flatten(), images[first])[0, 1] > 0.95
    seen = data.train.collate(range(len(data.train))).spikes
    assert float(seen.mean()) == pytest.approx(0, abs=1e-4)
    assert float(seen.std()) == pytest.approx(1, abs=1e-3)


def test_what_cannot_be_split_is_refused():
    with pytest.raises(UsageError, match="valid_fraction \\+ test_fraction must be < 1"):
        load_digits(valid_fraction=0.5, test_fraction=0.5)
    with pytest.raises(UsageError, match="size must be a whole number >= 8"):
        load_digits(size=4)


def test_without_scikit_learn_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(UsageError, match="needs scikit-learn"):
        load_digits()
