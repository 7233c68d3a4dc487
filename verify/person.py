"""Verify a capture against a stored person, and compare two captures: take, decide, record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embedder.photo import Source
from embedder.quality import DEFAULT_GATE, Gate
from store.lean import Claim
from verify import pair
from verify.capture import FRAMES, TIMEOUT, Probe, take
from verify.decision import DEFAULT_FMR, Decision, rule_at
from verify.opening import Parts
from verify.pad import OFF, Pad, PadResult, apply

NOT_THEM = "not_this_person: it was said of this photo that it is not them (vultus undo --list)"


@dataclass(frozen=True, slots=True)
class CaptureRules:
    """How a probe is taken.

    Attributes:
        on_multiple: `reject`, `largest` or `centre`, for several faces.
        gate: the least quality.
        frames: how many good frames of a moving source are fused.
        timeout: seconds a moving source has.
    """

    on_multiple: str = "reject"
    gate: Gate = DEFAULT_GATE
    frames: int = FRAMES
    timeout: float = TIMEOUT

    def take(self, parts: Parts, source: Source) -> Probe:
        """Take a probe; raises as `verify.capture.take`."""
        return take(
            parts.embedder, source, rule=self.on_multiple, gate=self.gate, frames=self.frames,
            timeout=self.timeout,
        )  # fmt: skip

    def challenge(
        self, parts: Parts, source: Source, pad: Pad, cut: float
    ) -> tuple[Probe, tuple[PadResult, ...]]:
        """Take a probe, with a challenge where one is asked; see `verify.pad_camera`."""
        if pad.challenge is None:
            return self.take(parts, source), ()
        from verify.pad_camera import take_challenged

        probe, found = take_challenged(
            parts.embedder, source, pad.challenge, cut=cut, rule=self.on_multiple, gate=self.gate,
            frames=self.frames,
        )  # fmt: skip
        return probe, (found,)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two captures compared.

    Attributes:
        first, second: where they came from.
        decision: the answer.
    """

    first: str
    second: str
    decision: Decision

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"first": self.first, "second": self.second, **self.decision.to_dict()}


def verify_person(
    parts: Parts,
    who: str,
    source: Source,
    *,
    fmr: float = DEFAULT_FMR,
    site: str | None = None,
    rules: CaptureRules | None = None,
    unsure: float | None = None,
    extrapolate: bool = False,
    explain: bool = False,
    pad: Pad = OFF,
) -> Decision:
    """Decide whether a capture shows a stored person, and record the decision.

    A photo of which it was said that it is not this person (`vultus people not`) is a "no",
    whatever its similarity; the reason begins with `not_this_person`.

    Args:
        parts: the gallery.
        who: name or uid of the claimed person.
        source: a photo, a video, a camera number or a stream; see `verify.capture.take`.
        fmr: the asked false-match rate.
        site: look for the person only there.
        rules: how the probe is taken.
        unsure: the false-match rate up to which the answer is "unsure"; None: ten times `fmr`.
        extrapolate: answer at rates beyond what the calibration's counts show, and say so.
        explain: gather what the answer rests on; it opens the index.
        pad: what is asked of presentation attack detection; off by default.

    Raises:
        UnknownPerson, AmbiguousPerson: nobody or several people of that name.
        NoTemplates: the person has nothing to compare with.
        ProbeRejected, NoUsableFrame, SourceUnusable, UnusablePhoto: no probe could be taken.
        UnsupportedRate, NoCalibration: the rate cannot be promised.
    """
    person = (None if explain else parts.lean_claim(who, site)) or _claim(parts, who, site)
    templates = person.templates
    # refuse what cannot be decided before any camera runs
    pair.require_templates(templates, person.name)
    rule = rule_at(parts.calibration, fmr, unsure=unsure, extrapolate=extrapolate)
    probe, shown = (rules or CaptureRules()).challenge(parts, source, pad, rule.threshold)
    decision = pair.verify(
        probe.vectors, templates, parts.calibration, fmr, person.name, unsure=unsure,
        extrapolate=extrapolate,
    )  # fmt: skip
    if explain:
        from verify.explain import explain as explanation_of

        told = explanation_of(
            parts, person.person_id, probe.vectors, probe.faces, similarity=decision.similarity,
            comparisons=decision.templates, within=np.array([person.site_id], np.int64),
        )  # fmt: skip
        decision = replace(decision, explanation=told)
    if _denied(parts, probe, person.person_id):
        decision = replace(decision, match="no", reasons=(*decision.reasons, NOT_THEM))
    decision = apply(decision, pad.check(probe.shots, *shown), pad.mode)
    _record(parts, "verify", decision, probe.source, person)
    return decision


def _claim(parts: Parts, who: str, site: str | None) -> Claim:
    """The claimed person; raises as `verify_person`."""
    from store.gallery import require_space
    from store.people import find_person
    from store.templates import vectors_of

    with parts.store.read() as session:
        person = find_person(session, who, site)
        require_space(session, parts.card.space)
        _, templates = vectors_of(session, person.id, parts.card.space)
    return Claim(
        person.id, person.uid, person.name, person.site_id, parts.card.space, templates, None, None
    )


def _denied(parts: Parts, probe: Probe, person_id: int) -> bool:
    """Whether it was said of a probe's very photo that its face is not that person."""
    digests = [photo.digest for photo in probe.photos if photo.digest]
    if parts.lean is not None and not any(map(parts.lean.is_corrected, digests)):
        return False
    from store.facts import denied_people

    with parts.store.read() as session:
        return any(
            person_id in denied_people(session, photo.digest, parts.card.space, vector[None])[0]
            for photo, vector in zip(probe.photos, probe.vectors, strict=True)
            if photo.digest  # a frame of a moving source has none
        )


def compare_captures(
    parts: Parts,
    first: Source,
    second: Source,
    *,
    fmr: float = DEFAULT_FMR,
    rules: CaptureRules | None = None,
    unsure: float | None = None,
    extrapolate: bool = False,
) -> Comparison:
    """Decide whether two captures show the same person; arguments and errors as `verify_person`."""
    rule_at(parts.calibration, fmr, unsure=unsure, extrapolate=extrapolate)
    rules = rules or CaptureRules()
    one, other = rules.take(parts, first), rules.take(parts, second)
    decision = pair.compare(
        one.vectors, other.vectors, parts.calibration, fmr, unsure=unsure, extrapolate=extrapolate
    )
    if len(one.vectors) > 1 or len(other.vectors) > 1:
        frames = f"{len(one.vectors)} and {len(other.vectors)} frames averaged"
        decision = replace(decision, reasons=(*decision.reasons, frames))
    _record(parts, "compare", decision, f"{one.source} ~ {other.source}", None)
    return Comparison(one.source, other.source, decision)


def _record(parts: Parts, kind: str, decision: Decision, source: str, person: Claim | None) -> None:
    values: dict[str, Any] = {
        "kind": kind, "answer": decision.match, "space": decision.space, "source": source,
        "person_id": None if person is None else person.person_id,
        "similarity": decision.similarity, "threshold": decision.threshold, "fmr": decision.fmr,
        "calibration_id": parts.calibration_id, "unsure_above": decision.unsure_above,
        "extrapolated": decision.extrapolated,
    }  # fmt: skip
    if person is not None and parts.lean is not None and parts.lean.record(person.uid, values):
        return
    from store.gallery import record_decision

    with parts.store.begin() as session:
        record_decision(session, **values)
