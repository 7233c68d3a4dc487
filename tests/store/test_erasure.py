"""Forgetting on both engines: rows, the log, operations, answers, data keys, receipts."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store.answered import begin_answer, finish_answer
from store.audit_check import verify_log
from store.changes import changes_after
from store.clusters import save_run
from store.corrections import rename_person
from store.erasure import Receipt, forget_outdated, forget_person, forget_photo, outdated
from store.errors import SealBroken, UnknownPhoto
from store.gallery import gallery_uid, record_decision
from store.keys import add_key
from store.ledger import Answered, ErasureReceipt, Event, Job, Operation, Seal
from store.people import add_person, find_person, list_people
from store.receipts import check_receipt, keyed_hash, note_scrubbed, pending_receipts
from store.records import ClusterFace, Decision
from store.resealing import reseal
from store.schema import Base, Face, Photo, Template
from store.sealing import Stored, opened
from store.session import Store
from store.templates import add_template
from store.vault import Vault, new_key

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
        people=1, templates=2, faces=2, photos=2, cluster_faces=2, decisions=1, events=1
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


def test_nothing_of_a_person_is_left_in_the_sqlite_files(
    sqlite_store: Store, give: Callable, unit: Callable
):
    vectors, crops = [unit() for _ in range(20)], [f"crop {n} ".encode() * 1000 for n in range(20)]
    with sqlite_store.begin() as session:
        ada, bob = add_person(session, "Ada Unforgettable"), add_person(session, "Bob Remaining")
        kept = give(session, bob).vector
        for vector, crop in zip(vectors, crops, strict=True):
            give(session, ada, vector=vector, crop=crop)
    secrets = [vector.tobytes() for vector in vectors] + crops + [b"Ada Unforgettable"]
    before = bytes_on_disk(sqlite_store)
    assert all(secret[:200] in before for secret in secrets)
    with sqlite_store.begin() as session:
        forget_person(session, find_person(session, "Ada Unforgettable"))
    sqlite_store.scrub()
    after = bytes_on_disk(sqlite_store)
    assert kept in after
    assert b"Bob Remaining" in after
    assert not [secret for secret in secrets if secret[:32] in after]
    assert len(after) < len(before)


def test_decisions_about_nobody_lose_a_forgotten_photos_path(
    store: Store, give: Callable, new_photo: Callable
):
    with store.begin() as session:
        ada, bob = add_person(session, "Ada"), add_person(session, "Bob")
        give(session, ada, new_photo(session, "gate/ada.jpg"))
        give(session, bob, new_photo(session, "gate/bob.jpg"))
        for source in ("gate/ada.jpg", "gate/bob.jpg"):
            record_decision(session, kind="identify", answer="no", space=SPACE, source=source)
        receipt = forget_person(session, ada)
        assert receipt.decisions == 1
        assert sorted(session.scalars(select(Decision.source))) == ["", "gate/bob.jpg"]
        told = [text for text in session.scalars(select(Event.private)) if text]
        assert any("bob.jpg" in text for text in told)
        assert not any("ada.jpg" in text for text in told)
        forget_photo(session, "gate/bob.jpg")
        assert session.scalars(select(Decision.source)).all() == ["", ""]
        assert verify_log(session).whole


def test_operations_answers_and_jobs_forget_somebody(store: Store, give: Callable):
    with store.begin() as session:
        ada, bob = add_person(session, "Ada Ünal"), add_person(session, "Bob")
        give(session, ada)
        rename_person(session, ada, "Ada Vale")
        rename_person(session, bob, "Rob")
        key = add_key(session, "0123456789ab", "gate", (b"salt", b"hash"), ["verify"], None, None)
        for name, uid in (("one", ada.uid), ("two", bob.uid)):
            kept, _ = begin_answer(session, key.id, name, "0" * 64)
            finish_answer(session, kept, 201, f'{{"uid": "{uid}"}}')
        for name, state in (("Ada Vale", "done"), ("Rob", "done"), ("Ada Vale", "waiting")):
            said = {"rejected_files": [{"person": name}]}
            session.add(Job(kind="enrol_zip", state=state, done=1, parameters={}, result=said))
        receipt = forget_person(session, ada)
        assert (receipt.operations, receipt.answers) == (1, 2)
        rows = session.scalars(select(Operation).order_by(Operation.id))
        kinds = [row.inverse is None for row in rows]
        assert kinds == [True, False]
        assert count(session, Answered) == 1
        results = [row.result for row in session.scalars(select(Job).order_by(Job.id))]
        assert results[0] is None
        assert "Rob" in str(results[1])
        assert results[2] is not None  # it is not done: its worker needs it


def test_an_erasure_leaves_a_receipt_and_a_row_of_the_log(store: Store, give: Callable):
    key = bytes(range(32))
    with store.begin() as session:
        ada = add_person(session, "Ada", "north")
        give(session, ada)
        uid = ada.uid
        receipt = forget_person(session, ada, key)
        written = receipt.written
        assert written is not None
        about = keyed_hash(key, gallery_uid(session), written.uid, ("person", "Ada", "north"))
        assert written.keyed_hash == about
        told = {
            "receipt": written.uid,
            "gallery": written.gallery,
            "time": written.time.isoformat(),
            "keyed_hash": written.keyed_hash,
            "key": key.hex(),
            "counts": receipt.counts,
        }
        event = session.scalars(select(Event).where(Event.action == "person_forgotten")).one()
        assert event.subject == uid
        assert event.private is None
        found = check_receipt(session, told, ("person", "Ada", "north"))
        assert (found.belongs, found.logged, found.pending) == (True, event.id, True)
        assert check_receipt(session, told, ("person", "Ada", "")).subject is False
        assert (
            check_receipt(session, told | {"key": "no key"}, ("person", "Ada", "")).belongs is False
        )
        assert not check_receipt(session, told | {"counts": {}}).belongs
        assert not check_receipt(session, told | {"gallery": "0"}).belongs
        assert not check_receipt(session, told | {"receipt": "0"}).belongs
        assert note_scrubbed(session) == 1
        assert not pending_receipts(session)
        assert check_receipt(session, told).belongs
        rows = str(session.execute(select(ErasureReceipt.__table__)).all())
        assert "Ada" not in rows
        assert uid not in rows


def test_the_data_key_of_a_sealed_person_goes(
    store: Store, give: Callable, unit: Callable, tmp_path: Path
):
    new_key(tmp_path / "key")
    vault = Vault(tmp_path / "key")
    url = store.engine.url.render_as_string(hide_password=False)
    with Store.open(url, vault=vault) as sealed:
        with sealed.begin() as session:
            reseal(session, vault.sealing_master(), None)
            ada = add_person(session, "Ada")
            kept = give(session, ada, vector=unit())
            stored = Stored(kept.uid, kept.space, kept.vector, kept.seal_id)
            assert len(opened(session, [stored])) == 1
            receipt = forget_person(session, ada)
            assert receipt.seals == 1
        sealed.scrub()
        with sealed.read() as session:
            assert session.scalars(select(Seal.person_id)).all() == [None]
            with pytest.raises(SealBroken):
                opened(session, [stored])


def test_retention_of_a_site(store: Store, give: Callable, new_photo: Callable):
    old = datetime.now(UTC) - timedelta(days=40)
    with store.begin() as session:
        ada, bob = add_person(session, "Ada", "north"), add_person(session, "Bob")
        give(session, ada)
        for person in (ada, bob, None):
            whose = None if person is None else person.id
            for when in (old, None):
                row = record_decision(
                    session, kind="verify", answer="no", space=SPACE, source="x", person_id=whose
                )
                row.time = when or row.time
        rejected = [new_photo(session, outcome="rejected", claimed=p) for p in (ada, bob, None)]
        library = new_photo(session, outcome="library")
        named = new_photo(session, outcome="library")
        give(session, None, library)
        give(session, bob, named)
        for photo in (*rejected, library, named):
            photo.added = old
        new_photo(session, outcome="rejected", claimed=ada)
        north, before = ada.site_id, datetime.now(UTC) - timedelta(days=30)
        assert outdated(session, north, before).counts == {
            "decisions": 1, "photos": 1, "library": 0, "events": 0,
        }  # fmt: skip
        assert forget_outdated(session, north, before).counts["photos"] == 1
        assert not any(outdated(session, north, before).counts.values())
        found = forget_outdated(session, 0, before)
        assert found.counts | {"events": 0} == {
            "decisions": 2, "photos": 2, "library": 1, "events": 0,
        }  # fmt: skip
        assert len(found.templates) == 1
        assert (count(session, Decision), count(session, Photo)) == (3, 3)
        actions = session.scalars(select(Event.action)).all()
        assert actions.count("retention_applied") == 2
        assert forget_outdated(session, 0, before).counts == dict.fromkeys(found.counts, 0)
        assert verify_log(session).whole
