"""Enrolment: photos of named people into the gallery.

A photo counts as done after its commit; a run that is interrupted at any moment is continued by
running it again. Photos are known by the digest of their bytes.

Letters: N faces, D dimensions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from embedder.admission import admit
from embedder.embed import FoundFace
from embedder.quality import DEFAULT_GATE, Gate
from enroll.ahead import ahead
from enroll.batches import batches
from enroll.budget import Budget, budget_of
from enroll.desk import Desk
from enroll.encoding import Admitted, Encoded, Engine, Work, admit_all
from enroll.errors import LimitUnusable
from enroll.folder import PeopleFolder
from enroll.intake import Looked, Ticket, look_ahead
from enroll.lint import Lint
from enroll.pace import Pace
from enroll.seen import OnRecord
from store import schema
from store.audit import append_events
from store.bulk import NewFace, NewPhoto
from store.chain import Happening
from store.consent import NONE as NO_CONSENT
from store.consent import Consent, record_consent, set_expiry
from store.errors import ConsentMissing, InvalidName
from store.facts import SAME_FACE, denied_people
from store.gallery import pin_space
from store.names import clean_name, clean_site
from store.people import add_person
from store.photos import PhotoRecord, photo_records, record_face, record_photo
from store.sync import refresh, save
from store.templates import LibraryFaces, add_template, assign_person, faces_of_photos
from verify.opening import Parts

CONFLICT = "identity_similarity_conflict"
NOT_THEM = "not_this_person"
NO_CONSENT_KNOWN = ConsentMissing.code
_CROP_QUALITY = 95


@dataclass(frozen=True, slots=True)
class EnrolmentRules:
    """How photos are enrolled.

    Attributes:
        on_multiple: `reject`, `largest`, `centre` or `all`, for photos with several faces.
        gate: the least quality.
        site: where the people belong; "" is the default site.
        expires: aware time after which the people should be purged, or None.
        dry_run: look at everything and store nothing.
        retry: look again at photos rejected before.
        allow_lookalikes: enrol a face although it resembles somebody else too much.
        jobs: threads that decode and detect; None: one a core.
        max_memory: bytes of memory that this process may take; None: no limit; see `enroll.budget`.
        consent: why their data may be kept; what is left out stays as it is on record.
        consents: the same by name, which goes before `consent`.
    """

    on_multiple: str = "reject"
    gate: Gate = DEFAULT_GATE
    site: str = ""
    expires: datetime | None = None
    dry_run: bool = False
    retry: bool = False
    allow_lookalikes: bool = False
    jobs: int | None = None
    max_memory: int | None = None
    consent: Consent = NO_CONSENT
    consents: Mapping[str, Consent] = field(default_factory=dict)

    def consent_of(self, name: str) -> Consent:
        """Why the data of somebody of that name may be kept, as given now."""
        return self.consents.get(name, NO_CONSENT).over(self.consent)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file.

    Attributes:
        file: its path.
        person: the name it came with.
        status: enrolled, unchanged (done before) or rejected.
        reason: for a rejected file, a code; else None.
        detail: in words.
        faces: how many faces were enrolled.
    """

    file: str
    person: str
    status: Literal["enrolled", "unchanged", "rejected"]
    reason: str | None = None
    detail: str = ""
    faces: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "file": self.file,
            "person": self.person,
            "status": self.status,
            "reason": self.reason,
            "detail": self.detail,
            "faces": self.faces,
        }


