"""What people read: README.md, docs/ and their neighbours, cut into blocks and links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = sorted(DOCS.rglob("*.md"))
BESIDE = [ROOT / "datasets/README.md", ROOT / "scripts/examples/README.md"]
OTHERS = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


def name_of(page: Path) -> str:
    """As a test names it: ``docs/chips.md``."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", page.read_text("utf-8"))


def commands(page: Path) -> list[list[str]]:
    """The words of every command in its bash blocks; lines that end with a backslash go on."""
    text = "".join(blocks(page, "bash")).replace("\\\n", " ")
    words = [shlex.split(line, comments=True) for line in text.splitlines()]
    return [one for one in words if one]


def links(page: Path) -> list[str]:
    """Targets within the repository of its links and pictures, outside of code."""
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text("utf-8"))
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`(?!\])", "", text))
    return [one for one in targets if not re.match(r"\w+:", one)]


def anchors(page: Path) -> set[str]:
    """Of its headings, as code hosts and the site make them."""
    headings = re.findall(r"(?m)^#+ (.+)$", page.read_text("utf-8"))
    return {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}
