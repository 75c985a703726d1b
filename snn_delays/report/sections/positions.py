"""Where the elements of kernels with learnable spacings stand, before and after training."""

from __future__ import annotations

import base64
import tempfile
from html import escape
from pathlib import Path

from snn_delays.modules.ranged import Spread
from snn_delays.report.page.document import Figure, Section
from snn_delays.report.positions import draw_positions
from snn_delays.report.trained import Trained


def positions(run: Trained) -> Section | None:
    """The picture that a run's folder has; nothing of a network that learns no positions."""
    parts = run.net.modules()
    if not any(isinstance(one, Spread) and one.moves == "positions" for one in parts):
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "positions.png"
        draw_positions(run.net, run.initial, path)
        code = base64.b64encode(path.read_bytes()).decode()
    lead = (
        "Density of the elements of all kernels of a shape: before training, after it, and by |w|."
    )
    said = f"Maps of where elements stand. {lead}"
    image = f'<img alt="{escape(said)}" src="data:image/png;base64,{code}">'
    return Section("positions", "Where elements stand", lead, [Figure(image)])
