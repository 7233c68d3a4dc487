"""What is wrong in a gallery, with the evidence and the command that mends it.

The pictures and names are compared by `enroll.suspects`; the rest is read from the tables.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from enroll.indexing import MEND as INDEX_MEND
from enroll.indexing import verify_index
from enroll.suspects import Cuts, Suspicion, confusable, duplicates, misfits
from index.errors import IndexFileBroken
from store.consent import without_consent
from store.facts import constraints
from store.gallery import pinned_space
from store.photos import FaceOrigin, chunks, origins
from store.schema import Face, Person, Photo, Template
from store.sealing import comparable
from store.templates import LibraryFaces, named_templates
from verify.decision import DEFAULT_FMR
from verify.errors import CalibrationError
from verify.opening import Parts

YEARS: Final = 10.0  # a template older than this may no longer look like its person
CONFUSABLE: Final = 100  # pairs told, the most alike; the others are counted
_DAYS_A_YEAR = 365.25
_SHOWN = 6  # files of one finding in its evidence

SERIOUS: Final = ("duplicate", "mixed", "outlier", "mixed_spaces", "orphan", "index")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at.

    Attributes:
        kind: duplicate, mixed, outlier, unalike, confusable, one_template, old_template, orphan,
            mixed_spaces, index, no_consent.
        people: the names it is about.
        uids: theirs.
        templates: the templates that show it.
        files: the photos those come from, as they were enrolled.
        evidence: what was found, in one sentence with numbers.
        mend: the command that mends it, or "" where only looking helps.
        similarity: cosine behind it, or None.
        cut: the similarity on whose wrong side that lies, or None.
    """

    kind: str
    people: tuple[str, ...]
    uids: tuple[str, ...]
    templates: tuple[int, ...]
    files: tuple[str, ...]
    evidence: str
    mend: str
    similarity: float | None = None
    cut: float | None = None

    @property
    def serious(self) -> bool:
        """Whether answers may be wrong until it is mended."""
        return self.kind in SERIOUS

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"serious": self.serious}


