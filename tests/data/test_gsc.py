"""Speech Commands from its folder: which recordings, how normalised, and what is refused."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_networks import delay_snn
from drawn_speech import COMMANDS, RATE, tone, write_speech, write_wav
from lightning_fabric import Fabric

from snn_delays.data import SpikeData, load_gsc
from snn_delays.data.gsc.clips import Clip, Noise, _silence
from snn_delays.data.gsc.split import FeatureBatch
from snn_delays.deploy import compare, integer_table
from snn_delays.errors import UsageError
from snn_delays.evaluation import evaluate
from snn_delays.table import read_table


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_speech(tmp_path / "gsc")


def load(root: Path, **settings: Any) -> SpikeData:
    return load_gsc(root, **{"cache": False, "n_mels": 20, **settings})


def test_words_parts_and_shape(root: Path) -> None:
    data = load(root)
    assert data.class_names == ("bed", "no", "yes")
    assert (len(data.train), len(data.valid), len(data.test)) == (12, 6, 6)
    assert (data.n_channels, data.dt_ms, data.split, data.clean_split) == (
        20,
        10.0,
        "official",
        True,
    )
    assert torch.bincount(data.train.labels).tolist() == [4, 4, 4]
    assert data.valid.speakers.unique().tolist() == [0xA4, 0xA5]
    batch = data.test.collate([5, 0])
    assert batch.spikes.shape == (101, 2, 20)
    assert batch.spikes.dtype == torch.float32
    assert batch.lengths.tolist() == [101, 101]
    assert batch.labels.tolist() == [2, 0]
    assert load(root, dt_ms=20.0).train.collate([0]).spikes.shape == (51, 1, 20)
    assert load(root, encoder="delta").n_channels == 40


def test_every_band_is_normalised_with_the_training_recordings_alone(root: Path) -> None:
    data = load(root)
    train = data.train.collate(range(12)).spikes.double()
    torch.testing.assert_close(train.mean((0, 1)), torch.zeros(20).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        train.std((0, 1), correction=0), torch.ones(20).double(), atol=1e-5, rtol=0
    )
    # Whatever the others hold, training sees the same.
    for name in (root / "testing_list.txt").read_text().split():
        write_wav(root / name, np.random.default_rng(0).uniform(-1, 1, RATE))
    again = load(root)
    assert torch.equal(again.train.collate(range(12)).spikes.double(), train)
    assert again.test.collate(range(6)).spikes.mean() > 1


def test_a_band_that_never_changes_is_zero(root: Path) -> None:
    data = load(root, frontend="published", n_mels=140)
    batch = data.train.collate(range(12)).spikes
    assert batch.isfinite().all()
    assert not batch[:, :, -53:].any()
    assert batch[:, :, :80].std() > 0.5


def test_batches_are_the_same_however_they_are_asked_for(root: Path) -> None:
    for encoder in ("none", "delta", "level", "latency"):
        split = load(root, encoder=encoder).train
        whole = split.collate(range(12))
        some = Fabric(accelerator="cpu", devices=1).to_device(split.sparse([7, 2])).dense()
        assert torch.equal(some.spikes, whole.spikes[:, [7, 2]])
        part = split.subset([2, 7, 9], "some").subset([1, 0], "fewer")
        assert torch.equal(part.collate([0, 1]).spikes, some.spikes)
        assert (part.name, len(part), part.labels.tolist()) == (
            "fewer",
            2,
            whole.labels[[7, 2]].tolist(),
        )
        assert split.collate([]).spikes.shape[1] == 0
        for index in (-1, 12):
            with pytest.raises(IndexError, match=f"got index {index}"):
                split.sparse([index])
        for index in (-13, 12):
            with pytest.raises(IndexError):
                split[index]
        spikes, label = split[-1]
        assert torch.equal(spikes, whole.spikes[:, -1])
        assert label == whole.labels[-1]


def test_ten_commands_unknown_and_silence(tmp_path: Path) -> None:
    words = (*COMMANDS, "bed", "bird", "cat")
    root = write_speech(tmp_path, words, train=3, valid=1, test=2, noise_seconds=12)
    data = load(root, task="v2_12")
    assert data.class_names == (*COMMANDS, "unknown", "silence")
    for split, each, others in ((data.train, 3, 3), (data.valid, 1, 1), (data.test, 2, 2)):
        assert torch.bincount(split.labels).tolist() == [each] * 10 + [others, others]
        silent = split.labels == 11
        assert (split.speakers[silent] == -1).all()
        assert (split.speakers[~silent] >= 0xA0).all()
        noise = split.collate(np.flatnonzero(silent)).spikes
        # Noise is as loud at the end as in the middle; words are not.
        assert abs(noise[45:55].mean() - noise[85:95].mean()) < 0.3
    assert len(load(root).train) == 13 * 3
    same, other = load(root, task="v2_12"), load(root, task="v2_12", seed=1)
    everything = range(len(data.train))
    assert torch.equal(same.train.collate(everything).spikes, data.train.collate(everything).spikes)
    assert not torch.equal(
        other.train.collate(everything).spikes, data.train.collate(everything).spikes
    )


def test_no_silence_is_heard_in_two_parts() -> None:
    noise = [Noise(Clip("_background_noise_/a.wav", 1, 1), 20 * RATE, RATE)]
    rng = np.random.default_rng(0)
    heard = {
        part: np.array([clip.start for clip in _silence(noise, part, 200, rng)])
        for part in ("train", "valid", "test")
    }
    assert heard["train"].min() >= 0
    assert heard["train"].max() + RATE <= 16 * RATE <= heard["valid"].min()
    assert heard["valid"].max() + RATE <= 18 * RATE <= heard["test"].min()
    assert heard["test"].max() + RATE <= 20 * RATE
    assert len(np.unique(heard["train"])) > 190


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Warnings, whatever else a command that ran before lets the log say."""
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def damage(root: Path) -> list[str]:
    """Three files that will not do; their names."""
    names = [f"yes/000000a{n}_nohash_0.wav" for n in range(3)]
    whole = (root / names[0]).read_bytes()
    for name, content in zip(names, (b"", whole[:999], b"<html>404"), strict=True):
        (root / name).write_bytes(content)
    return names


