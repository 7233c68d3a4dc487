from collections.abc import Callable

import pytest

from store.changes import changes_after
from store.clusters import (
    cluster_faces,
    clusters_of,
    find_cluster,
    latest_run,
    name_cluster,
    save_run,
)
from store.errors import UnknownCluster
from store.people import add_person
from store.session import Store
from store.templates import owners, remove_templates

SPACE = "toy-8-abc"


def test_before_the_first_run(store: Store):
    with store.read() as session:
        assert latest_run(session) is None
        with pytest.raises(UnknownCluster, match="no cluster 3"):
            find_cluster(session, 3)


def test_a_run_comes_back(store: Store, give: Callable):
    with store.begin() as session:
        ids = [give(session, None).id for _ in range(4)]
        facts = {"space": SPACE, "method": "graph", "source": "library"}
        save_run(session, **facts, parameters={"cut": 0.4}, clusters={0: ids})
        save_run(
            session, **facts, parameters={"cut": 0.5}, clusters={2: ids[2:], 0: ids[:2], 7: []}
        )
    with store.read() as session:
        run = latest_run(session)
        assert run.parameters == {"cut": 0.5}
        assert [(c.number, c.size, c.name) for c in clusters_of(session, run)] == [
            (0, 2, None),
            (2, 2, None),
            (7, 0, None),
        ]
        assert cluster_faces(session, find_cluster(session, 2)) == ids[2:]
        with pytest.raises(UnknownCluster):
            find_cluster(session, 1, run)


def test_naming_a_cluster_and_taking_it_back(store: Store, give: Callable):
    with store.begin() as session:
        ids = [give(session, None).id for _ in range(3)]
        run = save_run(
            session, space=SPACE, method="graph", source="x", parameters={}, clusters={0: ids}
        )
        ada = add_person(session, "Ada")
        assert name_cluster(session, find_cluster(session, 0), ada) == 3
        assert {owner.name for owner in owners(session, ids).values()} == {"Ada"}
        assert clusters_of(session, run)[0].name == "Ada"
        assert name_cluster(session, find_cluster(session, 0), None) == 3
        assert owners(session, ids) == {}
        assert clusters_of(session, run)[0].person_id is None
        ops = [change.op for change in changes_after(session, 0, 100)]
        assert ops == ["add"] * 3 + ["remove"] * 3


def test_a_removed_template_leaves_its_cluster(store: Store, give: Callable):
    with store.begin() as session:
        ids = [give(session, None).id for _ in range(3)]
        save_run(session, space=SPACE, method="graph", source="x", parameters={}, clusters={0: ids})
        remove_templates(session, ids[:1])
        assert cluster_faces(session, find_cluster(session, 0)) == ids[1:]
