from collections.abc import Callable

import pytest
from sqlalchemy import select

from store.errors import SpaceMismatch
from store.gallery import (
    active_calibration,
    gallery_status,
    gallery_uid,
    pin_space,
    pinned_space,
    put_calibration,
    record_decision,
    require_space,
)
from store.people import add_person
from store.records import Calibration
from store.session import Store


def test_the_first_space_is_pinned(store: Store):
    with store.begin() as session:
        assert pinned_space(session) is None
        require_space(session, "sface-128-aaa")
        assert pinned_space(session) is None
        pin_space(session, "sface-128-aaa")
        pin_space(session, "sface-128-aaa")
    with store.begin() as session:
        assert pinned_space(session) == "sface-128-aaa"
        for check in (pin_space, require_space):
            with pytest.raises(SpaceMismatch, match=r"'sface-128-aaa'.*'mobile-128-bbb'") as caught:
                check(session, "mobile-128-bbb")
            assert caught.value.exit_code == 3
        assert pinned_space(session) == "sface-128-aaa"


def test_status_counts(store: Store, give: Callable):
    with store.begin() as session:
        ada = add_person(session, "Ada")
        give(session, ada)
        give(session, None)
        record_decision(session, kind="compare", answer="no", space="s", source="a.jpg")
    with store.read() as session:
        status = gallery_status(session)
        assert len(gallery_uid(session)) == 32
    assert (status.people, status.photos, status.faces, status.templates) == (1, 2, 2, 2)
    assert (status.unnamed, status.decisions, status.rev, status.space) == (1, 1, 1, None)


def test_the_last_calibration_of_a_space_counts(store: Store):
    with store.begin() as session:
        put_calibration(session, "a", "{}", "d1")
        put_calibration(session, "a", '{"n": 2}', "d2")
        put_calibration(session, "b", "{}", "d3")
    with store.read() as session:
        assert active_calibration(session, "a").body == '{"n": 2}'
        assert active_calibration(session, "b").digest == "d3"
        assert active_calibration(session, "c") is None
        assert len(session.scalars(select(Calibration)).all()) == 3


@pytest.mark.parametrize(("kind", "answer"), [("guess", "yes"), ("verify", "maybe")])
def test_decisions_have_known_words(store: Store, kind: str, answer: str):
    with store.begin() as session, pytest.raises(ValueError, match="A decision is one of"):
        record_decision(session, kind=kind, answer=answer, space="s", source="a.jpg")


def test_a_decision_keeps_zero_as_zero(store: Store):
    with store.begin() as session:
        ada = add_person(session, "Ada")
        row = record_decision(
            session,
            kind="verify",
            answer="no",
            space="s",
            source="a.jpg",
            person_id=ada.id,
            similarity=0.0,
            threshold=0.0,
            fmr=1e-4,
        )
    with store.read() as session:
        found = session.get(type(row), row.id)
        assert (found.similarity, found.threshold, found.fmr) == (0.0, 0.0, 1e-4)
        assert found.time.tzinfo is not None
