"""``snn-delays-train``: one run, from its configuration to its summary."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from snn_delays import callbacks
from snn_delays.cli.begin import (
    fit_settings,
    folder_to_train_in,
    identity,
    resumed_config,
    saved_config,
    sweep_folder,
)
from snn_delays.cli.command import entry
from snn_delays.cli.evaluate import print_accuracies, warn_if_rounding_costs
from snn_delays.cli.finetune import finetuned_config, starting_network
from snn_delays.cli.model import described, keep_what_is_taken, kind_of_delays
from snn_delays.cli.recipe import warn_of_other_steps
from snn_delays.cli.runs import build_network, dataset_root, instantiate, load_data, plain
from snn_delays.cli.sweep import in_sweep, keep_settings
from snn_delays.interpolation import first_sigma
from snn_delays.layers.delay_layer import delay_layers
from snn_delays.network import DelaySNN
from snn_delays.progress import load_progress
from snn_delays.report import pictures
from snn_delays.report import run as report
from snn_delays.run_folder import RunFolder
from snn_delays.terminal import ERRORS
from snn_delays.training import fit

log = logging.getLogger("snn_delays")


def _train(cfg: DictConfig) -> float:
    with _run_log() as keep_log:
        return _train_run(cfg, keep_log)


train = entry(_train, sweep_folder)


def _train_run(cfg: DictConfig, keep_log: Callable[[RunFolder], None]) -> float:
    """Accuracy on validation, delays rounded, of the best epoch: what a sweep may optimise."""
    run = folder_to_train_in(cfg)
    resumed, trust, chip, progress = bool(cfg.resume), cfg.trust, None, None
    kept: dict[str, Any] = {}
    if resumed:
        cfg = resumed_config(run, trust=trust)
        kept, progress = identity(plain(cfg)), load_progress(run)
        if progress:
            progress.require_config(kept, run.config)
    elif cfg.get("finetune"):
        overrides = list(HydraConfig.get().overrides.task)
        chip = cfg.finetune.chip and str(cfg.finetune.chip)
        cfg, run = finetuned_config(cfg, overrides, run.path if in_sweep() else None)
    else:
        keep_what_is_taken(cfg)
    settings = fit_settings(cfg)
    dataset_root(cfg.dataset)
    # A run that was stopped in its first epoch has nothing but its configuration to go on with.
    if cfg.get("finetune") and not progress:
        data, net = starting_network(cfg, chip, trust=trust)
    else:
        data = load_data(cfg.dataset)
        torch.manual_seed(settings["seed"])  # of the initial weights and delays
        net = build_network(cfg, data)
    if cfg.schedule.start is None:
        # Where there are no delays σ plays no part, but is to be one that every schedule takes.
        longest = [one.max_delay for one in delay_layers(net)] or [cfg.model.get("max_delay", 1)]
        cfg.schedule.start = first_sigma(max(1, *longest))
    schedule = instantiate("schedule", cfg.schedule)
    initial = copy.deepcopy(net)
    saved = saved_config(cfg)

    def begin() -> None:
        if not resumed:
            run.save_config(OmegaConf.to_yaml(saved))
            keep_settings(run.path)
        keep_log(run)
        log.info(f"{described(net, data.dt_ms)} → {run.path}")
        if not resumed and not cfg.get("finetune"):
            warn_of_other_steps(cfg, data.dt_ms)

    beside = [
        _Begun(run, begin, resume=resumed, config=kept or identity(saved)),
        callbacks.TensorBoard(run.tensorboard),
        callbacks.MetricsCsv(run.metrics),
        callbacks.ProgressBar(),
    ]
    try:
        rows = fit(net, data, schedule=schedule, callbacks=beside, **settings)
    except KeyboardInterrupt:
        if run.checkpoint("last").exists():
            log.info(f"Interrupted. Go on with: snn-delays-train run={run.path} resume=true")
        raise

    summary: dict[str, Any] = {
        "split": data.split,
        "clean_split": data.clean_split,
        "delays": kind_of_delays(net),
        "seed": settings["seed"],
        "epochs": settings["epochs"],
        "best_epoch": callbacks.best_epoch(rows),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "invalid_events": data.invalid_events,
        "skipped_recordings": data.skipped_recordings,
    }
    # On the CPU, as snn-delays-evaluate does it, so that it finds the same numbers.
    net.cpu()
    for name in ("best", "last"):
        net.load_state_dict(run.load_checkpoint(name)["network"])
        summary[name] = report.accuracies(net, data, settings["batch_size"])
    if summary["best_epoch"] != len(rows):  # of the last epoch it has been said
        warn_if_rounding_costs("best epoch", summary["best"])
    seconds = sorted(row["seconds"] for row in rows)
    summary |= {
        "seconds_per_epoch": seconds[len(seconds) // 2],
        "wall_time_s": sum(seconds),
        "threads": torch.get_num_threads(),
        "versions": report.versions(),
    }
    run.save_summary(summary)
    net.load_state_dict(run.load_checkpoint("best")["network"])
    if isinstance(net, DelaySNN) and isinstance(initial, DelaySNN) and net.max_delay:
        pictures.draw_delays(net, initial, data.dt_ms, run.path / "delays.png")
        pictures.draw_readout(net, data, run.path / "readout.png")
    print_accuracies([(run, summary["best"], summary)])
    return summary["best"]["validation"]["rounded"]["accuracy"]


class _Begun(callbacks.Checkpoints):
    """Begins a run, or goes on with one, once its settings have been found to be right."""

    def __init__(self, run: RunFolder, begin: Callable[[], None], **settings: Any) -> None:
        super().__init__(run, **settings)
        self.begin = begin

    def on_start(self, training: callbacks.Training) -> None:
        self.begin()
        super().on_start(training)


@contextmanager
def _run_log() -> Iterator[Callable[[RunFolder], None]]:
    """What is logged goes to the train.log of the run that the function given is called with.

    What was logged before the call goes there too; without one, as after a mistake, there is no
    train.log.
    """
    root = logging.getLogger()
    held = MemoryHandler(sys.maxsize, flushLevel=sys.maxsize)
    handlers: list[logging.Handler] = [held]

    def keep(run: RunFolder) -> None:
        file = logging.FileHandler(run.path / "train.log", encoding="utf-8", errors=ERRORS)
        file.setFormatter(logging.Formatter("%(message)s"))
        handlers.append(file)
        held.setTarget(file)
        held.flush()
        root.removeHandler(held)
        root.addHandler(file)

    root.addHandler(held)
    try:
        yield keep
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
