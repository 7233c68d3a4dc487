"""Sealing, unsealing and renewing a whole gallery, each in one transaction; a new master key.

Killed at any moment, the gallery is as it was before. Ids stay: a template is the same template
however it is kept, and what refers to it (clusters, operations that can be undone, thumbnails)
goes on referring to it. Every data key is made anew, and the old ones are deleted.

N rows, D dimensions.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from secrets import token_bytes
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from store.audit import append_event
from store.changes import CHUNK, append_changes
from store.ledger import Seal
from store.renewal import SEED_BYTES, Renewal
from store.schema import Face, Photo, Template
from store.sealing import (
    OpenSeal,
    Protection,
    Stored,
    StoredCrop,
    crop_belongs,
    lock_protection,
    lock_vector,
    new_seals,
    opened,
    opened_crops,
    protection,
    put_protection,
    transform_for,
    vault_of,
)
from store.vault import Master, encrypt
from store.vectors import pack

BATCH: Final = 1000
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Resealed:
    """How many rows are kept in another way now, and under how many data keys."""

    templates: int
    crops: int
    keys: int


@dataclass(frozen=True, slots=True)
class SealStatus:
    """How a gallery is kept.

    Attributes:
        sealed: fingerprint of the master key, or None.
        renewal: "gallery", "person" or None.
        epoch: how often the transform was renewed.
        keys: data keys.
        templates, crops: how many there are.
        plain: how many of both are not sealed.
    """

    sealed: str | None
    renewal: str | None
    epoch: int
    keys: int
    templates: int
    crops: int
    plain: int


def seal_status(session: Session) -> SealStatus:
    """How the gallery is kept; needs no key."""
    state = protection(session)

    def count(column: Any, *where: ColumnElement[bool]) -> int:  # noqa: ANN401 - a column of any type
        return session.execute(select(func.count(column)).where(*where)).scalar_one()

    plain = count(Template.id, Template.seal_id.is_(None)) + count(Face.id, Face.seal_id.is_(None))
    return SealStatus(
        state.sealed, state.renewal, state.epoch, count(Seal.id), count(Template.id),
        count(Face.id), plain,
    )  # fmt: skip


def reseal(
    session: Session,
    master: Master | None,
    renewal: Renewal | None,
    progress: Progress | None = None,
) -> Resealed:
    """Keep every template and crop in another way.

    Args:
        session: a transaction that writes; nothing else should be in it.
        master: the key to seal with; None unseals.
        renewal: how vectors are turned from now on, by a transform that is new in any case.
        progress: called with rows done and rows in all.

    Raises:
        KeyMissing, KeyWrong, KeyUnusable: what is sealed now does not open.
        SealBroken: a row was changed or moved.
        ValueError: a transform without a key.
    """
    if master is None and renewal is not None:
        raise ValueError("A transform needs a master key to keep its seed.")
    before = lock_protection(session)
    after = _wanted(before, master, renewal)
    last_seal = session.scalar(select(func.max(Seal.id))) or 0
    work = _Work(session, before, after, progress)
    work.templates()
    work.crops()
    session.execute(delete(Seal).where(Seal.id <= last_seal))
    put_protection(session, after)
    found = Resealed(work.done_templates, work.done - work.done_templates, len(work.seals))
    action = "unsealed" if master is None else "sealed" if before.sealed is None else "renewed"
    details = {"key": after.sealed, "renewal": after.renewal, "epoch": after.epoch}
    append_event(session, action, details=details | asdict(found))
    return found


def rewrap(session: Session, master: Master) -> int:
    """Put the data keys under another master key; what they sealed stays as it is.

    Args:
        session: a transaction that writes.
        master: the new key.

    Returns:
        How many data keys there are.

    Raises:
        KeyMissing, KeyWrong, KeyUnusable: the old master key is not among those given.
    """
    state, vault = lock_protection(session), vault_of(session)
    gallery = state.gallery
    seals = session.execute(select(Seal.id, Seal.master, Seal.wrapped, Seal.transform)).all()
    changed = []
    for seal_id, fingerprint, wrapped, seed in seals:
        old = vault.master(fingerprint)
        values = {
            "id": seal_id,
            "master": master.fingerprint,
            "wrapped": master.wrap(old.unwrap(wrapped, gallery), gallery),
            "transform": None if seed is None else _moved(seed, old, master, gallery),
        }
        changed.append(values)
    if changed:
        session.execute(update(Seal), changed)
    seed = state.transform
    if seed is not None:
        seed = _moved(seed, vault.master(str(state.sealed)), master, gallery)
    put_protection(session, replace(state, sealed=master.fingerprint, transform=seed))
    details = {"key": master.fingerprint, "before": state.sealed, "keys": len(seals)}
    append_event(session, "key_rotated", details=details)
    return len(seals)


def _moved(seed: bytes, old: Master, new: Master, gallery: str) -> bytes:
    return new.wrap(old.unwrap(seed, gallery, seed=True), gallery, seed=True)


def _wanted(before: Protection, master: Master | None, renewal: Renewal | None) -> Protection:
    turns = before.renewal is not None or renewal is not None
    seed = None
    if master is not None and renewal == "gallery":
        seed = master.wrap(token_bytes(SEED_BYTES), before.gallery, seed=True)
    return Protection(
        gallery=before.gallery,
        sealed=None if master is None else master.fingerprint,
        renewal=renewal,
        epoch=before.epoch + turns,
        transform=seed,
    )


class _Work:
    """One pass over the rows."""

    def __init__(
        self, session: Session, before: Protection, after: Protection, progress: Progress | None
    ) -> None:
        self.session = session
        self.after = after
        self.turns = after.epoch != before.epoch
        self.progress = progress
        self.seals: dict[int | None, OpenSeal] = {}  # person → the new data key
        self.done = self.done_templates = 0
        self.total = sum(
            session.execute(select(func.count(key))).scalar_one() for key in (Template.id, Face.id)
        )

    def templates(self) -> None:
        """Seal the vectors anew; an index follows where they are turned."""
        columns = (Template.uid, Template.space, Template.vector, Template.seal_id)
        spaces = self.session.scalars(select(Template.space).distinct().order_by(Template.space))
        for space in list(spaces):
            query = select(Template.id, Template.person_id, *columns).where(Template.space == space)
            for rows in self._batches(query, Template.id):
                self._templates(rows)
        self.done_templates = self.done

    def _templates(self, rows: Sequence[Any]) -> None:
        stored = [Stored(*row[2:]) for row in rows]
        vectors = opened(self.session, stored)
        people = [row[1] for row in rows]
        kept = self._kept(vectors, people, stored)
        changed = [
            {"id": row[0], "vector": blob, "seal_id": self._seal_id(row[1])}
            for row, blob in zip(rows, kept, strict=True)
        ]
        self.session.execute(update(Template), changed)
        named = [row[0] for row in rows if row[1] is not None]
        if self.turns:
            for start in range(0, len(named), CHUNK):
                append_changes(self.session, named[start : start + CHUNK], "add")
        self._tell(len(rows))

    def _kept(
        self, vectors: NDArray[np.float32], people: list[int | None], stored: Sequence[Stored]
    ) -> list[bytes]:
        """The bytes to store of vectors, float32 (N, D), of these people."""
        if self.after.sealed is None:
            return [pack(vector) for vector in vectors]
        self._make_seals(people)
        turned = vectors.copy()
        groups: dict[int | None, list[int]] = {}
        for row, person in enumerate(people):
            groups.setdefault(person if self.after.renewal == "person" else None, []).append(row)
        for person, mine in groups.items():
            key = self.seals[person].key if self.after.renewal == "person" else None
            transform = transform_for(self.session, self.after, key, vectors.shape[1])
            if transform is not None:
                turned[mine] = transform.turn(vectors[mine])
        return [
            lock_vector(self.seals[person].key, self.after.mark, row.uid, row.space, vector)
            for person, row, vector in zip(people, stored, turned, strict=True)
        ]

    def crops(self) -> None:
        """Seal the crops anew, each under the key of whoever has a template of its face."""
        owner = (
            select(func.max(Template.person_id))
            .where(Template.face_id == Face.id)
            .correlate(Face)
            .scalar_subquery()
        )
        box = (Face.x, Face.y, Face.w, Face.h)
        query = select(Face.id, owner, Photo.digest, *box, Face.crop, Face.seal_id)
        query = query.join(Photo, Photo.id == Face.photo_id)
        for rows in self._batches(query, Face.id):
            self._crops(rows)

    def _crops(self, rows: Sequence[Any]) -> None:
        stored = [StoredCrop(row[2], (row[3], row[4], row[5], row[6]), *row[7:]) for row in rows]
        if self.after.sealed is not None:
            self._make_seals([row[1] for row in rows])
        changed = []
        for row, face, crop in zip(rows, stored, opened_crops(self.session, stored), strict=True):
            if crop is not None:  # else it was sealed as somebody's who was forgotten
                kept = crop
                if self.after.sealed is not None:
                    belongs = crop_belongs(face.digest, face.box)
                    kept = encrypt(self.seals[row[1]].key.aead, crop, belongs)
                changed.append({"id": row[0], "crop": kept, "seal_id": self._seal_id(row[1])})
        if changed:
            self.session.execute(update(Face), changed)
        self._tell(len(rows))

    def _seal_id(self, person: int | None) -> int | None:
        return None if self.after.sealed is None else self.seals[person].id

    def _make_seals(self, people: Sequence[int | None]) -> None:
        new = [person for person in dict.fromkeys(people) if person not in self.seals]
        if new:
            made = new_seals(self.session, self.after, new)
            self.seals.update(zip(new, made, strict=True))

    def _batches(self, query: Any, key: Any) -> Iterator[Sequence[Any]]:  # noqa: ANN401 - selects of several rows
        last = -1
        while True:
            following = query.where(key > last).order_by(key).limit(BATCH)
            rows = self.session.execute(following).all()
            if not rows:
                return
            yield rows
            last = rows[-1][0]

    def _tell(self, rows: int) -> None:
        self.done += rows
        if self.progress is not None:
            self.progress(self.done, self.total)
