"""Kill trainings at random moments and resume them, until it has happened often enough.

    python scripts/kill_and_resume.py [--kills=20] [--seed=0]

A small network learns the built-in task in a process that is killed with SIGKILL, and goes on from
what was saved, again and again. Every run that ends so must have the weights, the optimisers'
moments and the metrics of one that was never killed, bit for bit.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import torch

from snn_delays import DelayLayer, DelaySNN, fit
from snn_delays.callbacks import Checkpoints
from snn_delays.data import load_synthetic
from snn_delays.data.augmentation import Augmentation
from snn_delays.run.folder import RunFolder

EPOCHS = 6
OFTEN_MINUTES = 1e-9  # after every batch
TOO_LONG_S = 120.0


def train(folder: Path, data_folder: Path) -> None:
    """Begin a run, or go on with it."""
    torch.set_num_threads(1)
    logging.getLogger("snn_delays").setLevel(logging.ERROR)
    data = load_synthetic(data_folder, n_train=192, n_valid=64, n_test=32)
    torch.manual_seed(0)
    synapses = partial(DelayLayer, max_delay=16)
    net = DelaySNN([data.n_channels, 16, data.n_classes], synapses, dropout=0.2)
    begun = (folder / "checkpoints").exists()
    kept = Checkpoints(folder, resume=begun, minutes=OFTEN_MINUTES)
    changed = Augmentation(event_drop=0.1, time_jitter=0.5)
    settings: dict[str, Any] = {"batch_size": 16, "accelerator": "cpu", "clip_norm": 1.0}
    fit(net, data, epochs=EPOCHS, augmentation=changed, callbacks=[kept], **settings)


def in_a_process(folder: Path, data_folder: Path, kill_after: float | None) -> bool:
    """Train in a child; whether it has ended by itself before it was killed."""
    child = os.fork()
    if not child:
        signal.alarm(int(TOO_LONG_S))
        code = 1
        try:
            train(folder, data_folder)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, -signal.SIGKILL):
        sys.exit(f"a training ended with {code} in {folder}")
    return code == 0


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal, bit for bit, but for how long epochs took."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            same(value, other[key]) for key, value in one.items() if key != "seconds"
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # pyright: ignore[reportOptionalMemberAccess]
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments, began = random.Random(options.seed), time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        whole = root / "whole"
        in_a_process(whole, root / "data", None)  # and with it what is compiled once
        started = time.perf_counter()
        in_a_process(root / "timed", root / "data", None)
        lasts = time.perf_counter() - started
        kills = runs = within = 0
        while kills < options.kills:
            run = root / str(runs)
            # From right away to half a run, so that a run is killed several times.
            while not in_a_process(run, root / "data", moments.uniform(0, lasts / 2)):
                kills += 1
                within += (run / "checkpoints/within.ckpt").exists()
                if kills == options.kills:
                    in_a_process(run, root / "data", None)
                    break
            for name in ("last", "best"):
                states = [RunFolder(one).load_checkpoint(name) for one in (whole, run)]
                if not same(*states):
                    sys.exit(f"{name}.ckpt differs after {kills} kills")
            runs += 1
    print(
        f"{kills} kills, {within} of them within an epoch; runs of {EPOCHS} epochs that have ended "
        f"with the same bits as one never killed: {runs}. {time.perf_counter() - began:.0f} s in "
        f"all, {lasts:.1f} s of a run never killed."
    )


if __name__ == "__main__":
    main()
