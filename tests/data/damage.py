"""Ways to damage the bytes of a file, and what a reader may answer then."""

from __future__ import annotations

import faulthandler
import sys
from pathlib import Path

import numpy as np
from whole_events import pieces

from snn_delays.data.events.check import check_files
from snn_delays.data.events.spike_file import SpikeFile
from snn_delays.errors import UsageError

# Far above what any file takes; who is stuck is ended, with its stack on stderr.
SECONDS_PER_FILE = 20


def damaged(content: bytes, seed: int) -> bytes:
    """The content with one of five kinds of damage, drawn with the seed."""
    rng = np.random.default_rng(seed)
    bytes_ = np.frombuffer(content, dtype=np.uint8).copy()
    first = int(rng.integers(len(bytes_)))
    block = slice(first, first + int(rng.integers(1, 600)))
    match seed % 5:
        case 0:  # a few bits
            places = rng.integers(len(bytes_), size=int(rng.integers(1, 9)))
            bytes_[places] ^= np.uint8(1) << rng.integers(8, size=len(places), dtype=np.uint8)
        case 1:
            bytes_ = bytes_[:first]
        case 2:
            bytes_[block] = 0
        case 3:
            bytes_[block] = rng.integers(256, size=len(bytes_[block]), dtype=np.uint8)
        case _:  # where the structure is: most of what is not zero lies in the first bytes
            places = rng.integers(min(4096, len(bytes_)), size=int(rng.integers(1, 30)))
            bytes_[places] = rng.integers(256, size=len(places), dtype=np.uint8)
    return bytes_.tobytes()


def read_all(path: Path) -> str:
    """Read the file in every way there is; "" if that works, or the one line of the refusal.

    Raises:
        AssertionError: another exception, or another form of it, than a user should get.
    """
    source = SpikeFile(path, "SHD", "Get another.")
    faulthandler.dump_traceback_later(SECONDS_PER_FILE, exit=True)
    try:
        report = check_files([source], n_units=700)
        for on_bad in ("skip", "refuse"):
            message = ""
            try:
                for _ in pieces(source, on_bad=on_bad):
                    pass
            except UsageError as error:
                message = str(error)
                assert "\n" not in message
                assert message.startswith(f"SHD: {path} ")
                assert message.endswith(" Get another.")
    finally:
        faulthandler.cancel_dump_traceback_later()
    # The check fails what training refuses, and nothing else.
    assert bool(report.failures) == bool(message), (report.failures, message)
    return message


def main() -> None:
    """Read ``count`` damaged versions of a file, from the seed ``first``; print each outcome."""
    whole, folder, first, count = Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:5])
    content = whole.read_bytes()
    path = folder / f"damaged_{first}.h5"
    for seed in range(first, first + count):
        path.write_bytes(damaged(content, seed))
        print(seed, read_all(path), flush=True)


if __name__ == "__main__":
    main()
