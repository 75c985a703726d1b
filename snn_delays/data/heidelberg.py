"""What the two Heidelberg data sets, SHD and SSC, have in common.

Reference:
    Cramer, Stradmann, Schemmel, Zenke, "The Heidelberg Spiking Data Sets for the Systematic
    Evaluation of Spiking Neural Networks" (2020, arXiv:1910.07407).
"""

from __future__ import annotations

from pathlib import Path

from snn_delays.data.binned_file import BinnedFile, Grid
from snn_delays.data.cache import BinnedCache
from snn_delays.data.spike_file import SpikeFile

URL = "https://zenkelab.org/datasets"
N_UNITS = 700


def read_official(
    root: Path, file_name: str, *, cache: BinnedCache, grid: Grid, name: str
) -> BinnedFile:
    """Read and bin ``root/file_name``, whose errors end with where to download it.

    Raises:
        UsageError: as :func:`~snn_delays.data.binned_file.read_binned`.
    """
    how_to_get = (
        f"Download {URL}/{file_name}.zip and unzip it into {root} (see datasets/README.md)."
    )
    source = SpikeFile(root / file_name, cache.dataset_name, how_to_get)
    return cache.read(source, n_units=N_UNITS, grid=grid, name=name)
