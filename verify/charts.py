"""The charts of a report, drawn by hand as SVG: ROC, DET, similarities, CMC, reliability, sizes.

Each function takes results as `verify.evaluation` has them and returns the text of one chart (see
`verify.chart_svg` for what it needs from the page). A curve ends where the data ends: to the left
of `floor`, the smallest rate that the counts support, nothing is drawn.

Letters: L points of a curve, B bins of similarity, G bins of probability, R ranks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from verify.chart_axes import Axis, Floats, counting, linear, logarithmic, measured, normal_deviate
from verify.chart_svg import Frame, Key
from verify.evaluation import (
    Curve,
    Estimate,
    GallerySize,
    Histogram,
    OpenSetPoint,
    OperatingPoint,
    Rate,
)
from verify.probability import Reliability

HUES = 5
_LOWEST = 1e-6  # where the axis of a ROC starts at the earliest
_FLOORS = (0.99, 0.98, 0.95, 0.9, 0.8, 0.5, 0.0)
_BINS = 70
_OUTSIDE = "no error seen in this range"
_TOO_FEW = "The data is too small to show rates this low."


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One line of a chart with several.

    Attributes:
        label: what it is of.
        xs: float64 (L,).
        ys: float64 (L,).
        dotted: whether its points are marked: where only a few rates were measured.
    """

    label: str
    xs: Floats
    ys: Floats
    dotted: bool = False


def percent(rate: float) -> str:
    """A rate as `1.63 %`: two digits at least, three from one percent on, never rounded to 100."""
    hundred = rate * 100
    if hundred == 0.0 or hundred >= 100.0:
        shown = f"{hundred:.0f}"
    elif hundred >= 99.0:
        shown = f"{min(hundred, 99.99):.2f}"
    else:
        digits = (2 if hundred < 1.0 else 3) - 1 - math.floor(math.log10(hundred))
        shown = f"{hundred:.{digits}f}"
    return f"{shown.rstrip('0').rstrip('.') if '.' in shown else shown}\u00a0%"


def roc(curve: Curve, points: Sequence[OperatingPoint], floor: float) -> str:
    """True match rate over false match rate (logarithmic), with intervals at the asked rates.

    Args:
        curve: FMR and FNMR.
        points: the asked operating points; those that are not supported are left out.
        floor: the smallest FMR that the data supports, above 0.
    """
    known = [point for point in points if point.fnmr.value is not None]
    xs, ys = _from(floor, curve.false_accepts, 1.0 - curve.false_rejects)
    lows = [1.0 - point.fnmr.high for point in known if point.fnmr.high is not None]
    start = max(10.0 ** math.floor(math.log10(floor) + 1e-9), _LOWEST)
    frame = Frame(
        "roc",
        logarithmic("False match rate", min(start, 0.1)),
        _high_share("True match rate", [*ys.tolist(), *lows]),
    )
    marks = [frame.unsupported(floor, _TOO_FEW), frame.curve(xs, ys, "mated")]
    for point in known:
        marks += _with_interval(frame, point.asked, point.fnmr, "mated", complement=True)
    says = "; ".join(
        f"at a false match rate of {percent(point.asked)}, {percent(1 - (point.fnmr.value or 0))}"
        for point in known
    )
    return frame.document(
        "ROC: true match rate over false match rate",
        f"Share of genuine comparisons that match: {says or 'no rate is supported'}.",
        marks,
    )


def det(curve: Curve, eer: Estimate, floor: float) -> str:
    """FNMR over FMR on normal-deviate axes, with the equal error rate.

    Args:
        curve: FMR and FNMR.
        eer: the equal error rate.
        floor: the smallest FMR that the data supports.
    """
    xs, ys = _from(floor, curve.false_accepts, curve.false_rejects)
    frame = Frame("det", normal_deviate("False match rate"), normal_deviate("False non-match rate"))
    ends = (frame.x.low, frame.x.high)
    marks = [
        frame.unsupported(floor, _TOO_FEW),
        frame.guide(ends, ends),
        _or_note(frame, frame.curve(xs, ys, "mated")),
    ]
    says = "The equal error rate is not supported."
    if eer.value is not None:
        says = f"Both error rates are equal at {percent(eer.value)}."
        marks.append(frame.dot(eer.value, eer.value, "mated", says))
    return frame.document("DET: false non-match rate over false match rate", says, marks)


def similarities(histogram: Histogram, threshold: float | None, label: str) -> str:
    """How similarities of mated and of non-mated comparisons fell, each as shares of its kind.

    Args:
        histogram: the counts.
        threshold: the similarity to mark, or None.
        label: what the mark is called.
    """
    edges, mated, nonmated = _thinned(histogram)
    top = max(float(mated.max(initial=0.0)), float(nonmated.max(initial=0.0)), 1e-9)
    keys = (Key("different people", "nonmated"), Key("same person", "mated"))
    frame = Frame(
        "similarities",
        linear("Cosine similarity", float(edges[0]), float(edges[-1]), _plain),
        linear("Share of comparisons", 0.0, top * 1.18, percent),
        keys,
    )
    marks = [frame.area(edges, nonmated, "nonmated"), frame.area(edges, mated, "mated")]
    says = "Similarities of comparisons of one person and of different people."
    if threshold is not None and edges[0] <= threshold <= edges[-1]:
        marks += _marked(frame, threshold, label)
        says += f" {label} is marked at {_plain(round(threshold, 3))}."
    return frame.document("Histogram of similarities", says, marks)


