"""The front page is short, and its Python runs and learns."""

from __future__ import annotations

from typing import Any

import pytest
from written_pages import README, blocks


def test_it_is_a_front_page() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= 150


def test_its_python_runs_and_learns(capsys: pytest.CaptureFixture[str], unchecked: None) -> None:
    names: dict[str, Any] = {}
    (block,) = blocks(README, "python")
    exec(compile(block, "README.md", "exec"), names)
    assert "tensor([0, 1])" in capsys.readouterr().out
