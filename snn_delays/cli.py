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
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from snn_delays import console, pictures, report
from snn_delays.checkpoint import RunFolder
from snn_delays.cli_command import command
from snn_delays.cli_finetune import finetuned_config, starting_network
from snn_delays.cli_recipe import warn_of_other_steps
from snn_delays.cli_runs import build_network, instantiate, load_config, load_data, load_run, plain
from snn_delays.cli_trust import require_no_lookup
from snn_delays.data import SpikeData
from snn_delays.data.augmentation import Augmentation
from snn_delays.errors import UsageError
from snn_delays.evaluation import warn_of_rounding
from snn_delays.network import DelaySNN
from snn_delays.progress import load_progress
from snn_delays.training import TrainSettings, best_epoch
from snn_delays.training import train as fit

log = logging.getLogger("snn_delays")


def train() -> None:
    """Entry point of ``snn-delays-train``."""
    command("snn-delays-train", "train", _train)


def evaluate() -> None:
    """Entry point of ``snn-delays-evaluate``."""
    command("snn-delays-evaluate", "evaluate", _evaluate)


def _train(cfg: DictConfig) -> None:
    with _run_log() as keep_log:
        _train_run(cfg, keep_log)


def _train_run(cfg: DictConfig, keep_log: Callable[[RunFolder], None]) -> None:
    run = _run_folder(cfg)
    resumed, trust, chip, progress = bool(cfg.resume), cfg.trust, None, None
    identity: dict[str, Any] = {}
    if resumed:
        cfg = _resumed_config(run, trust=trust)
        identity, progress = _identity(plain(cfg)), load_progress(run)
        if progress:
            progress.require_config(identity, run.config)
    elif cfg.get("finetune"):
        sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        overrides = list(HydraConfig.get().overrides.task)
        chip = cfg.finetune.chip and str(cfg.finetune.chip)
        cfg, run = finetuned_config(cfg, overrides, run.path if sweep else None)
    settings = _train_settings(cfg)
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
        saved = _saved_config(cfg)
        run.save_config(OmegaConf.to_yaml(saved))
        identity = _identity(saved)
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
            rows = fit(net, data, schedule, settings, *there, resume=resumed, config=identity)
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
    if summary["best_epoch"] != len(rows) - 1:  # of the last epoch it has been said
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


def _evaluate(cfg: DictConfig) -> None:
    if cfg.plot is not None and Path(str(cfg.plot)).suffix != ".png":
        raise UsageError(f"plot must be a file NAME.png, got {cfg.plot!r}.")
    folders = list(cfg.run) if isinstance(cfg.run, ListConfig) else [cfg.run]
    rows, drawn = [], []
    for folder in folders:
        run = RunFolder(Path(str(folder)))
        config, data, net = load_run(run, cfg.checkpoint, cfg.root, trust=cfg.trust)
        batch_size = config.trainer.batch_size if cfg.batch_size is None else cfg.batch_size
        found = report.accuracies(net, data, batch_size)
        if run.summary.exists() and found != run.load_summary()[cfg.checkpoint]:
            log.warning(
                f"{folder}: differs from its summary.json, which this command should reproduce. "
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


def _run_folder(cfg: DictConfig) -> RunFolder:
    """Where the run goes: the folder asked for; of several runs (-m), the one of this run."""
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        return RunFolder(Path(hydra.runtime.output_dir))
    path = str(cfg.run)
    try:
        path.encode()
    except UnicodeEncodeError as error:  # TensorBoard's files have names of text only
        raise UsageError(
            f"run={path}: letters that this locale cannot read. Use others, or set LC_ALL=C.UTF-8."
        ) from error
    return RunFolder(Path(path).absolute())


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


def _train_settings(cfg: DictConfig) -> TrainSettings:
    """trainer, augmentation and seed; a run from before there was augmentation has none.

    ``trainer.channel_shift`` is the older name of ``augmentation.channel_shift`` and, where it is
    given, decides; ``cfg`` is left with the newer name alone.
    """
    if cfg.trainer.get("channel_shift") is not None:
        shift = cfg.trainer.channel_shift
        OmegaConf.update(cfg, "augmentation.channel_shift", shift, force_add=True)
        cfg.trainer.channel_shift = None
    trainer = plain(cfg.trainer)
    trainer.pop("channel_shift", None)
    changes = plain(cfg.augmentation) if cfg.get("augmentation") else {}
    return TrainSettings(**trainer, augmentation=Augmentation(**changes), seed=cfg.seed)


def _resumed_config(run: RunFolder, *, trust: bool) -> DictConfig:
    """The run's own configuration: a resumed run is the run that was interrupted."""
    typed = HydraConfig.get().overrides.task
    given = [one for one in typed if not one.startswith(("run=", "resume=", "trust="))]
    if given:
        raise UsageError(
            f"resume=true goes on with {run.path} as it was configured, got {' '.join(given)}. "
            "Leave that out, or start a new run."
        )
    return load_config(run, trust=trust)


def _print_accuracies(rows: list[tuple[RunFolder, dict[str, Any], dict[str, Any]]]) -> None:
    """One line per run: its accuracies and what it was."""
    parts = ["accuracy", "known_speakers", "unseen_speakers"]
    if all(found["test"]["rounded"]["unseen_speakers"] is None for _, found, _ in rows):
        parts = parts[:1]  # all speakers are known, or there are none
    lines = []
    for _, found, about in rows:
        test = found["test"]
        shares = [
            found["validation"]["rounded"]["accuracy"],
            test["float"]["accuracy"],
            *(test["rounded"][part] for part in parts),
        ]
        lines.append([about["delays"], str(about["seed"]), *(console.percent(x) for x in shares)])
    heads = ["test rounded", "known", "unseen speakers"][: len(parts)]
    console.print_table(
        "accuracy; rounded = integer delays, as exported",
        ["delays", "seed", "validation", "test float", *heads],
        lines,
    )
    for run, *_ in rows:
        log.info(f"→ {run.path}")
    if not all(about["clean_split"] for *_, about in rows):
        log.warning("split=paper selects on the test set: its test accuracy is no honest estimate.")


def _saved_config(cfg: DictConfig) -> dict[str, Any]:
    """What config.yaml holds: all that makes the run what it is, every value looked up."""
    config = plain(cfg)
    for key in ("run", "resume", "trust"):
        config.pop(key, None)
    require_no_lookup(config)
    return config


def _identity(saved: dict[str, Any]) -> dict[str, Any]:
    """What a run goes on with or not at all: its configuration, but for where that happens."""
    elsewhere = {
        "dataset": ("root", "cache", "download", "base_url"),
        "trainer": ("accelerator",),
        "finetune": ("base",),
    }
    return {
        name: {key: section[key] for key in section if key not in elsewhere.get(name, ())}
        if isinstance(section, dict)
        else section
        for name, section in saved.items()
    }


def _warn_of_rounding(which: str, found: dict[str, Any]) -> None:
    shares = found["validation"]
    warn_of_rounding(
        f"validation, {which}", shares["float"]["accuracy"], shares["rounded"]["accuracy"]
    )
