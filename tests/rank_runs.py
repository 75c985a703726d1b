"""Trainings that one process and several do alike, for tests/run/test_ranks.py, which runs this."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from drawn_networks import delay_snn
from torch import nn

from snn_delays.callbacks import Checkpoints
from snn_delays.callbacks.callback import Callback, Training
from snn_delays.data import SpikeData, load_synthetic
from snn_delays.layers.networks import delay_layers
from snn_delays.regularisers import SmallDelays
from snn_delays.rewiring import DeepR, RigL
from snn_delays.run.folder import Row
from snn_delays.schedules import Exponential
from snn_delays.training import fit

# 100 samples in batches of 25, which two processes share as 12 and 13.
_FIT: dict[str, Any] = {"epochs": 2, "batch_size": 25, "accelerator": "cpu", "seed": 3}
_SIGMAS = Exponential(start=2.0, until=0.5)


class Watch(Callback):
    """All parameters after every step, on every process."""

    everywhere = True

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []

    def on_batch(self, training: Training) -> None:
        with torch.no_grad():
            parts = [one.detach().flatten() for one in training.net.parameters()]
            self.steps.append(torch.cat(parts).clone())
            for layer in delay_layers(training.net):
                assert bool((layer.delay >= 0).all())
                assert bool((layer.delay <= layer.max_delay).all())


class Alone(Callback):
    """Counts the epochs that it was told of."""

    def __init__(self) -> None:
        self.epochs = 0

    def on_epoch(self, training: Training) -> None:
        self.epochs += 1


class Stop(Callback):
    """Ends the training after its first epoch, on every process."""

    everywhere = True

    def on_epoch(self, training: Training) -> None:
        raise KeyboardInterrupt


def data(root: Path) -> SpikeData:
    return load_synthetic(root, n_train=100, n_valid=20, n_test=20, n_classes=3, pattern_steps=11)


def _plain_steps(net: nn.Module) -> list[Any]:
    """Without Adam, which makes much of a gradient that is 0 but for rounding."""
    delays = [one for layer in delay_layers(net) for one in layer.delay_tensors()]
    others = [one for one in net.parameters() if not any(one is delay for delay in delays)]
    return [torch.optim.SGD([{"params": others, "lr": 0.1}, {"params": delays, "lr": 1.0}])]


# Without BatchNorm: neurons that fire nevertheless.
_SPIKING = {"batch_norm": False, "v_threshold": 0.1}
CASES: dict[str, dict[str, Any]] = {
    "synced": {"fit": {"sync_batch_norm": True, "regulariser": SmallDelays(0.1)}},
    "rigl": {"net": _SPIKING, "beside": partial(RigL, 0.5, every=2)},
    "deepr": {"net": _SPIKING, "frozen": True, "beside": partial(DeepR, 0.5)},
    # Delays rest from the second epoch on; one parameter is never used.
    "accumulated": {
        "fit": {"sync_batch_norm": True, "batch_size": 11, "accumulate": 3, "clip_norm": 0.5}
    },
    "integer": {"net": _SPIKING, "schedule": Exponential(2.0, integer_from=0.5), "unused": True},
    "resumed": {"net": _SPIKING, "fit": {"optimizers": None}, "resumed": True},
    "bf16": {"fit": {"sync_batch_norm": True, "precision": "bf16-mixed", "epochs": 1}},
}


def _network(found: SpikeData, case: dict[str, Any]) -> nn.Module:
    torch.manual_seed(5)
    net = delay_snn(
        [found.n_channels, 16, found.n_classes],
        **{"max_delay": 8, "dropout": 0.0, **case.get("net", {})},
    )
    if case.get("frozen"):
        for layer in delay_layers(net):
            for delay in layer.delay_tensors():
                delay.requires_grad_(False)
    if case.get("unused"):
        net.unused = nn.Parameter(torch.ones(2))
    return net


def trained(name: str, folder: Path, devices: int) -> dict[str, Any]:
    """What a case leaves: rows, every step's parameters, the network's state."""
    case, found = CASES[name], data(folder / "data")
    watch, alone = Watch(), Alone()
    beside = [case["beside"]()] if "beside" in case else []

    def run(*more: Callback) -> tuple[nn.Module, list[Row]]:
        net = _network(found, case)
        settings = {"optimizers": _plain_steps(net), **_FIT, **case.get("fit", {})}
        settings |= {"schedule": case.get("schedule", _SIGMAS), "devices": devices}
        return net, fit(net, found, callbacks=[*more, watch, alone, *beside], **settings)

    if case.get("resumed"):
        path = folder / f"run{devices}"
        with suppress(KeyboardInterrupt):
            run(Checkpoints(path), Stop())
        net, rows = run(Checkpoints(path, resume=True))
    else:
        net, rows = run()
    rows = [{key: of for key, of in row.items() if key != "seconds"} for row in rows]
    kinds = [type(module).__name__ for module in net.modules()]
    return {
        **{"rows": rows, "steps": watch.steps, "net": net.state_dict(), "kinds": kinds},
        "told": alone.epochs,
    }


if __name__ == "__main__":
    folder, names = Path(sys.argv[1]), sys.argv[2].split(",")
    torch.set_num_threads(1)
    for name in names:
        result = trained(name, folder, int(os.environ["WORLD_SIZE"]))
        torch.save(result, folder / f"{name}{os.environ['RANK']}.pt")
