"""Folders and CSV files of recordings: what is found, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from snn_delays.cochlea import find_recordings, official_parts
from snn_delays.errors import UsageError


def test_folders_are_classes(tones: Path):
    found = find_recordings(tones)
    assert found.class_names == ("high", "low")
    assert [one.name for one in found.recordings] == [
        "high/a_1.wav", "high/deeper/b_2.WAV", "low/a_1.wav", "low/b_1.flac",
    ]  # fmt: skip
    assert [one.label for one in found.recordings] == ["high", "high", "low", "low"]
    assert {one.speaker for one in found.recordings} == {None}


def test_classes_choose_and_order(tones: Path):
    assert find_recordings(tones, classes=["low", "high"]).class_names == ("low", "high")
    only = find_recordings(tones, classes=["low"])
    assert [one.label for one in only.recordings] == ["low", "low"]
    with pytest.raises(UsageError, match="no recordings of middle; there are high, low"):
        find_recordings(tones, classes=["low", "middle"])


def test_numbers_are_sorted_as_numbers(tones: Path):
    for index, name in enumerate(("10", "9", "0")):
        (tones / name).mkdir()
        (tones / name / f"{index}.wav").touch()
    (tones / "low").rename(tones / "_low")
    (tones / "high").rename(tones / "_high")
    assert find_recordings(tones).class_names == ("0", "9", "10")


def test_speakers_are_named_by_a_pattern(tones: Path):
    found = find_recordings(tones, speaker=r"([a-z])_\d")
    assert [one.speaker for one in found.recordings] == ["a", "b", "a", "b"]
    for pattern, complaint in (
        ("(", "no regular expression"),
        (r"_\d", "expected one group"),
        (r"(x+)_", "names no speaker in high/a_1.wav"),
    ):
        with pytest.raises(UsageError, match=complaint):
            find_recordings(tones, speaker=pattern)


def csv(tones: Path, content: str | bytes) -> Path:
    path = tones / "list.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_csv_file_is_taken_in_its_order(tones: Path):
    path = csv(
        tones,
        "\ufefflabel, path, speaker\r\ndeep,low/b_1.flac,7\r\n"
        f'"well, shrill","{tones / "high/a_1.wav"}",12\r\n',
    )
    found = find_recordings(path)
    assert found.class_names == ("deep", "well, shrill")
    assert [(one.label, one.speaker) for one in found.recordings] == [
        ("deep", "7"), ("well, shrill", "12"),
    ]  # fmt: skip
    assert all(one.path.is_file() for one in found.recordings)
    assert {one.speaker for one in find_recordings(csv(tones, "path,label\nlow/a_1.wav,x"))
            .recordings} == {None}  # fmt: skip
    with pytest.raises(UsageError, match="names the speakers. Leave speaker out"):
        find_recordings(csv(tones, "path,label,speaker\nlow/a_1.wav,x,s"), speaker="(.)")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "expected the columns path,label or path,label,speaker in the first line, got none"),
        ("file,class\nlow/a_1.wav,x", "got file,class"),
        ("path,label,age\nlow/a_1.wav,x,3", "got path,label,age"),
        ("path,label,label\nlow/a_1.wav,x,x", "got path,label,label"),
        ("path,label\n", "no audio found"),
        ("path,label\nlow/a_1.wav", "line 2: expected path,label, got"),
        ("path,label\nlow/a_1.wav,", "line 2: expected path,label, got"),
        ("path,label\nlow/a_1.wav,x,y", "line 2: expected path,label, got"),
        ("path,label\nlow/none.wav,x", r"line 2: .*none.wav not found"),
        ("path,label\nlow/a_1.wav,x\nlow/a_1.wav,y", "line 3: low/a_1.wav is listed twice"),
        ("path,label,speaker\nlow/a_1.wav,x,1\nlow/b_1.flac,x,", "low/b_1.flac has no speaker"),
        (b"path,label\n\xff\xfe,x", "cannot be read as a CSV file"),
        ('path,label\n"low/a_1.wav,x', "cannot be read as a CSV file"),
    ],
)
def test_wrong_csv_files_get_one_line(tones: Path, content: str | bytes, complaint: str):
    path = csv(tones, content)
    with pytest.raises(UsageError, match=complaint) as raised:
        find_recordings(path)
    assert str(raised.value).startswith(str(path))
    assert len(str(raised.value).splitlines()) == 1


def test_what_is_no_collection_gets_one_line(tones: Path, tmp_path: Path):
    (tmp_path / "nothing").mkdir()
    for audio, complaint in (
        (tmp_path / "missing", "got nothing there"),
        (tmp_path / "nothing", "no audio found"),
        (tones / "low/a_1.wav", "got a .wav file"),
        (tones / "low", "lies in no class"),
    ):
        with pytest.raises(UsageError, match=complaint):
            find_recordings(audio)


def test_official_lists_part_a_collection(tones: Path):
    (tones / "testing_list.txt").write_text("low/b_1.flac\nnever/was.wav\n")
    (tones / "validation_list.txt").write_text("low/a_1.wav\n")
    found = find_recordings(tones)
    ssc, shd = official_parts(found, "ssc"), official_parts(found, "shd")
    names = {file: [one.name for one in part.recordings] for file, part in ssc.items()}
    assert names == {
        "ssc_train.h5": ["high/a_1.wav", "high/deeper/b_2.WAV"],
        "ssc_valid.h5": ["low/a_1.wav"],
        "ssc_test.h5": ["low/b_1.flac"],
    }
    assert {file: len(part.recordings) for file, part in shd.items()} == {
        "shd_train.h5": 3,
        "shd_test.h5": 1,
    }
    assert all(part.class_names == found.class_names for part in (*ssc.values(), *shd.values()))
    (tones / "validation_list.txt").write_text("low/b_1.flac\n")
    with pytest.raises(UsageError, match=r"low/b_1\.flac is in both"):
        official_parts(found, "ssc")
    (tones / "validation_list.txt").write_text("")
    with pytest.raises(UsageError, match="leave no recordings for ssc_valid.h5"):
        official_parts(found, "ssc")
    (tones / "testing_list.txt").unlink()
    with pytest.raises(UsageError, match=re.escape("testing_list.txt cannot be read")):
        official_parts(found, "shd")
