"""Finished runs as numbers, grouped by all of their settings but the seed.

Only data are read from a run's folder: summary.json, config.yaml and what was typed. Nothing that
these name is called, imported or looked up.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from snn_delays.cli.runs import identity, load_config
from snn_delays.cli.settings import flat
from snn_delays.cli.sweep import in_order, is_job, typed_in, why_failed
from snn_delays.cli.trainings import elsewhere
from snn_delays.errors import UsageError, one_line
from snn_delays.report.comparison.numbers import (
    CHANCE,
    Group,
    Result,
    TestSet,
    metric_of,
    numbers_of,
)
from snn_delays.run.folder import RunFolder


@dataclass(frozen=True)
class Run:
    """What a run's folder says.

    Args:
        config: all that makes the run what it is but for its seed, ``section.key`` by name; empty
            if it was not begun or cannot be read.
        typed: settings as typed, by key, but for the seed and where the run happened.
        result: ``None`` if there is none; ``problem`` then says why, in one line.
        test_set: data set, number of test recordings, digest of these.
    """

    path: Path
    config: dict[str, Any]
    typed: dict[str, str]
    result: Result | None = None
    test_set: tuple[str, int, str] | None = None
    problem: str = ""

    @property
    def key(self) -> str:
        """Equal for runs that differ in their seed alone."""
        alone = self.typed.get("experiment") if self.config else self.typed
        return json.dumps([alone, self.config], sort_keys=True)


def runs_below(folder: Path) -> list[Path]:
    """All runs and jobs in a folder, at any depth; the folder itself, if it is one."""
    if RunFolder(folder).config.is_file() or is_job(folder):
        return [folder]
    inside = in_order(path for path in folder.iterdir() if path.is_dir())
    return [run for path in inside for run in runs_below(path)]


def read_run(path: Path) -> Run:
    """The run in a folder; its ``problem`` says if it has not ended, has failed or is damaged."""
    run = RunFolder(path)
    typed = {key: of for key, of in typed_in(path).items() if key != "seed" and not elsewhere(key)}
    typed = {key: of.partition("=")[2] for key, of in typed.items()}
    try:
        config = load_config(run, trust=True)  # trusted with nothing: only read
        content = OmegaConf.to_container(config, resolve=False)
        assert isinstance(content, dict)
        about = flat(identity({str(key): of for key, of in content.items()}))
        about = {key: _whole(of) for key, of in about.items()}
    except UsageError as error:
        return Run(path, {}, typed, problem=str(error))
    about.pop("seed", None)
    try:
        result, test_set = _result(run, about)
    except UsageError as error:
        return Run(path, about, typed, problem=str(error))
    return Run(path, about, typed, result, test_set)


def _result(run: RunFolder, about: dict[str, Any]) -> tuple[Result, tuple[str, int, str]]:
    """A run's numbers, and what it was tested on."""
    if not run.summary.exists():
        raise UsageError(_unfinished(run, about.get("trainer.epochs")))
    summary = run.load_summary()
    again = f"Write it anew: snn-delays-train run={run.path} resume=true."
    try:
        found, seed = summary["test_set"], int(summary["seed"])
        asked = (str(about["dataset._target_"]), int(found["samples"]), str(found["sha256"]))
        epochs, threads = int(summary["epochs"]), int(summary["threads"])
        about_score = metric_of(summary), CHANCE.of(summary)
        numbers = numbers_of(summary)
        return Result(str(run.path), seed, epochs, threads, numbers, *about_score), asked
    except KeyError as error:
        raise UsageError(f"{run.summary}: {error.args[0]} is missing. {again}") from error
    except UsageError as error:
        raise UsageError(f"{run.summary}: {error}. {again}") from error
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{run.summary} is no run's summary ({one_line(error)}). {again}"
        ) from error


def _unfinished(run: RunFolder, epochs: Any) -> str:
    """How far an unfinished run has come, and how to finish it."""
    done = 0
    if run.metrics.is_file():
        done = max(0, len(run.metrics.read_text(encoding="utf-8").splitlines()) - 1)
    why = f", since it failed: {why}" if (why := why_failed(run.path)) else ""
    return (
        f"{run.path} has not ended{why}: {done} of {epochs} epochs. Go on with it: "
        f"snn-delays-train run={run.path} resume=true."
    )


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """The runs in folders; ``problem`` says if one repeats settings and seed of an earlier one."""
    found: list[Run] = []
    for path in paths:
        run = read_run(path)
        if twice := next((one for one in found if _twice(one, run)), None):
            why = (
                f"{path} has the settings and the seed of {twice.path}, which counts once. Leave "
                "it out, or train it with another seed."
            )
            run = Run(path, run.config, run.typed, problem=why)
        found.append(run)
    return found


