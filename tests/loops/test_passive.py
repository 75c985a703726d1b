"""Torch's threads sleep while they wait, in the process of one who only imports the package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPIN = """
import os, statistics, threading, time, torch
torch.set_num_threads(2)
x = torch.rand(400_000)

def spun():
    found = []
    for _ in range(30):
        (x * x).sum()
        began = time.process_time()
        time.sleep(0.02)
        found.append(time.process_time() - began)
    return 1000 * statistics.median(found)

before = dict(os.environ)
from snn_delays import DelayLayer
layer = DelayLayer(4, 4, max_delay=3)
alone = spun()
layer(torch.ones(5, 2, 4))
spare = [one.name for one in threading.enumerate() if one.name == "snn_delays spare"]
assert dict(os.environ) == before
print(alone, spun(), len(spare))
"""


def spun(**variables: str) -> tuple[float, float, int]:
    """Milliseconds that torch's threads work on after an operation, before and after a layer has
    run, and how many spare threads there are."""
    settings = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    done = subprocess.run(
        [sys.executable, "-c", SPIN],
        env={**environment, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    alone, after, spare = done.stdout.split()
    return float(alone), float(after), int(spare)


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP, which torch has on Linux")
def test_threads_sleep_once_a_loop_has_run() -> None:
    alone, after, spare = spun()
    assert spare == 1
    assert after < 0.3
    if len(os.sched_getaffinity(0)) == 2:  # with more cores two pools of two threads may spin
        assert alone > 3 * after


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_what_the_user_has_set_stays(name: str) -> None:
    _, _, spare = spun(**{name: "passive" if name == "OMP_WAIT_POLICY" else "1000"})
    assert spare == 0
