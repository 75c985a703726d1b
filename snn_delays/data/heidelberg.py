"""What the two Heidelberg data sets, SHD and SSC, have in common.

Reference:
    Cramer, Stradmann, Schemmel, Zenke, "The Heidelberg Spiking Data Sets for the Systematic
    Evaluation of Spiking Neural Networks" (2020, arXiv:1910.07407).
"""

from __future__ import annotations

from pathlib import Path

from snn_delays.data.binned_file import BinnedFile, Grid, read_binned
from snn_delays.data.spike_file import SpikeFile

URL = "https://zenkelab.org/datasets"
N_UNITS = 700


def read_official(
    root: Path | str, file_name: str, *, dataset_name: str, grid: Grid, name: str
) -> BinnedFile:
    """Read and bin ``root/file_name``, whose errors end with where to download it.

    Raises:
        UsageError: as :func:`~snn_delays.data.binned_file.read_binned`.
    """
    root = Path(root).expanduser()
    how_to_get = (
        f"Download {URL}/{file_name}.zip and unzip it into {root} (see datasets/README.md)."
    )
    source = SpikeFile(root / file_name, dataset_name, how_to_get)
    return read_binned(source, n_units=N_UNITS, grid=grid, name=name)
