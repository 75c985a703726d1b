"""``finetune=quantise``: a run that continues another, with weights and delays as deployed."""

from __future__ import annotations

import re
from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from snn_delays.arguments import real_number, whole_number
from snn_delays.cli.model import quantisation_aware
from snn_delays.cli.runs import (
    dataset_root,
    input_range,
    load_run,
    require_checkpoint,
    run_folder,
)
from snn_delays.cli.settings import typed
from snn_delays.data import SpikeData
from snn_delays.deploy.adapt import adapt_delays
from snn_delays.deploy.integer import integer_table
from snn_delays.deploy.quantise import BITS
from snn_delays.errors import UsageError
from snn_delays.layers.networks import delay_layers
from snn_delays.run.folder import RunFolder
from snn_delays.table.chips import ChipProfile, load_chip, wrong_input, wrong_neurons


def finetuned(
    cfg: DictConfig, sweep: Path | None
) -> tuple[DictConfig, RunFolder, tuple[SpikeData, nn.Module]]:
    """The new run's configuration, which is the trained run's with a few changes; its folder, its
    data, and the network to begin with.

    Args:
        sweep: of several runs (-m), the folder of this one.
    """
    settings, given = cfg.finetune, typed()
    begun = f"finetune={given.get('finetune')} goes on with"
    if "run" not in given:
        raise UsageError(f"{begun} a trained run: give run=DIR.")
    allowed = ("run", "seed", "dataset.root", "trust")
    others = [one for one in given if one not in allowed and not one.startswith("finetune")]
    if others:
        raise UsageError(
            f"{begun} {cfg.run} as it was configured, got "
            f"{' '.join(f'{one}={given[one]}' for one in others)}. Give finetune.…=…, seed=… and, "
            "if the data have moved, dataset.root=… only."
        )
    for name in ("weight_lr", "delay_lr", "sigma"):
        real_number(f"finetune.{name}", settings[name], 0)
    whole_number("finetune.epochs", settings.epochs, 1)
    require_checkpoint(settings.checkpoint, "finetune.checkpoint")
    try:
        chip = None if settings.chip is None else load_chip(str(settings.chip))
    except UsageError as error:
        raise UsageError(f"finetune.chip: {error}") from error
    bits = _bits(settings, chip, cfg.run)
    trained = run_folder(cfg.run)
    name = _folder_name(chip, str(settings.chip)) if chip else f"quantised-{bits}bit"
    run = RunFolder(Path(str(settings.folder or sweep or trained / name)))
    if run.config.exists():
        raise UsageError(
            f"{run.path} already holds a run. Choose another finetune.folder=DIR, or go on with "
            f"it: run={run.path} resume=true."
        )
    if "dataset.root" in given:
        dataset_root(cfg.dataset)
    root = cfg.dataset.root if "dataset.root" in given else None
    config, data, net = load_run(
        RunFolder(trained), settings.checkpoint, root, moved="dataset.root", trust=cfg.trust
    )
    if config.get("finetune"):
        raise UsageError(
            f"{cfg.run} is fine-tuned already. Start again from {config.finetune.base}."
        )
    if chip:
        _require_fit(chip, data, net)
    if "seed" in given:
        config.seed = cfg.seed
    for name in ("epochs", "weight_lr", "delay_lr"):
        config.trainer[name] = settings[name]
    config.schedule = {"_target_": "snn_delays.schedules.Constant", "start": float(settings.sigma)}
    config.finetune = {
        **{"base": str(trained.resolve()), "checkpoint": settings.checkpoint},
        **{"chip": chip and chip.name, "bits": bits, "scale": settings.scale},
        "max_delay": _max_delay(settings.max_delay, net, chip),
    }
    return config, run, (data, quantisation_aware(net, config))


def begun_again(config: DictConfig, *, trust: bool) -> tuple[SpikeData, nn.Module]:
    """Data and first network of a fine-tuned run that was stopped in its first epoch."""
    base = RunFolder(Path(config.finetune.base))
    of_base = (config.finetune.checkpoint, config.dataset.root)
    _, data, net = load_run(base, *of_base, moved="dataset.root", trust=trust)
    return data, quantisation_aware(net, config)


