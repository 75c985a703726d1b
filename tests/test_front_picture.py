"""The picture of the front page shows what its script learns."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs/delays.svg"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "scripts/site/front_picture.py"
    spec = importlib.util.spec_from_file_location("front_picture", path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_fires_once_delays_are_learned(script: ModuleType, unchecked: None) -> None:
    found = script.learned()
    arrivals = [
        [sent + delay for sent, delay in zip(found.sent, delays, strict=True)]
        for delays in (found.before, found.after)
    ]
    assert [len(script.membrane(one)[1]) for one in arrivals] == [0, 1]
    assert max(arrivals[1]) - min(arrivals[1]) <= 1
    drawn = script.picture(found)
    # Another processor may learn another moment; all else is the committed picture.
    words = [re.findall(r"<text[^>]*>([^<]+)<", text) for text in (drawn, FILE.read_text("utf-8"))]
    assert words[0] == words[1]
    assert len(drawn.splitlines()) == len(FILE.read_text("utf-8").splitlines())


def test_it_is_a_small_picture_for_light_and_dark_pages() -> None:
    text = FILE.read_text("utf-8")
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert "prefers-color-scheme: dark" in text
    assert len(text.encode()) < 300_000
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
