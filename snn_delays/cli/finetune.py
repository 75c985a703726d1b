"""``finetune=quantise``: the configuration and the network of a run that goes on from another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from snn_delays.arguments import real_number, whole_number
from snn_delays.cli.runs import (
    input_range,
    load_config,
    load_run,
    require_checkpoint,
    run_folder,
)
from snn_delays.cli.settings import CONF
from snn_delays.data import SpikeData
from snn_delays.deploy.quantise import BITS
from snn_delays.deploy.quantised_training import folded, make_quantisation_aware_
from snn_delays.errors import UsageError
from snn_delays.network import DelaySNN
from snn_delays.run_folder import RunFolder
from snn_delays.table.chips import ChipProfile, load_chip, wrong_input


def finetuned_config(
    cfg: DictConfig, overrides: list[str], sweep: Path | None = None
) -> tuple[DictConfig, RunFolder]:
    """The new run's configuration, which is the trained run's with a few changes; its folder.

    Args:
        overrides: what the user typed.
        sweep: of several runs (-m), the folder of this one.

    Raises:
        UsageError: no trained run, one that is fine-tuned already, settings that would make it
            another network, values out of range.
    """
    settings = cfg.finetune
    if not any(one.startswith("run=") for one in overrides):
        raise UsageError(
            f"finetune={settings_name(overrides)} goes on with a trained run: give run=DIR."
        )
    allowed = ("run=", "finetune", "seed=", "dataset.root=", "trust=")
    given = [one for one in overrides if not one.startswith(allowed)]
    if given:
        raise UsageError(
            f"finetune={settings_name(overrides)} goes on with {cfg.run} as it was configured, got "
            f"{' '.join(given)}. Give finetune.…=…, seed=… and, if the data have moved, "
            "dataset.root=… only."
        )
    trained = run_folder(cfg.run)
    base = load_config(RunFolder(trained), trust=cfg.trust)
    if base.model._target_ != (ours := OmegaConf.load(CONF / "model/delays.yaml")._target_):
        raise UsageError(
            f"finetune goes on with networks of model._target_={ours}, got {base.model._target_}. "
            f"Export it as it is: snn-delays-export run={cfg.run} bits=…."
        )
    if base.get("finetune"):
        raise UsageError(f"{cfg.run} is fine-tuned already. Start again from {base.finetune.base}.")
    for name in ("weight_lr", "delay_lr", "sigma"):
        real_number(f"finetune.{name}", settings[name], 0)
    whole_number("finetune.epochs", settings.epochs, 1)
    require_checkpoint(settings.checkpoint, "finetune.checkpoint")
    try:
        chip = None if settings.chip is None else load_chip(str(settings.chip))
    except UsageError as error:
        raise UsageError(f"finetune.chip: {error}") from error
    if chip is not None:
        _require_neurons(chip, base.model, base.neuron)
    bits = _bits(settings, chip, str(cfg.run))
    max_delay = _max_delay(settings.max_delay, base.model, chip)
    config = base.copy()
    if any(one.startswith("seed=") for one in overrides):
        config.seed = cfg.seed
    if any(one.startswith("dataset.root=") for one in overrides):
        config.dataset.root = cfg.dataset.root
    config.model.batch_norm, config.model.bias = False, True
    config.trainer.epochs = settings.epochs
    config.trainer.weight_lr, config.trainer.delay_lr = settings.weight_lr, settings.delay_lr
    config.schedule = {"_target_": "snn_delays.schedules.Constant", "start": float(settings.sigma)}
    config.finetune = {
        **{"base": str(trained.resolve()), "checkpoint": settings.checkpoint},
        **{"chip": chip.name if chip else None, "bits": bits, "scale": settings.scale},
        "max_delay": max_delay,
    }
    name = _folder_name(chip, str(settings.chip)) if chip else f"quantised-{bits}bit"
    run = RunFolder(Path(str(settings.folder or sweep or trained / name)))
    if run.config.exists():
        raise UsageError(
            f"{run.path} already holds a run. Choose another finetune.folder=DIR, or go on with "
            f"it: run={run.path} resume=true."
        )
    return config, run


def _require_neurons(chip: ChipProfile, model: DictConfig, neuron: DictConfig) -> None:
    """Refuse a chip that no training of this network fits to."""
    if chip.neuron.leak == "linear":
        raise UsageError(
            f"finetune.chip: {chip.name} takes a constant from v at every step, the neurons of a "
            "run keep a share of it. Choose another chip."
        )
    v_reset, granularity = neuron.get("v_reset", 0.0), model.granularity
    reset = "soft" if v_reset is None else "hard"
    if reset not in chip.neuron.resets:
        raise UsageError(
            f"finetune.chip: {chip.name} has no {reset} reset, which the run was trained with "
            f"(neuron.v_reset={v_reset}). Train a run with another, or choose another chip."
        )
    if chip.neuron.reset_to_zero and v_reset:
        raise UsageError(
            f"finetune.chip: {chip.name} resets v to 0 only, the run was trained with "
            f"neuron.v_reset={v_reset}. Train a run with neuron.v_reset=0, or choose another chip."
        )
    if model.delays == "none" or not model.max_delay:
        return
    if chip.delay.granularity == "none":
        raise UsageError(
            f"finetune.chip: {chip.name} has no delays. Train a run with model.delays=none, or "
            "choose another chip."
        )
    if chip.delay.granularity == "axon" and granularity != "axonal":
        raise UsageError(
            f"finetune.chip: {chip.name} has one delay per axon, the run has {granularity} "
            "ones. Train a run with model.granularity=axonal."
        )


def _bits(settings: DictConfig, chip: ChipProfile | None, run: str) -> int:
    """Bits of the weights to train for: those given, the chip's, else 4."""
    given = settings.bits
    if given is not None:
        must = "be a whole number from 2 (ternary) to 16"
        whole_number("finetune.bits", given, min(BITS), max(BITS), must=must)
    if chip is None:
        return 4 if given is None else given
    instead = (
        f"Export the run itself (snn-delays-export run={run} chip={settings.chip}), "
        "or leave finetune.chip out."
    )
    limit = chip.weights.bits
    if chip.weights.power_of_two:
        raise UsageError(
            f"finetune.chip={settings.chip}: scales of weights that are learned are no powers of "
            f"two, {chip.name}'s must be, with {limit or 'unknown'} bits. {instead}"
        )
    if limit is None and "weights.bits" not in chip.unknown:
        raise UsageError(
            f"finetune.chip={settings.chip}: {chip.name} computes with floating-point weights, "
            f"so that there are no bits to train for. {instead}"
        )
    if given is None:
        if limit is None:
            raise UsageError(
                f"finetune.chip={settings.chip}: it is unknown how many bits {chip.name}'s weights "
                "have. Give finetune.bits=… as well."
            )
        return min(limit, max(BITS))
    if limit is not None and given > limit:
        raise UsageError(
            f"finetune.bits must be at most {limit} for {chip.name}, got {given}. "
            "Leave finetune.bits out, or finetune.chip."
        )
    return given


