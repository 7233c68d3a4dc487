from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy.exc import IntegrityError

from store.changes import (
    append_changes,
    changes_after,
    current_position,
    current_rev,
    holds_position,
)
from store.errors import InvalidVector, UnknownTemplate
from store.following import present_templates, stream_templates
from store.people import add_person
from store.schema import Change, Face
from store.session import Store
from store.templates import (
    add_template,
    assign_person,
    faces_of_photos,
    owners,
    remove_templates,
    vectors_of,
)
from store.vectors import pack, unpack

SPACE = "toy-8-abc"


def log(changes: list[Change]) -> list[tuple[int, int, str]]:
    return [(change.rev, change.template_id, change.op) for change in changes]


@pytest.mark.parametrize(
    "vector",
    [
        np.ones(8, np.float32),
        np.array([1, 0, 0], np.float64),
        np.array([[1, 0, 0]], np.float32),
        np.array([np.nan, 1], np.float32),
        np.array([np.inf, 1], np.float32),
        np.zeros(8, np.float32),
        np.zeros(0, np.float32),
    ],
)
def test_vectors_that_are_no_template(vector: np.ndarray):
    with pytest.raises(InvalidVector):
        pack(vector)


def test_vectors_are_stored_bit_by_bit(unit: Callable):
    vectors = np.stack([unit() for _ in range(3)])
    np.testing.assert_array_equal(unpack([pack(row) for row in vectors]), vectors)
    assert pack(vectors[0]) == vectors[0].astype("<f4").tobytes()
    assert unpack([]).shape == (0, 0)
    with pytest.raises(InvalidVector):
        unpack([b"1234", b"12345678"])


@pytest.mark.parametrize("factor", [0.0, 0.99, 2.0, 1e30, np.nan, np.inf])
def test_a_damaged_row_is_refused_and_not_unlike_everybody(unit: Callable, factor: float):
    rows = [pack(unit()) for _ in range(3)]
    with np.errstate(invalid="ignore"):
        rows[1] = (unit() * np.float32(factor)).astype("<f4").tobytes()
    with pytest.raises(InvalidVector, match=r"stored vector is damaged .* restore the database"):
        unpack(rows)


def test_only_named_templates_are_logged(store: Store, give: Callable):
    with store.begin() as session:
        ada = add_person(session, "Ada")
        library = give(session, None)
        first = give(session, ada)
        assert log(changes_after(session, 0, 10)) == [(1, first.id, "add")]
        assign_person(session, [library.id], ada)
        remove_templates(session, [first.id])
        assign_person(session, [library.id], None)
        expected = [(2, library.id, "add"), (3, first.id, "remove"), (4, library.id, "remove")]
        assert log(changes_after(session, 1, 10)) == expected
        assert log(changes_after(session, 1, 2)) == expected[:2]
        assert current_rev(session) == 4


def test_a_rolled_back_template_leaves_no_change(store: Store, give: Callable):
    with store.begin() as session:
        ada = add_person(session, "Ada")

        def give_and_fail() -> None:
            give(session, ada)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError), session.begin_nested():
            give_and_fail()
        assert current_rev(session) == 0
        assert changes_after(session, 0, 10) == []


def test_unknown_ids_change_nothing(store: Store, give: Callable):
    with store.begin() as session:
        ada = add_person(session, "Ada")
        template = give(session, ada)
        for change in (remove_templates, lambda s, ids: assign_person(s, ids, None)):
            with pytest.raises(UnknownTemplate, match="1 template ids"):
                change(session, [template.id, 999])
        assert current_rev(session) == 1
        assert len(vectors_of(session, ada.id, SPACE)[0]) == 1


def test_ids_are_never_used_again(store: Store, give: Callable):
    seen: list[int] = []
    for _ in range(3):
        with store.begin() as session:
            template = give(session, None)
            seen.append(template.id)
            remove_templates(session, [template.id])
    assert seen == sorted(set(seen))