def enroll_people(
    parts: Parts,
    folder: PeopleFolder,
    rules: EnrolmentRules | None = None,
    engine: Engine | None = None,
    pace: Pace | None = None,
) -> Iterator[Outcome]:
    """Enrol the photos of a folder; one outcome a file, after its commit, in the folder's order.

    Args:
        parts: the gallery.
        folder: the photos and whose they are.
        rules: how.
        engine: where photos are encoded; None: in this process.
        pace: is told where the time goes; of an engine, what happens in this process.

    Raises:
        SpaceMismatch: the gallery is pinned to another encoder.
        StoreError: the database cannot be written.
        LimitUnusable: `max_memory` is below what the models take, or another engine encodes.
    """
    rules, pace = rules or EnrolmentRules(), pace or Pace()
    run = _Run(parts, rules)
    work = Work(parts, rules.on_multiple, rules.gate, rules.jobs, run.are_done)
    if engine is None:
        budget = budget_of(rules.max_memory, parts.embedder, len(folder.photos))
        groups = ahead(_encoded_here(folder, work, pace, budget))
    else:
        if rules.max_memory is not None:
            raise LimitUnusable("--max-memory is for --engine local: a cluster has its own limits.")
        groups = _encoded_by(engine, folder, work)
    try:
        for batch in groups:
            with pace.stage("store"):
                outcomes = run.commit(batch)
            pace.photos += len(outcomes)
            yield from outcomes
    finally:
        groups.close()
        if not rules.dry_run:
            save(parts.index, lazy=True)


def _encoded_here(
    folder: PeopleFolder, work: Work, pace: Pace, budget: Budget
) -> Generator[list[Encoded]]:
    """Groups of photos to commit, the faces of a group encoded together in this process."""
    embedder = work.parts.embedder
    tickets = (Ticket(photo.source, photo.name) for photo in folder.photos)
    looked = look_ahead(tickets, embedder, work.rule, work.is_done, work.jobs, pace, budget)
    try:
        for batch in batches(looked, weigh=_crops, heaviest=budget.crops):
            admitted = admit_all([seen for seen, _ in batch], embedder, work.rule, work.gate)
            yield [Encoded(*pair, one) for pair, one in zip(batch, admitted, strict=True)]
    finally:
        looked.close()  # type: ignore[attr-defined]  # a generator, typed as an iterator


def _crops(pair: tuple[Looked, str]) -> int:
    return len(pair[0].faces)


def _encoded_by(engine: Engine, folder: PeopleFolder, work: Work) -> Generator[list[Encoded]]:
    """Groups of photos to commit, as an engine hands them over."""
    encoded = engine.encoded(folder.photos, work)
    try:
        yield from batches(encoded)
    finally:
        encoded.close()  # type: ignore[attr-defined]  # a generator, typed as an iterator


