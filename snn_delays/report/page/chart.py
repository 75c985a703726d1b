"""Charts as inline SVG, whose colours the page's style sheet chooses: so they suit light and dark.

One chart is one panel as wide as a telephone; several stand beside each other where there is room.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from snn_delays.report.page.axis import Axis

WIDTH = 420
_TOP, _RIGHT, _BOTTOM = 30, 12, 40
_LETTER = 6.6  # width of a letter or figure at a tick


class Chart:
    """A panel with two axes, to draw on in their units.

    Args:
        title: stands above it, and is read out.
        described: what a reader who does not see it should know.
        height: of the drawing area; ``WIDTH`` is that of the whole.
        left: room for what stands beside the y axis, where several are to have the same.
    """

    def __init__(
        self,
        title: str,
        x: Axis,
        y: Axis,
        *,
        height: int = 190,
        described: str = "",
        left: float | None = None,
    ) -> None:
        self.title, self.x, self.y, self.described = title, x, y, described
        self.height, self._marks = height, list[str]()
        # As many ticks as there is room for.
        rows = height // 13 if y.names is not None else max(2, height // 38)
        self._y_ticks = [(at, _short(name)) for at, name in y.ticks(rows)]
        longest = max((len(name) for _, name in self._y_ticks), default=0)
        self.left = 24 + _LETTER * longest if left is None else left
        self.width = WIDTH - self.left - _RIGHT
        columns = int(self.width // 13) if x.names is not None else 6
        self._x_ticks = [(at, _short(name)) for at, name in x.ticks(columns)]
        room = self.width / max(len(self._x_ticks), 1)
        widest = max((len(name) for _, name in self._x_ticks), default=0)
        self._turned = x.names is not None and _LETTER * widest + 4 > room
        self.bottom = _BOTTOM if x.label else _BOTTOM - 16
        self.bottom += _LETTER * widest - 8 if self._turned else 0

    # Places in the picture.

    def _px(self, x: float) -> float:
        return self.left + (x - self.x.low) / (self.x.high - self.x.low) * self.width

    def _py(self, y: float) -> float:
        return _TOP + self.height * (1 - (y - self.y.low) / (self.y.high - self.y.low))

    def _path(self, xs: ArrayLike, ys: ArrayLike) -> str:
        """Straight lines from point to point, interrupted where there is no number."""
        words, pen = [], "M"
        for x, y in zip(np.asarray(xs, float), np.asarray(ys, float), strict=True):
            if not (math.isfinite(x) and math.isfinite(y)):
                pen = "M"
                continue
            words.append(f"{pen}{_number(self._px(x))} {_number(self._py(y))}")
            pen = "L"
        return "".join(words)

    # What is drawn.

    def line(self, xs: ArrayLike, ys: ArrayLike, tone: str, *, width: float = 1.8) -> None:
        """A curve; a single point is a dot."""
        path = self._path(xs, ys)
        if path and "L" not in path:
            return self.dots(xs, ys, tone, size=5)
        self._marks.append(
            f'<path class="s-{tone}" stroke-width="{width:g}" stroke-linejoin="round" d="{path}"/>'
        )

    def dots(
        self, xs: ArrayLike, ys: ArrayLike, tone: str, *, size: float = 4, opacity: float = 1
    ) -> None:
        """Points, all of one size (of the picture) and tone."""
        at = zip(np.asarray(xs, float).ravel(), np.asarray(ys, float).ravel(), strict=True)
        path = "".join(f"M{_number(self._px(x))} {_number(self._py(y))}h0" for x, y in at)
        self._marks.append(
            f'<path class="s-{tone}" stroke-width="{size:g}" stroke-linecap="round"'
            f' stroke-opacity="{opacity:g}" d="{path}"/>'
        )

    def stairs(
        self, edges: ArrayLike, heights: ArrayLike, tone: str, *, filled: bool = False
    ) -> None:
        """A histogram: a height between each edge and the next."""
        ends, tops = np.asarray(edges, float), np.asarray(heights, float)
        xs = np.repeat(ends, 2)[1:-1]
        path = self._path(xs, np.repeat(tops, 2))
        if filled:
            base = f"L{_number(self._px(ends[-1]))} {_number(self._py(0))}"
            path += f"{base}L{_number(self._px(ends[0]))} {_number(self._py(0))}Z"
            self._marks.append(f'<path class="f-{tone}" fill-opacity="0.55" d="{path}"/>')
        else:
            self._marks.append(f'<path class="s-{tone}" stroke-width="1.6" d="{path}"/>')

    def bar(
        self, start: float, end: float, low: float, high: float, tone: str, *, said: str = ""
    ) -> None:
        """A bar that lies between two y and reaches from one x to another."""
        self._rect(start, end, low, high, f'class="f-{tone}"', said)

    def cell(
        self,
        start: float,
        end: float,
        low: float,
        high: float,
        tone: str,
        share: float,
        *,
        said: str = "",
    ) -> None:
        """A rectangle as strong as ``share`` says, from 0 (nothing) to 1."""
        self._rect(start, end, low, high, f'class="f-{tone}" fill-opacity="{share:.2f}"', said)

    def _rect(
        self, start: float, end: float, low: float, high: float, style: str, said: str
    ) -> None:
        left, right = sorted((self._px(start), self._px(end)))
        top, bottom = sorted((self._py(low), self._py(high)))
        place = f'x="{_number(left)}" y="{_number(top)}"'
        size = f'width="{_number(right - left)}" height="{_number(bottom - top)}"'
        inside = f"><title>{escape(said)}</title></rect>" if said else "/>"
        self._marks.append(f"<rect {style} {place} {size}{inside}")

    def raster(self, places: ArrayLike, rows: ArrayLike, tone: str) -> None:
        """Cells of one step and one row each; steps that follow each other are one mark."""
        step_width, row_height = abs(self._px(1) - self._px(0)), abs(self._py(1) - self._py(0))
        order = np.lexsort((np.asarray(places), np.asarray(rows)))
        steps, channels = np.asarray(places)[order], np.asarray(rows)[order]
        path, at = [], 0
        while at < len(steps):
            end = at + 1
            while (
                end < len(steps)
                and channels[end] == channels[at]
                and steps[end] == steps[end - 1] + 1
            ):
                end += 1
            path.append(f"M{steps[at]} {channels[at]}h{end - at}")
            at = end
        x, y = self._px(-0.5), self._py(0)
        self._marks.append(
            f'<path class="s-{tone}" d="{"".join(path)}"'
            f' transform="translate({x:.2f} {y:.2f}) scale({step_width:.4f} {-row_height:.4f})"'
            f' stroke-width="{max(1.0, 1.1 / row_height):.2f}"/>'
        )

    def image(self, values: ArrayLike) -> None:
        """Currents ``[steps, rows]``, the stronger the darker; those below 0 as strong."""
        strength = np.abs(np.asarray(values, float)).T[::-1]
        alpha = np.rint(255 * strength / (strength.max() or 1.0)).astype(np.uint8)
        pixels = np.zeros((*alpha.shape, 4), np.uint8)
        pixels[..., 3] = alpha
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, format="png", optimize=True)
        code = base64.b64encode(content.getvalue()).decode()
        self._marks.append(
            f'<image class="currents" preserveAspectRatio="none" x="{_number(self.left)}"'
            f' y="{_TOP}" width="{_number(self.width)}" height="{self.height}"'
            f' href="data:image/png;base64,{code}"/>'
        )

    def rule(self, *, x: float | None = None, y: float | None = None) -> None:
        """A dashed line across at a value of one axis."""
        if x is not None:
            place = f"M{_number(self._px(x))} {_TOP}v{self.height}"
        else:
            assert y is not None
            place = f"M{_number(self.left)} {_number(self._py(y))}h{_number(self.width)}"
        self._marks.append(f'<path class="mark" d="{place}"/>')

    def diagonal(self, low: float, high: float) -> None:
        """A dashed line where both axes have one value."""
        self._marks.append(f'<path class="mark" d="{self._path([low, high], [low, high])}"/>')

    def words(self, x: float, y: float, text: str, *, anchor: str = "start") -> None:
        """Text at a place."""
        self._marks.append(
            f'<text x="{_number(self._px(x))}" y="{_number(self._py(y) + 4)}"'
            f' text-anchor="{anchor}">{escape(text)}</text>'
        )

    def inner(self, top: float = 0) -> str:
        """All of it but the ``svg`` element, ``top`` further down."""
        floor = _TOP + self.height
        parts = [f'<g transform="translate(0 {top:g})">'] if top else ["<g>"]
        parts.append(f'<text class="name" x="4" y="15">{escape(self.title)}</text>')
        for at, name in self._y_ticks:
            y = _number(self._py(at))
            parts.append(
                f'<path class="grid" d="M{_number(self.left)} {y}h{_number(self.width)}"/>'
            )
            parts.append(
                f'<text class="tick" text-anchor="end" x="{_number(self.left - 5)}"'
                f' y="{_number(self._py(at) + 4)}">{escape(name)}</text>'
            )
        parts += self._marks
        parts.append(
            f'<path class="axis" d="M{_number(self.left)} {_TOP}V{floor}h{_number(self.width)}"/>'
        )
        for at, name in self._x_ticks:
            x = _number(self._px(at))
            parts.append(f'<path class="axis" d="M{x} {floor}v4"/>')
            turned = f' transform="rotate(-90 {x} {floor + 8})" ' if self._turned else " "
            place = f'x="{x}" y="{floor + (12 if self._turned else 17)}"'
            anchor = "end" if self._turned else "middle"
            parts.append(
                f'<text class="tick" text-anchor="{anchor}"{turned}{place}>{escape(name)}</text>'
            )
        middle = self.left + self.width / 2
        if self.x.label:
            parts.append(
                f'<text text-anchor="middle" x="{_number(middle)}"'
                f' y="{_number(floor + self.bottom - 6)}">{escape(self.x.label)}</text>'
            )
        up = _TOP + self.height / 2
        parts.append(
            f'<text text-anchor="middle" transform="rotate(-90 12 {_number(up)})" x="12"'
            f' y="{_number(up)}">{escape(self.y.label)}</text>'
        )
        return "".join([*parts, "</g>"])

    @property
    def total(self) -> float:
        """Height of the whole."""
        return _TOP + self.height + self.bottom

    def svg(self) -> str:
        """The chart as an element of a page."""
        return stacked([self])


def stacked(charts: Sequence[Chart], described: str = "") -> str:
    """Charts one below the other, as one picture."""
    said = ". ".join(filter(None, (described, *(one.described or one.title for one in charts))))
    tops = np.cumsum([0, *(one.total for one in charts)])
    inside = "".join(one.inner(float(top)) for one, top in zip(charts, tops, strict=False))
    return (
        f'<svg viewBox="0 0 {WIDTH} {_number(float(tops[-1]))}" role="img"'
        f' aria-label="{escape(said)}"><title>{escape(said)}</title>{inside}</svg>'
    )


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"
