"""The table for other programs: CSV, PyNN, SONATA and NIR, each complete and read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from snn_delays.errors import UsageError
from snn_delays.table.equality import same_network
from snn_delays.table.formats.nir.file import read_nir, write_nir
from snn_delays.table.formats.nir.graph import to_nir
from snn_delays.table.formats.nir.reading import from_nir
from snn_delays.table.formats.sonata import read_sonata, write_sonata
from snn_delays.table.formats.text import read_csv, read_pynn, write_csv, write_pynn
from snn_delays.table.table import DelayTable

__all__ = [
    "FORMATS",
    "from_nir",
    "read_csv",
    "read_nir",
    "read_pynn",
    "read_sonata",
    "to_nir",
    "write_csv",
    "write_nir",
    "write_pynn",
    "write_sonata",
    "write_verified",
]

# How each is written and read.
PAIRS: dict[str, tuple[Callable[[DelayTable, Path], list[Path]], Callable[[Path], DelayTable]]] = {
    "csv": (write_csv, read_csv),
    "pynn": (write_pynn, read_pynn),
    "sonata": (write_sonata, read_sonata),
    "nir": (write_nir, read_nir),
}
FORMATS = tuple(PAIRS)


def write_verified(
    table: DelayTable, folder: Path | str, formats: Iterable[str]
) -> dict[str, list[Path]]:
    """Write the table to ``folder/<format>/`` for each format, and read it back at once.

    Returns:
        The paths written, by format.

    Raises:
        UsageError: an unknown format (nothing is written then), a table that a format cannot
            hold, a folder that cannot be written to, or files that read back as another network.
    """
    formats = tuple(formats)
    for name in formats:
        if name not in FORMATS:
            raise UsageError(f"formats must be among {', '.join(FORMATS)}; got {name!r}.")
    written = {}
    for name in formats:
        write, read = PAIRS[name]
        place = Path(folder) / name
        written[name] = write(table, place)
        if difference := same_network(table, read(place)):
            raise UsageError(
                f"{place}: what was written reads back as another network: {difference}. "
                "Do not deploy these files; please report this with the delay table."
            )
    return written
