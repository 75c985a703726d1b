"""The scans of ``ops/recurrent.py``, compiled by numba: groups of ``SAMPLES`` samples side by side.

A group's spikes are rows ``[C, (taps + T) · LANES]``, those of the history first, so that a
delay is a shift by whole vectors. In every step a row of outputs takes its currents from a window
of these, then its neurons take their step. Groups run in parallel.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from snn_delays.loops.loop import called, loop
from snn_delays.ops.adaptive_cpu import after_reset, step_backward, step_forward
from snn_delays.ops.vectors import GROUP, LANES, fma, load_group, splat_group, store

SAMPLES = GROUP * LANES  # samples that share the coefficients which were loaded for them
STRIP = 4  # rows that are made at once, so that sums need not wait for each other


@called
def _product(y: NDArray, matrix: NDArray, z: NDArray) -> None:
    """y[i] = Σ_j matrix[i // STRIP, j, i % STRIP] · z[j], of vectors; flat but for the matrix."""
    strips, sources, _ = matrix.shape
    flat = matrix.reshape(-1)
    zero = splat_group(y.dtype.type(0))
    for strip in range(strips):
        y0, y1, y2, y3 = zero, zero, zero, zero
        at = strip * sources * STRIP
        for j in range(sources):
            vector = load_group(z, j * SAMPLES)
            y0 = fma(splat_group(flat[at]), vector, y0)
            y1 = fma(splat_group(flat[at + 1]), vector, y1)
            y2 = fma(splat_group(flat[at + 2]), vector, y2)
            y3 = fma(splat_group(flat[at + 3]), vector, y3)
            at += STRIP
        o = strip * STRIP * SAMPLES
        store(y, o, y0)
        store(y, o + SAMPLES, y1)
        store(y, o + 2 * SAMPLES, y2)
        store(y, o + 3 * SAMPLES, y3)


@called
def _filtered(
    z: NDArray, rows: NDArray, width: int, each: int, step: int, first: NDArray, taps: NDArray
) -> None:
    """z[j] = Σ_q taps[j, q] · rows[j // each, step + first[j] + q], of vectors.

    Shape:
        z ``[J · SAMPLES]``; rows ``[… · width · SAMPLES]``; first ``[J]``, taps ``[J, Q]``.
    """
    count, size = taps.shape
    zero = splat_group(z.dtype.type(0))
    for j in range(count):
        s = ((j // each) * width + step + first[j]) * SAMPLES
        even, odd = zero, zero
        for q in range(0, size - 1, 2):
            even = fma(splat_group(taps[j, q]), load_group(rows, s + q * SAMPLES), even)
            odd = fma(splat_group(taps[j, q + 1]), load_group(rows, s + (q + 1) * SAMPLES), odd)
        if size % 2:
            even = fma(
                splat_group(taps[j, size - 1]), load_group(rows, s + (size - 1) * SAMPLES), even
            )
        store(z, j * SAMPLES, fma(splat_group(z.dtype.type(1)), even, odd))


@called
def _windowed(
    y: NDArray, rows: NDArray, width: int, each: int, step: int, first: NDArray, taps: NDArray
) -> None:
    """y[i] = Σ_j Σ_q taps[i, j, q] · rows[j // each, step + first[i, j] + q], of vectors.

    Shape:
        y ``[A · SAMPLES]``; rows ``[… · width · SAMPLES]``; first ``[A / STRIP, J, STRIP]``, taps
        ``[A / STRIP, J, STRIP, Q]``.
    """
    strips, sources, _, size = taps.shape
    flat, shift = taps.reshape(-1), first.reshape(-1)
    zero = splat_group(y.dtype.type(0))
    for strip in range(strips):
        y0, y1, y2, y3 = zero, zero, zero, zero
        at = strip * sources * STRIP
        for j in range(sources):
            row = (j // each) * width + step
            s0, s1 = (row + shift[at]) * SAMPLES, (row + shift[at + 1]) * SAMPLES
            s2, s3 = (row + shift[at + 2]) * SAMPLES, (row + shift[at + 3]) * SAMPLES
            c = at * size
            for _ in range(size):
                y0 = fma(splat_group(flat[c]), load_group(rows, s0), y0)
                y1 = fma(splat_group(flat[c + size]), load_group(rows, s1), y1)
                y2 = fma(splat_group(flat[c + 2 * size]), load_group(rows, s2), y2)
                y3 = fma(splat_group(flat[c + 3 * size]), load_group(rows, s3), y3)
                s0 += SAMPLES
                s1 += SAMPLES
                s2 += SAMPLES
                s3 += SAMPLES
                c += 1
            at += STRIP
        o = strip * STRIP * SAMPLES
        store(y, o, y0)
        store(y, o + SAMPLES, y1)
        store(y, o + 2 * SAMPLES, y2)
        store(y, o + 3 * SAMPLES, y3)


@called
def _gather(out: NDArray, values: NDArray, first_sample: int) -> None:
    """values ``[N, C]`` of a group's samples → out ``[C · SAMPLES]``; lanes without one are 0."""
    batch, size = values.shape
    used = min(SAMPLES, batch - first_sample)
    out[:] = 0
    for lane in range(used):
        sample = values[first_sample + lane]
        for c in range(size):
            out[c * SAMPLES + lane] = sample[c]


@called
def _scatter(values: NDArray, out: NDArray, first_sample: int) -> None:
    """``_gather`` the other way."""
    batch, size = values.shape
    for lane in range(min(SAMPLES, batch - first_sample)):
        sample = values[first_sample + lane]
        for c in range(size):
            sample[c] = out[c * SAMPLES + lane]


@loop(parallel=True)
def forward(
    spikes: NDArray,
    h: NDArray,
    w: NDArray,
    currents: NDArray,
    v_last: NDArray,
    w_last: NDArray,
    x: NDArray,
    history: NDArray,
    kept: NDArray,
    v_first: NDArray,
    w_first: NDArray,
    matrix: NDArray,
    first: NDArray,
    taps: NDArray,
    strip_first: NDArray,
    strip_taps: NDArray,
    each: int,
    cells: NDArray,
    v_threshold: float,
    v_reset: float,
    soft: bool,
    before: bool,
) -> None:
    """Spikes of every step; ``ops/recurrent.py`` has the equations.

    Shape:
        spikes, x ``[T, N, C]``; h, w, currents ``[groups, T, A · SAMPLES]``, A being C in whole
        strips, w and currents of no steps where nobody needs them; v_last, w_last, v_first, w_first
        ``[N, C]``; history ``[taps, N, C]``; kept ``[N, C]``, or ``[0, C]`` for all; matrix
        ``[A / STRIP, J, STRIP]`` with first ``[J]`` and taps ``[J, Q]`` of ``_filtered``, or no
        strips, and those of ``_windowed``; ``each`` is how many of J a row has; cells
        ``[5, A · SAMPLES]``: alpha, gain, beta, a and b.
    """
    steps, _, size = x.shape
    past = len(history)
    groups, _, lanes = h.shape
    width = past + steps
    kind = x.dtype.type
    threshold, rest = kind(v_threshold), kind(v_reset)
    for group in prange(groups):
        n = group * SAMPLES
        rows = np.zeros(size * width * SAMPLES, x.dtype)
        current, back = np.zeros(lanes, x.dtype), np.zeros(lanes, x.dtype)
        fired, v, ww = np.zeros(lanes, x.dtype), np.zeros(lanes, x.dtype), np.zeros(lanes, x.dtype)
        mask, late = np.ones(lanes, x.dtype), np.zeros(len(first) * SAMPLES, x.dtype)
        _gather(v, v_first, n)
        _gather(ww, w_first, n)
        if len(kept):
            _gather(mask, kept, n)
        for t in range(past):
            _gather(current, history[t], n)
            for c in range(size):
                at = (c * width + t) * SAMPLES
                rows[at : at + SAMPLES] = current[c * SAMPLES : (c + 1) * SAMPLES]
        for t in range(steps):
            if len(matrix):
                _filtered(late, rows, width, each, t, first, taps)
                _product(back, matrix, late)
            else:
                _windowed(back, rows, width, each, t, strip_first, strip_taps)
            _gather(current, x[t], n)
            for m in range(lanes):
                current[m] += mask[m] * back[m]
            step_forward(h[group, t], fired, v, ww, current, cells, threshold, rest, soft, before)
            if w.shape[1]:
                w[group, t] = ww
            if currents.shape[1]:
                currents[group, t] = current
            for c in range(size):
                at = (c * width + past + t) * SAMPLES
                rows[at : at + SAMPLES] = fired[c * SAMPLES : (c + 1) * SAMPLES]
            _scatter(spikes[t], fired, n)
        _scatter(v_last, v, n)
        _scatter(w_last, ww, n)


@loop(parallel=True)
def backward(
    gx: NDArray,
    gback: NDArray,
    gv_first: NDArray,
    gw_first: NDArray,
    gcells: NDArray,
    gspikes: NDArray,
    gv_last: NDArray,
    gw_last: NDArray,
    h: NDArray,
    w: NDArray,
    currents: NDArray,
    kept: NDArray,
    v_first: NDArray,
    w_first: NDArray,
    matrix: NDArray,
    first: NDArray,
    taps: NDArray,
    strip_first: NDArray,
    strip_taps: NDArray,
    each: int,
    cells: NDArray,
    v_threshold: float,
    v_reset: float,
    soft: bool,
    before: bool,
    detach_reset: bool,
    surrogate: int,
    sharpness: float,
    past: int,
) -> None:
    """Gradients of ``forward``, step by step from the last one.

    What a spike does to later steps is a window of their gradients:
    gs[u, j] += Σ_i Σ_q taps[i, j, q] · gback[u + 1 + first[i, j] + q, i].

    Shape:
        as ``forward``; gx of the currents and gback of those that spikes bring ``[T, N, C]``;
        gcells ``[groups, 5, A · SAMPLES]``; matrix ``[J', C, STRIP]``: of post by strips of J;
        first ``[J]`` and taps ``[J, Q]``; those by strips of pre.
    """
    steps, _, size = gx.shape
    groups, _, lanes = h.shape
    width = steps + past
    kind = gx.dtype.type
    threshold, rest = kind(v_threshold), kind(v_reset)
    for group in prange(groups):
        n = group * SAMPLES
        many = matrix.shape[0] * STRIP if len(matrix) else size
        rows = np.zeros(many * width * SAMPLES, gx.dtype)
        g, gback_t = np.zeros(lanes, gx.dtype), np.zeros(lanes, gx.dtype)
        gs, gh = np.zeros(lanes, gx.dtype), np.zeros(lanes, gx.dtype)
        slope = np.zeros(lanes, gx.dtype)
        gv, gw = np.zeros(lanes, gx.dtype), np.zeros(lanes, gx.dtype)
        v, ww = np.zeros(lanes, gx.dtype), np.zeros(lanes, gx.dtype)
        mask, late = np.ones(lanes, gx.dtype), np.zeros(len(first) * SAMPLES, gx.dtype)
        wide = np.zeros(many * SAMPLES, gx.dtype)
        nothing = np.zeros(lanes, gx.dtype)
        _gather(gv, gv_last, n)
        _gather(gw, gw_last, n)
        if len(kept):
            _gather(mask, kept, n)
        for step in range(steps):
            t = steps - 1 - step
            _gather(gs, gspikes[t], n)
            if len(matrix):
                _filtered(late, rows, width, 1, t + 1, first, taps)
                for c in range(size):
                    for k in range(each):
                        at = (c * each + k) * SAMPLES
                        for lane in range(SAMPLES):
                            gs[c * SAMPLES + lane] += late[at + lane]
            else:
                _windowed(g, rows, width, each, t + 1, strip_first, strip_taps)
                for m in range(lanes):
                    gs[m] += g[m]
            if t:
                after_reset(v, h[group, t - 1], threshold, rest, soft)
                if w.shape[1]:
                    ww[:] = w[group, t - 1]
            else:
                _gather(v, v_first, n)
                _gather(ww, w_first, n)
            step_backward(
                gh, gv, gw, gcells[group], slope, gs, h[group, t], v, ww,
                currents[group, t] if currents.shape[1] else nothing, cells, threshold, rest, soft,
                before, detach_reset, surrogate, sharpness,
            )  # fmt: skip
            for m in range(lanes):
                g[m] = cells[1, m] * gh[m]
                gback_t[m] = mask[m] * g[m]
            _scatter(gx[t], g, n)
            _scatter(gback[t], gback_t, n)
            if len(matrix):
                _product(wide, matrix, gback_t)
            for c in range(many):
                at = (c * width + t) * SAMPLES
                source = wide if len(matrix) else gback_t
                rows[at : at + SAMPLES] = source[c * SAMPLES : (c + 1) * SAMPLES]
        _scatter(gv_first, gv, n)
        _scatter(gw_first, gw, n)
