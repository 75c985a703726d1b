"""Where time steps begin, for times that a file has rounded.

A simulator's spikes lie at k · dt, the very edges of steps, and a file rounds them: half of them
fall below their edge, by at most half of what the last digit of the file's type is worth. So a time
is compared with what the edge itself would be *in that file*, not with the edge:

    edge_k = round(k · dt · (1 − ε))        ``round`` to the file's type

Where k · dt was computed in floating point, it may have fallen short before it was stored, by as
much as ε of itself: the machine epsilon of single precision (2⁻²³) or, in a file of doubles, what k
additions of dt in double precision lose at most (k · 2⁻⁵²). A time further below an edge belongs to
the step before. Sums in single precision may lose more than a file's last digit, and do so unseen.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from jaxtyping import Float64


def rounded_to(times: Float64[np.ndarray, " E"], kind: np.dtype) -> np.dtype:
    """The type whose rounding ``times`` have been through, of which a file stores them as ``kind``.

    Doubles that are numbers of single precision one and all have been computed there.
    """
    if kind != np.float64:
        return kind
    with np.errstate(over="ignore"):
        single = times.astype(np.float32)
    return single.dtype if (single == times).all() else kind


def stored_edges(count: int, dt_ms: float, kind: np.dtype) -> Float64[np.ndarray, " count"]:
    """The least value, in s, that stands for the beginning of each of the first ``count`` steps.

    Where numbers of the file's type lie further apart than steps, one of them stands for several
    edges: it belongs to the nearest.

    Args:
        count: number of steps.
        dt_ms: duration of a step, in ms: the decimal number, as 0.1 is no binary fraction.
        kind: floating-point type that the file stores times in.
    """
    dt = Fraction(str(dt_ms)) / 1000
    double = kind == np.float64
    one = 2 ** (52 if double else 23)
    # Python divides whole numbers of any size with a single rounding.
    edges = np.array(
        [
            k * dt.numerator * (one - (k if double else 1)) / (dt.denominator * one)
            for k in range(count)
        ]
    )
    with np.errstate(over="ignore"):  # the last numbers of float16: an edge that no time reaches
        stored = edges.astype(kind).astype(np.float64)
    return np.maximum(stored, (np.arange(count) - 0.5) * float(dt))