def test_vectors_of_one_person_in_one_space(store: Store, give: Callable, unit: Callable):
    with store.begin() as session:
        ada, bob = add_person(session, "Ada"), add_person(session, "Bob")
        vectors = [unit() for _ in range(3)]
        ids = [give(session, ada, vector=vector).id for vector in vectors]
        give(session, bob)
        give(session, ada, space="other")
    with store.read() as session:
        found, rows = vectors_of(session, ada.id, SPACE)
        assert found.dtype == np.int64
        assert found.tolist() == ids
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, np.stack(vectors))
        nobody = vectors_of(session, 999, SPACE)
        assert nobody[0].shape == (0,)
        assert nobody[1].shape == (0, 0)


def test_two_templates_of_one_face_need_two_spaces(store: Store, give: Callable, unit: Callable):
    with store.begin() as session:
        template = give(session, None)
        face = session.get(Face, template.face_id)
        add_template(session, None, face, "other", unit())
        with pytest.raises(IntegrityError), session.begin_nested():
            add_template(session, None, face, SPACE, unit())


def test_owners_of_many(store: Store, give: Callable, new_photo: Callable):
    with store.begin() as session:
        ada, bob = add_person(session, "Ada"), add_person(session, "Bob", site="berlin")
        photo = new_photo(session)
        wanted = {give(session, ada, photo).id: ada for _ in range(350)}
        wanted |= {give(session, bob, photo).id: bob for _ in range(300)}
        unnamed = give(session, None).id
    with store.read() as session:
        found = owners(session, [*wanted, unnamed, 10**6])
    assert {key: owner.uid for key, owner in found.items()} == {
        key: person.uid for key, person in wanted.items()
    }
    last = found[max(wanted)]
    assert (last.name, last.site, last.site_id, last.space) == ("Bob", "berlin", bob.site_id, SPACE)


@pytest.mark.parametrize("batch", [1, 3, 4, 100])
def test_streaming_gives_every_named_template_once(store: Store, give: Callable, batch: int):
    with store.begin() as session:
        ada, bob = add_person(session, "Ada"), add_person(session, "Bob", site="berlin")
        people = [ada, None, bob, ada, bob, ada, bob, None, ada, ada]
        rows = [(give(session, person).id, person) for person in people]
        give(session, ada, space="other")
    named = [(key, person.site_id) for key, person in rows if person is not None]
    with store.read() as session:
        batches = list(stream_templates(session, SPACE, batch))
        some = present_templates(session, SPACE, [key for key, _ in rows])
    assert all(len(part.ids) <= batch for part in batches)
    got = [pair for part in batches for pair in zip(part.ids, part.sites, strict=True)]
    assert got == named
    assert list(zip(some.ids, some.sites, strict=True)) == named
    assert np.concatenate([part.vectors for part in batches]).shape == (8, 8)


def test_faces_of_a_library(store: Store, give: Callable, new_photo: Callable):
    with store.begin() as session:
        ada = add_person(session, "Ada")
        pair = new_photo(session, outcome="library")
        other = new_photo(session, outcome="library")
        ids = [
            give(session, None, pair).id,
            give(session, ada, pair).id,
            give(session, None, other).id,
        ]
        give(session, None)
        faces = faces_of_photos(session, [pair.digest, other.digest, "0" * 64], SPACE)
        nothing = faces_of_photos(session, [], SPACE)
    assert faces.ids.tolist() == ids
    assert faces.photo_ids.tolist() == [pair.id, pair.id, other.id]
    assert faces.person_ids.tolist() == [-1, ada.id, -1]
    assert faces.vectors.shape == (3, 8)
    assert len(nothing) == 0


def test_positions_tell_histories_apart(store: Store):
    with store.begin() as session:
        assert current_position(session).rev == 0
        append_changes(session, [1, 2], "add")
        first = current_position(session)
        append_changes(session, [], "add")
        assert current_position(session) == first
        append_changes(session, [3], "add")
        assert holds_position(session, first)
        assert not holds_position(session, type(first)(first.rev, "another"))
        assert not holds_position(session, type(first)(99, first.tag))
