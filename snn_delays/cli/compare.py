"""``snn-delays-compare``: experiments over seeds, or existing runs, in one table."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, ListConfig, OmegaConf

from snn_delays.arguments import whole_number
from snn_delays.cli.command import entry
from snn_delays.cli.explain import explain
from snn_delays.cli.finished import grouped, read_runs, runs_below
from snn_delays.cli.runs import run_folder
from snn_delays.cli.settings import CONF, config_file, no_such_choice, path_of, recipes, typed
from snn_delays.cli.trainings import PlannedRun, train_all
from snn_delays.errors import UsageError
from snn_delays.report.comparison.files import write_comparison
from snn_delays.report.comparison.numbers import TestSet
from snn_delays.report.comparison.picture import draw_comparison
from snn_delays.terminal import print_table

log = logging.getLogger("snn_delays")
_TAKEN = {
    **{"experiment": "experiments=[…]", "seed": "seeds=[…]", "run": "folder=DIR"},
    **{"resume": "the same command again", "finetune": "snn-delays-train, and runs=[…] afterwards"},
}


def compare() -> None:
    """The entry point; settings that are not its own go to every training."""
    of_training: list[str] = []
    flags: list[str] = []

    def read(arguments: list[str]) -> list[str]:
        own, keys = [], set(OmegaConf.load(CONF / "compare.yaml"))
        for index, one in enumerate(arguments):
            key = one.partition("=")[0]
            after = arguments[index - 1] if index else ""
            if one.startswith(("--config-dir", "-cd")) or after in ("--config-dir", "-cd"):
                flags.append(one)
            is_own = key in keys or key.startswith(("-", "hydra")) or "=" not in one
            (own if is_own else of_training).append(one)
        return own

    def _compare(cfg: DictConfig) -> None:
        _compared(cfg, of_training, flags)

    entry(_compare, read)()


def _compared(cfg: DictConfig, of_training: list[str], flags: list[str]) -> None:
    folder = path_of(cfg, "folder")
    if (cfg.experiments is None) == (cfg.runs is None):
        raise UsageError(
            "give either experiments=[…], which are trained, or runs=[DIR,…], which are read."
        )
    if cfg.experiments is not None:
        trainings = _trainings(cfg, folder, of_training)
        train_all(trainings, *flags, trust=cfg.trust)
        paths = [one.path for one in trainings]
    else:
        paths = _given_runs(cfg, of_training)
    runs = read_runs(paths)
    missing = [(str(one.path), one.problem) for one in runs if one.problem]
    _tell(folder, grouped(runs), missing)
    if missing:
        raise UsageError(f"{len(missing)} of {len(runs)} runs are not in the table; it says why.")


def _trainings(cfg: DictConfig, folder: Path, of_training: list[str]) -> list[PlannedRun]:
    """Experiments × seeds, once it is clear that every one of them can be put together."""
    experiments = [
        str(one) for one in _list(cfg.experiments, "experiments", "[shd_none,shd_fixed]")
    ]
    seeds = [whole_number("seeds", one, 0) for one in _list(cfg.seeds, "seeds", "[0,1,2]")]
    for one in of_training:
        key = one.lstrip("+~").partition("=")[0]
        if key in _TAKEN:
            raise UsageError(f"{key} is not for snn-delays-compare, got {one}: use {_TAKEN[key]}.")
    targets = {one: _target(one, of_training) for one in experiments}
    if len(set(targets.values())) > 1:
        told = ", ".join(f"{one}: {target}" for one, target in targets.items())
        raise UsageError(
            f"experiments must be of one data set to be compared, got {told}. Compare those of "
            "each data set in a folder of their own."
        )
    return [
        PlannedRun(folder / one / str(seed), (f"experiment={one}", f"seed={seed}", *of_training))
        for one in experiments
        for seed in seeds
    ]


def _list(given: Any, name: str, such_as: str) -> list[Any]:
    """The values of a list, all different; a single value stands for a list of one."""
    found = list(given) if isinstance(given, ListConfig) else [given]
    if not found:
        raise UsageError(f"{name} must be a list such as {such_as}, got none.")
    for one in found:
        if found.count(one) > 1:
            raise UsageError(f"{name} must be different ones, got {one} twice.")
    return found


def _target(experiment: str, of_training: Sequence[str]) -> str:
    """The data set of an experiment, composed as its training will compose it."""
    if config_file(f"experiment/{experiment}") is None:
        raise UsageError(no_such_choice("experiment", experiment, recipes()))
    try:
        composed = hydra.compose("train", [f"experiment={experiment}", *of_training])
    except Exception as error:
        raise UsageError(f"experiment={experiment}: {explain(error, 'train')}") from error
    return str(composed.dataset._target_).rpartition(".")[2].removeprefix("load_")


def _given_runs(cfg: DictConfig, of_training: Sequence[str]) -> list[Path]:
    """The folders of all runs that are to be read."""
    if others := [*of_training, *(f"seeds={cfg.seeds}" for _ in ["seeds"] if "seeds" in typed())]:
        raise UsageError(
            f"runs=… are read as they are, got {' '.join(others)}. Leave that out, or train: "
            "experiments=[…]."
        )
    found: list[Path] = []
    for one in _list(cfg.runs, "runs", "[DIR,DIR]"):
        path = run_folder(one)
        if not path.is_dir():
            raise UsageError(f"runs: {path} is no folder. Give folders that hold runs.")
        inside = runs_below(path)
        if not inside:
            raise UsageError(f"runs: {path} holds no run. Give folders that hold runs.")
        found += [run for run in inside if run not in found]
    return found


def _tell(folder: Path, test_sets: list[TestSet], missing: list[tuple[str, str]]) -> None:
    """Print the tables, and write them to files."""
    write_comparison(folder, test_sets, missing)
    for one in test_sets:
        for title, measures in (
            (f"{one.title}: {one.headline()}", one.shown(share=True)),
            ("what it costs", one.shown(share=False)),
        ):
            print_table(title, one.columns(measures), one.rows(measures))
    if missing:
        print_table("not in the tables", ["run", "why"], [list(one) for one in missing])
    for one in test_sets:
        for note in one.notes():
            log.warning(note)
    if test_sets[1:]:
        log.warning(
            f"{len(test_sets)} test sets, whose accuracies say nothing about each other: a table "
            "each."
        )
    picture = folder / "comparison.png"
    if test_sets:
        draw_comparison(test_sets, picture)
    else:
        picture.unlink(missing_ok=True)
    names = ", ".join(["comparison.csv", "comparison.md", *["comparison.png"] * bool(test_sets)])
    log.info(f"→ {folder}: {names}")
