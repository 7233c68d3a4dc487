"""The façade: every kind of picture in, frozen results out, and all of it from `vultus`."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from enroll.cluster import ClusterRules
from enroll.errors import FolderUnusable, NothingToEnroll
from enroll.gallery import Gallery, as_sources, open_gallery
from enroll.person import EnrolmentRules
from store.errors import SchemaBehind, SpaceMismatch, UnknownPerson

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Shelf

KINDS = ("text", "path", "bytes", "array", "image")


@pytest.fixture
def as_kind() -> Callable[[Path, str], object]:
    """A picture file as each kind of source."""

    def convert(path: Path, kind: str) -> object:
        if kind in ("array", "image"):
            with Image.open(path) as image:
                copy = image.convert("RGB")
            return np.asarray(copy) if kind == "array" else copy
        return {"text": str(path), "path": path, "bytes": path.read_bytes()}[kind]

    return convert


@pytest.fixture
def gallery(enrolled: Shelf) -> Gallery:
    return Gallery(enrolled.parts)


@pytest.fixture
def names(people: dict[str, list[Path]]) -> list[str]:
    return list(people)[:4]


@pytest.mark.parametrize("kind", KINDS)
def test_enrol_verify_identify_and_compare_take_every_kind(
    gallery: Gallery,
    people: dict[str, list[Path]],
    strangers: dict[str, list[Path]],
    as_kind: Callable[[Path, str], object],
    kind: str,
):
    name = list(people)[5]
    pictures = [as_kind(path, kind) for path in people[name][:3]]
    stranger = as_kind(next(iter(strangers.values()))[0], kind)
    report = gallery.enroll(pictures[:2], name)
    assert report.counts == {"enrolled": 2, "unchanged": 0, "rejected": 0}
    assert report.layout == f"2 pictures of {name}"
    assert gallery.verify(name, pictures[2]).match == "yes"
    assert gallery.verify(name, stranger).match == "no"
    (found,) = gallery.identify(pictures[2])
    assert found.faces[0].who.person == name
    assert [photo.answer for photo in gallery.identify([pictures[2], stranger])] == ["yes", "no"]
    assert gallery.compare(pictures[0], pictures[2]).decision.match == "yes"
    assert gallery.compare(pictures[0], stranger).decision.match == "no"


@pytest.mark.parametrize("kind", KINDS)
def test_one_picture_is_no_list(
    people: dict[str, list[Path]], as_kind: Callable[[Path, str], object], kind: str
):
    source = as_kind(next(iter(people.values()))[0], kind)
    (alone,) = as_sources(source)
    assert alone is source
    assert as_sources(iter([source, source]))[1] is source


@pytest.mark.parametrize("kind", ["bytes", "array", "image"])
def test_one_picture_can_be_enrolled_without_a_list(
    gallery: Gallery,
    people: dict[str, list[Path]],
    as_kind: Callable[[Path, str], object],
    kind: str,
):
    name = list(people)[5]
    source = as_kind(people[name][0], kind)
    assert gallery.enroll(source, name).counts["enrolled"] == 1
    assert gallery.enroll(source, name).counts["unchanged"] == 1


def test_pictures_need_a_name_and_there_must_be_some(gallery: Gallery):
    with pytest.raises(NothingToEnroll, match="need a name"):
        gallery.enroll([b"..."])
    with pytest.raises(NothingToEnroll, match="no picture to enrol for Ann"):
        gallery.enroll([], "Ann")


def test_a_folder_is_enrolled(
    shelf: Shelf, album: Callable[..., Path], people: dict[str, list[Path]]
):
    gallery = Gallery(shelf.parts)
    folder = album({name: people[name][:1] for name in list(people)[:2]})
    assert gallery.enroll(str(folder)).counts["enrolled"] == 2
    assert gallery.enroll(folder).counts["unchanged"] == 2
    with pytest.raises(FolderUnusable):
        gallery.enroll(folder / "nowhere")


def test_rules_are_passed_on(gallery: Gallery, people: dict[str, list[Path]]):
    name = list(people)[5]
    gallery.enroll(people[name][0], name, EnrolmentRules(site="annex"))
    assert [person.name for person in gallery.people("annex")] == [name]
    assert gallery.identify(people[name][1], sites=["annex"])[0].answer == "yes"
    assert gallery.identify(people[name][1], sites=[""])[0].answer == "no"
    with pytest.raises(UnknownPerson):
        gallery.verify(name, people[name][1], site="elsewhere")


def test_people_and_forgetting(gallery: Gallery, names: list[str]):
    assert [(p.name, p.photos, p.templates) for p in gallery.people()] == [
        (name, 2, 2) for name in names
    ]
    gallery.forget(names[0])
    assert [person.name for person in gallery.people()] == names[1:]


def test_clustering_naming_and_the_sheet(
    gallery: Gallery, people: dict[str, list[Path]], tmp_path: Path
):
    name = list(people)[5]
    found = gallery.cluster(str(people[name][0].parent), str(tmp_path / "sheet"))
    assert [len(cluster.templates) for cluster in found.clusters] == [6]
    assert (tmp_path / "sheet" / "index.html").is_file()
    assert gallery.name(1, name).added
    assert gallery.verify(name, people[name][0]).match == "yes"
    one = gallery.cluster(people[name][0].parent, rules=ClusterRules(k=2))
    assert [cluster.name for cluster in one.clusters] == [name]  # a name ties its faces


def test_results_are_frozen_and_speak_json(
    gallery: Gallery, people: dict[str, list[Path]], names: list[str]
):
    ann = people[names[0]]
    results = [
        gallery.enroll(ann[:3], names[0]),
        gallery.verify(names[0], ann[4]),
        gallery.compare(ann[4], ann[5]),
        gallery.identify(ann[4])[0],
        gallery.cluster(ann[0].parent),
        gallery.name(1, names[0]),
        gallery.forget(names[0]),
    ]
    for result in results:
        values = result.to_dict()
        assert json.loads(json.dumps(values, allow_nan=False)) == values
        field = next(iter(result.__slots__))
        with pytest.raises(FrozenInstanceError):
            setattr(result, field, None)


def test_a_report_counts_its_files(gallery: Gallery, people: dict[str, list[Path]]):
    ann, bob, *_ = people.values()
    report = gallery.enroll([ann[0], ann[3], bob[3], b"text"], next(iter(people)))
    assert report.counts == {"enrolled": 1, "unchanged": 1, "rejected": 2}
    values = report.to_dict()
    assert [file["status"] for file in values["files"]] == [
        "unchanged", "enrolled", "rejected", "rejected",
    ]  # fmt: skip
    assert values["rejected"] == 2


@pytest.mark.usefixtures("embedder")
def test_the_example_of_the_readme(tmp_path: Path, people: dict[str, list[Path]]):
    from vultus import open_gallery

    name, pictures = next(iter(people.items()))
    with open_gallery(tmp_path / "mine.sqlite3") as gallery:
        assert gallery.enroll(pictures[:3], name).counts["enrolled"] == 3
        decision = gallery.verify(name, pictures[4], fmr=1e-3)
        assert (decision.match, decision.verified, decision.fmr) == ("yes", True, 1e-3)
        assert decision.similarity >= decision.threshold
        assert gallery.identify(pictures[4])[0].faces[0].who.person == name
    assert (tmp_path / "mine.sqlite3").stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("embedder")
def test_opening_again_uses_the_model_the_gallery_was_made_with(
    tmp_path: Path, people: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch
):
    name, pictures = next(iter(people.items()))
    place = tmp_path / "mirror.sqlite3"
    with open_gallery(place, model="sface-mirror") as gallery:
        gallery.enroll(pictures[:1], name)
    with open_gallery(place) as gallery:
        assert gallery.parts.card.name == "sface-mirror"
        assert gallery.verify(name, pictures[1]).match == "yes"
    with open_gallery(place, model="sface") as gallery:
        with pytest.raises(SpaceMismatch):
            gallery.identify(pictures[1])
        with pytest.raises(SpaceMismatch):
            gallery.verify(name, pictures[1])
    monkeypatch.setenv("VULTUS_MODEL", "sface-mirror")
    with open_gallery(tmp_path / "new.sqlite3") as gallery:
        assert gallery.parts.card.name == "sface-mirror"


def test_leaving_the_block_closes_the_database(tmp_path: Path):
    with open_gallery(tmp_path / "mine.sqlite3") as gallery:
        store = gallery.parts.store
        gallery.people()
        assert store.engine.pool.checkedin() == 1
    assert store.engine.pool.checkedin() == 0
    assert not (tmp_path / "mine.sqlite3-wal").exists()


def test_the_environment_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VULTUS_DATABASE", str(tmp_path / "there.sqlite3"))
    with open_gallery() as gallery:
        assert gallery.people() == []
    assert (tmp_path / "there.sqlite3").is_file()


def test_an_older_database_is_refused_when_it_is_opened(shelf: Shelf):
    shelf.parts.store.close()
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(shelf.database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
        connection.commit()
    with pytest.raises(SchemaBehind, match="vultus db upgrade"):
        open_gallery(shelf.database)


def test_an_index_in_memory_leaves_no_file(tmp_path: Path, people: dict[str, list[Path]]):
    with open_gallery(tmp_path / "mine.sqlite3", index="memory:") as gallery:
        assert gallery.identify(next(iter(people.values()))[0])[0].answer == "no"
    assert list(tmp_path.glob("*.vultus-index")) == []
