"""Current-based leaky integrate-and-fire: synapses and membrane leak, each with its own constant.

    i ← alpha · i + I
    v ← v_reset + beta · (v − v_reset) + i
    spike where v ≥ v_threshold; then v ← v_reset ("hard") or v ← v − v_threshold ("soft")

Davies et al., "Loihi" (2018, IEEE Micro 38), has this neuron in whole numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snn_delays.errors import UsageError
from snn_delays.table.models import constants
from snn_delays.table.models.lif import LIF, after, check
from snn_delays.table.models.model import (
    SHARE,
    Model,
    Parameter,
    Scalars,
    Values,
    kept,
    whole_form,
)


def step(v, i, current, alpha, beta, v_threshold, v_reset, reset):
    i = alpha * i + current
    v, spike = after(v_reset + beta * (v - v_reset) + i, v_threshold, v_reset, reset)
    return v, i, spike


def whole_step(v, i, current, alpha, beta, v_threshold, v_reset, reset, beta_shift, weight_shift):
    i = kept(i, alpha, beta_shift) + current
    v = v_reset + kept(v - v_reset, beta, beta_shift) + i
    v, spike = after(v, v_threshold, v_reset, reset)
    return v, i, spike


def to_nir(values: Values, scalars: Scalars, dt: float) -> Any:
    """NIR's CubaLIF, stepped by forward Euler, the synapse before the membrane."""
    import nir

    tau_syn, w_in = constants.tau_and_r(values["alpha"], dt)
    tau_mem, r = constants.tau_and_r(values["beta"], dt)
    rest = constants.single("v_reset", values["v_reset"])
    return nir.CubaLIF(
        tau_syn=tau_syn,
        tau_mem=tau_mem,
        r=r,
        w_in=w_in,
        v_leak=rest,
        v_threshold=constants.single("v_threshold", values["v_threshold"]),
        v_reset=rest.copy(),
    )


def from_nir(node: Any, dt: float) -> tuple[Values, Scalars, Any, Any]:
    """CubaLIF whose membrane leaks to v_reset: elsewhere it would need a current of its own."""
    alpha, gain, _ = constants.euler({**node, "tau": node["tau_syn"], "r": node["w_in"]}, dt)
    beta, into_v, _ = constants.euler({**node, "tau": node["tau_mem"]}, dt)
    if np.any(node["v_leak"] != node["v_reset"]):
        raise UsageError("CubaLIF must leak to its v_reset; got another v_leak.")
    values = {"alpha": alpha, "beta": beta}
    values |= {name: node[name] for name in ("v_threshold", "v_reset")}
    return values, {"reset": "hard"}, gain * into_v, np.zeros_like(alpha)


CUBALIF = Model(
    name="CuBaLIF",
    text="leaky integrate-and-fire of currents that leak",
    equation="i ← alpha · i + I; v ← v_reset + beta · (v − v_reset) + i; spike where "
    "v ≥ v_threshold, then v ← v_reset (reset hard) or v ← v − v_threshold (soft)",
    parameters=(Parameter("alpha", SHARE, "share of i kept per step"), *LIF.parameters),
    scalars=LIF.scalars,
    state={"v": "v_reset", "i": None},
    step=step,
    check=check,
    whole_step=whole_step,
    to_nir=to_nir,
    nir_types=("CubaLIF",),
    from_nir=from_nir,
)
MODELS = (CUBALIF, whole_form(CUBALIF))
