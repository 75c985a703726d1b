"""A split of features on a grid of time steps, held as they are cached, encoded batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float16, Float32, Float64, Int64
from torch import Tensor

from snn_delays.arguments import described
from snn_delays.columns import MOST, check_columns, column
from snn_delays.data.gsc.encoders import Encoder
from snn_delays.data.splits.batch import Batch, CompactBatch, check_labels
from snn_delays.data.splits.interface import Indices, Split
from snn_delays.errors import UsageError


@dataclass(frozen=True)
class Scale:
    """What makes every band of the training recordings have mean 0 and standard deviation 1.

        level = (feature − mean) · inverse

    Shape:
        ``mean``, ``inverse`` ``[bands]``; a band that never changes has inverse 0.
    """

    mean: Float32[Tensor, " bands"]
    inverse: Float32[Tensor, " bands"]

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("inverse", self.inverse)):
            real = isinstance(values, Tensor) and values.is_floating_point() and values.ndim == 1
            if not real or values.shape != self.mean.shape:
                raise UsageError(
                    f"Scale: {name} must be a float tensor of one dimension, as long as mean, "
                    f"got {described(values)}."
                )

    @classmethod
    def of(
        cls,
        sums: Float64[np.ndarray, "n bands"],
        squares: Float64[np.ndarray, "n bands"],
        steps: int,
    ) -> Scale:
        """From every training recording's Σ_t feature and Σ_t feature²."""
        count = len(sums) * steps
        mean = sums.sum(axis=0) / count
        variance = np.maximum(squares.sum(axis=0) / count - mean**2, 0)
        # Below the rounding of float16 a band that is constant looks as if it moved.
        moves = variance > 1e-8 * np.maximum(mean**2, 1)
        inverse = np.zeros_like(mean)
        inverse[moves] = variance[moves] ** -0.5
        return cls(torch.from_numpy(mean).float(), torch.from_numpy(inverse).float())

    def to(self, device: torch.device | str) -> Scale:
        """The same on another device."""
        return Scale(self.mean.to(device), self.inverse.to(device))


@dataclass(frozen=True, kw_only=True)
class FeatureBatch(CompactBatch):
    """A batch of features before it is normalised and encoded: half the bytes of the result.

    Shape:
        ``features`` ``[N, T, bands]``; the others as in :class:`~snn_delays.data.Batch`.
    """

    features: Float16[Tensor, "N T bands"]
    scale: Scale
    encoder: Encoder

    def __post_init__(self) -> None:
        features = self.features
        if not isinstance(features, Tensor) or features.ndim != 3:
            raise UsageError(
                f"FeatureBatch: features must be a tensor [N, T, bands], got {described(features)}."
            )
        n = len(features)
        check_labels("FeatureBatch", n, self.labels)
        check_columns("FeatureBatch", n, speakers=self.speakers)

    def dense(self) -> Batch:
        """Normalise and encode it where it is: ``[T, N, C]``, all recordings equally long."""
        levels = self.features.transpose(0, 1).float()
        levels = (levels - self.scale.mean) * self.scale.inverse
        lengths = torch.full_like(self.speakers, self.features.shape[1])
        return Batch(self.encoder(levels).contiguous(), self.labels, lengths, self.speakers)


class FeatureSplit(Split):
    """The recordings of one split as features in parts, each part perhaps a mapped file.

    Args:
        parts: features ``[n, T, bands]``.
        places: where each recording of the split stands: its part, and its row in the part.
        scale, encoder: how features become a network's input.
        labels, speakers, name: as in :class:`~snn_delays.data.Split`.

    Shape:
        ``places`` ``[n, 2]``; ``labels``, ``speakers`` ``[n]``.
    """

    def __init__(
        self,
        parts: Sequence[Float16[np.ndarray, "_ T bands"]],
        *,
        places: Int64[np.ndarray, "n 2"],
        labels: Int64[Tensor, " n"],
        speakers: Int64[Tensor, " n"],
        scale: Scale,
        encoder: Encoder,
        name: str,
    ) -> None:
        owner = self._owner(name)
        self.parts = list(parts)
        bands = len(scale.mean)
        if not self.parts:
            raise UsageError(f"{owner}: expected at least 1 part, got none.")
        steps = self.parts[0].shape[1] if self.parts[0].ndim == 3 else 0
        for place, part in enumerate(self.parts):
            if part.dtype != np.float16 or part.shape != (len(part), steps, bands):
                raise UsageError(
                    f"{owner}: parts must be arrays of float16 [n, {steps} steps, {bands} bands], "
                    f"got {described(part)} at place {place}."
                )
        if not isinstance(places, np.ndarray) or places.ndim != 2 or places.shape[1] != 2:
            raise UsageError(f"{owner}: places must be an array [n, 2], got {described(places)}.")
        last = len(self.parts) - 1
        which = column(f"{owner}: places[:, 0]", places[:, 0], None, 0, last).numpy()
        column(f"{owner}: places[:, 1]", places[:, 1], None, 0, MOST)
        beyond = np.flatnonzero(places[:, 1] >= np.array([len(part) for part in self.parts])[which])
        if beyond.size:
            part, row = places[beyond[0]]
            raise UsageError(
                f"{owner}: places[:, 1] must be rows of their part, {len(self.parts[part])} in "
                f"part {part}, got {row}."
            )
        self.scale, self.encoder, self._rows = scale, encoder, places
        frame = (encoder.channels(bands),)
        super().__init__(name, frame, labels, speakers, steps, len(places))

    def sparse(self, indices: Indices) -> FeatureBatch:
        """The features of the recordings ``indices``, to be encoded where they are used."""
        chosen = self._chosen(indices)
        features = np.empty((len(chosen), *self.parts[0].shape[1:]), np.float16)
        for row, (part, place) in enumerate(self._rows[self._standing(chosen).numpy()].tolist()):
            features[row] = self.parts[part][place]
        return FeatureBatch(
            features=torch.from_numpy(features),
            scale=self.scale,
            encoder=self.encoder,
            labels=self.labels[chosen],
            speakers=self.speakers[chosen],
        )