def _twice(one: Run, other: Run) -> bool:
    """Whether two results are of one setting and one seed."""
    if not (one.result and other.result):
        return False
    return (one.key, one.test_set, one.result.seed) == (
        other.key,
        other.test_set,
        other.result.seed,
    )


def grouped(runs: Sequence[Run]) -> list[TestSet]:
    """Test sets in the order of their first runs, with the groups that were tested on each.

    A group without a finished run stands with the first test set.
    """
    groups: dict[tuple[str, Any], list[Run]] = {}
    for run in runs:
        if run.result:
            groups.setdefault((run.key, run.test_set), []).append(run)
    if not groups:
        return []
    sets = list(dict.fromkeys(test_set for _, test_set in groups))
    for run in runs:
        if not run.result and (run.config or run.typed):
            same = (place for place, of in groups.items() if _same(run, of[0]))
            groups.setdefault(next(same, (run.key, sets[0])), []).append(run)
    titles = [_title(one) for one in sets]
    found = []
    for asked, title in zip(sets, titles, strict=True):
        members = [of for (_, test_set), of in groups.items() if test_set == asked]
        members.sort(key=lambda of: min(runs.index(one) for one in of))
        first = [next((one for one in of if one.result), of[0]) for of in members]
        names = _names(first)
        digest = f" ({asked[2][:8]})" if titles.count(title) > 1 else ""
        test_set = TestSet(
            title + digest,
            [
                Group(name, len(of), [one.result for one in of if one.result])
                for name, of in zip(names, members, strict=True)
            ],
            _prepared(names, [one for one in first if one.config]),
        )
        found.append(test_set)
    return found


def _same(one: Run, other: Run) -> bool:
    """Whether two runs differ in their seed alone, as far as that is known."""
    return one.key == other.key if one.config else one.typed == other.typed


def _prepared(names: Sequence[str], groups: Sequence[Run]) -> list[str]:
    """Differences in how the same recordings were preprocessed, one line each."""
    keys = sorted({key for one in groups for key in one.config if key.startswith("dataset.")})
    return [
        f"{key}: "
        + "; ".join(
            f"{name}: {one.config.get(key)}" for name, one in zip(names, groups, strict=False)
        )
        for key in _differing(groups, keys)
    ]


def _title(asked: tuple[str, int, str]) -> str:
    return f"{asked[0].rpartition('.')[2].removeprefix('load_')}, {asked[1]:,} test samples"


def _names(groups: Sequence[Run]) -> list[str]:
    """Names that tell groups apart: settings typed for some, then others that still differ."""
    typed = sorted({key for one in groups for key in one.typed})
    names = [_said(one, _differing(groups, typed)) for one in groups]
    for name in {name for name in names if names.count(name) > 1}:
        alike = [one for one, own in zip(groups, names, strict=True) if own == name]
        keys = sorted({key for one in alike for key in one.config})
        more = _differing(alike, keys)
        for index, one in enumerate(groups):
            if names[index] == name:
                names[index] = " ".join(filter(None, (name, _said(one, more))))
    return [name or "all settings alike" for name in names]


def _differing(groups: Sequence[Run], keys: Sequence[str]) -> list[str]:
    """Keys whose values differ between groups; the experiment, which says most, comes first."""
    if not groups[1:]:
        return [key for key in keys if key == "experiment"]
    found = [key for key in keys if len({str(_value(one, key)) for one in groups}) > 1]
    return sorted(found, key=lambda key: key != "experiment")


def _said(run: Run, keys: Sequence[str]) -> str:
    values = [(key, _value(run, key)) for key in keys]
    return " ".join(
        str(value) if key == "experiment" else f"{key}={value}"
        for key, value in values
        if value is not None
    )


def _value(run: Run, key: str) -> Any:
    """A setting's value in the configuration, else as it was typed."""
    return run.config.get(key.lstrip("+"), run.typed.get(key))


def _whole(value: Any) -> Any:
    """10 and 10.0 are one setting."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
