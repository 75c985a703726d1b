"""Several runs of a command (-m): each in a folder with a number, whatever becomes of the others.

DIR/0/overrides.txt   what was typed for it, a setting a line
DIR/0/error.txt       why it failed, in one line
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from snn_delays.errors import UsageError, cause_of
from snn_delays.files.atomic import write_atomically
from snn_delays.run.folder import RunFolder
from snn_delays.terminal import print_table

log = logging.getLogger("snn_delays")
_SETTINGS, _ERROR = "overrides.txt", "error.txt"


class JobFailed(Exception):
    """A job has failed: for the sweeper to count, and to carry between a launcher's processes."""

    def __init__(self, sweep: str, line: str) -> None:
        super().__init__(sweep, line)
        self.sweep, self.line = Path(sweep), line

    def __str__(self) -> str:
        return self.line


class Sweeps(Callback):
    """Remembers the folder of the sweep that this process runs: a sweeper may end well, or badly,
    without a word on the jobs that failed."""

    folder: ClassVar[Path | None] = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        Sweeps.folder = Path(config.hydra.sweep.dir).absolute()
        for job in _jobs(Sweeps.folder):
            forget_failure(job)


def require_no_failure() -> None:
    """Of a sweep that has ended.

    Raises:
        JobFailed: a job of it has failed.
    """
    sweep, Sweeps.folder = Sweeps.folder, None
    if sweep and (failed := [why for job in _jobs(sweep) if (why := why_failed(job))]):
        raise JobFailed(str(sweep), failed[0])


def require_best_is_largest() -> None:
    """Refuse a search for the settings with the smallest score.

    Raises:
        UsageError: a sweeper, such as Optuna's, whose direction is not ``maximize``.
    """
    given = HydraConfig.get().sweeper.get("direction", "maximize")
    direction = getattr(given, "name", given)
    if direction != "maximize":
        raise UsageError(
            "hydra.sweeper.direction must be maximize, since a run returns its score on "
            f"validation, got {direction}. Give that, or hydra/sweeper=best, which has it."
        )


def requeued(run: RunFolder) -> bool:
    """Whether SLURM has put this very run, typed as it was, back into the queue."""
    again = os.environ.get("SLURM_RESTART_COUNT", "")
    if not (again.isdecimal() and int(again)) or not run.config.is_file():
        return False
    typed = {one.partition("=")[0]: one for one in HydraConfig.get().overrides.task}
    typed.pop("run", None)
    return typed == typed_in(run.path)


def in_sweep() -> bool:
    """Whether this run is one of several (-m)."""
    return HydraConfig.get().mode == RunMode.MULTIRUN


def job_number() -> str:
    """The number of this one of several runs."""
    return str(HydraConfig.get().job.num)


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

    ``None`` if no job has failed.
    """
    cause, begun = cause_of(error, JobFailed), Sweeps.folder
    Sweeps.folder = None
    sweep = cause.sweep if cause else begun
    jobs = _jobs(sweep) if sweep else []
    # A sweeper that has no result to go on from says so in words of its own.
    if not sweep or (cause is None and not (jobs and all(map(why_failed, jobs)))):
        return None
    rows = [
        [job.name, typed, failure]
        for job, typed in zip(jobs, what_differs(jobs), strict=True)
        if (failure := why_failed(job))
    ]
    print_table(f"failed in {sweep}", ["job", "settings", "error"], rows)
    others = "; the others have run" if len(rows) < len(jobs) else ""
    return f"{len(rows)} of {len(jobs)} jobs failed{others}."


def _jobs(sweep: Path) -> list[Path]:
    """The folders of the jobs of a sweep."""
    return in_order(path.parent for path in sweep.rglob(_SETTINGS))


def is_job(folder: Path) -> bool:
    """Whether a folder is that of one of several runs, begun or not."""
    return (folder / _SETTINGS).is_file()


def why_failed(job: Path) -> str | None:
    """Why it failed, in one line; ``None`` for a job that has not."""
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
