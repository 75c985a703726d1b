"""What ``fit`` calls: saving and resuming, metrics, a progress bar, signals that stop it."""

from snn_delays.callbacks.callback import Callback, Training
from snn_delays.callbacks.checkpoints import Checkpoints, best_epoch
from snn_delays.callbacks.delay_history import DelayHistory
from snn_delays.callbacks.progress_bar import ProgressBar
from snn_delays.callbacks.records import MetricsCsv, TensorBoard
from snn_delays.callbacks.stopping import StopOnSignals, Stopped

__all__ = [
    "Callback",
    "Checkpoints",
    "DelayHistory",
    "MetricsCsv",
    "ProgressBar",
    "StopOnSignals",
    "Stopped",
    "TensorBoard",
    "Training",
    "best_epoch",
]
