"""What every test gets: fixed seeds, checked tensor shapes, and hypothesis without surprises."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import jaxtyping

LEVEL = logging.getLogger().level
PACKAGE = Path(__file__).resolve().parents[1] / "snn_delays"


def checkable_modules() -> list[str]:
    """Modules with annotated shapes, but for those whose functions go bare to a compiler."""
    sources = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    return [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path, source in sorted(sources.items())
        if "jaxtyping" in source
        and path.name != "__init__.py"
        and not any(compiler in source for compiler in ("custom_op", "@loop"))
    ]


# Annotations are checked on every call, shapes too: a wrong one fails a test. This must stand
# before the first import of snn_delays. An int is a float, as in Python's own types (PEP 484).
jaxtyping.install_import_hook(
    checkable_modules(), "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402
from typed_commands import runs, shell, there  # noqa: E402, F401

# Whichever test comes first compiles what is missing: no word of it among what others expect.
logging.getLogger("snn_delays.loops.kept").setLevel(logging.ERROR)

settings.register_profile(
    "snn_delays", derandomize=True, deadline=None, max_examples=30, database=None
)
settings.load_profile("snn_delays")


@pytest.fixture(autouse=True)
def _fixed_seed() -> Iterator[None]:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  (libraries may still draw from the global generator)
    yield
    torch.set_flush_denormal(False)  # command lines set it for the whole process


@pytest.fixture(autouse=True)
def _log_of_the_process() -> Iterator[None]:
    """Hydra sets it up for good, in commands that tests and fixtures run in this process."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    root.setLevel(LEVEL)
    yield
    root.setLevel(LEVEL)
    root.handlers[:] = handlers


@pytest.fixture
def unchecked() -> Iterator[None]:
    """The package as its users run it, annotations unchecked: for wrong arguments and compilers."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
