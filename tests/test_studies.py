"""Every setting that a study names exists, and lies in its range."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from snn_delays.cli.model import instantiate
from snn_delays.cli.settings import CONF
from snn_delays.interpolation import first_sigma

STUDIES = sorted((Path(__file__).parents[1] / "scripts/study").glob("*.yaml"))


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_the_variants_of_a_study_are_settings(file: Path):
    study = yaml.safe_load(file.read_text(encoding="utf-8"))
    each = [one.replace("{fold}", str(study["folds"][0])) for one in study["each"]]
    assert study["base"] in study["variants"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for changes in study["variants"].values():
            cfg = compose("train", [*study["common"], *each, *changes])
            cfg.schedule.start = cfg.schedule.start or first_sigma(cfg.model.max_delay)
            instantiate("augmentation", cfg.augmentation)
            instantiate("schedule", cfg.schedule)