def cmc(rates: Sequence[float], ranks: Mapping[int, Rate]) -> str:
    """Share of searches with the right person among the first r candidates.

    Args:
        rates: float (R,), at ranks 1 … R, R at least 1.
        ranks: the ranks with intervals.
    """
    last = max(len(rates), 2)
    known = {rank: rate for rank, rate in ranks.items() if rate.value is not None and rank <= last}
    lows = [rate.low for rate in known.values() if rate.low is not None]
    frame = Frame(
        "cmc",
        counting("Rank (candidates looked at)", 1, last),
        _high_share("Right person among them", [*rates, *lows]),
    )
    marks = [frame.curve(np.arange(1.0, len(rates) + 1), np.asarray(rates), "mated")]
    for rank, rate in known.items():
        marks += _with_interval(frame, float(rank), rate, "mated")
    says = "; ".join(f"rank {rank}: {rate.value:.2%}" for rank, rate in known.items())
    return frame.document("CMC: identification rate over rank", f"{says}." if says else "", marks)


def open_set_det(lines: Sequence[Line], points: Sequence[OpenSetPoint], floor: float) -> str:
    """FNIR over FPIR on normal-deviate axes, one line a gallery size.

    Args:
        lines: FPIR and FNIR a gallery size, the smallest first; five at most are drawn.
        points: the asked operating points of the whole gallery.
        floor: the smallest FPIR that the data supports.
    """
    shown = spaced(lines)
    hues = [f"s{hue}" for hue in _hues(len(shown))]
    keys = tuple(Key(line.label, hue) for line, hue in zip(shown, hues, strict=True))
    frame = Frame(
        "fnir",
        normal_deviate("False positive identification rate"),
        normal_deviate("False negative identification rate"),
        keys,
    )
    drawn: list[str] = []
    for line, hue in zip(shown, hues, strict=True):
        drawn += _drawn(frame, line, hue, floor)
    marks = [frame.unsupported(floor, _TOO_FEW), _or_note(frame, "\n".join(filter(None, drawn)))]
    for point in points:
        marks += _with_interval(frame, point.asked, point.fnir, f"s{HUES}")
    says = "; ".join(
        f"at {percent(point.asked)} of strangers taken for somebody, {percent(point.fnir.value)}"
        for point in points
        if point.fnir.value is not None
    )
    return frame.document(
        "Open-set DET: FNIR over FPIR by gallery size",
        f"Share of enrolled people not found: {says or 'no rate is supported'}.",
        marks,
    )


def by_size(sizes: Sequence[GallerySize]) -> str:
    """FNIR over the number of enrolled people, one line an asked FPIR.

    Args:
        sizes: two at least, the smallest first.
    """
    asked = [point.asked for point in sizes[-1].points]
    lines = [_over_sizes(sizes, number, rate) for number, rate in enumerate(asked)]
    kept = spaced([line for line in lines if len(line.xs)])
    hues = [f"s{hue}" for hue in _hues(len(kept))]
    top = max((float(line.ys.max()) for line in kept), default=0.0)
    frame = Frame(
        "sizes",
        measured("People enrolled", [size.people for size in sizes]),
        linear("Enrolled people not found", 0.0, min(max(top * 1.2, 0.01), 1.0), percent),
        tuple(Key(line.label, hue) for line, hue in zip(kept, hues, strict=True)),
    )
    marks: list[str] = []
    for line, hue in zip(kept, hues, strict=True):
        marks += _drawn(frame, line, hue, 0.0)
    return frame.document(
        "FNIR over gallery size", "Share of enrolled people not found, by gallery size.", marks
    )


def reliability(check: Reliability) -> str:
    """What share is mated where a probability was promised; the size of a dot is its weight.

    Args:
        check: the check on held-out people.
    """
    frame = Frame(
        "reliability",
        linear("Probability that was stated", 0.0, 1.0, percent),
        linear("Share that was the same person", 0.0, 1.0, percent),
    )
    marks = [frame.guide((0.0, 1.0), (0.0, 1.0))]
    filled = np.flatnonzero(check.weight > 0)
    xs, ys = check.predicted[filled], check.observed[filled]
    for x, y, weight in zip(xs.tolist(), ys.tolist(), check.weight[filled].tolist(), strict=True):
        says = f"stated {percent(x)}, found {percent(y)}: {percent(weight)} of the comparisons"
        marks.append(frame.dot(x, y, "mated", says, 3.0 + 8.0 * math.sqrt(weight)))
    return frame.document(
        "Reliability of the probabilities",
        f"Stated and found differ by {percent(check.ece)} on average.",
        marks,
    )


