"""Getting one file whose hash is known: resumed where it broke off, and never there in part.

What has arrived is kept as ``.<name>.part`` beside the file, so that the next attempt, or the next
run, asks the server for the rest alone. Only what has the right hash gets the file's name. The hash
also answers whether the rest that a server sent belonged to what was there.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from filelock import FileLock
from rich.progress import DownloadColumn

from snn_delays.errors import UsageError, one_line, refusal
from snn_delays.terminal import bar

# Seconds without a connection, or without a byte, after which a server counts as gone.
TIMEOUT_S = 30.0
# How often in a row an attempt may bring nothing new.
_IDLE_ATTEMPTS = 2
# What is lost when a connection breaks off is less than this.
_PIECE = 1 << 16
# The largest file in use has 2.4 GB; who sends more than this sends something else.
MOST_BYTES = 20 * 2**30

_log = logging.getLogger("snn_delays")


class _BrokenOffError(Exception):
    """A connection that ended before the file did; the message says why."""


# Worth another attempt; a wrong address is not.
_TRANSIENT = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    _BrokenOffError,
)


def fetch_file(url: str, path: Path, known_hash: str, *, by_hand: str) -> None:
    """Download ``url`` as ``path``, unless it is there, whole, already.

    Connections that break off are resumed, if the server allows it. Put :func:`alone_in` around it.

    Args:
        path: the file, in a folder that is there; a file of another hash is replaced.
        known_hash: such as ``"md5:f3252a…"``.
        by_hand: the sentence that ends every error: how to get the file without this.
    """
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"base_url must start with http:// or https://, got {url!r}.")
    if path.exists() and _has_hash(path, known_hash):
        return
    _log.info("downloading %s", url)
    part = path.with_name(f".{path.name}.part")
    try:
        with bar(path.name, None, DownloadColumn()) as progress:
            for attempt in range(2):
                resumed = _fill_up(url, part, progress)
                if _has_hash(part, known_hash):
                    part.replace(path)
                    return
                with part.open("rb") as file:
                    got = f"{_size(part):,} bytes that start with {file.read(16)!r}"
                part.unlink()
                if attempt or not resumed:
                    raise UsageError(
                        f"{url} is not the file expected ({known_hash}): got {got}. Another server "
                        f"may have it: dataset.base_url=URL. {by_hand}"
                    )
                _log.warning("%s: what was resumed does not match. From the start.", url)
    except (requests.RequestException, _BrokenOffError) as error:
        raise UsageError(f"cannot download {url}: {_reason(error)}. {by_hand}") from error


@contextmanager
def alone_in(folder: Path, by_hand: str) -> Iterator[None]:
    """Make a folder to put downloads in, and wait until no other process does the same.

    What the file system refuses, inside the block too, becomes one line. The lock ends with the
    process, however that ends.
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


def _fill_up(url: str, part: Path, progress: Callable[..., None]) -> bool:
    """Whether the last attempt appended to what was there."""
    idle = 0
    while True:
        before = _size(part)
        try:
            return _attempt(url, part, progress)
        except _TRANSIENT as error:
            idle = 0 if _size(part) > before else idle + 1
            if idle == _IDLE_ATTEMPTS:
                raise
            _log.warning("%s: %s. Going on.", url, _reason(error))


def _attempt(url: str, part: Path, progress: Callable[..., None]) -> bool:
    """Ask for what is missing, and append it; whether there was something to append to."""
    have = _size(part)
    # As it is, uncompressed: lengths and ranges count the bytes of the file itself.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        told = response.headers.get("Content-Range", "")
        if response.status_code == 416 and told == f"bytes */{have}":
            return True  # There is nothing more: all had arrived.
        goes_on = response.status_code == 206 and told.startswith(f"bytes {have}-")
        if have and (response.status_code == 416 or (response.status_code == 206 and not goes_on)):
            part.unlink()
            raise _BrokenOffError(f"asked for bytes from {have}, got {told or 'others'}")
        response.raise_for_status()
        have = have if goes_on else 0
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else None
        with part.open("ab" if goes_on else "wb") as file:
            for piece in response.iter_content(_PIECE):
                file.write(piece)
                have += len(piece)
                progress(completed=have, total=total)
                if have > MOST_BYTES:
                    raise UsageError(f"{url} sends more than {MOST_BYTES:,} bytes.")
            file.flush()
            os.fsync(file.fileno())
        if total is not None and have != total:
            raise _BrokenOffError(f"expected {total:,} bytes, got {have:,}")
    return goes_on


def _reason(error: BaseException) -> str:
    """A few words in place of the nest of exceptions that requests wraps around its own."""
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, requests.Timeout | TimeoutError):
            return f"timed out, no answer for {TIMEOUT_S:g} s"
        if isinstance(cause, OSError) and cause.strerror:
            return f"no connection ({cause.strerror})"
        cause = cause.__cause__ or cause.__context__
    return one_line(error)


def _has_hash(path: Path, known: str) -> bool:
    kind, _, digest = known.partition(":")
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest() == digest


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
