"""What an evaluation found: the results of `vultus evaluate`, as frozen values.

Nothing is computed here. `verify.rates`, `verify.resampling`, `verify.open_set` and
`verify.demographics` count, `verify.evaluate` puts the results together, the command line and
`verify.report` show them. Terms are those of ISO/IEC 19795-1: FMR and FNMR for comparisons, FPIR
and FNIR for searches of a gallery, FTE and FTA for photos without a usable face.

A figure that the data cannot support is None here, null in JSON and "unsupported" in words, never
0. Rates are shares from 0 to 1; thresholds are cosine similarities, "match" at or above.

Letters: L points of a curve, B bins of a histogram, R ranks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.partition import Agreement

FORMAT = "vultus-evaluation-1"
UNSUPPORTED = "unsupported"
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of trials, with its 95 % interval.

    Attributes:
        value: errors / trials; None where the data cannot support it.
        low: lower end of the 95 % interval, or None with `value`.
        high: upper end; where no error was seen, 3 / (independent units), the rule of three.
        errors: how many were seen (matches for an FMR, misses for an FNMR, hits for a rank).
        trials: how many comparisons or searches there were.
        units: how many independent units stand behind them (people or pairs of people).
    """

    value: float | None
    low: float | None
    high: float | None
    errors: int
    trials: int
    units: int

    @property
    def supported(self) -> bool:
        """Whether there is a figure."""
        return self.value is not None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "errors": self.errors,
            "trials": self.trials,
            "units": self.units,
            "supported": self.supported,
        }

    def __str__(self) -> str:
        if self.value is None:
            return UNSUPPORTED
        if self.errors == 0:
            return f"none in {self.trials} [0, {self.high:.3g}]"
        shown = f"{self.value:.4g}"
        if self.low is None or self.high is None:
            return shown
        return f"{shown} [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure that is no share of trials (AUC, EER), with its 95 % bootstrap interval.

    Attributes:
        value: the figure; None where there are no mated or no non-mated comparisons.
        low: lower end; None where it was not computed (too many comparisons) or not supported.
        high: upper end.
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        if self.value is None:
            return UNSUPPORTED
        ends = "" if self.low is None else f" [{self.low:.4f}, {self.high:.4f}]"
        return f"{self.value:.4f}{ends}"


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and population standard deviation over folds, as facenet prints them.

    Attributes:
        mean: of the folds.
        std: of the folds; 0 where there is one.
        folds: how many.
    """

    mean: float
    std: float
    folds: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"mean": self.mean, "std": self.std, "folds": self.folds}


@dataclass(frozen=True, slots=True)
class Setup:
    """What was measured and how.

    Attributes:
        kind: `verification`, `identification` or `clustering`.
        data: the name of the folder.
        model: the encoder's name.
        space: its vector space.
        detector: `yunet` or `whole`.
        rule: which face of a photo with several.
        protocol: where pairs, folds, thresholds, gallery and probes came from, in words.
        drop_failures: whether photos without a usable face were left out of the rates.
        seed: of folds, splits and bootstrap.
        created: ISO date.
    """

    kind: str
    data: str
    model: str
    space: str
    detector: str
    rule: str
    protocol: str
    drop_failures: bool
    seed: int
    created: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: getattr(self, name) for name in Setup.__slots__}


@dataclass(frozen=True, slots=True)
class Failures:
    """Photos that gave no vector: failure to enrol (templates) or to acquire (probes).

    Attributes:
        photos: how many photos were looked at.
        failed: how many gave no vector.
        fte: share of failed photos on the enrolment side; in verification the first of a pair.
        fta: share of failed photos on the probe side; in verification the second of a pair.
        reasons: reason code → how many photos.
        files: the failed photos, (path, reason code).
        dropped: whether comparisons with them were left out instead of counted as errors.
    """

    photos: int
    failed: int
    fte: Rate
    fta: Rate
    reasons: Mapping[str, int]
    files: tuple[tuple[str, str], ...]
    dropped: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "photos": self.photos,
            "failed": self.failed,
            "fte": self.fte.to_dict(),
            "fta": self.fta.to_dict(),
            "reasons": dict(self.reasons),
            "files": [{"file": file, "reason": reason} for file, reason in self.files],
            "dropped": self.dropped,
        }


@dataclass(frozen=True, slots=True)
class Example:
    """Two photos that were taken wrongly, or nearly so.

    Attributes:
        first: path of a photo.
        second: path of the other.
        first_person: whose photo that is.
        second_person: whose the other is.
        similarity: of the two; None where one gave no vector.
    """

    first: str
    second: str
    first_person: str
    second_person: str
    similarity: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: getattr(self, name) for name in Example.__slots__}


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Verification at one asked false-match rate.

    Attributes:
        asked: the asked FMR.
        threshold: the lowest similarity whose FMR is not above it; None where unsupported.
        fmr: false-match rate at the threshold.
        fnmr: false-non-match rate at the threshold; its interval is of this threshold.
    """

    asked: float
    threshold: float | None
    fmr: Rate
    fnmr: Rate

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "asked_fmr": self.asked,
            "threshold": self.threshold,
            "fmr": self.fmr.to_dict(),
            "fnmr": self.fnmr.to_dict(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Error rates over thresholds, thinned for drawing; from the highest threshold to the lowest.

    Attributes:
        thresholds: float64 (L,), falling; ±inf for "nothing" and "everything matches".
        false_accepts: float64 (L,), FMR (verification) or FPIR (identification), rising.
        false_rejects: float64 (L,), FNMR or FNIR, falling.
    """

    thresholds: Floats
    false_accepts: Floats
    false_rejects: Floats

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; an infinite threshold is null."""
        return {
            "thresholds": [v if math.isfinite(v) else None for v in self.thresholds.tolist()],
            "false_accepts": self.false_accepts.tolist(),
            "false_rejects": self.false_rejects.tolist(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How the similarities fell; comparisons with failed photos are in no bin.

    Attributes:
        edges: float64 (B + 1,), −1…1.
        mated: int64 (B,), comparisons of one person.
        nonmated: int64 (B,), comparisons of two people.
    """

    edges: Floats
    mated: NDArray[np.int64]
    nonmated: NDArray[np.int64]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "edges": self.edges.tolist(),
            "mated": self.mated.tolist(),
            "nonmated": self.nonmated.tolist(),
        }


@dataclass(frozen=True, slots=True)
class SubgroupRates:
    """Error rates of one value of a column, at the threshold of all.

    Attributes:
        value: the value.
        people: how many people have it.
        fmr: of comparisons between two people who both have it.
        fnmr: of comparisons of one person who has it.
    """

    value: str
    people: int
    fmr: Rate
    fnmr: Rate

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "value": self.value,
            "people": self.people,
            "fmr": self.fmr.to_dict(),
            "fnmr": self.fnmr.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Crossing:
    """False matches between people of two different values.

    Attributes:
        first: a value.
        second: the other value.
        fmr: of comparisons between a person of the one and a person of the other.
    """

    first: str
    second: str
    fmr: Rate

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"first": self.first, "second": self.second, "fmr": self.fmr.to_dict()}


@dataclass(frozen=True, slots=True)
class Ratio:
    """The highest rate over the lowest among the values of a column.

    Attributes:
        error: `fmr` or `fnmr`.
        highest: the value with the highest rate.
        lowest: the value with the lowest rate.
        ratio: highest rate / lowest rate; None where fewer than two values are supported or the
            lowest saw no error (a ratio over 0 is no figure).
        at_least: a ratio that the intervals support: lower end of the highest over upper end of
            the lowest; None with unsupported values. Below 1 the data shows no difference.
    """

    error: str
    highest: str | None
    lowest: str | None
    ratio: float | None
    at_least: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: getattr(self, name) for name in Ratio.__slots__}


@dataclass(frozen=True, slots=True)
class Demographic:
    """Error rates by one column of `--by`.

    Attributes:
        column: its title.
        asked: the FMR that all people together have at the threshold.
        threshold: the similarity.
        subgroups: one a value, by name.
        crossings: one a pair of different values.
        ratios: the worst ratio of FMR and of FNMR.
        unlabelled: people without a value, who are in no line.
        meaning: what a higher FMR and a higher FNMR mean for the people of a site, two sentences.
    """

    column: str
    asked: float
    threshold: float
    subgroups: tuple[SubgroupRates, ...]
    crossings: tuple[Crossing, ...]
    ratios: tuple[Ratio, ...]
    unlabelled: int
    meaning: tuple[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "column": self.column,
            "asked_fmr": self.asked,
            "threshold": self.threshold,
            "subgroups": [one.to_dict() for one in self.subgroups],
            "crossings": [one.to_dict() for one in self.crossings],
            "ratios": [one.to_dict() for one in self.ratios],
            "unlabelled": self.unlabelled,
            "meaning": list(self.meaning),
        }


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """What `vultus evaluate verification` found.

    Attributes:
        setup: what was measured and how.
        failures: photos without a vector.
        people: how many people the comparisons show.
        person_pairs: how many pairs of people were compared.
        mated_people: how many people were compared with themselves.
        mated: how many mated comparisons.
        nonmated: how many non-mated comparisons.
        accuracy: over folds; None where it is not supported (no mated or no non-mated pairs).
        validation: validation rate (1 − FNMR) over folds at FAR `far_asked`; None: unsupported.
        far: mean FAR over folds at the thresholds of `validation`; None: unsupported.
        far_asked: the FAR the folds' thresholds were chosen for.
        auc: area under the ROC, ties counted half.
        eer: where FMR and FNMR are equal, interpolated on the ROC as facenet does.
        points: FNMR at FMR 1e-1 … 1e-6.
        curve: FMR and FNMR over thresholds: the ROC and DET.
        histogram: of the similarities.
        false_matches: non-mated pairs of the highest similarity, the worst first.
        false_non_matches: mated pairs of the lowest similarity, failed ones first.
        demographics: one a column of `--by`.
    """

    setup: Setup
    failures: Failures
    people: int
    person_pairs: int
    mated_people: int
    mated: int
    nonmated: int
    accuracy: Spread | None
    validation: Spread | None
    far: float | None
    far_asked: float
    auc: Estimate
    eer: Estimate
    points: tuple[OperatingPoint, ...]
    curve: Curve
    histogram: Histogram
    false_matches: tuple[Example, ...]
    false_non_matches: tuple[Example, ...]
    demographics: tuple[Demographic, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "format": FORMAT,
            "setup": self.setup.to_dict(),
            "failures": self.failures.to_dict(),
            "people": self.people,
            "person_pairs": self.person_pairs,
            "mated_people": self.mated_people,
            "mated": self.mated,
            "nonmated": self.nonmated,
            "accuracy": None if self.accuracy is None else self.accuracy.to_dict(),
            "validation": None if self.validation is None else self.validation.to_dict(),
            "far": self.far,
            "far_asked": self.far_asked,
            "auc": self.auc.to_dict(),
            "eer": self.eer.to_dict(),
            "points": [point.to_dict() for point in self.points],
            "curve": self.curve.to_dict(),
            "histogram": self.histogram.to_dict(),
            "false_matches": [one.to_dict() for one in self.false_matches],
            "false_non_matches": [one.to_dict() for one in self.false_non_matches],
            "demographics": [one.to_dict() for one in self.demographics],
        }


@dataclass(frozen=True, slots=True)
class OpenSetPoint:
    """Identification at one asked false-positive identification rate.

    Attributes:
        asked: the asked FPIR.
        threshold: the lowest similarity whose FPIR is not above it; None where unsupported.
        fpir: share of strangers' searches that return somebody.
        fnir: share of enrolled people's searches that do not return them (rank 1, threshold).
    """

    asked: float
    threshold: float | None
    fpir: Rate
    fnir: Rate

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "asked_fpir": self.asked,
            "threshold": self.threshold,
            "fpir": self.fpir.to_dict(),
            "fnir": self.fnir.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class GallerySize:
    """Open-set rates with a gallery of a given size; everybody else's probes are not searched.

    Attributes:
        people: how many people are enrolled, drawn with the seed; the last size is all of them.
        photos: how many photos they have in the gallery.
        rank1: share of mated searches whose first candidate is right.
        points: FNIR at the asked FPIRs.
    """

    people: int
    photos: int
    rank1: Rate
    points: tuple[OpenSetPoint, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "people": self.people,
            "photos": self.photos,
            "rank1": self.rank1.to_dict(),
            "points": [point.to_dict() for point in self.points],
        }


@dataclass(frozen=True, slots=True)
class IdentificationResult:
    """What `vultus evaluate identification` found.

    Attributes:
        setup: what was measured and how.
        failures: photos without a vector.
        gallery_people: how many people are enrolled.
        gallery_photos: how many photos of them.
        mated: how many searches of enrolled people.
        strangers: how many searches of people who are not enrolled.
        stranger_people: how many people those are.
        ranks: rank → identification rate at that rank (rank 1, 5, 10), closed set.
        cmc: float64 (R,), identification rate at ranks 1…R as a tuple of floats; R ≤ 100.
        points: FNIR at FPIR 0.003, 0.01, 0.1.
        curve: FPIR and FNIR over thresholds, the open-set DET; None without strangers.
        sizes: the same by gallery size, the smallest first.
        false_positives: strangers and the enrolled photo they are nearest to, the worst first.
        misses: probes of enrolled people with the wrong first candidate; `first` is the probe.
    """

    setup: Setup
    failures: Failures
    gallery_people: int
    gallery_photos: int
    mated: int
    strangers: int
    stranger_people: int
    ranks: Mapping[int, Rate]
    cmc: tuple[float, ...]
    points: tuple[OpenSetPoint, ...]
    curve: Curve | None
    sizes: tuple[GallerySize, ...]
    false_positives: tuple[Example, ...]
    misses: tuple[Example, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "format": FORMAT,
            "setup": self.setup.to_dict(),
            "failures": self.failures.to_dict(),
            "gallery_people": self.gallery_people,
            "gallery_photos": self.gallery_photos,
            "mated": self.mated,
            "strangers": self.strangers,
            "stranger_people": self.stranger_people,
            "ranks": {str(rank): rate.to_dict() for rank, rate in self.ranks.items()},
            "cmc": list(self.cmc),
            "points": [point.to_dict() for point in self.points],
            "curve": None if self.curve is None else self.curve.to_dict(),
            "sizes": [size.to_dict() for size in self.sizes],
            "false_positives": [one.to_dict() for one in self.false_positives],
            "misses": [one.to_dict() for one in self.misses],
        }


@dataclass(frozen=True, slots=True)
class ClusteringResult:
    """What `vultus evaluate clustering` found.

    Attributes:
        setup: what was measured and how.
        failures: photos without a vector; each counts as a cluster of its own unless dropped.
        method: how the clusters were found, in words.
        photos: how many photos were judged.
        agreement: BCubed, pairwise, NMI, ARI, V-measure, numbers of clusters found and true.
        merges: pairs of photos of two people in one cluster, the least alike first: what should
            never have been joined. One pair a cluster and pair of people.
        splits: pairs of photos of one person in two clusters, the most alike first. One pair a
            person and pair of clusters.
    """

    setup: Setup
    failures: Failures
    method: str
    photos: int
    agreement: Agreement
    merges: tuple[Example, ...]
    splits: tuple[Example, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        found = self.agreement
        return {
            "format": FORMAT,
            "setup": self.setup.to_dict(),
            "failures": self.failures.to_dict(),
            "method": self.method,
            "photos": self.photos,
            "bcubed": _shares(found.bcubed.precision, found.bcubed.recall, found.bcubed.f),
            "pairwise": _shares(found.pairwise.precision, found.pairwise.recall, found.pairwise.f),
            "nmi": found.nmi,
            "ari": found.ari,
            "v_measure": found.v,
            "clusters": found.found,
            "people": found.true,
            "single_clusters": found.found_single,
            "single_people": found.true_single,
            "merges": [one.to_dict() for one in self.merges],
            "splits": [one.to_dict() for one in self.splits],
        }


def _shares(precision: float, recall: float, f: float) -> dict[str, float]:
    return {"precision": precision, "recall": recall, "f": f}