@dataclass(frozen=True, slots=True)
class GalleryAudit:
    """What was looked at and what was found.

    Attributes:
        people: how many people the gallery has.
        templates: how many templates they have in its space.
        findings: the serious ones first, of each kind the surest first.
        counts: how many findings of each kind there are, also those that are not told one by one.
        skipped: checks that could not be made, and why.
    """

    people: int
    templates: int
    findings: tuple[Finding, ...]
    counts: dict[str, int]
    skipped: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing serious was found."""
        return not any(finding.serious for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "clean": self.clean,
            "people": self.people,
            "templates": self.templates,
            "counts": self.counts,
            "skipped": list(self.skipped),
            "findings": [finding.to_dict() for finding in self.findings],
        }


def audit_gallery(
    parts: Parts,
    fmr: float = DEFAULT_FMR,
    *,
    years: float = YEARS,
    now: datetime | None = None,
) -> GalleryAudit:
    """Look for contradictions and gaps in a gallery; nothing is changed.

    Args:
        parts: the gallery.
        fmr: false-match rate at which two people count as confusable.
        years: templates from photos older than this are told.
        now: aware time that ages are counted from; None is the present.

    Raises:
        DatabaseUnusable: the gallery cannot be read.
    """
    moment = datetime.now(UTC) if now is None else now
    skipped: list[str] = []
    with parts.store.read() as session:
        space = pinned_space(session)
        people = session.scalar(select(func.count()).select_from(Person)) or 0
        findings = [*_spaces(session, space), *_orphans(session), *_no_consent(session)]
        templates = 0
        if space is not None:
            if comparable(session):
                faces = named_templates(session, space)
                templates = len(faces)
                suspicions = _suspicions(parts, session, faces, fmr, skipped)
                findings += _told(session, faces, suspicions)
            else:
                skipped.append(
                    "people are not compared with each other: each has a transform of their own"
                )
            findings += _one_template(session, space)
            findings += _old(session, space, moment - timedelta(days=years * _DAYS_A_YEAR), years)
    if space is not None and parts.card.space == space:
        findings += _index(parts)
    counts = dict(Counter(finding.kind for finding in findings))
    told = _limited(findings)
    told.sort(key=lambda finding: not finding.serious)
    return GalleryAudit(people, templates, tuple(told), counts, tuple(skipped))


def _suspicions(
    parts: Parts, session: Session, faces: LibraryFaces, fmr: float, skipped: list[str]
) -> list[Suspicion]:
    try:
        cuts = Cuts.of(parts.calibration)
        threshold = parts.calibration.threshold(fmr)
    except CalibrationError as error:
        skipped.append(f"photos are not compared with names: {error}")
        return []
    apart = constraints(session, faces.ids.tolist()).apart
    arrays = faces.ids, faces.person_ids, faces.vectors
    same = duplicates(*arrays, cuts, apart)
    known = {suspicion.people for suspicion in same}
    close = [s for s in confusable(*arrays, threshold) if s.people not in known]
    return [*same, *misfits(*arrays, cuts), *close]


def _told(
    session: Session, faces: LibraryFaces, suspicions: Sequence[Suspicion]
) -> Iterator[Finding]:
    wanted = sorted({person for suspicion in suspicions for person in suspicion.people})
    named: dict[int, Person] = {}
    for some in chunks(wanted):
        rows = session.scalars(select(Person).where(Person.id.in_(some)))
        named.update((person.id, person) for person in rows)
    shown = sorted({t for suspicion in suspicions for t in suspicion.templates})
    came = origins(session, shown)
    sizes = Counter(faces.person_ids.tolist())
    for suspicion in suspicions:
        whose = [named[person] for person in suspicion.people]
        yield Finding(
            kind=suspicion.kind,
            people=tuple(person.name for person in whose),
            uids=tuple(person.uid for person in whose),
            templates=suspicion.templates,
            files=_files(suspicion.templates, came),
            evidence=_evidence(suspicion, [sizes[person.id] for person in whose]),
            mend=_mend(suspicion, whose, came),
            similarity=suspicion.similarity,
            cut=suspicion.cut,
        )


def _evidence(suspicion: Suspicion, sizes: Sequence[int]) -> str:
    value, cut, count = suspicion.similarity, suspicion.cut, len(suspicion.templates)
    return {
        "duplicate": f"their photos are {value:.2f} alike on average; "
        f"strangers stay below {cut:.2f}",
        "mixed": f"{count} of {sizes[0]} photos are only {value:.2f} like the others; "
        f"one person's are above {cut:.2f}",
        "outlier": f"one of {sizes[0]} photos is only {value:.2f} like the others; "
        f"one person's are above {cut:.2f}",
        "unalike": f"the two photos are only {value:.2f} alike; one person's are above {cut:.2f}",
        "confusable": f"a photo of each, {value:.2f} alike, would pass at the rate in force "
        f"({cut:.2f})",
    }[suspicion.kind]


def _mend(suspicion: Suspicion, whose: Sequence[Person], came: dict[int, FaceOrigin]) -> str:
    first = whose[0].uid
    listed = " ".join(str(template) for template in suspicion.templates)
    if suspicion.kind == "duplicate":
        return f"vultus people merge {whose[1].uid} {first}"
    if suspicion.kind == "mixed":
        return f"vultus people split {first} NEW-NAME {listed}"
    if suspicion.kind == "outlier":
        return f"vultus people not {first} {listed}"
    if suspicion.kind == "unalike":
        files = _files(suspicion.templates, came)
        return f"vultus compare {shlex.join(files)}"
    return ""


def _files(templates: Sequence[int], came: dict[int, FaceOrigin]) -> tuple[str, ...]:
    sources = (came[template].source for template in templates if template in came)
    return tuple(list(dict.fromkeys(sources))[:_SHOWN])


def _one_template(session: Session, space: str) -> Iterator[Finding]:
    count = func.count(Template.id)
    query = (
        select(Person.name, Person.uid, func.max(Template.id), count)
        .outerjoin(Template, (Template.person_id == Person.id) & (Template.space == space))
        .group_by(Person.id)
        .having(count <= 1)
        .order_by(Person.name)
    )
    for name, uid, template, templates in session.execute(query).all():
        evidence = "one photo only" if templates else "no photo in the gallery's vector space"
        yield Finding(
            "one_template", (name,), (uid,), (template,) if templates else (), (), evidence,
            f"vultus enroll PHOTOS --name {shlex.quote(name)}",
        )  # fmt: skip


def _old(session: Session, space: str, before: datetime, years: float) -> Iterator[Finding]:
    """People whose newest photo was taken, or else enrolled, before a moment."""
    taken = func.max(func.coalesce(Photo.taken, Template.created))
    query = (
        select(Person.name, Person.uid, taken)
        .join(Template, Template.person_id == Person.id)
        .join(Face, Face.id == Template.face_id)
        .join(Photo, Photo.id == Face.photo_id)
        .where(Template.space == space)
        .group_by(Person.id)
        .having(taken < before)
        .order_by(Person.name)
    )
    for name, uid, newest in session.execute(query).all():
        yield Finding(
            "old_template", (name,), (uid,), (), (),
            f"the newest photo is of {newest:%Y-%m-%d}, more than {years:g} years ago",
            f"vultus enroll PHOTOS --name {shlex.quote(name)}",
        )  # fmt: skip


def _orphans(session: Session) -> Iterator[Finding]:
    """Photos that count as enrolled and nobody has a template of."""
    used = exists().where(Face.photo_id == Photo.id, Template.face_id == Face.id)
    query = select(Photo.source, Photo.digest).where(Photo.outcome == "enrolled", ~used)
    for source, digest in session.execute(query.order_by(Photo.id)).all():
        yield Finding(
            "orphan", (), (), (), (source,),
            "the photo counts as enrolled, but nobody has a template of it",
            f"vultus forget {digest}",
        )  # fmt: skip


def _spaces(session: Session, space: str | None) -> Iterator[Finding]:
    """People whose templates are all of other spaces than the gallery's."""
    here = exists().where(Template.person_id == Person.id, Template.space == space)
    any_space = exists().where(Template.person_id == Person.id)
    query = select(Person.name, Person.uid).where(any_space, ~here).order_by(Person.name)
    for name, uid in session.execute(query).all():
        yield Finding(
            "mixed_spaces", (name,), (uid,), (), (),
            f"there are templates, but none of {space}, so nobody can be recognised by them",
            f"vultus enroll PHOTOS --name {shlex.quote(name)}",
        )  # fmt: skip


def _index(parts: Parts) -> Iterator[Finding]:
    """The index beside the tables: rows that are missing, too many or other."""
    try:
        status = verify_index(parts)
    except IndexFileBroken as error:
        yield Finding("index", (), (), (), (), str(error), INDEX_MEND)
        return
    if status.mend is not None:
        yield Finding(
            "index", (), (), (), (),
            f"{status.missing} templates are missing, {status.extra} too many and "
            f"{status.different or 0} different",
            status.mend,
        )  # fmt: skip


def _no_consent(session: Session) -> Iterator[Finding]:
    """People of sites that want consent on record, without it."""
    for person in without_consent(session):
        yield Finding(
            "no_consent", (person.name,), (person.uid,), (), (),
            "the site requires basis, date and reference of consent, and they are not on record",
            f"vultus people consent {person.uid} --consent-basis BASIS --consent-date DAY "
            "--consent-reference REFERENCE",
        )  # fmt: skip


def _limited(findings: Sequence[Finding]) -> list[Finding]:
    told: list[Finding] = []
    pairs = 0
    for finding in findings:
        pairs += finding.kind == "confusable"
        if finding.kind != "confusable" or pairs <= CONFUSABLE:
            told.append(finding)
    return told
