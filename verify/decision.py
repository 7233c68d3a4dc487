"""A decision: an answer, and everything it rests on.

Letters: M templates, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from verify.calibration import Calibration

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
            "templates": self.templates,
            "model": self.space,
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True, slots=True)
class Rule:
    """The two thresholds of an asked rate.

    Attributes:
        threshold: "yes" at or above it.
        unsure_above: "unsure" at or above it and below `threshold`; "no" below.
        rate: the asked rate.
    """

    threshold: float
    unsure_above: float
    rate: float

    def answer(self, similarity: float) -> Answer:
        """The answer for a similarity."""
        if similarity >= self.threshold:
            return "yes"
        return "unsure" if similarity >= self.unsure_above else "no"


def rule_at(calibration: Calibration, rate: float, comparisons: int = 1) -> Rule:
    """The rule for an asked rate.

    Args:
        calibration: the curve of the space.
        rate: the asked false-match rate (FPIR where a probe meets a gallery).
        comparisons: how many templates a probe meets.

    Raises:
        UnsupportedRate: the calibration's data cannot show that rate.
    """
    loose = min(rate * UNSURE, max(rate, _LARGEST_RATE))
    return Rule(
        calibration.threshold(rate, comparisons), calibration.threshold(loose, comparisons), rate
    )
