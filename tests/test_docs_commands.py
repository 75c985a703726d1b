"""Every command on a page exists and composes, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from written_pages import (
    BESIDE,
    DOCS,
    OTHERS,
    PAGES,
    README,
    ROOT,
    anchors,
    commands,
    links,
    name_of,
)

from snn_delays.cli.settings import CONF

WITH_COMMANDS = [README, *PAGES, *BESIDE]
COMMANDS = {" ".join(command): command for page in WITH_COMMANDS for command in commands(page)}
# Programs that are not ours. Whatever else a page names must be: a mistyped name fails.
OTHER_PROGRAMS = {"cd", "curl", "export", "for", "md5sum", "mkdir", "pip", "sbatch", "srun"}
OTHER_PROGRAMS |= {"tensorboard", "torchrun", "unzip", ".venv/bin/pip", ".venv/bin/mkdocs"}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_commands_exist(command: list[str]) -> None:
    program, *arguments = command
    if program in OTHER_PROGRAMS:
        return
    if program in ("bash", "python"):
        assert (ROOT / arguments[0]).is_file() or (
            ROOT / "scripts/examples" / arguments[0]
        ).is_file()
        return
    assert program.startswith("snn-delays-"), f"{program}: a mistake, or for OTHER_PROGRAMS"
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


@pytest.mark.parametrize("page", [README, *PAGES, *BESIDE, *OTHERS], ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8")))
    missing = {page.relative_to(DOCS).as_posix() for page in PAGES} - listed
    assert not missing, f"name {', '.join(sorted(missing))} under nav in mkdocs.yml"