@dataclass
class _Run:
    """One enrolment."""

    parts: Parts
    rules: EnrolmentRules

    def __post_init__(self) -> None:
        self.lint = Lint.of(self.parts, self.rules.site)
        self.space = self.parts.card.space
        self.on_record = OnRecord(self.parts.store)
        self.unclaimed: dict[str, list[str]] = {}  # name → rejected photos of nobody known yet
        if not self.rules.dry_run:
            with self.parts.store.begin() as session:
                pin_space(session, self.space)
        len(self.parts.index)  # opens it: a mismatch of spaces is told before any work

    def are_done(self, digests: Sequence[str]) -> set[str]:
        """Which photos need not be decoded again; called from the reading threads."""
        asked = [digest for digest in digests if self.on_record.may_be(digest)]
        if not asked:
            return set()
        with self.parts.store.read() as session:
            records = photo_records(session, asked)
        return {digest for digest, record in records.items() if self._settled(record)}

    def _settled(self, record: PhotoRecord) -> bool:
        if record.people:
            return True
        if record.outcome != "rejected" or self.rules.retry:
            return False
        several_wanted = record.reason == "multiple_faces" and self.rules.on_multiple != "reject"
        lookalikes_wanted = record.reason == CONFLICT and self.rules.allow_lookalikes
        return not several_wanted and not lookalikes_wanted

    def commit(self, batch: list[Encoded]) -> list[Outcome]:
        """Store a group of photos in one transaction; then the index follows."""
        admitted = [photo.admitted for photo in batch if photo.admitted is not None]
        self.lint.foresee([vector for one in admitted for vector in one.vectors])
        if self.rules.dry_run:
            with self.parts.store.read() as session:
                return self._settle_all(session, batch)
        with self.parts.store.begin() as session:
            outcomes = self._settle_all(session, batch)
            self.desk.write()
            append_events(session, self.desk.happened)
        refresh(self.parts.index)
        self.lint.committed()
        return outcomes

    def _settle_all(self, session: Session, batch: list[Encoded]) -> list[Outcome]:
        """What becomes of each photo of a group."""
        self.desk = Desk(session, self.rules.site, self.space)
        names = set[str]()
        for photo in batch:
            with contextlib.suppress(InvalidName):  # told when the photo's turn comes
                names.add(clean_name(photo.name))
        digests = {photo.looked.digest for photo in batch if photo.looked.digest is not None}
        self.desk.expect(names, digests)
        return [self._settle(session, photo) for photo in batch]

    def _settle(self, session: Session, encoded: Encoded) -> Outcome:
        """Decide what becomes of one photo and, unless this is a dry run, store it."""
        looked, name, photo = encoded.looked, encoded.name, encoded.admitted
        if looked.digest is None:
            why = "not_an_image" if looked.error is None else looked.error.reason
            return _rejected(looked, name, why, str(looked.error))
        try:
            name = clean_name(name)
        except InvalidName as error:
            return _rejected(looked, name, "invalid_name", str(error))
        try:
            self.desk.require_consent(self.rules.consent_of(name), self.desk.person(name))
        except ConsentMissing as error:
            return _rejected(looked, name, NO_CONSENT_KNOWN, str(error))
        record = self.desk.record(looked.digest)
        if record is not None and self._settled(record):
            return self._seen_before(session, looked, name, record)
        denied = None if record is None else self._denied(session, looked, name, photo)
        reason, detail = denied or self._objection(looked, name, photo)
        if reason is not None:
            self._store_rejection(session, looked, name, reason, record)
            return _rejected(looked, name, reason, detail)
        faces = () if photo is None else photo.faces
        if photo is not None:
            self._enrol(session, looked, photo, name, record)
        return Outcome(looked.source, name, "enrolled", None, detail, len(faces))

    def _enrol(
        self,
        session: Session,
        looked: Looked,
        photo: Admitted,
        name: str,
        record: PhotoRecord | None,
    ) -> None:
        for vector in photo.vectors:
            self.lint.remember(vector, name)
        if self.rules.dry_run:
            return
        person = self.desk.person_of(name, self.rules.expires)
        keep_terms(session, person, self.rules)
        if record is None:
            self.desk.add(_new_photo(looked, "enrolled", person, photo), name)
        else:
            self.desk.changed(looked.digest or "")
            told = _store(session, looked, photo, self.space, person, record)
            self.desk.happened.append(told)
        if name in self.unclaimed:
            self.desk.write()
        for digest in self.unclaimed.pop(name, ()):
            self._claim(session, digest, name)

    def _denied(
        self, session: Session, looked: Looked, name: str, photo: Admitted | None
    ) -> tuple[str, str] | None:
        """Why a face of this very photo is known not to be this person, or None."""
        if photo is None or not photo.faces:
            return None
        person = find_exactly(session, name, self.rules.site)
        if person is None:
            return None
        denied = denied_people(session, looked.digest or "", self.space, photo.vectors)
        if not any(person.id in people for people in denied):
            return None
        return NOT_THEM, f"it was said that this is not {name}; vultus undo --list shows when"

    def _objection(
        self, looked: Looked, name: str, photo: Admitted | None
    ) -> tuple[str | None, str]:
        if looked.error is not None:
            return looked.error.reason, str(looked.error)
        if photo is None:  # it was known when it was looked at, and has been erased since
            admission = admit(looked.faces, self.rules.on_multiple, self.rules.gate)
            return admission.reason, admission.detail
        if photo.reason is not None:
            return photo.reason, photo.detail
        for vector in photo.vectors:
            conflict = self.lint.check(vector, name)
            if conflict is not None and not self.rules.allow_lookalikes:
                return CONFLICT, str(conflict)
            if conflict is not None:
                return None, f"warning: {conflict}"
        return None, ""

    def _seen_before(
        self, session: Session, looked: Looked, name: str, record: PhotoRecord
    ) -> Outcome:
        if name in record.people and _shows(session, record, name, self.rules.site):
            if not self.rules.dry_run:
                keep_terms(session, find_exactly(session, name, self.rules.site), self.rules)
            return Outcome(looked.source, name, "unchanged")
        if record.people:
            here = ", ".join(_names_here(session, record, self.rules.site))
            others = f"as {here}" if here else "in another site"
            return _rejected(looked, name, CONFLICT, f"this file is enrolled {others}")
        if not self.rules.dry_run:
            self._claim(session, looked.digest or "", name)
        seen = "rejected before; look again with --retry"
        return _rejected(looked, name, record.reason or "low_quality", seen)

    def _store_rejection(
        self, session: Session, looked: Looked, name: str, reason: str, record: PhotoRecord | None
    ) -> None:
        if self.rules.dry_run or looked.digest is None:
            return
        person = self.desk.person(name)
        if record is None:
            self.desk.add(_new_photo(looked, "rejected", person, reason=reason), name)
            if person is None:
                self.unclaimed.setdefault(name, []).append(looked.digest)
            return
        self.desk.changed(looked.digest)
        uid = None if person is None else person.uid
        private = {"name": name, "source": looked.source, "digest": looked.digest}
        self.desk.happened.append(Happening("rejected", uid, {"reason": reason}, private))
        if reason == NOT_THEM:
            return  # the photo stays what it is: only this name is wrong
        record_photo(
            session, looked.digest, looked.source, looked.size, looked.width, looked.height,
            outcome="rejected", reason=reason, taken=looked.taken,
        )  # fmt: skip
        self._claim(session, looked.digest, name)

    def _claim(self, session: Session, digest: str, name: str) -> None:
        """Keep whose a rejected photo was said to be; for somebody new, once they are enrolled."""
        person = find_exactly(session, name, self.rules.site)
        if person is None:
            self.unclaimed.setdefault(name, []).append(digest)
            return
        free = (
            schema.Photo.digest == digest,
            schema.Photo.outcome == "rejected",
            schema.Photo.claimed_id.is_(None),
        )
        session.execute(update(schema.Photo).where(*free).values(claimed_id=person.id))


