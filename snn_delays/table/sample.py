"""One sample and what the table makes of it: the reference that other simulators are held to."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.atomic import write_atomically
from snn_delays.table.simulator import Simulation


def write_sample(
    path: Path | str,
    counts: NDArray[np.generic],
    label: int,
    simulation: Simulation,
    prediction: int,
) -> None:
    """Write ``sample.npz``, all or nothing; the same content always gives the same bytes.

    ``numpy.load`` reads it: ``counts [T, input_channels]`` as given, ``label``, ``prediction``
    (int64), ``potentials [T + tail, n_classes]`` (float64) and, of each population that spikes,
    ``spikes_<population>`` ``[T + tail, size]`` (bool).

    Raises:
        UsageError: the path cannot be written to.
    """
    arrays: dict[str, NDArray[Any]] = {
        "counts": counts,
        "label": np.array(label, np.int64),
        "prediction": np.array(prediction, np.int64),
        "potentials": np.asarray(simulation.potentials),
        **{f"spikes_{name}": fired for name, fired in simulation.spikes.items()},
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays.items():
            # numpy.savez would write the time of day into every member.
            member = zipfile.ZipInfo(f"{name}.npy")
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w") as file:
                np.lib.format.write_array(file, np.asarray(values), allow_pickle=False)
    write_atomically(Path(path), buffer.getvalue())
