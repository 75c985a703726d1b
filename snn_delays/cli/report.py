"""``snn-delays-report``: a run as one page, which training writes, too; or several compared."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from snn_delays.arguments import whole_number
from snn_delays.callbacks.delay_history import Count, read_history
from snn_delays.cli.command import entry
from snn_delays.cli.finetune import begun_again
from snn_delays.cli.finished import grouped, read_runs
from snn_delays.cli.model import build_network, described
from snn_delays.cli.runs import OF_A_CALL, find_runs, input_range, load_run
from snn_delays.cli.settings import flat, path_of, plain
from snn_delays.cli.sweep import typed_in
from snn_delays.data import SpikeData
from snn_delays.errors import UsageError
from snn_delays.report.comparison.page import Compared, comparison_page
from snn_delays.report.run_page import run_page
from snn_delays.report.trained import SUMMED, Trained, read_metrics
from snn_delays.run.folder import RunFolder

log = logging.getLogger("snn_delays")
_PAGE, _COMPARISON = "report.html", "comparison.html"


def _report(cfg: DictConfig) -> None:
    whole_number("samples", cfg.samples, 1)
    file = None if cfg.file is None else path_of(cfg, "file")
    if file is not None and file.suffix != ".html":
        raise UsageError(f"file must be FILE.html, got {file}.")
    runs = find_runs(cfg.run, cfg.checkpoint)
    if len(runs) > 1:
        return _compared(runs, file or Path(_COMPARISON))
    (run,) = runs
    config, data, net = load_run(run, cfg.checkpoint, cfg.root, trust=cfg.trust)
    summary = run.load_summary()
    initial = _first_network(config, data, trust=cfg.trust)
    found = _trained(run, config, data, net, initial, summary, cfg.checkpoint, cfg.samples)
    page = run_page(found, lambda what: log.info(f"report: {what}"))
    path = file or run.path / _PAGE
    page.write(path)
    log.info(f"→ {path}")


report = entry(_report)


def _compared(folders: Sequence[RunFolder], path: Path) -> None:
    """The page of several runs, which are only read."""
    runs = read_runs([one.path for one in folders])
    missing = [(str(one.path), one.problem) for one in runs if one.problem]
    test_sets = grouped(runs)
    if not test_sets:
        raise UsageError(f"none of {len(runs)} runs has ended: {missing[0][1]}")
    about = {
        one.result.run: Compared(
            read_metrics(RunFolder(one.path).metrics), one.config, _history(one.path)
        )
        for one in runs
        if one.result
    }
    comparison_page(test_sets, about, missing).write(path)
    log.info(f"→ {path}")
    for run, why in missing:
        log.warning(f"{run} is left out: {why}")


def _history(run: Path) -> Sequence[Count]:
    path = RunFolder(run).delays
    return read_history(path) if path.exists() else []


def leave_report(
    run: RunFolder,
    config: DictConfig,
    data: SpikeData,
    net: nn.Module,
    initial: nn.Module | None,
    *,
    trust: bool,
) -> None:
    """The page of a run that has just ended, with the network of its best epoch.

    Args:
        net, initial: after training and before; None where that is not at hand.
        trust: as for ``load_run``.
    """
    try:
        initial = initial or _first_network(config, data, trust=trust)
    except UsageError as error:
        return log.warning(f"no {_PAGE}, which needs the network before training: {error}")
    found = _trained(run, config, data, net, initial, run.load_summary(), "best", 500)
    run_page(found).write(run.path / _PAGE)
    log.info(f"→ {run.path / _PAGE}")


def _first_network(config: DictConfig, data: SpikeData, *, trust: bool) -> nn.Module:
    """The network before training, drawn anew as training drew it."""
    if config.get("finetune"):
        return begun_again(config, trust=trust)[1]
    torch.manual_seed(config.seed)
    return build_network(config, data)


def _trained(
    run: RunFolder,
    config: DictConfig,
    data: SpikeData,
    net: nn.Module,
    initial: nn.Module,
    summary: dict[str, Any],
    checkpoint: str,
    samples: int,
) -> Trained:
    if missing := [key for key in (*SUMMED, checkpoint) if key not in summary]:
        raise UsageError(
            f"{run.summary}: {', '.join(missing)} missing. Write it anew: snn-delays-train "
            f"run={run.path} resume=true."
        )
    rows = read_metrics(run.metrics)
    graded, largest_count = input_range(data.test)
    return Trained(
        name=run.path.absolute().name,
        net=net.cpu().eval(),
        initial=initial.cpu().eval(),
        data=data,
        checkpoint=checkpoint,
        epoch=summary["best_epoch"] if checkpoint == "best" else len(rows),
        rows=rows,
        summary=summary,
        settings=[
            (key, str(of)) for key, of in flat(plain(config)).items() if key not in OF_A_CALL
        ],
        commands=_commands(run, config, checkpoint),
        described=described(net, data.dt_ms),
        histograms=run.delays,
        graded=graded,
        largest_count=largest_count,
        batch_size=config.trainer.batch_size,
        samples=samples,
    )


def _commands(run: RunFolder, config: DictConfig, checkpoint: str) -> list[tuple[str, str]]:
    """Commands to type next, and the one that repeats the training."""
    typed = list(typed_in(run.path).values())
    where = f"run={run.path}"
    which = [] if checkpoint == "best" else [f"checkpoint={checkpoint}"]
    if config.get("finetune"):
        typed = [one for one in typed if not one.startswith("finetune.folder=")]
        again = [*typed, f"run={config.finetune.base}", f"finetune.folder={run.path}-again"]
    else:
        again = [*typed, f"run={run.path}-again"]
    return [
        (shlex.join(["snn-delays-train", *again]), "Train it again, in a folder beside it"),
        (shlex.join(["snn-delays-evaluate", where, *which]), "Find the scores again"),
        (shlex.join(["snn-delays-export", where, *which]), "Export it as a delay table, proved"),
        (
            shlex.join(["snn-delays-export", where, *which, "chip=loihi2", "delays=clip"]),
            "Export it within a chip's limits",
        ),
        (shlex.join(["snn-delays-report", where, *which]), "Write this page anew"),
    ]
