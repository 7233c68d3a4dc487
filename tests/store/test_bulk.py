"""Many photos at once, beside one after the other."""

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from store.bulk import NewFace, NewPhoto, add_photos, people_named
from store.changes import changes_after
from store.errors import InvalidVector, SpaceMismatch
from store.gallery import pin_space
from store.people import add_person
from store.photos import record_face, record_photo
from store.schema import Base, Face, Person, Photo, Template
from store.session import Store
from store.templates import add_template, vectors_of

SPACE = "toy-8-abc"


def face_of(number: int, vector: NDArray[np.float32]) -> NewFace:
    points = None if number % 2 else np.arange(10, dtype=np.float32).reshape(5, 2) + number
    box = np.array([number, 2.5, 30, 40], np.float32)
    return NewFace(box, points, 0.9, {"sharpness": 0.5 + number}, b"jpeg%d" % number, vector)


def photo_of(name: str, person: Person | None, *faces: NewFace, **more: object) -> NewPhoto:
    digest = hashlib.sha256(name.encode()).hexdigest()
    told = {"taken": None, "outcome": "enrolled", "reason": None} | more
    return NewPhoto(
        digest, name, 1000, 640, 480, told["taken"], told["outcome"], told["reason"], person, faces
    )


def contents(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """The rows of photos, faces and templates, but for what is drawn or timed."""
    left_out = {"added", "created", "uid"}
    found = {}
    with store.read() as session:
        for table in (Photo, Face, Template):
            names = [c.name for c in table.__table__.columns if c.name not in left_out]
            query = select(*(getattr(table, name) for name in names)).order_by(table.id)
            found[table.__tablename__] = [tuple(map(repr, row)) for row in session.execute(query)]
        changes = changes_after(session, 0, 100)
        found["changes"] = [(c.rev, c.template_id, c.op) for c in changes]
    return found


def test_the_rows_are_those_of_one_after_the_other(
    store: Store, unit: Callable[[], NDArray[np.float32]]
):
    vectors = [unit() for _ in range(5)]
    faces = [face_of(number, vector) for number, vector in enumerate(vectors)]
    with store.begin() as session:
        pin_space(session, SPACE)
        ann, bo = add_person(session, "Ann"), add_person(session, "Bo")
        session.flush()
        kept = add_photos(
            session, SPACE,
            [
                photo_of("a.jpg", ann, *faces[:2]),
                photo_of("b.jpg", ann, outcome="rejected", reason="low_quality"),
                photo_of("c.jpg", bo, faces[2]),
                photo_of("d.jpg", None, *faces[3:], outcome="library"),
            ],
        )  # fmt: skip
    bulk = contents(store)
    assert [len(one.templates) for one in kept] == [2, 0, 1, 2]
    with store.begin() as session:
        for table in reversed(Base.metadata.sorted_tables):
            if table.name in {"photos", "faces", "templates", "changes"}:
                session.execute(table.delete())
    with store.begin() as session:
        ann, bo = (session.scalar(select(Person).where(Person.name == n)) for n in ("Ann", "Bo"))
        rows = [("a.jpg", ann, faces[:2]), ("b.jpg", ann, []), ("c.jpg", bo, faces[2:3]),
                ("d.jpg", None, faces[3:])]  # fmt: skip
        for name, person, own in rows:
            rejected = {"outcome": "rejected", "reason": "low_quality", "claimed": ann}
            how = rejected if name == "b.jpg" else {"outcome": "enrolled" if person else "library"}
            new = photo_of(name, person)
            photo = record_photo(session, new.digest, name, 1000, 640, 480, **how)
            for face in own:
                row = record_face(
                    session, photo, box=face.box, points=face.points, confidence=face.confidence,
                    quality=face.quality, crop=face.crop,
                )  # fmt: skip
                add_template(session, person, row, SPACE, face.vector)
    single = contents(store)

    def apart(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
        return [tuple(cell for cell in row[1:]) for row in rows]

    assert apart(bulk["photos"]) == apart(single["photos"])
    assert [row[2:] for row in bulk["faces"]] == [row[2:] for row in single["faces"]]
    names = [column.name for column in Template.__table__.columns]
    keep = [i for i, n in enumerate(n for n in names if n not in {"created", "uid"})
            if n in {"person_id", "space", "vector", "seal_id"}]  # fmt: skip
    assert [[row[i] for i in keep] for row in bulk["templates"]] == [
        [row[i] for i in keep] for row in single["templates"]
    ]
    assert len(bulk["changes"]) == len(single["changes"]) == 3
    assert {op for *_, op in bulk["changes"]} == {"add"}


def test_each_face_keeps_its_vector(store: Store, unit: Callable[[], NDArray[np.float32]]):
    vectors = [unit() for _ in range(6)]
    with store.begin() as session:
        pin_space(session, SPACE)
        people = [add_person(session, f"P{number}") for number in range(3)]
        photos = [
            photo_of(f"{n}.jpg", person, *(face_of(i, vectors[i]) for i in (2 * n, 2 * n + 1)))
            for n, person in enumerate(people)
        ]
        kept = add_photos(session, SPACE, photos)
        for number, person in enumerate(people):
            ids, found = vectors_of(session, person.id, SPACE)
            assert ids.tolist() == sorted(kept[number].templates)
            wanted = vectors[2 * number : 2 * number + 2]
            order = np.argsort(kept[number].templates)
            assert np.array_equal(found, np.stack(wanted)[order])
            assert session.scalar(select(Photo.source).where(Photo.id == kept[number].photo))


def test_nothing_is_added_by_no_photos(store: Store):
    with store.begin() as session:
        assert add_photos(session, SPACE, []) == []
    assert contents(store)["photos"] == []


def test_a_photo_on_record_and_a_bad_vector_are_refused(
    store: Store, unit: Callable[[], NDArray[np.float32]]
):
    with store.begin() as session:
        pin_space(session, SPACE)
        add_photos(session, SPACE, [photo_of("a.jpg", None, face_of(0, unit()))])
    before = contents(store)
    wrong = [
        (IntegrityError, SPACE, face_of(0, unit()), "a.jpg"),
        (InvalidVector, SPACE, face_of(0, unit() * 2), "b.jpg"),
        (SpaceMismatch, "other-8-abc", face_of(0, unit()), "b.jpg"),
    ]
    for error, space, face, name in wrong:
        with pytest.raises(error), store.begin() as session:
            add_photos(session, space, [photo_of(name, None, face)])
    assert contents(store) == before


def test_people_are_found_by_exact_names_in_one_site(store: Store):
    with store.begin() as session:
        for name, site in (("Ann", ""), ("ann", ""), ("Ann", "hall"), ("Bo", "")):
            add_person(session, name, site)
        found = people_named(session, ["Ann", "Bo", "Cy", "Ann"], "")
        assert {name: person.name for name, person in found.items()} == {"Ann": "Ann", "Bo": "Bo"}
        assert {person.site for person in found.values()} == {""}
        assert people_named(session, ["Bo"], "hall") == {}
        assert people_named(session, [], "") == {}
