"""Networks in the formats of other programs, each read back before anyone relies on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from snn_delays.errors import UsageError
from snn_delays.table.equality import same_network
from snn_delays.table.formats.csv import read_csv, write_csv
from snn_delays.table.formats.nir_file import read_nir, write_nir
from snn_delays.table.formats.pynn import read_pynn, write_pynn
from snn_delays.table.formats.sonata import read_sonata, write_sonata
from snn_delays.table.table import DelayTable

Writer = Callable[[DelayTable, Path], list[Path]]
Reader = Callable[[Path], DelayTable]

PAIRS: dict[str, tuple[Writer, Reader]] = {
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
        difference = same_network(table, read(place))
        if difference is not None:
            raise UsageError(
                f"{place}: what was written reads back as another network: {difference}. "
                "Do not deploy these files; please report this with the delay table."
            )
    return written
