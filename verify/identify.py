"""Identification, 1:N, open set: who is this, and "nobody" is an answer.

Letters: Q faces, D dimensions, K neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from index.neighbors import Hits
from store.gallery import require_space
from store.schema import Person, Template
from store.sealing import require_comparable
from store.synced import SyncedIndex
from store.templates import Owner, owners
from verify.calibration import Calibration, per_comparison, rounded_up
from verify.decision import Answer, Rule, rule_at
from verify.errors import UnsupportedRate
from verify.neighbours import NEIGHBOURS

DEFAULT_FPIR = 0.01
_LARGEST_DEFAULT = 0.1


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody a face may be.

    Attributes:
        person: the name.
        uid: the person's stable id.
        site: where the person is enrolled.
        similarity: the largest over the person's templates among the neighbours, −1…1.
        evidence: ids of those templates, the nearest first.
        answer: what the similarity means at the asked rate.
        person_id: row of the person in the database.
    """

    person: str
    uid: str
    site: str
    similarity: float
    evidence: tuple[int, ...]
    answer: Answer
    person_id: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "person": self.person,
            "uid": self.uid,
            "site": self.site,
            "similarity": round(self.similarity, 6),
            "distance": round(1.0 - self.similarity, 6),
            "evidence": list(self.evidence),
            "answer": self.answer,
        }


@dataclass(frozen=True, slots=True)
class Identification:
    """Who one face is.

    Attributes:
        answer: yes (the first candidate), unsure, or no: nobody known.
        candidates: people among the neighbours, the most similar first.
        threshold: the similarity asked for "yes".
        fpir: the share of strangers that may be taken for somebody at that threshold.
        gallery_size: how many templates the face met.
        agreement: share of the nearest neighbours, as many as the first candidate could fill,
            that are the first candidate's; 0…1.
        unsure_above: the similarity asked for "unsure".
        unsure_fpir: the rate of `unsure_above`.
        extrapolated: whether a threshold rests on a tail fitted beyond what was counted.
    """

    answer: Answer
    candidates: tuple[Candidate, ...]
    threshold: float
    fpir: float
    gallery_size: int
    agreement: float
    unsure_above: float
    unsure_fpir: float
    extrapolated: bool = False

    @property
    def person(self) -> str | None:
        """The name, or None for nobody or unsure."""
        return self.candidates[0].person if self.answer == "yes" else None

    @property
    def person_id(self) -> int | None:
        """Row of the person whom the answer is about: yes or unsure."""
        return self.candidates[0].person_id if self.answer != "no" else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "answer": self.answer,
            "person": self.person,
            "threshold": round(self.threshold, 6),
            "unsure_above": round(self.unsure_above, 6),
            "fpir": self.fpir,
            "unsure_fpir": self.unsure_fpir,
            "extrapolated": self.extrapolated,
            "gallery_size": self.gallery_size,
            "agreement": round(self.agreement, 3),
            "candidates": [candidate.to_dict() for candidate in self.candidates],
        }


def gallery_rule(
    calibration: Calibration,
    size: int,
    fpir: float | None,
    *,
    unsure: float | None = None,
    extrapolate: bool = False,
) -> Rule:
    """The rule for a gallery of a size.

    Args:
        calibration: the curve of the space.
        size: templates in the gallery.
        fpir: the asked rate; None: 0.01, or the smallest the calibration supports for this size.
        unsure: the second rate; see `verify.decision.rule_at`.
        extrapolate: go beyond what was counted.

    Raises:
        UnsupportedRate: the asked rate, or for None any rate up to 0.1, cannot be shown.
    """
    if fpir is None and extrapolate:
        fpir = DEFAULT_FPIR
    if fpir is not None:
        return rule_at(calibration, fpir, size, unsure=unsure, extrapolate=extrapolate)
    smallest = calibration.smallest_rate(size)
    if smallest > _LARGEST_DEFAULT:
        smallest = rounded_up(smallest)
        raise UnsupportedRate(
            f"Among {size} templates this calibration ({calibration.source}) cannot promise "
            f"fewer than {smallest:.0%} strangers taken for somebody: calibrate on more people "
            f"with vultus calibrate PEOPLE, or accept it with --fpir {smallest:g}."
        )
    return rule_at(calibration, max(DEFAULT_FPIR, smallest), size, unsure=unsure)


