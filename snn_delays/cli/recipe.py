"""The recipe of ``conf/experiment`` that a run is made by, and where the run departs from it."""

from __future__ import annotations

import logging
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from snn_delays.cli.settings import CONF, config_file, options, typed
from snn_delays.data import SpikeData
from snn_delays.data.splits.interface import framed

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


def _recipe() -> dict[str, Any]:
    """What the chosen recipe of ``conf/`` itself says, without what it builds on."""
    return options().get(
        ("experiment", str(HydraConfig.get().runtime.choices.get("experiment"))), {}
    )
