"""σ over training: the published recurrence to the last digit, and what every schedule promises."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.errors import UsageError
from snn_delays.schedules import Constant, Cosine, Exponential, Linear, Schedule, Step

SHRINKING = [Exponential, Linear, Cosine, Step]
EACH = pytest.mark.parametrize("kind", SHRINKING)
WIDTHS = st.floats(0.3, 30)  # above Exponential's offset


def published(epochs: int, sig: float = 12.0) -> list[float]:
    """The true σ of each epoch as SNN-delays does it: DCLS's SIG, multiplied after each epoch."""
    final = epochs // 4
    alpha = (0.23 / sig) ** (1 / final)
    sigmas = []
    for epoch in range(epochs):
        sigmas.append(sig + 0.27)
        if epoch < final:
            sig *= alpha
    return sigmas


@pytest.mark.parametrize("epochs", [150, 60, 100, 30, 4, 5, 37])
def test_exponential_is_the_published_recurrence(epochs: int) -> None:
    got = Exponential(start=12.27, end=0.5, until=0.25).epochs(epochs)
    assert got == pytest.approx(published(epochs), abs=1e-12, rel=0)


def test_150_epochs_go_from_12_27_to_0_50_by_a_constant_factor_of_sig() -> None:
    sigmas = Exponential(12.27).epochs(150)
    assert sigmas[0] == pytest.approx(12.27, abs=1e-12)
    assert sigmas[37:] == [0.5] * 113
    factor = (0.23 / 12) ** (1 / 37)
    for now, after in itertools.pairwise(sigmas[:38]):
        assert after - 0.27 == pytest.approx((now - 0.27) * factor, abs=1e-12)


@EACH
def test_the_end_comes_at_a_quarter_of_the_epochs(kind: type[Schedule]) -> None:
    for count in range(4, 201):
        sigmas = kind(12.27, 0.5, 0.25).epochs(count)
        assert len(sigmas) == count
        assert sigmas[0] == pytest.approx(12.27, abs=1e-12)
        assert sigmas[count // 4 :] == [0.5] * (count - count // 4)
        assert sigmas[count // 4 - 1] > 0.5


def test_30_epochs_anneal_over_7() -> None:
    sigmas = Exponential(12.27).epochs(30)
    assert sigmas[6] > 0.5
    assert sigmas[7] == 0.5


@EACH
@given(start=WIDTHS, end=WIDTHS, until=st.floats(0.01, 1), data=st.data())
def test_from_start_to_end_without_a_step_back(
    kind: type[Schedule], start: float, end: float, until: float, data: st.DataObject
) -> None:
    schedule = kind(start, end, until)
    assert schedule(0) == pytest.approx(start, rel=1e-12)
    assert schedule(until) == end
    assert schedule(1) == end
    assert schedule(data.draw(st.floats(until, 1))) == end

    progress = sorted(data.draw(st.lists(st.floats(0, 1), min_size=2, max_size=20)))
    sigmas = [schedule(p) for p in progress]
    slack = 1e-12 * max(start, end)
    assert all(min(start, end) - slack <= s <= max(start, end) + slack for s in sigmas)
    direction = math.copysign(1, end - start)
    assert all((after - now) * direction >= -slack for now, after in itertools.pairwise(sigmas))


@EACH
@given(start=WIDTHS, end=WIDTHS, until=st.floats(0.01, 1), count=st.integers(1, 120))
def test_epochs_keep_the_bounds(
    kind: type[Schedule], start: float, end: float, until: float, count: int
) -> None:
    sigmas = kind(start, end, until).epochs(count)
    slack = 1e-12 * max(start, end)
    assert len(sigmas) == count
    assert all(min(start, end) - slack <= s <= max(start, end) + slack for s in sigmas)
    last = math.floor(until * count + 1e-9)  # 0.29 of 100 epochs is 29
    assert sigmas[last:] == [end] * (count - last)


@given(start=st.floats(0, 30), end=st.floats(0, 30), x=st.floats(0, 1, exclude_max=True))
def test_linear_and_cosine_are_their_formulas(start: float, end: float, x: float) -> None:
    assert Linear(start, end, 1.0)(x) == pytest.approx((1 - x) * start + x * end, abs=1e-12)
    half_turn = math.cos(math.pi * x / 2) ** 2  # (1 + cos πx) / 2, by the half-angle formula
    expected = half_turn * start + (1 - half_turn) * end
    assert Cosine(start, end, 1.0)(x) == pytest.approx(expected, abs=1e-12)


def test_step_takes_equal_ratios_on_equal_plateaus() -> None:
    # 16 → 1 in 4 steps halves each time: plateaus of 2 epochs out of 8.
    got = Step(16, 1, 1.0, steps=4).epochs(8)
    assert got == pytest.approx([16, 16, 8, 8, 4, 4, 2, 2])


@given(start=st.floats(0, 30), progress=st.floats(0, 1), count=st.integers(1, 50))
def test_constant_is_constant(start: float, progress: float, count: int) -> None:
    assert Constant(start)(progress) == start
    assert Constant(start).epochs(count) == [start] * count


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", [*SHRINKING, Constant])
@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"start": -1.0}, "start must be a number of steps >= 0, got -1.0"),
        ({"start": math.nan}, "start must be a number of steps >= 0, got nan"),
        ({"start": "wide"}, "start must be a number of steps >= 0, got 'wide'"),
        ({"end": math.inf}, "end must be a number of steps >= 0, got inf"),
        ({"until": 0.0}, r"until must be a share of training in (0, 1], got 0.0"),
        ({"until": 1.5}, r"until must be a share of training in (0, 1], got 1.5"),
        ({"until": None}, r"until must be a share of training in (0, 1], got None"),
    ],
)
def test_impossible_values_are_named(
    kind: type[Schedule], bad: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        kind(**{"start": 12.0, **bad})
    assert str(caught.value).startswith(f"{kind.__name__}: {said}")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Exponential(12.0, 0.27), r"above offset = 0.27, got 12 and 0.27"),
        (lambda: Exponential(0.1, 0.5), r"above offset = 0.27, got 0.1 and 0.5"),
        (lambda: Step(12.0, 0.0), r"above 0, got 12 and 0"),
        (lambda: Step(12.0, steps=0), r"steps must be a whole number >= 1, got 0"),
        (lambda: Step(12.0, steps=1.5), r"steps must be a whole number >= 1, got 1.5"),
        (lambda: Linear(12.0)(1.01), r"progress must lie in \[0, 1\], got 1.01"),
        (lambda: Constant(12.0)(-0.1), r"progress must lie in \[0, 1\], got -0.1"),
        (lambda: Cosine(12.0)(math.nan), r"progress must lie in \[0, 1\], got nan"),
    ],
)
def test_each_kind_names_its_own_limits(make: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make()
