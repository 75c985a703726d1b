"""Getting Google's Speech Commands, version 0.02: one archive of 105,829 recordings."""

from __future__ import annotations

from pathlib import Path

from snn_delays.data.archive import untar
from snn_delays.data.download import MOST_BYTES, alone_in, fetch_file
from snn_delays.data.gsc.clips import ARCHIVE, URL
from snn_delays.errors import UsageError
from snn_delays.files import speech_lists

SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
# They come last, so that a folder that has them has everything.
LISTS = tuple(speech_lists.LISTS.values())


def fetch_gsc(root: Path | str, base_url: str | None = None) -> None:
    """Download Speech Commands and unpack it into ``root``, unless it is there.

    Words become folders of ``root``, beside the two official lists, which are there only once all
    else is. An archive that lies in ``root`` is used if it is the right one; it goes once unpacked.
    ``base_url`` is another server's folder that has the archive.

    Raises:
        UsageError: no network, other content than expected, no room or no permission, or
            something else in the folder.
    """
    root = Path(root).expanduser()
    archive, unpacked = root / ARCHIVE, root / ".unpacked"
    by_hand = (
        f"Without a network: get {URL}/{ARCHIVE} elsewhere (sha256 {SHA256}) and put it into "
        f"{root}."
    )

    def is_there() -> bool:
        return all((root / name).is_file() for name in LISTS) and not unpacked.exists()

    if is_there():
        return
    with alone_in(root, by_hand):
        if is_there():  # Another process was quicker.
            return
        if not unpacked.exists():
            _refuse(root, [path.name for path in root.iterdir() if path != archive])
            url = f"{(base_url or URL).rstrip('/')}/{ARCHIVE}"
            fetch_file(url, archive, f"sha256:{SHA256}", by_hand=by_hand)
            untar(archive, unpacked, max_bytes=MOST_BYTES)
        archive.unlink(missing_ok=True)
        # One rename each; who is stopped in between finds the rest in `unpacked` and goes on.
        members = sorted(unpacked.iterdir(), key=lambda path: (path.name in LISTS, path.name))
        _refuse(root, [path.name for path in members if (root / path.name).exists()])
        for path in members:
            path.rename(root / path.name)
        unpacked.rmdir()


def _refuse(root: Path, names: list[str]) -> None:
    """Refuse a folder that holds something that is not ours to replace."""
    if strangers := sorted(name for name in names if not name.startswith(".")):
        more = f" and {len(strangers) - 1} more" if strangers[1:] else ""
        raise UsageError(
            f"{root} holds {strangers[0]}{more} but no {' and '.join(LISTS)}: expected all of "
            "Speech Commands or nothing. Choose another dataset.root, or move that away."
        )
