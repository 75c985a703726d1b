"""The recipe of ``conf/experiment`` that a run is made by, and what a user typed beside it."""

from __future__ import annotations

import logging
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from torch import nn

from snn_delays.cli.settings import CONF, config_file, options, typed
from snn_delays.data import SpikeData
from snn_delays.data.splits.interface import framed
from snn_delays.modules.ranged import Spread

log = logging.getLogger("snn_delays")
# The time step that the settings in steps of conf/model, experiment and augmentation are made for.
RECIPE_DT_MS = 10.0


def warn_of_other_steps(cfg: DictConfig, dt_ms: float) -> None:
    """Of settings in steps that are the recipe's, where a step is not: they mean other times."""
    recipe = config_file(f"experiment/{HydraConfig.get().runtime.choices.get('experiment')}")
    own_recipe = recipe is not None and not recipe.is_relative_to(CONF)
    in_steps = cfg.dataset._target_ == "snn_delays.data.load_synthetic"  # its patterns are, too
    recipe_dt_ms = _recipe().get("dataset", {}).get("dt_ms", RECIPE_DT_MS)
    if dt_ms == recipe_dt_ms or own_recipe or in_steps:
        return
    delays = cfg.model.get("delays") != "none" and cfg.model.get("max_delay")
    kept = {
        "model.max_delay": delays or 0,
        "augmentation.time_jitter": cfg.augmentation.get("time_jitter"),
        "augmentation.time_mask": cfg.augmentation.get("time_mask"),
    }
    same, given = [], typed()
    for key, value in kept.items():
        if value and key not in given:
            other = value * recipe_dt_ms / dt_ms
            same.append(f"{key}={round(other) if isinstance(value, int) else other:g}")
    if same:
        log.warning(
            f"Steps of {dt_ms:g} ms, where the recipe has {recipe_dt_ms:g}: what is counted in "
            f"steps lasts {dt_ms / recipe_dt_ms:g} times as long. For the same times give "
            f"{' '.join(same)}."
        )


def warn_of_other_data(data: SpikeData) -> None:
    """Of a recipe that was made for another data set than the one that was chosen with it."""
    choices = HydraConfig.get().runtime.choices
    defaults = [one for one in _recipe().get("defaults", []) if isinstance(one, dict)]
    made_for = [name for one in defaults for key, name in one.items() if key == "override /dataset"]
    if made_for and choices["dataset"] != made_for[0]:
        log.warning(
            f"experiment={choices['experiment']} is a recipe for dataset={made_for[0]}, got "
            f"dataset={choices['dataset']} ({framed(data.frame)}, {data.n_classes} classes, "
            f"steps of {data.dt_ms:g} ms): what is published of it says nothing about this run."
        )


def warn_of_idle(cfg: DictConfig, net: nn.Module) -> None:
    """Warn of typed settings that the other settings make irrelevant."""
    delayed = [one for one in net.modules() if isinstance(one, Spread)]
    moved = [place for one in delayed if one.moves == "delays" for place in one.stored_places()]
    ours = cfg.model._target_ == "snn_delays.cli.model.delay_snn"
    of_all = ("model.kernel_count", "model.interpolation", "model.method") if ours else ()
    of_forward = ("max_delay", "granularity", "first_delays", "sigma_learned") if ours else ()
    idle: dict[str, tuple[bool, tuple[str, ...]]] = {
        "nothing has delays": (not delayed, ("schedule.", "trainer.delay_lr", *of_all)),
        "no delay is learned": (
            not any(place is None or place.requires_grad for place in moved),
            ("trainer.delay_lr",),
        ),
        "schedule=constant": (
            cfg.schedule._target_ == "snn_delays.schedules.Constant",
            ("schedule.end", "schedule.until"),
        ),
        "model.delays=none": (
            cfg.model.get("delays") == "none",
            tuple(f"model.{one}" for one in of_forward),
        ),
        "model.recurrent=null": (
            ours and cfg.model.get("recurrent") is None,
            ("model.recurrent_",),
        ),
    }
    for key, value in typed().items():
        why = [of for of, (so, keys) in idle.items() if so and key.startswith(keys)]
        if why:
            log.warning(f"{key}={value} changes nothing, since {why[0]}.")


def _recipe() -> dict[str, Any]:
    """What the chosen recipe of ``conf/`` itself says, without what it builds on."""
    return options().get(
        ("experiment", str(HydraConfig.get().runtime.choices.get("experiment"))), {}
    )
