"""Which of the training recordings to hold out for validation.

SHD comes without a validation split. The speakers of its test set are partly unknown to the
training set, so holding out speakers is the closer rehearsal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int64

from snn_delays.arguments import real_number, whole_number
from snn_delays.errors import UsageError


def by_speaker(
    speakers: Int64[np.ndarray, " n"],
    held_out: Sequence[int] | None,
    seed: int,
    valid_fraction: float = 0.1,
) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " valid"]]:
    """Rising indices of the recordings to train on, and of those of speakers held out.

    Args:
        speakers: of every recording.
        held_out: None draws the fewest that together made at least ``valid_fraction``, in (0, 1),
            of the recordings.
    """
    check_fraction(valid_fraction)
    known, counts = np.unique(speakers, return_counts=True)
    if len(known) < 2 or known[0] < 0:
        got = "recordings without a speaker" if known.size and known[0] < 0 else f"{len(known)}"
        raise UsageError(
            f"holding out speakers needs at least 2 known speakers, got {got}. "
            "Use split=stratified."
        )
    if held_out is not None:
        if isinstance(held_out, str) or not isinstance(held_out, Iterable):
            raise UsageError(f"valid_speakers must be a list of numbers, got {held_out!r}.")
        held_out = [whole_number("valid_speakers: each", who, 0) for who in held_out]
    else:
        held_out = _draw(known, counts, valid_fraction * len(speakers), seed)
    strangers = sorted(set(held_out) - set(known.tolist()))
    if strangers or not 0 < len(set(held_out)) < len(known):
        raise UsageError(
            f"valid_speakers must be some, not all, of {', '.join(map(str, known))}, "
            f"got {list(held_out)}."
        )
    held = np.isin(speakers, list(held_out))
    return np.flatnonzero(~held), np.flatnonzero(held)


def _draw(
    known: Int64[np.ndarray, " s"], counts: Int64[np.ndarray, " s"], target: float, seed: int
) -> list[int]:
    largest = np.sort(counts)[::-1].cumsum()
    size = int(np.searchsorted(largest, target)) + 1
    if size >= len(known):
        raise UsageError(
            f"no speakers would be left to train on: all {len(known)} are needed for the "
            f"{target:.0f} recordings that valid_fraction asks for. Choose a smaller one."
        )
    drawn: list[int] = []
    covered = 0
    order = np.random.default_rng(seed).permutation(len(known)).tolist()
    while len(drawn) < size:
        for i in order:
            # Whoever comes next may join if the largest of the others could still make it up.
            others = sorted((counts[j] for j in order if j != i), reverse=True)
            if covered + counts[i] + sum(others[: size - len(drawn) - 1]) >= target:
                drawn.append(i)
                covered += counts[i]
                order.remove(i)
                break
    return [int(known[i]) for i in drawn]


def stratified(
    labels: Int64[np.ndarray, " n"],
    speakers: Int64[np.ndarray, " n"],
    fraction: float = 0.1,
    seed: int = 0,
) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " valid"]]:
    """Hold out the same share of every class, and within it of every speaker.

    Recordings are lined up by class, within it by speaker, within that at random; of this line
    every (1 / fraction)-th is held out, from a random start. So of any m recordings of one class,
    or of one speaker in it, m · fraction are held out, rounded up or down.

    Arguments and results are as of :func:`by_speaker`.

    Reference:
        Systematic sampling: Madow & Madow, "On the theory of systematic sampling" (1944).
    """
    check_fraction(fraction)
    rng = np.random.default_rng(seed)
    start = rng.random()
    line = np.lexsort((rng.random(len(labels)), speakers, labels))
    taken = np.floor(start + fraction * np.arange(len(labels) + 1))
    held = np.zeros(len(labels), dtype=bool)
    held[line] = np.diff(taken) > 0
    if held.all() or not held.any():
        raise UsageError(
            f"valid_fraction = {fraction:g} of {len(labels)} recordings holds out "
            f"{held.sum()}. Choose one that leaves some to train on and some to validate on."
        )
    return np.flatnonzero(~held), np.flatnonzero(held)


def check_fraction(fraction: float, name: str = "valid_fraction") -> None:
    """Refuse a share that is none, before a large file is read for it."""
    real_number(name, fraction, above=0, below=1, must="be > 0 and < 1")
