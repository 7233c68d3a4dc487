"""Axes of the charts: where a value stands, which ticks are shown, what is outside.

A rate is drawn linear, logarithmic or on a normal-deviate ("probit") axis, where the errors of two
normal distributions are a straight line (Martin et al., "The DET curve in assessment of detection
task performance", Eurospeech 1997).

Letters: L points of a curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Run = list[tuple[float, float]]

DET_TICKS = (0.0001, 0.001, 0.01, 0.05, 0.20, 0.40)  # 0.01 % … 40 %
_FAR = 1e5  # pixels: where a rate of 0 stands on an axis that has none
_ROOM = 0.13  # of an axis, that a label needs
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a chart.

    Attributes:
        title: what it measures.
        scale: value → position before it is stretched; rising, and −inf or inf where it has none.
        low: the value at the start of the axis.
        high: the value at its end.
        ticks: values and their labels, rising.
    """

    title: str
    scale: Callable[[float], float]
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def place(self, values: Sequence[float] | Floats, start: float, end: float) -> Floats:
        """Pixels of values on an axis drawn from `start` to `end`.

        Args:
            values: float (L,); what lies beyond the axis is placed beyond its ends.
            start: the pixel of `low`.
            end: the pixel of `high`.

        Returns:
            float64 (L,), finite.
        """
        first, last = self.scale(self.low), self.scale(self.high)
        scaled = np.array([self.scale(float(value)) for value in values], dtype=np.float64)
        placed = start + (scaled - first) / (last - first) * (end - start)
        return np.clip(placed, -_FAR, _FAR)


def linear(title: str, low: float, high: float, label: Callable[[float], str]) -> Axis:
    """An axis of equal steps, with about five ticks at round values.

    Args:
        title: what it measures.
        low: its start.
        high: its end, above `low`.
        label: value → label of a tick.
    """
    ticks = tuple((value, label(value)) for value in round_values(low, high))
    return Axis(title, float, low, high, ticks)


def logarithmic(title: str, low: float, high: float = 1.0) -> Axis:
    """An axis with a tick at each power of ten, or at each second one where they are many.

    Args:
        title: what it measures.
        low: its start, above 0.
        high: its end.
    """
    first, last = round(math.log10(low)), round(math.log10(high))
    step = 1 if last - first <= 7 else 2
    ticks = tuple((10.0**power, power_of_ten(power)) for power in range(first, last + 1, step))
    return Axis(title, _log10, low, high, ticks)


def counting(title: str, low: int, high: int) -> Axis:
    """A logarithmic axis for counts (ranks, people) with ticks at 1, 2, 5, 10, 20, 50, ….

    Args:
        title: what it measures.
        low: its start, 1 or more.
        high: its end, above `low`.
    """
    decades = range(int(math.log10(low)), int(math.log10(high)) + 1)
    rounds = [base * 10**decade for decade in decades for base in (1, 2, 5)]
    inside = [value for value in rounds if low <= value <= high]
    ticks = tuple((float(value), f"{value:,}") for value in inside)
    return Axis(title, _log10, float(low), float(high), ticks)


def measured(title: str, values: Sequence[int]) -> Axis:
    """A logarithmic axis with a tick at each measured value that is not too near to the next.

    Args:
        title: what it measures.
        values: counts, rising, 1 or more; two different ones at least.
    """
    room = (math.log10(values[-1]) - math.log10(values[0])) * _ROOM
    kept = [values[-1]]
    for value in reversed(values[:-1]):
        if math.log10(kept[-1]) - math.log10(value) >= room:
            kept.append(value)
    ticks = tuple((float(value), f"{value:,}") for value in reversed(kept))
    return Axis(title, _log10, float(values[0]), float(values[-1]), ticks)


def normal_deviate(title: str) -> Axis:
    """A probit axis from 0.01 % to 40 %, as DET plots have it."""
    ticks = tuple((rate, f"{rate * 100:g}\u00a0%") for rate in DET_TICKS)
    return Axis(title, probit, DET_TICKS[0], DET_TICKS[-1], ticks)


def probit(rate: float) -> float:
    """The normal deviate that a share of `rate` lies below; ∓inf for 0 and 1."""
    if rate <= 0.0:
        return -math.inf
    return NormalDist().inv_cdf(rate) if rate < 1.0 else math.inf


def _log10(value: float) -> float:
    return math.log10(value) if value > 0.0 else -math.inf


def power_of_ten(power: int) -> str:
    """`10⁻³`, and plain numbers for 0.1 and 1."""
    plain = {0: "1", -1: "0.1"}
    return plain.get(power) or "10" + str(power).translate(_SUPERSCRIPT)


def round_values(low: float, high: float, wanted: int = 5) -> list[float]:
    """About `wanted` round values from `low` to `high`, both included where they are round."""
    rough = (high - low) / wanted
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in _STEPS if unit * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) + 0.0 for index in range(first, last + 1)]


def clipped(xs: Floats, ys: Floats, box: tuple[float, float, float, float]) -> list[Run]:
    """The parts of a line that lie inside a box (Liang and Barsky, 1984).

    Args:
        xs: float64 (L,), pixels.
        ys: float64 (L,), pixels.
        box: left, top, right, bottom in pixels.

    Returns:
        Runs of points; within one the line is unbroken.
    """
    points = list(zip(xs.tolist(), ys.tolist(), strict=True))
    runs: list[Run] = []
    for start, end in pairwise(points):
        piece = _inside(start, end, box)
        if piece is None:
            continue
        if runs and runs[-1][-1] == piece[0]:
            runs[-1].append(piece[1])
        else:
            runs.append(list(piece))
    return runs


def _inside(
    start: tuple[float, float], end: tuple[float, float], box: tuple[float, float, float, float]
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """The part of one segment inside a box, or None."""
    left, top, right, bottom = box
    across, down = end[0] - start[0], end[1] - start[1]
    enter, leave = 0.0, 1.0
    bounds = ((-across, start[0] - left), (across, right - start[0]),
              (-down, start[1] - top), (down, bottom - start[1]))  # fmt: skip
    for speed, room in bounds:
        if speed == 0.0 and room < 0.0:
            return None
        if speed < 0.0:
            enter = max(enter, room / speed)
        elif speed > 0.0:
            leave = min(leave, room / speed)
    if enter > leave:
        return None
    return _along(start, end, enter), _along(start, end, leave)


def _along(
    start: tuple[float, float], end: tuple[float, float], share: float
) -> tuple[float, float]:
    """The point at a share of the way; the ends themselves at 0 and 1, to the last bit."""
    if share in {0.0, 1.0}:
        return end if share else start
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
