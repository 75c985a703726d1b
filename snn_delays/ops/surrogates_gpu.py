"""The slopes of ``ops/surrogates.py`` for loops that Triton compiles."""

# Triton is not everywhere, and its language is not quite Python.
# pyright: reportMissingImports=false, reportGeneralTypeIssues=false

from __future__ import annotations

import math

import triton
import triton.language as tl

_HALF_PI = tl.constexpr(math.pi / 2)


@triton.jit
def slope(u, alpha, KIND: tl.constexpr):
    """The slope where h lies u above the threshold, in the precision of u."""
    if KIND == 0:
        bent = _HALF_PI * alpha * u
        found = 0.5 * alpha / (1.0 + bent * bent)
    elif KIND == 1:
        s = 1.0 / (1.0 + tl.exp(-alpha * u))
        found = alpha * s * (1.0 - s)
    elif KIND == 2:
        found = tl.where(tl.abs(alpha * u) < 0.5, alpha, 0.0)
    elif KIND == 3:
        found = tl.maximum(alpha - alpha * tl.abs(alpha * u), 0.0)
    else:
        found = 0.5 * alpha * tl.exp(-tl.abs(alpha * u))
    return found
