"""Leaky integrator, which never spikes: what a readout sees.

v ← beta · v + I
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snn_delays.table.models import constants
from snn_delays.table.models.model import (
    SHARE,
    Model,
    NestNeurons,
    Parameter,
    Scalars,
    Values,
    kept,
    whole_form,
)


def step(v, current, beta):
    return beta * v + current, False


def whole_step(v, current, beta, beta_shift, weight_shift):
    return kept(v, beta, beta_shift) + current, False


def to_nir(values: Values, scalars: Scalars, dt: float) -> Any:
    import nir

    tau, r = constants.tau_and_r(values["beta"], dt)
    return nir.LI(tau=tau, r=r, v_leak=np.zeros_like(tau))


def from_nir(node: Any, dt: float) -> tuple[Values, Scalars, Any, Any]:
    """LI, and I, which does not leak."""
    beta, gain, drive = constants.euler(node, dt)
    return {"beta": beta}, {}, gain, drive


def nest(values: Values, scalars: Scalars) -> NestNeurons:
    """As of LIF, with a threshold that v never reaches."""
    beta = values["beta"]
    return constants.iaf_psc_delta(beta, np.full(beta.shape, 1e300), np.zeros(beta.shape))


LI = Model(
    name="LI",
    text="leaky integrator, which never spikes",
    equation="v ← beta · v + I",
    parameters=(Parameter("beta", SHARE, "share of v kept per step"),),
    state={"v": None},
    step=step,
    spiking=False,
    whole_step=whole_step,
    to_nir=to_nir,
    nir_types=("LI", "I"),
    from_nir=from_nir,
    nest=nest,
)
MODELS = (LI, whole_form(LI))
