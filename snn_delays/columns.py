"""Columns as a caller hands them over: checked in a few passes, whole numbers made tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Integer
from torch import Tensor

from snn_delays.arguments import described, require
from snn_delays.errors import UsageError

MOST = 2**31 - 1
# What every operation of torch takes; other integers become 64 bits wide.
_KEPT = (np.uint8, np.int8, np.int16, np.int32, np.int64)


def column(
    name: str,
    values: Any,
    length: int | None = None,
    least: int = -(2**63),
    most: int = 2**63 - 1,
    *,
    why: str = "",
) -> Integer[Tensor, " n"]:
    """``values`` as a tensor of whole numbers within ``least`` … ``most``.

    Args:
        name: owner and argument, as in ``"SpikeSplit train: steps"``.
        values: an array, or a tensor on the CPU, of integers and one dimension; not copied where
            that can be.
        length: how many there must be; None for any number.
        why: where the bounds come from, as in ``"n_channels = 4"``.
    """
    numbers = values
    if isinstance(values, Tensor) and values.device.type == "cpu":
        numbers = values.numpy() if values.layout == torch.strided and is_whole(values) else None
    if not isinstance(numbers, np.ndarray) or numbers.dtype.kind not in "iu" or numbers.ndim != 1:
        size = "" if length is None else f"{length} "
        raise UsageError(
            f"{name} must be a one-dimensional array or CPU tensor of {size}whole numbers, "
            f"got {described(values)}."
        )
    if length is not None and len(numbers) != length:
        raise UsageError(f"{name} must be {length} numbers, got {len(numbers)}.")
    if numbers.size and not (numbers.min() >= least and numbers.max() <= most):
        place = int(np.flatnonzero((numbers < least) | (numbers > most))[0])
        raise UsageError(
            f"{name} must be {least} to {most}{f' ({why})' if why else ''}, "
            f"got {numbers[place]} at place {place}."
        )
    if numbers.dtype not in _KEPT:
        numbers = numbers.astype(np.int64)
    elif isinstance(values, Tensor):
        return values
    return torch.from_numpy(np.require(numbers, requirements=["C", "W"]))


def offsets_of(name: str, values: Any, n_events: int) -> Int64[Tensor, " n_plus_1"]:
    """``values`` as places in a list of ``n_events`` events: from 0 up to all of them."""
    offsets = column(name, values, None, 0, n_events, why=f"{n_events} events").long()
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != n_events:
        ends = f"{offsets[0]} to {offsets[-1]}" if len(offsets) else "none"
        raise UsageError(f"{name} must go from 0 to the number of events, {n_events}, got {ends}.")
    falls = torch.diff(offsets) < 0
    if falls.any():
        place = int(falls.nonzero()[0]) + 1
        raise UsageError(
            f"{name} must never fall, got {offsets[place]} after {offsets[place - 1]} "
            f"at place {place}."
        )
    return offsets


def check_columns(owner: str, n: int | None, **columns: Any) -> None:
    """Refuse columns of a batch that are no integer tensors of ``n`` entries; None for any number.

    Values stay unseen, as they may lie on a GPU.
    """
    for name, values in columns.items():
        whole = isinstance(values, Tensor) and is_whole(values) and values.dtype != torch.bool
        fits = whole and values.shape == (len(values) if n is None else n,)
        size = "" if n is None else f"{n} "
        require(fits, f"{owner}: {name}", f"be a tensor of {size}whole numbers", values)


def is_whole(values: Tensor) -> bool:
    """Whether a tensor holds integers, or truth values."""
    return not (values.is_floating_point() or values.is_complex() or values.is_quantized)
