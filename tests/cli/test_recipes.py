"""Every recipe of conf/experiment makes a network that learns from data of its kind."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
import timm_models
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from typed_commands import SHORT, SMALL, Shell

from snn_delays.cli.model import build_network, instantiate
from snn_delays.cli.settings import CONF, options, plain
from snn_delays.data import SpikeData, recordings
from snn_delays.data.splits.image_split import ImageSplit
from snn_delays.dcls import DclsConv2d
from snn_delays.interpolation import first_sigma
from snn_delays.layers.networks import delay_layers
from snn_delays.training import fit

FILES = sorted((CONF / "experiment").glob("*.yaml"))
# Classes of each data set; its channels are 140, as spikes in five neighbouring units or mel bands.
CLASSES = {"shd": 20, "ssc": 35, "gsc": 35}
OF_A_SET = [file for file in FILES if re.fullmatch(r"(shd|ssc|gsc)_(?!mini)\w+", file.stem)]


def composed(name: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [f"experiment={name}"])


def drawn_counts(cfg: DictConfig, classes: int) -> SpikeData:
    counts = np.random.default_rng(0).poisson(0.2, (6, 12, 140)).astype(np.float32)
    return recordings(
        *(counts, [0, 1, 0, 1, 0, 1]),
        n_units=140,
        dt_ms=cfg.dataset.dt_ms,
        class_names=[str(one) for one in range(classes)],
        valid_fraction=0.34,
        test=0.34,
    )


def drawn_images(cfg: DictConfig, classes: int) -> SpikeData:
    """Smaller than the recipe's, so that a step takes seconds."""
    images = torch.randint(256, (6, 3, 64, 64), dtype=torch.uint8)
    scale: dict[str, Any] = {
        name: torch.tensor(list(cfg.dataset[name])) for name in ("mean", "std")
    }
    whole = ImageSplit(images, labels=np.array([0, 1] * 3), name="all", **scale)
    train, valid, test = (whole.subset([n, n + 1], "part") for n in (0, 2, 4))
    names = tuple(str(one) for one in range(classes))
    about: dict[str, Any] = {"class_names": names, "dt_ms": 1.0}
    about |= {"split": "official", "invalid_events": 0}
    return SpikeData(train, valid, test, **about)


def drawn_digits(cfg: DictConfig, classes: int) -> SpikeData:
    """Six images of the recipe's size, or of 64 pixels where it is in seconds."""
    size = cfg.dataset.get("size", 64)
    whole = ImageSplit(
        torch.rand(6, 1, size, size),
        labels=np.arange(6) % 2,
        mean=torch.zeros(1),
        std=torch.ones(1),
        name="all",
    )
    parts = (whole.subset(some, "part") for some in ([0, 1], [2, 3], [4, 5]))
    names = tuple("0123456789")
    return SpikeData(*parts, class_names=names, dt_ms=1.0, split="stratified", invalid_events=0)


