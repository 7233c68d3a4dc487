"""The schema and the main paths on a real PostgreSQL server."""

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from migrations import check, ensure_schema
from migrations.upgrading import Status
from store.erasure import forget_person
from store.gallery import gallery_status, pin_space
from store.people import add_person, find_person
from store.photos import record_face, record_photo
from store.session import Store
from store.sync import open_synced, refresh
from store.templates import add_template, owners

SPACE = "test-8"


@pytest.fixture
def store(postgresql):
    with Store.open(postgresql) as opened:
        with opened.engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        ensure_schema(opened)
        yield opened


def enrol(session, name, vector, number):
    person = add_person(session, name)
    photo = record_photo(session, f"{number:064x}", f"{name}.jpg", 1, 10, 10, outcome="enrolled")
    face = record_face(
        session, photo, box=np.zeros(4, np.float32), points=None, confidence=1.0, quality=None,
        crop=b"crop",
    )  # fmt: skip
    return add_template(session, person, face, SPACE, vector)


def test_an_empty_server_gets_the_current_schema(store):
    assert check(store) is Status.CURRENT


def test_enrolled_people_are_found_and_forgotten_ones_are_not(store, tmp_path: Path):
    vectors = np.eye(8, dtype=np.float32)
    with store.begin() as session:
        pin_space(session, SPACE)
        ann = enrol(session, "Ann", vectors[0], 1)
        bob = enrol(session, "Bob", vectors[1], 2)
    index = open_synced(store, f"exact:{tmp_path / 'i.vultus-index'}", SPACE, 8)
    assert index.search(vectors[:2], 1).ids[:, 0].tolist() == [ann.id, bob.id]
    with store.read() as session:
        assert owners(session, [ann.id])[ann.id].name == "Ann"
    with store.begin() as session:
        forget_person(session, find_person(session, "Ann"))
    refresh(index)
    assert index.search(vectors[:1], 2).ids[0].tolist() == [bob.id, -1]
    with store.read() as session:
        assert gallery_status(session).people == 1


def test_a_savepoint_rolls_back_alone(store):
    with store.begin() as session:
        add_person(session, "Ann")
        savepoint = session.begin_nested()
        add_person(session, "Bob")
        savepoint.rollback()
    with store.read() as session:
        assert gallery_status(session).people == 1