def _rejected(looked: Looked, name: str, reason: str, detail: str) -> Outcome:
    return Outcome(looked.source, name, "rejected", reason, detail)


def _new_photo(
    looked: Looked,
    outcome: str,
    person: schema.Person | None,
    photo: Admitted | None = None,
    reason: str | None = None,
) -> NewPhoto:
    """A photo that is not on record as it is kept, with the faces that were admitted."""
    faces = [] if photo is None else zip(photo.faces, photo.vectors, strict=True)
    return NewPhoto(
        looked.digest or "", looked.source, looked.size, looked.width, looked.height, looked.taken,
        outcome, reason, person, tuple(_new_face(face, vector) for face, vector in faces),
    )  # fmt: skip


def _new_face(face: FoundFace, vector: NDArray[np.float32]) -> NewFace:
    """A face as it is kept; vector: float32 (D,)."""
    found = face.crop.face
    return NewFace(
        found.box, found.points, found.confidence, face.quality.to_dict(),
        to_jpeg(face.crop.pixels), vector,
    )  # fmt: skip


def _store(
    session: Session,
    looked: Looked,
    photo: Admitted,
    space: str,
    person: schema.Person,
    record: PhotoRecord,
) -> Happening:
    """Write a photo that is on record, its faces and templates; what to log."""
    in_library = record.outcome == "library"
    row = record_photo(
        session, looked.digest or "", looked.source, looked.size, looked.width, looked.height,
        outcome="library" if in_library else "enrolled", taken=looked.taken,
    )  # fmt: skip
    kept = faces_of_photos(session, [looked.digest or ""], space)
    templates = []
    for face, vector in zip(photo.faces, photo.vectors, strict=True):
        twin = same_face(kept, vector)
        if twin is not None:
            assign_person(session, [twin], person)
        else:
            twin = add_face(session, row, face, space, vector, person)
        templates.append(twin)
    details = {"photo": row.id, "templates": templates, "space": space}
    private = {"name": person.name, "source": looked.source, "digest": looked.digest}
    return Happening("enrolled", person.uid, details, private)


