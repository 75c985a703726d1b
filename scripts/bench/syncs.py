#!/usr/bin/env python
"""Where the host waits for the GPU in training: each place, and how often per batch.

    python scripts/bench/syncs.py [--batches 6]

Torch names every operation that waits (``torch.cuda.set_sync_debug_mode``). The first two batches,
which compile and fill caches, are left out. Without a GPU there is nothing to see.
"""

from __future__ import annotations

import argparse
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from snn_delays import DelaySNN
from snn_delays.callbacks.callback import Callback, Training
from snn_delays.data import load_synthetic
from snn_delays.layers import DelayLayer, RecurrentDelayLayer
from snn_delays.neurons import CAdLIFNode, LeakyReadout
from snn_delays.training import fit

WARM_UP = 2
PACKAGE = Path(__file__).resolve().parents[2] / "snn_delays"
READOUT = partial(LeakyReadout, tau=2.0)


def cases() -> dict[str, Callable[..., DelaySNN]]:
    """Networks by name, to be made with their sizes."""
    found: dict[str, Callable[..., DelaySNN]] = {
        f"{granularity} σ": partial(
            DelaySNN, synapses=partial(DelayLayer, max_delay=24, granularity=granularity)
        )
        for granularity in ("synaptic", "axonal", "dendritic", "axonal+dendritic")
    }
    found["cAdLIF"] = partial(DelaySNN, neuron=CAdLIFNode, output=READOUT)
    found["recurrent"] = partial(DelaySNN, recurrent=partial(RecurrentDelayLayer, max_delay=4))
    return found


class Watch(Callback):
    """Counts waits from the end of batch ``WARM_UP`` to the end of the last batch."""

    def __init__(self) -> None:
        self.places: Counter[str] = Counter()

    def note(self, message: Warning | str, *_: Any, **__: Any) -> None:
        if "synchroniz" not in str(message):
            return
        ours = [at for at in traceback.extract_stack() if PACKAGE in Path(at.filename).parents]
        last = ours[-1] if ours else traceback.extract_stack()[-3]
        name = Path(last.filename)
        where = name.relative_to(PACKAGE.parent) if ours else name
        self.places[f"{where}:{last.lineno}  {last.line}"] += 1

    def on_batch(self, training: Training) -> None:
        if training.batch == WARM_UP:
            torch.cuda.set_sync_debug_mode("warn")
        if training.batch == training.batches:
            torch.cuda.set_sync_debug_mode("default")


def watched(make: Callable[..., DelaySNN], batches: int, folder: str) -> Counter[str]:
    data = load_synthetic(folder, n_train=16 * (batches + WARM_UP), n_valid=16, n_test=16)
    watch = Watch()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = watch.note
        net = make([data.n_channels, 32, 32, data.n_classes])
        fit(net, data, epochs=1, batch_size=16, callbacks=[watch])
    return watch.places


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batches", type=int, default=6)
    batches = parser.parse_args(arguments).batches
    if not torch.cuda.is_available():
        print("No GPU: nothing waits.")
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, make in cases().items():
            places = watched(make, batches, folder)
            print(f"{name}: {sum(places.values()) / batches:.1f} waits per batch")
            for place, count in places.most_common():
                print(f"  {count / batches:6.2f}  {place}")


if __name__ == "__main__":
    main()
