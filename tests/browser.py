"""Pages as a browser shows them: headless Chromium, where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from html import unescape
from pathlib import Path
from typing import Any

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
            command, capture_output=True, text=True, timeout=60, check=True, encoding="utf-8"
        )
    seen = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert seen is not None, done.stderr[-2000:]
    return json.loads(unescape(seen[1]))
