"""Events of a camera: which input a pixel's event of one polarity is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from snn_delays.arguments import described, shown, whole_number
from snn_delays.errors import UsageError

_FIELDS = ("t", "x", "y", "p")


class Pixels:
    """The frame of an event camera, and its events as units of that frame.

        unit = (p · H + ⌊y / pool⌋) · W + ⌊x / pool⌋

    Args:
        frame: (polarities, H, W) of the camera; of one polarity p is not looked at.
        pool: pixels along both axes whose events add up.

    Raises:
        UsageError: sizes that make no frame.
    """

    def __init__(self, frame: Any, pool: int) -> None:
        must = "be (polarities, H, W), such as (2, 34, 34)"
        sizes = list(frame) if isinstance(frame, Sequence) else []  # Hydra's lists are no lists
        if len(sizes) != 3:
            raise UsageError(f"recordings: frame must {must}, got {shown(frame)}.")
        name = "recordings: frame"
        self.camera = tuple(whole_number(name, size, 1, must=must) for size in sizes)
        whole_number(f"{name}: polarities", self.camera[0], 1, 2)
        self.pool = whole_number("recordings: pool", pool, 1, unit="pixels")
        polarities, *space = self.camera
        self.frame = (polarities, *(-(-size // self.pool) for size in space))

    @property
    def n_units(self) -> int:
        """How many units the frame has."""
        return int(np.prod(self.frame))

    def pair(self, one: Any, owner: str) -> tuple[np.ndarray, Int64[np.ndarray, " E"]]:
        """Times and units of a recording's events.

        Args:
            one: an array with the fields t, x, y and p, a mapping with such keys, or a tuple of
                these four arrays. p is 0 or 1, or −1 or 1, or a truth value.

        Raises:
            UsageError: other columns, or values beside the frame.
        """
        columns = self._columns(one, owner)
        times, sizes = columns["t"], {name: np.shape(own) for name, own in columns.items()}
        if len(set(sizes.values())) != 1 or times.ndim != 1:
            raise UsageError(f"{owner}: t, x, y and p must be as long as each other, got {sizes}.")
        _, height, width = self.camera
        x = _whole(columns["x"], width, "x", owner) // self.pool
        y = _whole(columns["y"], height, "y", owner) // self.pool
        on = self._polarity(columns["p"], owner) if "p" in columns else np.zeros_like(x)
        return times, (on * self.frame[1] + y) * self.frame[2] + x

    def counts(self, dense: np.ndarray) -> np.ndarray:
        """Counts ``[n, T, polarities, H, W]`` of the camera as ``[n, T, units]``."""
        if dense.shape[2:] != self.camera:
            raise UsageError(
                f"recordings: an array [n, T, polarities, H, W] must have the frame "
                f"{list(self.camera)}, got {list(dense.shape)}."
            )
        for axis, size in ((3, self.camera[1]), (4, self.camera[2])):
            if self.pool > 1:
                dense = np.add.reduceat(dense, np.arange(0, size, self.pool), axis=axis)
        return dense.reshape(*dense.shape[:2], -1)

    def _columns(self, one: Any, owner: str) -> dict[str, np.ndarray]:
        needed = _FIELDS if self.camera[0] == 2 else _FIELDS[:3]
        names = getattr(getattr(one, "dtype", None), "names", None)
        if names is None and isinstance(one, Mapping):
            names = tuple(one)
        if names is not None:
            if not set(needed) <= set(names):
                raise UsageError(
                    f"{owner} must have the fields {', '.join(needed)}, got {', '.join(names)}."
                )
            return {name: np.asarray(one[name]) for name in needed}
        if isinstance(one, tuple | list) and len(one) in (len(needed), 4):
            return dict(zip(needed, map(np.asarray, one), strict=False))
        raise UsageError(
            f"{owner} must be an array with the fields {', '.join(needed)}, or these arrays in "
            f"that order, got {described(one)}."
        )

    def _polarity(self, values: np.ndarray, owner: str) -> Int64[np.ndarray, " E"]:
        known = set(np.unique(values).tolist())
        if not (known <= {0, 1} or known <= {-1, 1}):
            raise UsageError(
                f"{owner}: p must be 0 or 1, or −1 or 1, got {shown(sorted(known)[:5])}."
            )
        return (values > 0).astype(np.int64)


def _whole(values: np.ndarray, size: int, name: str, owner: str) -> Int64[np.ndarray, " E"]:
    whole = values.dtype.kind in "iuf" and bool((values == np.round(values)).all())
    if values.size and not (whole and values.min() >= 0 and values.max() < size):
        raise UsageError(
            f"{owner}: {name} must be whole numbers from 0 to {size - 1}, got {described(values)} "
            f"from {values.min()} to {values.max()}."
        )
    return values.astype(np.int64)
