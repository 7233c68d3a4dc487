"""Two spaces side by side: a face keeps its person in both; the switch leads there and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store.audit_check import verify_log
from store.audit_read import read_events
from store.clusters import cluster_faces, clusters_of, find_cluster, latest_run, name_cluster
from store.clusters import save_run as keep_run
from store.corrections import merge_people
from store.erasure import forget_person
from store.errors import NothingToMigrate, OneToOneOnly, SpaceMismatch, TransitionUnderWay
from store.gallery import gallery_status, pin_space, pinned_space
from store.listing import person_rows, templates_of
from store.operations import undo_operation
from store.people import add_person, find_person, list_people
from store.records import ClusterFace
from store.resealing import reseal
from store.schema import Face, Photo, Template
from store.sealing import vault_of
from store.session import Store
from store.templates import assign_person, named_templates, remove_templates, vectors_of
from store.transitions import (
    CURRENT,
    FINISHED,
    READY,
    ROLLED_BACK,
    add_twins,
    begin_transition,
    count_waiting,
    drop_space,
    latest_transition,
    set_state,
    switch_space,
    transition_summary,
    twins,
    waiting_faces,
)
from store.vault import FILE_VARIABLE, KEY_VARIABLE

OLD, NEW, DIM = "toy-8-abc", "toy-4-def", 4


def new_vector(face_id: int) -> np.ndarray:
    vector = np.random.default_rng(face_id).standard_normal(DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def encode(session: Session, have: str = OLD, want: str = NEW, limit: int = 100) -> int:
    waiting = waiting_faces(session, have, want, 0, limit)
    return add_twins(session, have, want, {w.face_id: new_vector(w.face_id) for w in waiting})


def whose(session: Session, space: str) -> dict[int, int | None]:
    """Face → person, in a space."""
    rows = session.execute(
        select(Template.face_id, Template.person_id).where(Template.space == space)
    )
    return {row[0]: row[1] for row in rows}


def state(session: Session) -> str:
    transition = latest_transition(session)
    assert transition is not None
    return transition.state


@pytest.fixture
def filled(store: Store, give: Callable) -> Store:
    """Ada and Bob with two templates each, three faces of a library in two clusters."""
    with store.begin() as session:
        pin_space(session, OLD)
        for name in ("Ada", "Bob"):
            person = add_person(session, name)
            give(session, person)
            give(session, person)
        library = [give(session, None).id for _ in range(3)]
        facts: dict[str, Any] = {"space": OLD, "method": "m", "source": "x", "parameters": {}}
        keep_run(session, **facts, clusters={1: library[:2], 2: library[2:]})
    return store


def test_the_twins_are_of_the_same_people_and_not_counted(filled: Store):
    with filled.begin() as session:
        begin_transition(session, NEW)
        before = gallery_status(session)
        assert (before.templates, before.unnamed) == (7, 3)
        assert (count_waiting(session, OLD, NEW), encode(session, limit=5)) == (7, 5)
        assert begin_transition(session, NEW).id == 1, "begun before: it goes on"
        assert [w.template_id for w in waiting_faces(session, OLD, NEW, 0, 9)] == [6, 7]
        assert (encode(session), count_waiting(session, OLD, NEW), encode(session)) == (2, 0, 0)
        assert whose(session, NEW) == whose(session, OLD)
        now = gallery_status(session)
        assert (now.templates, now.unnamed, now.faces) == (7, 3, 7)
        assert [person.templates for person in list_people(session)] == [2, 2]
        assert [row.templates for row in person_rows(session, [1, 2])] == [2, 2]
        assert {row.space for row in templates_of(session, 1)} == {OLD}
        created = select(func.count(func.distinct(Template.created)), Template.face_id)
        assert {row[0] for row in session.execute(created.group_by(Template.face_id))} == {1}
        ids, vectors = vectors_of(session, 1, NEW)
        rows = session.execute(select(Template.id, Template.face_id))
        faces = {row[0]: row[1] for row in rows}
        np.testing.assert_array_equal(vectors, [new_vector(faces[i]) for i in ids.tolist()])


def test_there_and_back_and_what_refers_to_templates_follows(filled: Store):
    with filled.begin() as session:
        run = latest_run(session)
        name_cluster(session, find_cluster(session, 1), find_person(session, "Ada"))
        members = [cluster_faces(session, find_cluster(session, n)) for n in (1, 2)]
        clusters = clusters_of(session, run)
        begin_transition(session, NEW)
        encode(session)
        twin = twins(session, OLD, NEW)
    with filled.begin() as session:
        transition = latest_transition(session)
        set_state(session, transition, READY)
        assert switch_space(session, transition, NEW, CURRENT) == 0
        assert pinned_space(session) == NEW
        told = transition_summary(session, transition).to_dict()
        assert (told["state"], told["in_use"], told["templates"], told["twins"]) == (
            CURRENT, NEW, 7, 7,
        )  # fmt: skip
        moved = [cluster_faces(session, find_cluster(session, n)) for n in (1, 2)]
        assert moved == [[twin[t] for t in ids] for ids in members]
        assert clusters_of(session, run) == clusters
    with filled.begin() as session:
        switch_space(session, latest_transition(session), OLD, ROLLED_BACK)
        assert [cluster_faces(session, find_cluster(session, n)) for n in (1, 2)] == members
        assert pinned_space(session) == OLD
        again = begin_transition(session, NEW)
        assert (again.id, count_waiting(session, OLD, NEW)) == (2, 0), "the twins are still there"
        switch_space(session, again, NEW, CURRENT)
        gone = drop_space(session, again)
        assert (gone.space, gone.templates, gone.faces, gone.photos) == (OLD, 7, 0, 0)
    with filled.begin() as session:
        assert set(session.scalars(select(Template.space))) == {NEW}
        assert session.scalar(select(func.count()).select_from(ClusterFace)) == 3
        named = {face for face, person in whose(session, NEW).items() if person == 1}
        assert len(named) == 4
        undo_operation(session)
        named = {face for face, person in whose(session, NEW).items() if person == 1}
        assert len(named) == 2, "what was named before the migration is undone after it"
        actions = [event.action for event in read_events(session) if "migration" in event.action]
        assert actions == [
            "migration_begun", "migration_ready", "migration_cut_over", "migration_rolled_back",
            "migration_begun", "migration_cut_over", "migration_finished",
        ]  # fmt: skip
        assert verify_log(session).whole


def test_corrections_and_forgetting_take_the_twins_along(filled: Store):
    with filled.begin() as session:
        begin_transition(session, NEW)
        encode(session)
        library = sorted(t for t, (p, s) in _templates(session).items() if p is None and s == OLD)
        assign_person(session, library[:1], find_person(session, "Bob"))
        assert whose(session, NEW) == whose(session, OLD)
        merge_people(session, find_person(session, "Bob"), find_person(session, "Ada"))
        assert whose(session, NEW) == whose(session, OLD)
        assert list_people(session)[0].templates == 5
        undo_operation(session)
        assert whose(session, NEW) == whose(session, OLD)
        assert [person.templates for person in list_people(session)] == [2, 3]
        remove_templates(session, library[2:])
        assert whose(session, NEW) == whose(session, OLD)
        forget_person(session, find_person(session, "Bob"))
        assert [len(whose(session, space)) for space in (OLD, NEW)] == [3, 3]
        assert session.scalar(select(func.count()).select_from(Face)) == 4


def _templates(session: Session) -> dict[int, tuple[int | None, str]]:
    rows = session.execute(select(Template.id, Template.person_id, Template.space))
    return {row[0]: (row[1], row[2]) for row in rows}


def test_nothing_is_added_in_the_space_left_behind(filled: Store, give: Callable):
    with filled.begin() as session:
        ada = find_person(session, "Ada")
        with pytest.raises(SpaceMismatch, match="started again"):
            give(session, ada, space=NEW, vector=new_vector(1))
        transition = begin_transition(session, NEW)
        encode(session)
        late = give(session, ada).face_id
        assert switch_space(session, transition, NEW, CURRENT) == 1
        with pytest.raises(SpaceMismatch):
            give(session, ada)
    with filled.begin() as session:
        gone = drop_space(session, latest_transition(session))
        assert (gone.templates, gone.faces, gone.photos) == (8, 1, 1)
        assert session.get(Face, late) is None, "nobody could be told to forget it"
        photos = session.scalar(select(func.count()).select_from(Photo))
        assert photos == 7 + 2, "with those of the two that were refused"


def test_one_change_at_a_time(filled: Store):
    with filled.begin() as session:
        with pytest.raises(NothingToMigrate, match="already"):
            begin_transition(session, OLD)
        transition = begin_transition(session, NEW)
        for wanted in ("another-4-xyz", "third-4-xyz"):
            with pytest.raises(TransitionUnderWay, match="encoding"):
                begin_transition(session, wanted)
        with pytest.raises(TransitionUnderWay, match="encoding"):
            drop_space(session, transition)
        encode(session)
        switch_space(session, transition, NEW, CURRENT)
        with pytest.raises(TransitionUnderWay, match="--roll-back"):
            begin_transition(session, OLD)
        drop_space(session, transition)
        assert state(session) == FINISHED
        assert begin_transition(session, OLD).id == 2


def test_an_empty_gallery_has_nothing_to_change(store: Store):
    with store.begin() as session, pytest.raises(NothingToMigrate, match="nothing yet"):
        begin_transition(session, NEW)


@pytest.mark.parametrize("renewal", [None, "gallery", "person"])
def test_twins_are_sealed_as_their_people_are(
    filled: Store, monkeypatch: pytest.MonkeyPatch, renewal: str | None
):
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    monkeypatch.setenv(KEY_VARIABLE, bytes(range(32)).hex())

    def sealed_again() -> None:
        with filled.begin() as session:
            reseal(session, vault_of(session).sealing_master(None), renewal)

    def seen() -> dict[int, list[float]]:
        with filled.read() as session:
            return {p: vectors_of(session, p, NEW)[1].ravel().tolist() for p in (1, 2)}

    sealed_again()
    with filled.begin() as session:
        begin_transition(session, NEW)
        encode(session)
        seals = select(Template.face_id, Template.seal_id).where(Template.space == OLD)
        wanted = {row[0]: row[1] for row in session.execute(seals)}
        seals = select(Template.face_id, Template.seal_id).where(Template.space == NEW)
        assert {row[0]: row[1] for row in session.execute(seals)} == wanted
        assert None not in wanted.values()
        stored = session.scalars(select(Template.vector).where(Template.space == NEW)).all()
        plain = [new_vector(face).tobytes() for face in wanted]
        assert not any(vector in blob for vector in plain for blob in stored)
    first = seen()
    assert first == {
        p: pytest.approx(np.concatenate([new_vector(f) for f in faces]).tolist(), abs=3e-7)
        for p, faces in ((1, (1, 2)), (2, (3, 4)))
    }
    sealed_again()
    assert seen() == {p: pytest.approx(numbers, abs=3e-7) for p, numbers in first.items()}
    with filled.begin() as session:
        switch_space(session, latest_transition(session), NEW, CURRENT)
        merge_people(session, find_person(session, "Bob"), find_person(session, "Ada"))
    with filled.read() as session:
        if renewal == "person":
            with pytest.raises(OneToOneOnly):
                named_templates(session, NEW)
        assert len(vectors_of(session, 1, NEW)[0]) == len(vectors_of(session, 1, OLD)[0]) == 4
