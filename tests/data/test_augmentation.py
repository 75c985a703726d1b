"""Augmentation keeps what it must keep."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, tensor

from snn_delays.data import Batch
from snn_delays.data.augmentation import (
    Augmentation,
    Events,
    channel_jitter,
    channel_mask,
    channel_shift,
    cutmix,
    event_drop,
    list_events,
    speed,
    time_jitter,
    time_mask,
)
from snn_delays.errors import UsageError

EVERYTHING = Augmentation(
    event_drop=0.2,
    speed=0.3,
    time_jitter=2.0,
    channel_jitter=0.2,
    channel_shift=0.13,
    time_mask=5,
    channel_mask=0.4,
    cutmix=0.7,
)
NAMES = [name for name in vars(EVERYTHING) if name != "currents"]
ALONE = [Augmentation(**{name: getattr(EVERYTHING, name)}) for name in NAMES]
CLASSES = 4
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    ),
]


def batch_of(spikes: Tensor, lengths: Tensor) -> Batch:
    n = len(lengths)
    steps = torch.arange(spikes.shape[0])[:, None]
    return Batch(
        spikes=spikes * (steps < lengths)[:, :, None],
        labels=torch.arange(n) % CLASSES,
        lengths=lengths,
        speakers=torch.arange(n) + 10,
    )


def batch_on(device: str) -> Batch:
    lengths = torch.randint(10, 41, (30,))
    lengths[0] = 40
    batch = batch_of(torch.poisson(torch.full((40, 30, 8), 0.4)), lengths)
    return Batch(*(part.to(device) for part in batch))


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Counts from 0 to 3 or so, of 1 to 6 recordings, each silent after its end."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    steps, n, channels = draw(st.integers(1, 15)), draw(st.integers(1, 6)), draw(st.integers(2, 9))
    lengths = torch.randint(1, steps + 1, (n,))
    lengths[draw(st.integers(0, n - 1))] = steps
    rate = draw(st.sampled_from([0.0, 0.1, 1.0]))
    return batch_of(torch.poisson(torch.full((steps, n, channels), rate)), lengths)


def after_the_end(batch: Batch) -> Tensor:
    steps = torch.arange(batch.spikes.shape[0], device=batch.spikes.device)[:, None]
    return batch.spikes[steps >= batch.lengths]


# All of them


@pytest.mark.parametrize("augmentation", [*ALONE, EVERYTHING], ids=[*NAMES, "everything"])
@given(batch=batches())
def test_recordings_stay_silent_after_their_end(augmentation: Augmentation, batch: Batch):
    changed, targets = augmentation(batch, CLASSES)
    assert (after_the_end(changed) == 0).all()
    assert (changed.spikes >= 0).all()
    assert torch.equal(changed.spikes, changed.spikes.round())
    assert changed.spikes.shape[0] == changed.lengths.max()
    assert changed.spikes.shape[1:] == batch.spikes.shape[1:]
    assert torch.equal(changed.speakers, batch.speakers)
    if augmentation.cutmix:
        assert targets.shape == (len(batch.labels), CLASSES)
    else:
        assert torch.equal(targets, batch.labels)
        assert torch.equal(changed.labels, batch.labels)
    if not augmentation.speed:
        assert torch.equal(changed.lengths, batch.lengths)


@given(batch=batches())
def test_everything_off_is_the_same_batch_and_draws_nothing(batch: Batch):
    before = torch.get_rng_state()
    same, targets = Augmentation()(batch, CLASSES)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(new is old for new, old in zip(same, batch, strict=True))
    assert targets is batch.labels


@pytest.mark.parametrize("name", NAMES)
def test_each_changes_something_and_draws_for_it(name: str):
    batch = batch_on("cpu")
    before = torch.get_rng_state()
    changed, _ = Augmentation(**{name: getattr(EVERYTHING, name)})(batch, CLASSES)
    assert not torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(changed.spikes, batch.spikes)


@pytest.mark.parametrize("device", DEVICES)
def test_equal_seeds_give_equal_batches_and_others_do_not(device: str):
    batch = batch_on(device)
    found = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        found.append(EVERYTHING(batch, CLASSES))
    (first, targets), (again, same_targets), (other, _) = found
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(targets, same_targets)
    assert not torch.equal(first.spikes, other.spikes)
    assert {part.device.type for part in (*first, targets)} == {device}


def test_nothing_is_made_on_another_device_than_the_batch():
    batch = batch_on("cpu")
    with torch.device("meta"):  # where whatever names no device is made, and has no numbers
        changed, targets = EVERYTHING(batch, CLASSES)
    assert {part.device.type for part in (*changed, targets)} == {"cpu"}


def test_the_batch_that_was_given_is_left_alone():
    batch = batch_on("cpu")
    copies = [part.clone() for part in batch]
    EVERYTHING(batch, CLASSES)
    assert all(torch.equal(part, copy) for part, copy in zip(batch, copies, strict=True))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("event_drop", 1, "a number >= 0 and < 1"),
        ("event_drop", -0.1, "a number >= 0 and < 1"),
        ("speed", math.inf, "a number >= 0"),
        ("time_jitter", "much", "a number >= 0"),
        ("channel_jitter", math.nan, "a number >= 0"),
        ("channel_shift", 1.5, "a share of the channels in [0, 1)"),
        ("time_mask", -1, "a whole number of steps >= 0"),
        ("channel_mask", 0.6, "a share of the channels in [0, 0.5]"),
        ("currents", "drop", "one of refuse, skip"),
        ("cutmix", 1.01, "a number >= 0 and <= 1"),
        ("cutmix", None, "a number >= 0 and <= 1"),
    ],
)
def test_impossible_strengths_are_refused_in_one_line(
    name: str, value: object, expected: str, unchecked: None
):
    with pytest.raises(UsageError) as refused:
        Augmentation(**{name: value})  # pyright: ignore[reportArgumentType]
    assert str(refused.value) == f"augmentation.{name} must be {expected}, got {value!r}."


def test_channels_are_counted_in_shares_of_all():
    batch = batch_on("cpu")
    for share, channels in ((0.02, 0), (0.1, 1), (0.5, 4)):
        torch.manual_seed(3)
        shifted = Augmentation(channel_shift=share)(batch, CLASSES)[0].spikes
        torch.manual_seed(3)
        assert torch.equal(shifted, channel_shift(batch.spikes, channels))
        torch.manual_seed(3)
        masked = Augmentation(channel_mask=share)(batch, CLASSES)[0].spikes
        torch.manual_seed(3)
        assert torch.equal(masked, channel_mask(batch.spikes, channels))
    torch.manual_seed(3)
    jittered = Augmentation(channel_jitter=0.25)(batch, CLASSES)[0].spikes
    torch.manual_seed(3)
    events = channel_jitter(list_events(batch.spikes), 8, 2.0)
    assert torch.equal(jittered, events.dense(*batch.spikes.shape))


@pytest.mark.parametrize("name", NAMES)
def test_strengths_are_numbers_of_any_kind(name: str, unchecked: None):
    batch = batch_on("cpu")
    whole = isinstance(getattr(EVERYTHING, name), int)
    results = []
    for strength in (2, np.int16(2), tensor(2)) if whole else (0.5, np.float32(0.5), tensor(0.5)):
        torch.manual_seed(1)
        results.append(Augmentation(**{name: strength})(batch, CLASSES)[0].spikes)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_single_changes_take_numbers_of_any_kind_and_no_others(unchecked: None):
    batch = batch_on("cpu")
    events, lengths = list_events(batch.spikes), batch.lengths
    real: dict[str, Callable[[Any], Any]] = {
        "event_drop": lambda strength: event_drop(events, strength),
        "speed": lambda strength: speed(events, lengths, strength)[0],
        "time_jitter": lambda strength: time_jitter(events, lengths, strength),
        "channel_jitter": lambda strength: channel_jitter(events, batch.spikes.shape[2], strength),
        "cutmix": lambda strength: cutmix(batch, np.int64(CLASSES), strength)[1],  # pyright: ignore
    }
    whole: dict[str, Callable[[Any], Any]] = {
        "channel_shift": lambda limit: channel_shift(batch.spikes, limit),
        "time_mask": lambda limit: time_mask(batch.spikes, lengths, limit),
        "channel_mask": lambda limit: channel_mask(batch.spikes, limit),
    }
    for functions, right, wrong in (
        (real, 0.5, (-0.1, math.nan, math.inf, "much", None, True)),
        (whole, 2, (-1, 2.5, math.nan, "much", None, True)),
    ):
        for name, change in functions.items():
            results = []
            for kind in (
                float if right < 1 else int,
                np.float32 if right < 1 else np.int16,
                tensor,
            ):
                torch.manual_seed(1)
                results.append(torch.stack(list(change(kind(right)))))
            assert torch.equal(results[0], results[1]), name
            assert torch.equal(results[0], results[2]), name
            for value in wrong:
                with pytest.raises(UsageError, match=f"^{name} must be .*, got {value!r}"):
                    change(value)


def test_labels_that_are_no_classes_are_not_mixed():
    batch = batch_on("cpu")
    with pytest.raises(UsageError, match=r"labels must be 0 to 2 \(3 classes\), got 3 at place 3"):
        cutmix(batch, CLASSES - 1, 0.5)


# Currents


@pytest.mark.parametrize("name", ["event_drop", "speed", "time_jitter", "channel_jitter"])
@pytest.mark.parametrize("value", [-1.0, 0.5, math.nan, math.inf])
def test_single_events_of_currents_are_refused_in_one_line(name: str, value: float):
    batch = batch_on("cpu")
    batch.spikes[3, 2, 1] = value
    with pytest.raises(UsageError, match=f"holds currents, such as {value:g}: ") as refused:
        Augmentation(**{name: 0.3})(batch, CLASSES)
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


def test_currents_are_shifted_masked_and_mixed_unharmed():
    lengths = torch.randint(20, 41, (30,))
    lengths[0] = 40
    batch = batch_of(torch.randn(40, 30, 8), lengths)
    allowed = Augmentation(channel_shift=0.25, time_mask=5, channel_mask=0.4, cutmix=0.5)
    changed, _ = allowed(batch, CLASSES)
    assert (after_the_end(changed) == 0).all()
    assert torch.isin(changed.spikes[changed.spikes != 0], batch.spikes).all()


def test_what_changes_single_events_is_left_out_for_currents_if_asked_for(
    caplog: pytest.LogCaptureFixture,
):
    currents = batch_of(torch.randn(40, 30, 8), torch.full((30,), 40))
    skipping = replace(EVERYTHING, currents="skip")
    assert EVERYTHING.suited(currents) is EVERYTHING
    assert skipping.suited(batch_on("cpu")) is skipping
    with caplog.at_level("INFO", "snn_delays"):
        left = skipping.suited(currents)
    kept = {name: getattr(skipping, name) for name in NAMES[4:]}
    assert left == Augmentation(**kept, currents="skip")
    assert "event_drop, speed, time_jitter, channel_jitter change single events" in caplog.text
    left(currents, CLASSES)


# Single events


@given(batch=batches())
def test_laying_out_undoes_listing(batch: Batch):
    events = list_events(batch.spikes)
    assert len(events.steps) == batch.spikes.sum()
    assert torch.equal(events.dense(*batch.spikes.shape), batch.spikes)


def test_dropping_thins_every_count_binomially():
    counts = torch.full((100, 50, 10), 6.0)
    left = event_drop(list_events(counts), 0.3).dense(*counts.shape)
    assert left.max() == 6
    # Of 50,000 draws of Binomial(6, 0.7) mean and variance are within 5 standard errors.
    assert left.mean() == pytest.approx(6 * 0.7, abs=5 * math.sqrt(6 * 0.21 / 50_000))
    assert left.var() == pytest.approx(6 * 0.21, rel=0.04)


@given(batch=batches(), probability=st.floats(0.01, 0.99))
def test_dropping_adds_nothing(batch: Batch, probability: float):
    left = event_drop(list_events(batch.spikes), probability).dense(*batch.spikes.shape)
    assert (left <= batch.spikes).all()


@given(batch=batches(), sigma=st.floats(0.01, 100))
def test_time_jitter_keeps_the_count_of_every_channel(batch: Batch, sigma: float):
    events = time_jitter(list_events(batch.spikes), batch.lengths, sigma)
    jittered = batch._replace(spikes=events.dense(*batch.spikes.shape))
    assert torch.equal(jittered.spikes.sum(0), batch.spikes.sum(0))
    assert (after_the_end(jittered) == 0).all()


@given(batch=batches(), sigma=st.floats(0.01, 100))
def test_channel_jitter_keeps_the_count_of_every_step(batch: Batch, sigma: float):
    events = channel_jitter(list_events(batch.spikes), batch.spikes.shape[2], sigma)
    assert torch.equal(events.dense(*batch.spikes.shape).sum(2), batch.spikes.sum(2))


def test_jitter_is_as_wide_as_asked_and_reflected_at_the_edges():
    spikes = torch.zeros(101, 1, 101)
    spikes[50, 0, 50] = 50_000
    events, length = list_events(spikes), torch.tensor([101])
    for moved in (
        time_jitter(events, length, 3.0).steps,
        channel_jitter(events, 101, 3.0).channels,
    ):
        assert moved.double().mean() == pytest.approx(50, abs=0.1)
        assert moved.double().var() == pytest.approx(9 + 1 / 12, rel=0.04)  # rounding adds 1 / 12
    edge = events._replace(steps=torch.zeros_like(events.steps))
    shares = torch.bincount(time_jitter(edge, length, 1.0).steps) / len(edge.steps)
    # Step 0 gets what stays there and what would move to −1: |ξ| < ½, or −3/2 < ξ < −½.
    assert shares[0] == pytest.approx(0.3829 + 0.2417, abs=0.01)


@given(batch=batches(), strength=st.floats(0.01, 3))
def test_speed_keeps_the_count_of_every_channel_and_changes_durations(
    batch: Batch, strength: float
):
    events, lengths = speed(list_events(batch.spikes), batch.lengths, strength)
    changed = batch._replace(
        spikes=events.dense(int(lengths.max()), *batch.spikes.shape[1:]), lengths=lengths
    )
    assert torch.equal(changed.spikes.sum(0), batch.spikes.sum(0))
    assert (after_the_end(changed) == 0).all()
    assert (lengths >= 1).all()
    assert (lengths <= batch.lengths * (1 + strength) + 0.51).all()
    assert (lengths >= batch.lengths / (1 + strength) - 0.51).all()


def test_speed_keeps_the_order_of_steps_even_of_long_recordings():
    lengths = torch.tensor([5000, 1])
    events = Events(
        steps=torch.cat([torch.arange(5000), torch.zeros(1)]).int(),
        recordings=torch.tensor([0] * 5000 + [1], dtype=torch.int32),
        channels=torch.zeros(5001, dtype=torch.int32),
    )
    durations = set()
    for _ in range(50):
        changed, new = speed(events, lengths, 0.5)
        own = changed.steps[:-1]
        assert (own.diff() >= 0).all()
        assert own[0] <= 1
        assert new[0] - 3 <= own[-1] < new[0]
        durations.add(int(new[0]))
    assert min(durations) < 4000 < 6000 < max(durations)


def test_a_stretched_recording_has_no_empty_steps():
    spikes = torch.full((40, 200, 1), 60.0)
    events, lengths = speed(list_events(spikes), torch.full((200,), 40), 0.5)
    stretched = events.dense(int(lengths.max()), 200, 1)[:, :, 0]
    longer = lengths > 45
    assert longer.any()
    for n in longer.nonzero().flatten().tolist():
        own = stretched[: lengths[n], n]
        assert own.min() > 10
        assert own.mean() == pytest.approx(60 * 40 / int(lengths[n]), rel=1e-5)


# Whole steps and channels


def test_every_sample_is_moved_as_a_whole_by_at_most_the_limit():
    spikes = torch.poisson(torch.full((30, 200, 12), 0.5))
    spikes[:, :, :3] = spikes[:, :, -3:] = 0  # so that nothing is lost over the edge
    moved = channel_shift(spikes, 3)
    shifts = set()
    for n in range(spikes.shape[1]):
        (shift,) = [s for s in range(-3, 4) if torch.equal(moved[:, n], spikes[:, n].roll(s, -1))]
        shifts.add(shift)
    assert shifts == set(range(-3, 4))


def test_what_leaves_at_one_edge_does_not_come_back_at_the_other():
    spikes = torch.zeros(1, 300, 4)
    spikes[:, :, 0] = 1
    moved = channel_shift(spikes, 2)
    assert moved[:, :, 3].sum() == 0
    assert 0 < moved.sum() < spikes.sum()


@pytest.mark.parametrize("limit", [-1, 1.5, "far", 4])
def test_an_impossible_limit_is_refused(limit: object, unchecked: None):
    with pytest.raises(UsageError, match=f"got {limit!r}"):
        channel_shift(torch.zeros(1, 1, 4), limit)  # pyright: ignore[reportArgumentType]


def is_one_span(hidden: Tensor) -> bool:
    """Whether what is true stands side by side; nothing at all counts too."""
    places = hidden.nonzero().flatten()
    return not len(places) or int(places[-1] - places[0]) == len(places) - 1


@given(batch=batches(), limit=st.integers(1, 20))
def test_a_time_mask_hides_one_span_of_a_recording_and_touches_nothing_else(
    batch: Batch, limit: int
):
    batch = batch_of(torch.rand_like(batch.spikes) + 0.5, batch.lengths)
    masked = time_mask(batch.spikes, batch.lengths, limit)
    for n, length in enumerate(batch.lengths.tolist()):
        hidden = (masked[:length, n] == 0).all(1)
        assert is_one_span(hidden)
        assert hidden.sum() <= min(limit, length // 2)
        assert torch.equal(masked[:length, n][~hidden], batch.spikes[:length, n][~hidden])


@given(batch=batches(), limit=st.integers(1, 20))
def test_a_channel_mask_hides_one_span_of_a_recording_and_touches_nothing_else(
    batch: Batch, limit: int
):
    spikes = torch.rand_like(batch.spikes) + 0.5
    masked = channel_mask(spikes, limit)
    for n in range(spikes.shape[1]):
        hidden = (masked[:, n] == 0).all(0)
        assert is_one_span(hidden)
        assert hidden.sum() <= min(limit, spikes.shape[2] // 2)
        assert torch.equal(masked[:, n][:, ~hidden], spikes[:, n][:, ~hidden])


def test_masks_are_of_every_width_and_reach_every_place_equally_often():
    spikes, lengths = torch.ones(9, 6000, 9), torch.full((6000,), 9)
    for hidden in (
        (time_mask(spikes, lengths, 3) == 0).all(2),
        (channel_mask(spikes, 3) == 0).all(0).T,
    ):
        widths = torch.bincount(hidden.sum(0), minlength=4) / 6000
        assert widths.tolist() == pytest.approx([0.25] * 4, abs=0.03)
        assert hidden.any(1).all()
        starts = hidden[:, hidden.sum(0) == 3].int().argmax(0)
        shares = torch.bincount(starts, minlength=7) / len(starts)
        assert shares.tolist() == pytest.approx([1 / 7] * 7, abs=0.05)


@given(batch=batches(), probability=st.floats(0.05, 1))
def test_mixing_pastes_one_span_of_the_neighbour_and_shares_the_label_by_its_length(
    batch: Batch, probability: float
):
    # Each recording's cells tell which one they come from.
    names = torch.arange(1.0, len(batch.labels) + 1)[:, None].expand_as(batch.spikes)
    batch = batch_of(names, batch.lengths)
    mixed, targets = cutmix(batch, CLASSES, probability)
    assert torch.equal(mixed.lengths, batch.lengths)
    size = len(batch.labels)
    for n, length in enumerate(batch.lengths.tolist()):
        m = (n + 1) % size
        own = mixed.spikes[:length, n]
        foreign = (own == m + 1).all(1) if m != n else torch.zeros(length, dtype=torch.bool)
        assert is_one_span(foreign)
        assert (own[~foreign] == n + 1).all()
        share = int(foreign.sum()) / length
        expected = torch.zeros(CLASSES)
        expected[batch.labels[n]] += 1 - share
        expected[batch.labels[m]] += share
        torch.testing.assert_close(targets[n], expected)
        assert mixed.labels[n] == batch.labels[m if share > 0.5 else n]


def test_as_many_are_mixed_as_asked_and_by_every_share():
    batch = batch_of(torch.ones(50, 4000, 2), torch.full((4000,), 50))
    _, targets = cutmix(batch, CLASSES, 0.4)
    share = 1 - targets.gather(1, batch.labels[:, None]).squeeze(1)
    # Of those chosen one in 51 gets a span of width 0.
    assert (share > 0).double().mean() == pytest.approx(0.4 * 50 / 51, abs=0.04)
    assert share[share > 0].mean() == pytest.approx(0.51, abs=0.03)
    assert share.max() == 1
