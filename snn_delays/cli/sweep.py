"""Several runs of a command (-m): each in a folder with a number, whatever becomes of the others.

DIR/0/overrides.txt   what was typed for it, a setting a line
DIR/0/error.txt       why it failed, in one line
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from snn_delays.atomic import write_atomically
from snn_delays.cli.console import print_table
from snn_delays.errors import cause_of
from snn_delays.run_folder import RunFolder

log = logging.getLogger("snn_delays")
_SETTINGS, _ERROR = "overrides.txt", "error.txt"


class JobFailed(Exception):
    """A job has failed: for the sweeper to count, and to carry between a launcher's processes."""

    def __init__(self, sweep: str, line: str) -> None:
        super().__init__(sweep, line)
        self.sweep, self.line = Path(sweep), line

    def __str__(self) -> str:
        return self.line


def in_sweep() -> bool:
    """Whether this run is one of several (-m)."""
    return HydraConfig.get().mode == RunMode.MULTIRUN


def job_folder() -> Path:
    """The folder of this one of several runs."""
    return Path(HydraConfig.get().runtime.output_dir)


def keep_settings(folder: Path) -> None:
    """Write down what was typed for the run that begins in a folder."""
    keep_typed(folder, HydraConfig.get().overrides.task)


def keep_typed(folder: Path, settings: Iterable[str]) -> None:
    """Write down settings as typed; what failed in the folder before is forgotten."""
    typed = "".join(f"{one}\n" for one in settings)
    write_atomically(folder / _SETTINGS, typed.encode(errors="backslashreplace"))
    forget_failure(folder)


def keep_failure(folder: Path, line: str) -> None:
    """Write down why a job failed."""
    write_atomically(folder / _ERROR, line.encode(errors="backslashreplace"))


def forget_failure(folder: Path) -> None:
    (folder / _ERROR).unlink(missing_ok=True)


def run_job(task: Callable[[], Any], explain: Callable[[BaseException], str]) -> Any:
    """What ``task`` returns; its settings and its failure are kept in the job's folder.

    Raises:
        JobFailed: in place of what ``task`` raised; the sweep goes on all the same.
    """
    folder = job_folder()
    if not RunFolder(folder).config.exists():  # whose settings these are not
        keep_settings(folder)
    try:
        return task()
    except Exception as error:
        line = explain(error)
        keep_failure(folder, line)
        log.error(f"{folder} failed: {line}")
        sweep = Path(HydraConfig.get().sweep.dir)
        raise JobFailed(str(sweep.absolute()), line) from error


def failures(error: BaseException) -> str | None:
    """Print what failed in the sweep that ``error`` has ended; one line that says so.

    ``None`` if it was no job that failed.
    """
    cause = cause_of(error, JobFailed)
    if cause is None:
        return None
    jobs = in_order(path.parent for path in cause.sweep.rglob(_SETTINGS))
    rows = [
        [job.name, typed, failure]
        for job, typed in zip(jobs, what_differs(jobs), strict=True)
        if (failure := why_failed(job))
    ]
    print_table(f"failed in {cause.sweep}", ["job", "settings", "error"], rows)
    others = "; the others have run" if len(rows) < len(jobs) else ""
    return f"{len(rows)} of {len(jobs)} jobs failed{others}."


def is_job(folder: Path) -> bool:
    """Whether a folder is that of one of several runs, begun or not."""
    return (folder / _SETTINGS).is_file()


def why_failed(job: Path) -> str | None:
    """One line; ``None`` for a job that has not failed."""
    path = job / _ERROR
    return path.read_text(encoding="utf-8") if path.is_file() else None


def what_differs(folders: list[Path]) -> list[str]:
    """What was typed for each of some runs, but not for all; nothing where that is not known."""
    typed = [list(typed_in(folder).values()) for folder in folders]
    common = set.intersection(*map(set, typed)) if typed[1:] else set()
    return [" ".join(one for one in mine if one not in common) for mine in typed]


def typed_in(folder: Path) -> dict[str, str]:
    """What was typed for the job of a folder, by key, as it was typed; empty if not known."""
    if not is_job(folder):
        return {}
    typed = (folder / _SETTINGS).read_text(encoding="utf-8").splitlines()
    last = {one.partition("=")[0]: one for one in typed}  # of a key typed twice that counts
    if RunFolder(folder).config.exists():
        last.pop("run", None)  # the folder itself
    return last


def in_order(folders: Iterable[Path]) -> list[Path]:
    """By name, numbers by their size."""

    def place(folder: Path) -> tuple[float, str]:
        return (int(folder.name) if folder.name.isdecimal() else float("inf"), str(folder))

    return sorted(folders, key=place)
