"""The metrics of every epoch in files: a CSV file, and TensorBoard's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snn_delays.callbacks import board
from snn_delays.callbacks.callback import Callback, Training
from snn_delays.files.atomic import write_csv


class MetricsCsv(Callback):
    """Writes every epoch's metrics as a row of the CSV file ``path``, anew each time."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def on_start(self, training: Training) -> None:
        if training.rows:  # the file may have rows of epochs that are trained again
            self.on_epoch(training)

    def on_epoch(self, training: Training) -> None:
        columns = dict.fromkeys(name for row in training.rows for name in row)
        write_csv(self.path, list(columns), training.rows)


class TensorBoard(Callback):
    """Writes every epoch's metrics and delays, and the settings, for TensorBoard (``board.py``).

    Args:
        path: the folder.
        settings: what the page HPARAMS shows; ``None`` takes those of ``fit``.
    """

    def __init__(self, path: Path | str, settings: Mapping[str, Any] | None = None) -> None:
        self.path, self.hyperparameters = Path(path), settings

    def on_start(self, training: Training) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        # Epochs that a resumed run trains again are cut. The last finished one may be missing, and
        # is written; not when resuming within an epoch, whose delays have moved on.
        within = bool(training.restored.get("within"))
        purge_step = max(len(training.rows) + within, 1)
        self.writer = SummaryWriter(str(self.path), purge_step=purge_step)
        if training.resumed:
            if not within:
                self.on_epoch(training)
            return
        given = self.hyperparameters
        board.add_settings(self.writer, training.config["settings"] if given is None else given)
        board.add_delays(self.writer, training.net, 0)

    def on_epoch(self, training: Training) -> None:
        row = training.rows[-1]
        for name, value in row.items():
            self.writer.add_scalar(name, value, int(row["epoch"]))
        board.add_delays(self.writer, training.net, int(row["epoch"]))
        self.writer.flush()

    def on_end(self, training: Training) -> None:
        self.writer.close()