def _max_delay(given: Any, model: DictConfig, chip: ChipProfile | None) -> int | None:
    """The longest delay to train with, steps; None: as trained, or no delays at all."""
    if model.delays == "none" or model.max_delay == 0:
        if given is not None:
            raise UsageError(
                f"finetune.max_delay is for runs with delays, got {given!r} for one without. "
                "Leave finetune.max_delay out."
            )
        return None
    longest: int = model.max_delay
    if given is not None:
        must = f"be a whole number of steps from 1 to the network's {longest}"
        whole_number("finetune.max_delay", given, 1, longest, must=must)
    if chip is None or chip.delay.max is None:
        return given
    # What is trained from 0 on is shifted to the chip's shortest delay on export.
    limit = chip.delay.max - chip.delay.min
    if limit == 0:
        raise UsageError(
            f"finetune.chip: {chip.name} holds one delay only ({chip.delay.text}), the run has 0 … "
            f"{longest} steps. Train one with model.delays=none, or choose another chip."
        )
    if given is not None and given > limit:
        raise UsageError(
            f"finetune.max_delay must be at most {limit} for {chip.name}, whose {chip.delay.text} "
            f"stand for 0 … {limit}, got {given}. Leave finetune.max_delay out, or finetune.chip."
        )
    return min(longest, limit) if given is None else given


def _folder_name(chip: ChipProfile, typed: str) -> str:
    """``for-CHIP``, whatever the chip's profile calls itself: one folder, inside the run's."""
    for name in (chip.name, Path(typed).stem):
        if plain := re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-."):
            return f"for-{plain[:64]}"
    return "for-chip"


def settings_name(overrides: list[str]) -> str:
    """What the user typed after ``finetune=``."""
    return next(one.partition("=")[2] for one in overrides if one.startswith("finetune="))


def starting_network(
    config: DictConfig, chip: str | None, *, trust: bool
) -> tuple[SpikeData, DelaySNN]:
    """The trained network, folded and made quantisation-aware, and its data.

    ``config.model`` is completed: a smaller range of delays must not shorten the tail.

    Args:
        chip: as typed; None, where a run that was stopped begins again.
        trust: see ``runs.load_config``.

    Raises:
        UsageError: no such network or data, or data that the chip cannot take.
    """
    settings = config.finetune
    base = RunFolder(Path(settings.base))
    root = config.dataset.root
    _, data, net = load_run(base, settings.checkpoint, root, moved="dataset.root", trust=trust)
    if chip is not None:
        graded, largest_count = input_range(data.test)
        wrong = wrong_input(data.dt_ms, load_chip(chip), largest_count, graded=graded)
        if wrong:
            raise UsageError(f"finetune.chip={chip} cannot take this data: {'; '.join(wrong)}.")
    assert isinstance(net, DelaySNN)
    net = folded(net, settings.max_delay)
    config.model.max_delay, config.model.tail = net.max_delay, net.tail
    return data, make_quantisation_aware_(net, settings.bits, settings.scale)
