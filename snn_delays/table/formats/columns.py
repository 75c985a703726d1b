"""Columns of numbers as text, and back without loss: what CSV and PyNN files are made of."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.atomic import write_atomically
from snn_delays.errors import UsageError, one_line
from snn_delays.table.require import naming

Float64 = NDArray[np.float64]


def valid(path: Path, what: str) -> AbstractContextManager[None]:
    """Put the path of the file in front of what is wrong with it."""
    return naming(f"{path}: not a valid {what}")


def read_text(path: Path, what: str) -> str:
    """The content of a text file."""
    try:
        if not path.is_file():
            raise UsageError(f"{path}: no such {what}. Export the network again.")
        return path.read_bytes().decode("utf-8-sig")  # as spreadsheets save it
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a readable {what}: {one_line(error)}.") from error


def write_columns(
    path: Path, header: str, columns: Sequence[NDArray[np.generic]], separator: str
) -> None:
    """Write a header and one row per element, each number with the digits that it takes."""
    rows = map(separator.join, zip(*map(_texts, columns), strict=True))
    write_atomically(path, "\n".join([header, *rows, ""]).encode("ascii"))


def _texts(values: NDArray[np.generic]) -> list[str]:
    # str() of a NumPy float is the shortest decimal that reads back as the same float.
    return [*map(str, values.tolist())] if values.dtype.kind == "i" else values.astype(str).tolist()


def parse_columns(
    body: str, names: Sequence[str], expected: Sequence[str], separator: str | None
) -> dict[str, Float64]:
    """The expected columns of a text without its header; columns of other names are ignored.

    Args:
        names: the columns that are there, in order.
        separator: None for any run of blanks.

    Shape:
        float64 ``[rows]`` each.
    """
    missing = [name for name in expected if name not in names]
    if missing or len(set(names)) != len(names):
        raise UsageError(f"columns must be {', '.join(expected)}; got {','.join(names)[:60]!r}.")
    if not body.strip():
        return {name: np.zeros(0) for name in expected}
    try:
        rows = np.loadtxt(io.StringIO(body), delimiter=separator, comments=None, ndmin=2)
    except (ValueError, OverflowError) as error:
        place = _first_bad_line(body, len(names), separator)
        raise UsageError(place or f"{one_line(error)}") from error
    if rows.shape[1] != len(names):
        raise UsageError(f"rows must have {len(names)} numbers, got {rows.shape[1]}.")
    return {name: rows[:, names.index(name)].copy() for name in expected}


def _first_bad_line(body: str, n_columns: int, separator: str | None) -> str:
    """Slow, and so only asked when something is known to be wrong; or nothing."""
    for number, line in enumerate(body.split("\n"), start=2):
        fields = line.split(separator)
        if line.strip() and not (len(fields) == n_columns and all(map(_is_number, fields))):
            return f"line {number} must be {n_columns} numbers, got {line[:60]!r}."
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def whole(name: str, values: Float64, dtype: type[np.integer] = np.int32) -> NDArray[Any]:
    """The values as integers."""
    limits = np.iinfo(dtype)
    with np.errstate(invalid="ignore"):
        bad = ~((values >= limits.min) & (values <= limits.max) & (values == np.rint(values)))
    if bad.any():
        raise UsageError(
            f"{name} must be whole numbers within {limits.min} … {limits.max}, "
            f"got {values[bad][0]} in row {int(np.flatnonzero(bad)[0])}."
        )
    return values.astype(dtype)


def single(values: Float64) -> NDArray[np.float32]:
    """The values as float32; what is too large becomes infinite, for the table to refuse."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return values.astype(np.float32)


def multiples(name: str, values: Float64, unit_name: str, unit: float) -> Float64:
    """How many units each value is, as whole numbers.

    Numbers in single precision are still recognised up to 80,000 units.
    """
    with np.errstate(all="ignore"):
        units = values / unit
        nearest = np.rint(units)
        far = ~(np.abs(units - nearest) <= 5e-3)
    if far.any():
        row = int(np.flatnonzero(far)[0])
        raise UsageError(
            f"{name} must be a whole multiple of {unit_name} = {unit}, got {values[row]} "
            f"in row {row}."
        )
    return nearest
