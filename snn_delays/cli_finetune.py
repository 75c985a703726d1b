"""``finetune=quantise``: the configuration and the network of a run that goes on from another."""

from __future__ import annotations

import math
from pathlib import Path

from omegaconf import DictConfig

from snn_delays.checkpoint import RunFolder
from snn_delays.cli_runs import load_config, load_run
from snn_delays.data import SpikeData
from snn_delays.errors import UsageError
from snn_delays.export.chips import load_chip
from snn_delays.export.quantised_training import folded, make_quantisation_aware_
from snn_delays.network import DelaySNN


def finetuned_config(cfg: DictConfig, overrides: list[str]) -> tuple[DictConfig, RunFolder]:
    """The new run's configuration, which is the trained run's with a few changes; its folder.

    Raises:
        UsageError: no trained run, one that is fine-tuned already, settings that would make it
            another network, values out of range.
    """
    settings = cfg.finetune
    given = [one for one in overrides if not one.startswith(("run=", "finetune", "seed="))]
    if given:
        raise UsageError(
            f"finetune={settings_name(overrides)} goes on with {cfg.run} as it was configured, got "
            f"{' '.join(given)}. Give finetune.…=… and seed=… only."
        )
    base = load_config(RunFolder(Path(str(cfg.run))))
    if base.get("finetune"):
        raise UsageError(f"{cfg.run} is fine-tuned already. Start again from {base.finetune.base}.")
    for name, least in (("weight_lr", 0.0), ("delay_lr", 0.0), ("sigma", 0.0)):
        value = settings[name]
        if not (isinstance(value, int | float) and math.isfinite(value) and value >= least):
            raise UsageError(f"finetune.{name} must be a number >= {least:g}, got {value!r}.")
    config = base.copy()
    if any(one.startswith("seed=") for one in overrides):
        config.seed = cfg.seed
    config.model.batch_norm, config.model.bias = False, True
    config.trainer.epochs = settings.epochs
    config.trainer.weight_lr, config.trainer.delay_lr = settings.weight_lr, settings.delay_lr
    config.schedule = {
        "_target_": "snn_delays.schedules.Constant",
        "start": float(settings.sigma),
    }
    chip = None if settings.chip is None else load_chip(str(settings.chip))
    bits, max_delay = settings.bits, settings.max_delay
    if bits is None:
        bits = chip.weights.bits if chip and chip.weights.bits else 4
    if max_delay is None and chip and chip.delay.max is not None:
        # What is trained from 0 on is shifted to the chip's shortest delay on export.
        max_delay = min(base.model.max_delay, chip.delay.max - chip.delay.min)
    config.finetune = {
        "base": str(Path(str(cfg.run)).resolve()),
        "checkpoint": settings.checkpoint,
        "bits": bits,
        "scale": settings.scale,
        "max_delay": max_delay,
    }
    folder = settings.folder
    if folder is None:
        name = f"for-{chip.name}" if chip else f"quantised-{bits}bit"
        folder = Path(str(cfg.run)) / name
    return config, RunFolder(Path(str(folder)))


def settings_name(overrides: list[str]) -> str:
    """What the user typed after ``finetune=``."""
    return next(one.partition("=")[2] for one in overrides if one.startswith("finetune="))


def starting_network(config: DictConfig) -> tuple[SpikeData, DelaySNN]:
    """The trained network, folded and made quantisation-aware, and its data.

    ``config.model`` is completed: a smaller range of delays must not shorten the tail.
    """
    settings = config.finetune
    _, data, net = load_run(
        RunFolder(Path(settings.base)), settings.checkpoint, config.dataset.root
    )
    net = folded(net, settings.max_delay)
    config.model.max_delay, config.model.tail = net.max_delay, net.tail
    return data, make_quantisation_aware_(net, settings.bits, settings.scale)
