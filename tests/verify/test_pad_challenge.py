from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from embedder.quality import pose
from verify.pad_challenge import SIDES, Challenge, Limits, Sight, draw_turns, overlap

# A head in millimetres: eyes, nose tip, mouth corners, image-left first; z to the camera.
HEAD = np.array(
    [[-32, -34, -32], [32, -34, -32], [0, 4, 0], [-25, 34, -28], [25, 34, -28]], dtype=np.float64
)
SHEET = HEAD * [1, 1, 0]
RATE = 10.0  # frames a second


def unit(*values: float) -> NDArray[np.float32]:
    vector = np.array(values, dtype=np.float32)
    return vector / np.linalg.norm(vector)


ANN, BOB = unit(1, 0, 0.1), unit(0, 1, 0.1)


def sight(
    angle: float,
    vector: NDArray[np.float32] | None = ANN,
    head: NDArray[np.float64] = HEAD,
    shift: float = 0.0,
    distance: float = 600.0,
) -> Sight:
    """A head turned by degrees towards image right, seen by a pinhole camera."""
    a = np.radians(angle)
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    x, y, z = (head @ turn.T).T
    points = np.column_stack([x, y]) * (distance / (distance - z))[:, None] + 200
    points[:, 0] += shift
    box = np.array([140 + shift, 120, 120, 160], np.float32)
    return Sight(box, points.astype(np.float32), vector)


def swing(side: str, peak: float = 35.0, steps: int = 5) -> list[float]:
    """Out to a side and back to straight; the person's left is image right."""
    out = np.linspace(0, peak if side == "left" else -peak, steps).tolist()
    return [*out, out[-1], out[-1], *out[::-1], 0, 0]


def angles(*turns: str) -> list[float]:
    return [0.0, 0.0, *(angle for turn in turns for angle in swing(turn))]


def run(challenge: Challenge, frames: Sequence[Sequence[Sight]], rate: float = RATE) -> str:
    """Feed frames; the outcome and its reason."""
    for number, faces in enumerate(frames):
        challenge.feed(number / rate, faces)
    result = challenge.finish()
    return f"{result.outcome} {result.reasons[0]}"


def film(*turns: str) -> list[list[Sight]]:
    return [[sight(angle)] for angle in angles(*turns)]


def test_the_head_of_this_test_turns_as_the_fit_says():
    assert pose(sight(30).points)[0] == pytest.approx(30, abs=4)
    assert pose(sight(-30).points)[0] == pytest.approx(-30, abs=4)


@pytest.mark.parametrize("turns", [("left",), ("right",), ("left", "left", "right")])
def test_who_follows_passes(turns: tuple[str, ...]):
    challenge = Challenge(turns, cut=0.4)
    assert run(challenge, film(*turns)) == "bona_fide followed"
    assert challenge.status.step == challenge.status.steps == 2 * len(turns) + 1
    assert challenge.result.measures["seconds"] > 0


def test_each_of_the_eight_orders_is_followed_by_itself_alone():
    orders = [(a, b, c) for a in SIDES for b in SIDES for c in SIDES]
    for asked in orders:
        passed = [
            shown
            for shown in orders
            if run(Challenge(asked, cut=0.4), film(*shown)).startswith("bona_fide")
        ]
        assert passed == [asked]


def test_the_order_is_drawn_anew_and_evenly():
    drawn = [draw_turns() for _ in range(400)]
    assert len(set(drawn)) == 8
    assert {Challenge().turns for _ in range(100)} <= set(drawn)
    share = np.mean([turn == "left" for turns in drawn for turn in turns])
    assert 0.42 < share < 0.58  # five standard deviations of 1200 fair draws are 0.07


def test_a_still_picture_fails():
    assert run(Challenge(("left",), cut=0.4), [[sight(0)]] * 90) == "attack not_followed"


@pytest.mark.parametrize("distance", [400.0, 600.0])
def test_a_flat_picture_that_is_turned_fails(distance: float):
    frames = [[sight(a, head=SHEET, distance=distance)] for a in [0, 0, *swing("left", 50) * 6]]
    assert run(Challenge(("left",), cut=0.4), frames).startswith(("attack", "undecided"))


def test_a_turn_to_the_other_side_fails():
    assert run(Challenge(("left",), cut=0.4), film("right")) == "attack wrong_turn"


