"""What TensorBoard shows of a run beside its metrics: delays, hyper-parameters, pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from snn_delays.layers.delayed import Delayed


def add_delays(writer: Any, net: nn.Module, epoch: int) -> None:
    """A histogram of every layer's delays, one bin per step, of the synapses that there are.

    Args:
        writer: a ``SummaryWriter``.
        net: its layers of delays are called ``delays/NAME``; where a neuron's own delays add up
            (``"axonal+dendritic"``), ``delays/NAME/delay_pre`` and ``…/delay_post``.
        epoch: 0 is before training.
    """
    for name, layer in net.named_modules():
        if not isinstance(layer, Delayed):
            continue
        for which, (low, high) in layer.delay_ranges.items():
            delay, mask = getattr(layer, which).detach(), layer.mask
            if mask is not None and mask.shape == delay.shape:
                delay = delay[mask != 0]
            tag = "/".join(["delays", *filter(None, [name]), *([which] if "_" in which else [])])
            if delay.numel():  # a histogram of nothing cannot be drawn
                edges = np.arange(low, high + 2) - 0.5
                writer.add_histogram(tag, delay.float().cpu().numpy(), epoch, bins=edges)


def add_settings(writer: Any, settings: Mapping[str, Any]) -> None:
    """Hyper-parameters, for the page HPARAMS: columns beside a run's scalars.

    Of several runs TensorBoard puts the columns first in which they differ. It does so unless a
    run declares what all of them have (an "experiment"), which is why none is written.

    Args:
        writer: a ``SummaryWriter``.
        settings: as nested as they come; ``{"model": {"delays": "learned"}}`` is
            ``model.delays``.
    """
    from torch.utils.tensorboard.summary import hparams  # slow to import

    _, session, _ = hparams(dict(_columns(settings)), {})
    writer.file_writer.add_summary(session)


def add_pictures(folder: Path, pictures: Iterable[Path], epoch: int) -> None:
    """PNG files as images of their names, in a folder that TensorBoard reads."""
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    with SummaryWriter(str(folder), filename_suffix=".pictures") as writer:
        for path in pictures:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            writer.add_image(path.stem, pixels, epoch, dataformats="HWC")


def _columns(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Names with dots, and values that TensorBoard takes: numbers and words."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _columns(value, f"{before}{name}.")
        elif value is not None and name != "_target_":
            plain = isinstance(value, int | float) and not isinstance(value, bool)
            yield before + name, value if plain else str(value)
