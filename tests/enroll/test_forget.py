"""Forgetting: afterwards nothing of the person or photo is left, down to the bytes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from enroll.cluster import cluster_library, name_person
from enroll.forget import forget, kind_of
from enroll.person import EnrolmentRules
from enroll.sheet import write_sheet
from store.errors import AmbiguousPerson, UnknownPerson
from verify.person import verify_person
from verify.photos import identify_photos

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from .conftest import Shelf


def files_of(shelf: Shelf) -> dict[str, bytes]:
    """Everything in the gallery's folder: database, its log, index."""
    return {path.name: path.read_bytes() for path in shelf.database.parent.glob("*.*")}


def traces(shelf: Shelf, name: str) -> dict[str, list[bytes]]:
    """What may be found of a person: vectors, a part from the middle of each crop, digests."""
    rows = shelf.ask(
        "SELECT vector, crop, digest FROM templates JOIN people ON people.id = person_id "
        "JOIN faces ON faces.id = face_id JOIN photos ON photos.id = photo_id "
        "WHERE name = ?",
        name,
    )
    middles = [crop[len(crop) // 2 :][:64] for _, crop, _ in rows]
    return {
        "vectors": [vector for vector, _, _ in rows],
        "crops": middles,
        "digests": [digest.encode() for _, _, digest in rows],
        "name": [name.encode()],
    }


def left(shelf: Shelf, wanted: dict[str, list[bytes]]) -> set[tuple[str, str]]:
    """In which file which kind of trace is found."""
    return {
        (file, kind)
        for file, data in files_of(shelf).items()
        for kind, some in wanted.items()
        if any(trace in data for trace in some)
    }


@pytest.fixture
def names(people: dict[str, list[Path]]) -> list[str]:
    return list(people)[:4]


def test_a_person_is_gone_from_rows_index_and_answers(
    enrolled: Shelf, names: list[str], people: dict[str, list[Path]]
):
    parts = enrolled.parts
    capture = people[names[0]][4]
    assert verify_person(parts, names[0], capture).match == "yes"
    gone = forget(parts, names[0])
    assert gone.what == "person"
    assert (gone.rows.people, gone.rows.templates) == (1, 2)
    assert (gone.rows.faces, gone.rows.photos) == (2, 2)
    assert gone.rows.decisions == 1
    assert gone.to_dict()["forgot"] == "person"
    counts = enrolled.counts()
    del counts["changes"]
    assert counts == {"people": 3, "photos": 6, "faces": 6, "templates": 6}
    assert len(parts.index) == 6
    (found,) = identify_photos(parts, [capture])
    assert found.answer == "no"
    assert found.faces[0].who.person is None
    with pytest.raises(UnknownPerson):
        verify_person(parts, names[0], capture)


def test_the_others_are_untouched(enrolled: Shelf, names: list[str], people: dict[str, list[Path]]):
    query = (
        "SELECT name, people.uid, vector, crop, source FROM templates "
        "JOIN people ON people.id = person_id JOIN faces ON faces.id = face_id "
        "JOIN photos ON photos.id = photo_id WHERE name != ? ORDER BY templates.id"
    )
    before = enrolled.ask(query, names[0])
    forget(enrolled.parts, names[0])
    assert enrolled.ask(query, names[0]) == before
    for name in names[1:]:
        assert verify_person(enrolled.parts, name, people[name][3]).match == "yes"


def test_no_byte_of_them_is_left(
    enrolled: Shelf, names: list[str], open_shelf: Callable[..., Shelf]
):
    wanted, other = traces(enrolled, names[0]), traces(enrolled, names[1])
    assert len(enrolled.parts.index) == 8
    there = {kind for _, kind in left(enrolled, wanted)}
    assert there == {"vectors", "crops", "digests", "name"}
    index = enrolled.parts.index.path.name
    assert (index, "vectors") in left(enrolled, wanted)
    forget(enrolled.parts, names[0])
    assert left(enrolled, wanted) == set()
    assert (index, "vectors") in left(enrolled, other)
    enrolled.parts.close()
    assert left(enrolled, wanted) == set()
    assert len(open_shelf(enrolled.database).parts.index) == 6


def test_traces_would_be_found_without_scrubbing(
    enrolled: Shelf, names: list[str], monkeypatch: pytest.MonkeyPatch
):
    """The test above can fail: the log keeps what was deleted until it is emptied."""
    from store.session import Store

    wanted = traces(enrolled, names[0])
    monkeypatch.setattr(Store, "scrub", lambda _: None)
    forget(enrolled.parts, names[0])
    assert ("gallery.sqlite3", "vectors") in left(enrolled, wanted)


def test_a_photo_by_path_by_text_and_by_digest(enrolled: Shelf, names: list[str]):
    query = "SELECT source, digest FROM photos WHERE source LIKE ? ORDER BY source"
    (first, _), (_, digest) = enrolled.ask(query, f"%{names[0]}%")
    one = forget(enrolled.parts, str(first))
    assert one.what == "photo"
    assert (one.rows.people, one.rows.templates, one.rows.photos) == (0, 1, 1)
    assert len(enrolled.parts.index) == 7
    two = forget(enrolled.parts, str(digest))
    assert (two.rows.templates, two.rows.photos) == (1, 1)
    assert enrolled.ask(query, f"%{names[0]}%") == []
    assert enrolled.count("people") == 4


def test_no_byte_of_a_photo_is_left(enrolled: Shelf, names: list[str]):
    wanted = traces(enrolled, names[0])
    digest = wanted["digests"][0].decode()
    ((source,),) = enrolled.ask("SELECT source FROM photos WHERE digest = ?", digest)
    forget(enrolled.parts, str(source))
    first = {kind: some[:1] for kind, some in wanted.items() if kind != "name"}
    assert left(enrolled, first) == set()
    assert left(enrolled, {"vectors": wanted["vectors"][1:]})


def test_a_rejected_photo_can_be_forgotten(shelf: Shelf, picture: Callable[..., Path]):
    path = picture(np.full((64, 64, 3), 50, np.uint8), "nobody.png")
    shelf.enroll(path, name="Ann")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert forget(shelf.parts, digest).rows.photos == 1
    assert shelf.count("photos") == 0


def test_somebody_unknown_is_told_with_close_names(enrolled: Shelf, names: list[str]):
    before = enrolled.counts()
    with pytest.raises(UnknownPerson, match=f"did you mean '{names[0]}'"):
        forget(enrolled.parts, names[0][:-1])
    with pytest.raises(UnknownPerson, match="lists everyone"):
        forget(enrolled.parts, "0" * 64)
    assert enrolled.counts() == before


def test_which_kind_a_word_names(enrolled: Shelf, names: list[str]):
    ((source, digest),) = enrolled.ask("SELECT source, digest FROM photos LIMIT 1")
    parts = enrolled.parts
    assert kind_of(parts, names[0]) == kind_of(parts, names[0].upper()) == "person"
    assert kind_of(parts, str(source)) == kind_of(parts, str(digest)) == "photo"


def test_of_two_people_of_one_name_the_site_tells_which(
    shelf: Shelf, people: dict[str, list[Path]]
):
    (one, *_), (two, *_), *_ = people.values()
    shelf.enroll(one, EnrolmentRules(site="north"), name="Ann")
    shelf.enroll(two, EnrolmentRules(site="south"), name="Ann")
    with pytest.raises(AmbiguousPerson):
        forget(shelf.parts, "Ann")
    forget(shelf.parts, "Ann", site="south")
    assert shelf.ask("SELECT sites.name FROM people JOIN sites ON sites.id = site_id") == [
        ("north",)
    ]


def test_thumbnails_of_every_sheet_are_gone(
    shelf: Shelf, album: Callable[..., Path], people: dict[str, list[Path]], tmp_path: Path
):
    folder = album({name: people[name][:3] for name in list(people)[:2]})
    for out in (tmp_path / "one", tmp_path / "two"):
        found = cluster_library(shelf.parts, folder, out=out)
        write_sheet(shelf.parts, found, out)
    name_person(shelf.parts, 1, "Ann")
    ids = {str(i) for (i,) in shelf.ask("SELECT id FROM templates WHERE person_id IS NOT NULL")}
    gone = forget(shelf.parts, "Ann")
    assert (gone.thumbnails, gone.rows.cluster_faces) == (6, 6)
    for out in (tmp_path / "one", tmp_path / "two"):
        kept = {file.stem for file in (out / "faces").iterdir()}
        assert len(kept) == 3
        assert not kept & ids


def test_of_a_photo_of_two_people_the_other_one_stays(
    shelf: Shelf,
    picture: Callable[..., Path],
    portraits: list[list[NDArray[np.uint8]]],
):
    path = picture(np.hstack([portraits[0][0], portraits[1][0]]), "library/two.png")
    cluster_library(shelf.parts, path.parent)
    name_person(shelf.parts, 1, "Ann")
    name_person(shelf.parts, 2, "Bob")
    gone = forget(shelf.parts, "Ann")
    assert (gone.rows.templates, gone.rows.faces, gone.rows.photos) == (1, 1, 0)
    assert shelf.ask("SELECT name FROM people") == [("Bob",)]
    assert len(shelf.parts.index) == 1


def test_who_was_forgotten_can_be_enrolled_again(
    enrolled: Shelf, names: list[str], people: dict[str, list[Path]]
):
    forget(enrolled.parts, names[0])
    (outcome,) = enrolled.enroll(people[names[0]][0], name=names[0])
    assert outcome.status == "enrolled"
    assert len(enrolled.parts.index) == 7
