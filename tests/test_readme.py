"""The README does what it says: its code runs, its commands exist and compose."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from snn_delays.cli.settings import CONF

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)
    for language, block in BLOCKS
    if language == "bash"
    for line in block.splitlines()
    if line.strip()
]


def test_python_blocks_run_and_learn(
    capsys: pytest.CaptureFixture[str],
    unchecked: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    first, back, second, third = (text for language, text in BLOCKS if language == "python")
    exec(compile(first, "README.md", "exec"), names)
    assert "tensor([0, 1])" in capsys.readouterr().out
    exec(compile(back, "README.md", "exec"), names)
    assert "torch.Size([96, 2, 2])" in capsys.readouterr().out
    exec(compile(second, "README.md", "exec"), names)
    assert "epoch  20/20" in capsys.readouterr().out
    assert names["rows"][-1]["valid_accuracy"] == 1.0
    assert not list(tmp_path.iterdir())
    exec(compile(third, "README.md", "exec"), names)
    assert re.search(r"\d+ 0 of [1-9]\d* spikes differ", capsys.readouterr().out)
    assert [path.name for path in tmp_path.iterdir()] == ["delays.h5"]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_exist(command: list[str]):
    program, *arguments = command
    if program in ("bash", "python"):
        assert (ROOT / arguments[0]).is_file()
        return
    name = program.removeprefix("snn-delays-")
    assert (ROOT / "scripts" / f"{name}.py").is_file()
    overrides = [argument for argument in arguments if argument != "-m"]
    # A sweep's lists are split before they are composed: take the first of each.
    first = [re.sub(r"^([\w.]+=)([^\[,]+),.*", r"\1\2", override) for override in overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        if name == "compare":  # hands on what is not its own
            keys = set(OmegaConf.load(CONF / "compare.yaml"))
            own = [one for one in first if one.partition("=")[0] in keys]
            of_training = [one for one in first if one not in own]
            first = own
            for recipe in compose(name, overrides=own).experiments or []:
                compose("train", overrides=[f"experiment={recipe}", *of_training])
        compose(name, overrides=first)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if not target.startswith("http"):
            path, _, anchor = target.partition("#")
            assert (ROOT / path).exists(), target
            if anchor:
                headings = re.findall(r"(?m)^#+ (.+)$", (ROOT / path).read_text(encoding="utf-8"))
                slugs = [re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings]
                assert anchor in slugs, target
