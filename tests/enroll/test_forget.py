"""Forgetting: afterwards nothing of the person or photo is left, down to the bytes."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import select

from enroll.audit_gallery import audit_gallery
from enroll.audit_sheet import write_audit
from enroll.cluster import cluster_library, name_person
from enroll.errors import ReceiptUnusable
from enroll.forget import check_receipts, forget, kind_of, write_receipts
from enroll.person import EnrolmentRules
from enroll.rekey import seal
from enroll.sheet import write_sheet
from store.errors import AmbiguousPerson, UnknownPerson
from store.records import Run
from store.session import Store
from store.vault import new_key
from verify.opening import Parts, Places
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


def test_looking_for_traces_keeps_the_locks_on_the_database(enrolled: Shelf, names: list[str]):
    """Were they dropped, the next program that closes the database would delete its log."""
    forget(enrolled.parts, names[0])
    code = "import sys, sqlite3; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM people')"
    subprocess.run([sys.executable, "-c", code, str(enrolled.database)], check=True)
    log = enrolled.database.with_name(f"{enrolled.database.name}-wal")
    assert log.exists(), "another program believed that nobody has the database open"


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


def test_contact_sheets_are_written_anew_without_them(
    shelf: Shelf, album: Callable[..., Path], people: dict[str, list[Path]], tmp_path: Path
):
    folder = album({name: people[name][:3] for name in list(people)[:2]})
    out = tmp_path / "sheet"
    cluster_library(shelf.parts, folder)
    name_person(shelf.parts, 1, "Ann Unforgettable")
    found = cluster_library(shelf.parts, folder, out=out)
    write_sheet(shelf.parts, found, out, links=True)
    theirs = next(cluster for cluster in found.clusters if cluster.name is not None)
    pages = [out / "index.html", out / "clusters.json"]
    assert all("Ann Unforgettable" in page.read_text() for page in pages)
    assert any("Ann" in place.name for place in (out / "people").iterdir())
    gone = forget(shelf.parts, "Ann Unforgettable")
    assert (gone.cleaned.sheets, gone.thumbnails) == (1, 3)
    for page in pages:
        text = page.read_text()
        assert "Ann" not in text
        assert not any(file in text for file in theirs.files)
    kept = json.loads(pages[1].read_text())["clusters"]
    assert [one["size"] for one in kept] == [3]
    assert not any("Ann" in place.name for place in (out / "people").iterdir())


def test_a_sheet_that_cannot_be_rewritten_is_told(library: Shelf, tmp_path: Path):
    out = tmp_path / "sheet"
    out.mkdir()
    (out / "index.html").touch()
    with library.parts.store.begin() as session:
        for run in session.scalars(select(Run)):
            run.parameters = {"out": str(out)}
    (out / "clusters.json").write_text("[]")
    name_person(library.parts, 1, "Ann")
    (remark,) = [line for line in forget(library.parts, "Ann").cleaned.remains if "sheet" in line]
    assert "delete this contact sheet" in remark


def test_the_receipt_names_nobody_and_proves_it(enrolled: Shelf, names: list[str], tmp_path: Path):
    len(enrolled.parts.index)
    ((uid,),) = enrolled.ask("SELECT uid FROM people WHERE name = ?", names[0])
    gone = forget(enrolled.parts, names[0])
    receipt = gone.receipt
    assert receipt is not None
    assert gone.whole
    text = json.dumps(receipt)
    assert names[0] not in text
    assert str(uid) not in text
    proof = receipt["proof"]
    assert (proof["clean"], proof["found"], proof["rows"], proof["answers"]) == (True, {}, 0, 0)
    assert proof["pieces"] > 30
    assert proof["files"] >= 2
    assert receipt["key"] not in enrolled.ask("SELECT group_concat(keyed_hash) FROM receipts")[0][0]
    write_receipts(tmp_path / "one.json", receipt)
    (one,) = check_receipts(enrolled.parts, tmp_path / "one.json", names[0])
    assert (one.belongs, one.pending, one.subject) == (True, False, True)
    assert not check_receipts(enrolled.parts, tmp_path / "one.json", names[1])[0].belongs
    (tmp_path / "two.json").write_text("{}")
    for broken in ("two.json", "none.json"):
        with pytest.raises(ReceiptUnusable):
            check_receipts(enrolled.parts, tmp_path / broken)


def test_without_scrubbing_the_proof_says_what_is_left(
    enrolled: Shelf, names: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Store, "scrub", lambda _: None)
    gone = forget(enrolled.parts, names[0])
    assert gone.cleaned.proof is not None
    assert gone.cleaned.proof.found["gallery.sqlite3"] > 0
    assert not gone.whole


def test_a_refused_scrub_is_finished_by_the_same_words(
    enrolled: Shelf, names: list[str], monkeypatch: pytest.MonkeyPatch
):
    wanted = traces(enrolled, names[0])
    monkeypatch.setattr("store.pragmas.BUSY_SECONDS", 0.1)
    enrolled.parts.store.engine.dispose()
    with closing(sqlite3.connect(enrolled.database, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM people").fetchall()
        gone = forget(enrolled.parts, names[0])
        assert "reading" in gone.pending
        assert not gone.whole
        assert gone.receipt is not None
        assert not gone.receipt["scrubbed"]
        assert left(enrolled, wanted)
        assert "reading" in forget(enrolled.parts, names[0]).pending
    again = forget(enrolled.parts, names[0])
    assert (again.what, again.pending, again.receipt) == ("nothing", "", None)
    assert left(enrolled, wanted) == set()
    with pytest.raises(UnknownPerson):
        forget(enrolled.parts, names[0])


def test_index_files_that_are_not_in_use_go(enrolled: Shelf, names: list[str]):
    index = enrolled.parts.index.path
    assert index is not None
    left_behind = index.with_name(f".{index.name}.k1ll3d")
    shutil.copy(index, left_behind)
    other = index.with_name("other.vultus-index")
    with Parts(replace(enrolled.parts.places, index=f"exact:{other}")) as parts:
        assert len(parts.index) == 8
    assert other.is_file()
    wanted = traces(enrolled, names[0])
    forget(enrolled.parts, names[0])
    assert not other.exists()
    assert not left_behind.exists()
    assert left(enrolled, wanted) == set()


def test_a_sealed_gallery_forgets_without_its_key(
    enrolled: Shelf, names: list[str], tmp_path: Path
):
    new_key(tmp_path / "key")
    enrolled.parts.close()
    places = Places(database=str(enrolled.database), key_file=str(tmp_path / "key"))
    with Parts(places) as parts:
        seal(parts)
    wanted = traces(enrolled, names[0])
    with Parts(Places(database=str(enrolled.database))) as parts:
        gone = forget(parts, names[0])
    assert (gone.rows.seals, gone.rows.templates, gone.whole) == (1, 2, True)
    assert left(enrolled, wanted) == set()


def test_an_audit_written_earlier_forgets_them_too(
    enrolled: Shelf, names: list[str], people: dict[str, list[Path]], tmp_path: Path
):
    rules = EnrolmentRules(allow_lookalikes=True)
    enrolled.enroll(people[names[0]][3], rules, name="Double Entry")
    enrolled.enroll(people[names[0]][4], rules, name="Double Entry")
    out = tmp_path / "audit"
    page = write_audit(enrolled.parts, audit_gallery(enrolled.parts), out)
    assert "Double Entry" in page.read_text()
    shown = {file.name for file in (out / "audit-faces").iterdir()}
    forget(enrolled.parts, "Double Entry")
    assert "Double Entry" not in page.read_text() + (out / "audit.json").read_text()
    assert {file.name for file in (out / "audit-faces").iterdir()} < shown
