from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store.changes import changes_after
from store.clusters import save_run
from store.erasure import Receipt, forget_person, forget_photo
from store.errors import UnknownPhoto
from store.gallery import record_decision
from store.people import add_person, find_person, list_people
from store.records import ClusterFace, Decision
from store.schema import Base, Face, Photo, Template
from store.session import Store
from store.templates import add_template

SPACE = "toy-8-abc"


def count(session: Session, table: type[Base]) -> int:
    return session.scalar(select(func.count()).select_from(table))


def bytes_on_disk(store: Store) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(store.path.parent.iterdir()))


def test_a_person_goes_with_all_that_is_theirs_alone(
    store: Store, give: Callable, new_photo: Callable
):
    with store.begin() as session:
        ada, bob = add_person(session, "Ada"), add_person(session, "Bob")
        shared = new_photo(session, "both.jpg")
        mine = [give(session, ada).id, give(session, ada, shared).id]
        his = give(session, bob, shared).id
        together = [*mine, his]
        new_photo(session, "people/Ada/blurred.jpg", outcome="rejected", claimed=ada)
        facts = {"space": SPACE, "method": "graph", "source": "x", "parameters": {}}
        save_run(session, **facts, clusters={0: together})
        record_decision(
            session, kind="verify", answer="yes", space=SPACE, source="Ada.jpg", person_id=ada.id
        )
    with store.begin() as session:
        receipt = forget_person(session, find_person(session, "Ada"))
    assert receipt == Receipt(
        people=1, templates=2, faces=2, photos=2, cluster_faces=2, decisions=1
    )
    with store.read() as session:
        assert [person.name for person in list_people(session)] == ["Bob"]
        assert session.scalars(select(Template.id)).all() == [his]
        assert session.scalars(select(Photo.source)).all() == ["both.jpg"]
        assert (count(session, Face), count(session, ClusterFace)) == (1, 1)
        decision = session.scalars(select(Decision)).one()
        assert (decision.person_id, decision.source, decision.answer) == (None, "", "yes")
        removed = [c.template_id for c in changes_after(session, 3, 9) if c.op == "remove"]
        assert removed == mine


def test_a_face_with_a_template_in_another_space_of_nobody_stays(
    store: Store, give: Callable, unit: Callable
):
    with store.begin() as session:
        ada = add_person(session, "Ada")
        face = session.get(Face, give(session, ada).face_id)
        other = add_template(session, None, face, "other", unit()).id
        receipt = forget_person(session, ada)
        assert (receipt.templates, receipt.faces, receipt.photos) == (1, 0, 0)
        assert session.scalars(select(Template.id)).all() == [other]


@pytest.mark.parametrize("by", ["digest", "source"])
def test_a_photo_goes_whoever_is_in_it(store: Store, give: Callable, new_photo: Callable, by: str):
    with store.begin() as session:
        ada = add_person(session, "Ada")
        photo = new_photo(session, "a.jpg")
        ids = [give(session, ada, photo).id, give(session, None, photo).id]
        stays = give(session, ada).id
        receipt = forget_photo(session, getattr(photo, by))
        assert receipt == Receipt(
            people=0, templates=2, faces=2, photos=1, cluster_faces=0, decisions=0
        )
        assert session.scalars(select(Template.id)).all() == [stays]
        assert [c.template_id for c in changes_after(session, 2, 9)] == ids
        assert len(list_people(session)) == 1
        with pytest.raises(UnknownPhoto):
            forget_photo(session, Path("a.jpg"))


def test_nothing_of_a_person_is_left_in_the_files(store: Store, give: Callable, unit: Callable):
    vectors, crops = [unit() for _ in range(20)], [f"crop {n} ".encode() * 1000 for n in range(20)]
    with store.begin() as session:
        ada, bob = add_person(session, "Ada Unforgettable"), add_person(session, "Bob Remaining")
        kept = give(session, bob).vector
        for vector, crop in zip(vectors, crops, strict=True):
            give(session, ada, vector=vector, crop=crop)
    secrets = [vector.tobytes() for vector in vectors] + crops + [b"Ada Unforgettable"]
    before = bytes_on_disk(store)
    assert all(secret[:200] in before for secret in secrets)
    with store.begin() as session:
        forget_person(session, find_person(session, "Ada Unforgettable"))
    store.scrub()
    after = bytes_on_disk(store)
    assert kept in after
    assert b"Bob Remaining" in after
    assert not [secret for secret in secrets if secret[:32] in after]
    assert len(after) < len(before)
