"""The table for other programs: CSV, PyNN, SONATA and NIR, each complete and read back."""

from snn_delays.table.formats.csv import read_csv, write_csv
from snn_delays.table.formats.nir_file import read_nir, write_nir
from snn_delays.table.formats.nir_graph import to_nir
from snn_delays.table.formats.nir_import import from_nir
from snn_delays.table.formats.pynn import read_pynn, write_pynn
from snn_delays.table.formats.sonata import read_sonata, write_sonata
from snn_delays.table.formats.written import FORMATS, write_verified

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
