"""A run that someone else made is read as data: its config.yaml calls nothing of their choosing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import shorten
from typing import Any

from omegaconf import DictConfig, OmegaConf

from snn_delays.cli.settings import one_of, options
from snn_delays.errors import UsageError


def require_data(config: DictConfig, file: Path) -> None:
    """Refuse a run's configuration that says more than what ``conf/`` has for a run to say.

    Hydra calls whatever ``_target_`` names, at any depth; OmegaConf looks up what ``${…}`` names,
    in the environment for one. Here nothing is imported, called or looked up.

    Raises:
        UsageError: naming the first such place.
    """
    for place, value in _calls(OmegaConf.to_container(config, resolve=False)):
        choices = [
            content["_target_"]
            for (group, _), content in options().items()
            if place == (group, "_target_") and "_target_" in content
        ]
        if value in choices:
            continue
        expected = f"expected {one_of(choices)}" if choices else "a run of ours has no such thing"
        raise UsageError(
            f"{file} could run any code: {'.'.join(place)} is "
            f"{shorten(repr(value), 120, placeholder=' …')}; {expected}. Give trust=true if you "
            "trust whoever made the run."
        )


def require_no_lookup(config: Any) -> None:
    """Refuse ``${…}`` in what is about to be saved: it would be read as something to look up."""
    for place, value in _calls(config):
        if isinstance(value, str) and "${" in value:
            raise UsageError(f"{'.'.join(place)} must not contain ${{, got {value!r}.")


def _calls(node: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Place and value of all that Hydra or OmegaConf would do something about."""
    called = place and place[-1].startswith("_")  # _target_, _args_, _partial_, …
    if called or (isinstance(node, str) and "${" in node):
        yield place, node
    elif isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _calls(value, (*place, str(key)))
