from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from PIL import Image

from embedder.quality import Gate
from store.erasure import forget_person
from store.people import find_person
from verify.calibration import shipped
from verify.errors import UnsupportedRate
from verify.photos import identify_photos

if TYPE_CHECKING:
    from embedder.embed import Embedder
    from verify.photos import IdentifiedPhoto

    from .conftest import Known


def side_by_side(*paths: str | Path) -> np.ndarray:
    """Pictures of one size in a row, uint8 (H, W, 3) RGB."""
    pictures = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
    return np.hstack(pictures).astype(np.uint8)


@pytest.fixture
def group(known: Known, strangers: dict[str, list[Path]], tmp_path: Path) -> Path:
    """The second person, a stranger and the first person, image-left first."""
    first, second = known.names[:2]
    stranger = next(iter(strangers.values()))[0]
    path = tmp_path / "group.png"
    pixels = side_by_side(known.probes[second][0], stranger, known.probes[first][0])
    Image.fromarray(pixels).save(path)
    return path


def only(found: list[IdentifiedPhoto]) -> IdentifiedPhoto:
    assert len(found) == 1
    return found[0]


def test_everybody_in_a_group_picture(known: Known, group: Path):
    first, second = known.names[:2]
    photo = only(list(identify_photos(known.parts, [group])))
    assert [face.who.person for face in photo.faces] == [second, None, first]
    assert [face.who.answer for face in photo.faces] == ["yes", "no", "yes"]
    assert (photo.answer, photo.reason, photo.source) == ("yes", None, str(group))
    for number, face in enumerate(photo.faces):
        x, _, w, _ = face.box
        assert 320 * number < x + w / 2 < 320 * (number + 1)
        assert face.quality["size"] > 50


def test_every_face_is_recorded(known: Known, group: Path):
    photo = only(list(identify_photos(known.parts, [group])))
    rows = known.decisions()
    curve = shipped()[known.parts.card.space]
    assert len(rows) == 3
    for row, face in zip(rows, photo.faces, strict=True):
        assert (row.kind, row.answer, row.source) == ("identify", face.who.answer, str(group))
        assert (row.person_id, row.similarity) == (
            face.who.person_id,
            face.who.candidates[0].similarity,
        )
        assert (row.fmr, row.threshold) == (0.01, curve.threshold(0.01, 12))
        assert row.calibration_id is None
    assert rows[1].person_id is None


def test_every_probe_is_found_and_no_stranger(known: Known, strangers: dict[str, list[Path]]):
    probes = [(name, path) for name in known.names for path in known.probes[name]]
    found = identify_photos(known.parts, [path for _, path in probes])
    for (name, path), photo in zip(probes, found, strict=True):
        assert [face.who.person for face in photo.faces] == [name], path
    for photo in identify_photos(known.parts, [paths[0] for paths in strangers.values()]):
        assert photo.answer == "no"
        assert photo.faces[0].who.person is None


def test_a_bad_file_does_not_end_the_batch(known: Known, tmp_path: Path):
    name = known.names[0]
    text = tmp_path / "notes.jpg"
    text.write_text("no picture")
    missing = tmp_path / "missing.jpg"
    nobody = np.full((200, 200, 3), 128, np.uint8)
    probe = known.probes[name][0]
    found = list(identify_photos(known.parts, [text, str(missing), b"", nobody, probe]))
    assert [photo.reason for photo in found] == [
        "not_an_image",
        "not_an_image",
        "not_an_image",
        "face_not_found",
        None,
    ]
    assert [photo.source for photo in found] == [
        str(text),
        str(missing),
        "picture",
        "array",
        probe,
    ]
    assert [photo.answer for photo in found] == ["no"] * 4 + ["yes"]
    assert all(photo.detail and not photo.faces for photo in found[:4])
    assert "does not exist" in found[1].detail
    assert len(known.decisions()) == 1


