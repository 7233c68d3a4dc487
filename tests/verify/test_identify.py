import json
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from store.erasure import forget_person
from store.people import add_person, find_person, site_ids
from store.schema import Template
from store.session import Store
from store.sync import open_synced, refresh
from store.synced import SyncedIndex
from store.templates import assign_person
from verify.calibration import Calibration
from verify.errors import UnsupportedRate
from verify.identify import Identification, gallery_rule, identify

D = 128
GIVEN = {"Ada": 0, "Bob": 1, "Cy": 2}  # name → the axis their template lies on


def mix(**parts: float) -> NDArray[np.float32]:
    """A unit vector with the given similarity to people's templates, float32 (1, D)."""
    vector = np.zeros(D)
    for name, similarity in parts.items():
        vector[GIVEN[name]] = similarity
    vector[D - 1] = math.sqrt(1 - float(vector @ vector))
    return vector.astype(np.float32)[None]


def axis(number: int) -> NDArray[np.float32]:
    return np.eye(D, dtype=np.float32)[number]


class Gallery:
    """A store with its index, and a short way to ask."""

    def __init__(
        self, store: Store, calibration: Calibration, give: Callable[..., Template]
    ) -> None:
        self.store, self.calibration, self.give = store, calibration, give
        self.index: SyncedIndex = open_synced(store, "exact:", "toy", D)

    def enrol(self, name: str, *axes: int, site: str = "") -> list[int]:
        with self.store.begin() as session:
            person = add_person(session, name, site)
            ids = [self.give(session, person, axis(number)).id for number in axes]
        refresh(self.index)
        return ids

    def ask(
        self,
        queries: NDArray[np.float32],
        fpir: float | None = None,
        k: int = 10,
        sites: list[str] | None = None,
    ) -> list[Identification]:
        with self.store.read() as session:
            within = None if sites is None else np.array(site_ids(session, sites), np.int64)
            return identify(
                queries, self.index, session, self.calibration, fpir=fpir, k=k, within=within
            )


@pytest.fixture
def empty(store: Store, stairs: Calibration, give: Callable[..., Template]) -> Gallery:
    return Gallery(store, stairs, give)


@pytest.fixture
def gallery(empty: Gallery) -> Iterator[Gallery]:
    """Three people with one template each: yes from 0.875 on, unsure from 0.75."""
    for name, number in GIVEN.items():
        empty.enrol(name, number)
    return empty


def test_known_unsure_and_unknown(gallery: Gallery):
    queries = np.concatenate([mix(Ada=0.95), mix(Bob=0.8), mix(Cy=0.6), mix()])
    known, unsure, unknown, far = gallery.ask(queries)
    assert (known.answer, known.person) == ("yes", "Ada")
    assert (unsure.answer, unsure.person) == ("unsure", None)
    assert unsure.candidates[0].person == "Bob"
    assert (unknown.answer, unknown.person, unknown.person_id) == ("no", None, None)
    assert (far.answer, far.person) == ("no", None)
    with gallery.store.read() as session:
        assert known.person_id == find_person(session, "Ada").id
        assert unsure.person_id == find_person(session, "Bob").id


def test_exactly_at_the_threshold_is_yes(gallery: Gallery):
    at, under = gallery.ask(np.concatenate([mix(Ada=0.875), mix(Ada=0.8749)]))
    assert (at.answer, under.answer) == ("yes", "unsure")
    assert at.threshold == 0.875


def test_candidates_are_ranked_and_judged_each(gallery: Gallery):
    (found,) = gallery.ask(mix(Cy=0.9, Ada=0.3, Bob=0.1))
    ranked = [(one.person, round(one.similarity, 4), one.answer) for one in found.candidates]
    assert ranked == [("Cy", 0.9, "yes"), ("Ada", 0.3, "no"), ("Bob", 0.1, "no")]
    assert found.agreement == 1.0


