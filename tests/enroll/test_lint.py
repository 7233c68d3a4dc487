"""Lookalikes: a face that resembles somebody else more than two strangers ever do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from enroll.lint import Conflict, Lint
from enroll.person import EnrolmentRules
from verify.calibration import calibration_for
from verify.errors import NoCalibration
from verify.opening import Parts

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from embedder.embed import Embedder

    from .conftest import Shelf


@pytest.fixture(scope="session")
def vectors(embedder: Embedder, people: dict[str, list[Path]]) -> list[NDArray[np.float32]]:
    """The third to sixth picture of the first four people, float32 (4, D) each."""
    return [
        np.concatenate([found.vectors for found in embedder.embed(people[name][2:6], "largest")])
        for name in list(people)[:4]
    ]


@pytest.fixture
def names(people: dict[str, list[Path]]) -> list[str]:
    return list(people)[:4]


def test_the_limit_is_what_no_strangers_reached(enrolled: Shelf):
    parts = enrolled.parts
    assert Lint.of(parts).limit == calibration_for(parts.card.space).beyond_strangers


def test_an_enrolled_person_under_another_name_is_found(
    enrolled: Shelf, vectors: list[NDArray[np.float32]], names: list[str]
):
    lint = Lint.of(enrolled.parts)
    conflict = lint.check(vectors[0][0], "Somebody Else")
    assert conflict is not None
    assert conflict.other == names[0]
    assert conflict.own is None
    assert conflict.similarity >= lint.limit
    assert names[0] in str(conflict)


def test_an_enrolled_name_that_is_further_is_told_with_its_own_similarity(
    enrolled: Shelf, vectors: list[NDArray[np.float32]], names: list[str]
):
    conflict = Lint.of(enrolled.parts).check(vectors[0][0], names[1])
    assert conflict is not None
    assert conflict.other == names[0]
    assert conflict.own is not None
    assert conflict.own < conflict.similarity
    assert "like its own name" in str(conflict)


def test_the_own_name_closer_is_no_conflict(
    enrolled: Shelf, vectors: list[NDArray[np.float32]], names: list[str]
):
    lint = Lint.of(enrolled.parts)
    assert [lint.check(rows[0], name) for rows, name in zip(vectors, names, strict=True)] == [
        None
    ] * 4


def test_of_two_close_names_the_own_one_wins(enrolled: Shelf, vectors: list[NDArray[np.float32]]):
    lint = Lint.of(enrolled.parts)
    twin = vectors[0][1]
    lint.remember(twin, "Twin")
    assert lint.check(twin, "Twin") is None


def test_strangers_do_not_conflict(
    enrolled: Shelf, embedder: Embedder, strangers: dict[str, list[Path]]
):
    lint = Lint.of(enrolled.parts)
    for name, pictures in strangers.items():
        (found,) = embedder.embed(pictures[:1])
        assert lint.check(found.vectors[0], name) is None


def test_within_a_batch_faces_are_remembered_until_the_commit(
    shelf: Shelf, vectors: list[NDArray[np.float32]]
):
    lint = Lint.of(shelf.parts)
    assert lint.check(vectors[0][0], "Ann") is None
    lint.remember(vectors[0][0], "Ann")
    conflict = lint.check(vectors[0][1], "Bob")
    assert conflict == Conflict("Ann", pytest.approx(vectors[0][0] @ vectors[0][1]), None)
    lint.committed()
    assert lint.check(vectors[0][1], "Bob") is None


def test_a_face_that_was_only_checked_is_nobodys(shelf: Shelf, vectors: list[NDArray[np.float32]]):
    lint = Lint.of(shelf.parts)
    assert lint.check(vectors[0][0], "Ann") is None
    assert lint.check(vectors[0][1], "Bob") is None


def test_without_a_calibration_nothing_is_found(
    enrolled: Shelf, vectors: list[NDArray[np.float32]], monkeypatch: pytest.MonkeyPatch
):
    def none(_parts: Parts) -> None:
        raise NoCalibration("toy")

    monkeypatch.setattr(Parts, "calibration", property(none))
    lint = Lint.of(enrolled.parts)
    assert lint.limit is None
    assert lint.check(vectors[0][0], "Somebody Else") is None


def test_people_of_another_site_are_neither_compared_nor_told_of(
    shelf: Shelf, people: dict[str, list[Path]], strangers: dict[str, list[Path]]
):
    (one, other, *_), *_ = people.values()
    shelf.enroll(one, EnrolmentRules(site="north"), name="Secret Name")
    (there,) = shelf.enroll(other, EnrolmentRules(site="south"), name="Ann")
    assert (there.status, there.detail) == ("enrolled", "")
    (here,) = shelf.enroll(other.parent / "3.jpg", EnrolmentRules(site="north"), name="Ann")
    assert (here.status, here.reason) == ("rejected", "identity_similarity_conflict")
    assert "Secret Name" in here.detail
    (same,) = shelf.enroll(one, EnrolmentRules(site="south"), name="Bob")
    assert (same.status, same.detail) == ("rejected", "this file is enrolled in another site")
    new = next(iter(strangers.values()))[0]
    assert shelf.enroll(new, EnrolmentRules(site="west"), name="Eve")[0].status == "enrolled"


def test_a_group_looked_up_at_once_is_checked_as_one_by_one(
    enrolled: Shelf, names: list[str], vectors: list[NDArray[np.float32]]
):
    flat = [vector for some in vectors for vector in some]
    stranger = np.roll(flat[0], 7)
    asked = [*flat, stranger]
    one_by_one, at_once = Lint.of(enrolled.parts), Lint.of(enrolled.parts)
    at_once.foresee(asked)
    assert None in at_once._foreseen.values(), "somebody must be far from everybody"
    found = []
    for lint in (one_by_one, at_once):
        lint.remember(stranger, "Somebody else")
        found.append([lint.check(vector, name) for vector in asked for name in (*names, "New")])
    assert found[0] == found[1]
    assert any(found[0])
    at_once.foresee([])
    assert at_once._foreseen == {}
