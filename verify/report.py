"""The report of an evaluation: one HTML page that needs nothing but itself.

`write_report` puts figures, words, charts (`verify.charts`) and pictures (`verify.chart_pictures`)
into `data/report.html`. The page follows the reader's light or dark scheme, runs no script and
asks the network for nothing; its Content-Security-Policy forbids both.

Words say what a figure means for a site: how many strangers pass, how many genuine users are
turned away. Where the data is too small for a figure, the page says so instead of showing one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from embedder.weights import write_atomically
from verify import charts
from verify.chart_pictures import Pair, ending, pairs
from verify.charts import Line, percent
from verify.evaluation import (
    UNSUPPORTED,
    ClusteringResult,
    Curve,
    Estimate,
    GallerySize,
    Histogram,
    IdentificationResult,
    OpenSetPoint,
    OperatingPoint,
    Rate,
    Ratio,
    Setup,
    VerificationResult,
)
from verify.probability import Reliability

Result = VerificationResult | IdentificationResult | ClusteringResult

HEADLINE_FMR = 1e-3
HEADLINE_FPIR = 1e-2
_SHOWN_PAIRS = 24
_SHOWN_FILES = 200


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the key figures at the head of the page.

    Attributes:
        label: what it is.
        value: the number.
        note: its interval or what it is out of.
    """

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart and how to read it.

    Attributes:
        title: its heading.
        svg: the drawing.
        reading: a sentence or two below it.
    """

    title: str
    svg: str
    reading: str


@dataclass(frozen=True, slots=True)
class Wall:
    """Pairs of pictures under a heading.

    Attributes:
        title: the heading.
        reading: what they are.
        pairs: the pictures, the worst first.
        hidden: how many more the result has.
    """

    title: str
    reading: str
    pairs: Sequence[Pair]
    hidden: int


@dataclass(frozen=True, slots=True)
class Page:
    """What the template shows.

    Attributes:
        title: the heading.
        summary: the result in words, the first sentence large.
        figures: the key figures.
        charts: the charts.
        walls: the pictures.
        failures: what became of photos without a vector, in words.
        unsupported: why some rates are not, in words; empty where all are.
        facts: provenance, (what, value).
    """

    title: str
    summary: tuple[str, ...]
    figures: tuple[Figure, ...]
    charts: tuple[Chart, ...]
    walls: tuple[Wall, ...]
    failures: str
    unsupported: str
    facts: tuple[tuple[str, str], ...]


def write_report(result: Result, path: Path, *, reliability: Reliability | None = None) -> None:
    """Write the report of an evaluation as one HTML file.

    Args:
        result: what was found.
        path: the file, replaced where it exists.
        reliability: the check of the probabilities that the calibration in force states; None
            where it states none.

    Raises:
        OSError: the file cannot be written.
    """
    write_atomically(path, report(result, reliability).encode())


def report(result: Result, reliability: Reliability | None = None) -> str:
    """The page as text.

    Args:
        result: what was found.
        reliability: as in `write_report`.
    """
    from jinja2 import Environment, StrictUndefined

    text = (resources.files("verify") / "data" / "report.html").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters |= {
        "percent": percent,
        "ending": ending,
        "similarity": _similarity,
        "share": share,
        "interval": interval,
        "one_in": one_in,
        "ratio_words": ratio_words,
    }
    template = environment.from_string(text)
    return template.render(page=_page(result, reliability), result=result, files=_SHOWN_FILES)


def _page(result: Result, reliability: Reliability | None) -> Page:
    if isinstance(result, VerificationResult):
        return _verification(result, reliability)
    if isinstance(result, IdentificationResult):
        return _identification(result, reliability)
    return _clustering(result)


def _verification(result: VerificationResult, reliability: Reliability | None) -> Page:
    point = headline_point(result.points, HEADLINE_FMR)
    return Page(
        title=f"Verification on {result.setup.data}",
        summary=(_verification_words(result, point), _failure_words(result)),
        figures=_verification_figures(result, point),
        charts=(*_verification_charts(result, point), *reliability_chart(reliability)),
        walls=(
            _wall(
                "Worst false matches: the most similar strangers",
                "Two people each, and the highest similarities of all: the first to pass as one "
                "person where the threshold falls.",
                result.false_matches,
            ),
            _wall(
                "Worst false non-matches: the least similar photos of one person",
                "One person each, and the lowest similarities: the first to be turned away.",
                result.false_non_matches,
            ),
        ),
        failures=_failure_words(result),
        unsupported=_too_small([(p.asked, p.fmr) for p in result.points], "pairs of people"),
        facts=_facts(
            result,
            ("People", f"{result.people:,}"),
            ("Comparisons", f"{result.mated:,} of one person, {result.nonmated:,} of two people"),
        ),
    )


def _verification_words(result: VerificationResult, point: OperatingPoint | None) -> str:
    if point is None or point.threshold is None:
        return (
            f"{result.person_pairs:,} pairs of people and {result.mated_people:,} people with two "
            "photos are too few to state an error rate."
        )
    return (
        f"{strangers_pass(point.fmr)}; {genuine_turned_away(point.fnmr)}: that is what a threshold "
        f"of {_similarity(point.threshold)} gives, for an asked false-match rate of "
        f"{percent(point.asked)}."
    )


def _verification_figures(
    result: VerificationResult, point: OperatingPoint | None
) -> tuple[Figure, ...]:
    at = percent(HEADLINE_FMR if point is None else point.asked)
    missed = None if point is None else point.fnmr
    accuracy = result.accuracy
    return (
        Figure(f"FNMR at FMR {at}", share(missed), interval(missed)),
        Figure("Equal error rate", _estimate(result.eer), _estimate_ends(result.eer)),
        Figure(
            "Accuracy",
            UNSUPPORTED if accuracy is None else percent(accuracy.mean),
            "" if accuracy is None else _folds(accuracy.folds, accuracy.std),
        ),
        _failed_figure(result),
        Figure("People", f"{result.people:,}", f"{result.person_pairs:,} pairs of people"),
    )


def _verification_charts(
    result: VerificationResult, point: OperatingPoint | None
) -> tuple[Chart, ...]:
    floor = _floor([known.fmr for known in result.points], result.person_pairs)
    return verification_charts(
        result.curve, result.points, result.eer, result.histogram, point, floor
    )


def verification_charts(
    curve: Curve,
    points: Sequence[OperatingPoint],
    eer: Estimate,
    histogram: Histogram,
    point: OperatingPoint | None,
    floor: float,
) -> tuple[Chart, ...]:
    """ROC, DET and similarities; the last alone where there is no curve.

    Args:
        curve: FMR and FNMR over thresholds.
        points: the asked operating points.
        eer: the equal error rate.
        histogram: of the similarities.
        point: the operating point whose threshold is marked, or None.
        floor: the smallest FMR that the data supports.
    """
    found = [_histogram_chart(histogram, point)]
    if len(curve.thresholds) == 0:
        return tuple(found)
    return (
        Chart(
            "ROC",
            charts.roc(curve, points, floor),
            "How many genuine comparisons match, when strangers may match this often. Higher is "
            "better; dots have 95 % intervals. Grey: the data is too small for rates this low.",
        ),
        Chart(
            "DET",
            charts.det(curve, eer, floor),
            "Both errors on normal-deviate axes. Lower left is better; the dot on the diagonal is "
            "the equal error rate.",
        ),
        *found,
    )


def _histogram_chart(histogram: Histogram, point: OperatingPoint | None) -> Chart:
    threshold = None if point is None else point.threshold
    label = "" if point is None else f"threshold, FMR {percent(point.asked)}"
    return Chart(
        "Similarities",
        charts.similarities(histogram, threshold, label),
        "How alike photos of one person and of different people are. The less both hills overlap, "
        "the fewer errors; left of the threshold nobody passes.",
    )


def _identification(result: IdentificationResult, reliability: Reliability | None) -> Page:
    point = headline_point(result.points, HEADLINE_FPIR)
    return Page(
        title=f"Identification on {result.setup.data}",
        summary=(_identification_words(result, point), _failure_words(result)),
        figures=_identification_figures(result, point),
        charts=(*_identification_charts(result), *reliability_chart(reliability)),
        walls=(
            _wall(
                "Worst false positives: strangers most like somebody enrolled",
                "A stranger's photo and the enrolled photo nearest to it: the first to be taken "
                "for somebody.",
                result.false_positives,
            ),
            _wall(
                "Worst misses: enrolled people taken for somebody else",
                "The photo searched for and the enrolled photo that came first.",
                result.misses,
            ),
        ),
        failures=_failure_words(result),
        unsupported=_too_small([(p.asked, p.fpir) for p in result.points], "strangers"),
        facts=_facts(
            result,
            ("Enrolled", f"{result.gallery_people:,} people, {result.gallery_photos:,} photos"),
            ("Searches", f"{result.mated:,} of enrolled people, {result.strangers:,} of strangers"),
        ),
    )


def _identification_words(result: IdentificationResult, point: OpenSetPoint | None) -> str:
    if point is None or point.threshold is None:
        return (
            f"{result.strangers:,} searches of {result.stranger_people:,} strangers are too few to "
            "state how often a stranger is taken for somebody."
        )
    return (
        f"{strangers_named(point.fpir)}; {enrolled_missed(point.fnir)}: with "
        f"{result.gallery_people:,} people enrolled, at the threshold "
        f"{_similarity(point.threshold)}."
    )


def _identification_figures(
    result: IdentificationResult, point: OpenSetPoint | None
) -> tuple[Figure, ...]:
    at = percent(HEADLINE_FPIR if point is None else point.asked)
    missed, first = None if point is None else point.fnir, result.ranks.get(1)
    return (
        Figure(f"FNIR at FPIR {at}", share(missed), interval(missed)),
        Figure("Right at rank 1", share(first), interval(first)),
        _failed_figure(result),
        Figure("Enrolled", f"{result.gallery_people:,}", f"{result.gallery_photos:,} photos"),
        Figure("Strangers", f"{result.stranger_people:,}", f"{result.strangers:,} searches"),
    )


def _identification_charts(result: IdentificationResult) -> tuple[Chart, ...]:
    found = []
    if result.curve is not None and len(result.curve.thresholds):
        floor = _floor([known.fpir for known in result.points], result.stranger_people)
        found.append(
            Chart(
                "Enrolled people missed, strangers named",
                charts.open_set_det(_lines(result, result.curve), result.points, floor),
                "Open-set errors on normal-deviate axes, by the number of people enrolled. Lower "
                "left is better; bars are 95 % intervals. Grey: too few strangers for rates this "
                "low.",
            )
        )
    if len({size.people for size in result.sizes}) > 1 and result.strangers:
        found.append(
            Chart(
                "With the size of the gallery",
                charts.by_size(result.sizes),
                "Share of enrolled people not found, when so many strangers may be taken for "
                "somebody (FPIR).",
            )
        )
    if result.cmc:
        found.append(
            Chart(
                "CMC",
                charts.cmc(result.cmc, result.ranks),
                "How often the right person is among the first candidates of the list, with no "
                "threshold.",
            )
        )
    return tuple(found)


def _lines(result: IdentificationResult, curve: Curve) -> list[Line]:
    """FNIR over FPIR of each gallery size: the points of smaller ones, the curve of the whole."""
    smaller = [_points_of(size) for size in result.sizes if size.people < result.gallery_people]
    whole = Line(f"{result.gallery_people:,} people", curve.false_accepts, curve.false_rejects)
    return [*(line for line in smaller if len(line.xs)), whole]


def _points_of(size: GallerySize) -> Line:
    known = [
        (point.asked, point.fnir.value) for point in size.points if point.fnir.value is not None
    ]
    xs, ys = [asked for asked, _ in known], [fnir for _, fnir in known]
    return Line(f"{size.people:,} people", np.array(xs), np.array(ys), dotted=True)


def _clustering(result: ClusteringResult) -> Page:
    agreement = result.agreement
    pure, whole = agreement.bcubed.precision, agreement.bcubed.recall
    words = (
        f"Of the photos beside a photo in its cluster, {percent(pure)} show the same person; of a "
        f"person's photos, {percent(whole)} are found together."
    )
    counts = (
        f"{result.photos:,} photos of {agreement.true:,} people gave {agreement.found:,} clusters "
        f"by {result.method}."
    )
    return Page(
        title=f"Clustering on {result.setup.data}",
        summary=(words, f"{counts} {_failure_words(result)}"),
        figures=(
            Figure("BCubed F", percent(agreement.bcubed.f), "both in one figure"),
            Figure("BCubed precision", percent(pure), "clusters are pure"),
            Figure("BCubed recall", percent(whole), "people are whole"),
            Figure("Clusters", f"{agreement.found:,}", f"{agreement.true:,} people in truth"),
            _failed_figure(result),
        ),
        charts=(),
        walls=(
            _wall(
                "Worst merges",
                "Two people in one cluster, the least alike first: what should not have been "
                "joined.",
                result.merges,
            ),
            _wall(
                "Worst splits",
                "One person in two clusters, the most alike first: what should have been joined.",
                result.splits,
            ),
        ),
        failures=_failure_words(result),
        unsupported="",
        facts=_facts(result, ("Method", result.method), ("Judged", f"{result.photos:,} photos")),
    )


def reliability_chart(check: Reliability | None) -> tuple[Chart, ...]:
    """The chart of a check of probabilities; none where there is no check."""
    if check is None:
        return ()
    return (
        Chart(
            "Reliability",
            charts.reliability(check),
            f"What was true where the calibration stated a probability, on {check.people:,} people "
            "it had not seen. On the diagonal it keeps its word; small dots rest on few "
            f"comparisons. It is off by {percent(check.ece)} on average (Brier score "
            f"{check.brier:.3f}).",
        ),
    )


Point = TypeVar("Point", OperatingPoint, OpenSetPoint)


def headline_point(points: Sequence[Point], wanted: float) -> Point | None:
    """The supported operating point nearest to a rate; None where none is supported.

    Args:
        points: the asked rates.
        wanted: the rate.
    """
    known = [point for point in points if _supported(point)]
    return min(known, key=lambda p: abs(math.log(p.asked / wanted)), default=None)


def _supported(point: OperatingPoint | OpenSetPoint) -> bool:
    rates = (
        (point.fmr, point.fnmr) if isinstance(point, OperatingPoint) else (point.fpir, point.fnir)
    )
    return point.threshold is not None and all(rate.supported for rate in rates)


def _floor(rates: Iterable[Rate], units: int) -> float:
    """The smallest false-accept rate to draw: 3 / independent units, the rule of three."""
    most = max((rate.units for rate in rates), default=0) or units
    return min(3.0 / max(most, 1), 0.1)


def _too_small(asked: Sequence[tuple[float, Rate]], what: str) -> str:
    """Why some of the asked rates are not supported; empty where all are."""
    missing = [rate for rate, found in asked if not found.supported]
    units = max((found.units for _, found in asked), default=0)
    if not missing:
        return ""
    return (
        f"{units:,} {what} cannot show a rate of {percent(max(missing))}; that takes about "
        f"{round(3 / max(missing)):,}, three divided by the rate."
    )


def strangers_pass(rate: Rate) -> str:
    """`Of 1,000 strangers, 1 passes`."""
    if rate.errors == 0 or not rate.value:
        return f"Of {rate.trials:,} comparisons with strangers, none passes"
    count, base = of_many(rate.value)
    return f"Of {base:,} strangers, {count:,} {'passes' if count == 1 else 'pass'}"


def genuine_turned_away(rate: Rate) -> str:
    """`of 1,000 genuine users, 16 are turned away`, with its interval."""
    if rate.errors == 0 or not rate.value:
        return f"of {rate.trials:,} genuine comparisons, none is turned away"
    count, base = of_many(rate.value)
    are = "is" if count == 1 else "are"
    return f"of {base:,} genuine users, {count:,} {are} turned away{_between(rate, base)}"


def strangers_named(rate: Rate) -> str:
    """`Of 100 strangers, 1 is taken for somebody`."""
    if rate.errors == 0 or not rate.value:
        return f"Of {rate.trials:,} searches of strangers, none names anybody"
    count, base = of_many(rate.value)
    are = "is" if count == 1 else "are"
    return f"Of {base:,} strangers, {count:,} {are} taken for somebody enrolled"


def enrolled_missed(rate: Rate) -> str:
    """`of 1,000 enrolled people, 31 are not found`, with its interval."""
    if rate.errors == 0 or not rate.value:
        return f"of {rate.trials:,} searches of enrolled people, none fails"
    count, base = of_many(rate.value)
    are = "is" if count == 1 else "are"
    return f"of {base:,} enrolled people, {count:,} {are} not found{_between(rate, base)}"


def of_many(rate: float) -> tuple[int, int]:
    """A rate as a count out of 1,000, or out of more where that would be less than one.

    Args:
        rate: above 0, at most 1.
    """
    base = 1000
    while rate * base < 0.95:
        base *= 10
    return round(rate * base), base


def _between(rate: Rate, base: int) -> str:
    if rate.low is None or rate.high is None:
        return ""
    return f" (95 % interval {rate.low * base:,.0f} to {rate.high * base:,.0f})"


def share(rate: Rate | None) -> str:
    """A rate as its page shows it: percent, `none seen` or `unsupported`."""
    if rate is None or rate.value is None:
        return UNSUPPORTED
    return "none seen" if rate.errors == 0 and rate.value == 0.0 else percent(rate.value)


def interval(rate: Rate | None) -> str:
    """The 95 % interval of a rate, or what is below it where no error was seen."""
    if rate is None or rate.value is None or rate.high is None or rate.low is None:
        return ""
    if rate.errors == 0:
        return f"at most {percent(rate.high)}"
    return f"{percent(rate.low)} to {percent(rate.high)}"


def one_in(rate: float) -> str:
    """`1 in 1,000`."""
    return f"1 in {round(1 / rate):,}"


def ratio_words(ratio: Ratio) -> str:
    """What a worst ratio says, in one sentence."""
    error = {"fmr": "False matches", "fnmr": "False non-matches"}[ratio.error]
    if ratio.highest is None or ratio.lowest is None:
        return f"{error}: too few people of at least two values to compare."
    sides = f"for {ratio.highest} as for {ratio.lowest}"
    sure = _sure(ratio.at_least)
    if ratio.ratio is None:
        return (
            f"{error}: most for {ratio.highest}, none seen for {ratio.lowest}, so no ratio.{sure}"
        )
    return f"{error} are {ratio.ratio:.1f} times as frequent {sides}.{sure}"


def _sure(at_least: float | None) -> str:
    if at_least is None:
        return ""
    if at_least <= 1.0:
        return " The intervals overlap: the data shows no difference."
    return f" The intervals support at least {at_least:.1f} times."


def _failure_words(result: Result) -> str:
    failures = result.failures
    if failures.failed == 0:
        return f"Every one of {failures.photos:,} photos gave a usable face."
    many = f"{failures.failed:,} of {failures.photos:,} photos gave no usable face"
    if failures.dropped:
        return f"{many}; they were left out of every rate here (--drop-failures)."
    if isinstance(result, ClusteringResult):
        return f"{many}; each counts as a cluster of its own."
    return f"{many} and count as errors, as they would at your site."


def _failed_figure(result: Result) -> Figure:
    failures = result.failures
    what = "left out" if failures.dropped else "counted"
    value = "none seen" if failures.photos else UNSUPPORTED
    if failures.failed:
        value = percent(failures.failed / failures.photos)
    note = f"{failures.failed:,} of {failures.photos:,} photos"
    return Figure("No usable face", value, note + (f", {what}" if failures.failed else ""))


def _wall(title: str, reading: str, examples: Sequence[Any]) -> Wall:
    shown = examples[:_SHOWN_PAIRS]
    return Wall(title, reading, pairs(shown), len(examples) - len(shown))


def _facts(result: Result, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    setup = result.setup
    failed = "left out of the rates (--drop-failures)" if setup.drop_failures else "counted"
    facts = (
        ("Data", setup.data),
        ("Data digest", _digest(setup)),
        *more,
        ("Protocol", setup.protocol),
        ("Model", setup.model),
        ("Vector space", setup.space),
        ("Detector", f"{setup.detector}; of several faces in a photo: {setup.rule}"),
        ("Photos without a face", failed),
        ("Seed", str(setup.seed)),
        ("Date", setup.created),
        ("Vultus", _version()),
    )
    return tuple((what, value) for what, value in facts if value)


def _digest(setup: Setup) -> str:
    return str(getattr(setup, "data_digest", ""))


def _version() -> str:
    try:
        return metadata.version("vultus")
    except metadata.PackageNotFoundError:
        return "from source, not installed"


def _folds(folds: int, std: float) -> str:
    return f"± {percent(std)} over {folds} folds" if folds > 1 else "one fold"


def _estimate(estimate: Estimate) -> str:
    if estimate.value is None:
        return UNSUPPORTED
    return "none seen" if estimate.value == 0.0 else percent(estimate.value)


def _estimate_ends(estimate: Estimate) -> str:
    if not estimate.value or estimate.low is None or estimate.high is None:
        return ""  # none seen: redrawing the same people shows none either, and says nothing
    return f"{percent(estimate.low)} to {percent(estimate.high)}"


def _similarity(value: float) -> str:
    if not math.isfinite(value):
        return "above all" if value > 0 else "below all"
    return f"{value:.3f}".replace("-", "−")
