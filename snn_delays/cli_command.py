"""How every command runs: under Hydra, and with one line for whatever the user got wrong.

Hydra lives in the ``cli`` files only: everything below takes plain Python arguments.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import sys
from collections.abc import Callable
from glob import glob
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf

from snn_delays.cli_sweep import failures, in_sweep, run_job
from snn_delays.console import print_anywhere
from snn_delays.errors import UsageError, one_line
from snn_delays.processor import prepare_cpu

# The wheel carries conf/ inside the package; in a checkout it stands beside it.
_PACKAGE = Path(__file__).parent
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"


def command(
    program: str,
    config_name: str,
    task: Callable[[DictConfig], Any],
    read: Callable[[list[str]], list[str]] = list,
) -> None:
    """Run ``task`` under Hydra; whatever the user got wrong ends in one line and exit code 2.

    Args:
        task: what it returns is what Hydra's sweepers (-m) optimise.
        read: makes of the arguments as typed those that Hydra is given.
    """
    print_anywhere()
    prepare_cpu()
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
    traceback_wanted = bool(os.environ.get("HYDRA_FULL_ERROR"))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, instead of printing by itself.

    def guarded(run: Callable[..., Any], *args: DictConfig) -> Any:
        try:
            return run(*args)
        except KeyboardInterrupt:
            print(f"{program}: interrupted", file=sys.stderr)
            sys.exit(130)
        except BrokenPipeError:  # whoever read the output, head for one, has left
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        except Exception as error:
            if traceback_wanted:
                raise
            line = failures(error) or _explain(error, config_name)
            print(f"{program}: error: {line}", file=sys.stderr)
            sys.exit(2)

    def checked(cfg: DictConfig) -> Any:
        _require_known(cfg, config_name)
        return task(cfg)

    # Guarded twice: inside Hydra, which comments on an exception that passes through it, and
    # around it, for what Hydra itself finds wrong.
    def job(cfg: DictConfig) -> Any:
        print_anywhere()  # a launcher may have started a process of its own
        if in_sweep():
            return run_job(lambda: checked(cfg), lambda error: _explain(error, config_name))
        return guarded(checked, cfg)

    def started() -> None:
        sys.argv[1:] = [_readable(argument) for argument in read(sys.argv[1:])]
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)()

    guarded(started)


def _readable(argument: str) -> str:
    """``key=value`` with the value in quotes, if it has letters that Hydra reads in quotes only.

    In the names of files that are there, and in patterns of them, these may be signs, too.
    """
    key, equals, value = argument.partition("=")
    letters = not value.isascii() and not re.search(r"""['"\[\]{},$\\]""", value)
    signs, path = not re.search(r"""["$\\]|^[\w,/.-]*$""", value), os.path.expanduser(value)
    there = signs and (os.path.exists(path) or (value[0] != "[" and glob(path)))
    return f'{key}{equals}"{value}"' if letters or there else argument


def _explain(error: BaseException, config_name: str) -> str:
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
        return _unknown_key(unknown[1], error, config_name)
    if unknown := re.match(r".*Could not find '(\w+)/([^']+)'", str(error)):
        options = sorted(file.stem for file in (CONF / unknown[1]).glob("*.yaml"))
        return f"no such {unknown[1]}: {unknown[2]}; choose {one_of(options)}."
    if unknown := re.search(r"unexpected keyword argument '([^']+)'", str(error)):
        return _unknown_key(unknown[1], None, config_name)
    if type(error).__module__.startswith(("hydra", "omegaconf")):
        return one_line(error)
    return (
        f"{type(error).__name__}: {one_line(error)} "
        "(unexpected; set HYDRA_FULL_ERROR=1 to see where, and please report it)"
    )


def _require_known(cfg: DictConfig, config_name: str) -> None:
    """Refuse what ``+key=value`` or a file of one's own has added, and what nothing would read.

    A section with a ``_target_`` is left to what that names, which takes its own settings alone.
    """
    known, chosen = _known_keys(config_name), HydraConfig.get().runtime.choices
    sections = {key.partition(".")[0] for key in known}
    for name, section in _content(cfg).items():
        inside = section if isinstance(section, dict) and name in sections else None
        if inside and "_target_" in inside and chosen.get(name):
            continue
        for key in [name] if inside is None else [f"{name}.{one}" for one in inside]:
            if key not in known or (known[key] and not chosen.get(name)):
                raise UsageError(_unknown_key(key, None, config_name))


def _unknown_key(key: str, error: BaseException | None, config_name: str) -> str:
    """Name the key that does not exist, and the nearest one that does."""
    reason = one_line(error.__cause__) if error and error.__cause__ else ""
    if reason and "is not in struct" not in reason:
        return f"cannot set {key}: {reason}"
    known = _known_keys(config_name)
    last = key.rpartition(".")[2]
    if choices := known.get(key):
        own = f" With run=DIR give {last}=…." if known.get(last) == [] else ""
        return f"{key} is a setting of {one_of(choices)}; add that to the command.{own}"
    near = max(known, key=lambda one: _likeness(key, one))
    hint = f"did you mean {near}?" if _likeness(key, near) >= 0.5 else "--help lists them all."
    return f"no such setting: {key}; {hint}"


def _likeness(one: str, other: str) -> float:
    """0 … 1; half of it for the whole, half for what stands behind the last point."""
    last, other_last = one.rpartition(".")[2], other.rpartition(".")[2]
    inside = 0.9 if last in other_last or other_last in last else 0.0
    return (_ratio(one, other) + max(inside, _ratio(last, other_last))) / 2


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def _known_keys(config_name: str) -> dict[str, list[str]]:
    """Every setting that the command can have, as it is typed, with the choices that bring it.

    A setting that the command always has is brought by none.
    """
    whole = _content(OmegaConf.load(CONF / f"{config_name}.yaml"))
    known: dict[str, list[str]] = {}
    for key in whole.keys() - {"defaults", "hydra"}:
        inside = whole[key] if isinstance(whole[key], dict) else {}
        known |= {f"{key}.{one}": [] for one in inside} or {key: []}
    for default in whole["defaults"]:
        if not isinstance(default, dict):
            continue
        ((group, chosen),) = default.items()
        for file in sorted((CONF / group).glob("*.yaml")):
            spread = "@package _global_" in file.read_text(encoding="utf-8")
            for key, value in _content(OmegaConf.load(file)).items():
                # A recipe sets keys of other groups: sections, which are theirs.
                if key in ("defaults", "_target_") or (spread and isinstance(value, dict)):
                    continue
                typed = key if spread else f"{group}.{key}"
                if spread and chosen == file.stem:
                    known[typed] = []
                else:
                    known.setdefault(typed, []).append(f"{group}={file.stem}")
    return known


def _content(config: Any) -> dict[str, Any]:
    """Names and values, as they stand there."""
    found = OmegaConf.to_container(config, resolve=False)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def one_of(words: list[str]) -> str:
    """``a, b or c``."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
