"""What all pictures have in common: their style, whole numbers along an axis, how one is saved."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from snn_delays.files.atomic import write_atomically

_STYLE: dict[Any, Any] = {
    **{"font.size": 9, "axes.titlesize": 9.5, "axes.titlelocation": "left"},
    **{"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False},
}


@contextmanager
def saved_figure(path: Path, width: float, height: float, dpi: int = 150) -> Iterator[Figure]:
    """A figure of so many inches, for the caller to draw; written as a PNG file when it is done.

    Raises:
        UsageError: the file system refuses. Missing folders are made.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        image = io.BytesIO()
        figure.savefig(image, dpi=dpi, format="png")
    write_atomically(path, image.getvalue())


def whole_numbers(*axes: Axis) -> None:
    """Ticks of an axis that counts."""
    for axis in axes:
        axis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
