from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from store.changes import changes_after
from store.clusters import (
    cluster_faces,
    clusters_of,
    find_cluster,
    latest_run,
    name_cluster,
    numbers_of,
    record_run,
    save_run,
)
from store.errors import CannotUndo, InvalidCorrection, UnknownCluster, UnknownTemplate
from store.facts import constraints
from store.ledger import Fact
from store.operations import undo_operation
from store.people import add_person
from store.regrouping import keep_apart, keep_together, merge_clusters, move_faces, split_cluster
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


@pytest.fixture
def three(store: Store, give: Callable) -> tuple[Store, list[int]]:
    """Clusters 1, 2 and 3 of three, two and one face."""
    with store.begin() as session:
        ids = [give(session, None).id for _ in range(6)]
        clusters = {1: ids[:3], 2: ids[3:5], 3: ids[5:]}
        run = save_run(
            session, space=SPACE, method="m", source="x", parameters={}, clusters=clusters
        )
        record_run(session, run)
    return store, ids


def seats(store: Store) -> list[int]:
    with store.read() as session:
        found = numbers_of(session, latest_run(session))
    return [found[key] for key in sorted(found)]


def facts(store: Store) -> int:
    with store.read() as session:
        return session.scalar(select(func.count()).select_from(Fact)) or 0


def test_uids_and_people_are_kept_with_a_run(store: Store, give: Callable):
    with store.begin() as session:
        ids = [give(session, None).id for _ in range(2)]
        ada = add_person(session, "Ada")
        run = save_run(
            session, space=SPACE, method="m", source="x", parameters={},
            clusters={1: ids[:1], 2: ids[1:]}, uids={2: "stays"}, people={2: ada.id},
        )  # fmt: skip
        first, second = clusters_of(session, run)
        assert (second.uid, second.name) == ("stays", "Ada")
        assert first.uid not in {None, "stays"}
        assert first.name is None
        assert latest_run(session, "x") == run
        assert latest_run(session, "y") is None


def test_merging_and_taking_it_back(three: tuple[Store, list[int]]):
    store, ids = three
    with store.begin() as session:
        keep_apart(session, ids[:1], ids[3:4])
        operation, target = merge_clusters(session, [find_cluster(session, n) for n in (2, 1)])
        assert target.number == 1
        assert constraints(session, ids).apart.tolist() == []
        assert constraints(session, ids).together.tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]]
        number = operation.id
    assert seats(store) == [1, 1, 1, 1, 1, 3]
    with store.begin() as session:
        undo_operation(session, number)
        assert constraints(session, ids).apart.tolist() == [[0, 3]]
    assert seats(store) == [1, 1, 1, 2, 2, 3]


def test_parting_and_taking_it_back(three: tuple[Store, list[int]]):
    store, ids = three
    with store.begin() as session:
        keep_together(session, ids[:3])
        number = split_cluster(session, ids[:2])[0].id
        assert constraints(session, ids).together.tolist() == [[0, 1]]
        assert constraints(session, ids).apart.tolist() == [[0, 2]]
    assert seats(store) == [4, 4, 1, 2, 2, 3]
    with store.begin() as session:
        undo_operation(session, number)
        with pytest.raises(UnknownCluster):
            find_cluster(session, 4)
    assert seats(store) == [1, 1, 1, 2, 2, 3]


def test_moved_faces_take_the_name_and_give_up_their_own(three: tuple[Store, list[int]]):
    store, ids = three
    with store.begin() as session:
        ada, bea = add_person(session, "Ada"), add_person(session, "Bea")
        name_cluster(session, find_cluster(session, 1), ada)
        name_cluster(session, find_cluster(session, 2), bea)
        number = move_faces(session, [ids[0], ids[5]], find_cluster(session, 2)).id
        names = {key: owner.name for key, owner in owners(session, ids).items()}
        assert [names.get(key) for key in ids] == ["Bea", "Ada", "Ada", "Bea", "Bea", "Bea"]
        assert name_cluster(session, find_cluster(session, 2), ada) == 4 - 1  # one is denied
    assert seats(store) == [2, 1, 1, 2, 2, 2]
    with store.begin() as session:
        undo_operation(session)
        undo_operation(session, number)
        names = {key: owner.name for key, owner in owners(session, ids).items()}
        assert [names.get(key) for key in ids] == ["Ada", "Ada", "Ada", "Bea", "Bea", None]
    assert (seats(store), facts(store)) == ([1, 1, 1, 2, 2, 3], 0)


def test_what_stands_in_the_way_of_undoing_is_told(three: tuple[Store, list[int]]):
    store, ids = three
    with store.begin() as session:
        number = split_cluster(session, ids[:1])[0].id
        move_faces(session, ids[:1], find_cluster(session, 2))
    with pytest.raises(CannotUndo), store.begin() as session:
        undo_operation(session, number)
    assert seats(store) == [2, 1, 1, 2, 2, 3]


def test_an_undone_run_is_the_latest_no_more(three: tuple[Store, list[int]]):
    store, ids = three
    with store.begin() as session:
        run = save_run(
            session, space=SPACE, method="m", source="x", parameters={}, clusters={1: ids}
        )
        record_run(session, run)
    assert seats(store) == [1] * 6
    with pytest.raises(CannotUndo, match="came after"), store.begin() as session:
        undo_operation(session, 1)
    with store.begin() as session:
        undo_operation(session)
    assert seats(store) == [1, 1, 1, 2, 2, 3]


def test_what_cannot_be_regrouped(three: tuple[Store, list[int]]):
    store, ids = three
    with store.begin() as session:
        for wrong in ([], ids[:3]):
            with pytest.raises(InvalidCorrection):
                split_cluster(session, wrong)
        with pytest.raises(UnknownTemplate):
            split_cluster(session, [10_000])
        with pytest.raises(InvalidCorrection):
            move_faces(session, ids[:1], find_cluster(session, 1))
        with pytest.raises(InvalidCorrection):
            merge_clusters(session, [find_cluster(session, 1)])
    assert (seats(store), facts(store)) == ([1, 1, 1, 2, 2, 3], 0)
