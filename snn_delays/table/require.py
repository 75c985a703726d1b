"""What a table's fields must be; each failure one line: what, got, expected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Put a name in front of what is wrong with its owner, unless it is there already."""
    try:
        yield
    except UsageError as error:
        if str(error).startswith(f"{where}: "):
            raise
        raise UsageError(f"{where}: {error}") from error


def require_vector(
    what: str, got: NDArray[np.generic], types: tuple[type, ...], size: int | None = None
) -> None:
    """Refuse what is no vector of finite numbers of such a type."""
    expected = got.shape[:1] if size is None else (size,)
    if got.ndim != 1 or got.shape != expected or got.dtype not in types:
        names = " or ".join(np.dtype(t).name for t in types)
        length = "" if size is None else f" of length {size}"
        raise UsageError(
            f"{what} must be a vector of {names}{length}, got {got.dtype} of shape {got.shape}."
        )
    require_finite(what, got)


def require_finite(what: str, got: NDArray[np.generic]) -> None:
    if bad := int(np.count_nonzero(~np.isfinite(got))):
        raise UsageError(f"{what} must be finite, got {bad} of {got.size} NaN or infinite.")


def require_within(what: str, got: NDArray[np.generic], low: float, high: float) -> None:
    if got.size and not (got.min() >= low and got.max() <= high):
        raise UsageError(f"{what} must be within {low:.12g} … {high:.12g}, got {value_range(got)}.")


def value_range(values: NDArray[np.generic]) -> str:
    return f"{values.min()} … {values.max()}" if values.size else "none"
