"""One line for whatever went wrong in a command: what, got, expected, next move."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import MissingMandatoryValue

from snn_delays.cli.settings import no_such_choice, options, unknown_key
from snn_delays.errors import UsageError, cause_of, one_line

# Choices of Hydra's own groups that come with packages of the same project.
_PLUGINS = {
    "hydra/launcher": ("joblib", "ray", "ray_aws", "rq", "submitit_local", "submitit_slurm"),
    "hydra/sweeper": ("ax", "nevergrad", "optuna"),
    "hydra/sweeper/sampler": ("cmaes", "grid", "motpe", "nsgaii", "random", "tpe"),
    "hydra/job_logging": ("colorlog",),
    "hydra/hydra_logging": ("colorlog",),
}


def explain(error: BaseException, config_name: str) -> str:
    """One line for the person who typed the command."""
    if cause := cause_of(error, UsageError):
        return _in_keys(one_line(cause))
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is missing: give {error.full_key}=…; --help shows how."
    typed = error.override if isinstance(error, OverrideParseException) else None
    if typed and "=" not in typed:
        meant = f"; did you mean run={typed}?" if Path(typed).exists() else "."
        return f"settings are typed as key=value, got {typed!r}{meant}"
    if unread := re.match(r"LexerNo\w+: ([^\n]+)", str(error)):
        typed = unread[1]
    if typed:
        return (
            f"cannot read {typed}: a value with other signs than letters, digits and /.-_ takes "
            "double quotes inside single ones, 'key=\"value\"'; brackets must be closed."
        )
    if unknown := re.match(r"Could not override '([^']+)'", str(error)):
        return unknown_key(unknown[1], error, config_name)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        return _no_such_choice(error.missing_cfg_file, list(error.options))
    if unknown := re.search(r"unexpected keyword argument '([^']+)'", str(error)):
        return unknown_key(unknown[1], None, config_name)
    if said := _of_launchers(error):
        return said
    if type(error).__module__.startswith(("hydra", "omegaconf")):
        return one_line(error)
    return (
        f"{type(error).__name__}: {one_line(error)} "
        "(unexpected; set HYDRA_FULL_ERROR=1 to see where, and please report it)"
    )


def _of_launchers(error: BaseException) -> str | None:
    """The line for an error of a launcher, which starts jobs elsewhere; ``None`` for any other."""
    name, text = type(error).__name__, one_line(error)
    if name == "TerminatedWorkerError":
        return (
            "the system ended a job's process, and joblib those of the others with it: was there "
            "memory enough? Go on with what had begun, DIR/0 and DIR/1 for two: -m run=DIR/0,DIR/1 "
            "resume=true; and with fewer at once: hydra.launcher.n_jobs=1."
        )
    if "indeed on a slurm cluster" in text:
        return (
            "hydra/launcher=submitit_slurm: there is no srun here. Start it on a login node of the "
            "cluster, or try the jobs on this machine: hydra/launcher=submitit_local."
        )
    if type(error).__module__.startswith("submitit"):
        return f"a job gave no result: {text}"
    return None


def _no_such_choice(typed: str, options: list[str]) -> str:
    """The line for ``group/option`` without a file, which a package may bring."""
    group, _, option = typed.rpartition("/")
    kind = "" if group.endswith("logging") else group.replace("hydra/", "-")
    packages = {one: f"hydra-{one.partition('_')[0]}{kind}" for one in _PLUGINS.get(group, ())}
    if option in packages:
        return f"{group}={option} is not installed: pip install {packages[option]}"
    others = ", ".join(f"{one} ({package})" for one, package in packages.items())
    more = f" Packages have others: {others}." if others else ""
    return no_such_choice(group, option, options) + more


def _in_keys(line: str) -> str:
    """``fit: epochs must …`` as ``trainer.epochs must …``; other lines as they are.

    A line begins with the name of what was called, which has a section in ``conf/``. Words that
    are settings of that section become keys where they are clearly meant: those with an underscore,
    and those before "must" or "=".
    """
    called, colon, text = line.partition(": ")
    if not colon or called not in _sections():
        return line
    prefix, keys = _sections()[called]

    def key(found: re.Match[str]) -> str:
        name = found[0] if found[0] in keys else f"{found[0]}_ms"
        meant = "_" in found[0] or re.match(r" must\b|=", text[found.end() :])
        return f"{prefix}{name}" if name in keys and meant else found[0]

    return re.sub(r"(?<![\w.])\w+", key, text)


@cache
def _sections() -> dict[str, tuple[str, set[str]]]:
    """By the name of what a section's ``_target_`` makes: how its keys begin, and what they are."""
    found: dict[str, tuple[str, set[str]]] = {}
    for (section, _), content in options().items():
        called = "fit" if section == "trainer" else content.get("_target_", "")
        name = called.rpartition(".")[2]
        keys = {key for key in content if not key.startswith("_")}
        found[name] = (f"{section}.", keys | found.get(name, ("", set()))[1])
    of_model, onto_itself = found["delay_snn"], "recurrent_"
    back = {key.removeprefix(onto_itself) for key in of_model[1] if key.startswith(onto_itself)}
    found["RecurrentDelayLayer"] = (f"{of_model[0]}{onto_itself}", back)
    of_maps = dict.fromkeys(("DelayConvSNN", "DelayConv1d"), found["delay_conv_snn"])
    return found | of_maps | dict.fromkeys(("DelaySNN", "DelayLayer"), of_model)
