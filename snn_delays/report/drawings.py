"""Which pictures a run ends with: those that suit its network and its data."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from snn_delays.data import SpikeData
from snn_delays.modules.ranged import Spread
from snn_delays.report import pictures
from snn_delays.report.course import has_course
from snn_delays.report.positions import draw_positions
from snn_delays.report.run import kind_of_delays


def _draw_delays(net: nn.Module, initial: nn.Module, data: SpikeData, folder: Path) -> None:
    """``delays.png``, and of recordings with a course in time ``readout.png``."""
    if kind_of_delays(net) != "none":
        pictures.draw_delays(net, initial, data.dt_ms, folder / "delays.png")
        if has_course(data):
            pictures.draw_readout(net, data, folder / "readout.png")


def _draw_positions(net: nn.Module, initial: nn.Module, data: SpikeData, folder: Path) -> None:
    """``positions.png``."""
    draw_positions(net, initial, folder / "positions.png")


# By what modules learn of places, their ``moves``.
_DRAWINGS = {"delays": _draw_delays, "positions": _draw_positions}


def draw_run(net: nn.Module, initial: nn.Module, data: SpikeData, folder: Path) -> None:
    """Draw what a network has learned of delays and positions.

    Args:
        net, initial: after training and before.
        data: what it was trained on.
        folder: the run's.
    """
    found = {one.moves for one in net.modules() if isinstance(one, Spread)}
    for moves, draw in _DRAWINGS.items():
        if moves in found:
            draw(net, initial, data, folder)
