"""Recordings side by side: as a list of events, and laid out densely."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float32, Int, Int64, Integer
from torch import Tensor

from snn_delays.arguments import require
from snn_delays.columns import check_columns

AnyBatch = TypeVar("AnyBatch", bound="CompactBatch")


class _Fields(NamedTuple):
    spikes: Float32[Tensor, "T N C"]
    labels: Int64[Tensor, " N"]
    lengths: Int64[Tensor, " N"]
    speakers: Int64[Tensor, " N"]


class Batch(_Fields):
    """Recordings side by side, each silent after its own end.

    Raises:
        UsageError: shapes that do not match. Values are not looked at, which would make a GPU wait.

    Shape:
        ``spikes`` ``[T, N, C]``, spike counts; ``labels``, ``lengths`` (steps: last event's
        step + 1, at least 1) and ``speakers`` (-1 where unknown) ``[N]``.
    """

    __slots__ = ()

    def __new__(cls, spikes: Tensor, labels: Tensor, lengths: Tensor, speakers: Tensor) -> Batch:
        dense = isinstance(spikes, Tensor) and spikes.layout == torch.strided and spikes.ndim == 3
        require(dense, "Batch: spikes", "be a dense tensor [T, N, C]", spikes)
        check_columns("Batch", spikes.shape[1], labels=labels, lengths=lengths, speakers=speakers)
        return super().__new__(cls, spikes, labels, lengths, speakers)


@dataclass(frozen=True)
class CompactBatch:
    """A batch before ``compact.to(device).dense()`` lays it out where it is used."""

    labels: Int64[Tensor, " N"]
    speakers: Int64[Tensor, " N"]

    def to(self: AnyBatch, device: torch.device | str) -> AnyBatch:
        """The same on another device."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: part.to(device) for name, part in parts.items() if hasattr(part, "to")}
        return replace(self, **moved)

    def dense(self) -> Batch:
        """Lay it out where it is."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class SparseBatch(CompactBatch):
    """A batch as a list of events: about a tenth of the bytes of its dense form.

    Raises:
        UsageError: as in :class:`Batch`.

    Shape:
        ``cells`` ``[E]``, where in the flattened ``[T, N, C]`` each event goes; ``counts`` ``[E]``,
        how many times, None for once; ``shape`` (T, N, C); the others as in :class:`Batch`.
    """

    cells: Int[Tensor, " E"]
    counts: Integer[Tensor, " E"] | None
    shape: tuple[int, int, int]
    lengths: Int64[Tensor, " N"]

    def __post_init__(self) -> None:
        fits = isinstance(self.shape, tuple) and len(self.shape) == 3 and min(self.shape) >= 0
        require(fits, "SparseBatch: shape", "be (T, N, C)", self.shape)
        columns = {"labels": self.labels, "lengths": self.lengths, "speakers": self.speakers}
        check_columns("SparseBatch", self.shape[1], **columns)
        check_columns("SparseBatch", None, cells=self.cells)
        if self.counts is not None:
            check_columns("SparseBatch", len(self.cells), counts=self.counts)

    def dense(self) -> Batch:
        """Lay it out where it is."""
        spikes = laid_out(self.cells, self.counts, self.shape)
        return Batch(spikes, self.labels, self.lengths, self.speakers)


def laid_out(cells: Tensor, counts: Tensor | None, shape: tuple[int, int, int]) -> Tensor:
    """Spike counts ``[T, N, C]`` in one scatter; events that share a cell add up.

    Whole numbers' float32 sums are exact in any order: the same bits on every device.
    """
    counts = torch.ones(len(cells), device=cells.device) if counts is None else counts.float()
    spikes = torch.zeros(math.prod(shape), device=cells.device)
    return spikes.index_add_(0, cells, counts).view(shape)
