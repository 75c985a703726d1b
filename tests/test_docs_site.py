"""The site is built without a warning: navigation, links, anchors and docstrings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material", reason="pip install 'snn-delays[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_pages_from_elsewhere_are_there(site: Path) -> None:
    assert "Learn when a spike arrives" in (site / "index.html").read_text("utf-8")
    assert "Heidelberg" in (site / "data-sets/index.html").read_text("utf-8")


def test_links_out_of_docs_lead_to_pages(site: Path) -> None:
    front = (site / "index.html").read_text("utf-8")
    assert 'href="tutorials/delays/"' in front
    assert 'href="data-sets/"' in front
    assert not re.search(r'href="(?!https?:)[^"]*\.md[#"]', front)


def test_docstrings_are_shown_in_sections(site: Path) -> None:
    layers = (site / "reference/layers/index.html").read_text("utf-8")
    text = re.sub(r"<[^>]+>", "", layers)
    for heading in ("Shape", "Reference", "Parameters", "Raises"):
        assert heading in text, heading
    # Arguments that are described together each have their type.
    for name in ("in_features", "out_features"):
        assert re.search(rf"{name}\s*\(\s*int", text), name


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r'<(?:script|img|link)[^>]+(?:src|href)="(https?:[^"]+)"')
    for page in site.rglob("*.html"):
        assert not loaded.findall(page.read_text("utf-8")), page
