"""The settings that a command has: where they are written, and which there are."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from snn_delays.errors import UsageError, one_line

# The wheel carries conf/ inside the package; in a checkout it stands beside it.
_PACKAGE = Path(__file__).parents[1]
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"


def config_folders() -> list[Path]:
    """Where settings are read from, ours before those of --config-dir; the first to have one."""
    sources = HydraConfig.get().runtime.config_sources
    return [Path(source.path) for source in sources if source.schema == "file"]


def config_file(name: str) -> Path | None:
    """The file that ``name``, such as ``dataset/shd``, is read from; ``None`` if there is none."""
    files = (folder / f"{name}.yaml" for folder in config_folders())
    return next((file for file in files if file.is_file()), None)


def require_known(cfg: DictConfig, config_name: str) -> None:
    """Refuse what ``+key=value`` or a file of one's own has added, and what nothing would read.

    A section with a ``_target_`` is left to what that names, which takes its own settings alone.
    """
    known, chosen = _known_keys(config_name), HydraConfig.get().runtime.choices
    sections = {key.partition(".")[0] for key in known}
    _require_recipe(chosen)
    for name, section in _content(cfg).items():
        inside = section if isinstance(section, dict) and name in sections else None
        if inside and "_target_" in inside and chosen.get(name):
            continue
        for key in [name] if inside is None else [f"{name}.{one}" for one in inside]:
            if key not in known or (known[key] and not chosen.get(name)):
                raise UsageError(unknown_key(key, None, config_name))


def _require_recipe(chosen: Mapping[str, Any]) -> None:
    """A data set may be without a recipe of its name; one that was typed must be there."""
    typed = [one for one in HydraConfig.get().overrides.task if one.startswith("experiment=")]
    if typed and config_file(f"experiment/{chosen['experiment']}") is None:
        files = [file for folder in config_folders() for file in folder.glob("experiment/*.yaml")]
        options = sorted({file.stem for file in files})
        raise UsageError(no_such_choice("experiment", chosen["experiment"], options))


def unknown_key(key: str, error: BaseException | None, config_name: str) -> str:
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
    meant = _with_its_words(key, config_name) or ([near] if _likeness(key, near) >= 0.5 else [])
    hint = f"did you mean {one_of(meant)}?" if meant else "--help lists them all."
    return f"no such setting: {key}; {hint}"


def _with_its_words(key: str, config_name: str) -> list[str]:
    """The settings whose name has the words of ``key``, as weight_lr and delay_lr have lr.

    Those of the section that was typed, if there are any; and rather those that need no choice.
    """
    section, _, last = key.rpartition(".")
    found = [
        one for one in _known_keys(config_name) if f"_{last}_" in f"_{one.rpartition('.')[2]}_"
    ]
    if inside := [one for one in found if section and one.startswith(f"{section}.")]:
        return inside
    chosen = _groups(_content(OmegaConf.load(CONF / f"{config_name}.yaml")))
    needed = [one for one in found if chosen.get(one.partition(".")[0], True) is None]
    return [one for one in found if one not in needed] or found


def _likeness(one: str, other: str) -> float:
    """0 … 1; half of it for the whole, half for what stands behind the last point."""
    last, other_last = one.rpartition(".")[2], other.rpartition(".")[2]
    inside = 0.9 if last in other_last or other_last in last else 0.0
    return (_ratio(one, other) + max(inside, _ratio(last, other_last))) / 2


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


@cache
def _known_keys(config_name: str) -> dict[str, list[str]]:
    """Every setting that the command can have, as it is typed, with the choices that bring it.

    A setting that the command always has is brought by none.
    """
    whole = _content(OmegaConf.load(CONF / f"{config_name}.yaml"))
    known: dict[str, list[str]] = {}
    for key in [one for one in whole if one not in ("defaults", "hydra")]:
        inside = whole[key] if isinstance(whole[key], dict) else {}
        known |= {f"{key}.{one}": [] for one in inside} or {key: []}
    for group, chosen in _groups(whole).items():
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


def _groups(whole: dict[str, Any]) -> dict[str, str | None]:
    """The groups that a command has, with the choices it makes itself."""
    defaults = [one for one in whole["defaults"] if isinstance(one, dict)]
    return {
        group.removeprefix("optional "): chosen
        for default in defaults
        for group, chosen in default.items()
    }


def _content(config: Any) -> dict[str, Any]:
    """Names and values, as they stand there."""
    found = OmegaConf.to_container(config, resolve=False)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def no_such_choice(group: str, option: str, options: list[str]) -> str:
    """One line for ``group=option``."""
    return f"no such {group}: {option}; choose {one_of(options)}."


def one_of(words: list[str]) -> str:
    """``a, b or c``."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
