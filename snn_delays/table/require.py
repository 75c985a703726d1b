"""What a table's fields must be; each failure one line: what, got, expected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Put a name in front of what is wrong with its owner."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def require_version(got: int, ours: int) -> None:
    if got > ours:
        raise UsageError(
            f"version {got} is newer than the {ours} this program reads. Update snn-delays."
        )
    if got < ours:
        raise UsageError(f"version must be {ours}, got {got}. Export the network again.")


def require_member(what: str, got: str, expected: tuple[str, ...]) -> None:
    if got not in expected:
        raise UsageError(f"{what} must be one of {', '.join(expected)}; got {got!r}.")


def require_vector(
    what: str, got: NDArray[np.generic], types: tuple[type, ...], size: int | None = None
) -> None:
    expected = got.shape[:1] if size is None else (size,)
    if got.ndim != 1 or got.shape != expected or got.dtype not in types:
        names = " or ".join(np.dtype(t).name for t in types)
        length = "" if size is None else f" of length {size}"
        raise UsageError(
            f"{what} must be a vector of {names}{length}, got {got.dtype} of shape {got.shape}."
        )


def require_finite(what: str, got: NDArray[np.generic]) -> None:
    bad = int(np.count_nonzero(~np.isfinite(got)))
    if bad:
        raise UsageError(f"{what} must be finite, got {bad} of {got.size} NaN or infinite.")


def require_within(what: str, got: NDArray[np.int32], low: int, high: int) -> None:
    if got.size and (got.min() < low or got.max() > high):
        raise UsageError(f"{what} must be within {low} … {high}, got {value_range(got)}.")


def value_range(values: NDArray[np.generic]) -> str:
    return f"{values.min()} … {values.max()}" if values.size else "none"
