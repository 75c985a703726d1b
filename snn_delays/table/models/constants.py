"""A membrane's constants as other programs have them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.models.model import NestNeurons

Float64 = NDArray[np.float64]

# tau of a neuron that keeps all of v, in steps: 1 − 2^−60 is 1 in single precision, and infinity
# would make r · I undefined.
NO_LEAK = 2.0**60


def tau_and_r(beta: Float64, dt: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """NIR's tau in seconds and r, with which a step of forward Euler is ours.

    beta = 1 − dt / tau and r · dt / tau = 1.
    """
    leak = 1 - beta
    steps = np.divide(1.0, leak, out=np.full(beta.shape, NO_LEAK), where=leak > 0)
    return single("tau", steps * dt), steps.astype(np.float32)


def euler(node: Mapping[str, Float64], dt: float) -> tuple[Float64, Float64, Float64]:
    """beta, what currents are multiplied by, and what v_leak adds per step, of NIR's node.

    v ← v + dt / tau · ((v_leak − v) + r · I); without tau  v ← v + dt · r · I
    """
    if "tau" not in node:
        r = node["r"]
        return np.ones_like(r), dt * r, np.zeros_like(r)
    leak = np.minimum(dt / node["tau"], 1.0)
    return 1 - leak, leak * node["r"], leak * node["v_leak"]


def iaf_psc_delta(beta: Float64, v_threshold: Float64, v_reset: Float64) -> NestNeurons:
    """NEST's neuron whose exact integration is v ← v_reset + beta · (v − v_reset) + I:
    exp(−1 / tau_m) is beta."""
    # The two ends have no logarithm to go by: in float64 exp(−1000) is 0, and exp(−1e−17) is 1.
    inside = np.where((beta > 0) & (beta < 1), beta, 0.5)
    tau = np.select([beta <= 0, beta >= 1], [1e-3, 1e17], -1 / np.log(inside))
    return NestNeurons(
        "iaf_psc_delta",
        {"C_m": 1.0, "t_ref": 0.0, "tau_m": tau, "E_L": v_reset, "V_reset": v_reset}
        | {"V_th": v_threshold},
        {"V_m": v_reset},
    )


def single(name: str, values: NDArray[np.floating]) -> NDArray[np.float32]:
    """The values in single precision, where all of them fit."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        found = values.astype(np.float32)
    if bad := int(np.count_nonzero(~np.isfinite(found))):
        raise UsageError(
            f"{name} must be finite, got {bad} of {found.size} NaN, infinite or beyond single "
            "precision (3.4e38)."
        )
    return found