def same_face(kept: LibraryFaces, vector: NDArray[np.float32]) -> int | None:
    """The template of a photo that was made from the same face, if there is one.

    Args:
        kept: what the photo has already.
        vector: float32 (D,), unit length.
    """
    if len(kept) == 0:
        return None
    similarities = kept.vectors @ vector
    best = int(similarities.argmax())
    return int(kept.ids[best]) if similarities[best] >= SAME_FACE else None


def person_of(
    session: Session, name: str, site: str = "", expires: datetime | None = None
) -> schema.Person:
    """The person of exactly that name in a site, added when they are new."""
    person = find_exactly(session, name, site)
    return add_person(session, name, site, expires) if person is None else person


def keep_terms(session: Session, person: schema.Person | None, rules: EnrolmentRules) -> None:
    """Keep what was said now of consent and of the day after which to purge somebody."""
    if person is not None:
        record_consent(session, person, rules.consent_of(person.name))
        if rules.expires is not None:
            set_expiry(session, person, rules.expires)


def find_exactly(session: Session, name: str, site: str) -> schema.Person | None:
    """The person of exactly that name in a site; letter case counts."""
    person, place = schema.Person, schema.Site
    query = select(person).join(person.place)
    return session.scalar(
        query.where(person.name == clean_name(name), place.name == clean_site(site))
    )


def _shows(session: Session, record: PhotoRecord, name: str, site: str) -> bool:
    """Whether a photo has a template of that person in that site."""
    person = find_exactly(session, name, site)
    if person is None:
        return False
    query = select(schema.Template.id).join(schema.Face, schema.Face.id == schema.Template.face_id)
    theirs = (schema.Face.photo_id == record.id, schema.Template.person_id == person.id)
    return session.scalar(query.where(*theirs).limit(1)) is not None


def _names_here(session: Session, record: PhotoRecord, site: str) -> list[str]:
    """The people of a site who have a template of a photo; others are nobody's business there."""
    template, face = schema.Template, schema.Face
    query = select(schema.Person.name).join(schema.Person.place)
    query = query.join(template, template.person_id == schema.Person.id)
    query = query.join(face, face.id == template.face_id).where(face.photo_id == record.id)
    there = query.where(schema.Site.name == clean_site(site)).distinct()
    return sorted(session.scalars(there))


def add_face(
    session: Session,
    photo: schema.Photo,
    face: FoundFace,
    space: str,
    vector: NDArray[np.float32],
    person: schema.Person | None,
) -> int:
    """Write a face, its crop and its template.

    Args:
        session: a transaction that writes.
        photo: the row of its photo.
        face: the face.
        space: the vector space.
        vector: float32 (D,), unit length.
        person: whose it is, or None.

    Returns:
        The id of the template.
    """
    found = face.crop.face
    row = record_face(
        session, photo, box=found.box, points=found.points, confidence=found.confidence,
        quality=face.quality.to_dict(), crop=to_jpeg(face.crop.pixels), person=person,
    )  # fmt: skip
    return add_template(session, person, row, space, vector).id


def to_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """A picture, uint8 (H, W, 3) RGB, as JPEG of quality 95."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _CROP_QUALITY])[1].tobytes()
