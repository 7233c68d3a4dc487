"""Facts: what clustering, naming and search are told of corrections."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import select

from store.clusters import cluster_faces, find_cluster, name_cluster, save_run
from store.corrections import deny_templates, merge_people, split_person
from store.erasure import forget_person
from store.facts import add_facts, constraints, denied_people, denied_templates, faces_of
from store.ledger import Fact
from store.operations import Journal, record_operation, undo_operation
from store.people import add_person
from store.schema import Photo
from store.session import Store
from store.templates import owners

SPACE = "toy-8-abc"


def test_pairs_of_faces(store: Store, give: Callable):
    with store.begin() as session:
        ids = [give(session, None).id for _ in range(4)]
        faces = faces_of(session, ids)
        operation = record_operation(session, "apart", Journal())
        add_facts(session, operation, "same", [(faces[ids[3]], faces[ids[0]])])
        add_facts(session, operation, "different", [(faces[ids[1]], faces[ids[2]])])
        found = constraints(session, ids)
        assert found.together.tolist() == [[0, 3]]
        assert found.apart.tolist() == [[1, 2]]
        assert (found.together.dtype, found.apart.dtype) == (np.int64, np.int64)
        turned = constraints(session, ids[::-1])
        assert turned.together.tolist() == [[0, 3]]
        assert turned.apart.tolist() == [[1, 2]]
        part = constraints(session, ids[:2])
        assert part.together.shape == part.apart.shape == (0, 2)
        assert constraints(session, []).apart.shape == (0, 2)


def test_people_are_together_and_those_split_apart(store: Store, give: Callable):
    with store.begin() as session:
        ada = add_person(session, "Ada")
        ids = [give(session, ada).id for _ in range(4)]
        loose = give(session, None).id
        assert constraints(session, ids).together.tolist() == [[0, 1], [1, 2], [2, 3]]
        eve = split_person(session, ada, ids[2:], "Eve")
        found = constraints(session, [*ids, loose])
        assert found.together.tolist() == [[0, 1], [2, 3]]
        assert found.apart.tolist() == [[0, 2], [0, 3], [1, 2], [1, 3]]
        merge_people(session, eve, ada)
        found = constraints(session, ids)
        assert found.apart.tolist() == []
        assert {tuple(pair) for pair in found.together.tolist()} >= {(0, 1), (1, 2), (2, 3)}
        undo_operation(session)
        undo_operation(session)
        assert constraints(session, ids).apart.tolist() == []


def test_a_denied_face_is_not_named_with_its_cluster(store: Store, give: Callable):
    with store.begin() as session:
        ada = add_person(session, "Ada")
        ids = [give(session, ada).id for _ in range(3)]
        run = {"space": SPACE, "method": "graph", "source": "x", "parameters": {}}
        save_run(session, **run, clusters={0: ids})
        deny_templates(session, ada, ids[:1])
        assert denied_templates(session, ids, ada) == {ids[0]}
        assert constraints(session, ids).apart.tolist() == [[0, 1], [0, 2]]
        cluster = find_cluster(session, 0)
        assert cluster_faces(session, cluster) == ids
        assert name_cluster(session, cluster, ada) == 2
        assert sorted(owners(session, ids)) == ids[1:]
        bob = add_person(session, "Bob")
        assert name_cluster(session, cluster, bob) == 3


def test_whom_the_faces_of_a_photo_are_known_not_to_be(
    store: Store, give: Callable, new_photo: Callable, unit: Callable
):
    one, other, stranger = (unit() for _ in range(3))
    with store.begin() as session:
        ada, photo = add_person(session, "Ada"), new_photo(session)
        wrong = give(session, ada, photo=photo, vector=one)
        give(session, ada, photo=photo, vector=other)
        probes = np.stack([other, one, stranger])
        nobody = [frozenset()] * 3
        assert denied_people(session, photo.digest, SPACE, probes) == nobody
        deny_templates(session, ada, [wrong.id])
        found = denied_people(session, photo.digest, SPACE, probes)
        assert found == [frozenset(), {ada.id}, frozenset()]
        assert denied_people(session, "0" * 64, SPACE, probes) == nobody
        assert denied_people(session, photo.digest, "another", probes) == nobody


@pytest.mark.parametrize("whom", ["Ada", "Eve"])
def test_facts_go_with_whom_they_are_about(store: Store, give: Callable, whom: str):
    with store.begin() as session:
        ada = add_person(session, "Ada")
        ids = [give(session, ada).id for _ in range(2)]
        eve = split_person(session, ada, ids[1:], "Eve")
        assert len(session.scalars(select(Fact)).all()) == 1
        forget_person(session, {"Ada": ada, "Eve": eve}[whom])
        assert session.scalars(select(Fact)).all() == []
        assert len(session.scalars(select(Photo)).all()) == 1
