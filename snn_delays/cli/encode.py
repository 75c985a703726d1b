"""The command line that turns sound into spikes: ``snn-delays-encode``."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig, ListConfig
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

from snn_delays.cli.command import entry
from snn_delays.cli.settings import path_of
from snn_delays.cochlea import Collection, Encoder, find_recordings, official_parts
from snn_delays.errors import UsageError
from snn_delays.terminal import live, print_line, terminal_bar

log = logging.getLogger("snn_delays")


def _encode(cfg: DictConfig) -> None:
    audio, output = path_of(cfg, "audio"), path_of(cfg, "output")
    for key in ("speaker", "parts"):
        if cfg[key] is not None and not isinstance(cfg[key], str):
            raise UsageError(f"{key} must be text, got {cfg[key]!r}.")
    if cfg.classes is not None and not isinstance(cfg.classes, ListConfig):
        raise UsageError(f"classes must be a list such as [zero,one], got {cfg.classes!r}.")
    found = find_recordings(audio, classes=cfg.classes, speaker=cfg.speaker)
    log.info(f"{audio}: {len(found.recordings):,} recordings of {len(found.class_names)} classes")
    files: dict[Path, Collection] = {output: found}
    if cfg.parts is not None:
        if output.suffix:
            raise UsageError(
                f"parts={cfg.parts} writes several files: output must be a folder, got {output}."
            )
        files = {output / name: part for name, part in official_parts(found, cfg.parts).items()}
    for path in files:
        if path.exists() and not cfg.force:
            raise UsageError(f"{path} exists. Choose another output, or overwrite: force=true.")
    bar = terminal_bar(
        TextColumn("{task.description}", markup=False, table_column=Column(max_width=36)),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    task = bar.add_task("", visible=False)

    def watch(doing: str, done: int, total: int) -> None:
        if bar.tasks[0].description != doing:  # the time left is that of what is done now
            bar.reset(task, total=total, description=doing, visible=True)
        bar.update(task, completed=done)

    settings = {name: cfg[name] for name in ("channels", "seed", "workers", "causal")}
    with live(bar), Encoder(**settings, watch=watch) as encoder:
        try:
            for path, part in files.items():
                spikes = encoder.encode(part, path, force=cfg.force)
                said = f"{path}: {len(part.recordings):,} recordings, {spikes:,} spikes"
                print_line(bar.console, said)
        except KeyboardInterrupt:
            print_line(bar.console, "Interrupted. The same command goes on from here.")
            raise
    if cfg.channels != 700:
        log.info(
            f"{cfg.channels} channels, as the files say: dataset=shd and dataset=ssc take each as "
            "an input of its own (of 700, five together)."
        )


encode = entry(_encode)
