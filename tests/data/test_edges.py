"""Times on the grid, rounded as files round them, against exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whole_events import read_events

from snn_delays.data import load_shd
from snn_delays.data.events.binning import bin_events, stored_edges
from snn_delays.data.events.reading import Events

HALF, SINGLE, DOUBLE = (np.dtype(kind) for kind in (np.float16, np.float32, np.float64))
DTS = [10, 5, 1, 0.1, 0.3, 7, 0.7, 2.5, 1 / 3]
EACH_DT = pytest.mark.parametrize("dt_ms", DTS)
# How the time of step k comes about, in s.
SIMULATORS: dict[str, Any] = {
    "k · dt in s": lambda k, dt: k * (dt / 1000),
    "k · dt in ms, then / 1000": lambda k, dt: k * dt / 1000,
    "k · dt in ms, then · 1e-3": lambda k, dt: k * dt * 1e-3,
    "k / rate": lambda k, dt: k / (1000 / dt),
    "arange": lambda k, dt: np.arange(0, (k.max() + 2) * dt / 1000, dt / 1000)[k],
    "t += dt": lambda k, dt: np.cumsum(np.append(0.0, np.full(k.max(), dt / 1000)))[k],
    "linspace": lambda k, dt: np.linspace(0, k.max() * dt / 1000, k.max() + 1)[k],
    "single precision, s": lambda k, dt: k.astype(np.float32) * np.float32(dt / 1000),
    "single precision, ms": lambda k, dt: k.astype(np.float32) * np.float32(dt) / np.float32(1000),
}


def steps_of(times: np.ndarray, dt_ms: float, **settings: Any) -> list[int]:
    """The steps of one recording whose file stores times as these are."""
    events = Events(
        times=times.astype(np.float64),
        units=np.zeros(len(times), np.int64),
        offsets=np.array([0, len(times)]),
        labels=np.zeros(1, np.int64),
        speakers=np.zeros(1, np.int64),
        n_units=1,
        invalid_events=0,
        time_type=times.dtype,
    )
    return bin_events(events, dt_ms=dt_ms, pool=1, name="train", **settings).steps.tolist()


def steps_that_a_type_can_tell_apart(dt_ms: float, kind: np.dtype, most: int) -> np.ndarray:
    k = np.arange(most)
    apart = np.spacing((k * dt_ms / 1000).astype(kind)).astype(float) < dt_ms / 1000
    return k[: int(np.argmin(apart)) or most]


@EACH_DT
@pytest.mark.parametrize("kind", [HALF, SINGLE, DOUBLE])
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_simulators_times_fall_into_their_own_steps(
    simulator: str, kind: np.dtype, dt_ms: float
) -> None:
    k = steps_that_a_type_can_tell_apart(dt_ms, kind, 50_000)
    times = SIMULATORS[simulator](k, dt_ms)
    assert steps_of(times.astype(kind), dt_ms) == k.tolist()


@pytest.mark.parametrize("dt_ms", [10, 5, 4, 1, 7, 2.5])
def test_every_half_precision_number_below_8_s(dt_ms: float) -> None:
    """The step changes where an edge is stored as that very number, and nowhere else."""
    times = np.arange(np.float16(8).view(np.uint16), dtype=np.uint16).view(np.float16)
    dt = Fraction(str(dt_ms)) / 1000
    for time, step in zip(times.tolist(), steps_of(times, dt_ms), strict=True):
        floor = math.floor(Fraction(time) / dt)
        missing, half = (
            (floor + 1) * dt - Fraction(time),
            Fraction(float(np.spacing(np.float16(time)))) / 2,
        )
        if dt <= 2 * half:
            assert step == floor + (missing <= dt / 2)  # the nearest edge
        else:
            assert step == floor + (missing <= half), time


@settings(max_examples=300)
@given(
    k=st.integers(1, 49_000),
    dt_ms=st.sampled_from(DTS) | st.floats(0.05, 20),
    kind=st.sampled_from([HALF, SINGLE, DOUBLE]),
    ulps=st.integers(-40, 40),
)
def test_numbers_around_an_edge(k: int, dt_ms: float, kind: np.dtype, ulps: int) -> None:
    edge = k * Fraction(str(dt_ms)) / 1000
    time = np.array([float(edge)]).astype(kind)
    if not np.isfinite(time).all():
        return
    bits = time.view(f"i{kind.itemsize}")
    bits += ulps
    spacing = Fraction(float(np.spacing(time)[0]))
    if spacing * 90 > Fraction(str(dt_ms)) / 1000:  # another edge is near
        return
    missing = edge - Fraction(float(time[0]))
    epsilon = Fraction(k, 2**52) if kind == DOUBLE else Fraction(1, 2**23)
    (step,) = steps_of(time, dt_ms)
    if missing <= spacing / 2:
        assert step == k
    elif missing > spacing / 2 + epsilon * edge:
        assert step == k - 1
    else:  # what single precision, or double, may have made of k · dt
        assert step in (k - 1, k)


@settings(max_examples=100)
@given(
    times=st.lists(st.floats(0, 4.5), min_size=1, max_size=40),
    dt_ms=st.sampled_from(DTS) | st.floats(0.3, 20),
    kind=st.sampled_from([HALF, SINGLE, DOUBLE]),
)
def test_times_off_the_edges_are_binned_as_ever(
    times: list[float], dt_ms: float, kind: np.dtype
) -> None:
    stored = np.array(times).astype(kind)
    dt = Fraction(str(dt_ms)) / 1000
    for time, step in zip(stored, steps_of(stored, dt_ms), strict=True):
        floor = math.floor(Fraction(float(time)) / dt)
        below = (floor + 1) * dt - Fraction(float(time))
        lost = Fraction(floor + 1, 2**52) if kind == DOUBLE else 0  # by a sum of so many steps
        if below > 3 * Fraction(float(np.spacing(time))) + lost * (floor + 1) * dt:
            assert step == floor


def test_a_recording_is_left_out_from_an_edge_on_wherever_it_is_stored() -> None:
    k = np.arange(100)
    for kind in (HALF, SINGLE, DOUBLE):
        times = (k * 0.007).astype(kind)
        for last in (1, 13, 57):
            assert steps_of(times, 7, max_time_ms=7 * last) == list(range(last))


def test_edges_never_fall_back() -> None:
    for kind in (HALF, SINGLE, DOUBLE):
        for dt_ms in (0.001, 0.1, 10, 2000):
            edges = stored_edges(50_002, dt_ms, kind)
            assert (edges[1:] >= edges[:-1]).all()


@pytest.mark.parametrize("kind", [HALF, SINGLE, DOUBLE, np.dtype(np.longdouble)])
def test_files_of_a_simulator_have_one_spike_a_step(
    write_file: Any, kind: np.dtype, tmp_path: Path
) -> None:
    """All the way from a file to batches, through the cache: 4 s at 10 ms."""
    k = np.arange(400)
    for name in ("train", "test"):
        path = write_file(
            [k * 0.01] * 4, [[*k[:-1], 699]] * 4, [0, 1] * 2, [0, 0, 1, 1],
            name=f"shd_{name}.h5", time_dtype=kind,
        )  # fmt: skip
    for _ in range(2):
        data = load_shd(path.parent, pool=700, cache=tmp_path / "cache")
        assert (data.test.collate([0, 1, 2, 3]).spikes == 1).all()
    events = read_events(path, dataset_name="SHD", how_to_get="")
    assert events.time_type.itemsize <= 8


def test_real_speech_moves_only_what_an_edge_is_stored_as(fsdd_root: Path) -> None:
    """Against the bare floor: how many events of ``fsdd_shd`` its float16 leaves to an edge."""
    moved = {}
    for name in ("train", "test"):
        with h5py.File(fsdd_root / f"shd_{name}.h5") as file:
            times = np.concatenate(list(file["spikes/times"][:]))
        steps = np.array(steps_of(times, 10.0))
        floor = np.floor(times.astype(float) * 1000 / 10).astype(int)
        above = ((floor + 1) * 0.01).astype(np.float16)
        np.testing.assert_array_equal(steps, np.where(above == times, floor + 1, floor))
        moved[name] = (int((steps != floor).sum()), len(times))
    assert moved == {"train": (43_953, 9_404_134), "test": (11_093, 2_809_969)}
