import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from store.errors import UnknownPhoto
from store.photos import crops, find_photos, origins, photo_by_digest, record_face, record_photo
from store.schema import Face
from store.session import Store

DIGEST = "ab" * 32


def test_a_photo_is_recorded_once(store: Store):
    with store.begin() as session:
        first = record_photo(
            session, DIGEST, "a.jpg", 10, 4, 3, outcome="rejected", reason="face_not_found"
        )
        again = record_photo(session, DIGEST, "b.jpg", 10, 4, 3, outcome="enrolled")
        assert again.id == first.id
    with store.read() as session:
        photo = photo_by_digest(session, DIGEST)
        assert (photo.source, photo.outcome, photo.reason) == ("b.jpg", "enrolled", None)
        assert photo_by_digest(session, "cd" * 32) is None


@pytest.mark.parametrize("digest", ["", "ab", "AB" * 32, "zz" * 32])
def test_a_digest_is_a_sha256(store: Store, digest: str):
    with store.begin() as session, pytest.raises(ValueError, match="64 hexadecimal digits"):
        record_photo(session, digest, "a.jpg", 10, 4, 3, outcome="enrolled")


def test_photos_are_found_by_digest_or_path(store: Store, new_photo: Callable):
    with store.begin() as session:
        photo = new_photo(session, "a.jpg")
        assert find_photos(session, "a.jpg") == find_photos(session, photo.digest) == [photo]
        with pytest.raises(UnknownPhoto, match=r"'b\.jpg'"):
            find_photos(session, "b.jpg")


def test_a_photo_is_found_by_a_file_of_the_same_bytes(store: Store, tmp_path: Path):
    file = tmp_path / "elsewhere.jpg"
    file.write_bytes(b"0")
    digest = hashlib.sha256(b"0").hexdigest()
    with store.begin() as session:
        photo = record_photo(session, digest, "a.jpg", 1, 640, 480, outcome="enrolled")
        assert find_photos(session, file) == [photo]
        file.write_bytes(b"1")
        for other in (file, tmp_path):
            with pytest.raises(UnknownPhoto):
                find_photos(session, other)


def test_a_face_keeps_what_it_was_given(store: Store, give: Callable, new_photo: Callable):
    with store.begin() as session:
        photo = new_photo(session, "a.jpg")
        template = give(session, None, photo, crop=b"the crop")
    with store.read() as session:
        face = session.get(Face, template.face_id)
        assert (face.x, face.y, face.w, face.h) == (1, 2, 30, 40)
        assert face.points[4] == [8, 9]
        assert face.quality == {"sharpness": 12.5}
        origin = origins(session, [template.id, 99])[template.id]
        assert (origin.source, origin.digest, origin.box) == ("a.jpg", photo.digest, (1, 2, 30, 40))
        assert crops(session, [template.id, 99]) == {template.id: b"the crop"}


def test_a_face_has_a_box_and_five_points(store: Store, new_photo: Callable):
    with store.begin() as session:
        photo = new_photo(session)
        for box, points in (((3,), None), ((4,), (4, 2))):
            with pytest.raises(ValueError, match="box"):
                record_face(
                    session,
                    photo,
                    box=np.zeros(box, np.float32),
                    points=None if points is None else np.zeros(points, np.float32),
                    confidence=1.0,
                    quality=None,
                    crop=b"",
                )
