"""The data sets arrive where their loaders look for them, whoever is stopped when."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from server import Server, serving, truncated

from snn_delays.data import heidelberg as official
from snn_delays.data import load_shd, load_ssc
from snn_delays.data.gsc import download as gsc_download
from snn_delays.data.gsc.download import ARCHIVE, fetch_gsc
from snn_delays.data.heidelberg import FILES, fetch_official
from snn_delays.errors import UsageError

GSC = {
    "yes/a.wav": b"yes",
    "no/b.wav": b"no",
    "_background_noise_/noise.wav": b"noise",
    "validation_list.txt": b"yes/a.wav\n",
    "testing_list.txt": b"no/b.wav\n",
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, shd_root: Path) -> Iterator[Server]:
    """Has the files of ``shd_root`` as both data sets, and a small Speech Commands."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        for name in (*FILES["SHD"], *FILES["SSC"]):
            content = io.BytesIO()
            with zipfile.ZipFile(content, "w") as file:
                file.write(shd_root / ("shd_train.h5" if "train" in name else "shd_test.h5"), name)
            server.files[f"/{name}.zip"] = content.getvalue()
            monkeypatch.setitem(official.MD5, name, hashlib.md5(content.getvalue()).hexdigest())
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as file:
            for name, text in GSC.items():
                info = tarfile.TarInfo(f"./{name}")
                info.size = len(text)
                file.addfile(info, io.BytesIO(text))
        server.files[f"/{ARCHIVE}"] = content.getvalue()
        monkeypatch.setattr(gsc_download, "SHA256", hashlib.sha256(content.getvalue()).hexdigest())
        yield server


def visible(root: Path) -> set[str]:
    return {path.name for path in root.iterdir() if path.name != ".download.lock"}


def test_the_sums_are_those_of_all_files() -> None:
    assert set(official.MD5) == {*FILES["SHD"], *FILES["SSC"]}
    assert len(set(official.MD5.values())) == 5
    assert all(len(bytes.fromhex(md5)) == 16 for md5 in official.MD5.values())
    assert len(bytes.fromhex(gsc_download.SHA256)) == 32


def test_a_loader_downloads_on_first_use(server: Server, shd_root: Path, tmp_path: Path) -> None:
    server.answers = [truncated]
    data = load_shd(tmp_path / "new", download=True, base_url=f"{server.url}/", cache=False)
    assert len(data.train) + len(data.valid) == 120
    assert visible(tmp_path / "new") == set(FILES["SHD"])
    for name in FILES["SHD"]:
        assert (tmp_path / "new" / name).read_bytes() == (shd_root / name).read_bytes()
    asked = len(server.asked)
    load_shd(tmp_path / "new", download=True, base_url=server.url, cache=False)
    assert len(server.asked) == asked == 3
    assert len(load_ssc(tmp_path / "ssc", download=True, base_url=server.url).valid) == 30


def test_only_what_is_missing_is_downloaded(server: Server, shd_root: Path) -> None:
    (shd_root / "shd_test.h5").unlink()
    (shd_root / "shd_train.h5").write_bytes(b"mine")
    fetch_official(shd_root, "SHD", server.url)
    assert [path for path, _ in server.asked] == ["/shd_test.h5.zip"]
    assert (shd_root / "shd_train.h5").read_bytes() == b"mine"


def test_a_zip_that_was_brought_by_hand_needs_no_network(server: Server, tmp_path: Path) -> None:
    for name in FILES["SHD"]:
        (tmp_path / "new").mkdir(exist_ok=True)
        (tmp_path / "new" / f"{name}.zip").write_bytes(server.files[f"/{name}.zip"])
    fetch_official(tmp_path / "new", "SHD", "http://127.0.0.1:9")
    assert visible(tmp_path / "new") == set(FILES["SHD"])
    assert not server.asked


def test_without_a_network_one_line_says_what_to_do(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_shd(tmp_path / "new", download=True, base_url="http://127.0.0.1:9")
    assert str(caught.value).endswith(
        "Without a network: get https://zenkelab.org/datasets/shd_train.h5.zip elsewhere "
        f"(md5 {official.MD5['shd_train.h5']}) and put it into {tmp_path / 'new'}."
    )
    assert "\n" not in str(caught.value)


def test_speech_commands_arrive_in_their_layout(server: Server, tmp_path: Path) -> None:
    fetch_gsc(tmp_path / "gsc", server.url)
    for name, text in GSC.items():
        assert (tmp_path / "gsc" / name).read_bytes() == text
    assert visible(tmp_path / "gsc") == {name.split("/")[0] for name in GSC}
    fetch_gsc(tmp_path / "gsc", server.url)
    assert len(server.asked) == 1


@pytest.mark.parametrize("stopped_at", range(5))
def test_who_is_stopped_while_unpacking_goes_on(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    root, rename = tmp_path / "gsc", Path.rename
    left = [stopped_at]

    def stop(self: Path, target: Path) -> Path:
        if self.parent.name == ".unpacked":
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stop)
    with pytest.raises(KeyboardInterrupt):
        fetch_gsc(root, server.url)
    monkeypatch.setattr(Path, "rename", rename)
    # What looks whole is what has its lists.
    assert not all((root / name).exists() for name in gsc_download.LISTS)
    fetch_gsc(root, server.url)
    for name, text in GSC.items():
        assert (root / name).read_bytes() == text
    assert visible(root) == {name.split("/")[0] for name in GSC}
    assert len(server.asked) == 1


def test_a_folder_of_something_else_is_left_alone(server: Server, tmp_path: Path) -> None:
    (tmp_path / "gsc" / "yes").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds yes but no validation_list.txt") as caught:
        fetch_gsc(tmp_path / "gsc", server.url)
    assert "\n" not in str(caught.value)
    assert not server.asked
    shutil.rmtree(tmp_path / "gsc")
    fetch_gsc(tmp_path / "gsc", server.url)
