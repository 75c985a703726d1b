"""Pages as a browser shows them, headless Chromium where there is one; and as text without."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import tempfile
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Looks at the page when it has been laid out, and tells the document that holds it.
_LOOK = """<script>
const errors = [];
addEventListener("error", one => errors.push(String(one.message)), true);
addEventListener("load", () => {
  const pictures = [...document.querySelectorAll("svg, img")];
  const drawn = pictures.filter(one => {
    const room = one.getBoundingClientRect();
    return room.width > 50 && room.height > 30 && (one.complete ?? true);
  });
  const page = document.documentElement;
  const wide = [...document.querySelectorAll("body *")].filter(one =>
    !one.closest(".scroll, pre, svg, .skip") && one.getBoundingClientRect().right > innerWidth + 1);
  parent.postMessage(JSON.stringify({errors, width: innerWidth, pictures: pictures.length,
    overflow: page.scrollWidth - page.clientWidth, drawn: drawn.length,
    wide: wide.map(one => one.outerHTML.slice(0, 80))}), "*");
});
</script>
"""
_FRAME = """<!doctype html><meta charset="utf-8"><style>body { margin: 0 }</style>
<script>
addEventListener("message", one => {
  const seen = document.createElement("pre");
  seen.id = "seen";
  seen.textContent = one.data;
  document.body.append(seen);
});
</script>
<iframe src="page.html" style="width: WIDTHpx; height: 2000px; border: 0"></iframe>
"""


def opened(path: Path, width: int) -> dict[str, Any]:
    """What a browser sees of a page: script errors, pictures and how many of them are drawn, by
    how much it is too wide, and what sticks out.

    A browser's own window cannot be as narrow as a telephone, so the page is opened in a frame.
    """
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip(f"no browser here: none of {', '.join(_NAMES)}")
    html = path.read_text(encoding="utf-8").replace("<head>", f"<head>{_LOOK}", 1)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "page.html").write_text(html, encoding="utf-8")
        frame = Path(folder) / "frame.html"
        frame.write_text(_FRAME.replace("WIDTH", str(width)), encoding="utf-8")
        command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
        command += ["--disable-dev-shm-usage", f"--user-data-dir={folder}/profile"]
        command += ["--window-size=1500,2000", "--virtual-time-budget=3000", frame.as_uri()]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=800, check=True, encoding="utf-8"
        )
    seen = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert seen is not None, done.stderr[-2000:]
    return json.loads(unescape(seen[1]))


def require_drawn(path: Path, width: int) -> None:
    """A page without script errors, all of whose pictures are drawn, and nothing too wide."""
    seen = opened(path, width)
    assert seen["width"] == width
    assert seen["errors"] == []
    assert (seen["overflow"], seen["wide"]) == (0, [])
    assert seen["drawn"] == seen["pictures"] == path.read_text(encoding="utf-8").count("<svg")


class Outline(HTMLParser):
    """Ids, links and headings; whether every element is closed where it should be."""

    VOID = ("meta", "link", "br", "img", "path", "rect", "image", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.heads: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.heads += [tag] if re.fullmatch("h[1-6]", tag) else []
        self.loads += [of for key, of in attrs if key in ("src", "href") and tag != "a"]
        self.links += [found["href"]] if tag == "a" else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.loads += [of for key, of in attrs if key in ("src", "href")]


def require_whole(page: str) -> Outline:
    """A page whose elements, links, headings, pictures and tables are in order, and that loads
    nothing from elsewhere."""
    outline = Outline(page)
    assert outline.open == []
    assert len(set(outline.ids)) == len(outline.ids)
    assert [one for one in outline.links if one[1:] not in outline.ids] == []
    assert [one for one in outline.loads if not one.startswith("data:")] == []
    assert "<script" not in page
    assert len(page) < 3_000_000
    levels = [int(one[1]) for one in outline.heads]
    assert levels[0] == 1
    assert all(now - before <= 1 for before, now in itertools.pairwise(levels))
    for one in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        _require_picture(ElementTree.fromstring(one))
    for one in re.findall(r"<table>.*?</table>", page, re.DOTALL):
        _require_table(one)
    return outline


def _require_picture(svg: ElementTree.Element) -> None:
    """XML that says what it shows, and no place that is no number."""
    assert svg.get("role") == "img"
    title = svg.find("title")
    assert title is not None
    assert title.text
    assert title.text == svg.get("aria-label")
    places = " ".join(value for part in svg.iter() for value in part.attrib.values())
    assert not re.search(r"\b(nan|inf)\b", places.replace(title.text, ""))


def _require_table(table: str) -> None:
    """Heads of columns and of rows, and as many cells in each row."""
    assert "<caption><span>" in table
    heads = re.findall(r'<th scope="col"', table)
    for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)[1:]:
        assert row.count('<th scope="row"') == 1
        assert row.count("<t") == len(heads)