def identify(
    queries: NDArray[np.float32],
    index: SyncedIndex,
    session: Session,
    calibration: Calibration,
    *,
    fpir: float | None = None,
    k: int = NEIGHBOURS,
    within: NDArray[np.int64] | None = None,
    unsure: float | None = None,
    extrapolate: bool = False,
    denied: Sequence[frozenset[int]] = (),
) -> list[Identification]:
    """Find out who faces are; every hit is checked against the database.

    Args:
        queries: float32 (Q, D), unit rows.
        index: the gallery's index, in step with the database.
        session: a transaction that reads.
        calibration: the curve of the space.
        fpir: the asked false-positive identification rate; see `gallery_rule`.
        k: how many templates to look at for each face.
        within: int64 (M,), ids of the sites to search; None: all.
        unsure: the second rate; see `verify.decision.rule_at`.
        extrapolate: go beyond what was counted.
        denied: Q sets of rows of people whom each face is known not to be (`store.facts`): they
            are passed over, and as many more neighbours are looked at. Empty: nobody is.

    Raises:
        UnsupportedRate: the calibration cannot show the rate for this gallery.
        OneToOneOnly: the gallery's people cannot be compared with each other.
        SpaceMismatch: the gallery was migrated to another encoder since the index was opened.
    """
    require_comparable(session)
    require_space(session, index.space)
    size = len(index) if within is None else _enrolled(session, index.space, within)
    if size == 0:
        rate = DEFAULT_FPIR if fpir is None else fpir
        per_comparison(rate, 1)  # refuses what is no rate
        nobody = Rule(1.0, 1.0, rate, rate if unsure is None else unsure)
        return [_judge(None, {}, nobody, 0) for _ in queries]
    rule = gallery_rule(calibration, size, fpir, unsure=unsure, extrapolate=extrapolate)
    denied = denied or [frozenset()] * len(queries)
    passed_over = _templates_of(session, index.space, frozenset[int]().union(*denied))
    found = index.search(queries, min(k + passed_over, size), within)
    owner = owners(session, np.unique(found.ids[found.ids >= 0]).tolist())
    return [
        _judge(_without(found[q], owner, people, k), owner, rule, size)
        for q, people in enumerate(denied)
    ]


def _templates_of(session: Session, space: str, people: frozenset[int]) -> int:
    """How many templates of a space some people have, by their rows."""
    if not people:
        return 0
    theirs = select(func.count(Template.id)).where(Template.space == space)
    return session.execute(theirs.where(Template.person_id.in_(people))).scalar_one()


def _without(
    hits: Hits, owner: dict[int, Owner], people: frozenset[int], k: int
) -> list[tuple[int, float]]:
    """The first k hits that are not of these people."""
    kept = (hit for hit in hits if hit[0] not in owner or owner[hit[0]].person_id not in people)
    return list(islice(kept, k))


def _enrolled(session: Session, space: str, sites: NDArray[np.int64]) -> int:
    """How many templates of a space are in sites, int64 (M,)."""
    query = (
        select(func.count(Template.id))
        .join(Person, Person.id == Template.person_id)
        .where(Template.space == space, Person.site_id.in_(sites.tolist()))
    )
    return session.execute(query).scalar_one()


def _judge(
    hits: Sequence[tuple[int, float]] | None, owner: dict[int, Owner], rule: Rule, size: int
) -> Identification:
    """Turn one face's neighbours into candidates and an answer."""
    known = [(i, s, owner[i]) for i, s in hits or () if i in owner]
    by_person: dict[str, list[tuple[int, float, Owner]]] = {}
    for hit in known:
        by_person.setdefault(hit[2].uid, []).append(hit)
    candidates = [_candidate(group, rule) for group in by_person.values()]
    if not candidates:
        return _identification("no", (), rule, size, 0.0)
    first = candidates[0]
    near = known[: len(first.evidence)]
    agreement = sum(hit[2].uid == first.uid for hit in near) / len(near)
    return _identification(first.answer, tuple(candidates), rule, size, agreement)


def _identification(
    answer: Answer, candidates: tuple[Candidate, ...], rule: Rule, size: int, agreement: float
) -> Identification:
    return Identification(
        answer=answer,
        candidates=candidates,
        threshold=rule.threshold,
        fpir=rule.rate,
        gallery_size=size,
        agreement=agreement,
        unsure_above=rule.unsure_above,
        unsure_fpir=rule.unsure_rate,
        extrapolated=rule.extrapolated,
    )


def _candidate(hits: Sequence[tuple[int, float, Owner]], rule: Rule) -> Candidate:
    _, similarity, owner = hits[0]
    evidence = tuple(hit[0] for hit in hits)
    return Candidate(
        owner.name,
        owner.uid,
        owner.site,
        similarity,
        evidence,
        rule.answer(similarity),
        owner.person_id,
    )
