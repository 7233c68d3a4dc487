"""The log: every row counts, private bits can go, and whatever is changed behind it is found."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Executable, delete, insert, select, text, update

from store.actors import system_actor
from store.audit import (
    ERASURE,
    Anchor,
    append_event,
    append_events,
    erase_photos,
    erase_private,
    log_anchor,
    merged_uids,
)
from store.audit_check import LogCheck, verify_log
from store.audit_read import person_uid, read_events
from store.calibrations import use_calibration, use_none
from store.chain import START, Happening
from store.corrections import merge_people
from store.erasure import forget_person, forget_photo
from store.errors import InvalidAnchor, UnknownPerson
from store.gallery import put_calibration, record_decision
from store.ledger import Event
from store.people import add_person
from store.profiles import put_profile, remove_profile
from store.schema import Gallery
from store.session import Store

ROWS = 12


def rows_of(store: Store) -> list[Event]:
    with store.read() as session:
        return list(session.scalars(select(Event).order_by(Event.id)))


def check(store: Store, anchor: Anchor | None = None) -> LogCheck:
    with store.read() as session:
        return verify_log(session, anchor)


@pytest.fixture
def full(store: Store) -> Store:
    """A log of twelve rows: every other one has something private, row 4 was erased by row 12."""
    with store.begin() as session:
        for number in range(1, ROWS):
            private = {"name": f"Ada {number}", "source": "ä.jpg"} if number % 2 == 0 else None
            append_event(session, "noted", f"uid-{number}", {"n": number, "share": 0.1}, private)
        erase_private(session, "uid-4")
    assert check(store) == LogCheck(ROWS, rows_of(store)[-1].hash)
    return store


def test_a_row_is_hashed_with_the_one_before_it(store: Store):
    with store.begin(actor="key:gate") as session:
        append_event(session, "noted", "u", {"b": 1, "a": None}, {"name": "Ann"})
        append_event(session, "noted")
    first, second = rows_of(store)
    moment = first.time.astimezone(UTC).isoformat(timespec="microseconds")
    hidden = hashlib.sha256(first.salt + b'{"name":"Ann"}').hexdigest()
    columns = [1, moment, "key:gate", "noted", "u", '{"a":null,"b":1}', hidden, START]
    wanted = json.dumps(columns, separators=(",", ":")).encode()
    assert first.hash == hashlib.sha256(wanted).hexdigest()
    assert (second.previous, second.private, second.salt) == (first.hash, None, None)
    with store.read() as session:
        assert log_anchor(session) == Anchor(2, second.hash)


def test_who_acts(store: Store):
    with store.begin() as session:
        append_event(session, "noted")
    with store.begin(actor="key:gate") as session:
        append_event(session, "noted")
    with store.begin() as session:
        append_event(session, "noted")
    assert [row.actor for row in rows_of(store)] == [system_actor(), "key:gate", system_actor()]
    assert system_actor().startswith("user:")


def test_an_empty_log_is_whole(store: Store):
    assert check(store) == LogCheck(0, START)
    assert check(store, Anchor(0, START)).whole
    with store.begin() as session:
        assert append_events(session, []) == 0


def test_what_is_rolled_back_was_never_logged(store: Store):
    with store.begin() as session:
        append_event(session, "noted")
        session.rollback()
    assert check(store) == LogCheck(0, START)


def test_a_batch_is_as_good_as_one_by_one(store: Store):
    with store.begin() as session:
        append_event(session, "noted")
        batch = [Happening("noted", str(n), {"n": n}, {"name": str(n)}) for n in range(2100)]
        assert append_events(session, batch) == 2101
    assert check(store).length == 2101
    with store.read() as session:
        assert [row.details["n"] for row in read_events(session, last=2)] == [2098, 2099]
        assert sum(1 for _ in read_events(session)) == 2101


def test_details_that_are_no_json_are_refused(store: Store):
    with store.begin() as session:
        with pytest.raises(ValueError, match="JSON"):
            append_event(session, "noted", details={"n": float("nan")})
        session.rollback()
    assert check(store) == LogCheck(0, START)


def test_writers_at_once_make_one_chain(store: Store):
    def write() -> None:
        for _ in range(10):
            with store.begin() as session:
                append_events(session, [Happening("noted"), Happening("noted")])

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert check(store).length == 80
    assert check(store).whole


EDITS = {
    "time": datetime(2026, 1, 1, tzinfo=UTC),
    "actor": "user:eve",
    "action": "exported",
    "subject": "uid-x",
    "details": '{"n":0}',
    "private": '{"name":"Eve"}',
    "salt": b"0" * 16,
    "commitment": "0" * 64,
    "previous": "0" * 64,
    "hash": "0" * 64,
}


def check_after(store: Store, *statements: Executable) -> LogCheck:
    """What checking finds after some statements, which are then rolled back."""
    with store.begin() as session:
        for statement in statements:
            session.execute(statement)
        session.expire_all()
        found = verify_log(session)
        session.rollback()
    return found


def test_any_edit_is_found(full: Store):
    for number in (2, 4, 7, ROWS):
        for column, value in EDITS.items():
            edit = update(Event).where(Event.id == number).values({column: value})
            found = check_after(full, edit)
            # what the row of the erasure lists is first missed at the row that was erased
            first = 4 if number == ROWS and column in {"action", "details"} else number
            assert (found.whole, found.row) == (False, first), (number, column)


def test_removing_something_private_by_hand_is_found(full: Store):
    for columns in (("private",), ("salt",), ("private", "salt")):
        edit = update(Event).where(Event.id == 2).values(dict.fromkeys(columns))
        assert check_after(full, edit).row == 2


def test_a_removed_row_is_found(full: Store):
    for number in (1, 2, 7, ROWS - 1):
        found = check_after(full, delete(Event).where(Event.id == number))
        assert (found.row, found.length) == (number, number - 1)
        assert "missing" in str(found.fault)
    assert not check_after(full, delete(Event).where(Event.id == ROWS)).whole
    with full.begin() as session:
        append_event(session, "noted")
    found = check_after(full, delete(Event).where(Event.id == ROWS + 1))
    assert (found.row, found.length) == (ROWS + 1, ROWS)


def test_swapped_rows_are_found(full: Store):
    for one, other in ((2, 3), (1, ROWS), (ROWS - 1, ROWS), (2, 6)):
        moves = ((one, -1), (other, one), (-1, other))
        edits = (update(Event).where(Event.id == a).values(id=b) for a, b in moves)
        assert check_after(full, *edits).row == one


def test_a_row_put_in_is_found(full: Store):
    last = rows_of(full)[-1]
    values = {column.name: getattr(last, column.name) for column in Event.__table__.columns}
    for number in (0, ROWS + 1):
        assert check_after(full, insert(Event).values(values | {"id": number})).row == number


def test_an_edited_end_is_found(full: Store):
    for values in (
        {"log_length": ROWS - 1},
        {"log_length": ROWS + 1},
        {"log_length": None},
        {"log_head": START},
        {"log_head": None},
    ):
        assert not check_after(full, update(Gallery).values(values)).whole, values


def test_a_log_written_anew_is_found_with_an_anchor_only(full: Store):
    with full.read() as session:
        anchor = Anchor.parse(str(log_anchor(session)))
    with full.begin() as session:
        append_event(session, "noted")
    assert check(full, anchor).whole
    with full.begin() as session:
        session.execute(delete(Event))
        session.execute(update(Gallery).values(log_length=None, log_head=None))
        append_events(session, [Happening("noted")] * (ROWS - 1))
    assert check(full).whole
    assert check(full, anchor).row == ROWS
    with full.begin() as session:
        append_events(session, [Happening("noted")] * 3)
    assert check(full, anchor).row == ROWS
    assert check(full, Anchor(0, "1" * 64)).row == 1


@pytest.mark.parametrize(
    "given", ["", "12", "12:abc", "-1:" + START, "1:" + "G" * 64, "x:" + START]
)
def test_texts_that_are_no_anchor(given: str):
    with pytest.raises(InvalidAnchor, match="vultus audit anchor"):
        Anchor.parse(given)


def test_a_row_that_cannot_be_read_is_found(sqlite_store: Store):
    with sqlite_store.begin() as session:
        append_events(session, [Happening("noted")] * ROWS)
    for edit in (
        "UPDATE events SET time = 'yesterday' WHERE id = 6",
        "UPDATE events SET details = x'ff' WHERE id = 6",
        "UPDATE events SET details = CAST(x'ff' AS TEXT) WHERE id = 6",
        "UPDATE events SET salt = 7 WHERE id = 6",
    ):
        assert check_after(sqlite_store, text(edit)).row == 6, edit


def test_erasing_a_person_keeps_the_chain(store: Store, give: Callable):
    with store.begin() as session:
        append_event(session, "rejected", None, {}, {"name": "Ada", "source": "before.jpg"})
        append_event(session, "rejected", None, {}, {"name": "Adam", "source": "other.jpg"})
        ada, bob = add_person(session, "Ada"), add_person(session, "Bob")
        alias = add_person(session, "Miss L.")
        give(session, ada)
        give(session, bob)
        append_event(session, "enrolled", ada.uid, {}, {"name": "Ada"})
        append_event(session, "enrolled", alias.uid, {}, {"name": "Miss L."})
        append_event(session, "enrolled", bob.uid, {}, {"name": "Bob"})
        record_decision(
            session, kind="verify", answer="yes", space="s", source="ada.jpg", person_id=ada.id
        )
        merge_people(session, alias, ada)
        assert set(merged_uids(session, ada.uid)) == {ada.uid, alias.uid}
        forget_person(session, ada)
    assert check(store).whole
    kept = [json.loads(row.private)["name"] for row in rows_of(store) if row.private]
    assert kept == ["Adam", "Bob"]
    erased = [row for row in rows_of(store) if row.action == ERASURE]
    assert [row.subject for row in erased] == [ada.uid]
    store.scrub()
    if store.path is not None:
        for file in store.path.parent.iterdir():
            data = file.read_bytes()
            assert b"Miss L." not in data
            assert b'"Ada"' not in data
            assert b"before.jpg" not in data
            assert b"ada.jpg" not in data


def test_what_was_erased_cannot_come_back_unseen(full: Store):
    saved = rows_of(full)[5]
    with full.begin() as session:
        erase_private(session, "uid-6")
    assert check(full).whole
    with full.begin() as session:
        back = {"private": saved.private, "salt": saved.salt}
        session.execute(update(Event).where(Event.id == 6).values(back))
    assert check(full).row == 6


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"name": ["x"]}'])
def test_a_changed_row_hinders_neither_reading_nor_erasing(store: Store, give: Callable, text: str):
    with store.begin() as session:
        ada, bob = add_person(session, "Ada"), add_person(session, "Bob")
        give(session, ada)
        merge_people(session, bob, ada)
        append_event(session, "enrolled", ada.uid, {}, {"name": "Ada", "source": "a.jpg"})
        session.execute(update(Event).values(details=text, private=text))
        assert len(list(read_events(session))) == 2
        forget_person(session, ada)
    assert check(store).row == 1


def test_erasing_twice_changes_nothing(full: Store):
    with full.begin() as session:
        assert erase_private(session, "uid-4") == 0
    assert check(full).length == ROWS


def test_forgetting_a_photo_erases_its_path(store: Store, give: Callable, new_photo: Callable):
    with store.begin() as session:
        photo = new_photo(session, source="secret.jpg")
        give(session, add_person(session, "Ada"), photo=photo)
        private = {"name": "Ada", "source": "secret.jpg", "digest": photo.digest}
        append_event(session, "enrolled", "u", {}, private)
        forget_photo(session, "secret.jpg")
        assert erase_photos(session, [photo.digest]) == 0
    assert check(store).whole
    assert [row.private for row in rows_of(store) if row.action == "enrolled"] == [None]


def test_a_merge_undone_by_hand_is_not_followed(store: Store):
    with store.begin() as session:
        one, other = add_person(session, "A"), add_person(session, "B")
        append_event(session, "merged", one.uid, {"into": other.uid})
        assert merged_uids(session, other.uid) == [other.uid]


def test_what_writes_is_logged(store: Store):
    with store.begin() as session:
        ada = add_person(session, "Ada")
        curve = put_calibration(session, "a", "{}", "d1")
        use_calibration(session, curve.id)
        use_none(session, "a")
        put_profile(session, "gate", fmr=0.001, fpir=0.01, unsure=10)
        remove_profile(session, "gate")
        remove_profile(session, "gate")
        record_decision(
            session, kind="identify", answer="unsure", space="a", source="x.jpg", fmr=0.01,
            person_id=ada.id, similarity=0.25, threshold=0.5, calibration_id=curve.id,
        )  # fmt: skip
    with store.read() as session:
        found = list(read_events(session))
    assert [row.action for row in found] == [
        "calibration_added", "calibration_in_force", "calibration_in_force", "profile_set",
        "profile_removed", "decided",
    ]  # fmt: skip
    decided = found[-1]
    assert (decided.subject, decided.person, decided.private) == (
        ada.uid,
        "Ada",
        {"source": "x.jpg"},
    )
    assert decided.details["calibration"] == curve.id
    assert (decided.details["similarity"], decided.details["threshold"]) == (0.25, 0.5)
    assert (decided.details["answer"], decided.details["fmr"]) == ("unsure", 0.01)
    assert found[2].details["calibration"] is None


def test_reading_a_part(full: Store):
    with full.begin() as session:
        ada = add_person(session, "Ada")
        append_event(session, "enrolled", ada.uid, {}, {"name": "Ada"})
        append_event(session, "split", "uid-1", {"into": ada.uid})
    with full.read() as session:
        assert person_uid(session, "ada") == ada.uid
        assert [r.action for r in read_events(session, person=ada.uid)] == ["enrolled", "split"]
        assert [r.number for r in read_events(session, action="noted", last=2)] == [10, 11]
        later = datetime.now(UTC) + timedelta(hours=1)
        assert list(read_events(session, since=later)) == []
        erased = next(r for r in read_events(session) if r.number == 4)
        assert (erased.erased, erased.private) == (True, None)
        assert person_uid(session, "0" * 32) == "0" * 32
        with pytest.raises(UnknownPerson):
            person_uid(session, "nobody")
