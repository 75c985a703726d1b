"""``snn-delays-prepare``, as a user types it."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from matplotlib.image import imread
from typed_commands import Shell

from snn_delays.data import heidelberg as official
from snn_delays.files.shd_format import write_events

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from server import Server, serving


def write(path: Path, speakers: list[int], *, seed: int, n: int = 60) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(20, 60, n)
    write_events(
        path,
        times=rng.beta(2, 4, counts.sum()),
        units=rng.integers(700, size=counts.sum()),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        labels=np.arange(n) % 3,
        speakers=np.array(speakers)[np.arange(n) // 3 % len(speakers)],
        class_names=["zero", "one", "two"],
    )
    with h5py.File(path, "r+") as file:
        file["extra/meta_info/gender"] = np.array([b"female", b"male", b"female", b"male"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "files" / "shd_train.h5", [0, 1, 2], seed=0)
    write(tmp_path / "files" / "shd_test.h5", [0, 3], seed=1)
    return tmp_path / "files"


@pytest.fixture
def shell(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    unchecked: None,
) -> Shell:
    """In a folder of its own, with pictures as large as they are."""
    monkeypatch.chdir(tmp_path)
    return Shell(monkeypatch, capsys)


@pytest.fixture
def server(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        for path in root.iterdir():
            content = io.BytesIO()
            with zipfile.ZipFile(content, "w") as file:
                file.write(path, path.name)
            server.files[f"/{path.name}.zip"] = content.getvalue()
            md5 = hashlib.md5(content.getvalue()).hexdigest()
            monkeypatch.setitem(official.MD5, path.name, md5)
        yield server


def test_one_command_from_the_server_to_the_cache(
    shell: Shell, server: Server, tmp_path: Path
) -> None:
    out = shell("prepare", "dataset=shd", "dataset.root=new", f"dataset.base_url={server.url}")
    assert "data: 42 train, 18 validation (speaker), 60 test; 140 channels, 3 classes" in out
    assert len(list((tmp_path / "new/.snn_delays_cache").glob("*.events"))) == 2
    assert not (tmp_path / "runs").exists()


def test_the_check_prints_and_saves(shell: Shell, root: Path, tmp_path: Path) -> None:
    out = shell(
        "prepare", "dataset=shd", f"dataset.root={root}", "dataset.check=true", "folder=found"
    )
    for row in ("recordings ", "female, male", "times NaN", "DEFECT units out of range", "sound"):
        assert row in out, row
    saved = json.loads((tmp_path / "found/check.json").read_text())
    assert saved["passed"]
    assert [file["recordings"] for file in saved["files"]] == [60, 60]


def test_a_check_that_fails(shell: Shell, root: Path, tmp_path: Path) -> None:
    with h5py.File(root / "shd_train.h5", "r+") as file:
        file["spikes/units"][7] = np.array([65535], dtype=np.uint16)
        file["spikes/times"][7] = np.array([0.1], dtype=np.float16)
        file["spikes/times"][8] = file["spikes/times"][9]
        file["spikes/units"][8] = file["spikes/units"][9]
    command = ("dataset=shd", f"dataset.root={root}", "dataset.check=true")
    line, out = shell.fails("prepare", *command), shell.printed
    assert f"1 of 2 files fail. {root}/shd_train.h5: recording 7 has a unit out of range" in line
    assert "on_bad=skip" in line
    assert "FAILS" in out
    assert not json.loads((tmp_path / "runs/data/shd/check.json").read_text())["passed"]
    out = shell("prepare", *command, "dataset.on_bad=skip")
    assert "left out 1 of 60 recordings" in out
    (root / "shd_test.h5").write_bytes((root / "shd_train.h5").read_bytes()[:5000])
    line = shell.fails("prepare", *command, "dataset.on_bad=skip")
    assert "shd_test.h5" in line


def test_the_check_of_another_number_of_units(shell: Shell, root: Path) -> None:
    for name in ("train", "test"):
        with h5py.File(root / f"shd_{name}.h5", "r+") as file:
            for i, units in enumerate(file["spikes/units"][:]):
                file["spikes/units"][i] = units % 64
    command = ("dataset=shd", f"dataset.root={root}", "dataset.check=true")
    out = " ".join(shell("prepare", *command).split())
    assert out.count("64 units, as the largest that fires is 63") == 1
    assert "64 of 64" in out
    assert "64 channels, 3 classes" in out
    assert "never fire" not in out
    out = " ".join(shell("prepare", *command, "dataset.n_units=700").split())
    assert "64 of 700" in out
    assert "127 of 140 input channels (700 units, pool=5) never fire in" in out
    assert "SHD: 127 of 140 input channels never fire in training" in out
    for name in ("train", "test"):
        with h5py.File(root / f"shd_{name}.h5", "r+") as file:
            file["spikes/units"][0] = file["spikes/units"][0] + np.uint16(960)
    line, out = shell.fails("prepare", *command), shell.printed
    assert "recording 0 has a unit out of range: expected 0 to 699" in line
    assert "set dataset.n_units=10" in " ".join(out.split())
    assert "pool must be" in shell.fails(
        "prepare", *command, "dataset.n_units=1024", "dataset.pool=0"
    )


def test_a_recording_in_both_files_is_said(shell: Shell, root: Path) -> None:
    write(root / "shd_test.h5", [0, 3], seed=0)
    out = shell("prepare", "dataset=shd", f"dataset.root={root}", "dataset.check=true")
    assert "60 recordings of" in out
    assert "A test on them is no test." in " ".join(out.split())


@pytest.mark.parametrize("settings", [(), ("dataset.split=paper", "dataset.max_count=1")])
def test_the_page_is_a_picture(
    shell: Shell, root: Path, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    out = shell("prepare", "dataset=shd", f"dataset.root={root}", "plot=true", *settings)
    path = tmp_path / "runs/data/shd/data.png"
    assert f"→ {path.relative_to(tmp_path)}" in out
    picture = imread(path)
    assert picture.shape[1] == 1430
    assert 0.5 < picture.mean() < 0.99


def test_the_page_of_the_built_in_task(shell: Shell, tmp_path: Path) -> None:
    sizes = (f"dataset.n_{split}=20" for split in ("train", "valid", "test"))
    shell("prepare", "dataset.root=data", "plot=true", *sizes)
    assert (tmp_path / "runs/data/synthetic/data.png").stat().st_size > 20_000


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("dataset=shd dataset.root=null", "dataset.root must be a folder"),
        ("dataset=shd dataset.root=new dataset.download=false", "does not exist"),
        ("dataset=shd dataset.root=new dataset.base_url=http://127.0.0.1:9", "Without a network"),
        ("dataset.root=data dataset.check=true", "expected dataset=shd or dataset=ssc"),
        ("dataset.root=data dataset.base_url=http://x", "dataset.base_url is for shd, ssc and gsc"),
        ("dataset=shd plott=true", "did you mean plot?"),
        ("dataset=shd dataset.root=new dataset.on_bad=keep", "on_bad must be one of refuse, skip"),
        ("dataset=shdd", "no such dataset: shdd"),
    ],
)
def test_a_mistake_ends_in_one_line(
    shell: Shell, root: Path, arguments: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    if "on_bad" in arguments:
        arguments = arguments.replace("root=new", f"root={root}")
    assert expected in shell.fails("prepare", *arguments.split())


def test_a_folder_that_cannot_be_written(shell: Shell, root: Path, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("in the way")
    line = shell.fails(
        "prepare", "dataset=shd", f"dataset.root={root}", "dataset.check=true", "folder=blocked/x"
    )
    assert "cannot write blocked/x/check.json" in line