def test_bad_files_are_refused_by_name(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = damage(root)
    with pytest.raises(UsageError) as caught:
        load(root)
    line = str(caught.value)
    assert line.startswith(f"GSC: {root / names[0]} is empty: expected a wav file, got 0 bytes (2 ")
    assert "on_bad=skip" in line
    assert "\n" not in line
    assert [str(root / name) in said for name, said in zip(names[1:], warned(caplog), strict=True)]


def test_bad_files_can_be_skipped_and_are_counted(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = load(root)
    names = damage(root)
    with caplog.at_level(logging.WARNING, logger="snn_delays"):
        data = load(root, on_bad="skip")
    assert (len(data.train), len(data.valid), len(data.test)) == (9, 6, 6)
    assert data.train.labels.tolist() == before.train.labels[:9].tolist()
    *each, total = warned(caplog)
    assert [name for name, said in zip(names, each, strict=True) if name in said] == names
    assert "left out 3 recordings" in total
    # Nor do they have a part in normalising.
    train = data.train.collate(range(9)).spikes
    assert train.mean((0, 1)).abs().max() < 1e-5


def test_recordings_of_every_kind_load_together(root: Path) -> None:
    kinds = [("PCM_U8", 16_000), ("PCM_24", 16_000), ("PCM_16", 44_100)]
    for index, (subtype, rate) in enumerate(kinds):
        path = root / "yes" / f"000000a{index}_nohash_0.wav"
        write_wav(path, np.stack([tone(364, rate=rate)] * 2, axis=1), rate, subtype=subtype)
    compact = load(root).train.sparse(range(8, 11))
    assert isinstance(compact, FeatureBatch)
    at_the_loudest = compact.features[:, 50].float()
    assert at_the_loudest.argmax(1).unique().numel() == 1
    assert at_the_loudest.amax(1).std() < 0.05


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"task": "v1"}, "task must be one of v2_35, v2_12, got 'v1'"),
        ({"on_bad": "ignore"}, "on_bad must be one of refuse, skip, got 'ignore'"),
        ({"seed": -1}, "seed must be a whole number >= 0, got -1"),
        ({"encoder": "rate"}, "encoder must be one of none, delta, level, latency"),
        ({"task": "v2_12"}, "missing up, down, left, right, on, off, stop, go"),
        ({"cache": ""}, "cache must be a folder, true, false or null"),
    ],
)
def test_wrong_settings_are_one_line(
    root: Path, unchecked: None, settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load(root, **settings)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_one_line(tmp_path: Path) -> None:
    for root, expected in (
        (tmp_path / "nowhere", "cannot be read: expected a folder of words"),
        (tmp_path, "has no recordings"),
    ):
        with pytest.raises(UsageError, match=expected) as caught:
            load(root)
        assert "speech_commands_v0.02.tar.gz" in str(caught.value)
        assert "\n" not in str(caught.value)
    root = write_speech(tmp_path / "a", valid=0)
    with pytest.raises(UsageError, match="none of the 18 recordings in .* is for valid"):
        load(root)
    commands = write_speech(tmp_path / "b", (*COMMANDS, "bed"))
    with pytest.raises(UsageError, match="silence from wav files in _background_noise_"):
        load(commands, task="v2_12")
    write_wav(commands / "_background_noise_" / "short.wav", tone(100, seconds=3))
    with pytest.raises(UsageError, match=r"short\.wav is too short: .* 10 s of noise, got 3 s"):
        load(commands, task="v2_12")


def test_without_lists_the_hash_decides(tmp_path: Path) -> None:
    root = write_speech(tmp_path, train=20, valid=10, test=10, lists=False)
    data = load(root)
    assert data.split == "hash"
    assert len(data.train) + len(data.valid) + len(data.test) == 120
    for one, other in ((data.train, data.valid), (data.train, data.test), (data.valid, data.test)):
        assert not torch.isin(one.speakers, other.speakers).any()


def test_real_recordings(gsc_mini: Path) -> None:
    data = load_gsc(gsc_mini, cache=False)
    assert (len(data.train), len(data.valid), len(data.test)) == (205, 44, 51)
    assert (data.n_channels, data.n_classes) == (140, 30)
    levels = data.train.collate(range(205)).spikes
    assert levels.isfinite().all()
    # A word is loudest somewhere inside its second.
    loudness = levels.mean((1, 2))
    assert 30 < loudness.argmax() < 70


@pytest.mark.parametrize("encoder", ["none", "delta", "level", "latency"])
def test_a_table_gives_every_spike_of_the_network(
    root: Path, encoder: str, unchecked: None
) -> None:
    data = load(root, encoder=encoder)
    torch.manual_seed(0)
    net = delay_snn([data.n_channels, 16, 16, data.n_classes], 12, tau=1.5, dropout=0.0)
    for _ in range(20):  # gives BatchNorm its statistics
        net.train()(data.train.collate(range(12)).spikes)
    net = net.rounded()
    table = integer_table(net, dt_ms=data.dt_ms, class_names=data.class_names)
    agreement = compare(table, net, data.train, batch_size=5)
    assert agreement.spikes_total > 500
    assert agreement.spikes_differing == 0
    assert agreement.predictions_differing == 0
    assert agreement.accuracy_table == evaluate(net, data.train, 7).score


def test_from_wav_to_a_table_as_a_user_types_it(tmp_path: Path) -> None:
    write_speech(tmp_path / "gsc", train=8, valid=3, test=3)
    script = """
import sys
from snn_delays.cli.train import train
from snn_delays.cli.export import export
sys.argv[1:] = '''experiment=gsc_mini dataset.root=gsc dataset.n_mels=24 model.hidden=[16,16]
    model.max_delay=12 trainer.epochs=2 trainer.batch_size=8 trainer.accelerator=cpu
    run=run'''.split()
train()
sys.argv[1:] = ["run=run"]
export()
"""
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=800,
    )
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert (summary["split"], summary["clean_split"]) == ("official", True)
    table = read_table(tmp_path / "run/export/delays.h5")
    assert table.input_channels == 24
    assert list(table.class_names) == ["bed", "no", "yes"]
    assert ": 0 of" in ended.stdout
    assert "0 of 9 answers" in ended.stdout
    assert (tmp_path / "run/readout.png").stat().st_size > 0
