"""A migration through the whole way: real crops, both encoders, another process with the index."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import delete

from embedder.embed import Embedder, open_embedder
from embedder.encoder import card_of
from enroll.cluster import cluster_library, name_person
from enroll.corrections import deny
from enroll.errors import CropsUnfit, FacesUnreadable
from enroll.forget import forget
from enroll.gallery import open_gallery
from enroll.migrate import drop_old, migrate, roll_back, status_of
from enroll.migrate_preview import closest, preview
from enroll.person import NOT_THEM
from enroll.rekey import seal
from enroll.sheet import THUMBNAILS, write_sheet
from store.audit_check import verify_log
from store.errors import NothingToMigrate, SpaceMismatch, TransitionUnderWay
from store.people import list_people
from store.schema import IndexEngine
from store.templates import named_templates
from store.vault import FILE_VARIABLE, KEY_VARIABLE
from verify.errors import NoCalibration
from verify.photos import identify_photos

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Shelf

OLD, NEW = card_of("vultus-face-1"), card_of("sface-mirror")


@pytest.fixture
def enrolled(enrolled: Shelf) -> Shelf:
    """The copy of the gallery, which knows nothing of the original's index file."""
    with enrolled.parts.store.begin() as session:
        session.execute(delete(IndexEngine))
    return enrolled


@pytest.fixture(scope="module")
def other(embedder: Embedder) -> Embedder:  # noqa: ARG001 - skips where the weights are missing
    return open_embedder("sface-mirror")


@pytest.fixture
def again(open_shelf: Callable[..., Shelf], embedder: Embedder, other: Embedder) -> Callable:
    """The gallery as the next command opens it, with the encoder of its space."""

    def opened(shelf: Shelf) -> Shelf:
        found = open_shelf(shelf.database)
        found.parts.embedder = other if found.parts.card == NEW else embedder
        return found

    return opened


def answers(shelf: Shelf, photos: list[Path]) -> list[tuple[object, ...]]:
    return [
        (face.who.person, [(c.person, c.similarity) for c in face.who.candidates])
        for photo in identify_photos(shelf.parts, photos, fpir=0.1)
        for face in photo.faces
    ]


def vectors(shelf: Shelf, space: str) -> dict[int, bytes]:
    """Face → its vector in a space."""
    rows = shelf.ask("SELECT face_id, vector FROM templates WHERE space = ?", space)
    return {int(str(face)): bytes(vector) for face, vector in rows}  # type: ignore[arg-type]


def test_there_and_back_again(
    enrolled: Shelf, again: Callable, other: Embedder, people: dict[str, list[Path]]
):
    names = list(people)
    probes = [people[name][3] for name in names[:5]]
    before, dump = answers(enrolled, probes), vectors(enrolled, OLD.space)
    stale = again(enrolled)
    assert len(stale.parts.index) == 8
    told: list[tuple[int, int]] = []
    done = migrate(enrolled.parts, "sface-mirror", progress=lambda *count: told.append(count))
    assert (done.space, done.encoded, done.from_photos, told) == (NEW.space, 8, 0, [(8, 8)])
    assert done.status is not None
    assert (done.status.state, done.status.templates, done.status.twins) == ("current", 8, 8)
    with pytest.raises(SpaceMismatch, match="started again"):
        answers(stale, probes)
    with pytest.raises(SpaceMismatch):
        stale.enroll(people[names[0]][4], name=names[0])

    now = again(enrolled)
    assert now.parts.card == NEW
    with now.parts.store.read() as session:
        assert [person.templates for person in list_people(session)] == [2] * 4
        assert verify_log(session).whole
    moved = answers(now, probes)
    assert [who for who, _ in moved] == [who for who, _ in before]
    assert moved != before
    photos = [other.embed([people[name][i]], "largest")[0].vectors for name in names[:4]
              for i in range(2)]  # fmt: skip
    with now.parts.store.read() as session:
        stored = named_templates(session, NEW.space).vectors
    cosines = (np.concatenate(photos) * stored).sum(axis=1)
    assert cosines.min() > 0.99, "the crop's vector is nearly that of the photo"
    assert migrate(now.parts, "sface-mirror").encoded == 0, "it is there already"
    with pytest.raises(TransitionUnderWay, match="--roll-back"):
        migrate(now.parts, OLD.name)

    (outcome,) = now.enroll(people[names[0]][4], name=names[0])
    assert outcome.status == "enrolled"
    back = roll_back(now.parts)
    assert (back.space, back.encoded) == (OLD.space, 1), "who was enrolled since comes along"
    found = again(enrolled)
    assert {f: v for f, v in vectors(found, OLD.space).items() if f in dump} == dump
    forget(found.parts, str(people[names[0]][4]))
    assert answers(found, probes) == before
    assert roll_back(found.parts).status == status_of(found.parts), "it is rolled back already"

    old_file = found.parts.index.path
    assert migrate(found.parts, "sface-mirror").encoded == 0, "the new vectors are still there"
    gone = drop_old(found.parts)
    assert gone.dropped is not None
    assert (gone.dropped.space, gone.dropped.templates, gone.remarks) == (OLD.space, 8, ())
    assert gone.removed == (str(old_file),)
    files = b"".join(file.read_bytes() for file in enrolled.database.parent.glob("gallery*"))
    assert not any(vector in files for vector in dump.values())
    assert any(vector in files for vector in vectors(found, NEW.space).values())
    assert drop_old(found.parts).dropped is None, "dropped before: cleaned once more"
    with pytest.raises(NothingToMigrate, match="dropped"):
        roll_back(found.parts)


