"""Whatever an archive holds, nothing is written but where it was asked for, and in full."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from snn_delays.data.download import untar, unzip_member
from snn_delays.errors import UsageError

CONTENT = np.random.default_rng(0).bytes(50_000)


def zipped(path: Path, members: dict[str, bytes], *, link: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = 0o120777 << 16
            file.writestr(info, "/etc/passwd")
    return path


def tarred(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as file:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                file.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def special(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def refused(folder: Path, action: object, *arguments: object, **settings: object) -> str:
    """The one line, after checking that the folder is as it was."""
    before = sorted(folder.rglob("*"))
    assert callable(action)
    with pytest.raises(UsageError) as caught:
        action(*arguments, **settings)
    assert sorted(folder.rglob("*")) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.h5", "folder/a.h5", "./deep/er/a.h5"])
def test_the_one_file_of_a_zip(tmp_path: Path, name: str) -> None:
    archive = zipped(tmp_path / "a.zip", {name: CONTENT, "README": b"read me"})
    unzip_member(archive, "a.h5", tmp_path / "there" / "a.h5")
    assert (tmp_path / "there" / "a.h5").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["a.h5"]


@pytest.mark.parametrize("number", [0, 2])
def test_a_zip_that_is_refused(tmp_path: Path, number: int) -> None:
    members = {f"{i}/a.h5": b"x" for i in range(number)} | {"a.h5/": b"", "b.h5": b"y"}
    archive = zipped(tmp_path / "a.zip", members)
    message = refused(tmp_path, unzip_member, archive, "a.h5", tmp_path / "a.h5")
    assert message.startswith(f"{archive} is not unpacked: ")
    assert f"expected one file called a.h5, got {number}" in message


@pytest.mark.parametrize("name", ["../a.h5", "/tmp/a.h5", "../../there/a.h5"])
def test_nothing_of_a_zip_is_written_elsewhere(tmp_path: Path, name: str) -> None:
    archive = zipped(tmp_path / "a.zip", {name: CONTENT, "../other": b"y"}, link="b.h5")
    unzip_member(archive, "a.h5", tmp_path / "there" / "a.h5")
    assert (tmp_path / "there" / "a.h5").read_bytes() == CONTENT
    assert {path.name for path in tmp_path.rglob("*")} == {"a.zip", "there", "a.h5"}


def test_a_zip_that_declares_less_than_it_holds(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"a.h5": bytes(100_000)})
    size = (100_000).to_bytes(4, "little")
    archive.write_bytes(archive.read_bytes().replace(size, (10).to_bytes(4, "little")))
    refused(tmp_path, unzip_member, archive, "a.h5", tmp_path / "a.h5")


def test_damaged_zips(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"a.h5": CONTENT})
    whole = archive.read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "a.h5"
    for i in range(100):
        place = int(rng.integers(len(whole)))
        flipped = bytes([whole[place] ^ (1 << int(rng.integers(8)))])
        damaged = whole[:place] if i % 2 else whole[:place] + flipped + whole[place + 1 :]
        archive.write_bytes(damaged)
        try:
            unzip_member(archive, "a.h5", path)
        except UsageError as error:
            assert "\n" not in str(error)  # noqa: PT017
            assert not path.exists()
        else:  # A date, for example, was hit.
            assert path.read_bytes() == CONTENT
            path.unlink()
    assert [one.name for one in tmp_path.iterdir()] == ["a.zip"]


def test_a_whole_tar(tmp_path: Path) -> None:
    name = "a.tar.gz"
    folder = special("./word", tarfile.DIRTYPE, "")
    archive = tarred(
        tmp_path / name, {"./word": folder, "./word/1.wav": CONTENT, "list.txt": b"word/1.wav"}
    )
    untar(archive, tmp_path / "there")
    assert (tmp_path / "there/word/1.wav").read_bytes() == CONTENT
    assert (tmp_path / "there/list.txt").read_bytes() == b"word/1.wav"
    assert {path.name for path in tmp_path.iterdir()} == {name, "there"}


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"../a": b"x"}, "outside the destination"),
        ({"a/../../b": b"x"}, "outside the destination"),
        ({"a": special("a", tarfile.SYMTYPE)}, "absolute path"),
        ({"a": special("a", tarfile.LNKTYPE, "../../b")}, "outside the destination"),
        ({"a": special("a", tarfile.FIFOTYPE)}, "special file"),
        ({"a": special("a", tarfile.CHRTYPE)}, "special file"),
    ],
)
def test_a_tar_that_is_refused(
    tmp_path: Path, members: dict[str, bytes | tarfile.TarInfo], complaint: str
) -> None:
    archive = tarred(tmp_path / "a.tar.gz", {"before": b"x", **members})
    assert complaint in refused(tmp_path, untar, archive, tmp_path / "there")


def test_absolute_paths_of_a_tar_begin_in_the_folder(tmp_path: Path) -> None:
    untar(tarred(tmp_path / "a.tar.gz", {"/tmp/a": b"x"}), tmp_path / "there")
    assert (tmp_path / "there/tmp/a").read_bytes() == b"x"


def test_truncated_and_damaged_tars(tmp_path: Path) -> None:
    archive = tarred(tmp_path / "a.tar.gz", {f"{i}.wav": CONTENT[i:] for i in range(4)})
    whole = archive.read_bytes()
    rng = np.random.default_rng(0)
    for share in np.linspace(0, 0.9999, 30):
        archive.write_bytes(whole[: int(share * len(whole))])
        refused(tmp_path, untar, archive, tmp_path / "there")
    for place in rng.integers(20, len(whole), 30):
        archive.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        refused(tmp_path, untar, archive, tmp_path / "there")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_disk_that_fills_up(tmp_path: Path, kind: str) -> None:
    resource = pytest.importorskip("resource")
    one = zipped(tmp_path / "a.zip", {"a.h5": bytes(100_000)})
    many = tarred(tmp_path / "a.tar.gz", {"before": b"x", "a.h5": bytes(100_000)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        if kind == "zip":
            path = tmp_path / "a.h5"
            message = refused(tmp_path, unzip_member, one, "a.h5", path)
        else:
            message = refused(tmp_path, untar, many, tmp_path / "there")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.strerror(27) in message
