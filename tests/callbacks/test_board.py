"""What TensorBoard is told can be read back from its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_runs
import torch
from PIL import Image
from small_runs import SETTINGS, network, run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard import SummaryWriter

from snn_delays import DelayLayer
from snn_delays.callbacks.board import add_delays, add_pictures, add_settings
from snn_delays.data import SpikeData

data = small_runs.data


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"histograms": 0, "images": 0}).Reload()


def settings_in(found: EventAccumulator) -> dict[str, Any]:
    content = found.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    columns = HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(one, str(one.WhichOneof("kind"))) for name, one in columns.items()}


def bars(event: Any) -> dict[float, float]:
    """How many delays lie below each step's upper edge, and above the one before."""
    bins = zip(event.histogram_value.bucket_limit, event.histogram_value.bucket, strict=True)
    return {limit: count for limit, count in bins if count}


def steps(delay: torch.Tensor) -> dict[float, float]:
    counts = np.bincount((delay.flatten().double() + 0.5).floor().long().numpy())
    return {step + 0.5: float(count) for step, count in enumerate(counts) if count}


def test_a_run_leaves_its_delays_and_settings(data: SpikeData, tmp_path: Path) -> None:
    net = network(data)
    layers = {n: one for n, one in net.named_modules() if isinstance(one, DelayLayer)}
    first = {name: one.delay.detach().clone() for name, one in layers.items()}
    run(net, data, tmp_path)
    found = read(tmp_path / "tensorboard")
    assert found.Tags()["histograms"] == [f"delays/{name}" for name in layers]
    for name, layer in layers.items():
        events = found.Histograms(f"delays/{name}")
        assert [one.step for one in events] == list(range(SETTINGS["epochs"] + 1))
        assert bars(events[0]) == steps(first[name])
        assert bars(events[-1]) == steps(layer.delay.detach()) != bars(events[0])
    told = settings_in(found)
    assert told["batch_size"] == SETTINGS["batch_size"]
    assert told["augmentation.name"].endswith("Augmentation")
    # Or TensorBoard would not put the columns first in which runs differ.
    assert "_hparams_/experiment" not in found.PluginTagToContent("hparams")


def test_a_resumed_run_has_every_epoch_once(data: SpikeData, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(network(data), data, tmp_path, small_runs.Silent(stop_at=2))
    net = network(data)
    run(net, data, tmp_path, resume=True)
    found = read(tmp_path / "tensorboard")
    for tag in found.Tags()["histograms"]:
        events = found.Histograms(tag)
        assert [one.step for one in events] == list(range(SETTINGS["epochs"] + 1))
    assert settings_in(found)["seed"] == SETTINGS["seed"]


def test_only_synapses_that_there_are_count(tmp_path: Path) -> None:
    layer, ends = DelayLayer(4, 3, 6), DelayLayer(4, 3, 6, granularity="axonal+dendritic")
    layer.set_mask(torch.arange(12).reshape(3, 4, 1) % 3 == 0)
    with SummaryWriter(str(tmp_path)) as writer:
        add_delays(writer, torch.nn.ModuleDict({"in": layer, "out": ends}), 0)
        add_delays(writer, DelayLayer(2, 2, 3), 0)
        layer.set_mask(torch.zeros(3, 4, 1, dtype=torch.bool))
        add_delays(writer, layer, 1)
    found = read(tmp_path)
    tags = {"delays/in": 4, "delays/out/delay_pre": 4, "delays/out/delay_post": 3, "delays": 4}
    assert {tag: found.Histograms(tag)[-1].histogram_value.num for tag in tags} == tags
    assert set(found.Tags()["histograms"]) == set(tags)


def test_settings_are_columns_of_numbers_and_words(tmp_path: Path) -> None:
    given = {"seed": 1, "model": {"_target_": "x", "hidden": [8, 8], "bias": True, "tau": None}}
    with SummaryWriter(str(tmp_path)) as writer:
        add_settings(writer, given)
    assert settings_in(read(tmp_path)) == {
        "seed": 1,
        "model.hidden": "[8, 8]",
        "model.bias": "True",
    }


def test_pictures_come_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "delays.png")
    add_pictures(tmp_path / "board", [tmp_path / "delays.png"], 9)
    (image,) = read(tmp_path / "board").Images("delays")
    (tmp_path / "back.png").write_bytes(image.encoded_image_string)
    assert image.step == 9
    with Image.open(tmp_path / "back.png") as back:
        assert np.array_equal(np.asarray(back.convert("RGB")), pixels)
