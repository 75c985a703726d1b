"""NIR graphs on disk: ``network.nir``, HDF5 as the package ``nir`` writes and reads it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import nir

from snn_delays.errors import HDF5_DAMAGE, UsageError, held_elsewhere, one_line
from snn_delays.files.atomic import write_atomically
from snn_delays.files.hdf5 import is_absurd
from snn_delays.files.heaps import damaged_lists
from snn_delays.table.formats.network_json import valid
from snn_delays.table.formats.nir.graph import to_nir
from snn_delays.table.formats.nir.reading import from_nir
from snn_delays.table.require import naming
from snn_delays.table.table import DelayTable

FILE = "network.nir"

# What nir raises beside h5py's errors when a field is missing or of another type.
_REFUSALS = (*HDF5_DAMAGE, AssertionError, AttributeError, LookupError, ArithmeticError)


def write_nir(table: DelayTable, folder: Path | str) -> list[Path]:
    """Write the graph of ``to_nir`` to ``network.nir`` and return its path.

    Raises:
        UsageError: as ``to_nir``, or the folder cannot be written to.
    """
    path = Path(folder) / FILE
    buffer = io.BytesIO()
    nir.write(buffer, to_nir(table))  # pyright: ignore[reportArgumentType]  (any binary file)
    write_atomically(path, buffer.getvalue())
    return [path]


def read_nir(path: Path | str, **about: Any) -> DelayTable:
    """Read a graph, ours or another program's, as ``from_nir`` does.

    Args:
        path: the file, or the folder that ``write_nir`` was given.
        about: dt_ms, readout, class_names and tail_steps, as for ``from_nir``.

    Raises:
        UsageError: one line with the path: no such file, not NIR, damaged, or as ``from_nir``.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    with valid(path, "NIR network"):
        graph = _read_graph(path)
    with naming(str(path)):
        return from_nir(graph, **about)


def _read_graph(path: Path) -> nir.NIRGraph:
    """The graph of a file, which may be damaged."""
    if not path.is_file():
        raise UsageError("no such file.")
    try:
        _require_sound(path)
        try:
            graph = nir.read(path)
        except ValueError:  # shapes that do not match: one number for a layer, a batch axis
            graph = nir.read(path, type_check=False)
    except UsageError:
        raise
    except _REFUSALS as error:
        if held := held_elsewhere(error):
            raise UsageError(held) from error
        raise UsageError(
            f"cannot be read (truncated, damaged or not NIR): {one_line(error)}. Write it again "
            "with the program that it comes from."
        ) from error
    if not isinstance(graph, nir.NIRGraph):
        raise UsageError(f"expected a NIRGraph, got a single {type(graph).__name__}.")
    return graph


def _require_sound(path: Path) -> None:
    """Refuse what would keep HDF5 busy for ever, or take all memory."""
    with h5py.File(path, "r") as file:
        arrays: list[h5py.Dataset] = []

        file.visititems(
            lambda _, one: arrays.append(one) if isinstance(one, h5py.Dataset) else None
        )
        for array in arrays:
            if is_absurd(array):
                raise UsageError(f"{array.name} claims {array.size} elements, which are not there.")
            kind = h5py.check_string_dtype(array.dtype)
            varying = kind is not None and kind.length is None
            if varying and (damage := damaged_lists(path, file, array, item_size=1)):
                raise UsageError(f"{array.name} is damaged: {damage}.")
        for array in arrays:
            name = array.name or ""
            if name.endswith("/type") and "/metadata/" not in name:
                _require_known(name.removesuffix("/type"), array[()])


def _require_known(name: str, kind: object) -> None:
    found = getattr(nir, kind.decode(errors="replace"), None) if isinstance(kind, bytes) else None
    if not (isinstance(found, type) and issubclass(found, nir.NIRNode)):
        raise UsageError(f"{name} is of type {kind!r}, which nir {nir.version} does not know.")
