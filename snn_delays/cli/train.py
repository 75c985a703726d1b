"""``snn-delays-train``: one run, from its configuration to its summary."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from snn_delays import callbacks
from snn_delays.arguments import real_number
from snn_delays.callbacks.callback import Training
from snn_delays.callbacks.delay_history import DelayHistory
from snn_delays.callbacks.stopping import StopOnSignals, Stopped
from snn_delays.cli.command import entry
from snn_delays.cli.finetune import begun_again, finetuned
from snn_delays.cli.model import (
    build_network,
    described,
    instantiate,
    keep_what_is_taken,
)
from snn_delays.cli.processes import run_processes, to_start
from snn_delays.cli.recipe import warn_of_idle, warn_of_other_data, warn_of_other_steps
from snn_delays.cli.runs import (
    OF_A_CALL,
    dataset_root,
    identity,
    load_config,
    load_data,
    require_no_lookup,
)
from snn_delays.cli.settings import plain
from snn_delays.cli.summary import summarised
from snn_delays.cli.sweep import (
    in_sweep,
    keep_settings,
    requeued,
    require_best_is_largest,
)
from snn_delays.cli.training_folder import resumed_config, run_log, sweep_folder, training_folder
from snn_delays.data import SpikeData
from snn_delays.interpolation import first_sigma
from snn_delays.layers.networks import delay_layers
from snn_delays.report.run import known_by
from snn_delays.run.folder import RunFolder
from snn_delays.run.lock import training_in
from snn_delays.run.progress import DATA, load_progress
from snn_delays.run.ranks import number
from snn_delays.training import fit
from snn_delays.training.checks import checked_settings

log = logging.getLogger("snn_delays")


def _train(cfg: DictConfig) -> float | None:
    if (count := to_start(cfg)) > 1:
        return run_processes(count)
    if number():  # the first process speaks for all
        log.setLevel(logging.ERROR)
    try:
        with run_log() as keep_log, StopOnSignals() as stop:
            return _train_run(cfg, keep_log, stop)
    except Stopped as stopped:
        print(f"snn-delays-train: stopped by {stopped.by}", file=sys.stderr)
        raise


train = entry(_train, sweep_folder)


def _train_run(
    cfg: DictConfig, keep_log: Callable[[RunFolder], None], stop: StopOnSignals
) -> float | None:
    """Train; returns the best epoch's score on validation, delays rounded, for a sweep to optimise.

    Of several processes that train together, only the first one writes, and returns it.
    """
    if in_sweep():
        require_best_is_largest()
    run = training_folder(cfg)
    again = not cfg.resume and requeued(run)
    resumed, trust, progress = cfg.resume or again, cfg.trust or again, None
    begun: tuple[SpikeData, nn.Module] | None = None
    kept: dict[str, Any] = {}
    if resumed:
        cfg = load_config(run, trust=trust) if again else resumed_config(run, cfg, trust=trust)
        kept = identity(plain(cfg))
        if progress := load_progress(run):
            progress.require_config(kept, run.config)
        # Or it is refused now, before data are loaded and train.log goes on.
        with nullcontext() if number() else training_in(run.path):
            pass
    elif cfg.get("finetune"):
        cfg, run, begun = finetuned(cfg, run.path if in_sweep() else None)
    else:
        keep_what_is_taken(cfg)
    settings = plain(cfg.trainer)
    minutes = settings.pop("checkpoint_minutes", None)
    if minutes is not None:
        minutes = real_number("trainer.checkpoint_minutes", minutes, above=0, unit="minutes")
    settings = checked_settings(**settings, seed=cfg.seed)
    settings["augmentation"] = instantiate("augmentation", cfg.augmentation)
    dataset_root(cfg.dataset)
    # A run that was stopped in its first epoch has nothing but its configuration to go on with.
    if resumed and not progress and cfg.get("finetune"):
        begun = begun_again(cfg, trust=trust)
    if begun:
        data, net = begun
    else:
        data = load_data(cfg.dataset)
        torch.manual_seed(settings["seed"])  # of the initial weights and delays
        net = build_network(cfg, data)
    if cfg.schedule.start is None:
        # Where there are no delays σ plays no part, but is to be one that every schedule takes.
        longest = [one.max_delay for one in delay_layers(net)] or [cfg.model.get("max_delay", 1)]
        cfg.schedule.start = first_sigma(max(1, *longest))
    schedule = instantiate("schedule", cfg.schedule)
    rewiring = [instantiate("sparsity", cfg.sparsity)] if cfg.get("sparsity") else []
    if cfg.get("regulariser"):
        settings["regulariser"] = instantiate("regulariser", cfg.regulariser)
    initial = copy.deepcopy(net)
    saved = {key: of for key, of in plain(cfg).items() if key not in OF_A_CALL}
    require_no_lookup(saved)
    kept = (kept or identity(saved)) | {DATA: known_by(data)}
    if progress:
        progress.require_config(kept, run.path)

    def begin() -> None:
        if not resumed:
            run.save_config(OmegaConf.to_yaml(saved))
            keep_settings(run.path)
        keep_log(run)
        log.info(f"{described(net, data.dt_ms)} → {run.path}")
        if not resumed and not cfg.get("finetune"):
            warn_of_other_data(data)
            warn_of_other_steps(cfg, data.dt_ms)
            warn_of_idle(cfg, net)

    beside = [
        _Begun(run, begin, resume=resumed, config=kept, minutes=minutes),
        stop,
        callbacks.TensorBoard(run.tensorboard, saved),
        callbacks.MetricsCsv(run.metrics),
        DelayHistory(run.delays),
        callbacks.ProgressBar(),
        *rewiring,
    ]
    try:
        rows = fit(net, data, schedule=schedule, callbacks=beside, **settings)
        if number():
            return None
        # Fine-tuning that was resumed after its first epoch has not begun from ``initial``.
        anew = bool(begun) or not cfg.get("finetune")
        return summarised(cfg, run, data, net, initial, rows, anew=anew, trust=trust)
    except (KeyboardInterrupt, Stopped):
        if run.checkpoint("last").parent.exists():
            log.info(f"Go on with: snn-delays-train run={run.path} resume=true")
        if in_sweep():
            log.info("No other run (-m) is begun: begin those that are missing in another folder.")
        raise


class _Begun(callbacks.Checkpoints):
    """Begins a run, or goes on with one, once its settings are known to be right."""

    def __init__(self, run: RunFolder, begin: Callable[[], None], **settings: Any) -> None:
        super().__init__(run, **settings)
        self.begin = begin

    def on_start(self, training: Training) -> None:
        self.begin()
        super().on_start(training)
