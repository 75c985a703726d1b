"""The folder that a training goes into, a new one, one of several (-m) or one that is resumed; and
its train.log."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from snn_delays.cli.runs import AT_RESUME, OF_A_CALL, load_config, run_folder, runs_inside
from snn_delays.cli.settings import typed
from snn_delays.cli.sweep import in_sweep, job_folder
from snn_delays.errors import UsageError
from snn_delays.run.folder import RunFolder
from snn_delays.terminal import ERRORS


def sweep_folder(arguments: list[str]) -> list[str]:
    """The arguments, with Hydra's name for a ``run=DIR`` that is to hold several new runs (-m)."""
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


def training_folder(cfg: DictConfig) -> RunFolder:
    """The folder that was asked for; with several new runs (-m), this run's own."""
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


def resumed_config(run: RunFolder, cfg: DictConfig, *, trust: bool) -> DictConfig:
    """The run's own configuration: a resumed run is the run that was interrupted."""
    later = [f"trainer.{key}" for key in AT_RESUME]
    given = [
        one
        for one in HydraConfig.get().overrides.task
        if one.partition("=")[0] not in (*OF_A_CALL, *later)
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


@contextmanager
def run_log() -> Iterator[Callable[[RunFolder], None]]:
    """Keep all that is logged in a run's train.log, once the run is known to have no mistake."""
    root = logging.getLogger()
    held = MemoryHandler(sys.maxsize, flushLevel=sys.maxsize)
    files: list[logging.Handler] = []

    def keep(run: RunFolder) -> None:
        file = logging.FileHandler(run.path / "train.log", encoding="utf-8", errors=ERRORS)
        file.setFormatter(logging.Formatter("%(message)s"))
        files.append(file)
        held.setTarget(file)
        held.flush()
        held.capacity = 1  # from now on every line at once

    root.addHandler(held)
    try:
        yield keep
    finally:
        root.removeHandler(held)
        for handler in (held, *files):
            handler.close()
