"""Templates that contradict their names: seeded vectors, and pictures of generated people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from enroll.suspects import Cuts, confusable, duplicates, misfits
from verify.calibration import calibration_for

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from embedder.embed import Embedder

CUTS = Cuts(strangers=0.0, link=0.4, duplicate=0.5, unalike=0.25, pair=0.1)
DIM = 64


def person(rng: np.random.Generator, photos: int, spread: float = 0.5) -> NDArray[np.float32]:
    """Photos of one person: unit rows about one direction, about 0.8 alike."""
    rows = rng.standard_normal(DIM) / np.sqrt(DIM)
    rows = rows + spread * rng.standard_normal((photos, DIM)) / np.sqrt(DIM)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def gallery(
    *people: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Ids from 100, people from 7, vectors."""
    owner = np.repeat(np.arange(len(people)), [len(rows) for rows in people]) + 7
    return np.arange(len(owner)) + 100, owner, np.concatenate(people)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_a_sound_gallery_raises_no_suspicion(rng: np.random.Generator):
    arrays = gallery(*[person(rng, int(rng.integers(1, 6))) for _ in range(60)])
    assert duplicates(*arrays, CUTS) == []
    assert misfits(*arrays, CUTS) == []
    assert confusable(*arrays, 0.75) == []


def test_somebody_enrolled_twice_is_found_unless_it_was_denied(rng: np.random.Generator):
    twice = person(rng, 5)
    arrays = gallery(person(rng, 3), twice[:3], person(rng, 2), twice[3:])
    (found,) = duplicates(*arrays, CUTS)
    assert (found.kind, found.people, found.templates) == (
        "duplicate", (8, 10), (103, 104, 105, 108, 109),
    )  # fmt: skip
    assert found.similarity == pytest.approx(float((twice[:3] @ twice[3:].T).mean()), abs=1e-5)
    assert found.cut < found.similarity
    assert found.margin == pytest.approx(found.similarity - found.cut)
    assert duplicates(*arrays, CUTS, np.array([[3, 8]])) == []
    assert duplicates(*arrays, CUTS, np.array([[0, 8]])) != []
    assert misfits(*arrays, CUTS) == []


def test_a_mixed_name_an_outlier_and_two_unalike(rng: np.random.Generator):
    mixed = np.concatenate([person(rng, 4), person(rng, 2)])
    outlier = np.concatenate([person(rng, 3), person(rng, 1)])
    pair = np.concatenate([person(rng, 1), -person(rng, 1)])
    arrays = gallery(person(rng, 4), mixed, outlier, pair, person(rng, 1))
    found = {one.kind: one for one in misfits(*arrays, CUTS)}
    assert {kind: one.people for kind, one in found.items()} == {
        "mixed": (8,), "outlier": (9,), "unalike": (10,),
    }  # fmt: skip
    assert found["mixed"].templates == (108, 109)
    assert found["outlier"].templates == (113,)
    assert found["unalike"].templates == (114, 115)
    assert all(one.similarity < one.cut for one in found.values())


def test_what_somebody_said_is_one_person_is_no_misfit(rng: np.random.Generator):
    arrays = gallery(np.concatenate([person(rng, 3), person(rng, 1)]))
    assert len(misfits(*arrays, CUTS)) == 1
    assert misfits(*arrays, CUTS, np.array([[0, 3]])) == []


def test_confusable_pairs_are_those_of_a_plain_loop(rng: np.random.Generator):
    ids, owner, vectors = gallery(*[person(rng, 2, spread=1.0) for _ in range(30)])
    threshold = 0.25
    best: dict[tuple[int, int], float] = {}
    for i in range(len(ids)):
        for j in range(i):
            if owner[i] != owner[j] and (similarity := float(vectors[i] @ vectors[j])) >= threshold:
                key = (int(owner[j]), int(owner[i]))
                best[key] = max(best.get(key, -1.0), similarity)
    found = confusable(ids, owner, vectors, threshold)
    assert len(found) > 3
    assert {one.people: pytest.approx(one.similarity, abs=1e-6) for one in found} == best
    order = [one.similarity for one in found]
    assert order == sorted(order, reverse=True)
    assert confusable(ids[:1], owner[:1], vectors[:1], threshold) == []


def test_empty_and_small_galleries():
    none = np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, DIM), np.float32)
    assert duplicates(*none, CUTS) == misfits(*none, CUTS) == confusable(*none, 0.5) == []


def test_faults_among_generated_people(embedder: Embedder, people: dict[str, list[Path]]):
    rows = [
        np.concatenate([found.vectors for found in embedder.embed(people[name][:6], "largest")])
        for name in list(people)[:6]
    ]
    cuts = Cuts.of(calibration_for(embedder.space))
    sound = gallery(*rows)
    assert duplicates(*sound, cuts) == misfits(*sound, cuts) == []
    spoiled = gallery(
        rows[0][:3], rows[0][3:], np.concatenate([rows[1], rows[2][:2]]),
        np.concatenate([rows[3], rows[4][:1]]), rows[5],
    )  # fmt: skip
    assert [one.people for one in duplicates(*spoiled, cuts)] == [(7, 8)]
    assert {(one.kind, one.people) for one in misfits(*spoiled, cuts)} == {
        ("mixed", (9,)), ("outlier", (10,)),
    }  # fmt: skip
