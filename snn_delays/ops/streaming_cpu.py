"""The loops of ``ops/streaming.py``, compiled by numba."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snn_delays.loops.loop import loop

# Numbers that ``fingerprint`` takes side by side: enough to hide what a multiplication takes.
LANES = 128


@loop
def step(
    out: NDArray,
    following: NDArray,
    x: NDArray,
    history: NDArray,
    arrived: NDArray,
    coming: NDArray,
    at: int,
    first: NDArray,
    place: NDArray,
    coefficient: NDArray,
    known: NDArray,
    weight: NDArray,
    delay: NDArray,
) -> int:
    """out[n, post] = coming[n, at, post] once x has arrived; where the rings go on. −1, and nothing
    is done, if ``known`` is not the fingerprint of weight and delay.

    following is history without its oldest input, then x. Rings that were left by another history
    are filled by letting this one arrive again.

    Shape:
        x ``[N, pre]``; history and following ``[max_delay, N, pre]``, oldest first; rings arrived
        ``[max_delay + 1, N, pre]`` and coming ``[N, (max_delay + 1) · post]``, now being row
        ``at``; synapses of pre from first[pre] up to first[pre + 1], a place being
        delay · posts + post.
    """
    seen = fingerprint(weight, delay)
    for lane in range(len(known)):
        if seen[lane] != known[lane]:
            return -1
    steps, batch, channels = history.shape
    differ = 0
    # Plain loops: whole-array assignments would take two seconds more to compile.
    for age in range(steps):
        ring = at + 1 + age
        ring = ring if ring <= steps else ring - steps - 1
        for n in range(batch):
            row, own = history[age, n], arrived[ring, n]
            for pre in range(channels):
                differ += row[pre] != own[pre]
    if differ:
        at = 0
        for n in range(batch):
            row = coming[n]
            for i in range(len(row)):
                row[i] = 0
        for age in range(steps):
            arrive(out, history[age], arrived, coming, at, first, place, coefficient)
            at += 1
    arrive(out, x, arrived, coming, at, first, place, coefficient)
    for age in range(steps):
        for n in range(batch):
            copy, row = following[age, n], x[n] if age + 1 == steps else history[age + 1, n]
            for pre in range(channels):
                copy[pre] = row[pre]
    return at + 1 if at < steps else 0


@loop
def arrive(
    out: NDArray,
    x: NDArray,
    arrived: NDArray,
    coming: NDArray,
    at: int,
    first: NDArray,
    place: NDArray,
    coefficient: NDArray,
) -> None:
    """coming[n, at + delay, post] += (synapse of pre, post and delay) · x[n, pre] of all synapses;
    what is due now moves to out, and x to arrived."""
    batch, posts = out.shape
    for n in range(batch):
        own, spikes, row, y = arrived[at, n], x[n], coming[n], out[n]
        around, now = np.uint64(len(row)), np.uint64(at * posts)
        for pre in range(len(spikes)):
            spike = spikes[pre]
            own[pre] = spike
            if spike != 0:
                for e in range(first[pre], first[pre + 1]):
                    due = now + place[e]
                    row[due if due < around else due - around] += coefficient[e] * spike
        due_now = row[at * posts : at * posts + posts]
        for post in range(posts):
            y[post] = due_now[post]
            due_now[post] = 0


@loop
def fingerprint(weight: NDArray, delay: NDArray) -> NDArray:
    """lane ← (lane xor spread bits) · odd constant: each number changes its lane for good.

    All of it can be undone, so that one number that differs always shows. A product passes bits on
    to higher ones only, and a sign is the highest: so each bit is spread to one of the lowest 11
    as well. Several numbers in one lane cancel in one of 2²² cases at worst.

    Shape:
        any, contiguous → uint32 ``[LANES]``.
    """
    lanes, odd = np.zeros(LANES, np.uint32), np.uint32(0x9E3779B1)
    near, far = np.uint32(11), np.uint32(22)
    for numbers in (weight, delay):
        bits = numbers.reshape(numbers.size).view(np.uint32)
        whole = len(bits) // LANES * LANES
        for first in range(0, whole, LANES):
            for lane in range(LANES):
                number = bits[first + lane]
                lanes[lane] = (lanes[lane] ^ number ^ (number >> near) ^ (number >> far)) * odd
        for place in range(whole, len(bits)):
            number, lane = bits[place], place - whole
            lanes[lane] = (lanes[lane] ^ number ^ (number >> near) ^ (number >> far)) * odd
    return lanes
