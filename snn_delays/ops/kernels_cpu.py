"""The loops of ``ops/kernels.py``, compiled by numba and run in parallel.

    K[j] = Σ_k w · h(j) / Σ_i h(i)        Gaussian: h(j) = exp(−½ · ((j − d)² − (m − d)²) / σ²)
                                          triangle: h(j) = max(1 + σ − |j − d|, 0)

with m the tap nearest to d. Synapses stand in strips of ``WIDE`` vectors, their even taps before
the odd ones: ``[strips, 2, pairs, STRIP]``, 0 where there are none. With z a point of a spectrum
and −z the opposite one, sums over even and over odd taps serve both: added, and subtracted.
"""

from __future__ import annotations

from numba import prange
from numpy.typing import NDArray

from snn_delays.loops.loop import called, loop, pasted
from snn_delays.ops.elementwise_cpu import fading, larger, minus, nearest, over, plus, side, whole
from snn_delays.ops.fft_cpu import buffer
from snn_delays.ops.outer_cpu import outer_wide, zeros_one, zeros_wide
from snn_delays.ops.products_cpu import tile_high_wide, tile_wide
from snn_delays.ops.registers import HIGH, WIDE
from snn_delays.ops.vectors import LANES, fma, load, load_left, store, store_left, times

STRIP = WIDE * LANES
STRIPS = 4  # Beside each other, since rows are far apart in memory.


