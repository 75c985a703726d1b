"""Whatever an archive holds, nothing is written but where it was asked for, and in full."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from snn_delays.data.archive import untar, unzip_member
from snn_delays.errors import UsageError

CONTENT = np.random.default_rng(0).bytes(50_000)
LARGE = 1 << 30


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
    unzip_member(archive, "a.h5", tmp_path / "there" / "a.h5", max_bytes=LARGE)
    assert (tmp_path / "there" / "a.h5").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["a.h5"]


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"../a.h5": b"x"}, "the path '../a.h5' leads outside"),
        ({"/tmp/a.h5": b"x"}, "leads outside"),
        ({"C:\\a.h5": b"x"}, "leads outside"),
        ({"b\\..\\..\\a.h5": b"x"}, "leads outside"),
        ({"a.h5": b"x", "../other": b"y"}, "the path '../other' leads outside"),
        ({"b.h5": b"x"}, "expected one file called a.h5, got 0"),
        ({"a.h5/": b""}, "expected one file called a.h5, got 0"),
        ({"a.h5": b"x", "b/a.h5": b"y"}, "expected one file called a.h5, got 2"),
        ({"a.h5": bytes(2_000_000)}, "a.h5 would have 2,000,000 bytes"),
    ],
)
def test_a_zip_that_is_refused(tmp_path: Path, members: dict[str, bytes], complaint: str) -> None:
    archive = zipped(tmp_path / "a.zip", members)
    path = tmp_path / "there" / "a.h5"
    path.parent.mkdir()
    message = refused(tmp_path, unzip_member, archive, "a.h5", path, max_bytes=1_000_000)
    assert complaint in message
    assert message.startswith(f"{archive} is not unpacked: ")


def test_a_zip_with_a_link_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"a.h5": b"x"}, link="b.h5")
    assert "'b.h5' is a link" in refused(
        tmp_path, unzip_member, archive, "a.h5", tmp_path / "a.h5", max_bytes=LARGE
    )


def test_a_zip_that_declares_less_than_it_holds(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"a.h5": bytes(100_000)})
    size = (100_000).to_bytes(4, "little")
    archive.write_bytes(archive.read_bytes().replace(size, (10).to_bytes(4, "little")))
    assert "damaged" in refused(
        tmp_path, unzip_member, archive, "a.h5", tmp_path / "a.h5", max_bytes=LARGE
    )


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
            unzip_member(archive, "a.h5", path, max_bytes=LARGE)
        except UsageError as error:
            assert "\n" not in str(error)  # noqa: PT017
            assert not path.exists()
        else:  # A date, for example, was hit.
            assert path.read_bytes() == CONTENT
            path.unlink()
    assert [one.name for one in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_whole_tar(tmp_path: Path, name: str) -> None:
    folder = special("./word", tarfile.DIRTYPE, "")
    archive = tarred(
        tmp_path / name, {"./word": folder, "./word/1.wav": CONTENT, "list.txt": b"word/1.wav"}
    )
    untar(archive, tmp_path / "there", max_bytes=LARGE)
    assert (tmp_path / "there/word/1.wav").read_bytes() == CONTENT
    assert (tmp_path / "there/list.txt").read_bytes() == b"word/1.wav"
    assert {path.name for path in tmp_path.iterdir()} == {name, "there"}


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"../a": b"x"}, "the path '../a' leads outside"),
        ({"a/../../b": b"x"}, "leads outside"),
        ({"/tmp/a": b"x"}, "leads outside"),
        ({"a": special("a", tarfile.SYMTYPE)}, "'a' is neither file nor folder"),
        ({"a": special("a", tarfile.LNKTYPE)}, "'a' is neither file nor folder"),
        ({"a": special("a", tarfile.FIFOTYPE)}, "'a' is neither file nor folder"),
        ({"a": special("a", tarfile.CHRTYPE)}, "'a' is neither file nor folder"),
        ({"a": bytes(600_000), "b": bytes(600_000)}, "more than 1,000,000 bytes"),
    ],
)
def test_a_tar_that_is_refused(
    tmp_path: Path, members: dict[str, bytes | tarfile.TarInfo], complaint: str
) -> None:
    archive = tarred(tmp_path / "a.tar.gz", {"before": b"x", **members})
    message = refused(tmp_path, untar, archive, tmp_path / "there", max_bytes=1_000_000)
    assert complaint in message


def test_truncated_and_damaged_tars(tmp_path: Path) -> None:
    archive = tarred(tmp_path / "a.tar.gz", {f"{i}.wav": CONTENT[i:] for i in range(4)})
    whole = archive.read_bytes()
    rng = np.random.default_rng(0)
    for share in np.linspace(0, 0.9999, 30):
        archive.write_bytes(whole[: int(share * len(whole))])
        refused(tmp_path, untar, archive, tmp_path / "there", max_bytes=LARGE)
    for place in rng.integers(20, len(whole), 30):
        archive.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        refused(tmp_path, untar, archive, tmp_path / "there", max_bytes=LARGE)


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
            message = refused(tmp_path, unzip_member, one, "a.h5", path, max_bytes=LARGE)
        else:
            message = refused(tmp_path, untar, many, tmp_path / "there", max_bytes=LARGE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.strerror(27) in message
