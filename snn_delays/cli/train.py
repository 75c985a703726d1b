"""``snn-delays-train``: one run, from its configuration to its summary."""

from __future__ import annotations

import copy
import logging
import os
import statistics
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import nn

from snn_delays import callbacks
from snn_delays.arguments import real_number
from snn_delays.board import add_pictures
from snn_delays.callback import Training
from snn_delays.cli.command import entry
from snn_delays.cli.evaluate import print_accuracies, warn_if_rounding_costs
from snn_delays.cli.finetune import begun_again, finetuned
from snn_delays.cli.model import (
    build_network,
    described,
    instantiate,
    keep_what_is_taken,
    warn_of_other_data,
    warn_of_other_steps,
)
from snn_delays.cli.processes import run_processes, to_start
from snn_delays.cli.report import leave_report
from snn_delays.cli.run_log import run_log
from snn_delays.cli.runs import (
    AT_RESUME,
    dataset_root,
    identity,
    load_config,
    load_data,
    require_no_lookup,
    run_folder,
    runs_inside,
)
from snn_delays.cli.settings import plain, typed
from snn_delays.cli.sweep import (
    in_sweep,
    job_folder,
    keep_settings,
    requeued,
    require_best_is_largest,
)
from snn_delays.data import SpikeData
from snn_delays.delay_history import DelayHistory
from snn_delays.errors import UsageError
from snn_delays.interpolation import first_sigma
from snn_delays.layers.networks import delay_layers
from snn_delays.progress import load_progress
from snn_delays.ranks import number
from snn_delays.report import run as report
from snn_delays.report.drawings import draw_run
from snn_delays.run_folder import Row, RunFolder
from snn_delays.run_lock import training_in
from snn_delays.stopping import StopOnSignals, Stopped
from snn_delays.training import fit
from snn_delays.training_checks import checked_settings

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


def _sweep_folder(arguments: list[str]) -> list[str]:
    """Of several new runs (-m) ``run=DIR`` is the folder that holds them; Hydra's name for that."""
    several = {"-m", "--multirun"} & set(arguments)
    if not several or any(one.startswith(("resume=", "finetune=")) for one in arguments):
        return arguments
    key = "hydra.sweep.dir="
    if not any(one.startswith(key) for one in arguments):
        arguments = [
            key + os.path.expanduser(one.removeprefix("run="))
            if one.startswith("run=") and "," not in one
            else one
            for one in arguments
        ]
    for folder in (Path(one.removeprefix(key)) for one in arguments if one.startswith(key)):
        if taken := [one for one in runs_inside(folder) if RunFolder(one).config.exists()]:
            raise UsageError(
                f"{folder} already holds runs, such as {taken[0]}. Choose another run=DIR, or begin"
                f" a single run in it: without -m, run={folder / 'NAME'}."
            )
    return arguments


train = entry(_train, _sweep_folder)


def _train_run(
    cfg: DictConfig, keep_log: Callable[[RunFolder], None], stop: StopOnSignals
) -> float | None:
    """The score on validation, delays rounded, of the best epoch: what a sweep may optimise.

    Of several processes that train together the first one writes, and gives it.
    """
    if in_sweep():
        require_best_is_largest()
    run = _folder_to_train_in(cfg)
    again = not cfg.resume and requeued(run)
    resumed, trust, progress = cfg.resume or again, cfg.trust or again, None
    begun: tuple[SpikeData, nn.Module] | None = None
    kept: dict[str, Any] = {}
    if resumed:
        cfg = load_config(run, trust=trust) if again else _resumed_config(run, cfg, trust=trust)
        kept = identity(plain(cfg))
        if progress := load_progress(run):
            progress.require_config(kept, run.config)
        # Or refused now, before data are loaded and train.log goes on.
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
    saved = {key: of for key, of in plain(cfg).items() if key not in ("run", "resume", "trust")}
    require_no_lookup(saved)

    def begin() -> None:
        if not resumed:
            run.save_config(OmegaConf.to_yaml(saved))
            keep_settings(run.path)
        keep_log(run)
        log.info(f"{described(net, data.dt_ms)} → {run.path}")
        if not resumed and not cfg.get("finetune"):
            warn_of_other_data(data)
            warn_of_other_steps(cfg, data.dt_ms)

    beside = [
        _Begun(run, begin, resume=resumed, config=kept or identity(saved), minutes=minutes),
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
        return _summarised(cfg, run, data, net, initial, rows, anew=anew, trust=trust)
    except (KeyboardInterrupt, Stopped):
        if run.checkpoint("last").parent.exists():
            log.info(f"Go on with: snn-delays-train run={run.path} resume=true")
        if in_sweep():
            log.info("No other run (-m) is begun: begin those that are missing in another folder.")
        raise


def _summarised(
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
    """Evaluate the trained network, and write summary and pictures; the score of the best epoch.

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
        "best_epoch": callbacks.best_epoch(rows, metric),
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
    if summary["best_epoch"] != len(rows):  # of the last epoch it has been said
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


class _Begun(callbacks.Checkpoints):
    """Begins a run, or goes on with one, once its settings have been found to be right."""

    def __init__(self, run: RunFolder, begin: Callable[[], None], **settings: Any) -> None:
        super().__init__(run, **settings)
        self.begin = begin

    def on_start(self, training: Training) -> None:
        self.begin()
        super().on_start(training)


def _folder_to_train_in(cfg: DictConfig) -> RunFolder:
    """Where the run goes: the folder asked for; of several new runs (-m), the one of this run."""
    if in_sweep() and not cfg.resume:
        if "run" in typed() and not cfg.get("finetune"):
            raise UsageError(
                f"of several runs (-m) each gets a folder with a number, got run={cfg.run}. Give "
                "one folder for all of them: hydra.sweep.dir=DIR."
            )
        return RunFolder(job_folder())
    path = run_folder(cfg.run)
    try:
        str(path).encode()
    except UnicodeEncodeError as error:  # TensorBoard's files have names of text only
        raise UsageError(
            f"run={path}: letters that this locale cannot read. Use others, or set LC_ALL=C.UTF-8."
        ) from error
    return RunFolder(path.absolute())


def _resumed_config(run: RunFolder, cfg: DictConfig, *, trust: bool) -> DictConfig:
    """The run's own configuration: a resumed run is the run that was interrupted."""
    later = [f"trainer.{key}" for key in AT_RESUME]
    given = [
        one
        for one in HydraConfig.get().overrides.task
        if one.partition("=")[0] not in ("run", "resume", "trust", *later)
    ]
    if given:
        raise UsageError(
            f"resume=true goes on with {run.path} as it was configured, got {' '.join(given)}. "
            "Leave that out, or start a new run."
        )
    config = load_config(run, trust=trust)
    for key in AT_RESUME:
        if f"trainer.{key}" in typed():
            OmegaConf.update(config, f"trainer.{key}", cfg.trainer[key], force_add=True)
    return config
