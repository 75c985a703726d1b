"""How every command runs: under Hydra, and with one line for whatever the user got wrong.

Hydra lives in the ``cli`` files only: everything below takes plain Python arguments.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from functools import partial
from glob import glob
from importlib.metadata import version
from typing import Any

import hydra
from omegaconf import DictConfig

from snn_delays.cli.explain import explain
from snn_delays.cli.help import helped
from snn_delays.cli.process import lines_of, prepare_process
from snn_delays.cli.settings import CONF, require_known
from snn_delays.cli.sweep import failures, in_sweep, job_number, require_no_failure, run_job


def entry(
    task: Callable[[DictConfig], Any], read: Callable[[list[str]], list[str]] = list
) -> Callable[[], None]:
    """The entry point ``snn-delays-NAME`` of a function ``_NAME`` with ``conf/NAME.yaml``.

    Args:
        task: its return value is what Hydra's sweepers (-m) optimise.
        read: turns the arguments as typed into those that Hydra gets.
    """
    return partial(_command, task.__name__.removeprefix("_"), task, read)


def _command(
    config_name: str,
    task: Callable[[DictConfig], Any],
    read: Callable[[list[str]], list[str]],
) -> None:
    """Run ``task`` under Hydra; whatever the user got wrong ends in one line and exit code 2."""
    program = f"snn-delays-{config_name}"
    prepare_process()
    here = os.getpid()
    traceback_wanted = bool(os.environ.get("HYDRA_FULL_ERROR"))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, instead of printing by itself.

    def guarded(run: Callable[..., Any], *args: DictConfig) -> Any:
        try:
            return run(*args)
        except KeyboardInterrupt:
            print(f"{program}: interrupted", file=sys.stderr)
            sys.exit(130)
        except BrokenPipeError:  # the reader of the output, such as head, is gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        except Exception as error:
            if traceback_wanted:
                raise
            line = failures(error) or explain(error, config_name)
            print(f"{program}: error: {line}", file=sys.stderr)
            sys.exit(2)

    def checked(cfg: DictConfig) -> Any:
        require_known(cfg, config_name)
        return task(cfg)

    # Guarded twice: inside Hydra, which comments on an exception that passes through it, and
    # around it, for what Hydra itself finds wrong.
    def job(cfg: DictConfig) -> Any:
        if not in_sweep():
            return guarded(checked, cfg)
        if os.getpid() == here:
            return one_of_several(cfg)
        prepare_process()  # which a launcher has started
        with lines_of(job_number()):
            return one_of_several(cfg)

    def one_of_several(cfg: DictConfig) -> Any:
        return run_job(lambda: checked(cfg), lambda error: explain(error, config_name))

    def started() -> None:
        sys.argv[1:] = arguments = [_readable(argument) for argument in read(sys.argv[1:])]
        if "--version" in arguments:
            return print(f"snn_delays {version('snn-delays')}")
        main = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)
        helped(arguments, main, config_name)
        require_no_failure()

    guarded(started)


def _readable(argument: str) -> str:
    """``key=value``, quoted if the value has letters that Hydra accepts in quotes only.

    In names of existing files, and in patterns of them, these may be other signs, too.
    """
    key, equals, value = argument.partition("=")
    letters = not value.isascii() and not re.search(r"""['"\[\]{},$\\]""", value)
    signs, path = not re.search(r"""["$\\]|^[\w,/.-]*$""", value), os.path.expanduser(value)
    there = signs and (os.path.exists(path) or (value[0] != "[" and glob(path)))
    return f'{key}{equals}"{value}"' if letters or there else argument
