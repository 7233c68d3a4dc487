"""What a similarity means: the curve from similarity to error rates, and thresholds from it.

A calibration holds, per bin of similarity, how many non-mated and mated comparisons fell there.
Comparisons are weighed so that each pair of people counts one, however many photos they have;
the smallest false-match rate such a set can show is 3 / (pairs of people), the rule of three
(Hanley and Lippman-Hand, JAMA 249, 1983; ISO/IEC 19795-1 uses it too). Below that Vultus refuses.

Letters: B bins of similarity over −1…1, R rates.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import CalibrationBroken, NoCalibration, UnsupportedRate
from verify.probability import PRIOR, Probability, fit_logistic

BINS = 2000  # of width 0.001
FORMAT = "vultus-calibration-2"
_WITHOUT_PROBABILITY = "vultus-calibration-1"  # still read, and written back as it was


@dataclass(frozen=True, slots=True)
class Calibration:
    """The curve of one space, fitted on one set of people.

    Attributes:
        space: the vector space it holds for.
        source: the name of the data it was fitted on.
        people: how many people the data shows.
        person_pairs: how many pairs of distinct people were compared.
        mated_people: how many people have two photos or more.
        photos: how many photos.
        nonmated: float64 (B,), weight of non-mated comparisons a bin; the sum is `person_pairs`.
        mated: float64 (B,), weight of mated comparisons a bin; the sum is `mated_people`.
        intervals: asked FMR → 95 % interval of the realised FMR at its threshold (bootstrap over
            people).
        data_digest: hex sha256 over the digests and names of the photos it was fitted on.
        created: ISO date.
        probability: the logistic curve to the probability of one person; None in calibrations
            of format 1 and where the data has only one kind of comparison.
    """

    space: str
    source: str
    people: int
    person_pairs: int
    mated_people: int
    photos: int
    nonmated: NDArray[np.float64]
    mated: NDArray[np.float64]
    intervals: Mapping[float, tuple[float, float]]
    data_digest: str
    created: str
    probability: Probability | None = None

    @property
    def smallest_fmr(self) -> float:
        """The smallest false-match rate the data supports: 3 / person pairs."""
        return 3.0 / self.person_pairs

    def threshold(self, fmr: float, gallery_size: int = 1) -> float:
        """The least similarity at which comparisons with strangers err no more often than asked.

        Args:
            fmr: the asked false-match rate of one comparison; or, with a gallery, the share of
                strangers that may be taken for anybody (FPIR).
            gallery_size: how many templates a probe is compared with; the rate of one comparison
                becomes 1 − (1 − fmr)^(1/gallery_size), as if comparisons erred independently.

        Raises:
            UnsupportedRate: the rate of one comparison is below `smallest_fmr`, or is no rate.
        """
        each = per_comparison(fmr, gallery_size)
        if each < self.smallest_fmr * (1 - 1e-9):  # what rounding leaves of `smallest_rate`
            raise UnsupportedRate(self._refusal(fmr, gallery_size, each))
        survivors = np.append(np.cumsum(self.nonmated[::-1])[::-1], 0.0)  # (B + 1,) weight ≥ edge
        allowed = each * self.person_pairs + 1e-9 * self.person_pairs
        edge = int(np.argmax(survivors <= allowed))
        return edge * 2.0 / BINS - 1.0

    def smallest_rate(self, gallery_size: int) -> float:
        """The smallest rate that can be asked where a probe meets `gallery_size` templates.

        1.0, which is no rate, where the data shows three pairs of people or fewer.
        """
        if self.smallest_fmr >= 1.0:
            return 1.0
        return -math.expm1(max(gallery_size, 1) * math.log1p(-self.smallest_fmr))

    @property
    def beyond_strangers(self) -> float:
        """The least similarity that no two strangers of the data reached."""
        return (int(np.flatnonzero(self.nonmated)[-1]) + 1) * 2.0 / BINS - 1.0

    def fmr_at(self, similarity: float) -> float:
        """False-match rate of the threshold `similarity` on the calibration's data."""
        return float(self.nonmated[_bin(similarity) :].sum() / self.person_pairs)

    def fnmr_at(self, similarity: float) -> float | None:
        """False-non-match rate of the threshold `similarity`; None without mated comparisons."""
        if self.mated_people == 0:
            return None
        return float(self.mated[: _bin(similarity)].sum() / self.mated_people)

    def probability_at(self, similarity: float, prior: float = PRIOR) -> float | None:
        """Probability that photos of this similarity show one person.

        Calibrations of format 1 hold no curve; theirs is fitted on their bins.

        Args:
            similarity: −1…1.
            prior: the probability before the photos were compared.

        Returns:
            0…1, or None where the data has no mated comparison.
        """
        curve = self.probability
        if curve is None:
            fitted = fit_logistic(self.nonmated, self.mated)
            curve = None if fitted is None else Probability(*fitted)
        return None if curve is None else curve.at(similarity, prior)

    def _refusal(self, fmr: float, gallery_size: int, each: float) -> str:
        against = f" against {gallery_size} templates" if gallery_size > 1 else ""
        smallest = rounded_up(self.smallest_rate(gallery_size))
        ask = f"ask for {smallest:g} or more, or calibrate" if smallest < 1.0 else "calibrate"
        return (
            f"A false-match rate of {fmr:.2g}{against} needs {each:.2g} a comparison, and the "
            f"calibration on {self.source} ({self.person_pairs} pairs of people) supports "
            f"{rounded_up(self.smallest_fmr):g} at least: {ask} on more people with: "
            "vultus calibrate PEOPLE."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back."""
        curve = self.probability
        return {
            "format": _WITHOUT_PROBABILITY if curve is None else FORMAT,
            "space": self.space,
            "source": self.source,
            "created": self.created,
            "data_digest": self.data_digest,
            "people": self.people,
            "person_pairs": self.person_pairs,
            "mated_people": self.mated_people,
            "photos": self.photos,
            "smallest_fmr": self.smallest_fmr,
            "intervals": {repr(rate): list(pair) for rate, pair in self.intervals.items()},
            "nonmated": _sparse(self.nonmated),
            "mated": _sparse(self.mated),
            **({} if curve is None else {"probability": curve.to_dict()}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """A calibration from the values of `to_dict`.

        Raises:
            CalibrationBroken: something is missing, of another format or does not add up.
        """
        try:
            if values["format"] not in {FORMAT, _WITHOUT_PROBABILITY}:
                raise CalibrationBroken(f"The calibration is not of the format {FORMAT}.")
            curve = values["probability"] if values["format"] == FORMAT else None
            calibration = cls(
                space=str(values["space"]),
                source=str(values["source"]),
                people=int(values["people"]),
                person_pairs=int(values["person_pairs"]),
                mated_people=int(values["mated_people"]),
                photos=int(values["photos"]),
                nonmated=_dense(values["nonmated"]),
                mated=_dense(values["mated"]),
                intervals={
                    float(rate): (float(low), float(high))
                    for rate, (low, high) in values["intervals"].items()
                },
                data_digest=str(values["data_digest"]),
                created=str(values["created"]),
                probability=None if curve is None else Probability.from_dict(curve),
            )
        except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise CalibrationBroken(f"The calibration cannot be read ({error!r}).") from error
        calibration._check()
        return calibration

    def _check(self) -> None:
        off = abs(float(self.nonmated.sum()) - self.person_pairs)
        off_mated = abs(float(self.mated.sum()) - self.mated_people)
        negative = bool((self.nonmated < 0).any() or (self.mated < 0).any())
        if self.person_pairs < 1 or off > 0.5 or off_mated > 0.5 or negative:
            raise CalibrationBroken(
                f"The calibration on {self.source} does not add up: its bins hold "
                f"{self.nonmated.sum():.1f} pairs of people, its head says {self.person_pairs}."
            )

    @property
    def digest(self) -> str:
        """Hex sha256 of the calibration itself, which decisions name."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def per_comparison(rate: float, gallery_size: int) -> float:
    """The rate of one comparison that gives `rate` over a gallery of independent comparisons.

    Raises:
        UnsupportedRate: `rate` is not between 0 and 1.
    """
    if not 0.0 < rate < 1.0:
        raise UnsupportedRate(f"A false-match rate lies between 0 and 1, not at {rate:g}.")
    return -math.expm1(math.log1p(-rate) / max(gallery_size, 1))


def rounded_up(rate: float) -> float:
    """A rate to two significant digits and never below it, to be shown and asked for."""
    unit = 10.0 ** (math.floor(math.log10(rate)) - 1)
    return float(f"{math.ceil(rate / unit * (1 - 1e-12)) * unit:.2g}")


def _bin(similarity: float) -> int:
    """The first bin whose lower edge is at or above a similarity."""
    return min(max(math.ceil(round((similarity + 1.0) * BINS / 2.0, 6)), 0), BINS)


def histogram(similarities: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[Any]:
    """Weight a bin.

    Args:
        similarities: float32 (C,), −1…1.
        weights: float64 (C,).

    Returns:
        float64 (B,).
    """
    return np.bincount(bins_of(similarities), weights=weights, minlength=BINS)


def bins_of(similarities: NDArray[np.floating]) -> NDArray[np.int64]:
    """The bin that each similarity falls in.

    Args:
        similarities: float (C,), −1…1.

    Returns:
        int64 (C,), 0…B−1.
    """
    places = np.floor((similarities.astype(np.float64) + 1.0) * (BINS / 2.0)).astype(np.int64)
    return np.clip(places, 0, BINS - 1)


def _sparse(bins: NDArray[np.float64]) -> dict[str, Any]:
    """The filled span of a histogram, float64 (B,): its first bin and the values from there."""
    filled = np.flatnonzero(bins)
    if len(filled) == 0:
        return {"first": 0, "values": []}
    span = bins[filled[0] : filled[-1] + 1]
    return {"first": int(filled[0]), "values": [float(f"{v:.9g}") for v in span]}


def _dense(values: Mapping[str, Any]) -> NDArray[np.float64]:
    span = np.asarray(values["values"], dtype=np.float64)
    first = int(values["first"])
    if span.ndim != 1 or first < 0 or first + len(span) > BINS or not np.isfinite(span).all():
        raise ValueError(f"bins {first}…{first + len(span)} of {BINS}")
    dense = np.zeros(BINS)
    dense[first : first + len(span)] = span
    return dense


@cache
def shipped() -> Mapping[str, Calibration]:
    """The calibrations that come with the encoders: space → calibration in force."""
    text = (resources.files("verify") / "data" / "calibration.json").read_text(encoding="utf-8")
    return {
        space: Calibration.from_dict(entry["in_force"])
        for space, entry in json.loads(text)["spaces"].items()
    }


def calibration_for(space: str, stored: str | None = None) -> Calibration:
    """The calibration in force for a space: the gallery's own, else the one that was shipped.

    Args:
        space: the vector space.
        stored: the gallery's active calibration for the space as JSON text, or None.

    Raises:
        NoCalibration: neither exists.
        CalibrationBroken: the stored one cannot be read or is of another space.
    """
    if stored is not None:
        own = parse(stored)
        if own.space != space:
            raise CalibrationBroken(
                f"The calibration stored for the space {space} is of {own.space}: make another "
                "with: vultus calibrate PEOPLE."
            )
        return own
    found = shipped().get(space)
    if found is None:
        raise NoCalibration(space)
    return found


def parse(text: str) -> Calibration:
    """A calibration from JSON text.

    Raises:
        CalibrationBroken: the text is not JSON or not a calibration.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:  # numbers of too many digits; too deep
        raise CalibrationBroken(f"The calibration is not JSON ({error}).") from error
    if not isinstance(values, dict):
        raise CalibrationBroken("The calibration is not a JSON object.")
    return Calibration.from_dict(values)
