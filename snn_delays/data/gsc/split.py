"""A split of features, held as they are cached; normalised and encoded batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float16, Float32, Float64, Int64
from torch import Tensor

from snn_delays.data.gsc.encoders import Encoder
from snn_delays.data.splits.batch import Batch, CompactBatch
from snn_delays.data.splits.interface import Indices, Split

Bands = Float32[Tensor, " bands"]


def scale_of(
    sums: Float64[np.ndarray, "n bands"], squares: Float64[np.ndarray, "n bands"], steps: int
) -> tuple[Bands, Bands]:
    """Mean and inverse standard deviation of every band, 0 of a band that never changes.

    From every training recording's Σ_t feature and Σ_t feature².
    """
    count = len(sums) * steps
    mean = sums.sum(axis=0) / count
    variance = np.maximum(squares.sum(axis=0) / count - mean**2, 0)
    # Below the rounding of float16 a band that is constant looks as if it moved.
    moves = variance > 1e-8 * np.maximum(mean**2, 1)
    inverse = np.zeros_like(mean)
    inverse[moves] = variance[moves] ** -0.5
    return torch.from_numpy(mean).float(), torch.from_numpy(inverse).float()


@dataclass(frozen=True, kw_only=True)
class FeatureBatch(CompactBatch):
    """A batch of features before it is normalised and encoded: half the bytes of the result.

        level = (feature − mean) · inverse

    Shape:
        ``features`` ``[N, T, bands]``; the others as in :class:`~snn_delays.data.Batch`.
    """

    features: Float16[Tensor, "N T bands"]
    mean: Bands
    inverse: Bands
    encoder: Encoder

    def dense(self) -> Batch:
        """Normalise and encode it where it is: ``[T, N, C]``, all recordings equally long."""
        levels = (self.features.transpose(0, 1).float() - self.mean) * self.inverse
        lengths = torch.full_like(self.labels, self.features.shape[1])
        return Batch(self.encoder(levels).contiguous(), self.labels, lengths, self.speakers)


class FeatureSplit(Split):
    """The recordings of one split as features in parts, each part perhaps a mapped file.

    Args:
        parts: features ``[n, T, bands]``.
        places: where each recording of the split stands ``[n, 2]``: part, and row in the part.
        mean, inverse, encoder: how features become a network's input.
        labels, speakers, name: as in :class:`~snn_delays.data.Split`.
    """

    def __init__(
        self,
        parts: Sequence[Float16[np.ndarray, "_ T bands"]],
        *,
        places: Int64[np.ndarray, "n 2"],
        labels: Int64[Tensor, " n"],
        speakers: Int64[Tensor, " n"],
        mean: Bands,
        inverse: Bands,
        encoder: Encoder,
        name: str,
    ) -> None:
        self.parts, self._rows = parts, places
        self.mean, self.inverse, self.encoder = mean, inverse, encoder
        steps, bands = parts[0].shape[1:]
        super().__init__(name, encoder.channels(bands), labels, speakers, steps, len(places))

    def sparse(self, indices: Indices) -> FeatureBatch:
        """The features of the recordings ``indices``, to be encoded where they are used."""
        chosen = self._chosen(indices)
        features = np.empty((len(chosen), *self.parts[0].shape[1:]), np.float16)
        for row, (part, place) in enumerate(self._rows[self._standing(chosen).numpy()].tolist()):
            features[row] = self.parts[part][place]
        return FeatureBatch(
            features=torch.from_numpy(features),
            mean=self.mean,
            inverse=self.inverse,
            encoder=self.encoder,
            labels=self.labels[chosen],
            speakers=self.speakers[chosen],
        )
