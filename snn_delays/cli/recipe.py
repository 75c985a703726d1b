"""What a recipe's numbers stand for, where the user has another grid of time steps."""

from __future__ import annotations

import logging

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from snn_delays.cli.settings import CONF, config_file, typed

log = logging.getLogger("snn_delays")
# The time step that the settings in steps of conf/model, experiment and augmentation are made for.
RECIPE_DT_MS = 10.0


def warn_of_other_steps(cfg: DictConfig, dt_ms: float) -> None:
    """Of settings in steps that are the recipe's, where a step is not: they mean other times."""
    recipe = config_file(f"experiment/{HydraConfig.get().runtime.choices.get('experiment')}")
    own_recipe = recipe is not None and not recipe.is_relative_to(CONF)
    in_steps = cfg.dataset._target_ == "snn_delays.data.load_synthetic"  # its patterns are, too
    if dt_ms == RECIPE_DT_MS or own_recipe or in_steps:
        return
    delays = cfg.model.get("delays") != "none" and cfg.model.get("max_delay")
    kept = {
        "model.max_delay": delays or 0,
        "augmentation.time_jitter": cfg.augmentation.time_jitter,
        "augmentation.time_mask": cfg.augmentation.time_mask,
    }
    same, given = [], typed()
    for key, value in kept.items():
        if value and key not in given:
            other = value * RECIPE_DT_MS / dt_ms
            same.append(f"{key}={round(other) if isinstance(value, int) else other:g}")
    if same:
        log.warning(
            f"Steps of {dt_ms:g} ms, where the recipe has {RECIPE_DT_MS:g}: what is counted in "
            f"steps lasts {dt_ms / RECIPE_DT_MS:g} times as long. For the same times give "
            f"{' '.join(same)}."
        )