def test_photos_come_one_after_the_other(known: Known):
    name = known.names[0]

    def sources() -> object:
        yield known.probes[name][0]
        raise AssertionError("the second photo was asked for before the first was given")

    assert next(iter(identify_photos(known.parts, sources()))).answer == "yes"


def test_only_the_asked_sites(known: Known):
    here, there = known.names[0], known.names[-1]
    sources = [known.probes[here][0], known.probes[there][0]]

    def people(sites: list[str] | None) -> list[str | None]:
        found = identify_photos(known.parts, sources, sites=sites)
        return [photo.faces[0].who.person for photo in found]

    assert people(None) == [here, there]
    assert people(["annex"]) == [None, there]
    assert people([""]) == [here, None]
    assert people(["", "annex"]) == [here, there]
    assert people(["paris"]) == [None, None]


def test_the_forgotten_are_nobody(known: Known):
    name = known.names[0]
    probe = known.probes[name][0]
    assert only(list(identify_photos(known.parts, [probe]))).answer == "yes"
    with known.parts.store.begin() as session:
        forget_person(session, find_person(session, name))
    photo = only(list(identify_photos(known.parts, [probe])))
    assert photo.answer == "no"
    assert name not in {one.person for one in photo.faces[0].who.candidates}


def test_one_face_of_several(known: Known, group: Path):
    rejected = only(list(identify_photos(known.parts, [group], on_multiple="reject")))
    assert (rejected.reason, rejected.faces) == ("multiple_faces", ())
    centre = only(list(identify_photos(known.parts, [group], on_multiple="centre")))
    assert [face.who.answer for face in centre.faces] == ["no"]  # the stranger in the middle
    largest = only(list(identify_photos(known.parts, [group], on_multiple="largest")))
    everyone = only(list(identify_photos(known.parts, [group])))
    biggest = max(everyone.faces, key=lambda face: face.box[2] * face.box[3])
    assert [face.box for face in largest.faces] == [biggest.box]


def test_the_gate(known: Known):
    probe = known.probes[known.names[0]][0]
    photo = only(list(identify_photos(known.parts, [probe], gate=Gate(size=310))))
    assert (photo.reason, photo.answer) == ("face_too_small", "no")


def test_the_rate_is_asked_for_or_refused(known: Known):
    probe = known.probes[known.names[0]][0]
    asked = only(list(identify_photos(known.parts, [probe], fpir=0.05)))
    curve = shipped()[known.parts.card.space]
    assert asked.faces[0].who.fpir == 0.05
    assert asked.faces[0].who.threshold == curve.threshold(0.05, 12)
    with pytest.raises(UnsupportedRate, match="against 12 templates"):
        list(identify_photos(known.parts, [probe], fpir=1e-4))
    assert len(known.decisions()) == 1


def test_k_neighbours(known: Known):
    probe = known.probes[known.names[0]][0]
    found = only(list(identify_photos(known.parts, [probe], k=1)))
    assert [len(one.evidence) for one in found.faces[0].who.candidates] == [1]


def test_an_empty_gallery(tmp_path: Path, embedder: Embedder, people: dict[str, list[Path]]):
    from verify.opening import Parts, Places

    with Parts(Places(database=str(tmp_path / "empty.sqlite3"))) as parts:
        parts.embedder = embedder
        photo = only(list(identify_photos(parts, [next(iter(people.values()))[0]])))
        assert (photo.answer, photo.reason, len(photo.faces)) == ("no", None, 1)
        assert photo.faces[0].who.gallery_size == 0


def test_what_scripts_read(known: Known, group: Path):
    photo = only(list(identify_photos(known.parts, [group])))
    told = json.loads(json.dumps(photo.to_dict()))
    faces = told.pop("faces")
    assert told == {"source": str(group), "answer": "yes", "reason": None, "detail": ""}
    assert [face["answer"] for face in faces] == ["yes", "no", "yes"]
    assert {"box", "quality", "person", "threshold", "fpir", "candidates"} <= faces[0].keys()
    assert faces[0]["box"] == [round(value, 1) for value in photo.faces[0].box]
    assert faces[0]["person"] == known.names[1]