def _require_fit(chip: ChipProfile, data: SpikeData, net: nn.Module) -> None:
    """Refuse a chip that no training can fit this network to."""
    graded, largest_count = input_range(data.test)
    if wrong := wrong_input(data.dt_ms, chip, largest_count, graded=graded):
        raise UsageError(f"finetune.chip: {chip.name} cannot take this data: {'; '.join(wrong)}.")
    table = integer_table(net.eval(), dt_ms=data.dt_ms)
    if wrong := wrong_neurons(table, chip):
        raise UsageError(
            f"finetune.chip: {chip.name} cannot take this network: {'; '.join(wrong)}. Choose "
            "another chip, or train a run with other neurons."
        )
    adapt_delays(table, chip)


def _bits(settings: DictConfig, chip: ChipProfile | None, run: str) -> int:
    """Bits of the weights to train for: those given, the chip's, else 4."""
    given, most = settings.bits, max(BITS)
    if given is not None:
        must = "be a whole number from 2 (ternary) to 16"
        whole_number("finetune.bits", given, min(BITS), most, must=must)
    if chip is None:
        return given or 4
    limit, unknown = chip.weights.bits, "weights.bits" in chip.unknown
    said = f"finetune.chip={settings.chip}:"
    instead = (
        f"Export the run itself (snn-delays-export run={run} chip={settings.chip}), or leave "
        "finetune.chip out."
    )
    if chip.weights.power_of_two:
        raise UsageError(
            f"{said} scales of weights that are learned are no powers of two, {chip.name}'s must "
            f"be, with {limit or 'unknown'} bits. {instead}"
        )
    if limit is None and not unknown:
        raise UsageError(
            f"{said} {chip.name} computes with floating-point weights, so that there are no bits "
            f"to train for. {instead}"
        )
    if limit is None and given is None:
        raise UsageError(
            f"{said} it is unknown how many bits {chip.name}'s weights have. Give finetune.bits=… "
            "as well."
        )
    if limit and given and given > limit:
        raise UsageError(
            f"finetune.bits must be at most {limit} for {chip.name}, got {given}. Leave "
            "finetune.bits out, or finetune.chip."
        )
    return given or min(limit or most, most)


def _max_delay(given: int | None, net: nn.Module, chip: ChipProfile | None) -> int | None:
    """The longest delay to train with, steps; None: as trained, or no delays at all."""
    longest = max((layer.max_delay for layer in delay_layers(net)), default=0)
    if not longest:
        if given is not None:
            raise UsageError(
                f"finetune.max_delay is for runs with delays, got {given!r} for one without. "
                "Leave finetune.max_delay out."
            )
        return None
    if given is not None:
        must = f"be a whole number of steps from 1 to the network's {longest}"
        whole_number("finetune.max_delay", given, 1, longest, must=must)
    if chip is None or chip.delay.max is None:
        return given
    # What is trained from 0 on is shifted to the chip's shortest delay on export.
    limit, held = chip.delay.max - chip.delay.min, chip.delay.text
    if limit == 0:
        raise UsageError(
            f"finetune.chip: {chip.name} holds one delay only ({held}), the run has 0 … {longest} "
            "steps. Train one with model.delays=none, or choose another chip."
        )
    if given is not None and given > limit:
        raise UsageError(
            f"finetune.max_delay must be at most {limit} for {chip.name}, whose {held} stand for "
            f"0 … {limit}, got {given}. Leave finetune.max_delay out, or finetune.chip."
        )
    return given or min(longest, limit)


def _folder_name(chip: ChipProfile, named: str) -> str:
    """``for-CHIP``, whatever the chip's profile calls itself: one folder, inside the run's."""
    tried = [re.sub(r"[^\w.-]+", "-", one, flags=re.ASCII) for one in (chip.name, Path(named).stem)]
    found = next(filter(None, (one.strip("-.") for one in tried)), "chip")
    return f"for-{found[:64]}"
