"""``snn-delays-prepare``: get a data set, check it, look at it, and fill its cache."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, open_dict

from snn_delays.cli.command import entry
from snn_delays.cli.runs import dataset_root, load_data
from snn_delays.data.cache import Cache, cache_folders
from snn_delays.data.events.binning import Grid
from snn_delays.data.events.check import FileReport, Report, check_files
from snn_delays.data.gsc.download import fetch_gsc
from snn_delays.data.heidelberg import (
    FILES,
    fetch_official,
    official_file,
    usual_pool,
    with_units,
)
from snn_delays.errors import UsageError
from snn_delays.files.atomic import write_atomically
from snn_delays.terminal import print_table

log = logging.getLogger("snn_delays")

_HEIDELBERG = {"load_shd": "SHD", "load_ssc": "SSC"}


def _prepare(cfg: DictConfig) -> None:
    dataset = cfg.dataset
    dataset_root(dataset)
    folder = Path(cfg.folder)
    loader = dataset._target_.rpartition(".")[2]
    # Getting and checking are done here, for every data set; its loader need not know of them.
    with open_dict(dataset):
        check, download, base_url = (
            dataset.pop(key, None) for key in ("check", "download", "base_url")
        )
    if download:
        _fetch(loader, dataset.get("root"), base_url)
    if check:
        _check(loader, dataset, folder)
    data = load_data(dataset)
    if cfg.plot:
        from snn_delays.report.data_page import draw_page  # matplotlib, only where it is wanted

        path = folder / "data.png"
        draw_page(data, path, title=f"{dataset.get('root', 'no folder')}, read by {loader}")
        log.info(f"→ {path}")


prepare = entry(_prepare)


def _fetch(loader: str, root: Any, base_url: str | None) -> None:
    """Download what is missing; a data set that makes its own files needs nothing."""
    if loader in _HEIDELBERG:
        fetch_official(root, _HEIDELBERG[loader], base_url)
    elif loader == "load_gsc":
        fetch_gsc(root, base_url)
    elif base_url is not None:
        raise UsageError(f"dataset.base_url is for shd, ssc and gsc, got {base_url!r}.")


def _check(loader: str, dataset: DictConfig, folder: Path) -> None:
    """Print and save what is in the files; refuse defects that are not to be skipped."""
    if loader not in _HEIDELBERG:
        raise UsageError(
            "dataset.check reads files in SHD's format: expected dataset=shd or dataset=ssc, "
            f"got {loader.removeprefix('load_')}. Leave it out."
        )
    name = _HEIDELBERG[loader]
    root = Path(dataset.root)
    sources = [official_file(root, file_name, name) for file_name in FILES[name]]
    store = Cache(cache_folders(root, dataset.get("cache")), name)
    dataset.n_units, sources = with_units(dataset.get("n_units"), sources, store)
    n_units = dataset.n_units
    report = check_files(sources, n_units=n_units)
    _print_report(name, report)
    _tell_silence(report.files[0], dataset.pool)
    path = folder / "check.json"
    write_atomically(path, json.dumps(report.as_json(), indent=2).encode() + b"\n")
    log.info(f"→ {path}")
    unreadable = [file.error for file in report.files if file.error]
    if unreadable or (report.failures and dataset.get("on_bad") != "skip"):
        raise UsageError(
            f"{len(report.failures)} of {len(report.files)} files fail. "
            f"{(unreadable or report.failures)[0]}"
            + ("" if unreadable else " (dataset.on_bad=skip leaves such recordings out)")
        )


_ROWS: tuple[tuple[str, Callable[[FileReport], str]], ...] = (
    ("recordings", lambda file: f"{file.recordings:,}"),
    ("events", lambda file: f"{file.events:,}"),
    ("longest (s)", lambda file: f"{file.longest_s:.2f}"),
    ("classes", lambda file: str(len(file.class_names))),
    ("recordings per class", lambda file: _range(file.per_class)),
    ("speakers", lambda file: str(len([who for who in file.per_speaker if who >= 0]))),
    ("sexes of speakers", lambda file: ", ".join(sorted(set(file.speaker_sex.values()))) or "–"),
    ("times NaN", lambda file: f"{file.nan_times:,}"),
    ("times infinite", lambda file: f"{file.infinite_times:,}"),
    ("times negative", lambda file: f"{file.negative_times:,}"),
    ("recordings unsorted", lambda file: f"{file.unsorted_recordings:,}"),
    ("units that fire", lambda file: f"{file.n_units - len(file.silent_units)} of {file.n_units}"),
    ("recordings empty", lambda file: f"{file.empty_recordings:,}"),
    ("recordings repeated", lambda file: f"{file.repeated_recordings:,}"),
    ("DEFECT units out of range", lambda file: f"{file.units_out_of_range:,}"),
    ("DEFECT recordings ragged", lambda file: f"{file.ragged_recordings:,}"),
    ("DEFECT labels out of range", lambda file: f"{file.labels_out_of_range:,}"),
    ("verdict", lambda file: "sound" if file.passed else "FAILS"),
)


def _print_report(name: str, report: Report) -> None:
    print_table(
        f"{name}: what is in the files",
        ["", *(Path(file.path).name for file in report.files)],
        [[title, *(of(file) for file in report.files)] for title, of in _ROWS],
    )
    for file in report.files:
        if file.error:
            log.warning(file.error)
        for defect in file.defects:
            log.warning(f"{file.path}: {defect}")
        if file.defective_recordings > len(file.defects):
            log.warning(
                f"{file.path}: and {file.defective_recordings - len(file.defects)} more defects"
            )
    for found in report.shared:
        if found.recordings:
            here, there = found.pairs[0]
            log.warning(
                f"{found.recordings} recordings of {found.first} are in {found.second} too, event "
                f"by event, the first as number {here} and {there}. A test on them is no test."
            )


def _tell_silence(train: FileReport, pool: int | None) -> None:
    """Warn of inputs that would be 0 throughout training."""
    if train.error:
        return
    pool = Grid(1.0, usual_pool(train.n_units) if pool is None else pool).pool
    channel = np.arange(train.n_units) // pool
    channels = int(channel[-1]) + 1
    firing = np.unique(np.delete(channel, np.array(train.silent_units, np.int64)))
    if silent := channels - len(firing):
        log.warning(
            f"{silent} of {channels} input channels ({train.n_units} units, pool={pool}) never "
            f"fire in {train.path}."
        )


def _range(counts: tuple[int, ...]) -> str:
    if not counts:
        return "–"
    return " to ".join(f"{end:,}" for end in sorted({min(counts), max(counts)}))
