"""Recordings side by side: as a list of events, and laid out densely."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Float32, Int, Int64, Integer
from torch import Tensor

from snn_delays.arguments import require
from snn_delays.columns import check_columns

# The class of each, or of sets with several classes per recording 0 or 1 for each class.
Labels = Int64[Tensor, " N"] | Float32[Tensor, "N classes"]
AnyBatch = TypeVar("AnyBatch", bound="CompactBatch")


class _Fields(NamedTuple):
    spikes: Float32[Tensor, "T N *frame"]
    labels: Labels
    lengths: Int64[Tensor, " N"]
    speakers: Int64[Tensor, " N"]


class Batch(_Fields):
    """Recordings side by side, each silent after its own end.

    Raises:
        UsageError: shapes that do not match. Values are not looked at, which would make a GPU wait.

    Shape:
        ``spikes`` ``[T, N, *frame]``, spike counts or currents: a step is ``[C]``, of images
        ``[C, H, W]``; ``labels`` ``[N]``, or ``[N, classes]`` of 0 and 1; ``lengths`` (steps: last
        event's step + 1, at least 1) and ``speakers`` (-1 where unknown) ``[N]``.
    """

    __slots__ = ()

    def __new__(cls, spikes: Tensor, labels: Tensor, lengths: Tensor, speakers: Tensor) -> Batch:
        dense = isinstance(spikes, Tensor) and spikes.layout == torch.strided and spikes.ndim >= 3
        require(dense, "Batch: spikes", "be a dense tensor [T, N, C, …]", spikes)
        check_labels("Batch", spikes.shape[1], labels)
        check_columns("Batch", spikes.shape[1], lengths=lengths, speakers=speakers)
        return super().__new__(cls, spikes, labels, lengths, speakers)


@dataclass(frozen=True)
class CompactBatch:
    """A batch before ``compact.to(device).dense()`` lays it out where it is used."""

    labels: Labels
    speakers: Int64[Tensor, " N"]

    def to(self: AnyBatch, device: torch.device | str) -> AnyBatch:
        """The same on another device."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: part.to(device) for name, part in parts.items() if hasattr(part, "to")}
        return replace(self, **moved)

    def lasting(self: AnyBatch, steps: int | None) -> AnyBatch:
        """The same, with silence up to so many steps where it is shorter, if lengths differ."""
        return self

    def dense(self) -> Batch:
        """Lay it out where it is."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class SparseBatch(CompactBatch):
    """A batch as a list of events: about a tenth of the bytes of its dense form.

    Raises:
        UsageError: as in :class:`Batch`.

    Shape:
        ``cells`` ``[E]``, where in the flattened ``[T, N, *frame]`` each event goes; ``counts``
        ``[E]``, how many times, None for once; ``shape`` (T, N, C) or (T, N, C, H, W); the others
        as in :class:`Batch`.
    """

    cells: Int[Tensor, " E"]
    counts: Integer[Tensor, " E"] | None
    shape: tuple[int, int, *tuple[int, ...]]
    lengths: Int64[Tensor, " N"]

    def __post_init__(self) -> None:
        fits = isinstance(self.shape, tuple) and len(self.shape) >= 3 and min(self.shape) >= 0
        require(fits, "SparseBatch: shape", "be (T, N, C, …)", self.shape)
        columns = {"lengths": self.lengths, "speakers": self.speakers}
        check_labels("SparseBatch", self.shape[1], self.labels)
        check_columns("SparseBatch", self.shape[1], **columns)
        check_columns("SparseBatch", None, cells=self.cells)
        if self.counts is not None:
            check_columns("SparseBatch", len(self.cells), counts=self.counts)

    def lasting(self: AnyBatch, steps: int | None) -> AnyBatch:
        """As in ``CompactBatch``: time comes first, so that no cell moves."""
        assert isinstance(self, SparseBatch)
        if steps is None or steps <= self.shape[0]:
            return self
        return replace(self, shape=(steps, *self.shape[1:]))

    def dense(self) -> Batch:
        """Lay it out where it is."""
        spikes = laid_out(self.cells, self.counts, self.shape)
        return Batch(spikes, self.labels, self.lengths, self.speakers)


@dataclass(frozen=True, kw_only=True)
class DenseBatch(CompactBatch):
    """A batch of images as they are kept, made numbers where it is used.

    Args:
        images: of ``uint8``, which mean shares of 255, or floats.
        mean, std: of every channel, by which images are normalised: ``(image − mean) / std``.

    Raises:
        UsageError: as in :class:`Batch`.

    Shape:
        ``images`` ``[N, C, H, W]``; ``mean``, ``std`` ``[C]``; the others as in :class:`Batch`,
        ``lengths`` all 1.
    """

    images: Float[Tensor, "N C H W"] | Integer[Tensor, "N C H W"]
    mean: Float32[Tensor, " C"]
    std: Float32[Tensor, " C"]

    def __post_init__(self) -> None:
        fits = isinstance(self.images, Tensor) and self.images.ndim == 4
        require(fits, "DenseBatch: images", "be a tensor [N, C, H, W]", self.images)
        check_labels("DenseBatch", len(self.images), self.labels)
        check_columns("DenseBatch", len(self.images), speakers=self.speakers)

    def dense(self) -> Batch:
        """Normalise it where it is: ``[1, N, C, H, W]``."""
        images = self.images.float()
        if not self.images.is_floating_point():
            images = images / 255
        images = (images - self.mean[:, None, None]) / self.std[:, None, None]
        lengths = torch.ones_like(self.speakers)
        return Batch(images[None], self.labels, lengths, self.speakers)


def check_labels(owner: str, n: int, labels: Any) -> None:
    """Refuse labels of a batch that are neither ``[N]`` whole numbers nor ``[N, classes]``."""
    several = isinstance(labels, Tensor) and labels.ndim == 2 and labels.is_floating_point()
    if several and len(labels) == n:
        return
    check_columns(owner, n, labels=labels)


def laid_out(cells: Tensor, counts: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """Spike counts ``[T, N, *frame]`` in one scatter; events that share a cell add up.

    Whole numbers' float32 sums are exact in any order: the same bits on every device.
    """
    counts = torch.ones(len(cells), device=cells.device) if counts is None else counts.float()
    spikes = torch.zeros(math.prod(shape), device=cells.device)
    return spikes.index_add_(0, cells, counts).view(shape)
