"""Drift: do the similarities of recent decisions still follow the calibration?

Each decision's similarity is turned into the share of the calibration's comparisons below it,
given what the decision says: that a "yes" lies at or above its threshold, a "no" below the
"unsure" one, and that the similarity is the largest of as many comparisons as threshold and rate
of the decision imply. Without drift these shares are uniform over 0…1, whatever the thresholds and
gallery sizes were. They are compared by a two-sample Kolmogorov–Smirnov test, in which the
calibration counts as many cases as it has people, and by an effect size: the mean of the shares
as normal deviates, 0 without drift, in standard deviations (Cohen's d).

A "yes" may be a stranger who passed and a "no" somebody not recognised: answers stand in for the
truth, which is enough to see a camera change.

Letters: R decisions, B bins of similarity over −1…1.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.decisions import decisions_since
from store.records import Decision
from verify.calibration import BINS, Calibration, calibration_for
from verify.opening import Parts
from verify.sources import is_moving

LEAST = 20  # decisions of a camera and kind, for a test
SIGNIFICANCE = 0.01  # over all tests together (Bonferroni)
SMALL = 0.2  # a small effect (Cohen, "Statistical power analysis", 1988)


@dataclass(frozen=True, slots=True)
class Drift:
    """How the similarities of one camera stand to the calibration.

    Attributes:
        camera: a camera, a stream, or the folder that photos came from.
        kind: `genuine` (yes) or `strangers` (no).
        count: how many decisions.
        distance: Kolmogorov–Smirnov distance, 0…1.
        chance: of such a distance without drift, 0…1.
        effect: mean shift in standard deviations; positive: more similar than promised.
        verdict: `as promised`, `shifted` (harmless side), `DRIFTED` (harmful side).
    """

    camera: str
    kind: str
    count: int
    distance: float
    chance: float
    effect: float
    verdict: str


@dataclass(frozen=True, slots=True)
class ScoresAudit:
    """What `vultus audit scores` found.

    Attributes:
        drifts: one a camera and kind, by name.
        few: cameras and kinds with too few decisions for a test, and how many they have.
        since: ISO time from which decisions were looked at.
    """

    drifts: tuple[Drift, ...]
    few: tuple[tuple[str, str, int], ...]
    since: str

    @property
    def warnings(self) -> tuple[Drift, ...]:
        """Those that drifted the harmful way."""
        return tuple(drift for drift in self.drifts if drift.verdict == "DRIFTED")

    def remarks(self) -> list[str]:
        """What else to tell people."""
        told = [
            f"{d.camera}: "
            + (
                "people who pass are less similar than promised: look at the camera and the light, "
                "enrol newer photos, or calibrate again with: vultus calibrate --gallery"
                if d.kind == "genuine"
                else "strangers are more similar than promised: false matches are more frequent "
                "than asked; calibrate on your own people with: vultus calibrate --gallery"
            )
            for d in self.warnings
        ]
        if not self.drifts and not self.few:
            told.append(f"There are no decisions with yes or no since {self.since}.")
        if self.few:
            told.append(f"{len(self.few)} cameras and kinds have fewer than {LEAST} decisions.")
        return told

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "since": self.since,
            "drifted": bool(self.warnings),
            "drifts": [asdict(drift) for drift in self.drifts],
            "too_few": [{"camera": c, "kind": k, "count": n} for c, k, n in self.few],
        }


def audit_scores(parts: Parts, days: float) -> ScoresAudit:
    """Compare the decisions of some days with the calibration each of them used.

    Args:
        parts: the gallery.
        days: how far back.

    Raises:
        CalibrationBroken: a stored calibration cannot be read.
    """
    since = datetime.now(UTC) - timedelta(days=days)
    shares: dict[tuple[str, str], list[float]] = defaultdict(list)
    sizes: dict[tuple[str, str], list[int]] = defaultdict(list)
    curves: dict[tuple[str, int | None], Calibration | None] = {}
    with parts.store.read() as session:
        for decision, body in decisions_since(session, since):
            key = (decision.space, decision.calibration_id)
            if key not in curves:
                curves[key] = _curve(decision.space, body)
            _collect(decision, curves[key], shares, sizes)
    few = tuple((*key, len(some)) for key, some in sorted(shares.items()) if len(some) < LEAST)
    tested = {key: some for key, some in sorted(shares.items()) if len(some) >= LEAST}
    drifts = tuple(
        judge(*key, np.array(some), min(sizes[key]), tests=len(tested))
        for key, some in tested.items()
    )
    return ScoresAudit(drifts, few, since.isoformat(timespec="seconds"))


def _curve(space: str, body: str | None) -> Calibration | None:
    from verify.errors import NoCalibration

    try:
        return calibration_for(space, body)
    except NoCalibration:  # of an encoder that is gone
        return None


def _collect(
    decision: Decision,
    calibration: Calibration | None,
    shares: dict[tuple[str, str], list[float]],
    sizes: dict[tuple[str, str], list[int]],
) -> None:
    """Add a decision's share and the size of its calibration where both can be told."""
    if calibration is None or decision.answer == "unsure":
        return
    found = share_of(decision, calibration)
    if found is not None:
        genuine = decision.answer == "yes"
        key = (camera_of(decision.source), "genuine" if genuine else "strangers")
        shares[key].append(found)
        sizes[key].append(calibration.mated_people if genuine else calibration.people)


