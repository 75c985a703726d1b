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
from pathlib import Path

import hydra
from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf

from snn_delays.errors import UsageError
from snn_delays.processor import prepare_cpu

# The wheel carries conf/ inside the package; in a checkout it stands beside it.
_PACKAGE = Path(__file__).parent
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"


def command(program: str, config_name: str, task: Callable[[DictConfig], None]) -> None:
    """Run ``task`` under Hydra; whatever the user got wrong ends in one line and exit code 2."""
    prepare_cpu()
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
    traceback_wanted = bool(os.environ.get("HYDRA_FULL_ERROR"))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, instead of printing by itself.

    def guarded(run: Callable[..., None], *args: DictConfig) -> None:
        try:
            run(*args)
        except KeyboardInterrupt:
            sys.exit(130)
        except BrokenPipeError:  # whoever read the output, head for one, has left
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        except Exception as error:
            if traceback_wanted:
                raise
            print(f"{program}: error: {_explain(error)}", file=sys.stderr)
            sys.exit(2)

    # Guarded twice: inside Hydra, which comments on an exception that passes through it, and
    # around it, for what Hydra itself finds wrong.
    def job(cfg: DictConfig) -> None:
        guarded(task, cfg)

    guarded(hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job))


def _explain(error: BaseException) -> str:
    """One line for the person who typed the command."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UsageError):
            return one_line(cause)
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is missing: give {error.full_key}=…; --help shows how."
    if unknown := re.match(r"Could not override '([^']+)'", str(error)):
        return _unknown_key(unknown[1], error)
    if unknown := re.match(r".*Could not find '(\w+)/([^']+)'", str(error)):
        options = sorted(file.stem for file in (CONF / unknown[1]).glob("*.yaml"))
        known = f"{', '.join(options[:-1])} or {options[-1]}" if options[1:] else "".join(options)
        return f"no such {unknown[1]}: {unknown[2]}; choose {known}."
    if unknown := re.search(r"unexpected keyword argument '([^']+)'", str(error)):
        return _unknown_key(unknown[1], None)
    if type(error).__module__.startswith(("hydra", "omegaconf")):
        return one_line(error)
    return (
        f"{type(error).__name__}: {one_line(error)} "
        "(unexpected; set HYDRA_FULL_ERROR=1 to see where, and please report it)"
    )


def _unknown_key(key: str, error: BaseException | None) -> str:
    """Name the key that does not exist, and the nearest one that does."""
    reason = one_line(error.__cause__) if error and error.__cause__ else ""
    if reason and "is not in struct" not in reason:
        return f"cannot set {key}: {reason}"
    near = difflib.get_close_matches(key, _known_keys(), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "--help lists them all."
    return f"no such setting: {key}; {hint}"


def _known_keys() -> list[str]:
    """Every setting that any file of the Hydra tree defines, as it is typed."""
    keys = []
    for file in CONF.rglob("*.yaml"):
        group = file.parent.relative_to(CONF).as_posix()
        whole = "@package _global_" in file.read_text(encoding="utf-8")
        prefix = "" if group == "." or whole else f"{group}."
        keys += [
            f"{prefix}{key}" for key in OmegaConf.load(file) if key not in ("defaults", "hydra")
        ]
    return keys


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
