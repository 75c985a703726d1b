"""Which recordings train, validate and test."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from snn_delays.data.gsc.clips import hashed_part, official_parts
from snn_delays.errors import UsageError

NAMES = ["bed/a_nohash_0.wav", "bed/b_nohash_0.wav", "yes/a_nohash_1.wav"]


def write_lists(root: Path, valid: str, test: str) -> None:
    (root / "validation_list.txt").write_text(valid)
    (root / "testing_list.txt").write_text(test)


def test_what_no_list_names_is_for_training(tmp_path: Path) -> None:
    write_lists(tmp_path, "bed/b_nohash_0.wav\r\n\n", "  yes/a_nohash_1.wav\ngone/x.wav\n")
    assert official_parts(tmp_path, NAMES) == (
        dict(zip(NAMES, ["train", "valid", "test"], strict=True)),
        "official",
    )


@pytest.mark.parametrize("there", ["validation_list.txt", "testing_list.txt", None])
def test_without_both_lists_the_rule_decides_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, there: str | None
) -> None:
    if there:
        (tmp_path / there).write_text(NAMES[0])
    with caplog.at_level(logging.INFO, logger="snn_delays"):
        parts, how = official_parts(tmp_path, NAMES)
    assert how == "hash"
    assert parts == {name: hashed_part(name) for name in NAMES}
    (line,) = caplog.messages
    assert "split by the hash of their names" in line
    assert ("validation_list.txt" in line) == (there != "validation_list.txt")


def test_lists_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    write_lists(tmp_path, NAMES[0], NAMES[0])
    with pytest.raises(UsageError, match=r"bed/a_nohash_0\.wav is in both validation_list\.txt"):
        official_parts(tmp_path, NAMES)


def test_a_list_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    write_lists(tmp_path, "", "")
    (tmp_path / "testing_list.txt").write_bytes(b"\xff\xfe\x00\x9f")
    with pytest.raises(UsageError, match=r"testing_list\.txt cannot be read") as caught:
        official_parts(tmp_path, NAMES)
    assert "\n" not in str(caught.value)


def test_the_rule_keeps_speakers_together_and_makes_tenths() -> None:
    parts = [hashed_part(f"bed/{n:08x}_nohash_0.wav") for n in range(4000)]
    for n in range(50):
        assert hashed_part(f"yes/{n:08x}_nohash_7.wav") == parts[n]
    for part in ("valid", "test"):
        assert abs(parts.count(part) / 4000 - 0.1) < 0.02


def test_the_rule_gives_the_official_lists(gsc_mini: Path) -> None:
    for part, name in (("valid", "validation_list.txt"), ("test", "testing_list.txt")):
        listed = (gsc_mini / name).read_text().split()
        assert len(listed) > 6000
        assert {hashed_part(recording) for recording in listed} == {part}
    names = [str(path.relative_to(gsc_mini)) for path in gsc_mini.glob("*/*.wav")]
    assert len(names) == 300
    assert official_parts(gsc_mini, names)[0] == {name: hashed_part(name) for name in names}
