"""The table for other programs: CSV, PyNN, SONATA and NIR, each complete and read back."""

from snn_delays.table.formats.csv import read_csv, write_csv
from snn_delays.table.formats.pynn import read_pynn, write_pynn
from snn_delays.table.formats.sonata import read_sonata, write_sonata
from snn_delays.table.formats.written import FORMATS, write_verified

__all__ = [
    "FORMATS",
    "read_csv",
    "read_pynn",
    "read_sonata",
    "write_csv",
    "write_pynn",
    "write_sonata",
    "write_verified",
]
