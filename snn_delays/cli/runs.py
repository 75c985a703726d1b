"""Runs as the command lines find them: configuration, data and network of a run's folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from glob import glob, has_magic
from pathlib import Path
from textwrap import shorten
from typing import Any

from hydra.errors import InstantiationException
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn
from yaml import YAMLError

from snn_delays.cli.model import build_network, instantiate
from snn_delays.cli.settings import options, plain
from snn_delays.cli.sweep import in_order, is_job, why_failed
from snn_delays.data import SpikeData, Split
from snn_delays.data.splits.interface import framed
from snn_delays.errors import UsageError, one_line
from snn_delays.report.run import known_by
from snn_delays.report.words import either
from snn_delays.run.folder import RunFolder
from snn_delays.run.progress import require_as_trained

# What every run's configuration has had from the beginning.
_OF_DATA = ("dataset._target_",)
_OF_NETWORK = ("model._target_", "trainer.epochs", "trainer.batch_size")
# Settings of a call, not of the run.
OF_A_CALL = ("run", "resume", "trust")
# Settings that may be typed with resume=true.
AT_RESUME = ("on_nan", "checkpoint_minutes")
# Settings of where a run happens and how it is watched; they may change when it goes on.
ELSEWHERE = {
    "dataset": ("root", "cache", "download", "base_url"),
    "trainer": ("accelerator", "graphs", "devices", "num_nodes", *AT_RESUME),
    "finetune": ("base",),
}
log = logging.getLogger("snn_delays")


def find_runs(typed: Any, checkpoint: str) -> list[RunFolder]:
    """The runs that ``run=`` names: a run, a folder of runs (a sweep), a pattern, a list of these.

    Runs in a folder or a pattern that lack that checkpoint are left out, with a warning.
    """
    require_checkpoint(checkpoint)
    found: list[RunFolder] = []
    for one in typed if isinstance(typed, ListConfig) else [typed]:
        path = run_folder(one)
        matches = [path]
        if has_magic(str(path)) and not path.exists():
            matches = in_order(match for name in glob(str(path)) if (match := Path(name)).is_dir())
        folders = [run for match in matches for run in runs_inside(match) or [match]]
        whole = [RunFolder(path)]
        if folders != [path]:
            whole = [run for run in map(RunFolder, folders) if _has(run, checkpoint)]
        if not whole:
            raise UsageError(
                f"run={one}: no run with a {checkpoint}.ckpt among "
                f"{len(folders)} folders. Give run=DIR, one that snn-delays-train has written."
            )
        found += whole
    return found


def require_checkpoint(name: str, key: str = "checkpoint") -> None:
    """Refuse what names no checkpoint."""
    if name not in ("best", "last"):
        raise UsageError(f"{key} must be best or last, got {name!r}.")


def run_folder(typed: Any) -> Path:
    """The folder that ``run=`` names."""
    return Path(str(typed)).expanduser()


def runs_inside(folder: Path) -> list[Path]:
    """Runs and jobs one level below a folder that is no run itself."""
    if not folder.is_dir() or RunFolder(folder).config.is_file():
        return []
    return in_order(
        path for path in folder.iterdir() if RunFolder(path).config.is_file() or is_job(path)
    )


def _has(run: RunFolder, checkpoint: str) -> bool:
    """Whether a run has a checkpoint; a warning says why not."""
    there = run.checkpoint(checkpoint).is_file()
    if not there:
        why = why_failed(run.path) or f"no {checkpoint}.ckpt"
        log.warning(f"{run.path} is left out: {why}")
    return there


def load_run(
    run: RunFolder, checkpoint: str, root: str | None, moved: str = "root", *, trust: bool = False
) -> tuple[DictConfig, SpikeData, nn.Module]:
    """Configuration, data and trained network of a run.

    Args:
        root: where the data lies now; None: where it was in training.
        moved: the setting that ``root`` comes from, for messages.
        trust: whether the run may say more than data, see ``load_config``.
    """
    require_checkpoint(checkpoint)
    config = load_config(run, trust=trust)
    saved = run.load_checkpoint(checkpoint)
    if root is not None:
        if "root" not in config.dataset:
            raise UsageError(
                f"root={root}: {config.dataset._target_} reads no folder. Leave root out."
            )
        config.dataset.root = existing_folder(root) if moved == "root" else root
    data = load_data(config.dataset, moved)
    net = build_network(config, data)
    try:
        net.load_state_dict(saved["network"])
    except (KeyError, RuntimeError, TypeError, AttributeError) as error:
        reason = one_line(error, 300)
        raise UsageError(
            f"{run.checkpoint(checkpoint)} does not fit {run.config} and its data: {reason} "
            "Restore both as they were, or train again."
        ) from error
    require_as_trained(run, identity(plain(config)), known_by(data))
    return config, data, net


def existing_folder(root: str) -> str:
    """The folder that data have moved to; it must exist, else the built-in task is made anew."""
    path = Path(str(root)).expanduser()
    if not path.is_dir():
        raise UsageError(f"root={root}: no such folder. Give the one that holds the run's data.")
    return str(path)


def load_config(run: RunFolder, *, trust: bool = False, network: bool = True) -> DictConfig:
    """A run's configuration.

    Args:
        trust: whether it may name what is to be called or looked up. A run on one's own data set
            needs that; with a run from elsewhere it runs its maker's code.
        network: whether its network is needed, or its data alone.
    """
    if not run.config.is_file():
        if inside := runs_inside(run.path):
            raise UsageError(
                f"{run.path} holds several runs: give one of them, such as run={inside[0]}."
            )
        if why := why_failed(run.path):
            raise UsageError(f"{run.path} holds no run, since it failed: {why}")
        raise UsageError(
            f"{run.config} not found. Give run=DIR, a folder that snn-delays-train has written."
        )
    try:
        config = OmegaConf.load(run.config)
    except (YAMLError, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{run.config} is not readable as YAML: {one_line(error)}") from error
    if isinstance(config, DictConfig) and not trust:
        require_data(config, run.config)
    content = OmegaConf.to_container(config, resolve=False)
    missing = [
        key for key in _OF_DATA + (_OF_NETWORK if network else ()) if not _holds(content, key)
    ]
    if missing or not isinstance(config, DictConfig):
        raise UsageError(
            f"{run.config} is not the configuration of a run: {', '.join(missing)} missing. "
            "Restore the file that snn-delays-train wrote there."
        )
    return config


def identity(saved: dict[str, Any]) -> dict[str, Any]:
    """What must be the same for a run to go on: its configuration, but for where that happens."""
    return {
        name: {key: of for key, of in section.items() if key not in ELSEWHERE.get(name, ())}
        if isinstance(section, dict)
        else section
        for name, section in saved.items()
    }


def require_data(config: DictConfig, file: Path) -> None:
    """Refuse a run's configuration that names anything to call but what ``conf/`` offers.

    Hydra calls whatever ``_target_`` names, at any depth; OmegaConf looks up what ``${…}`` names,
    in the environment for one. Here nothing is imported, called or looked up.
    """
    for place, value in _calls(OmegaConf.to_container(config, resolve=False)):
        choices = [
            content["_target_"]
            for (group, _), content in options().items()
            if place == (group, "_target_") and "_target_" in content
        ]
        if value in choices:
            continue
        expected = f"expected {either(choices)}" if choices else "a run of ours has no such thing"
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
    """Place and value of all that Hydra would call or OmegaConf look up."""
    called = place and place[-1].startswith("_")  # _target_, _args_, _partial_, …
    if called or (isinstance(node, str) and "${" in node):
        yield place, node
    elif isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _calls(value, (*place, str(key)))


def _holds(content: Any, key: str) -> bool:
    """Whether the content of a file, whatever it is, has ``section.name``."""
    for name in key.split("."):
        if not isinstance(content, dict) or name not in content:
            return False
        content = content[name]
    return True


def dataset_root(dataset: DictConfig) -> None:
    """Make the folder of the data absolute, so that the run can be read from anywhere; a data set
    that needs none has no ``root``."""
    if "root" not in dataset:
        return
    if not isinstance(dataset.root, str):
        raise UsageError(f"dataset.root must be a folder, got {dataset.root!r}.")
    dataset.root = str(Path(dataset.root).expanduser().resolve())


def load_data(dataset: DictConfig, moved: str | None = None) -> SpikeData:
    """The data of a section ``dataset``.

    Args:
        moved: the setting that says where a run's data lies now, if it has moved since.
    """
    try:
        data: SpikeData = instantiate("dataset", dataset)
    except (UsageError, InstantiationException) as error:
        if moved is None or "root" not in dataset or Path(str(dataset.root)).exists():
            raise
        raise UsageError(
            f"the run's data was in {dataset.root}, and is not there. Give {moved}=DIR, where it "
            "lies now."
        ) from error
    log.info(
        f"data: {len(data.train)} train, {len(data.valid)} validation "
        f"({data.split}), {len(data.test)} test; {framed(data.frame)}, "
        f"{data.n_classes} classes, {_longest(data)}steps of {data.dt_ms:g} ms"
    )
    return data


def _longest(data: SpikeData) -> str:
    """How long recordings are, which shows times in another unit; nothing of images."""
    splits = (data.train, data.valid, data.test)
    longest = max(int(split.lengths.max()) for split in splits)
    return f"up to {longest:,} " if longest > 1 else ""


def input_range(split: Split) -> tuple[bool, int]:
    """Whether recordings are currents instead of spikes; the most spikes per step and channel."""
    largest = 0.0
    for at in range(0, len(split), 64):
        counts = split.collate(range(at, min(at + 64, len(split)))).spikes
        if bool((counts < 0).any()) or bool((counts != counts.round()).any()):
            return True, 0
        largest = max(largest, float(counts.max()))
    return False, int(largest)
