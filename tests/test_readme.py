"""The front page is short, and its Python runs and learns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from written_pages import README, ROOT, blocks


def test_it_is_a_front_page() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= 150


def test_its_python_learns_and_says_nothing_else(tmp_path: Path) -> None:
    (block,) = blocks(README, "python")
    first = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", first + block],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tensor([0, 1])")
    said = done.stderr.splitlines()
    assert [one for one in said if not one.startswith("Compiling loops for this proc")] == []
    assert not list(tmp_path.iterdir())