@loop(parallel=True)
def make(
    kernel: NDArray, weight: NDArray, delay: NDArray, sigma: NDArray, taps: int, gaussian: bool
) -> None:
    """Taps of weights, delays and widths.

    Shape:
        kernel ``[strips, 2, pairs, STRIP]``, others ``[k, synapses]``.
    """
    strips, _, pairs, _ = kernel.shape
    y, count, columns = kernel.reshape(-1), weight.shape[0], weight.shape[1]
    ws, ds, ss = weight.reshape(-1), delay.reshape(-1), sigma.reshape(-1)
    for strip in prange(strips):
        work, zero = buffer(taps * LANES, kernel), zeros_one(kernel)
        place = 0
        for v in range(WIDE):
            at = strip * 2 * pairs * STRIP + v * LANES
            for i in range(2 * pairs):
                store(y, at + i * STRIP, zero)
            for k in range(count):
                first = strip * STRIP + v * LANES
                left, s = columns - first, k * columns + first
                w, d = load_left(ws, s, left), load_left(ds, s, left)
                _heights(work, place, d, load_left(ss, s, left), taps, gaussian, False)
                total = zero
                for j in range(taps):
                    total = plus(total, load(work, place + j * LANES))
                factor = over(w, total)
                for j in range(taps):
                    to = at + (j % 2 * pairs + j // 2) * STRIP
                    store(y, to, fma(factor, load(work, place + j * LANES), load(y, to)))


@loop(parallel=True)
def slopes(
    of_weight: NDArray,
    of_delay: NDArray,
    of_sigma: NDArray,
    grad: NDArray,
    weight: NDArray,
    delay: NDArray,
    sigma: NDArray,
    taps: int,
    gaussian: bool,
) -> None:
    """Gradients of weights, delays and widths from those of taps.

    With S, S′, P and P′ the sums of h, of its derivative, and of their products with the gradient:
    P / S, and w / S · (P′ − S′ · P / S).

    Shape:
        grad as ``kernel`` of ``make``, others ``[k, synapses]``.
    """
    strips, _, pairs, _ = grad.shape
    source, count, columns = grad.reshape(-1), weight.shape[0], weight.shape[1]
    ws, ds, ss = weight.reshape(-1), delay.reshape(-1), sigma.reshape(-1)
    by_weight, by_delay, by_sigma = (
        of_weight.reshape(-1),
        of_delay.reshape(-1),
        of_sigma.reshape(-1),
    )
    for strip in prange(strips):
        work, zero = buffer(3 * taps * LANES, grad), zeros_one(grad)
        place, step = 0, taps * LANES
        for v in range(WIDE):
            at = strip * 2 * pairs * STRIP + v * LANES
            for k in range(count):
                first = strip * STRIP + v * LANES
                left, s = columns - first, k * columns + first
                w, d = load_left(ws, s, left), load_left(ds, s, left)
                _heights(work, place, d, load_left(ss, s, left), taps, gaussian, True)
                sh = sd = sw = ph = pd = pw = zero
                for j in range(taps):
                    g = load(source, at + (j % 2 * pairs + j // 2) * STRIP)
                    h = load(work, place + j * LANES)
                    by_d = load(work, place + step + j * LANES)
                    by_w = load(work, place + 2 * step + j * LANES)
                    sh, sd, sw = plus(sh, h), plus(sd, by_d), plus(sw, by_w)
                    ph, pd, pw = fma(g, h, ph), fma(g, by_d, pd), fma(g, by_w, pw)
                mean, factor = over(ph, sh), over(w, sh)
                store_left(by_weight, s, left, mean)
                store_left(by_delay, s, left, times(factor, minus(pd, times(sd, mean))))
                store_left(by_sigma, s, left, times(factor, minus(pw, times(sw, mean))))


@loop(parallel=True)
def spectra(out: NDArray, kernel: NDArray, powers: NDArray) -> None:
    """Values at some points and at those opposite, by three numbers c, d − c, c + d each.

    Shape:
        out ``[2, points, 3, synapses]``, kernel as of ``make``, powers ``[points, 2, 2, pairs]``:
        real and imaginary parts of z to the even and to the odd powers.
    """
    _, points, _, columns = out.shape
    strips, _, pairs, _ = kernel.shape
    y, source, factors = out.reshape(-1), kernel.reshape(-1), powers.reshape(-1)
    for task in prange((strips + STRIPS - 1) // STRIPS):
        far = 3 * points * columns
        for p in range(points):
            for strip in range(task * STRIPS, min(strips, (task + 1) * STRIPS)):
                first, place = strip * STRIP, strip * 2 * pairs * STRIP
                o, at, left = 3 * p * columns + first, 4 * p * pairs, columns - first
                _pair(y, o, columns, far, left, factors, at, pairs, source, place)


@loop(parallel=True)
def add_spectra(sums: NDArray, values: NDArray, powers: NDArray) -> None:
    """The adjoint, added to ``sums``.

    Shape:
        sums as ``kernel``, values as ``out``, powers as of ``spectra``.
    """
    _, points, _, columns = values.shape
    strips, _, pairs, _ = sums.shape
    y, source, factors = sums.reshape(-1), values.reshape(-1), powers.reshape(-1)
    for task in prange((strips + STRIPS - 1) // STRIPS):
        far, odd, size = 3 * points * columns, 2 * points * STRIP, 4 * points * STRIP
        work, steps = buffer(STRIPS * size, sums), (0, 1, 2 * pairs)
        for p in range(points):
            for i in range(min(STRIPS, strips - task * STRIPS)):
                for v in range(WIDE):
                    first = (task * STRIPS + i) * STRIP + v * LANES
                    s, left = 3 * p * columns + first, columns - first
                    place = i * size + 2 * p * STRIP + v * LANES
                    _apart(source, s, columns, far, left, work, place, odd)
        for i in range(min(STRIPS, strips - task * STRIPS)):
            for part in range(2):
                place, j = i * size + part * odd, 0
                o = ((task * STRIPS + i) * 2 + part) * pairs * STRIP
                while j < pairs:
                    to, at = o + j * STRIP, part * pairs + j
                    given = y, to, factors, at, steps, work, place, 2 * points, STRIP, True
                    if j + HIGH <= pairs:
                        tile_high_wide(*given)
                        j += HIGH
                    else:
                        tile_wide(*given)
                        j += 1


@called
def _heights(work, place, d, s, taps, gaussian, slopes):
    """h of every tap, in a row each; then its derivatives by d, then those by σ, if asked for."""
    one = whole(d, 1)
    zero, step = whole(d, 0), taps * LANES
    if gaussian:
        m = nearest(d)
        shift = minus(m, d)
        inverse = over(one, s)
        precision = times(inverse, inverse)
        half = over(precision, whole(d, -2))
        twice = plus(shift, shift)
        q = minus(zero, m)
        for _ in range(taps):
            square = times(q, plus(q, twice))
            h = fading(times(square, half))
            store(work, place, h)
            if slopes:
                h = times(h, precision)
                store(work, place + step, times(h, q))
                store(work, place + 2 * step, times(times(h, square), inverse))
            q = plus(q, one)
            place += LANES
    else:
        j_vector = zero
        for _ in range(taps):
            x = minus(j_vector, d)
            h = plus(minus(one, larger(x, minus(zero, x))), s)
            store(work, place, larger(h, zero))
            if slopes:
                inside = side(h)
                store(work, place + step, times(inside, minus(side(x), side(minus(zero, x)))))
                store(work, place + 2 * step, inside)
            j_vector = plus(j_vector, one)
            place += LANES


@pasted
def _pair(y, o, step, far, left, factors, at, pairs, kernel, place):
    """A point's three numbers of a strip, at ``o``, and those of the point opposite, ``far`` on."""
    c_even = c_odd = d_even = d_odd = zeros_wide(kernel)
    for i in range(pairs):
        even, odd = place + i * STRIP, place + (pairs + i) * STRIP
        c_even = outer_wide(c_even, factors, at + i, 1, kernel, even)
        c_odd = outer_wide(c_odd, factors, at + pairs + i, 1, kernel, odd)
        d_even = outer_wide(d_even, factors, at + 2 * pairs + i, 1, kernel, even)
        d_odd = outer_wide(d_odd, factors, at + 3 * pairs + i, 1, kernel, odd)
    c, d = plus(c_even, c_odd), plus(d_even, d_odd)
    store_left(y, o, left, c)
    store_left(y, o + step, left, minus(d, c))
    store_left(y, o + 2 * step, left, plus(c, d))
    c, d = minus(c_even, c_odd), minus(d_even, d_odd)
    store_left(y, o + far, left, c)
    store_left(y, o + far + step, left, minus(d, c))
    store_left(y, o + far + 2 * step, left, plus(c, d))


@pasted
def _point(source, s, step, left):
    """The adjoint of a point's three numbers: what goes to its real and its imaginary part."""
    a, b = load_left(source, s, left), load_left(source, s + step, left)
    c = load_left(source, s + 2 * step, left)
    return plus(minus(a, b), c), plus(b, c)


@pasted
def _apart(source, s, step, far, left, work, at, odd):
    """What goes to even taps, at ``at``, and to odd ones, from a point and the one opposite."""
    real, imaginary = _point(source, s, step, left)
    other, turned = _point(source, s + far, step, left)
    store(work, at, plus(real, other))
    store(work, at + STRIP, plus(imaginary, turned))
    store(work, at + odd, minus(real, other))
    store(work, at + odd + STRIP, minus(imaginary, turned))