def test_evidence_is_told_person_by_person(empty: Gallery):
    ada = empty.enrol("Ada", 0, 3, 4)
    (bob,) = empty.enrol("Bob", 1)
    query = np.zeros((1, D), np.float32)
    query[0, [4, 1, 0, 3]] = [0.8, 0.5, 0.3, 0.1]
    query[0, D - 1] = math.sqrt(1 - 0.99)
    (found,) = empty.ask(query)
    first, second = found.candidates
    assert (first.person, first.evidence) == ("Ada", (ada[2], ada[0], ada[1]))
    assert (second.person, second.evidence) == ("Bob", (bob,))
    assert first.similarity == pytest.approx(0.8)  # the largest, not the mean
    assert found.agreement == pytest.approx(2 / 3)  # Bob is the second of the nearest three
    assert found.gallery_size == 4


def test_k_limits_how_many_templates_are_looked_at(gallery: Gallery):
    (found,) = gallery.ask(mix(Cy=0.9, Ada=0.3, Bob=0.1), k=2)
    assert [one.person for one in found.candidates] == ["Cy", "Ada"]


def test_the_forgotten_are_not_found_by_an_index_that_is_behind(gallery: Gallery):
    with gallery.store.begin() as session:
        forget_person(session, find_person(session, "Ada"))
    assert len(gallery.index) == 3  # it has not followed
    (found,) = gallery.ask(mix(Ada=0.9, Bob=0.3))
    assert found.answer == "no"
    assert [one.person for one in found.candidates] == ["Bob", "Cy"]


def test_faces_whose_name_was_taken_away_are_nobody(gallery: Gallery):
    with gallery.store.begin() as session:
        template = gallery.ask(mix(Ada=0.9))[0].candidates[0].evidence
        assign_person(session, template, None)
    (found,) = gallery.ask(mix(Ada=0.9))
    assert "Ada" not in {one.person for one in found.candidates}


def test_a_new_name_counts_at_once(gallery: Gallery):
    with gallery.store.begin() as session:
        find_person(session, "Ada").name = "Ada Lovelace"
    assert gallery.ask(mix(Ada=0.95))[0].person == "Ada Lovelace"


def test_everybody_forgotten(gallery: Gallery):
    with gallery.store.begin() as session:
        for name in GIVEN:
            forget_person(session, find_person(session, name))
    (found,) = gallery.ask(mix(Ada=0.9))
    assert (found.answer, found.candidates, found.agreement) == ("no", (), 0.0)


def test_an_empty_gallery_knows_nobody(empty: Gallery):
    found = empty.ask(np.concatenate([mix(), mix()]))
    assert [one.answer for one in found] == ["no", "no"]
    assert (found[0].candidates, found[0].gallery_size) == ((), 0)
    assert found[0].fpir == 0.01
    assert empty.ask(mix(), fpir=0.2)[0].fpir == 0.2


def test_no_faces_give_no_answers(gallery: Gallery):
    assert gallery.ask(np.zeros((0, D), np.float32)) == []


def test_only_the_asked_sites_are_searched(gallery: Gallery):
    gallery.enrol("Ada", 5, site="berlin")
    query = mix(Ada=0.9)
    assert gallery.ask(query)[0].person == "Ada"
    (elsewhere,) = gallery.ask(query, sites=["berlin"])
    assert elsewhere.answer == "no"
    assert [(one.person, one.site) for one in elsewhere.candidates] == [("Ada", "berlin")]
    (there,) = gallery.ask(axis(5)[None], sites=["berlin"])
    assert (there.answer, there.candidates[0].site) == ("yes", "berlin")
    both = gallery.ask(axis(5)[None], sites=["berlin", ""])[0]
    assert (both.answer, both.gallery_size) == ("yes", 4)


def test_a_site_nobody_is_in(gallery: Gallery):
    (found,) = gallery.ask(mix(Ada=0.9), sites=["paris"])
    assert (found.answer, found.candidates, found.gallery_size) == ("no", (), 0)


def test_the_rate_is_for_the_templates_of_the_site(
    store: Store, give: Callable[..., Template], curve: Callable[..., Calibration]
):
    gallery = Gallery(store, curve({1400: 100}), give)  # no promise among four, but for one
    gallery.enrol("Ada", 0, 3, 4)
    gallery.enrol("Bob", 1, site="berlin")
    with pytest.raises(UnsupportedRate):
        gallery.ask(mix(Bob=0.9))
    (found,) = gallery.ask(mix(Bob=0.9), sites=["berlin"])
    assert (found.gallery_size, found.fpir) == (1, pytest.approx(0.03))


