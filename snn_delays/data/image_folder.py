"""Images from a folder of class folders, read when a batch is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from snn_delays.arguments import real_number, shown, whole_number
from snn_delays.data.splits.batch import DenseBatch
from snn_delays.data.splits.interface import Indices, SpikeData, Split
from snn_delays.data.splits.validation import check_fraction, stratified
from snn_delays.errors import UsageError, one_line

_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
_NAMES = {"train": ("train",), "valid": ("valid", "val", "validation"), "test": ("test",)}
# Of ImageNet's training images, as everyone has them.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ImageFolderSplit(Split):
    """Image files of one split, each a step of ``[3, size, size]``, read as they are used.

    Images are made RGB. To train on, a part of each is cut out at random (an area of 8 to 100 %,
    sides of 3:4 to 4:3), resized, and mirrored half the time, by numbers of torch's global
    generator; else its shorter side is resized to ``size / crop`` and the middle cut out.

    Args:
        files: of every image.
        labels: class of every image.
        size: height and width of what is used, in pixels.
        crop: share of the shorter side that the middle keeps, in (0, 1].
        at_random: whether parts are cut out at random.
        mean, std: of every channel, by which images are normalised.
        name: what the split is called.

    Raises:
        UsageError: settings out of range; on use, a file that holds no image, by its name.
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        labels: Any,
        size: int,
        crop: float,
        at_random: bool,
        mean: Sequence[float],
        std: Sequence[float],
        name: str,
    ) -> None:
        self.files, self.at_random, self.crop, self.size = list(files), at_random, crop, size
        self.mean, self.std = (torch.tensor(one, dtype=torch.float32) for one in (mean, std))
        speakers = np.full(len(self.files), -1)
        super().__init__(name, (3, size, size), labels, speakers, 1, len(self.files))

    def sparse(self, indices: Indices) -> DenseBatch:
        """The images ``indices``, to be normalised where they are used."""
        chosen = self._chosen(indices)
        places = self._standing(chosen).tolist()
        images = [self._read(self.files[place]) for place in places]
        empty = torch.empty(0, *self.frame, dtype=torch.uint8)
        return DenseBatch(
            images=torch.stack(images) if images else empty,
            mean=self.mean,
            std=self.std,
            labels=self.labels[chosen],
            speakers=self.speakers[chosen],
        )

    def _read(self, file: Path) -> UInt8[Tensor, "3 size size"]:
        try:
            with Image.open(file) as opened:
                image = opened.convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UsageError(
                f"{file} cannot be read as an image ({one_line(error)}). Restore or delete it."
            ) from error
        part = self._any_part(*image.size) if self.at_random else self._middle(*image.size)
        image = image.resize((self.size, self.size), Image.Resampling.BICUBIC, box=part)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        if self.at_random and torch.rand(()) < 0.5:
            pixels = pixels.flip(2)
        return pixels.contiguous()

    def _middle(self, width: int, height: int) -> tuple[float, float, float, float]:
        side = self.crop * min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return left, top, left + side, top + side

    def _any_part(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of a part of some area and proportion that fits.

        Reference:
            Szegedy et al., "Going deeper with convolutions" (2015, arXiv:1409.4842).
        """
        for _ in range(10):
            area = width * height * torch.empty(()).uniform_(0.08, 1.0).item()
            logs = torch.empty(()).uniform_(float(np.log(3 / 4)), float(np.log(4 / 3))).item()
            across, down = (area * np.exp(logs)) ** 0.5, (area / np.exp(logs)) ** 0.5
            if across <= width and down <= height:
                left = torch.rand(()).item() * (width - across)
                top = torch.rand(()).item() * (height - down)
                return left, top, left + float(across), top + float(down)
        side = min(width, height)
        return ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)


def load_image_folder(
    root: Path | str,
    *,
    size: int = 224,
    crop: float = 0.875,
    valid_fraction: float = 0.02,
    mean: Sequence[float] = _MEAN,
    std: Sequence[float] = _STD,
    seed: int = 0,
) -> SpikeData:
    """Load images of ``root/train/CLASS/…``, ``root/val/CLASS/…`` and ``root/test/CLASS/…``.

    With both ``val`` and ``test`` these are validation and test. Where there is one of them, as in
    ImageNet, it is the test set, and a share of every class of the training images is held out for
    validation, so that nothing is chosen on the test set.

    Args:
        root: the folder of ``train`` and the others; classes are the folders in ``train``.
        size: height and width of what the network sees, in pixels.
        crop: share of the shorter side that it sees in evaluation; published: 224 of 256.
        valid_fraction: share of the training images to hold out where there is no split for it.
        mean, std: of red, green and blue, from 0 to 1; ImageNet's.
        seed: of what is held out.

    Raises:
        UsageError: settings out of range; folders that are missing, empty, or of unknown classes.
    """
    size = whole_number("size", size, 1, unit="pixels")
    crop = real_number("crop", crop, above=0, most=1)
    check_fraction(valid_fraction)
    for name, values in (("mean", mean), ("std", std)):
        numbers = [real_number(name, one, above=0 if name == "std" else -np.inf) for one in values]
        if len(numbers) != 3:
            raise UsageError(f"{name} must be three numbers, got {shown(list(values))}.")
    root = Path(root).expanduser()
    folders = {part: _folder(root, names) for part, names in _NAMES.items()}
    if folders["train"] is None or (folders["valid"] is None and folders["test"] is None):
        raise UsageError(
            f"{root} must hold folders train and val, or train and test, of a folder for each "
            f"class, got {shown(sorted(one.name for one in root.glob('*')))}."
        )
    classes = sorted(one.name for one in folders["train"].iterdir() if one.is_dir())
    own: dict[str, ImageFolderSplit] = {}
    for part, folder in folders.items():
        if folder is not None:
            files, labels = _files(folder, classes)
            common = {"size": size, "crop": crop, "mean": mean, "std": std, "name": part}
            own[part] = ImageFolderSplit(files, labels=labels, at_random=part == "train", **common)
    split = "official"
    if len(own) == 2:
        split = "stratified"
        own["test"] = own.pop("valid") if "valid" in own else own["test"]
        own["test"].name = "test"
        whole = own["train"]
        held = stratified(whole.labels.numpy(), whole.speakers.numpy(), valid_fraction, seed)
        own["train"], own["valid"] = (
            whole.subset(places, name)
            for places, name in zip(held, ("train", "valid"), strict=True)
        )
        own["valid"].at_random = False
    return SpikeData(
        own["train"],
        own["valid"],
        own["test"],
        class_names=tuple(classes),
        dt_ms=1.0,  # an image has one step, however long
        split=split,
        invalid_events=0,
    )


def _folder(root: Path, names: Sequence[str]) -> Path | None:
    found = [root / name for name in names if (root / name).is_dir()]
    if len(found) > 1:
        raise UsageError(f"{root} must hold one of {', '.join(names)}, got {shown(found)}.")
    return found[0] if found else None


def _files(folder: Path, classes: Sequence[str]) -> tuple[list[Path], Int64[np.ndarray, " n"]]:
    """Every image of a split in order, and its class."""
    numbers = {name: number for number, name in enumerate(classes)}
    strangers = sorted({one.name for one in folder.iterdir() if one.is_dir()} - set(numbers))
    if strangers:
        raise UsageError(
            f"{folder} must hold classes of train alone, got {shown(strangers)} as well."
        )
    found = [
        (file, numbers[name])
        for name in classes
        for file in sorted((folder / name).rglob("*"))
        if file.suffix.lower() in _ENDINGS
    ]
    if not found:
        raise UsageError(
            f"{folder} must hold images ({', '.join(_ENDINGS)}) in a folder for each class, got "
            "none."
        )
    return [file for file, _ in found], np.array([number for _, number in found], np.int64)
