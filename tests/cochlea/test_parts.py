"""What is put together by hand is checked: one line says what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snn_delays.cochlea import Collection, Ear, Encoder, FilterBank, Recording, filter_table
from snn_delays.cochlea.ear import presented
from snn_delays.cochlea.filters import HALF
from snn_delays.cochlea.recordings import find_recordings
from snn_delays.errors import UsageError

pytestmark = pytest.mark.usefixtures("unchecked")

TABLE = np.zeros((2, 2 * HALF), np.complex64)
CLIP = Recording(Path("a/x.wav"), "a/x.wav", "a", None)
OTHER = Recording(Path("b/x.wav"), "b/x.wav", "b", "jackson")
ROOT = Path()


def bank_of(sound: Any) -> list[Any]:
    return list(FilterBank(TABLE).velocities(sound))


@pytest.mark.parametrize(
    ("make", "arguments", "expected"),
    [
        (FilterBank, (TABLE[:, 1:],), f"complex64 [channels, {2 * HALF}], as filter_table makes"),
        (FilterBank, (TABLE.astype(np.complex128),), "got complex128 of shape [2, "),
        (FilterBank, (TABLE[:0],), "got complex64 of shape [0, "),
        (FilterBank, (None,), "got None"),
        (Ear, (TABLE,), "Ear: membrane must be a FilterBank, got "),
        (filter_table, (1,), "filter_table: channels must be a whole number >= 2, got 1"),
        (filter_table, (4, 4), "filter_table: first must be a whole number from 0 to 3, got 4"),
        (filter_table, (4, 0, 5), "filter_table: last must be a whole number from 1 to 4, got 5"),
        (presented, (np.zeros((2, 9)),), "of one channel at 48000 Hz, got float64 of shape [2, 9]"),
        (presented, (np.zeros(9, np.int16),), "got int16 of shape [9]"),
        (presented, (np.zeros(0),), "got float64 of shape [0]"),
        (bank_of, (np.array([0.0, np.nan, np.inf]),), "sound must be finite, got 2 others"),
        (Recording, ("a/x.wav", "x", "a", None), "path must be a Path, got 'a/x.wav'"),
        (Recording, (Path("x"), "x", 3, None), "label must be a text, got 3"),
        (Recording, (Path("x"), "", "a", None), "name must be a text, got ''"),
        (Recording, (Path("x"), "x", "a", 5), "speaker must be a text, got 5"),
        (Collection, (ROOT, (), ("a",)), "recordings must be a tuple of Recording, got ()"),
        (Collection, (ROOT, (CLIP,), "a"), "class_names must be a tuple of str, got 'a'"),
        (Collection, (ROOT, (CLIP,), ("a", "a")), "class_names must differ, got 'a' twice"),
        (Collection, (ROOT, (CLIP, CLIP), ("a",)), "must differ, got 'a/x.wav' twice"),
        (Collection, (ROOT, (CLIP, OTHER), ("a",)), "among a, got 'b' of b/x.wav"),
    ],
)
def test_wrong_parts_get_one_line(make: Any, arguments: tuple[Any, ...], expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        make(*arguments)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_right_parts_are_taken() -> None:
    assert Collection(ROOT, (CLIP, OTHER), ("a", "b")).class_names == ("a", "b")
    assert len(filter_table(np.int64(3), np.int32(1))) == 2
    encoder = Encoder(channels=np.int64(9), seed=np.uint8(3), workers=np.int32(1))
    assert [type(n) for n in (encoder.channels, encoder.seed, encoder.workers)] == [int] * 3


def test_classes_are_a_list(tmp_path: Path) -> None:
    (tmp_path / "zero").mkdir()
    (tmp_path / "zero" / "x.wav").touch()
    with pytest.raises(UsageError, match="classes must be a list of names, got 'zero'"):
        find_recordings(tmp_path, classes="zero")
