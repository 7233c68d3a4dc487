"""A decision: an answer, and everything it rests on.

Letters: M templates, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from verify.calibration import Calibration, per_comparison
from verify.errors import UnsupportedRate
from verify.extremes import extrapolated_threshold
from verify.pad import NOT_RUN, PadResult

if TYPE_CHECKING:
    from verify.explain import Explanation

Answer = Literal["yes", "no", "unsure"]

DEFAULT_FMR = 1e-3
# Between the threshold of the asked rate and that of this many times the rate, the answer is
# "unsure": a person should look.
UNSURE = 10.0
_LARGEST_RATE = 0.5


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to "is this the person?".

    Attributes:
        match: yes, no or unsure.
        similarity: the cosine it rests on, −1…1.
        threshold: the similarity asked for "yes".
        unsure_above: the similarity asked for "unsure".
        fmr: the false-match rate of the threshold, as asked.
        space: the vector space.
        person: the name that was claimed, or None for two photos.
        templates: how many templates of the person were compared.
        reasons: what else to know, as sentences.
        unsure_fmr: the false-match rate of `unsure_above`; None where it was not recorded.
        extrapolated: whether a threshold rests on a tail fitted beyond what was counted.
        probability: that both are one person, were half of all claims true; None where the
            calibration has no mated comparison.
        explanation: what the answer rests on, where it was asked for.
        pad: whether a living face stood there; `not_run` where no gate looked. "yes" never says
            so by itself.
    """

    match: Answer
    similarity: float
    threshold: float
    unsure_above: float
    fmr: float
    space: str
    person: str | None = None
    templates: int = 1
    reasons: tuple[str, ...] = ()
    unsure_fmr: float | None = None
    extrapolated: bool = False
    probability: float | None = None
    explanation: Explanation | None = None
    pad: PadResult = NOT_RUN

    @property
    def verified(self) -> bool | None:
        """True, False, or None where the answer is unsure."""
        return {"yes": True, "no": False, "unsure": None}[self.match]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, under the names scripts know."""
        return {
            "answer": self.match,
            "verified": self.verified,
            "person": self.person,
            "similarity": round(self.similarity, 6),
            "distance": round(1.0 - self.similarity, 6),
            "threshold": round(self.threshold, 6),
            "unsure_above": round(self.unsure_above, 6),
            "fmr": self.fmr,
            "unsure_fmr": self.unsure_fmr,
            "extrapolated": self.extrapolated,
            "probability": None if self.probability is None else round(self.probability, 6),
            "templates": self.templates,
            "model": self.space,
            "reasons": list(self.reasons),
            "pad": self.pad.to_dict(),
            **({} if self.explanation is None else {"explanation": self.explanation.to_dict()}),
        }


@dataclass(frozen=True, slots=True)
class Rule:
    """The two thresholds of an asked rate.

    Attributes:
        threshold: "yes" at or above it.
        unsure_above: "unsure" at or above it and below `threshold`; "no" below.
        rate: the asked rate.
        unsure_rate: the second rate, that of `unsure_above`.
        extrapolated: whether a threshold rests on a tail fitted beyond what was counted.
    """

    threshold: float
    unsure_above: float
    rate: float
    unsure_rate: float
    extrapolated: bool = False

    def answer(self, similarity: float) -> Answer:
        """The answer for a similarity."""
        if similarity >= self.threshold:
            return "yes"
        return "unsure" if similarity >= self.unsure_above else "no"


def rule_at(
    calibration: Calibration,
    rate: float,
    comparisons: int = 1,
    *,
    unsure: float | None = None,
    extrapolate: bool = False,
) -> Rule:
    """The rule for an asked rate.

    Args:
        calibration: the curve of the space.
        rate: the asked false-match rate (FPIR where a probe meets a gallery).
        comparisons: how many templates a probe meets.
        unsure: the second rate, up to which the answer is "unsure"; None: ten times `rate`.
        extrapolate: go beyond what was counted; see `verify.extremes`.

    Raises:
        UnsupportedRate: the calibration's data cannot show that rate, or the second rate is
            below the first.
    """
    if unsure is None:
        unsure = min(rate * UNSURE, max(rate, _LARGEST_RATE))
    elif not unsure >= rate:
        raise UnsupportedRate(
            f"The second rate, {unsure:g}, is below the first, {rate:g}: give one at or above it."
        )
    threshold, beyond = _threshold(calibration, rate, comparisons, extrapolate)
    unsure_above, also = _threshold(calibration, unsure, comparisons, extrapolate)
    return Rule(threshold, unsure_above, rate, unsure, beyond or also)


def _threshold(
    calibration: Calibration, rate: float, comparisons: int, extrapolate: bool
) -> tuple[float, bool]:
    """The threshold of a rate, and whether it is extrapolated."""
    each = per_comparison(rate, comparisons)
    if extrapolate and each < calibration.smallest_fmr * (1 - 1e-9):
        return extrapolated_threshold(calibration, rate, comparisons), True
    return calibration.threshold(rate, comparisons), False


def extrapolation_reason(rule: Rule, calibration: Calibration) -> tuple[str, ...]:
    """One sentence where a rule is extrapolated, else none."""
    if not rule.extrapolated:
        return ()
    return (
        (
            f"extrapolated: the {calibration.person_pairs} pairs of people of "
            f"{calibration.source} show rates down to {calibration.smallest_fmr:.2g} a "
            "comparison; beyond, the threshold rests on a generalised Pareto tail"
        ),
    )
