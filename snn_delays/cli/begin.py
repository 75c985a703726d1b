"""Which run ``snn-delays-train`` begins or goes on with: its folder and its configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from snn_delays.cli.runs import load_config, plain, run_folder, runs_inside
from snn_delays.cli.sweep import in_sweep, job_folder
from snn_delays.cli.trust import require_no_lookup
from snn_delays.data.augmentation import Augmentation
from snn_delays.errors import UsageError
from snn_delays.run_folder import RunFolder
from snn_delays.training_checks import checked_settings


def sweep_folder(arguments: list[str]) -> list[str]:
    """Of several new runs (-m) ``run=DIR`` is the folder that holds them; Hydra's name for that.

    Raises:
        UsageError: it holds runs already.
    """
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


def folder_to_train_in(cfg: DictConfig) -> RunFolder:
    """Where the run goes: the folder asked for; of several new runs (-m), the one of this run."""
    if not isinstance(cfg.resume, bool):
        raise UsageError(f"resume must be true or false, got {cfg.resume!r}.")
    if in_sweep() and not cfg.resume:
        typed = {one.lstrip("+").partition("=")[0] for one in HydraConfig.get().overrides.task}
        if "run" in typed and not cfg.get("finetune"):
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


def resumed_config(run: RunFolder, *, trust: bool) -> DictConfig:
    """The run's own configuration: a resumed run is the run that was interrupted."""
    typed = HydraConfig.get().overrides.task
    given = [one for one in typed if not one.startswith(("run=", "resume=", "trust="))]
    if given:
        raise UsageError(
            f"resume=true goes on with {run.path} as it was configured, got {' '.join(given)}. "
            "Leave that out, or start a new run."
        )
    return load_config(run, trust=trust)


def fit_settings(cfg: DictConfig) -> dict[str, Any]:
    """What ``fit`` is told by trainer, augmentation and seed.

    Raises:
        UsageError: values out of range.
    """
    settings = checked_settings(**plain(cfg.trainer), seed=cfg.seed)
    return settings | {"augmentation": Augmentation(**plain(cfg.augmentation))}


def saved_config(cfg: DictConfig) -> dict[str, Any]:
    """What config.yaml holds: all that makes the run what it is, every value looked up."""
    config = plain(cfg)
    for key in ("run", "resume", "trust"):
        config.pop(key, None)
    require_no_lookup(config)
    return config


def identity(saved: dict[str, Any]) -> dict[str, Any]:
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
