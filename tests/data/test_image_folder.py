"""Folders of images: what is read, cut, normalised and held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from spikingjelly.activation_based import layer
from torch import nn

from snn_delays.data import load_image_folder
from snn_delays.dcls import replace_convs
from snn_delays.errors import UsageError
from snn_delays.training import fit


def picture(folder: Path, name: str, pixels: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(folder / name)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes: brighter on the left, and on the right; ten images to train on, four of val."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 10), ("val", 4)):
        for kind in ("left", "right"):
            for number in range(n):
                pixels = rng.integers(0, 60, (40, 50, 3))
                half = slice(0, 25) if kind == "left" else slice(25, 50)
                pixels[:, half] += 150
                picture(tmp_path / part / kind, f"{number}.png", pixels)
    return tmp_path


def test_what_is_train_valid_and_test(root: Path) -> None:
    data = load_image_folder(root, size=16, valid_fraction=0.2)
    assert [len(one) for one in (data.train, data.valid, data.test)] == [16, 4, 8]
    assert (data.frame, data.class_names, data.split) == (
        (3, 16, 16),
        ("left", "right"),
        "stratified",
    )
    assert data.test.labels.tolist() == [0] * 4 + [1] * 4
    assert [one.name for one in (data.train, data.valid, data.test)] == ["train", "valid", "test"]
    assert data.valid.labels.bincount().tolist() == [2, 2]
    again = load_image_folder(root, size=16, valid_fraction=0.2)
    assert torch.equal(data.valid[1][0], again.valid[1][0])
    (root / "val").rename(root / "test")
    assert len(load_image_folder(root, size=16).test) == 8
    for number in range(2):
        picture(root / "valid" / "left", f"{number}.png", np.zeros((5, 5, 3)))
    three = load_image_folder(root, size=16)
    assert [len(one) for one in (three.train, three.valid, three.test)] == [20, 2, 8]
    assert three.split == "official"


def test_the_middle_is_cut_out_and_normalised(root: Path) -> None:
    columns = np.zeros((32, 64, 3))
    columns[:, 20:44] = [255, 0, 0]  # the middle of 24 of 32 rows
    picture(root / "val" / "left", "middle.png", columns)
    mean, std = (0.5, 0.25, 0.0), (0.5, 1.0, 2.0)
    data = load_image_folder(root, size=24, crop=0.75, mean=mean, std=std)
    image = data.test[4][0][0]
    assert image.shape == (3, 24, 24)
    for channel, value in enumerate((1.0, -0.25, 0.0)):
        torch.testing.assert_close(image[channel], torch.full((24, 24), value))


def test_training_images_are_parts_at_random(root: Path) -> None:
    ramp = np.zeros((40, 50, 3))
    ramp[..., 0] = 5 * np.arange(50)
    ramp[..., 1] = 6 * np.arange(40)[:, None]
    for file in (root / "train" / "left").iterdir():
        Image.fromarray(ramp.astype(np.uint8)).save(file)
    data = load_image_folder(root, size=16, mean=(0, 0, 0), std=(1, 1, 1))
    lefts = [n for n, label in enumerate(data.train.labels.tolist()) if label == 0]
    torch.manual_seed(0)
    batch = data.train.collate(lefts * 20).spikes[0] * 255
    torch.manual_seed(0)
    assert torch.equal(batch, data.train.collate(lefts * 20).spikes[0] * 255)
    across = batch[:, 0, :, -3:].mean((1, 2)) - batch[:, 0, :, :3].mean((1, 2))
    down = batch[:, 1, -3:].mean((1, 2)) - batch[:, 1, :3].mean((1, 2))
    assert 0.4 < (across < 0).float().mean() < 0.6  # mirrored
    assert (down > 0).all()  # never upside down
    width = across.abs() / 5 * 16 / 13  # in pixels of the image
    height = down / 6 * 16 / 13
    share = (width * height / 2000).clamp(0, 1)
    assert share.min() > 0.07
    assert share.max() > 0.8
    assert (width / height).min() > 0.70
    assert (width / height).max() < 1.42
    same = data.valid.collate([0, 0]).spikes[0]
    assert torch.equal(same[0], same[1])


def test_grey_and_transparent_images_are_made_rgb(root: Path) -> None:
    picture(root / "val" / "left", "a.png", np.full((20, 20), 51))
    picture(root / "val" / "left", "b.png", np.full((20, 20, 4), 102))
    data = load_image_folder(root, size=8, mean=(0, 0, 0), std=(1, 1, 1))
    torch.testing.assert_close(data.test[4][0], torch.full((1, 3, 8, 8), 0.2))
    torch.testing.assert_close(data.test[5][0], torch.full((1, 3, 8, 8), 0.4))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"size": 0}, "size must be a whole number of pixels >= 1"),
        ({"crop": 1.5}, "crop must be a number > 0 and <= 1"),
        ({"mean": (0.5, 0.5)}, "mean must be three numbers"),
        ({"std": (0.5, 0.5, 0.0)}, "std must be a number > 0"),
        ({"valid_fraction": 1.0}, "valid_fraction must be > 0 and < 1"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], said: str, root: Path) -> None:
    with pytest.raises(UsageError, match=said):
        load_image_folder(root, **settings)


def test_folders_that_are_no_data_set(root: Path) -> None:
    with pytest.raises(
        UsageError, match=r"must hold folders train and val.*got \['left', 'right'\]"
    ):
        load_image_folder(root / "train")
    (root / "val" / "middle").mkdir()
    with pytest.raises(UsageError, match=r"classes of train alone, got \['middle'\]"):
        load_image_folder(root)
    (root / "val" / "middle").rmdir()
    (root / "validation").mkdir()
    with pytest.raises(UsageError, match="must hold one of valid, val, validation"):
        load_image_folder(root)
    (root / "validation").rmdir()
    for kind in ("left", "right"):
        for file in (root / "val" / kind).iterdir():
            file.rename(file.with_suffix(".txt"))
    with pytest.raises(UsageError, match="must hold images .* got none"):
        load_image_folder(root)


def test_a_damaged_file_is_named(root: Path) -> None:
    file = root / "val" / "left" / "0.png"
    file.write_bytes(file.read_bytes()[:200])
    data = load_image_folder(root, size=8)
    with pytest.raises(UsageError, match=r"left/0.png cannot be read as an image \(.*Restore"):
        data.test.collate([0])
    assert data.test.collate([1]).spikes.shape == (1, 1, 3, 8, 8)


def test_a_network_with_learnable_spacings_learns_from_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for part, n in (("train", 20), ("val", 6)):
        for kind in ("above", "below"):  # which a mirror does not exchange
            for number in range(n):
                pixels = rng.integers(0, 80, (32, 32, 3))
                pixels[slice(0, 16) if kind == "above" else slice(16, 32)] += 150
                picture(tmp_path / part / kind, f"{number}.png", pixels)
    data = load_image_folder(tmp_path, size=16, valid_fraction=0.2)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(8, 8, 5, padding=2, groups=8),
        nn.GELU(),
        nn.AdaptiveAvgPool2d((4, 1)),
        nn.Flatten(),
        nn.Linear(32, 2),
    )
    replace_convs(net, extent=9, kernel_count=5)
    first = net[1].position.detach().clone()
    rows = fit(layer.SeqToANNContainer(net), data, epochs=12, batch_size=8, weight_lr=2e-2)
    assert rows[-1]["valid_accuracy"] == 1.0
    assert (net[1].position - first).abs().mean() > 0.01
    assert net[1].position.abs().max() <= 4.0
