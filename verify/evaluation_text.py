"""Results of evaluations as lines of text, for the terminal.

The first four lines of a verification are those that facenet's `validate_on_lfw` prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from verify.evaluation import (
    UNSUPPORTED,
    ClusteringResult,
    Demographic,
    Example,
    Failures,
    IdentificationResult,
    OpenSetPoint,
    OperatingPoint,
    Ratio,
    Setup,
    VerificationResult,
)
from verify.output import as_table

_SHOWN = 5


def text(result: VerificationResult | IdentificationResult | ClusteringResult) -> str:
    """A result in lines."""
    if isinstance(result, VerificationResult):
        return "\n".join(_verification(result))
    if isinstance(result, IdentificationResult):
        return "\n".join(_identification(result))
    return "\n".join(_clustering(result))


def facenet_lines(result: VerificationResult) -> list[str]:
    """Accuracy, validation rate, AUC and EER as facenet prints them."""
    accuracy, validation = result.accuracy, result.validation
    first = UNSUPPORTED if accuracy is None else f"{accuracy.mean:.5f}+-{accuracy.std:.5f}"
    second = f"{UNSUPPORTED} @ FAR={result.far_asked:.5f}"
    if validation is not None and result.far is not None:
        second = f"{validation.mean:.5f}+-{validation.std:.5f} @ FAR={result.far:.5f}"
    return [
        f"Accuracy: {first}",
        f"Validation rate: {second}",
        f"Area Under Curve (AUC): {_three(result.auc.value)}",
        f"Equal Error Rate (EER): {_three(result.eer.value)}",
    ]


def _three(value: float | None) -> str:
    return UNSUPPORTED if value is None else f"{value:1.3f}"


def _verification(result: VerificationResult) -> list[str]:
    lines = facenet_lines(result)
    for name, figure in (("AUC", result.auc), ("EER", result.eer)):
        if figure.low is not None:
            lines.append(f"{name} with its 95 % interval: {figure}")
    rows = [_point_row(point) for point in result.points]
    head = ("FMR asked", "threshold", "FMR [95 %]", "FNMR [95 %]")
    lines += ["", as_table(rows, head), "", *_about(result.setup, result.failures)]
    who = _nouns(result.setup).several
    lines.append(
        f"{result.mated} mated and {result.nonmated} non-mated comparisons of {result.people} "
        f"{who} ({result.mated_people} with themselves, {result.person_pairs} pairs of {who})"
    )
    if not result.points[1].fmr.supported:
        lines.append(_too_few(result))
    for found in result.demographics:
        lines += ["", *_demographic(found)]
    return lines


@dataclass(frozen=True, slots=True)
class _Nouns:
    """What pictures are of: `one`, `several`, and what is said of a picture without a vector."""

    one: str
    several: str
    failed: str


def _nouns(setup: Setup) -> _Nouns:
    if setup.detector == "whole":
        return _Nouns("class", "classes", "that could not be used")
    return _Nouns("person", "people", "without a usable face")


def _too_few(result: VerificationResult) -> str:
    """Why rates are unsupported, and what else can be measured."""
    who = _nouns(result.setup).several
    told = f"{result.person_pairs} pairs of {who} cannot support lower rates: use more {who}"
    if result.setup.detector != "whole":
        return f"{told}."
    return f"{told}, or measure a closed set with vultus evaluate classification."


def _point_row(point: OperatingPoint) -> tuple[str, str, str, str]:
    threshold = "–" if point.threshold is None else f"{point.threshold:.4f}"
    return f"{point.asked:.0e}", threshold, str(point.fmr), str(point.fnmr)


def _about(setup: Setup, failures: Failures) -> list[str]:
    counted = (
        "comparisons with them are left out (--drop-failures)"
        if failures.dropped
        else "counted as errors"
    )
    reasons = ", ".join(f"{reason} {count}" for reason, count in failures.reasons.items())
    missed = f"{failures.failed} of {failures.photos} photos {_nouns(setup).failed}"
    return [
        f"{setup.data}, {setup.model} ({setup.space}), detector {setup.detector}",
        f"protocol: {setup.protocol}",
        f"{missed}{f' ({reasons})' if reasons else ''}: {counted}",
        f"failure to enrol: {failures.fte}; failure to acquire: {failures.fta}",
    ]


def _demographic(found: Demographic) -> list[str]:
    lines = [f"By {found.column}, threshold {found.threshold:.4f} (FMR {found.asked:g} over all):"]
    rows = [(one.value, one.people, str(one.fmr), str(one.fnmr)) for one in found.subgroups]
    lines.append(as_table(rows, ("value", "people", "FMR [95 %]", "FNMR [95 %]")))
    across = [(f"{one.first} × {one.second}", str(one.fmr)) for one in found.crossings]
    if across:
        lines.append(as_table(across, ("across", "FMR [95 %]")))
    lines += [_ratio(ratio) for ratio in found.ratios]
    if found.unlabelled:
        lines.append(f"{found.unlabelled} people have photos without a value.")
    return [*lines, *found.meaning]


def _ratio(ratio: Ratio) -> str:
    name = ratio.error.upper()
    if ratio.ratio is None:
        return f"worst {name} ratio: {UNSUPPORTED}"
    sure = "" if ratio.at_least is None else f", at least {ratio.at_least:.2f} by the intervals"
    return f"worst {name} ratio: {ratio.ratio:.2f} ({ratio.highest} / {ratio.lowest}{sure})"


def _identification(result: IdentificationResult) -> list[str]:
    who = _nouns(result.setup).several
    lines = [f"rank-{rank}: {rate}" for rank, rate in result.ranks.items()]
    rows = [_open_row(point) for point in result.points]
    lines += ["", as_table(rows, ("FPIR asked", "threshold", "FPIR [95 %]", "FNIR [95 %]")), ""]
    sizes = [
        (size.people, size.photos, str(size.rank1), *(str(point.fnir) for point in size.points))
        for size in result.sizes
    ]
    asked = (f"FNIR at FPIR {point.asked:g}" for point in result.points)
    lines += [as_table(sizes, (who, "photos", "rank-1", *asked)), ""]
    lines.append(
        f"gallery: {result.gallery_photos} photos of {result.gallery_people} {who}; searches: "
        f"{result.mated} of enrolled {who}, {result.strangers} of {result.stranger_people} "
        "strangers"
    )
    return [*lines, *_about(result.setup, result.failures)]


def _open_row(point: OpenSetPoint) -> tuple[str, str, str, str]:
    threshold = "–" if point.threshold is None else f"{point.threshold:.4f}"
    return f"{point.asked:g}", threshold, str(point.fpir), str(point.fnir)


def _clustering(result: ClusteringResult) -> list[str]:
    found, nouns = result.agreement, _nouns(result.setup)
    rows = [
        (name, shares.precision, shares.recall, shares.f)
        for name, shares in (("BCubed", found.bcubed), ("pairwise", found.pairwise))
    ]
    lines = [as_table(rows, ("", "precision", "recall", "F"))]
    lines.append(f"NMI {found.nmi:.4f}, ARI {found.ari:.4f}, V-measure {found.v:.4f}")
    lines.append(
        f"{found.found} clusters ({found.found_single} of one photo) for {found.true} "
        f"{nouns.several} ({found.true_single} of one photo); {result.method}"
    )
    lines += _pairs(f"worst merges (two {nouns.several} in one cluster)", result.merges)
    lines += _pairs(f"worst splits (one {nouns.one} in two clusters)", result.splits)
    return [*lines, "", *_about(result.setup, result.failures)]


def _pairs(title: str, examples: Sequence[Example]) -> list[str]:
    if not examples:
        return ["", f"{title}: none"]
    rows = [(one.similarity, one.first, one.second) for one in examples[:_SHOWN]]
    return ["", f"{title}:", as_table(rows, ("similarity", "photo", "photo"))]
