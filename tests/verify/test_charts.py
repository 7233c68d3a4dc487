"""Charts against coordinates that are known another way."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from scipy.stats import norm

from verify import charts
from verify.chart_axes import (
    DET_TICKS,
    clipped,
    counting,
    linear,
    logarithmic,
    measured,
    normal_deviate,
    power_of_ten,
    probit,
    round_values,
)
from verify.chart_svg import Frame, Key
from verify.charts import Line, percent, spaced
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

NOTHING = Rate(None, None, None, 0, 0, 0)


def rate(value: float, low: float, high: float) -> Rate:
    return Rate(value, low, high, 9, 900, 300)


def normal_curve(count: int = 500) -> Curve:
    """Mated N(2, 1), non-mated N(0, 1): on normal-deviate axes a straight line of slope −1."""
    thresholds = np.concatenate([[np.inf], np.linspace(6, -4, count), [-np.inf]])
    return Curve(thresholds, norm.sf(thresholds), norm.cdf(thresholds - 2.0))


def points() -> tuple[OperatingPoint, ...]:
    whole = OperatingPoint(0.1, 1.28, rate(0.1, 0.09, 0.11), rate(0.2358, 0.2, 0.27))
    return whole, OperatingPoint(1e-6, None, NOTHING, NOTHING)


def numbers(path: str) -> np.ndarray:
    return np.array(re.findall(r"-?[\d.]+ -?[\d.]+", path.replace("M", " ").replace("L", " ")))


def tree(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314  # our own text


def places(svg: str, kind: str) -> list[np.ndarray]:
    """The points of every path of a class, (L, 2) each."""
    root = tree(svg)
    found = [e.get("d", "") for e in root.iter("path") if e.get("class") == kind]
    return [np.array([[float(v) for v in pair.split()] for pair in numbers(d)]) for d in found]


@pytest.mark.parametrize("value", [1e-9, 1e-4, 0.02425, 0.05, 0.3, 0.5, 0.9, 0.9999])
def test_probit_is_scipys_normal_quantile(value):
    assert probit(value) == pytest.approx(norm.ppf(value), abs=1e-9)


def test_rates_of_0_and_1_have_no_deviate():
    assert probit(0.0) == -np.inf
    assert probit(1.0) == np.inf


def test_ticks_of_a_normal_deviate_axis_stand_where_scipy_says():
    axis = normal_deviate("x")
    first, last = norm.ppf(0.0001), norm.ppf(0.4)
    expected = 70 + (norm.ppf(DET_TICKS) - first) / (last - first) * 400
    np.testing.assert_allclose(axis.place(DET_TICKS, 70, 470), expected, atol=1e-9)
    labels = [label.replace("\xa0", " ") for _, label in axis.ticks]
    assert labels == ["0.01 %", "0.1 %", "1 %", "5 %", "20 %", "40 %"]


def test_a_logarithmic_axis_gives_each_power_of_ten_the_same_room():
    axis = logarithmic("x", 1e-4)
    values = [value for value, _ in axis.ticks]
    assert values == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    np.testing.assert_allclose(axis.place(values, 0, 400), [0, 100, 200, 300, 400], atol=1e-9)
    assert [label for _, label in axis.ticks] == ["10⁻⁴", "10⁻³", "10⁻²", "0.1", "1"]
    assert power_of_ten(-12) == "10⁻¹²"
    assert len(logarithmic("x", 1e-9).ticks) == 5


@pytest.mark.parametrize("zero", [0.0, -0.1])
def test_values_without_a_place_go_far_outside_and_stay_finite(zero):
    assert logarithmic("x", 1e-3).place([zero], 0, 100)[0] == -1e5
    assert normal_deviate("x").place([0.0, 1.0], 100, 0).tolist() == [1e5, -1e5]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.9, 1.0, [0.9, 0.92, 0.94, 0.96, 0.98, 1.0]),
        (-0.35, 1.0, [0.0, 0.5, 1.0]),
        (0.0, 0.118, [0.0, 0.025, 0.05, 0.075, 0.1]),
    ],
)
def test_round_values(low, high, expected):
    assert round_values(low, high) == pytest.approx(expected)


def test_axes_of_counts():
    assert [value for value, _ in counting("x", 1, 100).ticks] == [1, 2, 5, 10, 20, 50, 100]
    assert [label for _, label in counting("x", 500, 2000).ticks] == ["500", "1,000", "2,000"]
    assert [label for _, label in measured("x", [50, 100, 1000, 1100]).ticks] == [
        "50", "100", "1,100",
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_clipping_keeps_what_a_dense_walk_finds_inside(seed):
    random = np.random.default_rng(seed)
    xs, ys = random.uniform(-30, 130, (2, 8))
    box = (0.0, 10.0, 100.0, 90.0)
    length = sum(
        float(np.hypot(*np.diff(np.array(run), axis=0).T).sum()) for run in clipped(xs, ys, box)
    )
    steps = np.linspace(0, 1, 20_001)[:, None]
    expected = 0.0
    for a, b in zip(range(7), range(1, 8), strict=True):
        walk = np.array([xs[a], ys[a]]) * (1 - steps) + np.array([xs[b], ys[b]]) * steps
        inside = (walk >= [0, 10]).all(axis=1) & (walk <= [100, 90]).all(axis=1)
        expected += inside.mean() * np.hypot(xs[b] - xs[a], ys[b] - ys[a])
    assert length == pytest.approx(expected, abs=0.15)


def test_a_line_that_leaves_and_comes_back_is_two_runs():
    box = (0.0, 0.0, 10.0, 10.0)
    runs = clipped(np.array([1.0, 5.0, 9.0]), np.array([5.0, 25.0, 5.0]), box)
    assert [(run[0], run[-1]) for run in runs] == [
        ((1.0, 5.0), (2.0, 10.0)), ((8.0, 10.0), (9.0, 5.0)),
    ]  # fmt: skip
    assert clipped(np.array([20.0, 30.0]), np.array([1.0, 1.0]), box) == []


def test_two_normal_distributions_are_a_straight_falling_line_on_the_det():
    svg = charts.det(normal_curve(), Estimate(float(norm.sf(1.0))), 1e-9)
    (line,) = places(svg, "curve mated")
    assert (np.diff(line[:, 0]) >= 0).all()
    assert (np.diff(line[:, 1]) >= 0).all()  # down the page
    slope, start = np.polyfit(line[:, 0], line[:, 1], 1)
    assert np.abs(line[:, 1] - (slope * line[:, 0] + start)).max() < 1.0
    dot = tree(svg).find("circle")
    assert dot is not None
    frame = Frame("f", normal_deviate(""), normal_deviate(""))
    left, top, right, bottom = frame.box
    share = (norm.ppf(norm.sf(1.0)) - norm.ppf(1e-4)) / (norm.ppf(0.4) - norm.ppf(1e-4))
    assert float(str(dot.get("cx"))) == pytest.approx(left + share * (right - left), abs=0.06)
    assert float(str(dot.get("cy"))) == pytest.approx(bottom - share * (bottom - top), abs=0.06)


def test_a_curve_never_leaves_its_plot():
    for svg in (charts.roc(normal_curve(), points(), 1e-3), charts.det(
        normal_curve(), Estimate(None), 1e-3)):  # fmt: skip
        left, top, right, bottom = Frame("f", normal_deviate(""), normal_deviate("")).box
        for line in places(svg, "curve mated"):
            assert line[:, 0].min() >= left - 0.05
            assert line[:, 0].max() <= right + 0.05
            assert line[:, 1].min() >= top - 0.05
            assert line[:, 1].max() <= bottom + 0.05


@pytest.mark.parametrize("floor", [0.05, 3e-3, 2e-5])
def test_nothing_is_drawn_below_the_supported_rate(floor):
    svg = charts.roc(normal_curve(), points(), floor)
    (line,) = places(svg, "curve mated")
    axis = logarithmic("", 10.0 ** np.floor(np.log10(floor)))
    left, _, right, _ = Frame("f", axis, axis).box
    assert line[0, 0] == pytest.approx(float(axis.place([floor], left, right)[0]), abs=0.06)
    assert 'class="void"' in svg


def test_the_roc_rises_and_its_dots_show_supported_points_only():
    svg = charts.roc(normal_curve(), points(), 1e-4)
    (line,) = places(svg, "curve mated")
    assert (np.diff(line[:, 0]) >= 0).all()
    assert (np.diff(line[:, 1]) <= 0).all()  # up the page
    root = tree(svg)
    assert len(root.findall("circle")) == 1
    assert "76.4" in str(root.findtext("desc"))


def test_a_curve_without_points_gives_a_chart_without_a_line():
    empty = Curve(np.zeros(0), np.zeros(0), np.zeros(0))
    svg = charts.roc(empty, (), 0.1)
    assert places(svg, "curve mated") == []
    assert "no rate is supported" in svg


def test_a_curve_without_an_error_in_range_says_so():
    perfect = Curve(np.array([np.inf, 0.5, -np.inf]), np.array([0, 0, 1.0]), np.array([1.0, 0, 0]))
    line = Line("9 people", perfect.false_accepts, perfect.false_rejects)
    for svg in (charts.det(perfect, Estimate(0.0), 0.01), charts.open_set_det([line], (), 0.01)):
        assert "no error seen in this range" in svg
    assert "no error seen" not in charts.det(normal_curve(), Estimate(None), 0.01)


def test_a_histogram_has_the_area_of_both_kinds():
    edges = np.linspace(-1, 1, 201)
    mated, nonmated = np.zeros((2, 200), dtype=np.int64)
    mated[150:160], nonmated[90:130] = 5, 1000
    svg = charts.similarities(Histogram(edges, mated, nonmated), 0.2, "threshold")
    outlines = [places(svg, f"area {kind}")[0] for kind in ("mated", "nonmated")]
    left, _, right, bottom = Frame("f", normal_deviate(""), normal_deviate(""), (
        Key("a", ""), Key("b", ""))).box  # fmt: skip
    areas = [float(((bottom - o[:-1, 1]) * np.diff(o[:, 0])).sum()) for o in outlines]
    assert areas[0] == pytest.approx(areas[1], rel=0.02)
    (mark,) = places(svg, "curve mark")
    assert mark[0, 0] == pytest.approx(left + (0.2 + 0.1) / 0.7 * (right - left), abs=0.06)


@pytest.mark.parametrize("threshold", [None, 0.9, -0.9, np.inf])
def test_a_threshold_outside_the_similarities_is_not_marked(threshold):
    counts = np.zeros(200, dtype=np.int64)
    counts[100:120] = 3
    histogram = Histogram(np.linspace(-1, 1, 201), counts, counts)
    assert places(charts.similarities(histogram, threshold, "t"), "curve mark") == []


def test_empty_histograms_and_one_rank_are_drawn():
    none = np.zeros(4, dtype=np.int64)
    empty = charts.similarities(Histogram(np.linspace(-1, 1, 5), none, none), None, "")
    single = charts.cmc((0.5,), {1: rate(0.5, 0.4, 0.6), 5: rate(1.0, 1.0, 1.0)})
    for svg in (empty, single):
        assert len(list(tree(svg).iter())) > 10, "axes at the least"
        assert "nan" not in svg
        assert "inf" not in svg


def test_a_cmc_rises_from_rank_1_at_the_left_edge():
    svg = charts.cmc((0.91, 0.95, 0.97, 1.0), {1: rate(0.91, 0.9, 0.92)})
    (line,) = places(svg, "curve mated")
    left, top, right, bottom = Frame("f", normal_deviate(""), normal_deviate("")).box
    np.testing.assert_allclose(
        line[:, 0], left + np.log([1, 2, 3, 4]) / np.log(4) * (right - left), atol=0.06
    )
    expected = bottom - (np.array([0.91, 0.95, 0.97, 1.0]) - 0.9) / 0.1 * (bottom - top)
    np.testing.assert_allclose(line[:, 1], expected, atol=0.06)


def test_open_set_lines_have_a_legend_and_one_hue_each():
    curve = normal_curve()
    lines = [Line(f"{n} people", curve.false_accepts, curve.false_rejects) for n in range(1, 9)]
    point = OpenSetPoint(0.01, 2.3, rate(0.01, 0.005, 0.02), rate(0.06, 0.05, 0.07))
    root = tree(charts.open_set_det(lines, (point,), 1e-3))
    keys = [element.text for element in root.iter("text") if element.get("class") == "key"]
    assert keys[0] == "1 people"
    assert keys[-1] == "8 people"
    assert len(keys) == 5
    for hue in range(1, 6):
        kinds = [e for e in root.iter("path") if e.get("class") == f"curve s{hue}"]
        assert len(kinds) == 2  # the line and its key
    assert [line.label for line in spaced(lines[:3])] == ["1 people", "2 people", "3 people"]


def test_rates_by_size_leave_out_what_is_not_supported():
    def size(people: int, fnir: Rate) -> GallerySize:
        open_points = (
            OpenSetPoint(0.003, None, NOTHING, NOTHING),
            OpenSetPoint(0.01, 0.4, rate(0.01, 0.0, 0.1), fnir),
        )
        return GallerySize(people, people, rate(0.9, 0.8, 1.0), open_points)

    sizes = [size(10, rate(0.02, 0.01, 0.03)), size(100, NOTHING), size(1000, rate(0.04, 0, 1))]
    root = tree(charts.by_size(sizes))
    keys = [element.text for element in root.iter("text") if element.get("class") == "key"]
    assert keys == ["FPIR 1\xa0%"]
    assert len(root.findall("circle")) == 2


def test_reliability_dots_stand_at_what_was_stated_and_found():
    weight = np.array([0.5, 0.0, 0.5])
    check = Reliability(9, np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.0, 0.8]), weight, 0.1, 0.1)
    dots = tree(charts.reliability(check)).findall("circle")
    left, top, right, bottom = Frame("f", normal_deviate(""), normal_deviate("")).box
    assert len(dots) == 2  # the empty bin has none
    assert float(str(dots[0].get("cx"))) == pytest.approx(left + 0.1 * (right - left), abs=0.06)
    assert float(str(dots[0].get("cy"))) == pytest.approx(bottom - 0.2 * (bottom - top), abs=0.06)


def test_words_in_a_chart_are_escaped():
    nasty = '<b> & "x"'
    axis = linear(nasty, 0.0, 1.0, percent)
    frame = Frame("n", axis, axis, (Key(nasty, "s1"),))
    marks = [frame.dot(0.5, 0.5, "s1", nasty), frame.note(1, 2, nasty)]
    root = tree(frame.document(nasty, nasty, marks))
    assert [root.findtext("title"), root.findtext("desc")] == [nasty, nasty]
    assert [e.text for e in root.iter("text")].count(nasty) == 4


def test_a_legend_breaks_into_rows_and_the_plot_makes_room():
    axis = linear("", 0.0, 1.0, percent)
    keys = tuple(Key(f"{n},000,000 people", "s1") for n in range(1, 6))
    assert Frame("f", axis, axis, keys).box[1] > Frame("f", axis, axis, keys[:1]).box[1]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0 %"), (1.0, "100 %"), (0.99999, "99.99 %"), (0.9942, "99.42 %"), (0.016, "1.6 %"),
        (0.01634, "1.63 %"), (0.1234, "12.3 %"), (0.001, "0.1 %"), (0.00123, "0.12 %"),
        (1e-6, "0.0001 %"), (0.2, "20 %"), (0.09999, "10 %"),
    ],
)  # fmt: skip
def test_percent(value, shown):
    assert percent(value).replace("\xa0", " ") == shown
