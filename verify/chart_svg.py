"""The frame of a chart as inline SVG: axes, grid, legend, and the marks that go inside.

A chart is text: it goes straight into an HTML page, takes its colours from the page's CSS (the
classes below, no colour stands here) and carries a title and a description for screen readers.
Nothing in it names another file. Lengths are in units of the view box, which the page scales.

Classes: `grid`, `axis`, `note` and `guide` for the frame; `curve`, `area`, `dot` and `bar` for
marks, each with a hue: `mated`, `nonmated`, `s1` … `s5` (an order, from faint to strong).

Letters: L points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from verify.chart_axes import Axis, Floats, clipped

WIDTH, HEIGHT = 480.0, 350.0
LEFT, RIGHT, TOP, BOTTOM = 70.0, 24.0, 14.0, 60.0
_LETTER = 6.9  # mean width of a letter of the legend
_ROW = 20.0


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a legend.

    Attributes:
        label: its words.
        hue: the CSS classes of its line.
    """

    label: str
    hue: str


@dataclass(frozen=True, slots=True)
class Frame:
    """Where things stand in a chart.

    Attributes:
        name: prefix of its element ids, one a page.
        x: the axis below.
        y: the axis on the left.
        keys: the legend, above the plot.
    """

    name: str
    x: Axis
    y: Axis
    keys: tuple[Key, ...] = ()

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the plot."""
        top = TOP + _ROW * (len(self._rows()) if self.keys else 0)
        return LEFT, top, WIDTH - RIGHT, HEIGHT - BOTTOM

    def across(self, values: Sequence[float] | Floats) -> Floats:
        """Horizontal places of values of x, float64 (L,)."""
        left, _, right, _ = self.box
        return self.x.place(values, left, right)

    def up(self, values: Sequence[float] | Floats) -> Floats:
        """Vertical places of values of y, float64 (L,)."""
        _, top, _, bottom = self.box
        return self.y.place(values, bottom, top)

    def curve(self, xs: Sequence[float] | Floats, ys: Sequence[float] | Floats, hue: str) -> str:
        """A line through points, cut at the edges of the plot.

        Args:
            xs: float (L,), in values of x.
            ys: float (L,), in values of y.
            hue: the CSS classes.
        """
        runs = clipped(self.across(xs), self.up(ys), self.box)
        data = " ".join(_path(run) for run in runs)
        return f'<path class="curve {hue}" d="{data}"/>' if data else ""

    def area(self, edges: Floats, heights: Floats, hue: str) -> str:
        """Bars side by side as one filled outline.

        Args:
            edges: float64 (L + 1,), rising, in values of x.
            heights: float64 (L,), in values of y.
            hue: the CSS classes.
        """
        xs = np.repeat(self.across(edges), 2)
        floor = self.up([self.y.low])
        ys = np.concatenate([floor, np.repeat(self.up(heights), 2), floor])
        return f'<path class="area {hue}" d="{_path(list(zip(xs, ys, strict=True)))}"/>'

    def dot(self, x: float, y: float, hue: str, says: str, radius: float = 4.0) -> str:
        """A point with a tooltip; nothing where it is outside the plot."""
        place = float(self.across([x])[0]), float(self.up([y])[0])
        if not self._holds(*place):
            return ""
        return (
            f'<circle class="dot {hue}" cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="{radius:g}">'
            f"<title>{escape(says)}</title></circle>"
        )

    def interval(self, x: float, low: float, high: float, hue: str) -> str:
        """An upright line from `low` to `high`, cut at the edges of the plot."""
        at = float(self.across([x])[0])
        ends = np.clip(self.up([low, high]), self.box[1], self.box[3])
        if not self.box[0] - 0.05 <= at <= self.box[2] + 0.05:
            return ""
        return f'<path class="bar {hue}" d="M{at:.1f} {ends[0]:.1f}V{ends[1]:.1f}"/>'

    def guide(self, xs: Sequence[float] | Floats, ys: Sequence[float] | Floats) -> str:
        """A thin broken line to compare with."""
        return self.curve(xs, ys, "guide")

    def note(self, x: float, y: float, text: str, anchor: str = "start") -> str:
        """Words at a place in the plot, in its units.

        Args:
            x: pixels.
            y: pixels, the foot of the letters.
            text: the words.
            anchor: `start`, `middle` or `end`.
        """
        return _text(x, y, text, "note", anchor)

    def unsupported(self, upto: float, text: str) -> str:
        """Shade the part of the x axis below `upto`, where the data shows nothing.

        Args:
            upto: value of x.
            text: why, told on hovering and to screen readers.
        """
        left, top, _, bottom = self.box
        width = float(self.across([upto])[0]) - left
        if width < 1.0:
            return ""
        return (
            f'<rect class="void" x="{left:g}" y="{top:g}" width="{width:.1f}" '
            f'height="{bottom - top:g}"><title>{escape(text)}</title></rect>'
        )

    def document(self, title: str, says: str, marks: Sequence[str]) -> str:
        """The whole chart.

        Args:
            title: its name, for screen readers.
            says: what is to be seen, in a sentence or two, for those who do not see it.
            marks: what goes inside, the lowest first.
        """
        inside = "\n".join([*self._grid(), *filter(None, marks), *self._labels(), *self._legend()])
        return (
            f'<svg class="chart" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" '
            f'aria-labelledby="{self.name}-title {self.name}-says">\n'
            f'<title id="{self.name}-title">{escape(title)}</title>\n'
            f'<desc id="{self.name}-says">{escape(says)}</desc>\n{inside}\n</svg>'
        )

    def _holds(self, x: float, y: float) -> bool:
        left, top, right, bottom = self.box
        return left - 0.05 <= x <= right + 0.05 and top - 0.05 <= y <= bottom + 0.05

    def _grid(self) -> list[str]:
        left, top, right, bottom = self.box
        across = [f"M{x:.1f} {top:g}V{bottom:g}" for x in self.across(_values(self.x))]
        up = [f"M{left:g} {y:.1f}H{right:g}" for y in self.up(_values(self.y))]
        return [
            f'<path class="grid" d="{"".join(across + up)}"/>',
            f'<path class="axis" d="M{left:g} {top:g}V{bottom:g}H{right:g}"/>',
        ]

    def _labels(self) -> list[str]:
        left, top, right, bottom = self.box
        xs = zip(self.across(_values(self.x)), self.x.ticks, strict=True)
        ys = zip(self.up(_values(self.y)), self.y.ticks, strict=True)
        below = [_text(x, bottom + 22, label, "tick", "middle") for x, (_, label) in xs]
        beside = [_text(left - 8, y + 4.5, label, "tick", "end") for y, (_, label) in ys]
        beneath = _text((left + right) / 2, HEIGHT - 12, self.x.title, "name", "middle")
        return [*below, *beside, beneath, self._upright((top + bottom) / 2)]

    def _upright(self, y: float) -> str:
        """The title of the axis on the left, from below upwards."""
        turn = f"translate(16 {y:g}) rotate(-90)"
        return (
            f'<text class="name" transform="{turn}" text-anchor="middle">'
            f"{escape(self.y.title)}</text>"
        )

    def _rows(self) -> list[list[tuple[float, Key]]]:
        """The legend's entries with their places, broken into rows."""
        rows: list[list[tuple[float, Key]]] = [[]]
        at = LEFT
        for key in self.keys:
            width = 34 + _LETTER * len(key.label)
            if rows[-1] and at + width > WIDTH - 2:
                rows.append([])
                at = LEFT
            rows[-1].append((at, key))
            at += width
        return rows

    def _legend(self) -> list[str]:
        marks = []
        for number, row in enumerate(self._rows()):
            y = TOP + _ROW * number + 4
            for x, key in row:
                marks.append(f'<path class="curve {key.hue}" d="M{x:.1f} {y - 4:g}h18"/>')
                marks.append(_text(x + 23, y, key.label, "key", "start"))
        return marks


def _values(axis: Axis) -> list[float]:
    return [value for value, _ in axis.ticks]


def _text(x: float, y: float, text: str, kind: str, anchor: str) -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _path(points: Sequence[tuple[float, float]]) -> str:
    """SVG path data of a line, without points that fall on the one before."""
    rounded = [(round(float(x), 1), round(float(y), 1)) for x, y in points]
    kept = [point for point, before in zip(rounded, [None, *rounded], strict=False)
            if point != before]  # fmt: skip
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in kept)
