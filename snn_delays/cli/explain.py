"""One line for whatever went wrong in a command: what, got, expected, next move."""

from __future__ import annotations

import re
from pathlib import Path

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import MissingMandatoryValue

from snn_delays.cli.settings import no_such_choice, unknown_key
from snn_delays.errors import UsageError, one_line

# Choices of Hydra's own groups that come with packages of the same project.
_PLUGINS = {
    "hydra/launcher/joblib": "hydra-joblib-launcher",
    "hydra/launcher/ray": "hydra-ray-launcher",
    "hydra/launcher/ray_aws": "hydra-ray-launcher",
    "hydra/launcher/rq": "hydra-rq-launcher",
    "hydra/launcher/submitit_local": "hydra-submitit-launcher",
    "hydra/launcher/submitit_slurm": "hydra-submitit-launcher",
    "hydra/sweeper/ax": "hydra-ax-sweeper",
    "hydra/sweeper/nevergrad": "hydra-nevergrad-sweeper",
    "hydra/sweeper/optuna": "hydra-optuna-sweeper",
    "hydra/job_logging/colorlog": "hydra-colorlog",
    "hydra/hydra_logging/colorlog": "hydra-colorlog",
}


def explain(error: BaseException, config_name: str) -> str:
    """One line for the person who typed the command."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UsageError):
            return one_line(cause)
        cause = cause.__cause__ or cause.__context__
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
    if type(error).__module__.startswith(("hydra", "omegaconf")):
        return one_line(error)
    return (
        f"{type(error).__name__}: {one_line(error)} "
        "(unexpected; set HYDRA_FULL_ERROR=1 to see where, and please report it)"
    )


def _no_such_choice(typed: str, options: list[str]) -> str:
    """``group/option``, of which there is no file; perhaps not yet."""
    group, _, option = typed.rpartition("/")
    if package := _PLUGINS.get(typed):
        return f"{group}={option} is not installed: pip install {package}"
    near = [(*one.partition(f"{group}/"), of) for one, of in _PLUGINS.items()]
    plugins = [f"{name} ({of})" for before, _, name, of in near if name and not before]
    more = f" Packages have others: {', '.join(plugins)}." if plugins else ""
    return no_such_choice(group, option, sorted(options)) + more
