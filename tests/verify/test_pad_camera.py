"""Generated people who turn their heads: a picture, warped as the surface of a head would move."""

from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from embedder.embed import Embedder
from verify.errors import NoUsableFrame, SourceUnusable
from verify.pad_camera import Asking, take_challenged
from verify.pad_challenge import Limits, Status

Frame = NDArray[np.uint8]
Film = Callable[..., str]
CUT = 0.36
PERSON, OTHER = "Briar Tolland", "Arden Wick"
LEFT = [0, 0, 12, 18, 26, 36, 40, 40, 30, 18, 8, 0, 0]  # degrees towards image right


def turned(pixels: Frame, points: NDArray[np.float32], angle: float) -> Frame:
    """A picture whose face is moved as a bulge that turns: its middle most, its surroundings not.

    Args:
        pixels: uint8 (H, W, 3).
        points: float32 (5, 2) of the face.
        angle: degrees towards image right.
    """
    height, width = pixels.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    (cx, cy), eyes = points.mean(axis=0), float(np.linalg.norm(points[1] - points[0]))
    a = np.radians(angle)
    depth = 0.9 * eyes * np.exp(-(((x - cx) / (0.9 * eyes)) ** 2 + ((y - cy) / (1.2 * eyes)) ** 2))
    inside = np.exp(-((((x - cx) / (1.35 * eyes)) ** 2 + ((y - cy) / (1.9 * eyes)) ** 2) ** 2))
    source = inside * (cx + (x - depth * np.sin(a) - cx) / np.cos(a)) + (1 - inside) * x
    moved = cv2.remap(
        pixels, source.astype(np.float32), y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return moved.astype(np.uint8)


@pytest.fixture(scope="module")
def turning(
    embedder: Embedder, people: dict[str, list[Path]]
) -> Callable[[str, Iterable[float]], list[Frame]]:
    """Frames of a person at angles."""

    def make(name: str, angles: Iterable[float]) -> list[Frame]:
        photo = embedder.read(people[name][0])
        points = embedder.faces(photo, "largest")[0].crop.face.points
        return [turned(photo.pixels, points, angle) for angle in angles]

    return make


Turning = Callable[[str, Iterable[float]], list[Frame]]


def test_who_turns_as_asked_is_compared_by_straight_looks(
    embedder: Embedder, turning: Turning, film: Film, people: dict[str, list[Path]]
):
    told: list[Status] = []
    path = film(turning(PERSON, LEFT))
    probe, found = take_challenged(
        embedder, Path(path), Asking(("left",), say=told.append), cut=CUT, frames=3
    )
    assert (found.outcome, found.reasons) == ("bona_fide", ("followed",))
    assert told[0].instruction == "straight"
    assert "turn your head to your left" in {s.text for s in told}
    assert told[-1].result == found
    assert len(probe.vectors) == len(probe.shots) == 3
    assert all(abs(face.quality.yaw) < 20 for face in probe.faces)
    own = embedder.encode(embedder.faces(embedder.read(people[PERSON][1]), "largest")).vectors
    assert float((probe.vectors @ own.T).mean()) > CUT


def test_the_same_film_does_not_follow_another_order(
    embedder: Embedder, turning: Turning, film: Film
):
    path = film(turning(PERSON, LEFT))
    _, found = take_challenged(embedder, path, Asking(("right",)), cut=CUT)
    assert (found.outcome, found.reasons) == ("attack", ("wrong_turn",))


def test_a_still_photo_fails(embedder: Embedder, turning: Turning, film: Film):
    path = film(turning(PERSON, [0]) * 30)
    quick = Asking(limits=Limits(seconds=2.0))
    probe, found = take_challenged(embedder, path, quick, cut=CUT)
    assert (found.outcome, found.reasons) == ("attack", ("not_followed",))
    assert len(probe.vectors) > 0


def test_somebody_else_after_the_turn_fails(embedder: Embedder, turning: Turning, film: Film):
    frames = [*turning(PERSON, LEFT[:8]), *turning(OTHER, [0] * 8)]
    _, found = take_challenged(embedder, film(frames), Asking(("left",)), cut=CUT)
    assert found.outcome == "attack"
    assert found.reasons == ("face_changed",)


def test_a_photo_shown_before_the_challenge_is_not_compared(
    embedder: Embedder, turning: Turning, film: Film, people: dict[str, list[Path]]
):
    frames = [*turning(OTHER, [-40] * 3), *turning(PERSON, LEFT)]
    probe, found = take_challenged(embedder, film(frames), Asking(("left",)), cut=CUT)
    assert found.outcome == "bona_fide"
    other = embedder.encode(embedder.faces(embedder.read(people[OTHER][0]), "largest")).vectors
    assert float((probe.vectors @ other.T).max()) < CUT


def test_two_people_are_no_answer(embedder: Embedder, turning: Turning, film: Film):
    both = np.hstack([turning(PERSON, [0])[0], turning(OTHER, [0])[0]])
    with pytest.raises(NoUsableFrame) as caught:
        take_challenged(embedder, film([both] * 20), Asking(("left",)), cut=CUT)
    assert caught.value.reason == "multiple_faces"


def test_a_photo_cannot_be_asked(embedder: Embedder, people: dict[str, list[Path]]):
    for source in (str(people[PERSON][0]), people[PERSON][0].read_bytes()):
        with pytest.raises(SourceUnusable, match="somebody who moves"):
            take_challenged(embedder, source, Asking(), cut=CUT)
