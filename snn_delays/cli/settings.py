"""The settings of a command: where they are written, which there are, what values they take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from snn_delays.errors import UsageError, one_line
from snn_delays.report.words import either

# The wheel carries conf/ inside the package; in a checkout it stands beside it.
_PACKAGE = Path(__file__).parents[1]
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"


class Setting(NamedTuple):
    """What a command's files say about one setting."""

    default: Any
    # The choices that bring it; none of one that the command always has.
    choices: list[str]


def config_folders() -> list[Path]:
    """Folders that settings are read from, ours before --config-dir; the first with a file wins."""
    sources = HydraConfig.get().runtime.config_sources
    return [Path(source.path) for source in sources if source.schema == "file"]


def config_file(name: str) -> Path | None:
    """The file that ``name``, such as ``dataset/shd``, is read from; ``None`` if there is none."""
    files = (folder / f"{name}.yaml" for folder in config_folders())
    return next((file for file in files if file.is_file()), None)


def recipes() -> set[str]:
    """Names of all experiments, one's own included."""
    files = (file for folder in config_folders() for file in folder.glob("experiment/*.yaml"))
    return {file.stem for file in files}


@cache
def options() -> dict[tuple[str, str], dict[str, Any]]:
    """The choices that ``conf/`` offers, by group and name."""
    files = sorted(CONF.glob("*/*.yaml"))
    return {(file.parent.name, file.stem): _content(OmegaConf.load(file)) for file in files}


def plain(section: DictConfig) -> dict[str, Any]:
    """A section of the configuration as a dictionary."""
    settings = OmegaConf.to_container(section, resolve=True)
    assert isinstance(settings, dict)
    return {str(key): value for key, value in settings.items()}


