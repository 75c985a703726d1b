"""Leaky integrate-and-fire.

v ← v_reset + beta · (v − v_reset) + I
spike where v ≥ v_threshold; then v ← v_reset ("hard") or v ← v − v_threshold ("soft")
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snn_delays.errors import UsageError
from snn_delays.table.models import constants
from snn_delays.table.models.model import (
    POTENTIAL,
    SHARE,
    THRESHOLD,
    Model,
    NestNeurons,
    Parameter,
    Scalar,
    Scalars,
    Values,
    inlined,
    kept,
    whole_form,
)

HARD = 0  # the index of this reset


@inlined
def after(v: float, v_threshold: float, v_reset: float, reset: float) -> tuple[float, bool]:
    """v after its spike, if it spikes."""
    spike = v >= v_threshold
    if spike:
        v = v_reset if reset == HARD else v - v_threshold
    return v, spike


def step(v, current, beta, v_threshold, v_reset, reset):
    v = v_reset + beta * (v - v_reset) + current
    return after(v, v_threshold, v_reset, reset)


def whole_step(v, current, beta, v_threshold, v_reset, reset, beta_shift, weight_shift):
    v = v_reset + kept(v - v_reset, beta, beta_shift) + current
    return after(v, v_threshold, v_reset, reset)


def check(values: Values, scalars: Scalars) -> None:
    v_reset = values["v_reset"]
    if scalars["reset"] != "hard" and np.any(v_reset != 0):
        raise UsageError(
            f"v_reset must be 0 when reset is {scalars['reset']!r}; got {v_reset.min()} … "
            f"{v_reset.max()}."
        )


def to_nir(values: Values, scalars: Scalars, dt: float) -> Any:
    """NIR's LIF; of the soft reset, which NIR does not have, the metadata tell."""
    import nir

    tau, r = constants.tau_and_r(values["beta"], dt)
    rest = constants.single("v_reset", values["v_reset"])
    threshold = constants.single("v_threshold", values["v_threshold"])
    return nir.LIF(tau=tau, r=r, v_leak=rest, v_threshold=threshold, v_reset=rest.copy())


def from_nir(node: Any, dt: float) -> tuple[Values, Scalars, Any, Any]:
    """LIF, and IF, which does not leak. Ours leaks towards v_reset; the rest of the way to v_leak
    is a constant current."""
    beta, gain, drive = constants.euler(node, dt)
    values = {"beta": beta, "v_threshold": node["v_threshold"], "v_reset": node["v_reset"]}
    return values, {"reset": "hard"}, gain, drive - (1 - beta) * node["v_reset"]


def nest(values: Values, scalars: Scalars) -> NestNeurons:
    """NEST's iaf_psc_delta (Rotter & Diesmann 1999, exact integration):
    v ← E_L + exp(−1 / tau_m) · (v − E_L) + spikes' weights, spike where v ≥ V_th."""
    if scalars["reset"] == "soft":
        raise UsageError(
            "NEST's iaf_psc_delta knows the hard reset only, got reset 'soft'. Check such a "
            "network in the simulator alone, or train one with a hard reset."
        )
    rest, threshold = values["v_reset"], values["v_threshold"]
    if np.any(below := threshold <= rest):
        raise UsageError(
            f"NEST needs every v_threshold above v_reset, got {np.sum(below)} of {below.size} "
            f"neurons at or below (first: neuron {np.argmax(below)}). Such a neuron fires at rest; "
            "give it a higher threshold."
        )
    return constants.iaf_psc_delta(values["beta"], threshold, rest)


LIF = Model(
    name="LIF",
    text="leaky integrate-and-fire",
    equation="v ← v_reset + beta · (v − v_reset) + I; spike where v ≥ v_threshold, then v ← v_reset"
    " (reset hard) or v ← v − v_threshold (soft)",
    parameters=(
        Parameter("beta", SHARE, "share of v kept per step"),
        Parameter("v_threshold", THRESHOLD, "v from which it spikes"),
        Parameter("v_reset", POTENTIAL, "v at rest and after a spike; 0 unless reset is hard"),
    ),
    scalars=(Scalar("reset", "what a spike does to v", choices=("hard", "soft")),),
    state={"v": "v_reset"},
    step=step,
    check=check,
    whole_step=whole_step,
    to_nir=to_nir,
    nir_types=("LIF", "IF"),
    from_nir=from_nir,
    nest=nest,
)
MODELS = (LIF, whole_form(LIF))
