"""A split of features on a grid of time steps, held as they are cached, encoded batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float16, Float32, Float64, Int64
from torch import Tensor

from snn_delays.data.features.encoders import Encoder
from snn_delays.data.splits.batch import Batch
from snn_delays.data.splits.interface import Indices, Split


@dataclass(frozen=True)
class Scale:
    """What makes every band of the training recordings have mean 0 and standard deviation 1.

        level = (feature − mean) · inverse

    Shape:
        ``mean``, ``inverse`` ``[bands]``; a band that never changes has inverse 0.
    """

    mean: Float32[Tensor, " bands"]
    inverse: Float32[Tensor, " bands"]

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


@dataclass(frozen=True)
class FeatureBatch:
    """A batch of features before it is normalised and encoded: half the bytes of the result.

    Shape:
        ``features`` ``[N, T, bands]``; the others as in :class:`~snn_delays.data.Batch`.
    """

    features: Float16[Tensor, "N T bands"]
    scale: Scale
    encoder: Encoder
    labels: Int64[Tensor, " N"]
    speakers: Int64[Tensor, " N"]

    def to(self, device: torch.device | str) -> FeatureBatch:
        """The same on another device."""
        return replace(
            self,
            features=self.features.to(device),
            scale=self.scale.to(device),
            labels=self.labels.to(device),
            speakers=self.speakers.to(device),
        )

    def dense(self) -> Batch:
        """Normalise and encode it where it is: ``[T, N, C]``, all recordings equally long."""
        steps = self.features.shape[1]
        levels = self.features.transpose(0, 1).float()
        levels = (levels - self.scale.mean) * self.scale.inverse
        return Batch(
            spikes=self.encoder(levels).contiguous(),
            labels=self.labels,
            lengths=torch.full_like(self.labels, steps),
            speakers=self.speakers,
        )


class FeatureSplit(Split):
    """The recordings of one split as features in parts, each part perhaps a mapped file.

    Args:
        parts: features ``[n, T, bands]``.
        places: where each recording of the split stands: its part, and its row in the part.
        labels, speakers: class and speaker of every recording; speaker -1 where unknown.
        scale, encoder: how features become a network's input.
        name: what the split is called in logs and errors, such as "train".

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
        self.parts = list(parts)
        self.labels, self.speakers = labels, speakers
        self.lengths = torch.full_like(labels, self.parts[0].shape[1])
        self.scale, self.encoder = scale, encoder
        self.n_channels = encoder.channels(len(scale.mean))
        self.name = name
        self._places = places

    def sparse(self, indices: Indices) -> FeatureBatch:
        """The features of the recordings ``indices``, to be encoded where they are used.

        Raises:
            IndexError: an index outside 0 … n − 1.
        """
        chosen = self._chosen(indices)
        features = np.empty((len(chosen), *self.parts[0].shape[1:]), np.float16)
        for row, (part, place) in enumerate(self._places[chosen.numpy()].tolist()):
            features[row] = self.parts[part][place]
        return FeatureBatch(
            features=torch.from_numpy(features),
            scale=self.scale,
            encoder=self.encoder,
            labels=self.labels[chosen],
            speakers=self.speakers[chosen],
        )

    def subset(self, indices: Indices, name: str) -> FeatureSplit:
        """The recordings ``indices``, in that order; no features are copied.

        Raises:
            IndexError: an index outside 0 … n − 1.
        """
        chosen = self._chosen(indices)
        part = copy.copy(self)
        part.labels, part.speakers = self.labels[chosen], self.speakers[chosen]
        part.lengths = self.lengths[chosen]
        part.name = name
        part._places = self._places[chosen.numpy()]
        return part