def share_of(decision: Decision, calibration: Calibration) -> float | None:
    """Share of comparisons below a decision's similarity, given its answer; None where unknown."""
    if decision.similarity is None or decision.threshold is None or decision.fmr is None:
        return None
    if decision.answer == "yes":
        if calibration.mated_people == 0:
            return None
        below = _cumulative(calibration.mated)
        least, most = _at(below, decision.threshold), 1.0
        value = _at(below, decision.similarity)
    else:
        count = comparisons_of(decision.threshold, decision.fmr, calibration)
        below = _cumulative(calibration.nonmated) ** count
        unsure = decision.unsure_above
        if unsure is not None and decision.similarity >= unsure:
            return None  # a no for another reason: a presentation attack
        least, most = 0.0, _at(below, decision.threshold if unsure is None else unsure)
        value = min(_at(below, decision.similarity), most)
    return (value - least) / (most - least) if most > least else None


def comparisons_of(threshold: float, rate: float, calibration: Calibration) -> float:
    """How many independent comparisons a threshold was set for, from its rate; 1 or more."""
    each = calibration.fmr_at(threshold)
    if not 0.0 < each < 1.0 or not 0.0 < rate < 1.0:
        return 1.0
    return max(math.log1p(-rate) / math.log1p(-each), 1.0)


def _cumulative(bins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share below each edge of the bins: float64 (B + 1,)."""
    below: NDArray[np.float64] = np.append(0.0, np.cumsum(bins)) / bins.sum()
    return below


def _at(below: NDArray[np.float64], similarity: float) -> float:
    """A cumulative share, float64 (B + 1,), between the edges of its bin."""
    return float(np.interp((similarity + 1.0) * BINS / 2.0, np.arange(BINS + 1), below))


def camera_of(source: str) -> str:
    """What a probe was taken with: its camera or stream; for a photo, its folder."""
    first = source.split(" ~ ", 1)[0]  # the two of a comparison
    if not first or is_moving(first):
        return first or "(forgotten)"
    return str(PurePath(first).parent)


def judge(
    camera: str, kind: str, shares: NDArray[np.float64], size: int, *, tests: int = 1
) -> Drift:
    """Test shares for being uniform.

    Args:
        camera: the camera.
        kind: `genuine` or `strangers`.
        shares: float64 (R,), 0…1.
        size: how many people stand behind the calibration's curve.
        tests: how many tests are made together.
    """
    from scipy.special import kolmogorov, ndtri

    ranked = np.sort(shares)
    steps = np.arange(len(ranked) + 1) / len(ranked)
    distance = float(max((steps[1:] - ranked).max(), (ranked - steps[:-1]).max()))
    cases = len(ranked) * size / (len(ranked) + size)
    chance = float(kolmogorov(math.sqrt(cases) * distance))
    edge = 0.5 / len(ranked)
    effect = float(ndtri(np.clip(ranked, edge, 1 - edge)).mean())
    shifted = chance < SIGNIFICANCE / tests and abs(effect) >= SMALL
    harmful = effect < 0 if kind == "genuine" else effect > 0
    verdict = "as promised" if not shifted else "DRIFTED" if harmful else "shifted"
    return Drift(camera, kind, len(ranked), distance, chance, effect, verdict)
