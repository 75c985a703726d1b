"""The picture of the front page, docs/delays.svg: what a delay is, what σ does, what learning does.

    python scripts/site/front_picture.py [FILE.svg]

Its lower half is a real training: one neuron, twelve inputs that fire once each, all weights equal
and fixed. Delays alone learn, from random ones, to raise the highest potential of the neuron.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from spikingjelly.activation_based import functional
from torch import Tensor

from snn_delays import DelayLayer, clamp_delays_, schedules, set_sigma

FILE = Path(__file__).resolve().parents[2] / "docs/delays.svg"
SEED, INPUTS, STEPS, MAX_DELAY, EPOCHS = 3, 12, 41, 20, 300
WEIGHT, BETA, THRESHOLD = 0.15, 0.7, 1.0

# Ink on light and on dark pages.
LIGHT = {"ink": "#1f2328", "quiet": "#59636e", "rule": "#d1d9e0", "card": "#ffffff"}
DARK = {"ink": "#e6edf3", "quiet": "#9aa4af", "rule": "#3d444d", "card": "#0d1117"}
LIGHT |= {"spike": "#2a6fc9", "fire": "#c94a12"}
DARK |= {"spike": "#58a6ff", "fire": "#f0883e"}
STYLE = """
text { font: 14px -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: var(--ink) }
.title { font-size: 17px; font-weight: 600 } .quiet { fill: var(--quiet); font-size: 13px }
.end { text-anchor: end } .mid { text-anchor: middle }
.fired { fill: var(--fire); font-weight: 600 } .late { fill: var(--spike); font-weight: 600 }
.card { fill: var(--card); stroke: var(--rule) } .rule { stroke: var(--rule) }
.sent { stroke: var(--quiet); stroke-width: 2 } .fire { stroke: var(--fire); stroke-width: 3 }
.delay { stroke: var(--spike); stroke-width: 1.6; opacity: .6 } .dot, .bar { fill: var(--spike) }
.dash { stroke: var(--quiet); stroke-dasharray: 4 3 }
.cell { fill: var(--card); stroke: var(--ink); stroke-width: 1.8 }
.trace { stroke: var(--ink); stroke-width: 1.8; fill: none }
"""


@dataclass(frozen=True)
class Learned:
    """When each input fires, and by how many steps it is held back before learning and after."""

    sent: list[int]
    before: list[int]
    after: list[int]


def learned() -> Learned:
    """Train the delays of one neuron; the seed decides all."""
    torch.manual_seed(SEED)
    sent = torch.randint(1, MAX_DELAY, (INPUTS,))
    x = torch.zeros(STEPS, 1, INPUTS)
    x[sent, 0, torch.arange(INPUTS)] = 1.0
    layer = DelayLayer(INPUTS, 1, MAX_DELAY)
    torch.nn.init.constant_(layer.weight, WEIGHT)
    before = layer.integer_delays()[0, :, 0].tolist()
    optimizer = torch.optim.Adam([layer.delay], lr=0.1)
    for sigma in schedules.Exponential(MAX_DELAY / 2, until=0.9).epochs(EPOCHS):
        set_sigma(layer, sigma)
        functional.reset_net(layer)
        optimizer.zero_grad()
        loss = -torch.logsumexp(20 * potential(layer(x)[:, 0, 0]), 0)
        loss.backward()
        optimizer.step()
        clamp_delays_(layer)
    return Learned(sent.tolist(), before, layer.integer_delays()[0, :, 0].tolist())


def potential(current: Tensor) -> Tensor:
    """v[t] = BETA · v[t − 1] + current[t], of a neuron that does not fire."""
    t = torch.arange(len(current))
    kept = torch.where(t[:, None] >= t, BETA ** (t[:, None] - t).clamp(min=0), 0.0)
    return kept @ current


def membrane(arrivals: Iterable[int]) -> tuple[list[float], list[int]]:
    """Potential after each step of the neuron that fires, and the steps in which it does."""
    v, potentials, fired = 0.0, [], []
    arrivals = list(arrivals)
    for t in range(STEPS):
        v = BETA * v + WEIGHT * arrivals.count(t)
        potentials.append(v)
        if v >= THRESHOLD:
            fired.append(t)
            v = 0.0
    return potentials, fired


def picture(found: Learned) -> str:
    """The whole SVG; it takes the colours of a light page or of a dark one."""
    colours = [";".join(f"--{k}:{v}" for k, v in one.items()) for one in (LIGHT, DARK)]
    style = (
        f"svg {{ {colours[0]} }} @media (prefers-color-scheme: dark) {{ svg {{ {colours[1]} }} }}"
    )
    same = "The same spikes, the same weights. Now they arrive together."
    before = _raster("Twelve inputs, one spike each.", found.sent, found.before)
    after = _raster(same, found.sent, found.after)
    parts = [
        _panel(0, 0, 220, "1  A delay holds a spike back", _one_synapse()),
        _panel(450, 0, 220, "2  While a delay is learned, σ shrinks", _widths()),
        _panel(0, 234, 336, "3  Random delays: the neuron is silent", before),
        _panel(450, 234, 336, "4  Learned delays: it fires", after),
    ]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 888 572" role="img">\n'
        "<title>Learned delays let spikes of twelve inputs arrive at the same time</title>\n"
        f"<style>{style}{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(x: int, y: int, height: int, title: str, content: str) -> str:
    card = f'<rect class="card" x="1" y="1" width="436" height="{height}" rx="8"/>'
    return f'<g transform="translate({x},{y})">{card}{_text(18, 30, title, "title")}{content}</g>'


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{text}</text>'


def _line(x: float, y: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x:g}" y1="{y:g}" x2="{x2:g}" y2="{y2:g}" class="{kind}"/>'


def _dot(x: float, y: float, kind: str = "dot", radius: float = 5) -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" class="{kind}"/>'


def _one_synapse() -> str:
    """Two neurons, and beneath them when the first sends a spike and when the second gets it."""
    parts = [_line(75, 76, 363, 76, "trace"), _dot(60, 76, "cell", 16), _dot(378, 76, "cell", 16)]
    parts += [_text(219, 67, "a weight and a delay of 7 steps", "mid")]
    at, y = (lambda t: 60 + 24.5 * t), 150
    parts += [_line(at(0), y, at(13), y, "rule")]
    parts += [_line(at(t), y - 4, at(t), y + 4, "rule") for t in range(14)]
    parts += [_line(at(3), y, at(10), y, "delay"), _line(at(3), y - 14, at(3), y + 8, "sent")]
    parts += [_dot(at(10), y, radius=6), _text(at(6.5), y - 12, "7 steps", "late mid")]
    parts += [
        _text(at(3), y + 28, "sent", "quiet mid"),
        _text(at(10), y + 28, "arrives", "quiet mid"),
    ]
    parts += [_text(at(13), 206, "time →", "quiet end")]
    return "".join(parts)


def _widths() -> str:
    """Three widths of one delay: the share of a spike that arrives in each step."""
    at, delay = (lambda t: 44 + 15 * t), 6.4
    says = (("σ = 3 steps", "smooth: it can move"), ("σ = 0.8", "nearly one step"))
    says += (("deployed", "6 whole steps"),)
    parts = []
    for row, (sigma, say) in enumerate(zip((3.0, 0.8, 0.0), says, strict=True)):
        floor, centre = 88 + 48 * row, delay if sigma else round(delay)
        shares = [math.exp(-(((t - centre) / (sigma or 0.01)) ** 2) / 2) for t in range(13)]
        for t, share in enumerate(shares):
            if (height := 36 * share / max(shares)) > 0.3:
                parts.append(
                    f'<rect class="bar" x="{at(t) - 5}" y="{floor - height:.1f}" '
                    f'width="10" height="{height:.1f}" rx="2"/>'
                )
        parts += [_line(at(-1), floor, at(13), floor, "rule")]
        parts += [_text(266, floor - 18, say[0], "late"), _text(266, floor, say[1], "quiet")]
    parts += [_line(at(delay), 46, at(delay), 190, "dash")]
    parts += [_text(at(delay), 206, "delay 6.4 steps", "quiet mid")]
    parts += [_text(266, 206, "bars: share of the spike", "quiet")]
    return "".join(parts)


def _raster(say: str, sent: list[int], delays: list[int]) -> str:
    """When each input's spike is sent and when it arrives, and what the neuron makes of it."""
    at = lambda t: 92 + 8.1 * t  # noqa: E731
    order = sorted(range(len(sent)), key=lambda one: sent[one])
    arrivals = [sent[one] + delays[one] for one in order]
    parts = [_text(18, 53, say, "quiet"), _text(18, 145, "inputs", "quiet")]
    for row, one in enumerate(order):
        y = 72 + 13 * row
        parts += [_line(at(0), y, at(STEPS - 1), y, "rule")]
        parts += [_line(at(sent[one]), y, at(arrivals[row]), y, "delay")]
        parts += [_line(at(sent[one]), y - 5, at(sent[one]), y + 5, "sent")]
        parts += [_dot(at(arrivals[row]), y, radius=4)]
    low, high = 306, 252
    potentials, fired = membrane(arrivals)
    level = [low - (low - high) * min(v / THRESHOLD, 1) for v in potentials]
    trace = " ".join(f"{at(t):.1f},{y:.1f}" for t, y in enumerate(level))
    parts += [
        _line(at(0), high, at(STEPS - 1), high, "dash"),
        _line(at(0), low, at(40), low, "rule"),
    ]
    parts += [_text(18, high + 4, "threshold", "quiet"), _text(18, low, "potential", "quiet")]
    parts += [f'<polyline class="trace" points="{trace}"/>']
    for t in fired:
        parts += [_line(at(t), high, at(t), high - 22, "fire")]
        parts += [_text(at(t) + 9, high - 8, "spike", "fired")]
    if not fired:
        parts += [_text(at(STEPS - 1), high - 8, "no spike", "quiet end")]
    parts += [_text(at(STEPS - 1), 326, "time →", "quiet end")]
    return "".join(parts)


def main() -> None:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    file.write_text(picture(learned()), encoding="utf-8")
    print(f"{file}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
