"""``snn-delays-evaluate``: the accuracies of trained runs, and a picture of several."""

from __future__ import annotations

import logging
from pathlib import Path
from textwrap import shorten
from typing import Any

from omegaconf import DictConfig
from torch import nn

from snn_delays.cli.command import entry
from snn_delays.cli.runs import find_runs, load_run
from snn_delays.cli.sweep import what_differs
from snn_delays.data import SpikeData
from snn_delays.errors import UsageError
from snn_delays.evaluation import warn_of_rounding
from snn_delays.report import pictures
from snn_delays.report import run as report
from snn_delays.report.words import percent
from snn_delays.run.folder import RunFolder
from snn_delays.terminal import print_table

log = logging.getLogger("snn_delays")


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
        about = {"delays": report.kind_of_delays(net), "seed": config.seed}
        about |= {"clean_split": data.clean_split, "metric": data.task.metric}
        rows.append((run, found, about))
        drawn.append((run, data, net))
    print_accuracies(rows)
    for run, found, about in rows:
        warn_if_rounding_costs(str(run.path), found, about["metric"])
    if cfg.plot is not None:
        _plot(Path(cfg.plot), drawn)


evaluate = entry(_evaluate)


def _plot(path: Path, runs: list[tuple[RunFolder, SpikeData, nn.Module]]) -> None:
    """A picture of runs that answer the same questions."""
    (first, data, _), named = runs[0], []
    kinds = [pictures.kind(net) for *_, net in runs]
    for (run, other, net), kind in zip(runs, kinds, strict=True):
        if not pictures.comparable(data, other):
            raise UsageError(
                f"plot={path}: {run.path} has other test samples than {first.path}. Give runs on "
                "the same data."
            )
        named.append((kind if kinds.count(kind) == 1 else shorten(run.path.name, 32), net))
    pictures.draw_networks(named, data, path)
    log.info(f"→ {path}")


def print_accuracies(rows: list[tuple[RunFolder, dict[str, Any], dict[str, Any]]]) -> None:
    """One line per run: its scores and what it was; a table for each kind of score."""
    for metric in dict.fromkeys(about["metric"] for *_, about in rows):
        _print_scores(metric, [row for row in rows if row[2]["metric"] == metric])


def _print_scores(
    metric: str, rows: list[tuple[RunFolder, dict[str, Any], dict[str, Any]]]
) -> None:
    parts = [metric, "known_speakers", "unseen_speakers"]
    if all(found["test"]["rounded"]["unseen_speakers"] is None for _, found, _ in rows):
        parts = parts[:1]  # all speakers are known, or there are none
    folders = [run.path for run, *_ in rows]
    alike = len({path.name for path in folders}) < len(folders)
    lines = []
    for run, found, about in rows:
        test = found["test"]
        shares = [
            found["validation"]["rounded"][metric],
            test["float"][metric],
            *(test["rounded"][part] for part in parts),
        ]
        name = str(run.path) if alike else run.path.name
        about_it = [name, about["delays"], str(about["seed"])]
        lines.append([*about_it, *map(percent, shares)])
    heads = ["test rounded", "known", "unseen speakers"][: len(parts)]
    print_table(
        f"{metric}; rounded = integer delays, as exported",
        ["run", "delays", "seed", "validation", "test float", *heads],
        lines,
    )
    for path, typed in zip(folders, what_differs(folders), strict=True):
        log.info(f"→ {path}" + (f"  {typed}" if typed and len(folders) > 1 else ""))
    if not all(about["clean_split"] for *_, about in rows):
        log.warning("split=paper selects on the test set: its test accuracy is no honest estimate.")


def warn_if_rounding_costs(which: str, found: dict[str, Any], metric: str) -> None:
    before, after = (found["validation"][of][metric] for of in ("float", "rounded"))
    warn_of_rounding(f"validation, {which}", before, after, metric)