def test_a_mirrored_camera_swaps_the_sides():
    assert run(Challenge(("left",), mirrored=True), film("right")) == "bona_fide followed"


@pytest.mark.parametrize("after", [6, 8, 14])
def test_another_face_halfway_fails(after: int):
    frames = [[sight(a, ANN if i < after else BOB)] for i, a in enumerate(angles("left", "left"))]
    assert run(Challenge(("left", "left"), cut=0.4), frames) == "attack face_changed"


def test_a_slow_change_of_face_fails_at_the_straight_look():
    mixed = [unit(1 - t, t, 0.1) for t in np.linspace(0, 1, len(angles("left")))]
    frames = [[sight(a, v)] for a, v in zip(angles("left"), mixed, strict=True)]
    challenge = Challenge(("left",), cut=0.4)
    assert not run(challenge, [*frames, *[[sight(0, BOB)]] * 5]).startswith("bona_fide")


def test_one_bad_frame_is_forgiven():
    frames = film("left")
    frames[5] = [sight(20, BOB)]
    frames[6] = []
    assert run(Challenge(("left",), cut=0.4), frames) == "bona_fide followed"


def test_without_vectors_the_boxes_must_overlap():
    shifts = [0.0] * 4 + [300.0] * 20
    frames = [[sight(0, None, shift=shift)] for shift in shifts]
    assert run(Challenge(("left",)), frames) == "undecided face_jumped"
    drifting = [[sight(a, None, shift=4.0 * i)] for i, a in enumerate(angles("left"))]
    assert run(Challenge(("left",)), drifting) == "bona_fide followed"


def test_pictures_shown_one_after_the_other_fail():
    slides = [[sight(a)] for a in [0] * 5 + [35] * 100]
    challenge = Challenge(("left",), cut=0.4)
    hints = {challenge.feed(i / RATE, faces).hint for i, faces in enumerate(slides)}
    assert "turn more slowly" in hints
    assert challenge.result.outcome == "attack"


@pytest.mark.parametrize(
    ("faces", "said"),
    [
        ([], "undecided face_lost"),
        ([sight(0), sight(0, BOB, shift=150)], "undecided several_faces"),
    ],
)
def test_nobody_or_two_for_longer_than_a_moment(faces: list[Sight], said: str):
    assert run(Challenge(("left",), cut=0.4), [[sight(0)]] * 3 + [faces] * 20) == said
    moment = [[sight(0)]] * 3 + [faces] * 5
    assert run(Challenge(("left",), cut=0.4), [*moment, *film("left")]) == "bona_fide followed"


def test_nobody_ever():
    assert run(Challenge(("left",)), [[]] * 90) == "undecided no_face"


def test_a_film_that_ends_early():
    assert run(Challenge(("left", "right")), film("left")) == "undecided ended_early"
    assert run(Challenge(("left",)), []) == "undecided ended_early"


def test_what_the_page_is_told():
    challenge = Challenge(("right",), limits=Limits(seconds=3))
    first = challenge.feed(100.0, [sight(0)]).to_dict()
    assert first["instruction"] == "straight"
    assert (first["step"], first["steps"], first["seconds_left"]) == (0, 3, 3.0)
    second = challenge.feed(101.0, [sight(0)]).to_dict()
    assert second["text"] == "turn your head to your right"
    assert challenge.feed(102.0, []).hint == "no face is seen"
    last = challenge.feed(104.5, [sight(0)]).to_dict()
    assert last["instruction"] is None
    assert last["result"]["outcome"] == "attack"
    assert challenge.feed(105.0, [sight(0)]).to_dict()["result"] == last["result"]


def test_what_is_no_challenge():
    for turns in ((), ("up",)):
        with pytest.raises(ValueError, match="left or right"):
            Challenge(turns)
    challenge = Challenge()
    challenge.feed(2.0, [])
    with pytest.raises(ValueError, match="order of time"):
        challenge.feed(1.0, [])


def test_overlap_of_boxes():
    box = np.array([0, 0, 10, 10], np.float32)
    assert overlap(box, box) == 1.0
    assert overlap(box, box + np.array([5, 0, 0, 0], np.float32)) == pytest.approx(1 / 3)
    assert overlap(box, box + np.array([20, 0, 0, 0], np.float32)) == 0.0
    assert overlap(box * 0, box * 0) == 0.0
