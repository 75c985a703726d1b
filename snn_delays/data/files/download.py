"""Getting one file whose hash is known: resumed where it broke off, and never there in part.

What has arrived is kept as ``.<name>.part`` beside the file, so that the next attempt, or the next
run, asks the server for the rest alone. Only what has the right hash gets the file's name. The hash
also answers whether the rest that a server sent belonged to what was there.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pooch
import requests
from filelock import FileLock
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from snn_delays.errors import UsageError, one_line, refusal

# Seconds without a connection, or without a byte, after which a server counts as gone.
TIMEOUT_S = 30.0
# How often in a row an attempt may bring nothing new.
_IDLE_ATTEMPTS = 2
# What is lost when a connection breaks off is less than this.
_PIECE = 1 << 16
# The largest file in use has 2.4 GB; who sends more than this sends something else.
_MOST_BYTES = 20 * 2**30

_log = logging.getLogger("snn_delays")


class _BrokenOffError(Exception):
    """A connection that failed, or ended before the file did; the message says why."""


def fetch_file(url: str, path: Path, known_hash: str, *, by_hand: str) -> None:
    """Download ``url`` as ``path``, unless it is there, whole, already.

    Redirects are followed and connections that break off are resumed, if the server allows it. Put
    :func:`alone_in` around it.

    Args:
        url: http or https.
        path: the file; missing folders are made, and a file of another hash is replaced.
        known_hash: such as ``"md5:f3252a…"``.
        by_hand: the sentence that ends every error: how to get the file without this.

    Raises:
        UsageError: one line: no such address, no network, other content than expected, or a
            folder that cannot be written to.
    """
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"base_url must start with http:// or https://, got {url!r}.")
    download = _Download(path)
    pooch.get_logger().setLevel(logging.WARNING)
    try:
        for attempt in ("resumed", "from the start"):
            try:
                # pooch's annotation has the arguments of another kind of function.
                retrieve: Any = pooch.retrieve
                retrieve(url, known_hash, path.name, path.parent, downloader=download)
                return
            except ValueError as error:  # pooch: another hash
                if attempt == "resumed" and download.resumed:
                    _log.warning("%s: what was resumed does not match. From the start.", url)
                    continue
                raise UsageError(
                    f"{url} is not the file expected ({known_hash}): got {download.size:,} bytes "
                    f"that start with {download.start!r}. Another server may have it: "
                    f"dataset.base_url=URL. {by_hand}"
                ) from error
    except (requests.RequestException, _BrokenOffError) as error:
        raise UsageError(f"cannot download {url}: {_reason(error)}. {by_hand}") from error


# Worth another attempt; a wrong address is not.
_TRANSIENT = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    _BrokenOffError,
)


def _reason(error: BaseException) -> str:
    """A few words in place of the nest of exceptions that requests wraps around its own."""
    if isinstance(error, requests.Timeout):
        return f"timed out, no answer for {TIMEOUT_S:g} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, OSError) and cause.strerror:
                return f"no connection ({cause.strerror})"
            if isinstance(cause, TimeoutError):
                return f"timed out, no answer for {TIMEOUT_S:g} s"
            cause = cause.__cause__ or cause.__context__
    return one_line(error)


@contextmanager
def alone_in(folder: Path, by_hand: str) -> Iterator[None]:
    """Make a folder to put downloads in, and wait until no other process does the same.

    What the file system refuses, inside the block too, becomes one line. The lock ends with the
    process, however that ends.

    Raises:
        UsageError: no permission, disk full, a file in the way.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".download.lock"):
            yield
    except OSError as error:
        raise UsageError(
            f"cannot write to {folder}: {refusal(error)}. Make room or choose another "
            f"dataset.root. {by_hand}"
        ) from error


class _Download:
    """What pooch calls to get a file; it checks the hash and renames."""

    def __init__(self, path: Path) -> None:
        self.part = path.with_name(f".{path.name}.part")
        self.name = path.name
        self.start = b""
        self.size = 0
        self.resumed = False

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        console = Console(stderr=True)
        progress = Progress(
            TextColumn(self.name),
            BarColumn(bar_width=None),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        _log.info("downloading %s", url)
        self.resumed = self._have() > 0
        with progress:
            self._attempts(url, progress)
        with self.part.open("rb") as file:
            self.start = file.read(16)
            os.fsync(file.fileno())
        self.size = self._have()
        self.part.replace(output_file)

    def _attempts(self, url: str, progress: Progress) -> None:
        bar = progress.add_task(self.name, total=None)
        idle = 0
        while True:
            before = self._have()
            try:
                return self._attempt(url, progress, bar)
            except _TRANSIENT as error:
                idle = 0 if self._have() > before else idle + 1
                if idle == _IDLE_ATTEMPTS:
                    raise
                _log.warning("%s: %s. Going on.", url, _reason(error))
                self.resumed = self._have() > 0

    def _attempt(self, url: str, progress: Progress, bar: TaskID) -> None:
        """Ask for what is missing, and append it.

        Raises:
            requests.RequestException, _BrokenOffError: as the connection has it.
            OSError: as the file system has it.
        """
        have = self._have()
        # As it is, uncompressed: lengths and ranges count the bytes of the file itself.
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
            told = response.headers.get("Content-Range", "")
            if response.status_code == 416 and have:
                if told == f"bytes */{have}":
                    return  # There is nothing more: all had arrived.
                self.part.unlink()
                raise _BrokenOffError("the server has less than what was resumed")
            response.raise_for_status()
            goes_on = response.status_code == 206 and told.startswith(f"bytes {have}-")
            if response.status_code == 206 and not goes_on:
                self.part.unlink(missing_ok=True)
                raise _BrokenOffError(f"asked for bytes from {have}, got {told or 'some'}")
            if not goes_on:
                have, self.resumed = 0, False
            length = response.headers.get("Content-Length", "")
            total = have + int(length) if length.isdigit() else None
            progress.update(bar, total=total, completed=have)
            with self.part.open("ab" if goes_on else "wb") as file:
                for piece in response.iter_content(_PIECE):
                    file.write(piece)
                    have += len(piece)
                    progress.update(bar, completed=have)
                    if have > _MOST_BYTES:
                        raise UsageError(f"{url} sends more than {_MOST_BYTES:,} bytes.")
            if total is not None and have != total:
                raise _BrokenOffError(f"expected {total:,} bytes, got {have:,}")

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0
