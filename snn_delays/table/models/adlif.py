"""Adaptive leaky integrate-and-fire: a second variable pulls v down, or makes it resonate.

v ← v_reset + alpha · (v − v_reset) + (1 − alpha) · (I − w)
spike where v ≥ v_threshold; then v ← v_reset ("hard") or v ← v − v_threshold ("soft")
w ← beta · w + a · (u − v_reset) + b · spike, u being v before that reset or after it (feedback)

AdLIF, cAdLIF and SiLIF have the soft reset and feedback from before it, SE-adLIF the hard one and
feedback from after it. Bittar & Garner, "A surrogate gradient spiking baseline for speech command
recognition" (2022, Frontiers in Neuroscience 16); Baronig et al. (2024, arXiv:2408.07517).
"""

from __future__ import annotations

from snn_delays.table.models.lif import LIF, after, check
from snn_delays.table.models.model import (
    FACTOR,
    POTENTIAL,
    SHARE,
    Model,
    Parameter,
    Scalar,
    kept,
    whole_form,
)

BEFORE = 0  # the index of this feedback


def step(v, w, current, alpha, beta, a, b, v_threshold, v_reset, reset, feedback):
    h = v_reset + alpha * (v - v_reset) + (1 - alpha) * (current - w)
    v, spike = after(h, v_threshold, v_reset, reset)
    w = beta * w + a * ((h if feedback == BEFORE else v) - v_reset)
    if spike:
        w += b
    return v, w, spike


def whole_step(
    v,
    w,
    current,
    alpha,
    beta,
    a,
    b,
    v_threshold,
    v_reset,
    reset,
    feedback,
    beta_shift,
    weight_shift,
):
    rest = 2**beta_shift - alpha
    h = v_reset + kept(v - v_reset, alpha, beta_shift) + kept(current - w, rest, beta_shift)
    v, spike = after(h, v_threshold, v_reset, reset)
    w = kept(w, beta, beta_shift) + kept((h if feedback == BEFORE else v) - v_reset, a, beta_shift)
    if spike:
        w += b
    return v, w, spike


_, *firing = LIF.parameters
ADLIF = Model(
    name="AdLIF",
    text="adaptive leaky integrate-and-fire",
    equation="v ← v_reset + alpha · (v − v_reset) + (1 − alpha) · (I − w); spike where "
    "v ≥ v_threshold, then v ← v_reset (reset hard) or v ← v − v_threshold (soft); "
    "w ← beta · w + a · (u − v_reset) + b · spike, u = v before that reset or after it "
    "(feedback)",
    parameters=(
        Parameter("alpha", SHARE, "share of v kept per step; the currents' is 1 − alpha"),
        Parameter("beta", SHARE, "share of w kept per step"),
        Parameter("a", FACTOR, "what v above v_reset adds to w, per step and v"),
        Parameter("b", POTENTIAL, "what a spike adds to w"),
        *firing,
    ),
    scalars=(
        *LIF.scalars,
        Scalar("feedback", "whether w feels v before its reset or after", ("before", "after")),
    ),
    state={"v": "v_reset", "w": None},
    step=step,
    check=check,
    whole_step=whole_step,
)
MODELS = (ADLIF, whole_form(ADLIF))
