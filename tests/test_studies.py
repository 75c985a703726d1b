"""Every setting that a study names exists, and lies in its range; effects of several at once."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir

from snn_delays.cli.model import instantiate
from snn_delays.cli.settings import CONF
from snn_delays.data import load_synthetic
from snn_delays.interpolation import first_sigma

STUDY = Path(__file__).parents[1] / "scripts/study"
STUDIES = sorted(STUDY.glob("*.yaml"))


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_the_variants_of_a_study_are_settings(file: Path):
    study = yaml.safe_load(file.read_text(encoding="utf-8"))
    each = [one.replace("{fold}", str(study["folds"][0])) for one in study["each"]]
    variants = study.get("variants") or {"none": [], **study["factors"]}
    assert study.get("base", "none") in variants
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for changes in variants.values():
            cfg = compose("train", [*study["common"], *each, *changes])
            cfg.schedule.start = cfg.schedule.start or first_sigma(cfg.model.max_delay)
            instantiate("augmentation", cfg.augmentation)
            instantiate("schedule", cfg.schedule)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(STUDY))
    return importlib.import_module("screen")


@pytest.mark.parametrize("number", [0, 1])
def test_changes_tried_at_once_are_told_apart(screen, number: int):
    runs = np.array(screen.design(number))
    np.testing.assert_array_equal(runs.T @ runs, 12 * np.eye(11))
    assert runs.sum() == 0
    own = np.arange(11) - 4.5
    # From −1 to 1 is two steps.
    np.testing.assert_allclose(screen.effects(list(50 + runs @ (own / 2)), number), own)


def test_how_two_changes_act_together_moves_no_effect(screen):
    found = []
    for number in (0, 1):
        runs = np.array(screen.design(number))
        found.append(screen.effects(list(runs[:, 3] * runs[:, 7] + 2.0 * runs[:, 0]), number))
    expected = np.zeros(11)
    expected[0] = 4.0
    np.testing.assert_allclose(np.mean(found, axis=0), expected, atol=1e-12)
    assert np.abs(found[0] - expected).max() > 0.3


def test_the_standard_error_of_an_effect_is_that_of_folds(screen):
    # One factor differs by 2 between two folds: a variance of 2, of their mean 1. The other by 0.
    assert screen.standard_error([[1.0, 5.0], [3.0, 5.0]]) == pytest.approx(0.5**0.5)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("screen", "common: []", "has no each, folds, factors, but common. Files with variants"),
        ("study", "[1, 2]", "has no common, each, folds, variants, base, but no keys."),
        ("study", "a: [", "not a readable study: while parsing"),
        ("study", None, "not a readable study: [Errno 2]"),
    ],
)
def test_a_file_that_is_no_such_study_is_one_line(
    name: str, text: str | None, message: str, tmp_path: Path
):
    if text is not None:
        (tmp_path / "study.yaml").write_text(text)
    typed = [
        STUDY / f"{name}.py",
        tmp_path / "study.yaml",
        "--root",
        "x",
        "--folder",
        tmp_path / "y",
    ]
    done = subprocess.run([sys.executable, *typed], capture_output=True, text=True, timeout=800)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["bidirectional GRU", "CNN"])
def test_conventional_networks_learn_from_spikes(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.syspath_prepend(str(STUDY))
    conventional = importlib.import_module("conventional")
    data = load_synthetic(tmp_path, n_train=256, n_valid=64, n_test=64)
    net = conventional.train(conventional.NETWORKS[name], data, 12, 0, "cpu")
    found = conventional.right(net, data.valid)
    assert len(found) == 64
    assert found.mean() > 3 / data.n_classes
