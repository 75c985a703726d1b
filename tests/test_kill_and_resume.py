"""Killed with SIGKILL at random moments, and the same bits in the end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts/kill_and_resume.py"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_killed_runs_end_with_the_same_bits():
    command = [sys.executable, str(SCRIPT), "--kills=20", "--seed=1"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=800, check=True)
    assert "20 kills," in found.stdout
    assert "with the same bits as one never killed" in found.stdout
