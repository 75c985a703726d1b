"""The command line that turns sound into spikes: ``snn-delays-encode``."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

from omegaconf import DictConfig, ListConfig
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

from snn_delays.cli.command import command
from snn_delays.cli.console import live, print_line, terminal_bar
from snn_delays.cli.settings import path_of
from snn_delays.cochlea import Collection, Encoder, find_recordings, official_parts
from snn_delays.errors import UsageError

log = logging.getLogger("snn_delays")


def encode() -> None:
    """Entry point of ``snn-delays-encode``."""
    command("snn-delays-encode", "encode", _encode)


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
    with (
        _Bar() as bar,
        Encoder(
            channels=cfg.channels,
            seed=cfg.seed,
            workers=cfg.workers,
            causal=cfg.causal,
            watch=bar.watch,
        ) as encoder,
    ):
        try:
            for path, part in files.items():
                spikes = encoder.encode(part, path, force=cfg.force)
                bar.print(f"{path}: {len(part.recordings):,} recordings, {spikes:,} spikes")
        except KeyboardInterrupt:
            bar.print("Interrupted. The same command goes on from here.")
            raise
    if cfg.channels != 700:
        log.info(
            f"{cfg.channels} channels, as the files say: dataset=shd and dataset=ssc take each as "
            "an input of its own (of 700, five together)."
        )


class _Bar:
    """A live bar in a terminal, and nothing but what is printed elsewhere."""

    def __init__(self) -> None:
        self.progress = terminal_bar(
            TextColumn("{task.description}", markup=False, table_column=Column(max_width=36)),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self.doing, self.task = "", None
        self.stack = ExitStack()

    def __enter__(self) -> _Bar:
        self.stack.enter_context(live(self.progress))
        return self

    def __exit__(self, *exception: object) -> None:
        self.stack.close()

    def print(self, line: str) -> None:
        print_line(self.progress.console, line)

    def watch(self, doing: str, done: int, total: int) -> None:
        if doing != self.doing:
            if self.task is not None:
                self.progress.remove_task(self.task)
            self.doing, self.task = doing, self.progress.add_task(doing, total=total)
        assert self.task is not None
        self.progress.update(self.task, completed=done)
