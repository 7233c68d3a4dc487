"""Bringing the gallery of an archive into this one: as it was into an empty one, else merged.

An empty gallery becomes the one that was exported, with its ids, its uid and its log. Otherwise
rows are recognised by what stays the same everywhere: people, templates and operations by uid,
photos by the digest of their file, faces by their place in the photo, profiles by name, and what
has no name of its own by all that it says. What is here already stays as it is. Somebody of the
same name and site but another uid becomes another person, "Ann (2)", and is reported; somebody who
was forgotten here is not brought back.

Everything happens in one transaction, after the whole file was checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Table, delete, exists, func, insert, select, update
from sqlalchemy.orm import Session

from enroll.archive_format import TABLES, Archive, Member
from enroll.archive_sealed import unsealed
from enroll.errors import ArchiveUnusable
from store.audit import append_event
from store.changes import append_changes
from store.errors import InvalidName, InvalidVector
from store.gallery import require_space
from store.ledger import ErasureReceipt, Event, Fact, Operation, OperationPerson
from store.names import NAME_LENGTH, clean_name
from store.photos import chunks
from store.postgresql import count_on
from store.records import Calibration, Cluster, Decision, Profile, Run
from store.schema import DEFAULT_SITE, Base, Face, Gallery, Person, Photo, Site, Template
from store.sealing import give_crops, protection, sealed_crop, sealed_vector
from store.session import Store

Progress = Callable[[str, int], None]
_FORGOTTEN: Final = "person_forgotten"
_PAGE: Final = 256
_MOST_CHANGES: Final = 1 << 30
_RESTORED_ONLY: Final = ("transitions", "events")  # of one gallery: they are not mixed
_OUTCOMES: Final = ("added", "merged", "skipped", "conflicts")


@dataclass
class Imported:
    """What an import did.

    Attributes:
        restored: the gallery was empty and is now the one that was exported.
        tables: table → how many rows were added, merged (here already, and gained something),
            skipped (here already, or not wanted) and in conflict.
        conflicts: in words.
    """

    restored: bool
    tables: dict[str, dict[str, int]] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)

    def count(self, table: str, outcome: str) -> None:
        """Count one row."""
        self.tables.setdefault(table, dict.fromkeys(_OUTCOMES, 0))[outcome] += 1

    def conflict(self, table: str, words: str) -> None:
        """Count one row that does not go with what is here, and say why."""
        self.count(table, "conflicts")
        self.conflicts.append(words)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"restored": self.restored, "tables": self.tables, "conflicts": self.conflicts}


def import_gallery(
    store: Store, file: Path, progress: Progress = lambda _table, _rows: None
) -> Imported:
    """Bring an archive into a gallery, whole or not at all.

    Args:
        store: the gallery's database, its schema current.
        file: as `archive.export_gallery` wrote it.
        progress: told the table and how many of its rows were just read.

    Raises:
        ArchiveUnusable: it is no archive, or was changed or cut off, or comes from a newer program.
        SpaceMismatch: the gallery holds vectors of another encoder.
        KeyMissing, KeyWrong, KeyUnusable: the archive or the gallery is sealed and there is no key
            for it.
        DatabaseUnusable: the database cannot be written.
    """
    try:
        opened = file.open("rb")
    except OSError as error:
        raise ArchiveUnusable(str(file), (error.strerror or str(error)).lower()) from error
    with opened:
        archive = Archive(unsealed(opened, str(file), store.vault), str(file))
        archive.verify()
        with store.begin() as session:
            done = _Import(session, archive, progress).run()
            added = {name: counts["added"] for name, counts in done.tables.items()}
            append_event(session, "imported", details={"restored": done.restored, "added": added})
    return done


def count_lines(store: Store, file: Path) -> int:
    """How many rows an archive holds; arguments and errors as `import_gallery`."""
    with file.open("rb") as opened:
        return Archive(unsealed(opened, str(file), store.vault), str(file)).rows


class _Import:
    """One import: where each row of the archive is here, table by table."""

    def __init__(self, session: Session, archive: Archive, progress: Progress) -> None:
        self.session = session
        self.archive = archive
        self.progress = progress
        self.restoring = _is_empty(session)
        self.done = Imported(self.restoring)
        self.here: dict[str, dict[int, int]] = {name: {} for name in TABLES}
        self.fresh: dict[str, set[int]] = {name: set() for name in TABLES}  # added by this import
        self.bare: set[int] = set()  # faces whose template was not wanted
        self.forgotten = frozenset(
            session.scalars(select(Event.subject).where(Event.action == _FORGOTTEN))
        )
        self.settle: dict[str, Callable[[dict[str, Any]], int | None]] = {
            "sites": self._site,
            "people": self._person,
            "photos": self._photo,
            "calibrations": self._calibration,
            "profiles": self._profile,
            "decisions": self._decision,
            "runs": self._run,
            "clusters": self._cluster,
            "cluster_faces": self._cluster_face,
            "operations": self._operation,
            "operation_people": self._operation_person,
            "facts": self._fact,
            "receipts": self._receipt,
            "transitions": self._as_it_was,
            "events": self._as_it_was,
        }

    def run(self) -> Imported:
        """Take every table, in order."""
        self._gallery()
        for name in TABLES:
            for part in self.archive.parts(name):
                if name == "faces":
                    self._faces(part)
                elif name == "templates":
                    self._templates(part)
                else:
                    self._lines(part)
            self.session.flush()
        self._drop_bare()
        if self.restoring:
            for name in TABLES:
                count_on(self.session.connection(), name)
        return self.done

    def _lines(self, part: Member) -> None:
        name = part.table
        for number, row in enumerate(self.archive.lines(part), 1):
            if name in _RESTORED_ONLY and not self.restoring:
                self.done.count(name, "skipped")
            else:
                self._remember(name, row, self.settle[name](row))
            if number % _PAGE == 0:
                self.progress(name, _PAGE)
        self.progress(name, part.rows % _PAGE)

    def _remember(self, name: str, row: Mapping[str, Any], key: int | None) -> None:
        if key is not None and "id" in row:
            if row["id"] in self.here[name]:
                raise self._broken(f"id {row['id']} comes twice in {name}")
            self.here[name][row["id"]] = key

    # one table each

    def _gallery(self) -> None:
        told = self.archive.manifest.get("gallery")
        if not isinstance(told, dict) or not isinstance(told.get("space"), str | None):
            raise self._broken("the gallery's row")
        space = told.get("space")
        if space is not None:
            require_space(self.session, space)
            self.session.execute(update(Gallery).values(space=space))
        if self.restoring:
            try:
                facts: dict[str, Any] = {
                    "created": datetime.fromisoformat(told["created"]),
                    "rev": int(told["rev"]),
                    "log_length": None if told["log_length"] is None else int(told["log_length"]),
                    "log_head": None if told["log_head"] is None else str(told["log_head"]),
                }
                uid = str(told["uid"])
                if not 0 <= facts["rev"] < _MOST_CHANGES:
                    raise ValueError("its revision is out of range")
            except (KeyError, TypeError, ValueError) as error:
                raise self._broken(f"the gallery's row ({error})") from error
            if protection(self.session).sealed is None:  # else its keys are bound to its own uid
                facts["uid"] = uid
            self.session.execute(update(Gallery).values(facts))
            protection(self.session, again=True)

    def _site(self, row: dict[str, Any]) -> int | None:
        found = self.session.scalar(select(Site).where(Site.name == row["name"]))
        if found is None:
            return self._add("sites", row)
        if self.restoring:
            found.policy = row["policy"]
        elif found.policy != row["policy"]:
            self.done.conflict("sites", f"Site {found.name!r} keeps its own policy.")
            return found.id
        self.done.count("sites", "skipped")
        return found.id

    def _person(self, row: dict[str, Any]) -> int | None:
        row["site_id"] = self._of("sites", row["site_id"])
        try:
            clean_name(row["name"])
        except InvalidName as error:
            raise self._broken(str(error)) from error
        if row["uid"] in self.forgotten:
            self.done.count("people", "skipped")
            return None
        found = self.session.scalar(select(Person).where(Person.uid == row["uid"]))
        if found is not None:
            if (found.name, found.site_id) != (row["name"], row["site_id"]):
                words = f"{found.name!r} keeps that name; the archive has {row['name']!r}."
                self.done.conflict("people", words)
            else:
                self.done.count("people", "merged")
            return found.id
        free = self._free_name(row["name"], row["site_id"])
        if free == row["name"]:
            return self._add("people", row)
        words = f"Somebody called {row['name']!r} is here: the archive's is {free!r} now; "
        self.done.conflict("people", words + "`vultus people merge` makes them one.")
        return self._insert("people", row | {"name": free})

    def _free_name(self, name: str, site_id: int) -> str:
        taken = select(Person.id).where(Person.site_id == site_id)
        free, number = name, 1
        while self.session.scalar(taken.where(Person.name == free)) is not None:
            number += 1
            tail = f" ({number})"
            free = name[: NAME_LENGTH - len(tail)] + tail
        return free

    def _photo(self, row: dict[str, Any]) -> int | None:
        claimed = row["claimed_id"]
        row["claimed_id"] = None if claimed is None else self.here["people"].get(claimed)
        found = self.session.scalar(select(Photo.id).where(Photo.digest == row["digest"]))
        if found is not None:
            self.done.count("photos", "merged")
            return found
        if claimed is not None and row["claimed_id"] is None:  # of somebody who was forgotten here
            self.done.count("photos", "skipped")
            return None
        return self._add("photos", row)

    def _faces(self, part: Member) -> None:
        crops = self.archive.crops(part)
        for row, crop in zip(self.archive.lines(part), crops, strict=True):
            self._remember("faces", row, self._face(row, crop))
        self.progress("faces", part.rows)

    def _face(self, row: dict[str, Any], crop: bytes) -> int | None:
        photo_id = self.here["photos"].get(row["photo_id"])
        if photo_id is None:
            self.done.count("faces", "skipped")
            return None
        box = (row["x"], row["y"], row["w"], row["h"])
        if not self.restoring and photo_id not in self.fresh["photos"]:
            x, y, w, h = box
            same = (Face.photo_id == photo_id, Face.x == x, Face.y == y, Face.w == w, Face.h == h)
            found = self.session.scalar(select(Face.id).where(*same).limit(1))
            if found is not None:
                self.done.count("faces", "skipped")
                return found
        digest = self.session.execute(select(Photo.digest).where(Photo.id == photo_id)).scalar_one()
        kept, seal_id = sealed_crop(self.session, None, digest, box, crop)
        return self._add("faces", row | {"photo_id": photo_id, "crop": kept, "seal_id": seal_id})

    def _templates(self, part: Member) -> None:
        vectors = self.archive.vectors(part)
        named: dict[int, list[int]] = {}
        for row, vector in zip(self.archive.lines(part), vectors, strict=True):
            key = self._template(row, vector, named)
            self._remember("templates", row, key)
        for person_id, ids in named.items():
            for some in chunks(ids):
                if protection(self.session).sealed is not None:
                    give_crops(self.session, person_id, some)
                append_changes(self.session, some, "add")
        self.progress("templates", part.rows)

    def _template(
        self, row: dict[str, Any], vector: NDArray[np.float32], named: dict[int, list[int]]
    ) -> int | None:
        face_id = self.here["faces"].get(row["face_id"])
        person_id = None
        if row["person_id"] is not None:
            person_id = self.here["people"].get(row["person_id"])
        if face_id is None or (person_id is None and row["person_id"] is not None):
            self.bare |= set() if face_id is None else {face_id}
            self.done.count("templates", "skipped")
            return None
        if not self.restoring:
            found = self._template_here(row, face_id, person_id)
            if found is not None:
                return found
        try:
            kept, seal_id = sealed_vector(self.session, person_id, row["uid"], row["space"], vector)
        except InvalidVector as error:
            raise self._broken(str(error)) from error
        whole = row | {"face_id": face_id, "person_id": person_id}
        key = self._add("templates", whole | {"vector": kept, "seal_id": seal_id})
        if person_id is not None:
            named.setdefault(person_id, []).append(key)
        return key

    def _template_here(
        self, row: dict[str, Any], face_id: int, person_id: int | None
    ) -> int | None:
        columns = (Template.id, Template.uid, Template.person_id)
        found = (
            self.session.execute(select(*columns).where(Template.uid == row["uid"])).first()
            or self.session.execute(
                select(*columns).where(Template.face_id == face_id, Template.space == row["space"])
            ).first()
        )
        if found is None:
            return None
        if found.person_id == person_id:
            self.done.count("templates", "skipped")
        else:
            words = f"Template {found.uid} stays with whom it is; the archive has another person."
            self.done.conflict("templates", words)
        return int(found.id)

    def _calibration(self, row: dict[str, Any]) -> int | None:
        same = {key: row[key] for key in ("space", "digest", "body")}
        found = self._like(Calibration, same)
        if found is not None:
            return found
        in_force = select(Calibration.id).where(
            Calibration.space == row["space"], Calibration.active
        )
        if not self.restoring and self.session.scalar(in_force) is not None:
            row["active"] = False
        return self._add("calibrations", row)

    def _profile(self, row: dict[str, Any]) -> int | None:
        found = self.session.scalar(select(Profile).where(Profile.name == row["name"]))
        if found is None:
            return self._add("profiles", row)
        if (found.fmr, found.fpir, found.unsure) == (row["fmr"], row["fpir"], row["unsure"]):
            self.done.count("profiles", "skipped")
        else:
            self.done.conflict("profiles", f"Profile {found.name!r} keeps its own rates.")
        return found.id

    def _decision(self, row: dict[str, Any]) -> int | None:
        same = {key: row[key] for key in ("time", "kind", "answer", "similarity", "space")}
        found = self._like(Decision, same)
        if found is not None:
            return found
        if row["person_id"] is not None:
            row["person_id"] = self.here["people"].get(row["person_id"])
            if row["person_id"] is None:
                row["source"] = ""  # of somebody who was forgotten here
        if row["calibration_id"] is not None:
            row["calibration_id"] = self._of("calibrations", row["calibration_id"])
        return self._add("decisions", row)

    def _run(self, row: dict[str, Any]) -> int | None:
        same = {key: row[key] for key in ("created", "space", "method", "source")}
        found = self._like(Run, same)
        return self._add("runs", row) if found is None else found

    def _cluster(self, row: dict[str, Any]) -> int | None:
        row["run_id"] = self._of("runs", row["run_id"])
        found = self._like(Cluster, {key: row[key] for key in ("run_id", "number")})
        if found is not None:
            return found
        if row["person_id"] is not None:
            row["person_id"] = self.here["people"].get(row["person_id"])
        return self._add("clusters", row)

    def _cluster_face(self, row: dict[str, Any]) -> int | None:
        cluster_id = self._of("clusters", row["cluster_id"])
        template_id = self.here["templates"].get(row["template_id"])
        if template_id is None or cluster_id not in self.fresh["clusters"]:
            self.done.count("cluster_faces", "skipped")
            return None
        self._add("cluster_faces", {"cluster_id": cluster_id, "template_id": template_id})
        return None

    def _operation(self, row: dict[str, Any]) -> int | None:
        found = self._like(Operation, {"uid": row["uid"]})
        if found is not None:
            return found
        if not self.restoring:
            row["inverse"] = None  # it names rows by their ids, which are others here
        return self._add("operations", row)

    def _operation_person(self, row: dict[str, Any]) -> int | None:
        row["operation_id"] = self._of("operations", row["operation_id"])
        same = [getattr(OperationPerson, key) == value for key, value in row.items()]
        if self.session.scalar(select(OperationPerson.operation_id).where(*same)) is not None:
            self.done.count("operation_people", "skipped")
        else:
            self._add("operation_people", row)
        return None

    def _fact(self, row: dict[str, Any]) -> int | None:
        gone = False
        for key, table in (("face_id", "faces"), ("other_id", "faces"), ("person_id", "people")):
            if row[key] is not None:
                row[key] = self.here[table].get(row[key])
                gone = gone or row[key] is None
        if gone:  # of somebody who was forgotten here
            self.done.count("facts", "skipped")
            return None
        row["operation_id"] = self._of("operations", row["operation_id"])
        found = self._like(Fact, {key: value for key, value in row.items() if key != "id"})
        return self._add("facts", row) if found is None else found

    def _receipt(self, row: dict[str, Any]) -> int | None:
        found = self._like(ErasureReceipt, {"uid": row["uid"]})
        return self._add("receipts", row) if found is None else found

    def _as_it_was(self, row: dict[str, Any]) -> int | None:
        return self._add("events" if "previous" in row else "transitions", row)

    # what they share

    def _like(self, kind: type[Base], values: Mapping[str, Any]) -> int | None:
        """The row that says the same, counted as skipped; None while restoring."""
        if self.restoring:
            return None
        table: Table = TABLES[kind.__tablename__]
        same = [table.c[key].is_not_distinct_from(value) for key, value in values.items()]
        found = self.session.scalar(select(table.c.id).where(*same).limit(1))
        if found is not None:
            self.done.count(table.name, "skipped")
        return found

    def _of(self, table: str, key: int) -> int:
        """Where the row is here that another one of the archive refers to."""
        if key not in self.here[table]:
            raise self._broken(f"a row refers to {table} {key}, which is not in it")
        return self.here[table][key]

    def _add(self, name: str, row: Mapping[str, Any]) -> int:
        self.done.count(name, "added")
        return self._insert(name, row)

    def _insert(self, name: str, row: Mapping[str, Any]) -> int:
        from sqlalchemy.exc import IntegrityError

        table = TABLES[name]
        values = dict(row) if self.restoring else {k: v for k, v in row.items() if k != "id"}
        key = next(iter(table.primary_key.columns))
        try:
            added = self.session.execute(insert(table).values(values).returning(key)).scalar_one()
        except IntegrityError as error:
            raise self._broken(f"a row of {name} does not go with the others") from error
        self.fresh[name].add(added)
        return int(added)

    def _drop_bare(self) -> None:
        """Take away what was added and only showed somebody who was forgotten here."""
        faces = sorted(self.bare & self.fresh["faces"])
        photos: set[int] = set()
        for some in chunks(faces):
            unused = ~exists().where(Template.face_id == Face.id)
            bare = select(Face.id, Face.photo_id).where(Face.id.in_(some), unused)
            rows = self.session.execute(bare).all()
            photos |= {row.photo_id for row in rows}
            self.session.execute(delete(Face).where(Face.id.in_([row.id for row in rows])))
            self._not_added("faces", len(rows))
        for some in chunks(sorted(photos & self.fresh["photos"])):
            unused = ~exists().where(Face.photo_id == Photo.id)
            gone = delete(Photo).where(Photo.id.in_(some), unused).returning(Photo.id)
            self._not_added("photos", len(self.session.scalars(gone).all()))

    def _not_added(self, table: str, rows: int) -> None:
        if rows:
            self.done.tables[table]["added"] -= rows
            self.done.tables[table]["skipped"] += rows

    def _broken(self, why: str) -> ArchiveUnusable:
        return ArchiveUnusable(self.archive.where, f"its rows do not fit together: {why}")


def _is_empty(session: Session) -> bool:
    """Whether the gallery holds nothing that an archive could hold, its default site aside."""
    for name, table in TABLES.items():
        query = select(func.count()).select_from(table)
        if name == "sites":
            query = query.where(table.c.id != DEFAULT_SITE)
        if session.scalar(query):
            return False
    return True
