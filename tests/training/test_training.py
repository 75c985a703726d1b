"""The loop: it learns, it resumes exactly, it keeps to its recipe."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import small_runs
import torch
from drawn_networks import delay_snn
from small_runs import SCHEDULE, SETTINGS, Silent, network, require_same_files, run, timeless
from torch.utils.data import DataLoader

from snn_delays import losses
from snn_delays.callbacks import best_epoch
from snn_delays.data import SpikeData
from snn_delays.data.augmentation import Augmentation
from snn_delays.errors import UsageError
from snn_delays.evaluation import evaluate
from snn_delays.schedules import Exponential
from snn_delays.training import fit
from snn_delays.training.checks import warn_of_schedule
from snn_delays.training.optimisation import published

data = small_runs.data
EVERYTHING = Augmentation(
    event_drop=0.1,
    speed=0.2,
    time_jitter=0.5,
    channel_jitter=0.04,
    channel_shift=0.1,
    time_mask=3,
    channel_mask=0.2,
    cutmix=0.5,
)


@pytest.mark.parametrize("augmentation", [Augmentation(), EVERYTHING], ids=["plain", "augmented"])
def test_a_resumed_run_equals_one_that_was_never_stopped(
    data: SpikeData, tmp_path: Path, augmentation: Augmentation
):
    settings = SETTINGS | {"augmentation": augmentation}
    whole = network(data)
    rows = run(whole, data, tmp_path / "whole", settings=settings)
    with pytest.raises(KeyboardInterrupt):
        run(network(data), data, tmp_path / "parts", Silent(stop_at=2), settings)
    parts = network(data)
    resumed = run(parts, data, tmp_path / "parts", settings=settings, resume=True)
    assert timeless(resumed) == timeless(rows)
    for name, tensor in whole.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            assert torch.equal(tensor, parts.state_dict()[name]), name
    require_same_files(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(("inputs", "classes"), [(-1, 0), (1, 0), (0, -1)])
def test_a_network_for_other_data_is_refused_before_anything_is_written(
    data: SpikeData, tmp_path: Path, inputs: int, classes: int
):
    sizes = [data.n_channels + inputs, 8, data.n_classes + classes]
    with pytest.raises(
        UsageError,
        match=r"fit: for these data the network must have .* inputs and .* classes or more",
    ):
        run(delay_snn(sizes, max_delay=4), data, tmp_path / "run")
    assert not list(tmp_path.glob("run/*"))


def test_nothing_to_resume_is_said(data: SpikeData, tmp_path: Path):
    with pytest.raises(UsageError, match="last.ckpt not found"):
        run(network(data), data, tmp_path, resume=True)


def test_metrics_follow_the_schedule_and_reach_the_observer_and_the_file(
    data: SpikeData, tmp_path: Path
):
    observer = Silent()
    rows = run(network(data), data, tmp_path, observer)
    assert observer.rows == rows
    assert [row["sigma"] for row in rows] == SCHEDULE.epochs(SETTINGS["epochs"])
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines[0].split(",") == list(rows[0])
    assert len(lines) == 1 + SETTINGS["epochs"]
    assert list((tmp_path / "tensorboard").iterdir())
    assert all(row["rate_hz"] > 0 for row in rows)


def test_the_rate_counts_no_padding(data: SpikeData, tmp_path: Path):
    """With a network that stays as it is, what a batch pads its samples with changes nothing."""
    assert len(set(data.train.lengths.tolist())) > 1
    rates = []
    for batch_size in (1, len(data.train)):
        settings = SETTINGS | {
            "epochs": 1,
            "batch_size": batch_size,
            "weight_lr": 0.0,
            "weight_decay": 0.0,
            "delay_lr": 0.0,
        }
        net = network(data, dropout=0.0, batch_norm=False, bias=True)
        with torch.no_grad():
            for block in net.blocks:
                block.synapses.bias.fill_(0.7)  # so that neurons fire in padding, too
        (row,) = run(net, data, tmp_path / str(batch_size), settings=settings)
        rates.append(row["rate_hz"])
    assert rates[0] > 0
    assert rates[0] == rates[1]


def test_mixed_samples_are_learned_by_both_labels(data: SpikeData):
    compared: list[torch.Tensor] = []

    def watched(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        compared.append(labels)
        return losses.cross_entropy(scores, labels)

    mixed = SETTINGS | {"epochs": 1, "augmentation": Augmentation(cutmix=1.0), "loss": watched}
    fit(network(data), data, **mixed)
    # Training compares with shares of classes, validation with classes as ever.
    training = [labels for labels in compared if labels.is_floating_point()]
    assert len(training) == len(data.train) // SETTINGS["batch_size"]
    assert len(compared) > len(training)
    shares = torch.cat(training)
    torch.testing.assert_close(shares.sum(1), torch.ones(len(shares)))
    assert ((shares > 0) & (shares < 1)).any()


def test_learned_delays_move_within_their_range_and_fixed_ones_stay(
    data: SpikeData, tmp_path: Path
):
    learned, fixed = network(data), network(data, learn_delays=False)
    start = [delay.detach().clone() for delay in learned.delay_parameters()]
    moved = run(learned, data, tmp_path / "learned")
    still = run(fixed, data, tmp_path / "fixed")
    for before, after, frozen in zip(
        start, learned.delay_parameters(), fixed.delay_parameters(), strict=True
    ):
        assert not torch.equal(before, after)
        assert after.min() >= 0
        assert after.max() <= learned.max_delay
        assert torch.equal(before, frozen)
    assert all(row["delay_change"] > 0 for row in moved[:-1])
    assert all(row["delay_change"] == 0 for row in still)


def test_decay_reaches_weights_only(data: SpikeData):
    net = network(data)
    (weights, _), (delays, _) = published(net, 4, weight_lr=5e-3, weight_decay=1e-5, delay_lr=0.1)
    decay = {
        id(parameter): group["weight_decay"]
        for optimizer in (weights, delays)
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert len(decay) == len(list(net.parameters()))
    for name, parameter in net.named_parameters():
        expected = 1e-5 if name.endswith("synapses.weight") else 0.0
        assert decay[id(parameter)] == expected, name


def test_evaluation_is_the_plain_mean_over_single_samples(data: SpikeData):
    net = network(data)
    found = evaluate(net, data.test, batch_size=16)
    net.eval()
    right, loss = 0, 0.0
    for batch in DataLoader(data.test, 1, collate_fn=data.test.collate):
        with torch.no_grad():
            scores = losses.sum_softmax(net(batch.spikes), batch.lengths + net.tail)
        right += int(scores.argmax(1) == batch.labels)
        loss += losses.cross_entropy(scores, batch.labels).item()
    assert found.score == right / len(data.test)
    assert found.loss == pytest.approx(loss / len(data.test), rel=1e-5)


@pytest.mark.parametrize("what", ["blocks.0.synapses.weight", "blocks.0.norm.running_var"])
def test_a_network_that_is_no_numbers_is_not_evaluated(data: SpikeData, what: str):
    """Its neurons would never reach the threshold, and the first class be the answer."""
    net = network(data)
    net.state_dict()[what][:1] = torch.nan
    with pytest.raises(UsageError, match=f"evaluate: {what} is NaN in "):
        evaluate(net, data.test)


def test_scores_that_are_no_numbers_are_no_answer(data: SpikeData):
    net = network(data)

    def spoiled(v: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        found = v.sum(0)
        found[: len(found) // 2] *= torch.nan
        return found

    with pytest.raises(UsageError, match="the scores of 20 of 40 samples are NaN"):
        evaluate(net, data.test, readout=spoiled)


def test_evaluation_leaves_the_network_in_its_mode(data: SpikeData):
    net = network(data).train()
    evaluate(net, data.valid)
    assert net.training
    assert all(module.training for module in net.modules())


def test_best_epoch_is_the_most_accurate_and_then_the_last():
    assert best_epoch([{"valid_accuracy": a} for a in (0.5, 0.7, 0.7, 0.6)]) == 3


def test_a_loss_that_explodes_ends_the_run_with_advice(data: SpikeData, tmp_path: Path):
    net = network(data)
    with torch.no_grad():
        net.blocks[-1].synapses.weight.fill_(math.nan)
    with pytest.raises(UsageError, match="fit: the loss is nan, .* in epoch 1, .* Lower weight_lr"):
        run(net, data, tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", 2.5),
        ("batch_size", -1),
        ("weight_lr", -1.0),
        ("seed", -1),
        ("delay_lr", math.inf),
        ("weight_decay", "much"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_impossible_settings_are_refused_in_one_line(data: SpikeData, name: str, value: object):
    with pytest.raises(UsageError, match=f"fit: {name} must") as refused:
        fit(network(data), data, **(SETTINGS | {name: value}))
    assert "\n" not in str(refused.value)
    assert repr(value) in str(refused.value)


@pytest.mark.parametrize(
    ("until", "integer_from", "epochs", "remedy"),
    [
        (0.25, 1.0, 3, "Train for 4 epochs or more, or with schedule.until=0.34."),
        (0.9, 0.3, 2, "Train for 4 epochs or more, or with schedule.integer_from=0.5."),
        (1.0, 0.8, 1, "Train for 2 epochs or more, or with schedule.integer_from=1."),
        (
            *(0.25, 0.8, 1),
            "Train for 4 epochs or more, or with schedule.integer_from=1 and schedule.until=1.",
        ),
        (0.25, 1.0, 4, None),
        (1.0, 1.0, 1, None),
    ],
)
def test_a_schedule_without_an_epoch_to_anneal_in_is_told(
    data: SpikeData,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    until: float,
    integer_from: float,
    epochs: int,
    remedy: str | None,
):
    schedule = Exponential(start=4.27, until=until, integer_from=integer_from)
    settings = SETTINGS | {"epochs": epochs}
    with caplog.at_level(logging.WARNING, logger="snn_delays"):
        run(network(data), data, tmp_path, settings=settings, schedule=schedule)
    lines = [one.getMessage() for one in caplog.records if "first epoch" in one.getMessage()]
    assert len(lines) == (remedy is not None)
    assert not remedy or remedy in lines[0]
    # Both remedies help.
    longer = re.findall(r"for (\d+) epochs or", remedy or "")
    shares = {
        name: float(share) for name, share in re.findall(r"\.(\w+)=([\d.]+\d|1)", remedy or "")
    }
    assert schedule.epochs(int(longer[0]) if longer else epochs)[0] == 4.27
    assert replace(schedule, **shares).epochs(epochs)[0] == 4.27


@pytest.mark.parametrize("start", [4.28, 4.3])
def test_a_start_that_rounding_moves_is_no_schedule_without_an_epoch(
    data: SpikeData, caplog: pytest.LogCaptureFixture, start: float
):
    schedule = Exponential(start=start)
    assert schedule.epochs(100)[0] == pytest.approx(start, rel=1e-15)
    with caplog.at_level(logging.WARNING, logger="snn_delays"):
        warn_of_schedule(network(data), schedule, 100)
    assert not caplog.records


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"until": 0.25, "integer_from": 0.8}, None),
        ({"until": 0.5, "integer_from": 0.5}, None),
        ({"until": 0.5, "integer_from": 0.51}, None),
        ({"until": 0.8, "integer_from": 0.5, "straight_through_from": 0.2}, "σ is 0.97 when"),
        ({"until": 1.0, "integer_from": 0.2}, "σ is 2.59 when .* schedule.until=0.2 or less"),
        (
            {"integer_from": 0.5, "straight_through_from": 0.8},
            "straight_through_from=0.8 plays no part: .* schedule.integer_from=0.5 on",
        ),
        ({"integer_from": 0.5, "straight_through_from": 0.4}, None),
    ],
)
def test_shares_of_a_schedule_that_do_not_go_together_are_told(
    data: SpikeData, caplog: pytest.LogCaptureFixture, shares: dict[str, float], said: str | None
):
    """σ is 0.27 + 4 · (0.23 / 4)^x, x being epoch 49 of 80, or 19 of 100."""
    schedule = Exponential(start=4.27, **shares)
    with caplog.at_level(logging.WARNING, logger="snn_delays"):
        warn_of_schedule(network(data), schedule, 100)
    lines = [one.getMessage() for one in caplog.records]
    assert len(lines) == (said is not None)
    assert said is None or re.search(said, lines[0])
