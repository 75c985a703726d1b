"""A file that was downloaded is the right one, and in full, whatever the server does."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from server import Server, page, redirect, serving, stalled, truncated, whole, without_ranges

from snn_delays.data import download as download_module
from snn_delays.data.download import alone_in, fetch_file
from snn_delays.errors import UsageError

BY_HAND = "Without a network: get it elsewhere."
CONTENT = np.random.default_rng(0).bytes(1 << 19)
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download_module, "TIMEOUT_S", 5.0)
    with serving() as server:
        server.files["/file"] = CONTENT
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "file.zip"


def fetch(url: str, path: Path, known_hash: str = MD5) -> None:
    with alone_in(path.parent, BY_HAND):
        fetch_file(url, path, known_hash, by_hand=BY_HAND)


def refusal(url: str, path: Path, known_hash: str = MD5) -> str:
    """The one line, after checking that nothing looks like the file."""
    with pytest.raises(UsageError) as caught:
        fetch(url, path, known_hash)
    message = str(caught.value)
    assert "\n" not in message
    assert not path.exists()
    return message


def part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def strewn(path: Path) -> set[str]:
    """What else lies in the folder, but for the lock."""
    return {one.name for one in path.parent.iterdir()} - {path.name, ".download.lock"}


def test_what_arrives_is_what_was_sent(server: Server, path: Path) -> None:
    fetch(f"{server.url}/file", path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [("/file", None)]
    assert not strewn(path)


@pytest.mark.parametrize("known", [MD5, f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"])
def test_a_file_that_is_there_is_not_asked_for(server: Server, path: Path, known: str) -> None:
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    fetch(f"{server.url}/file", path, known)
    assert not server.asked
    path.write_bytes(CONTENT[:-1])
    fetch(f"{server.url}/file", path, known)
    assert path.read_bytes() == CONTENT


def test_a_connection_that_breaks_off_is_resumed(
    server: Server, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = [truncated, truncated, whole]
    with caplog.at_level(logging.WARNING, logger="snn_delays"):
        fetch(f"{server.url}/file", path)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=262144-", "bytes=393216-"]
    assert len(caplog.messages) == 2
    assert not strewn(path)


def test_a_server_that_knows_no_ranges_begins_again(server: Server, path: Path) -> None:
    server.answers = [truncated, without_ranges]
    fetch(f"{server.url}/file", path)
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_later_run_goes_on_where_an_earlier_one_ended(server: Server, path: Path) -> None:
    path.parent.mkdir()
    part(path).write_bytes(CONTENT[:1234])
    fetch(f"{server.url}/file", path)
    assert server.asked == [("/file", "bytes=1234-")]
    assert path.read_bytes() == CONTENT


def test_all_that_was_missing_was_the_name(server: Server, path: Path) -> None:
    path.parent.mkdir()
    part(path).write_bytes(CONTENT)
    fetch(f"{server.url}/file", path)
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 1


@pytest.mark.parametrize("there", [b"x" * 1234, CONTENT + b"more"], ids=["other", "longer"])
def test_what_does_not_belong_to_the_file_is_not_kept(
    server: Server, path: Path, there: bytes
) -> None:
    path.parent.mkdir()
    part(path).write_bytes(there)
    fetch(f"{server.url}/file", path)
    assert path.read_bytes() == CONTENT
    assert not strewn(path)


def test_another_content_is_refused(server: Server, path: Path) -> None:
    server.files["/file"] = CONTENT[:1000] + b"!" + CONTENT[1001:]
    message = refusal(f"{server.url}/file", path)
    assert f"{server.url}/file is not the file expected ({MD5}): got 524,288 bytes" in message
    assert "dataset.base_url=URL" in message
    assert message.endswith(BY_HAND)
    assert not strewn(path)
    assert len(server.asked) == 1


def test_a_web_page_is_refused(server: Server, path: Path) -> None:
    server.answers = [page]
    assert "start with b'<!DOCTYPE html>" in refusal(f"{server.url}/file", path)
    assert not strewn(path)


def test_a_server_that_stalls_counts_as_gone(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "TIMEOUT_S", 0.2)
    server.answers = [stalled, whole]
    fetch(f"{server.url}/file", path)
    assert path.read_bytes() == CONTENT
    path.unlink()
    server.answers = [stalled] * 99
    server.files["/file"] = b"ab"  # of which one byte arrives, and no more
    began = time.monotonic()
    message = refusal(f"{server.url}/file", path)
    assert time.monotonic() - began < 5
    assert len(server.answers) >= 99 - 3  # at most one byte, then nothing twice
    assert "timed out" in message
    assert message.endswith(BY_HAND)


def test_redirects_are_followed_but_not_for_ever(server: Server, path: Path) -> None:
    server.answers = [redirect("/elsewhere"), redirect(f"{server.url}/file"), whole]
    fetch(f"{server.url}/start", path)
    assert path.read_bytes() == CONTENT
    path.unlink()
    server.answers = [redirect("/start")] * 99
    assert "redirects" in refusal(f"{server.url}/start", path)


def test_a_redirect_is_resumed_behind_it(server: Server, path: Path) -> None:
    server.answers = [redirect("/file"), truncated, redirect("/file"), whole]
    fetch(f"{server.url}/start", path)
    assert path.read_bytes() == CONTENT
    assert server.asked[-1] == ("/file", "bytes=262144-")


def test_no_such_file_on_the_server(server: Server, path: Path) -> None:
    message = refusal(f"{server.url}/nothing", path)
    assert "404" in message
    assert len(server.asked) == 1


def test_no_network(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as gone:
        url = gone.url
    message = refusal(f"{url}/file", path)
    assert message.startswith(f"cannot download {url}/file: no connection (")
    assert message.endswith(BY_HAND)


@pytest.mark.parametrize("url", ["ftp://example.org/file", "file:///etc/passwd", "datasets"])
def test_an_address_that_is_none(path: Path, url: str) -> None:
    assert "base_url must start with http:// or https://" in refusal(url, path)


def test_a_full_disk_keeps_what_arrived(server: Server, path: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        message = refusal(f"{server.url}/file", path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert message.startswith(f"cannot write to {path.parent}: File too large. Make room or choose")
    fetch(f"{server.url}/file", path)
    assert path.read_bytes() == CONTENT
    assert server.asked[-1] == ("/file", "bytes=65536-")


def test_a_folder_that_cannot_be(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    assert f"cannot write to {tmp_path / 'data'}" in refusal(
        f"{server.url}/file", tmp_path / "data" / "file.zip"
    )
    assert not server.asked


def test_a_process_that_is_killed_leaves_nothing_that_looks_whole(
    server: Server, path: Path
) -> None:
    server.answers = [stalled, whole]
    code = (
        "import sys; from pathlib import Path\n"
        "from snn_delays.data.download import alone_in, fetch_file\n"
        "path = Path(sys.argv[2])\n"
        "with alone_in(path.parent, ''): fetch_file(sys.argv[1], path, sys.argv[3], by_hand='')"
    )
    command = [sys.executable, "-c", code, f"{server.url}/file", str(path), MD5]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 300
        while not (part(path).exists() and part(path).stat().st_size) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=300)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not path.exists()
    fetch(f"{server.url}/file", path)  # the lock went with the process
    assert path.read_bytes() == CONTENT
    assert not [name for name in strewn(path) if name == part(path).name]


def test_who_comes_second_waits_for_the_first(server: Server, path: Path) -> None:
    server.answers = [truncated]
    workers = [threading.Thread(target=fetch, args=(f"{server.url}/file", path)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=300)
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 2
