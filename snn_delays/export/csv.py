"""The synapses of a delay table as text: one CSV per layer, for spreadsheets and scripts."""

from __future__ import annotations

from pathlib import Path

from snn_delays.atomic import write_atomically
from snn_delays.export.table import DelayTable, LayerTable

HEADER = "pre,post,delay,weight"


def write_csv(table: DelayTable, folder: Path | str) -> list[Path]:
    """Write ``layer_0.csv``, ``layer_1.csv``, … and return their paths.

    Columns ``pre,post,delay,weight``: delay in steps, weight as the current that one spike adds
    (weight_scale included), with as many digits as reading it back exactly takes. Bias and
    neurons are in the HDF5 table only.

    Raises:
        UsageError: the folder cannot be written to.
    """
    paths = [Path(folder) / f"layer_{layer.target}.csv" for layer in table.layers]
    for path, layer in zip(paths, table.layers, strict=True):
        write_atomically(path, _text(layer).encode("ascii"))
    return paths


def _text(layer: LayerTable) -> str:
    rows = layer.synapses
    # str() of a NumPy float is the shortest decimal that reads back as the same float.
    columns = (rows.pre, rows.post, rows.delay, layer.current_weight)
    lines = zip(*(column.astype(str).tolist() for column in columns), strict=True)
    return "\n".join([HEADER, *map(",".join, lines), ""])
