"""A split of images in memory: one step each, normalised batch by batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from snn_delays.arguments import described, require
from snn_delays.data.splits.batch import DenseBatch
from snn_delays.data.splits.interface import Indices, Split
from snn_delays.errors import UsageError
from snn_delays.tasks import SingleLabel, Task


class ImageSplit(Split):
    """The images of one split, a step of ``[C, H, W]`` each.

    Args:
        images: numbers, or ``uint8`` that mean shares of 255.
        mean, std: of every channel, by which images are normalised; see :func:`channel_scale`.
        labels, speakers, task, name: as in :class:`~snn_delays.data.Split`; without speakers all
            are unknown.

    Shape:
        ``images`` ``[n, C, H, W]``; ``mean``, ``std`` ``[C]``; ``labels``, ``speakers`` ``[n]``.
    """

    def __init__(
        self,
        images: Tensor,
        *,
        labels: Any,
        mean: Float32[Tensor, " C"],
        std: Float32[Tensor, " C"],
        name: str,
        speakers: Any = None,
        task: Task | None = None,
    ) -> None:
        owner = self._owner(name)
        fits = isinstance(images, Tensor) and images.ndim == 4 and min(images.shape[1:]) > 0
        require(fits, f"{owner}: images", "be a tensor [n, C, H, W]", images)
        if mean.shape != images.shape[1:2] or std.shape != mean.shape or bool((std <= 0).any()):
            raise UsageError(
                f"{owner}: mean and std must be of {images.shape[1]} channels, std > 0, got "
                f"{described(mean)} and {described(std)}."
            )
        self.images, self.mean, self.std = images, mean, std
        n, frame = len(images), tuple(images.shape[1:])
        speakers = np.full(n, -1) if speakers is None else speakers
        super().__init__(name, frame, labels, speakers, 1, n, task or SingleLabel())

    def sparse(self, indices: Indices) -> DenseBatch:
        """The images ``indices``, to be normalised where they are used."""
        chosen = self._chosen(indices)
        return DenseBatch(
            images=self.images[self._standing(chosen)],
            mean=self.mean,
            std=self.std,
            labels=self.labels[chosen],
            speakers=self.speakers[chosen],
        )


def channel_scale(images: Tensor) -> tuple[Float32[Tensor, " C"], Float32[Tensor, " C"]]:
    """Mean and standard deviation of every channel, in double precision; a constant one has 1.

    Shape:
        images ``[n, C, H, W]`` → ``[C]``, ``[C]``.
    """
    numbers = images.double() if images.is_floating_point() else images.double() / 255
    mean, std = numbers.mean((0, 2, 3)), numbers.std((0, 2, 3), correction=0)
    return mean.float(), torch.where(std > 0, std, 1.0).float()
