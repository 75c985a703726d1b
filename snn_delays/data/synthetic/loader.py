"""Loading the synthetic task, which makes its own files on first use."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from snn_delays.arguments import whole_number
from snn_delays.data.events.binned import data_of, read_binned
from snn_delays.data.events.binning import Grid
from snn_delays.data.events.spike_file import SpikeFile
from snn_delays.data.splits.interface import SpikeData
from snn_delays.data.synthetic.task import SyntheticTask, generate_synthetic
from snn_delays.errors import UsageError

# Part of the files' names: raise it when the same settings come to mean other recordings.
_VERSION = 1

_log = logging.getLogger("snn_delays")


def load_synthetic(
    root: Path | str,
    *,
    n_train: int = 1000,
    n_valid: int = 200,
    n_test: int = 500,
    **settings: Any,
) -> SpikeData:
    """Load the task that only delays can solve; see ``synthetic/task.py``.

    Its three files ``synthetic_<settings>_{train,valid,test}.h5`` are made in ``root`` on first
    use, and again should they be damaged. Any number of processes may do so at once.

    Args:
        root: the folder for the files; made if missing.
        n_train, n_valid, n_test: number of recordings.
        settings: of :class:`~snn_delays.data.synthetic.task.SyntheticTask`, such as ``seed``.

    Raises:
        UsageError: a setting out of range, or a folder that cannot be written to.
    """
    task = SyntheticTask(**settings)
    sizes = {
        name: whole_number(f"synthetic: n_{name}", size, 1)
        for name, size in (("train", n_train), ("valid", n_valid), ("test", n_test))
    }
    folder = Path(root).expanduser()
    described = json.dumps([_VERSION, sizes, asdict(task)], sort_keys=True)
    stem = f"synthetic_{hashlib.sha256(described.encode()).hexdigest()[:12]}"
    grid, files = Grid(task.dt_ms, pool=1), []
    for part, (name, size) in enumerate(sizes.items()):
        path = folder / f"{stem}_{name}.h5"
        source = SpikeFile(path, "synthetic", f"Delete {path} to have it made again.")
        read = partial(read_binned, source, n_units=task.n_channels, grid=grid, name=name)
        try:
            if path.exists():
                files.append(read())
                continue
        except UsageError as damage:
            _log.warning("%s Making it again.", damage)
        generate_synthetic(path, task, n_samples=size, part=part)
        files.append(read())
    splits = [file.split for file in files]
    return data_of(files, splits, split="official", dataset_name="synthetic", dt_ms=task.dt_ms)
