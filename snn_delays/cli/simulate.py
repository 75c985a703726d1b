"""The command line that runs a delay table on test samples: ``snn-delays-simulate``."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from snn_delays.arguments import whole_number
from snn_delays.cli.command import entry
from snn_delays.cli.runs import existing_folder, load_config, load_data
from snn_delays.cli.settings import path_of
from snn_delays.data import SpikeData, Split
from snn_delays.errors import UsageError
from snn_delays.report.words import percent
from snn_delays.run.folder import RunFolder
from snn_delays.table.hdf5 import read_table
from snn_delays.table.simulator.activity import input_events
from snn_delays.table.simulator.trials import Recording, Sample, Trial, trials
from snn_delays.table.table import DelayTable
from snn_delays.terminal import print_table

log = logging.getLogger("snn_delays")


def _simulate(cfg: DictConfig) -> None:
    path, dataset = _sources(cfg)
    save = None if cfg.save is None else path_of(cfg, "save")
    if save is not None:
        if save.suffix != ".npz":
            raise UsageError(f"save must be a file NAME.npz, got {save}.")
        if save.exists() and not cfg.force:
            raise UsageError(f"{save} exists. Choose another file, or overwrite: force=true.")
    table = read_table(path)
    data = load_data(dataset, moved=None if cfg.run is None else "root")
    _require_fit(path, table, data)
    indices = _indices(cfg.samples, len(data.test))
    recording, total = Recording(table), Counter[str]()
    for trial in trials(table, _samples(data.test, indices)):
        total.update(_counted(trial))
        if save is not None:
            recording.add(trial)
    _print(path, table, total, len(indices))
    if save is not None:
        recording.write(save)
        log.info(f"→ {save}")


simulate = entry(_simulate)


def _sources(cfg: DictConfig) -> tuple[Path, DictConfig]:
    """Where the table lies, and the settings of the data set to run it on."""
    table = None if cfg.table is None else path_of(cfg, "table")
    dataset = cfg.get("dataset")
    if cfg.run is None:
        if table is None or dataset is None:
            raise UsageError(
                "give run=DIR, a trained run that has been exported, or table=FILE.h5 together "
                "with dataset=NAME dataset.root=DIR."
            )
        if cfg.root is not None:
            raise UsageError(f"root is for run=DIR, got {cfg.root!r}. Use dataset.root=DIR.")
        return table, dataset
    if dataset is not None:
        raise UsageError("a run has its own data set: leave out either run or dataset.")
    run = path_of(cfg, "run")
    config = load_config(RunFolder(run), trust=cfg.trust, network=False)
    if cfg.root is not None:
        config.dataset.root = existing_folder(cfg.root)
    return table or run / "export" / "delays.h5", config.dataset


def _require_fit(path: Path, table: DelayTable, data: SpikeData) -> None:
    for what, expected, got in (
        ("input channels", table.input_channels, data.n_inputs),
        ("classes", len(table.class_names), data.n_classes),
        ("ms per step", table.dt_ms, data.dt_ms),
    ):
        if got != expected:
            raise UsageError(
                f"{path} and the data set do not fit: the table has {expected:g} {what}, the data "
                f"{got:g}. Give the data set, and its settings, that the table was trained on."
            )


def _indices(samples: object, available: int) -> list[int]:
    """So many test samples, evenly spread over the file, which may be sorted by class."""
    if samples is None:
        return list(range(available))
    must = "be a whole number >= 1, or null for all"
    taken = min(whole_number("samples", samples, 1, must=must), available)
    return [index * available // taken for index in range(taken)]


def _samples(split: Split, indices: list[int]) -> Iterator[Sample]:
    for index in indices:
        alone = split.collate([index])
        yield Sample(index, int(alone.labels[0]), alone.spikes[:, 0].flatten(1).numpy())


def _counted(trial: Trial) -> dict[str, Any]:
    """What one sample adds to the totals; what is printed per sample by its title."""
    operations = trial.operations
    return {
        "right": int(trial.prediction == trial.sample.label),
        "steps": trial.steps,
        "seconds": trial.seconds,
        "input events per sample": int(input_events(trial.sample.counts).sum()),
        **{f"spikes per sample, {one}": n for one, n in trial.simulation.spike_counts.items()},
        **{f"synaptic operations per sample, {one}": n for one, n in operations.items()},
        "… in all": sum(operations.values()),
    }


def _print(path: Path, table: DelayTable, total: Counter[str], n: int) -> None:
    right, steps, seconds = (total.pop(name) for name in ("right", "steps", "seconds"))
    rows = [
        ["samples", f"{n:,}"],
        ["accuracy", percent(right / n)],
        *([title, f"{count / n:,.0f}"] for title, count in total.items()),
        ["steps per sample, with the tail", f"{steps / n:.1f}"],
        ["time per sample, one core", f"{1000 * seconds / n:.3f} ms"],
        ["× real time", f"{steps * table.dt_ms / 1000 / seconds:,.0f}"],
    ]
    print_table(f"{path} on the test set", ["", "in the simulator"], rows)
