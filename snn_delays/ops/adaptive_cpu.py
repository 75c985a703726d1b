"""temporary"""

import math

import numpy as np

from snn_delays.loop import called


@called
def step_forward(h, s, v, w, current, alpha, gain, beta, a, b, threshold, rest, soft, before):
    one, zero = h.dtype.type(1), h.dtype.type(0)
    for m in range(len(h)):
        potential = rest + alpha[m] * (v[m] - rest) + gain[m] * (current[m] - w[m])
        fired = one if potential >= threshold else zero
        h[m] = potential
        s[m] = fired
        if soft:
            after = potential - fired * threshold
        else:
            after = rest if fired != zero else potential
        v[m] = after
        w[m] = beta[m] * w[m] + a[m] * (potential if before else after) + b[m] * fired


@called
def step_backward(
    gh,
    gv,
    gw,
    gcells,
    gs,
    h,
    v,
    w,
    current,
    alpha,
    gain,
    beta,
    a,
    b,
    threshold,
    rest,
    soft,
    before,
    detach,
    surrogate,
    sharp,
):
    one, zero = h.dtype.type(1), h.dtype.type(0)
    half, bend = h.dtype.type(sharp / 2), h.dtype.type(math.pi / 2 * sharp)
    for m in range(len(h)):
        u = h[m] - threshold
        if surrogate == 1:
            sg = one / (one + np.exp(-sharp * u))
            slope = sharp * sg * (one - sg)
        else:
            bent = bend * u
            slope = half / (one + bent * bent)
        fired = one if u >= zero else zero
        after = h[m] - fired * threshold if soft else (rest if fired != zero else h[m])
        gva = gv[m] + (zero if before else a[m] * gw[m])
        gsum = gs[m] + b[m] * gw[m]
        if not detach:
            gsum += gva * (-threshold if soft else rest - h[m])
        g = gsum * slope + gva * (one if soft else one - fired) + (a[m] * gw[m] if before else zero)
        gh[m] = g
        gcells[0, m] += g * (v[m] - rest)
        gcells[1, m] += g * (current[m] - w[m])
        gcells[2, m] += gw[m] * w[m]
        gcells[3, m] += gw[m] * (h[m] if before else after)
        gcells[4, m] += gw[m] * fired
        gw[m] = beta[m] * gw[m] - gain[m] * g
        gv[m] = alpha[m] * g