DRAWN = {
    "snn_delays.data.load_image_folder": drawn_images,
    "snn_delays.data.digits.load_digits": drawn_digits,
    "snn_delays.data.audio.load_audio_folder": drawn_digits,
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_recipe_takes_a_training_step(file, unchecked: None):
    timm_models.imported()
    cfg = composed(file.stem)
    classes = CLASSES.get(file.stem.partition("_")[0], 8)
    data = DRAWN.get(cfg.dataset._target_, drawn_counts)(cfg, classes)
    torch.manual_seed(0)
    net = build_network(cfg, data)
    longest = [one.max_delay for one in delay_layers(net)] or [cfg.model.get("max_delay", 1)]
    if cfg.schedule.start is None:
        cfg.schedule.start = first_sigma(max(longest))
    schedule = instantiate("schedule", cfg.schedule)
    schedule.epochs(cfg.trainer.epochs)  # as the recipe has them
    settings = {**plain(cfg.trainer), "epochs": 1, "batch_size": 2, "accelerator": "cpu"}
    settings.pop("checkpoint_minutes")  # the command's own, for a callback
    settings["augmentation"] = instantiate("augmentation", cfg.augmentation)
    before = [one.detach().clone() for one in net.parameters()]
    given = [instantiate("sparsity", cfg.sparsity)] if cfg.get("sparsity") else []
    if cfg.get("regulariser"):
        settings["regulariser"] = instantiate("regulariser", cfg.regulariser)
    (row,) = fit(net, data, schedule=schedule, seed=0, callbacks=given, **settings)
    assert np.isfinite(row["loss"])
    learned = [one for one, was in zip(net.parameters(), before, strict=True) if (one != was).any()]
    assert learned


@pytest.mark.parametrize("file", OF_A_SET, ids=lambda file: file.stem)
def test_a_recipe_says_where_it_comes_from_and_chooses_its_data(file):
    text = file.read_text(encoding="utf-8")
    name = file.stem.partition("_")[0]
    assert text.startswith(
        f"# @package _global_\n# snn-delays-train experiment={file.stem} dataset.root=DIR\n"
    )
    for said in ("et al. (20", "Published accuracy", "Measured here: "):
        assert said in text or (said == "et al. (20" and "arXiv:" in text)
    assert composed(file.stem).dataset._target_ == f"snn_delays.data.load_{name}"


def test_there_is_a_recipe_of_every_kind_for_every_data_set():
    kinds = {name: {file.stem.partition("_")[2] for file in OF_A_SET} for name in CLASSES}
    assert {frozenset(one) for one in kinds.values()} == {frozenset(kinds["shd"])}
    delays = {"none", "fixed", "synaptic", "axonal", "dendritic", "recurrent"}
    assert kinds["shd"] >= delays | {"cadlif", "seadlif", "silif", "sparse"}


def test_what_the_recipes_differ_in_is_what_they_are_called():
    for name in CLASSES:
        assert composed(f"{name}_none").model.delays == "none"
        assert composed(f"{name}_fixed").model.delays == "fixed"
        for kind in ("axonal", "dendritic"):
            found = composed(f"{name}_{kind}")
            assert (found.model.granularity, found.model.delays) == (kind, "learned")
            assert found.trainer == composed(name).trainer


def test_the_width_of_recurrent_kernels_shrinks_as_published():
    """σ = σ₀ · 0.95^(100 · epoch / epochs), DelRec."""
    for name, start in (("shd", 10.0), ("ssc", 1.0)):
        cfg = composed(f"{name}_recurrent")
        found = instantiate("schedule", cfg.schedule).epochs(cfg.trainer.epochs)
        expected = [start * 0.95 ** (100 * epoch / 150) for epoch in range(150)]
        assert found == pytest.approx(expected, rel=1e-6)


def test_the_published_figures_are_those_of_networks_of_the_published_size():
    """0.2 M parameters on SHD; 2.5 M on SSC, with two delayed synapses per pair of neurons."""
    for name, millions in (("shd", 0.2), ("ssc", 2.5), ("gsc", 2.5)):
        cfg = composed(f"{name}_synaptic")
        sizes = [140, *cfg.model.hidden, CLASSES[name]]
        pairs = sum(pre * post for pre, post in itertools.pairwise(sizes))
        assert round(2 * pairs * cfg.model.kernel_count / 1e6, 1) == millions


def test_a_recipe_on_other_data_is_said(tmp_path, shell: Shell, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    typed = (*SMALL, *SHORT, "trainer.epochs=1")
    out = shell("train", *typed, "experiment=shd_axonal", "dataset=synthetic", "run=one")
    assert (
        "experiment=shd_axonal is a recipe for dataset=shd, got dataset=synthetic (12 channels, 8 "
        "classes, steps of 10 ms): what is published of it says nothing about this run."
    ) in out
    assert "is a recipe for" not in shell("train", *typed, "run=two")


def test_another_schedule_leaves_out_what_the_recipe_set_for_its_own(
    tmp_path, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    typed = (*SMALL, "trainer.epochs=1", "trainer.batch_size=32", "trainer.accelerator=cpu")
    typed = (*typed, "experiment=shd_recurrent", "dataset=synthetic", "model.hidden=[8,8]")
    out = shell("train", *typed, "schedule=constant", "run=one")
    assert "snn_delays.schedules.Constant takes no offset: left out." in out
    assert "σ 10.00" in out
    refused = shell.fails("train", *typed, "schedule=constant", "schedule.offset=0.1", "run=two")
    assert "unexpected keyword argument 'offset'" in refused


def test_networks_of_images_are_those_of_the_papers():
    timm_models.imported()
    for name, swapped, millions in (("convnext", 18, 28.6), ("resnet", 16, 26.0)):
        cfg = composed(f"{name}_dcls")
        net = build_network(cfg, drawn_images(cfg, 1000))
        layers = [one for one in net.modules() if isinstance(one, DclsConv2d)]
        assert len(layers) == swapped
        assert len({id(one.position) for one in layers}) == 4
        assert round(sum(own.numel() for own in net.parameters()) / 1e6, 1) == millions
        text = (CONF / "experiment" / f"{name}_dcls.yaml").read_text(encoding="utf-8")
        command = f"# snn-delays-train experiment={name}_dcls dataset.root=DIR\n"
        assert text.startswith(f"# @package _global_\n{command}")
        for said in ("arXiv:2112.03740", "Published accuracy", "Not as ", "Measured here: "):
            assert said in text


def test_a_setting_of_several_choices_is_a_switch_in_all_of_them_or_in_none():
    """What is typed is checked before it is known which choice it is for."""
    found: dict[str, set[bool]] = {}
    for (group, _), content in options().items():
        for key, value in content.items():
            if group != "experiment" and value is not None:
                found.setdefault(f"{group}.{key}", set()).add(isinstance(value, bool))
    assert {key for key, kinds in found.items() if len(kinds) > 1} == set()
