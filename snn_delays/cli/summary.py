"""What a finished training leaves in its folder: its accuracies, summary, pictures and page."""

from __future__ import annotations

import statistics
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from snn_delays.callbacks import best_epoch
from snn_delays.callbacks.board import add_pictures
from snn_delays.cli.evaluate import print_accuracies, warn_if_rounding_costs
from snn_delays.cli.report import leave_report
from snn_delays.data import SpikeData
from snn_delays.report import run as report
from snn_delays.report.drawings import draw_run
from snn_delays.run.folder import Row, RunFolder


def summarised(
    cfg: DictConfig,
    run: RunFolder,
    data: SpikeData,
    net: nn.Module,
    initial: nn.Module,
    rows: list[Row],
    *,
    anew: bool,
    trust: bool,
) -> float:
    """Evaluate the trained network, and write summary and pictures; returns the best epoch's score.

    Args:
        anew: whether training began from ``initial``.
        trust: see ``load_config``.
    """
    metric = data.task.metric
    summary: dict[str, Any] = {
        "test_set": report.test_set(data),
        **report.asked(data),
        "split": data.split,
        "clean_split": data.clean_split,
        "delays": report.kind_of_delays(net),
        "seed": cfg.seed,
        "epochs": len(rows),
        "best_epoch": best_epoch(rows, metric),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "invalid_events": data.invalid_events,
        "skipped_recordings": data.skipped_recordings,
    }
    # On the CPU, as snn-delays-evaluate does it, so that it finds the same numbers.
    net.cpu()
    summary["exported_synapses"] = {}
    for name in ("last", "best"):
        net.load_state_dict(run.load_checkpoint(name)["network"])
        summary[name] = report.accuracies(net, data, cfg.trainer.batch_size)
        summary["exported_synapses"][name] = report.exported_synapses(net, data.dt_ms)
    if summary["best_epoch"] != len(rows):  # ``fit`` has warned of the last epoch
        warn_if_rounding_costs("best epoch", summary["best"], metric)
    seconds = [row["seconds"] for row in rows]
    summary |= {
        "seconds_per_epoch": statistics.median(seconds),
        "wall_time_s": sum(seconds),
        "threads": torch.get_num_threads(),
        "versions": report.versions(),
    }
    run.save_summary(summary)
    draw_run(net, initial, data, run.path)
    add_pictures(run.tensorboard, sorted(run.path.glob("*.png")), len(rows))
    leave_report(run, cfg, data, net, initial if anew else None, trust=trust)
    print_accuracies([(run, summary["best"], summary)])
    return summary["best"]["validation"]["rounded"][metric]