def spaced(lines: Sequence[Line]) -> list[Line]:
    """At most five lines, the first and the last among them."""
    if len(lines) <= HUES:
        return list(lines)
    places = np.linspace(0, len(lines) - 1, HUES).round().astype(int)
    return [lines[place] for place in places]


def _hues(count: int) -> list[int]:
    """Hues of lines in an order of size: the last is the strongest."""
    return list(range(HUES - count + 1, HUES + 1)) if count != 2 else [3, HUES]


def _over_sizes(sizes: Sequence[GallerySize], number: int, asked: float) -> Line:
    """FNIR at one asked FPIR over the gallery sizes that support it."""
    found = [
        (float(size.people), size.points[number].fnir.value)
        for size in sizes
        if number < len(size.points)
    ]
    known = [(people, value) for people, value in found if value is not None]
    xs, ys = [people for people, _ in known], [value for _, value in known]
    return Line(f"FPIR {percent(asked)}", np.array(xs), np.array(ys), dotted=True)


def _drawn(frame: Frame, line: Line, hue: str, floor: float) -> list[str]:
    """A line from `floor` on, with its dots where it has them."""
    marks = [frame.curve(*_from(floor, line.xs, line.ys), hue)]
    if line.dotted:
        marks += [
            frame.dot(x, y, hue, f"{line.label}: {percent(y)}")
            for x, y in zip(line.xs.tolist(), line.ys.tolist(), strict=True)
            if x >= floor
        ]
    return marks


def _from(floor: float, xs: Floats, ys: Floats) -> tuple[Floats, Floats]:
    """A curve from `floor` on: rates of one threshold, so the step before it is kept level.

    Args:
        floor: the smallest x.
        xs: float64 (L,), rising.
        ys: float64 (L,).

    Returns:
        float64 (M,) each; M ≤ L + 1.
    """
    start = int(np.searchsorted(xs, floor, side="left"))
    if start == 0 or start == len(xs) or xs[start] == floor:
        return xs[start:], ys[start:]
    return np.insert(xs[start:], 0, floor), np.insert(ys[start:], 0, ys[start - 1])


def _high_share(title: str, values: Sequence[float]) -> Axis:
    """An axis of shares up to 1 that starts at the round value below the smallest one shown."""
    smallest = min(values, default=0.0)
    low = next(start for start in _FLOORS if start <= max(smallest, 0.0))
    return linear(title, low, 1.0, percent)


def _or_note(frame: Frame, line: str) -> str:
    """A line; where nothing of it lies in the plot, words that say so."""
    left, top, right, bottom = frame.box
    return line or frame.note((left + right) / 2, (top + bottom) / 2, _OUTSIDE, "middle")


def _with_interval(
    frame: Frame, x: float, rate: Rate, hue: str, *, complement: bool = False
) -> list[str]:
    """A dot at a rate (or at 1 − rate) with its 95 % interval."""
    if rate.value is None:
        return []
    ends = [rate.value if end is None else end for end in (rate.low, rate.high)]
    value, low, high = rate.value, *ends
    if complement:
        value, low, high = 1.0 - value, 1.0 - high, 1.0 - low
    says = f"{percent(value)}, 95 % interval {percent(low)} to {percent(high)}"
    return [frame.interval(x, low, high, hue), frame.dot(x, value, hue, says)]


def _thinned(histogram: Histogram) -> tuple[Floats, Floats, Floats]:
    """The filled part of a histogram in at most `_BINS` bins, as shares of each kind.

    Returns:
        Edges float64 (B + 1,), mated and non-mated float64 (B,).
    """
    filled = np.flatnonzero(histogram.mated + histogram.nonmated)
    if len(filled) == 0:
        return np.array([-1.0, 1.0]), np.zeros(1), np.zeros(1)
    join = math.ceil((filled[-1] - filled[0] + 1) / _BINS)
    last = min(filled[0] + join * math.ceil((filled[-1] - filled[0] + 1) / join),
               len(histogram.mated))  # fmt: skip
    starts = np.arange(filled[0], last, join)
    edges = histogram.edges[np.append(starts, last)]
    shares = [
        np.add.reduceat(counts[:last], starts) / max(int(counts.sum()), 1)
        for counts in (histogram.mated, histogram.nonmated)
    ]
    return edges, shares[0], shares[1]


def _marked(frame: Frame, threshold: float, label: str) -> list[str]:
    """An upright line at a threshold, and its name on the roomier side."""
    left, top, right, _ = frame.box
    x = float(frame.across([threshold])[0])
    line = frame.curve([threshold, threshold], [frame.y.low, frame.y.high], "mark")
    if x > (left + right) / 2:
        return [line, frame.note(x - 7, top + 13, label, "end")]
    return [line, frame.note(x + 7, top + 13, label)]


def _plain(value: float) -> str:
    return f"{value:g}".replace("-", "−")
