"""Whatever a run's config.yaml says, reading it runs no code that its maker chose."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from typed_commands import Shell

from snn_delays.cli.runs import load_config
from snn_delays.cli.settings import CONF
from snn_delays.errors import UsageError
from snn_delays.run.folder import RunFolder

COMMANDS = {
    "evaluate": ("evaluate",),
    "export": ("export",),
    "simulate": ("simulate",),
    "report": ("report",),
    "resume": ("train", "resume=true"),
    "finetune": ("train", "finetune=quantise", "finetune.epochs=1"),
}
# A helper of torch that gives its argument to a shell.
TOUCH = {"_target_": "torch.utils.collect_env.run", "command": "touch marker"}


@pytest.fixture
def harmful(there: Path) -> Path:
    """A folder with a run that leaves a file ``marker`` if its configuration is believed.

    Its maker has seen to it that the checkpoint, which resuming compares, says the same.
    """
    shutil.copytree("runs/learned", "runs/foreign")
    change({"dataset.n_train": TOUCH}, "runs/foreign")
    run = RunFolder(Path("runs/foreign"))
    last = run.load_checkpoint("last")
    last["config"]["dataset"]["n_train"] = TOUCH
    run.save_checkpoint("last", last)
    return there


def change(changes: dict[str, Any], run: str = "runs/foreign") -> None:
    path = Path(run, "config.yaml")
    config = OmegaConf.load(path)
    for key, value in changes.items():
        OmegaConf.update(config, key, value, merge=False, force_add=True)
    OmegaConf.save(config, path)


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_runs_what_a_run_names(harmful: Path, shell: Shell, name: str):
    command, *settings = COMMANDS[name]
    line = shell.fails(command, "run=runs/foreign", *settings)
    assert not Path("marker").exists()
    assert "runs/foreign/config.yaml could run any code: dataset.n_train._target_ is" in line
    assert "'torch.utils.collect_env.run'; a run of ours has no such thing." in line
    assert "trust=true" in line


@pytest.mark.parametrize("name", COMMANDS)
def test_but_for_who_trusts_its_maker(harmful: Path, shell: Shell, name: str):
    command, *settings = COMMANDS[name]
    if command == "simulate":
        shell("export", "run=runs/learned", "folder=runs/foreign/export", "verify=false")
    shell.ends(command, "run=runs/foreign", "trust=true", *settings)
    assert Path("marker").exists()


def test_trust_does_not_excuse_an_edited_configuration(there: Path, shell: Shell):
    change({"dataset.n_train": TOUCH}, "runs/learned")
    line = shell.fails("train", "run=runs/learned", "resume=true", "trust=true")
    assert "is not what the run was trained with: dataset.n_train is missing, was 96" in line
    assert not Path("marker").exists()


def test_a_fine_tuned_run_is_not_a_way_round(harmful: Path, shell: Shell):
    """Stopped in its first epoch it goes on from another run, which its own file names."""
    shell("train", "run=runs/learned", "finetune=quantise", "finetune.epochs=1")
    tuned = Path("runs/learned/quantised-4bit")
    shutil.rmtree(tuned / "checkpoints")
    for file in ("metrics.csv", "summary.json"):
        (tuned / file).unlink()
    change({"finetune.base": str(Path("runs/foreign").resolve())}, str(tuned))
    assert "could run any code" in shell.fails("train", f"run={tuned}", "resume=true")
    assert not Path("marker").exists()


REFUSED = [
    ({"dataset._target_": "os.system"}, "dataset._target_ is 'os.system'; expected snn_delays."),
    ({"schedule._target_": "os.system"}, "schedule._target_ is 'os.system'; expected snn_delays."),
    # Below snn_delays, but not what belongs there, or not below it at all.
    ({"dataset._target_": "snn_delays.cli.train.sys.exit"}, "dataset._target_"),
    ({"dataset._target_": "snn_delays.cli.train.train"}, "dataset._target_"),
    ({"dataset._target_": "snn_delays.schedules.Linear"}, "dataset._target_"),
    ({"schedule._target_": "snn_delays.data.load_shd"}, "schedule._target_"),
    ({"dataset._target_": " snn_delays.data.load_shd"}, "dataset._target_"),
    ({"dataset._target_": ["snn_delays.data.load_shd"]}, "dataset._target_"),
    ({"dataset._target_": TOUCH}, "dataset._target_"),
    ({"dataset._target_": None}, "dataset._target_"),
    # Where nothing is ever called.
    ({"_target_": "snn_delays.data.load_shd"}, "_target_ is"),
    ({"model": {**TOUCH, "delays": "none"}}, "model._target_"),
    ({"trainer.epochs": TOUCH}, "trainer.epochs._target_"),
    ({"augmentation._target_": "snn_delays.data.load_shd"}, "augmentation._target_"),
    ({"seed": {"of": {"all": [0, [TOUCH]]}}}, "seed.of.all.1.0._target_"),
    ({"dataset.cache": [TOUCH]}, "dataset.cache.0._target_"),
    ({"schedule.start": {"a": [{"b": TOUCH}]}}, "schedule.start.a.0.b._target_"),
    # Hydra's other words.
    ({"dataset._partial_": True}, "dataset._partial_ is True"),
    ({"dataset._args_": ["root"]}, "dataset._args_"),
    ({"dataset._recursive_": False}, "dataset._recursive_"),
    ({"schedule._convert_": "all"}, "schedule._convert_"),
    ({"schedule._mode_": "all"}, "schedule._mode_"),
    # OmegaConf's.
    ({"dataset.root": "${oc.env:HOME}"}, "dataset.root is '${oc.env:HOME}'"),
    ({"seed": "${trainer.epochs}"}, "seed is '${trainer.epochs}'"),
    ({"dataset": "${oc.create:{}}"}, "dataset is '${oc.create:{}}'"),
    ({"model.hidden": [8, "x ${now:%Y}"]}, "model.hidden.1 is 'x ${now:%Y}'"),
    ({"dataset._target_": "${oc.decode:os.system}"}, "dataset._target_"),
]


@pytest.mark.parametrize(("changes", "expected"), REFUSED)
def test_only_what_conf_offers_is_called(there: Path, changes: dict[str, Any], expected: str):
    change(changes, "runs/none")
    with pytest.raises(UsageError, match="could run any code") as refused:
        load_config(RunFolder(Path("runs/none")))
    assert f"any code: {expected}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_tag_of_python_is_no_yaml(there: Path):
    path = Path("runs/none/config.yaml")
    tagged = 'seed: !!python/object/apply:os.system ["touch marker"]'
    path.write_text(path.read_text().replace("seed: 0\n", f"{tagged}\n", 1))
    assert tagged in path.read_text()
    with pytest.raises(UsageError, match="not readable as YAML"):
        load_config(RunFolder(Path("runs/none")), trust=True)
    assert not Path("marker").exists()


@pytest.mark.parametrize(
    "file", [file for file in CONF.glob("*/*.yaml") if "_target_" in file.read_text()]
)
def test_what_conf_offers_is_taken(there: Path, file: Path):
    whole = OmegaConf.create({"model": {"tau_ms": 10.05}, "section": OmegaConf.load(file)})
    OmegaConf.resolve(whole)  # as it is saved
    section = whole.section
    change({file.parent.name: section}, "runs/none")
    assert load_config(RunFolder(Path("runs/none")))[file.parent.name] == section


def test_trust_is_yes_or_no(there: Path, shell: Shell):
    line = shell.fails("evaluate", "run=runs/none", "trust=maybe")
    assert line.endswith("trust must be true or false, got 'maybe'.")


def test_a_run_keeps_values_and_no_lookups(
    there: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    """What was typed as a lookup is saved as what it gave: another shell has another HOME."""
    monkeypatch.setenv("DATA", os.path.abspath("data"))
    small = ("dataset.root=${oc.env:DATA}", "dataset.n_train=96", "dataset.n_valid=32")
    short = ("trainer.epochs=1", "model.hidden=[8]", "trainer.batch_size=${dataset.n_valid}")
    shell("train", *small, *short, "dataset.n_test=32", "run=runs/typed")
    config = OmegaConf.load("runs/typed/config.yaml")
    assert isinstance(config, DictConfig)
    assert config.dataset.root == os.environ["DATA"]
    assert config.trainer.batch_size == 32
    assert "${" not in Path("runs/typed/config.yaml").read_text()
    assert not {"run", "resume", "trust"} & set(config)
    shell("evaluate", "run=runs/typed")
