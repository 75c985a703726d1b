"""``snn-delays-train`` and ``snn-delays-evaluate``."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from snn_delays import console, pictures, report
from snn_delays.checkpoint import RunFolder
from snn_delays.cli_begin import (
    folder_to_train_in,
    identity,
    resumed_config,
    saved_config,
    sweep_folder,
    train_settings,
)
from snn_delays.cli_command import command
from snn_delays.cli_finetune import finetuned_config, starting_network
from snn_delays.cli_recipe import warn_of_other_steps
from snn_delays.cli_runs import (
    build_network,
    find_runs,
    instantiate,
    load_data,
    load_run,
    plain,
)
from snn_delays.cli_sweep import in_sweep, keep_settings, what_differs
from snn_delays.data import SpikeData
from snn_delays.errors import UsageError
from snn_delays.evaluation import warn_of_rounding
from snn_delays.network import DelaySNN
from snn_delays.progress import load_progress
from snn_delays.training import best_epoch
from snn_delays.training import train as fit

log = logging.getLogger("snn_delays")


def train() -> None:
    """Entry point of ``snn-delays-train``."""
    command("snn-delays-train", "train", _train, sweep_folder)


def evaluate() -> None:
    """Entry point of ``snn-delays-evaluate``."""
    command("snn-delays-evaluate", "evaluate", _evaluate)


def _train(cfg: DictConfig) -> float:
    with _run_log() as keep_log:
        return _train_run(cfg, keep_log)


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
    settings = train_settings(cfg)
    if not isinstance(cfg.dataset.root, str):
        raise UsageError(f"dataset.root must be a folder, got {cfg.dataset.root!r}.")
    cfg.dataset.root = str(Path(cfg.dataset.root).expanduser().resolve())
    # A run that was stopped in its first epoch has nothing but its configuration to go on with.
    if cfg.get("finetune") and not progress:
        data, net = starting_network(cfg, chip, trust=trust)
    else:
        data = load_data(cfg.dataset)
        torch.manual_seed(settings.seed)
        net = build_network(cfg, data)
    if cfg.schedule.start is None:
        # Where there are no delays σ plays no part, but is to be one that every schedule takes.
        cfg.schedule.start = max(cfg.model.max_delay, 1) / 2 + 0.27
    schedule = instantiate("schedule", cfg.schedule)
    initial = copy.deepcopy(net)
    with torch.random.fork_rng(devices=[]):  # what does not suit the data is refused before a run
        settings.augmentation(data.train.collate([0]), data.n_classes)
    if not resumed:
        saved = saved_config(cfg)
        run.save_config(OmegaConf.to_yaml(saved))
        keep_settings(run.path)
        kept = identity(saved)
    keep_log(run)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    log.info(
        f"{' – '.join(map(str, net.sizes))} neurons, {parameters:,} parameters, "
        + (
            f"{cfg.model.delays} delays up to {net.max_delay} steps "
            f"({net.max_delay * data.dt_ms:g} ms)"
            if net.max_delay
            else "no delays"
        )
        + f" → {run.path}"
    )
    if not resumed and not cfg.get("finetune"):
        warn_of_other_steps(cfg, data.dt_ms)

    first = len(progress.rows) if progress else 0
    try:
        with console.TrainingView(settings.epochs, first) as view:
            there = (run, view)
            rows = fit(net, data, schedule, settings, *there, resume=resumed, config=kept)
    except KeyboardInterrupt:
        if run.checkpoint("last").exists():
            log.info(f"Interrupted. Go on with: snn-delays-train run={run.path} resume=true")
        raise

    summary: dict[str, Any] = {
        "split": data.split,
        "clean_split": data.clean_split,
        "delays": cfg.model.delays,
        "seed": settings.seed,
        "epochs": settings.epochs,
        "best_epoch": best_epoch(rows),
        "parameters": parameters,
        "invalid_events": data.invalid_events,
        "skipped_recordings": data.skipped_recordings,
    }
    # On the CPU, as snn-delays-evaluate does it, so that it finds the same numbers.
    net.cpu()
    for name in ("best", "last"):
        net.load_state_dict(run.load_checkpoint(name)["network"])
        summary[name] = report.accuracies(net, data, settings.batch_size)
    if summary["best_epoch"] != len(rows):  # of the last epoch it has been said
        _warn_of_rounding("best epoch", summary["best"])
    seconds = sorted(row["seconds"] for row in rows)
    summary |= {
        "seconds_per_epoch": seconds[len(seconds) // 2],
        "wall_time_s": sum(seconds),
        "threads": torch.get_num_threads(),
        "versions": report.versions(),
    }
    run.save_summary(summary)
    net.load_state_dict(run.load_checkpoint("best")["network"])
    if net.max_delay:
        pictures.draw_delays(net, initial, data.dt_ms, run.path / "delays.png")
        pictures.draw_readout(net, data, run.path / "readout.png")
    _print_accuracies([(run, summary["best"], summary)])
    return summary["best"]["validation"]["rounded"]["accuracy"]


def _evaluate(cfg: DictConfig) -> None:
    if cfg.plot is not None and Path(str(cfg.plot)).suffix != ".png":
        raise UsageError(f"plot must be a file NAME.png, got {cfg.plot!r}.")
    rows, drawn = [], []
    for run in find_runs(cfg.run, str(cfg.checkpoint)):
        config, data, net = load_run(run, cfg.checkpoint, cfg.root, trust=cfg.trust)
        batch_size = config.trainer.batch_size if cfg.batch_size is None else cfg.batch_size
        found = report.accuracies(net, data, batch_size)
        if run.summary.exists() and found != run.load_summary()[cfg.checkpoint]:
            log.warning(
                f"{run.path}: differs from its summary.json, which this command should reproduce. "
                "Were the data, the versions, the batch size or the number of threads the same?"
            )
        about = {
            "delays": config.model.delays,
            "seed": config.seed,
            "clean_split": data.clean_split,
        }
        rows.append((run, found, about))
        drawn.append((run, data, net))
    _print_accuracies(rows)
    for run, found, _ in rows:
        _warn_of_rounding(str(run.path), found)
    if cfg.plot is not None:
        _plot(Path(cfg.plot), drawn)


def _plot(path: Path, runs: list[tuple[RunFolder, SpikeData, DelaySNN]]) -> None:
    """A picture of runs that answer the same questions."""
    data = runs[0][1]
    kinds = [pictures.kind(net) for *_, net in runs]
    named = []
    for (run, other, net), kind in zip(runs, kinds, strict=True):
        if not pictures.comparable(data, other):
            raise UsageError(
                f"plot={path}: {run.path} has other test samples than {runs[0][0].path}. Give runs "
                "on the same data."
            )
        named.append((kind if kinds.count(kind) == 1 else shorten(run.path.name, 32), net))
    pictures.draw_comparison(named, data, path)
    log.info(f"→ {path}")


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
        file = logging.FileHandler(run.path / "train.log", encoding="utf-8", errors=console.ERRORS)
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


def _print_accuracies(rows: list[tuple[RunFolder, dict[str, Any], dict[str, Any]]]) -> None:
    """One line per run: its accuracies and what it was."""
    parts = ["accuracy", "known_speakers", "unseen_speakers"]
    if all(found["test"]["rounded"]["unseen_speakers"] is None for _, found, _ in rows):
        parts = parts[:1]  # all speakers are known, or there are none
    folders = [run.path for run, *_ in rows]
    names = [path.name for path in folders]
    if len(set(names)) < len(names):
        names = [str(path) for path in folders]
    lines = []
    for name, (_, found, about) in zip(names, rows, strict=True):
        test = found["test"]
        shares = [
            found["validation"]["rounded"]["accuracy"],
            test["float"]["accuracy"],
            *(test["rounded"][part] for part in parts),
        ]
        about_it = [name, about["delays"], str(about["seed"])]
        lines.append([*about_it, *(console.percent(share) for share in shares)])
    heads = ["test rounded", "known", "unseen speakers"][: len(parts)]
    console.print_table(
        "accuracy; rounded = integer delays, as exported",
        ["run", "delays", "seed", "validation", "test float", *heads],
        lines,
    )
    for path, typed in zip(folders, what_differs(folders), strict=True):
        log.info(f"→ {path}" + (f"  {typed}" if typed and len(folders) > 1 else ""))
    if not all(about["clean_split"] for *_, about in rows):
        log.warning("split=paper selects on the test set: its test accuracy is no honest estimate.")


def _warn_of_rounding(which: str, found: dict[str, Any]) -> None:
    shares = found["validation"]
    warn_of_rounding(
        f"validation, {which}", shares["float"]["accuracy"], shares["rounded"]["accuracy"]
    )
