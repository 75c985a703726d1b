"""What becomes of a script whose workers cannot start, or are killed: one line that says which."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, signal, sys
from snn_delays.cochlea import Encoder, find_recordings
from snn_delays.cochlea import encode as module

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if "die" in sys.argv:
    module._encode = die

def work():
    with Encoder(channels=4, workers=int(sys.argv[3])) as encoder:
        encoder.encode(find_recordings(sys.argv[1]), sys.argv[2])
    print("done")

"""
GUARD = 'if __name__ == "__main__":\n    '


def run(script: Path, body: str, *arguments: object) -> tuple[int, str, str]:
    """Exit code, what was printed, and the last line of what was complained."""
    script.write_text(SCRIPT + body)
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=800,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(map(str, sys.path)), "OMP_NUM_THREADS": "1"},
    )
    return done.returncode, done.stdout, (done.stderr.splitlines() or [""])[-1]


def test_a_script_without_a_guard_and_with_one(tones: Path, tmp_path: Path):
    script, output = tmp_path / "script.py", tmp_path / "out.h5"
    code, printed, line = run(script, "work()", tones, output, 2)
    assert line == (
        "snn_delays.errors.UsageError: no worker process could start: each imports the script that "
        "it is started from, which must not encode again by that. Put what the script does under "
        'if __name__ == "__main__":, or give workers=1.'
    )
    assert (code, printed, output.exists()) == (1, "", False)
    # What was not begun is no hindrance to the script once it is mended.
    assert run(script, GUARD + "work()", tones, output, 2) == (0, "done\n", "")
    assert output.exists()


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_workers_that_are_killed(tones: Path, tmp_path: Path):
    script, output = tmp_path / "script.py", tmp_path / "out.h5"
    code, _, line = run(script, GUARD + "work()", tones, output, 2, "die")
    assert code == 1
    assert "a worker process was killed, perhaps for want of memory. The same command" in line