class TestRule:
    def test_the_default_rate_is_one_in_a_hundred(self, stairs: Calibration):
        rule = gallery_rule(stairs, 3, None)
        assert rule.rate == 0.01
        assert (rule.threshold, rule.unsure_above) == (
            stairs.threshold(0.01, 3),
            stairs.threshold(0.1, 3),
        )

    @pytest.mark.parametrize("size", [1, 10, 33, 34, 35, 100, 350, 351])
    def test_the_default_grows_with_the_gallery(self, stairs: Calibration, size: int):
        smallest = 1 - (1 - 3e-4) ** size
        rule = gallery_rule(stairs, size, None)
        assert rule.rate == pytest.approx(max(0.01, smallest))
        assert rule.threshold == stairs.threshold(rule.rate, size)

    def test_beyond_one_in_ten_a_person_must_ask(self, stairs: Calibration):
        with pytest.raises(UnsupportedRate, match=r"--fpir 0\.11\.") as caught:
            gallery_rule(stairs, 352, None)
        assert "352 templates" in str(caught.value)
        assert "toy people" in str(caught.value)
        assert gallery_rule(stairs, 352, 0.11).rate == 0.11  # as the message offers

    def test_an_asked_rate_is_kept_or_refused(self, stairs: Calibration):
        assert gallery_rule(stairs, 30, 0.05).rate == 0.05
        with pytest.raises(UnsupportedRate, match="against 100 templates"):
            gallery_rule(stairs, 100, 0.01)

    @pytest.mark.parametrize("fpir", [0.0, 1.0, -0.1, math.nan])
    def test_what_is_no_rate(self, gallery: Gallery, empty: Gallery, fpir: float):
        for size in (1, 100):
            with pytest.raises(UnsupportedRate):
                gallery_rule(gallery.calibration, size, fpir)
        with pytest.raises(UnsupportedRate):
            gallery.ask(mix(Ada=0.9), fpir=fpir)
        with pytest.raises(UnsupportedRate):
            empty.ask(mix(Ada=0.9), fpir=fpir, sites=["paris"])

    def test_identify_refuses_what_cannot_be_promised(self, gallery: Gallery):
        with pytest.raises(UnsupportedRate):
            gallery.ask(mix(Ada=0.9), fpir=0.0005)
        assert gallery.ask(mix(Ada=0.8), fpir=0.2)[0].answer == "yes"  # 0.75 at this rate


def test_strangers_are_taken_for_somebody_as_often_as_asked(
    store: Store, give: Callable[..., Template], curve: Callable[..., Calibration]
):
    """Random directions, calibrated on random directions: the share of a gallery of 40."""
    rng = np.random.default_rng(6)

    def directions(n: int) -> NDArray[np.float32]:
        rows = rng.normal(size=(n, D))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    similarities = directions(40_000) @ directions(5).T
    places, weights = np.unique(np.floor((similarities + 1) * 1000), return_counts=True)
    calibration = curve({int(p): float(w) for p, w in zip(places, weights, strict=True)})
    gallery = Gallery(store, calibration, give)
    with store.begin() as session:
        for number, vector in enumerate(directions(40)):
            give(session, add_person(session, f"person {number}"), vector)
    refresh(gallery.index)
    answers = [found.answer for found in gallery.ask(directions(4000), fpir=0.05)]
    assert answers.count("yes") / 4000 == pytest.approx(0.05, abs=0.015)


def test_what_scripts_read(gallery: Gallery):
    (found,) = gallery.ask(mix(Ada=0.9), k=1)
    told = json.loads(json.dumps(found.to_dict()))
    (candidate,) = told.pop("candidates")
    assert told == {
        "answer": "yes",
        "person": "Ada",
        "threshold": 0.875,
        "fpir": 0.01,
        "gallery_size": 3,
        "agreement": 1.0,
        "unsure_above": 0.75,
        "unsure_fpir": 0.1,
        "extrapolated": False,
    }
    uid = candidate.pop("uid")
    with gallery.store.read() as session:
        assert find_person(session, uid).name == "Ada"
    assert candidate == {
        "person": "Ada",
        "site": "",
        "similarity": pytest.approx(0.9),
        "distance": pytest.approx(0.1),
        "evidence": list(found.candidates[0].evidence),
        "answer": "yes",
    }