def flat(content: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Every single setting under its whole name, such as ``model.max_delay``."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{before}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found


def typed() -> dict[str, str]:
    """What the user gave for each setting."""
    given = (one.lstrip("+").partition("=") for one in HydraConfig.get().overrides.task)
    return {key: value for key, _, value in given}


def path_of(cfg: DictConfig, key: str) -> Path:
    """The path that a setting names."""
    if not isinstance(cfg[key], str) or not cfg[key]:
        raise UsageError(f"{key} must be a path, got {cfg[key]!r}.")
    return Path(cfg[key]).expanduser()


def list_of(key: str, given: Any, such_as: str) -> list[Any]:
    """A setting that must be a list."""
    if not isinstance(given, list):
        raise UsageError(f"{key} must be a list such as {such_as}, got {given!r}.")
    return given


def require_known(cfg: DictConfig, config_name: str) -> None:
    """Refuse settings that nothing reads, such as ``+key=value`` or a file of one's own may add.

    A section with a ``_target_`` is left to what that names, which takes its own settings alone.
    A switch must be true or false: Python takes any text for true.
    """
    known, chosen = _known(config_name), HydraConfig.get().runtime.choices
    sections = {key.partition(".")[0] for key in known}
    recipe = str(chosen.get("experiment"))  # a data set may be without, unless one was typed
    if "experiment" in typed() and config_file(f"experiment/{recipe}") is None:
        raise UsageError(no_such_choice("experiment", recipe, recipes()))
    for name, section in _content(cfg).items():
        inside = section if isinstance(section, dict) and name in sections else None
        own = inside is not None and "_target_" in inside and chosen.get(name)
        option = chosen.get(name)
        ours = not option or (name, option) in options()
        for key in [name] if inside is None else [f"{name}.{one}" for one in inside]:
            setting = known.get(key)
            lacking = (
                ours and setting and setting.choices and f"{name}={option}" not in setting.choices
            )
            if not own and (setting is None or lacking):
                raise UsageError(unknown_key(key, None, config_name))
            if setting is not None and isinstance(setting.default, bool):
                value = OmegaConf.select(cfg, key)
                if not isinstance(value, bool):
                    raise UsageError(f"{key} must be true or false, got {value!r}.")


def unknown_key(key: str, error: BaseException | None, config_name: str) -> str:
    """Name the key that does not exist, and the nearest one that does."""
    reason = one_line(error.__cause__) if error and error.__cause__ else ""
    if reason and "is not in struct" not in reason:
        return f"cannot set {key}: {reason}"
    known, last = _known(config_name), key.rpartition(".")[2]
    if key in known and (choices := known[key].choices):
        own = f" With run=DIR give {last}=…." if last in known and not known[last].choices else ""
        return f"{key} is a setting of {either(choices)}; add that to the command.{own}"
    meant = _meant(key, config_name)
    return f"no such setting: {key}; " + (
        f"did you mean {either(meant)}?" if meant else "--help lists them all."
    )


def _meant(key: str, config_name: str) -> list[str]:
    """Settings and groups of the same name or words, else with these among them, else the likest.

    Those of the section that was typed, if there are any; and rather those that need no choice.
    """
    groups = _groups(config_name)
    known = [*_known(config_name), *groups]
    section, _, last = key.rpartition(".")
    words = _words(last)
    initials = {"".join(word[0] for word in last.split("_") if word)}  # lr of learning_rate
    for fits in (words.__eq__, words.issubset, *[initials.issubset] * (len(words) > 1)):
        if found := [one for one in known if fits(_words(one.rpartition(".")[2]))]:
            found = [one for one in found if one.rpartition(".")[2] == last] or found
            inside = [one for one in found if section and one.startswith(f"{section}.")]
            ready = [one for one in found if groups.get(one.partition(".")[0], "") is not None]
            return inside or ready or found

    def likeness(one: str) -> float:
        pairs = ((key, one), (last, one.rpartition(".")[2]))
        return sum(SequenceMatcher(None, *pair).ratio() for pair in pairs) / 2

    likest = max(known, key=likeness)
    return [likest] if likeness(likest) >= 0.6 else []


def _words(name: str) -> set[str]:
    return {word.removesuffix("s") for word in name.split("_")}


@cache
def _known(config_name: str) -> dict[str, Setting]:
    """Every setting that the command can have, as it is typed."""
    known: dict[str, Setting] = {}
    for key, value in _content(OmegaConf.load(CONF / f"{config_name}.yaml")).items():
        if key not in ("defaults", "hydra"):
            inside = value if isinstance(value, dict) else {}
            here = {f"{key}.{one}": of for one, of in inside.items()} or {key: value}
            known |= {one: Setting(of, []) for one, of in here.items()}
    always, groups = set(known), _groups(config_name)
    for (group, name), content in options().items():
        if group not in groups:
            continue
        spread = group in ("experiment", "export")  # @package _global_
        for key, value in content.items():
            # A recipe sets keys of other groups: sections, which are theirs.
            if key in ("defaults", "_target_") or (spread and isinstance(value, dict)):
                continue
            typed_as = key if spread else f"{group}.{key}"
            setting = known.setdefault(typed_as, Setting(value, []))
            if typed_as not in always and not (spread and groups[group] == name):
                setting.choices.append(f"{group}={name}")
    return known


@cache
def _groups(config_name: str) -> dict[str, str | None]:
    """The groups that a command has, with the choices it makes itself."""
    defaults = _content(OmegaConf.load(CONF / f"{config_name}.yaml"))["defaults"]
    return {
        group.removeprefix("optional "): chosen
        for default in defaults
        if isinstance(default, dict)
        for group, chosen in default.items()
        if not group.startswith("override ")
    }


def _content(config: Any) -> dict[str, Any]:
    """Names and values, as they are written."""
    found = OmegaConf.to_container(config, resolve=False)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def no_such_choice(group: str, option: str, options: Iterable[str]) -> str:
    """One line for ``group=option``."""
    return f"no such {group}: {option}; choose {either(sorted(options))}."
