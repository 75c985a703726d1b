"""What the commands say of themselves: their settings, their version."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from typed_commands import Shell

from snn_delays.cli.settings import CONF

RECIPES = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))
COMMANDS = ["train", "evaluate", "compare", "export", "prepare", "encode", "simulate", "report"]
HEADING = "== Configuration (override with key=value) ==\n"


def settings_shown(shell: Shell, *arguments: str) -> str:
    code, out, err = shell.ends(*arguments, "--help")
    assert (code, err) == (0, "")
    return out.partition(HEADING)[2]


def comments(*files: str) -> set[str]:
    """Every comment beside a setting, as it is written."""
    texts = [(CONF / f"{file}.yaml").read_text().partition("\nhydra:")[0] for file in files]
    shown = [line for text in texts for line in text.splitlines() if re.match(r" *\w+: ", line)]
    return {line.partition(" # ")[2] for line in shown} - {""}


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (["train", "dataset=shd"], ["dataset/shd", "model/delays", "trainer/default", "train"]),
        (
            ["train", "schedule=linear", "finetune=quantise", "augmentation=standard"],
            ["schedule/linear", "finetune/quantise", "augmentation/standard", "dataset/synthetic"],
        ),
        (["compare"], ["compare"]),
        (["export"], ["export/table", "export"]),
        (["prepare", "dataset=gsc"], ["dataset/gsc", "prepare"]),
        *((["evaluate"], ["evaluate"]), (["encode"], ["encode"]), (["simulate"], ["simulate"])),
        (["report"], ["report"]),
    ],
    ids=lambda given: " ".join(given),
)
def test_help_keeps_what_is_written_beside_each_setting(
    shell: Shell, arguments: list[str], files: list[str]
):
    shown = settings_shown(shell, *arguments)
    written = comments(*files)
    assert written
    assert {one for one in written if f" # {one}" not in shown} == set()


def test_help_shows_settings_as_they_are_and_says_what_a_section_is(shell: Shell):
    shown = settings_shown(shell, "train", "dataset=shd", "model.hidden=[7,5]", "seed=3")
    assert "  delays: learned # learned | fixed (random, frozen) | none (plain synapses)\n" in shown
    assert ":2306.17670). Milliseconds end in _ms; other times are in steps.\nmodel:\n" in shown
    assert "# The run's folder. A folder that holds a run is never overwritten" in shown
    settings = yaml.safe_load(shown)
    assert settings["model"]["hidden"] == [7, 5]
    assert settings["model"]["max_delay"] == 24
    assert settings["seed"] == 3


def test_help_of_settings_of_ones_own_has_their_comments(shell: Shell, tmp_path: Path):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset/mine.yaml").write_text(
        "# All of mine.\ndefaults: [shd]\nroot: here # there\nname: 'a # b' # in quotes\n"
    )
    shown = settings_shown(shell, "train", "--config-dir", str(tmp_path), "dataset=mine")
    assert "# All of mine.\ndataset:\n" in shown
    assert "  root: here # there\n" in shown
    assert "  name: 'a # b' # in quotes\n" in shown
    assert "  split: speaker # speaker | stratified | paper" in shown


def test_help_of_a_mistake_is_one_line(shell: Shell):
    assert "choose audio, digits, events, gsc, image_folder, shd" in shell.fails(
        "train", "--help", "dataset=shdd"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_the_version_is_ours(shell: Shell, command: str):
    assert shell.ends(command, "--version") == (0, f"snn_delays {version('snn-delays')}\n", "")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("hydra/launcher=ray_aws", "is not installed: pip install hydra-ray-launcher"),
        ("hydra/sweeper=ax", "is not installed: pip install hydra-ax-sweeper"),
        ("hydra/job_logging=colorlog", "is not installed: pip install hydra-colorlog"),
        (
            "hydra/launcher=job",
            "no such hydra/launcher: job; choose basic, joblib, submitit_l",
        ),
        ("hydra/launcher=job", "Packages have others: joblib (hydra-joblib-launcher), ray (hydra"),
        ("lr=0.1", "no such setting: lr; did you mean trainer.weight_lr or trainer.delay_lr?"),
        ("trainer.lr=0.1", "did you mean trainer.weight_lr or trainer.delay_lr?"),
        ("+lr=0.1", "did you mean trainer.weight_lr or trainer.delay_lr?"),
        ("finetune.lr=0.1", "did you mean finetune.weight_lr or finetune.delay_lr?"),
        ("trainer.learning_rate=1", "did you mean trainer.weight_lr or trainer.delay_lr?"),
        ("delay=none", "no such setting: delay; did you mean model.delays?"),
        ("scheduler=linear", "no such setting: scheduler; did you mean schedule?"),
        ("modell.hidden=[8]", "no such setting: modell.hidden; did you mean model.hidden?"),
        (
            "tau=9",
            "no such setting: tau; did you mean model.tau_ms, neuron.tau_v, neuron.tau_w, "
            "neuron.tau_ms, neuron.tau_syn_ms, neuron.tau_v_ms or neuron.tau_w_ms?",
        ),
        ("experiment=shdd", f"no such experiment: shdd; choose {', '.join(RECIPES[:4])},"),
        ("-m hydra/launcher=ray seed=0,1", "pip install hydra-ray-launcher"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, expected: str
):
    monkeypatch.chdir(tmp_path)
    assert expected in shell.fails("train", *typed.split())
    assert list(tmp_path.iterdir()) == []


def test_a_data_set_of_ones_own_needs_no_recipe_but_may_have_one(shell: Shell, tmp_path: Path):
    (tmp_path / "dataset").mkdir()
    OmegaConf.save({"_target_": "mine.load", "root": "x"}, tmp_path / "dataset/mine.yaml")
    given = ("train", f"--config-dir={tmp_path}", "dataset=mine")

    def epochs() -> int:
        code, out, err = shell.ends(*given, "--cfg", "job")
        assert (code, err) == (0, "")
        return yaml.safe_load(out)["trainer"]["epochs"]

    assert epochs() == 150
    unknown = f"no such experiment: mine; choose {RECIPES[0]}, "
    assert unknown in shell.fails(*given, "experiment=mine")
    (tmp_path / "experiment").mkdir()
    recipe = "# @package _global_\ntrainer:\n  epochs: 7\n"
    (tmp_path / "experiment/mine.yaml").write_text(recipe)
    assert epochs() == 7
