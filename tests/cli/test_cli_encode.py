"""``snn-delays-encode``, as a user types it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typed_commands import Shell

from snn_delays.data import load_shd, load_ssc

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """Two words by three speakers, in the layout of Speech Commands."""
    t = np.arange(4_800) / 48_000
    for word, hertz in (("yes", 1_000), ("no", 200)):
        (tmp_path / "audio" / word).mkdir(parents=True)
        for index, speaker in enumerate(("aa", "bb", "cc")):
            path = tmp_path / "audio" / word / f"{speaker}_nohash_0.wav"
            soundfile.write(path, 0.3 * np.sin(2 * np.pi * (hertz + index) * t), 48_000)
    names = {"validation": "bb", "testing": "cc"}
    for part, speaker in names.items():
        lines = [f"{word}/{speaker}_nohash_0.wav\n" for word in ("yes", "no")]
        (tmp_path / "audio" / f"{part}_list.txt").write_text("".join(lines))
    return tmp_path / "audio"


@pytest.fixture
def run(shell: Shell) -> Run:
    """``snn-delays-encode`` of these arguments: exit code, output, complaint."""
    return partial(shell.ends, "encode")


SMALL = ("channels=5", "workers=1")


def test_a_folder_becomes_a_file(run: Run, words: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(words.parent)
    code, out, err = run("audio=audio", "output=new/out.h5", *SMALL, "classes=[yes,no]")
    assert (code, err) == (0, "")
    assert "6 recordings of 2 classes" in out
    assert "new/out.h5: 6 recordings" in out
    assert "5 channels, as the files say: dataset=shd and dataset=ssc take each" in out
    assert sorted(path.name for path in words.parent.iterdir()) == ["audio", "new"]
    assert run("audio=audio", "output=new/out.h5", *SMALL, "classes=[yes,no]")[0] == 2
    code, *_ = run("audio=audio", "output=new/out.h5", *SMALL, "classes=[yes,no]", "force=true")
    assert code == 0


def test_official_parts_train_as_shd_and_ssc(run: Run, words: Path, tmp_path: Path):
    for parts in ("shd", "ssc"):
        code, out, _ = run(
            f"audio={words}", f"output={tmp_path / 'out'}", f"parts={parts}", *SMALL,
            "speaker='([0-9a-z]+)_nohash_'",
        )  # fmt: skip
        assert code == 0, out
    shd = load_shd(tmp_path / "out", split="stratified", valid_fraction=0.5, cache=False)
    assert len(shd.train) + len(shd.valid) == 4
    assert shd.class_names == ("no", "yes")
    assert shd.n_channels == 5
    known = set(shd.train.speakers.tolist()) | set(shd.valid.speakers.tolist())
    assert len(known) == 2
    assert known.isdisjoint(shd.test.speakers.tolist())
    ssc = load_ssc(tmp_path / "out", cache=False)
    assert [len(split) for split in (ssc.train, ssc.valid, ssc.test)] == [2, 2, 2]
    assert ssc.test.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "audio is missing: give audio=…"),
        (("audio=nowhere", "output=a.h5"), "audio=nowhere: expected a folder"),
        (("audio=audio", "output=a.txt"), "output must be a file NAME.h5"),
        (("audio=audio", "output=a.h5", "parts=shd"), "output must be a folder"),
        (("audio=audio", "output=a", "parts=gsc"), "parts must be one of shd, ssc, got 'gsc'"),
        (("audio=audio", "output=a.h5", "channels=0"), "channels must be a whole number"),
        (("audio=audio", "output=a.h5", "classes=yes"), "classes must be a list"),
        (("audio=audio", "output=a.h5", "classes=[maybe]"), "no recordings of maybe"),
        (("audio=audio", "output=a.h5", "speaker=3"), "speaker must be text"),
        (("audio=audio", "output=a.h5", "force=perhaps"), "force must be true or false"),
        (("audio=audio", "output=a.h5", "chanels=7"), "did you mean channels?"),
    ],
)
def test_mistakes_get_one_line(
    run: Run,
    words: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    complaint: str,
):
    monkeypatch.chdir(words.parent)
    code, _, err = run(*arguments)
    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith("snn-delays-encode: error: ")
    assert complaint in line
    assert [path.name for path in words.parent.iterdir()] == ["audio"]


def test_the_script_runs_with_worker_processes(words: Path, tmp_path: Path):
    script = Path(__file__).parents[2] / "scripts" / "encode.py"
    done = subprocess.run(
        [sys.executable, str(script), f"audio={words}", "output=out.h5", "channels=5", "workers=2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "out.h5: 6 recordings" in done.stdout
    assert done.stdout.count("6 recordings of 2 classes") == 1
