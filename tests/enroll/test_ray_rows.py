"""Rows between the machines: what goes out comes back bit for bit."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import pytest

from embedder.admission import admit
from embedder.errors import NotAnImage, PhotoTooLarge, PhotoUnreadable
from embedder.quality import DEFAULT_GATE
from enroll.encoding import admit_all
from enroll.intake import Looked, look
from enroll.ray_rows import Reply, from_table, to_table

if TYPE_CHECKING:
    from pathlib import Path

    from embedder.embed import Embedder

pytestmark = pytest.mark.skipif(
    find_spec("pyarrow") is None, reason="pyarrow is not installed: vultus[ray]"
)


def there_and_back(reply: Reply) -> Reply:
    (found,) = from_table(to_table([reply]))
    return found


def test_a_face_and_its_vector(embedder: Embedder, people: dict[str, list[Path]]):
    looked = look(next(iter(people.values()))[0], embedder, "all", lambda _: False)
    (admitted,) = admit_all([looked], embedder, "reject", DEFAULT_GATE)
    found = there_and_back(Reply(7, looked, admitted, "host", "cpu"))
    assert (found.number, found.machine, found.device, found.fault) == (7, "host", "cpu", "")
    assert admitted is not None
    assert found.admitted is not None
    (sent,), (got,) = admitted.faces, found.admitted.faces
    for one, other in [
        (admitted.vectors, found.admitted.vectors),
        (sent.crop.pixels, got.crop.pixels),
        (sent.crop.warp, got.crop.warp),
        (sent.crop.face.box, got.crop.face.box),
        (sent.crop.face.points, got.crop.face.points),
    ]:
        assert one is not None
        assert other is not None
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_array_equal(one, other)
        assert other.flags.writeable
    assert got.quality == sent.quality
    assert got.crop.face.confidence == sent.crop.face.confidence
    assert found.looked.digest == looked.digest


@pytest.mark.parametrize("kind", [NotAnImage, PhotoTooLarge, PhotoUnreadable])
def test_an_error_keeps_its_kind_and_words(kind: type[NotAnImage]):
    taken = datetime(2024, 2, 29, 12, 30, 1, tzinfo=UTC)
    looked = Looked("a\u00e9.jpg", "0" * 64, 12, taken=taken, error=kind("a.jpg is nothing."))
    found = there_and_back(Reply(0, looked, None, "", "")).looked
    assert type(found.error) is kind
    assert str(found.error) == "a.jpg is nothing."
    assert (found.source, found.digest, found.size, found.taken) == (
        "a\u00e9.jpg", "0" * 64, 12, taken,
    )  # fmt: skip


def test_a_refused_photo_keeps_its_reason(embedder: Embedder):
    looked = look(np.full((64, 64, 3), 9, np.uint8), embedder, "all", lambda _: False)
    (admitted,) = admit_all([looked], embedder, "reject", DEFAULT_GATE)
    found = there_and_back(Reply(0, looked, admitted, "", "")).admitted
    assert found is not None
    assert (found.reason, found.detail) == ("face_not_found", "no face was found")
    assert (found.faces, len(found.vectors)) == ((), 0)


def test_faces_of_many_photos_keep_to_their_photos(
    embedder: Embedder, people: dict[str, list[Path]]
):
    paths = [paths[0] for paths in list(people.values())[:3]]
    seen = [look(path, embedder, "all", lambda _: False) for path in paths]
    seen.insert(1, Looked("broken.jpg", error=NotAnImage("no")))
    together = admit_all(seen, embedder, "reject", DEFAULT_GATE)
    assert together[1] is None
    for photo, admitted in zip(seen, together, strict=True):
        if admitted is not None:
            alone = embedder.encode(admit(photo.faces, "reject", DEFAULT_GATE).faces).vectors
            np.testing.assert_allclose(admitted.vectors, alone, atol=1e-6)
