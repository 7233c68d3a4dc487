"""Verification, 1:1: a probe against another photo, or against all templates of one person.

The similarity to a person is the largest over the templates. Each template is one more chance
for a stranger, so the threshold is set for the asked rate over all of them together.

Letters: F frames, M templates, D dimensions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from verify.calibration import Calibration
from verify.decision import DEFAULT_FMR, Decision, Rule, extrapolation_reason, rule_at
from verify.errors import NoTemplates


def compare(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    calibration: Calibration,
    fmr: float = DEFAULT_FMR,
    *,
    unsure: float | None = None,
    extrapolate: bool = False,
) -> Decision:
    """Decide whether two probes show the same person.

    Args:
        first: float32 (F, D), unit rows: frames of one capture, or one photo (F = 1).
        second: float32 (F', D), likewise.
        calibration: the curve of their space.
        fmr: the asked false-match rate.
        unsure: the second rate; see `verify.decision.rule_at`.
        extrapolate: go beyond what was counted.

    Raises:
        UnsupportedRate: the calibration cannot show that rate.
    """
    rule = rule_at(calibration, fmr, unsure=unsure, extrapolate=extrapolate)
    similarity = float((first @ second.T).mean())
    return _decision(rule, similarity, calibration)


def _decision(
    rule: Rule,
    similarity: float,
    calibration: Calibration,
    person: str | None = None,
    templates: int = 1,
    reasons: tuple[str, ...] = (),
) -> Decision:
    """What a rule says of a similarity."""
    return Decision(
        match=rule.answer(similarity),
        similarity=similarity,
        threshold=rule.threshold,
        unsure_above=rule.unsure_above,
        fmr=rule.rate,
        space=calibration.space,
        person=person,
        templates=templates,
        reasons=reasons + extrapolation_reason(rule, calibration),
        unsure_fmr=rule.unsure_rate,
        extrapolated=rule.extrapolated,
        probability=calibration.probability_at(similarity),
    )


def verify(
    probe: NDArray[np.float32],
    templates: NDArray[np.float32],
    calibration: Calibration,
    fmr: float = DEFAULT_FMR,
    person: str | None = None,
    *,
    unsure: float | None = None,
    extrapolate: bool = False,
) -> Decision:
    """Decide whether a probe shows a person.

    Where the asked rate over all templates is below what the calibration can show, only as many
    templates are compared as it can answer for, the most typical ones, and the decision says so.

    Args:
        probe: float32 (F, D), unit rows: frames of one capture, or one photo (F = 1); the
            similarities of the frames to a template are averaged.
        templates: float32 (M, D), unit rows.
        calibration: the curve of their space.
        fmr: the asked false-match rate over all templates.
        person: the claimed name.
        unsure: the second rate; see `verify.decision.rule_at`.
        extrapolate: go beyond what was counted where even one template needs it.

    Raises:
        NoTemplates: M is 0.
        UnsupportedRate: the calibration cannot show that rate even for one template.
    """
    require_templates(templates, person)
    rule_at(calibration, fmr, extrapolate=extrapolate)  # refuses what is no rate
    usable = max(1, int(fmr / calibration.smallest_fmr))
    reasons: tuple[str, ...] = ()
    if usable < len(templates):
        said = f"compared with the {usable} most typical of {len(templates)} templates: "
        reasons = (said + f"more cannot be answered for at a false-match rate of {fmr:.2g}",)
        templates = templates[most_typical(templates, usable)]
    rule = rule_at(calibration, fmr, len(templates), unsure=unsure, extrapolate=extrapolate)
    similarity = float((probe @ templates.T).mean(axis=0).max())
    return _decision(rule, similarity, calibration, person, len(templates), reasons)


def require_templates(templates: NDArray[np.float32], person: str | None) -> None:
    """Make sure that there is something to compare with.

    Args:
        templates: float32 (M, D).
        person: the claimed name.

    Raises:
        NoTemplates: M is 0.
    """
    if len(templates) == 0:
        who = "The person" if person is None else person
        raise NoTemplates(f"{who} has no template in this space: enrol a photo first.")


def most_typical(templates: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The rows nearest to the mean of all, in rising order.

    Args:
        templates: float32 (M, D), unit rows.
        count: how many, at most M.

    Returns:
        int64 (count,).
    """
    closeness = templates @ templates.mean(axis=0)
    return np.sort(np.argsort(-closeness, kind="stable")[:count]).astype(np.int64)