def test_stopped_after_any_batch_it_goes_on(
    enrolled: Shelf, tmp_path: Path, open_shelf: Callable, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("enroll.migrate_encoding.BATCH", 3)
    copy = tmp_path / "alone" / enrolled.database.name
    copy.parent.mkdir()
    with enrolled.parts.store.begin():
        shutil.copy(enrolled.database, copy)
    alone = open_shelf(copy)
    assert migrate(alone.parts, "sface-mirror").encoded == 8
    made = []
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            migrate(enrolled.parts, "sface-mirror", progress=stop)
        made.append(len(vectors(enrolled, NEW.space)))
        assert status_of(enrolled.parts).state == "encoding"
    assert made == [3, 6, 8]
    assert migrate(enrolled.parts, "sface-mirror", prepare=True).status.state == "ready"
    assert enrolled.ask("SELECT space FROM gallery") == [(OLD.space,)]
    assert migrate(enrolled.parts, "sface-mirror").encoded == 0
    assert vectors(enrolled, NEW.space) == vectors(alone, NEW.space)
    assert enrolled.ask("SELECT space FROM gallery") == [(NEW.space,)]


def stop(_done: int, _total: int) -> None:
    raise KeyboardInterrupt


def test_from_photos_where_they_are_the_same(
    shelf: Shelf, other: Embedder, album: Callable, people: dict[str, list[Path]]
):
    ann = next(iter(people))
    folder = album({ann: people[ann][:4]})
    shelf.enroll(folder)
    gone, changed, *same = sorted(folder.glob("*/*.jpg"))
    gone.unlink()
    changed.write_bytes(changed.read_bytes() + b"\0")
    assert migrate(shelf.parts, "sface-mirror", from_photos=True).from_photos == 2
    with shelf.parts.store.read() as session:
        stored = named_templates(session, NEW.space).vectors
    for found in other.embed(same, "largest"):
        assert (stored == found.vectors[0]).all(axis=1).sum() == 1, "as if it were enrolled now"


def test_a_dry_run_tells_and_changes_nothing(enrolled: Shelf):
    dump = enrolled.dump()
    found = preview(enrolled.parts, "sface-mirror", fmr=0.001)
    assert enrolled.dump() == dump
    assert (found.faces, found.to_encode, found.compared, found.unreadable) == (8, 8, 8, 0)
    assert sum(found.decisions["genuine"].values()) == 8
    assert sum(found.decisions["impostor"].values()) == 8
    assert found.flipped == len(found.flips)
    assert found.closest_person_changed == len(found.neighbours)
    assert found.threshold_before != found.threshold_after
    migrate(enrolled.parts, "sface-mirror", prepare=True)
    after = preview(enrolled.parts, "sface-mirror", fmr=0.001)
    assert replace(after, to_encode=8) == found, "it reads what is encoded already"
    migrate(enrolled.parts, "sface-mirror")
    with pytest.raises(NothingToMigrate):
        preview(enrolled.parts, "sface-mirror")


def test_the_closest_of_every_template():
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((60, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    people = rng.integers(0, 20, 60)
    found = closest(vectors, people)
    for row in range(60):
        others = [i for i in range(60) if i != row]
        cosine = {i: float(vectors[row] @ vectors[i]) for i in others}
        own = [cosine[i] for i in others if people[i] == people[row]]
        strangers = [i for i in others if people[i] != people[row]]
        assert found.any_row[row] == max(others, key=cosine.__getitem__)
        assert found.other_row[row] == max(strangers, key=cosine.__getitem__)
        assert found.own[row] == pytest.approx(max(own, default=-np.inf), abs=1e-6)
        assert found.similarity[row] == pytest.approx(max(cosine.values()), abs=1e-6)
    alone = closest(vectors[:1], people[:1])
    assert (alone.any_row.tolist(), alone.other_row.tolist()) == ([-1], [-1])


def test_a_correction_holds_after_the_migration(
    enrolled: Shelf, again: Callable, album: Callable, people: dict[str, list[Path]]
):
    ann = next(iter(people))
    (source,) = enrolled.ask(
        "SELECT source FROM photos JOIN faces ON photo_id = photos.id JOIN templates ON "
        "face_id = faces.id JOIN people ON people.id = person_id WHERE name = ? ORDER BY 1", ann,
    )[0]  # fmt: skip
    deny(enrolled.parts, ann, [str(source)])
    migrate(enrolled.parts, "sface-mirror")
    drop_old(enrolled.parts)
    (outcome,) = again(enrolled).enroll(album({ann: [people[ann][0]]}))
    assert (outcome.status, outcome.reason) == ("rejected", NOT_THEM)


def test_a_contact_sheet_is_forgotten_with_its_faces(
    shelf: Shelf, again: Callable, album: Callable, people: dict[str, list[Path]], tmp_path: Path
):
    library = album({name: people[name][:3] for name in list(people)[:2]})
    out = tmp_path / "sheet"
    write_sheet(shelf.parts, cluster_library(shelf.parts, library, out=out), out)
    name_person(shelf.parts, 1, "Ann")
    migrate(shelf.parts, "sface-mirror")
    drop_old(shelf.parts)
    assert len(list((out / THUMBNAILS).glob("*.jpg"))) == 6
    forget(again(shelf).parts, "Ann")
    left = {int(file.stem) for file in (out / THUMBNAILS).glob("*.jpg")}
    assert left == {row[0] for row in shelf.ask("SELECT id FROM templates")}
    assert len(left) == 3


def test_a_sealed_gallery(
    enrolled: Shelf, again: Callable, monkeypatch: pytest.MonkeyPatch,
    people: dict[str, list[Path]],
):  # fmt: skip
    probes = [people[name][3] for name in list(people)[:5]]
    migrate(enrolled.parts, "sface-mirror")
    wanted, plain = answers(again(enrolled), probes), vectors(enrolled, NEW.space)
    roll_back(enrolled.parts)
    drop_old(enrolled.parts)
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    monkeypatch.setenv(KEY_VARIABLE, bytes(range(32)).hex())
    seal(again(enrolled).parts, "gallery")
    assert migrate(again(enrolled).parts, "sface-mirror").encoded == 8
    drop_old(again(enrolled).parts)
    sealed = again(enrolled)
    found = answers(sealed, probes)
    assert [who for who, _ in found] == [who for who, _ in wanted]
    for (_, one), (_, two) in zip(found, wanted, strict=True):
        assert dict(one) == pytest.approx(dict(two), abs=1e-5)
    files = b"".join(file.read_bytes() for file in enrolled.database.parent.glob("gallery*"))
    assert not any(vector in files for vector in plain.values())


def test_what_must_be_there_first(enrolled: Shelf, shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(NothingToMigrate, match="nothing yet"):
        migrate(shelf.parts, OLD.name)
    for ask in (roll_back, drop_old):
        with pytest.raises(NothingToMigrate):
            ask(enrolled.parts)
    for ask in (migrate, preview):
        with pytest.raises(CropsUnfit, match="another gallery"):
            ask(enrolled.parts, "picture")
    with enrolled.parts.store.begin() as session:
        session.connection().exec_driver_sql("UPDATE faces SET crop = X'00ff' WHERE id = 3")
    with pytest.raises(FacesUnreadable, match="1 faces do not open") as unreadable:
        migrate(enrolled.parts, "sface-mirror")
    assert len(unreadable.value.templates) == 1
    assert enrolled.ask("SELECT space FROM gallery") == [(OLD.space,)]
    done = migrate(enrolled.parts, "sface-mirror", leave_out=True)
    assert (done.left_out, done.status.templates) == (1, 7)
    assert roll_back(enrolled.parts).status.templates == 8
    monkeypatch.setattr("verify.calibration.shipped", dict)  # an encoder that came without one
    with pytest.raises(NoCalibration):
        migrate(enrolled.parts, "sface-mirror")


def test_from_python_the_gallery_goes_on(enrolled: Shelf, people: dict[str, list[Path]]):
    ann = next(iter(people))
    migrate(enrolled.parts, "sface-mirror")
    with open_gallery(enrolled.database) as gallery:
        assert gallery.parts.card == NEW
        assert gallery.verify(ann, people[ann][3]).match == "yes"
