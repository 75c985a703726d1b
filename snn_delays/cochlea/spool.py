"""Spikes on their way into a file: kept beside it clip by clip, so that nothing is done twice.

A folder ``.NAME.unfinished`` holds ``times`` (float16) and ``units`` (uint16) of all clips so far,
end to end, ``clips`` (a count and a checksum each), and ``plan``, which tells apart the clips of
another command. A lock keeps other processes out. What a crash has left half-written is noticed
and cut off.
"""

from __future__ import annotations

import os
import shutil
import zlib
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Float, Int

from snn_delays.errors import UsageError, refusal

_CLIP = np.dtype([("count", "<i8"), ("checksum", "<u4")])
_KINDS = {"times": np.dtype("<f2"), "units": np.dtype("<u2")}


class Spool:
    """The spikes of as many clips as are done; ``len`` tells how many.

    A context manager, for one process at a time; what it holds stays until :meth:`remove`.

    Args:
        output: the file that shall be written in the end.
        plan: what the clips are; a spool of another plan is started anew.
    """

    def __init__(self, output: Path, plan: str) -> None:
        self.output, self.plan = output, plan
        self.folder = output.with_name(f".{output.name}.unfinished")
        self._lock = FileLock(self.folder / "lock", timeout=0)
        self._counts: list[int] = []

    def __len__(self) -> int:
        return len(self._counts)

    def __enter__(self) -> Spool:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            self._open()
        except Timeout as error:
            raise UsageError(
                f"{self.output} is being written by another process. Wait for it, or choose "
                "another output."
            ) from error
        except OSError as error:
            self._lock.release()
            raise self._refused(error) from error
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def append(self, times: Float[np.ndarray, " E"], units: Int[np.ndarray, " E"]) -> None:
        """Keep the spikes of the next clip."""
        both = zip((times, units), _KINDS.values(), strict=True)
        data = [values.astype(kind).tobytes() for values, kind in both]
        clip = np.array([(len(times), _checksum(*data))], _CLIP).tobytes()
        try:
            for name, content in zip((*_KINDS, "clips"), (*data, clip), strict=True):
                with (self.folder / name).open("ab") as file:
                    file.write(content)
        except OSError as error:
            raise self._refused(error) from error
        self._counts.append(len(times))

    def read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``times``, ``units`` (both mapped, not read) and ``offsets`` of all clips."""
        offsets = np.concatenate([[0], np.cumsum(self._counts, dtype=np.int64)])
        times, units = (
            np.memmap(self.folder / name, kind, mode="r") if offsets[-1] else np.zeros(0, kind)
            for name, kind in _KINDS.items()
        )
        return times, units, offsets

    def remove(self) -> None:
        """Done: nothing of it is needed any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _open(self) -> None:
        plan = self.folder / "plan"
        if not plan.is_file() or plan.read_text(encoding="utf-8") != self.plan:
            plan.unlink(missing_ok=True)
            for name in (*_KINDS, "clips"):
                (self.folder / name).write_bytes(b"")
            plan.write_text(self.plan, encoding="utf-8")
        whole = (self.folder / "clips").read_bytes()
        whole = whole[: len(whole) // _CLIP.itemsize * _CLIP.itemsize]
        with (self.folder / "times").open("rb") as times, (self.folder / "units").open("rb") as u:
            for clip in np.frombuffer(whole, _CLIP):
                data = times.read(2 * clip["count"]), u.read(2 * clip["count"])
                if len(data[1]) != 2 * clip["count"] or _checksum(*data) != clip["checksum"]:
                    break
                self._counts.append(int(clip["count"]))
        for name in _KINDS:
            os.truncate(self.folder / name, 2 * sum(self._counts))
        os.truncate(self.folder / "clips", len(self._counts) * _CLIP.itemsize)

    def _refused(self, error: OSError) -> UsageError:
        return UsageError(
            f"cannot write {self.folder}: {refusal(error)}. Choose an output in a folder that "
            "can be written to, with 32 KB of space for each word."
        )


def _checksum(times: bytes, units: bytes) -> int:
    return zlib.crc32(units, zlib.crc32(times))
