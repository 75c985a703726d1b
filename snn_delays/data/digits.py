"""Scikit-learn's digits: 1,797 small images of handwritten digits, which need no download."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional as F

from snn_delays.arguments import real_number, whole_number
from snn_delays.data.splits.image_split import ImageSplit, channel_scale
from snn_delays.data.splits.interface import SpikeData
from snn_delays.data.splits.validation import check_fraction, stratified
from snn_delays.errors import UsageError

# What a pixel of the set is at most.
_MOST = 16.0


def load_digits(
    *,
    size: int = 32,
    valid_fraction: float = 0.15,
    test_fraction: float = 0.15,
    dt_ms: float = 1.0,
    seed: int = 0,
) -> SpikeData:
    """The digits 0 to 9 as images ``[1, size, size]``, in one step each.

    They are 8 × 8 pixels, made larger by bilinear interpolation: nothing is added to what they
    show. Who wrote which is not told, so one writer's digits may be in several splits.

    Args:
        size: height and width.
        valid_fraction, test_fraction: shares of every class to validate and to test on.
        dt_ms: duration of the one step, which nothing depends on.
        seed: of the draw of both.

    Raises:
        UsageError: scikit-learn is not installed; a size below 8; shares that leave nothing.

    Reference:
        Alpaydin and Kaynak, "Optical recognition of handwritten digits" (1998, UCI).
    """
    size = whole_number("load_digits: size", size, 8)
    seed = whole_number("load_digits: seed", seed, 0)
    dt_ms = real_number("load_digits: dt_ms", dt_ms, above=0, unit="ms")
    check_fraction(valid_fraction, "load_digits: valid_fraction")
    check_fraction(test_fraction, "load_digits: test_fraction")
    if valid_fraction + test_fraction >= 1:
        raise UsageError(
            f"load_digits: valid_fraction + test_fraction must be < 1, got {valid_fraction:g} + "
            f"{test_fraction:g}."
        )
    try:
        from sklearn import datasets
    except ImportError as error:
        raise UsageError(
            "load_digits needs scikit-learn, which brings the images: pip install "
            "'snn-delays[digits]'."
        ) from error
    pixels, labels = datasets.load_digits(return_X_y=True)
    images = torch.from_numpy(np.asarray(pixels, np.float32).reshape(-1, 1, 8, 8) / _MOST)
    labels = np.asarray(labels, np.int64)
    nobody = np.full(len(labels), -1)
    rest, test = stratified(labels, nobody, test_fraction, seed)
    share = valid_fraction / (1 - test_fraction)
    kept, held = stratified(labels[rest], nobody[rest], share, seed)
    large = upscaled(images, size)
    mean, std = channel_scale(large[rest[kept]])
    whole = ImageSplit(large, labels=labels, mean=mean, std=std, name="digits")
    return SpikeData(
        train=whole.subset(rest[kept], "train"),
        valid=whole.subset(rest[held], "valid"),
        test=whole.subset(test, "test"),
        class_names=tuple(map(str, range(10))),
        dt_ms=dt_ms,
        split="stratified",
        invalid_events=0,
    )


def upscaled(images: Float32[Tensor, "n C H W"], size: int) -> Float32[Tensor, "n C size size"]:
    """Bilinear interpolation between pixels' centres; beyond the outermost ones their values go on.

    y[i] = (1 − f) · x[⌊s⌋] + f · x[⌊s⌋ + 1],  s = (i + ½) · H / size − ½, f = s − ⌊s⌋
    """
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False)
