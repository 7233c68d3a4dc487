"""The active challenge: turn the head to the side that is asked, in an order nobody could foresee.

A state machine without a camera, a network or a clock: it is fed what a detector saw in each frame
and when, says what the person should do next, and in the end what came of it. The command reads a
camera for it, the web page sends it frames.

What each rule keeps out:

- a still picture does not turn, and a flat one that is turned does not shift the nose between the
  eyes: the angle is that of a head fitted to five points (`embedder.quality.pose`), so a sheet
  turned about its axis stays at zero but for its perspective;
- a recording turns, but in its own order: of N turns drawn left or right by the operating system's
  secure source, a recording follows by chance once in 2^N tries;
- another face brought in half-way: each frame must overlap the one before, and its vector must be
  as similar to the first as `cut`, a threshold of the calibration;
- pictures of one person shown one after the other: a turn counts only where the head was seen on
  its way.

Source of the idea: K. Kollreider, H. Fronthaler, J. Bigun, "Non-intrusive liveness detection by
face images", Image and Vision Computing 27, 2009 (parts of a living head move unlike a plane), and
challenge-response of ISO/IEC 30107-1.

Letters: D dimensions, N turns.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embedder.quality import pose
from verify.pad import PadOutcome, PadResult

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")
TURNS = 3
NAME = "challenge"
_TEXT = {
    "straight": "look straight into the camera",
    "left": "turn your head to your left",
    "right": "turn your head to your right",
}
_HINTS = {
    "no_face": "no face is seen",
    "several_faces": "one person only, please",
    "face_changed": "this is another face than at first",
    "face_jumped": "keep still in the picture",
    "slower": "turn more slowly",
    "wrong_turn": "that is the other side",
}


@dataclass(frozen=True, slots=True)
class Sight:
    """A face in one frame.

    Attributes:
        box: float32 (4,), x, y, width, height in pixels of the frame.
        points: float32 (5, 2): eyes, nose tip, mouth corners, image-left first.
        vector: float32 (D,), unit length, or None where it was not encoded.
    """

    box: NDArray[np.float32]
    points: NDArray[np.float32]
    vector: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What counts as following. Angles are against the first straight look.

    Attributes:
        straight: up to this many degrees to either side the head looks straight.
        turned: from this many degrees on it is turned.
        hold: for how many frames in a row.
        seconds: the time for one instruction.
        gap: seconds for which the face may be out of sight, or not alone.
        overlap: least overlap of a box with the one before, intersection over union.
        patience: how many frames in a row may contradict before the challenge is failed.
    """

    straight: float = 10.0
    turned: float = 20.0
    hold: int = 2
    seconds: float = 6.0
    gap: float = 1.0
    overlap: float = 0.3
    patience: int = 4


@dataclass(frozen=True, slots=True)
class Status:
    """Where a challenge stands.

    Attributes:
        instruction: `straight`, `left` or `right` (the person's own); None at the end.
        text: the instruction in words.
        hint: what keeps it from going on, in words, or "".
        step: how many instructions were followed.
        steps: how many there are.
        seconds_left: time for this instruction.
        result: the outcome, at the end.
    """

    instruction: str | None
    text: str
    hint: str
    step: int
    steps: int
    seconds_left: float
    result: PadResult | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "instruction": self.instruction,
            "text": self.text,
            "hint": self.hint,
            "step": self.step,
            "steps": self.steps,
            "seconds_left": round(self.seconds_left, 2),
            "result": None if self.result is None else self.result.to_dict(),
        }


def draw_turns(count: int = TURNS) -> tuple[Side, ...]:
    """Turns in an order nobody can foresee, from the operating system's secure source."""
    return tuple(secrets.choice(SIDES) for _ in range(count))


class Challenge:
    """One challenge of one person; feed it frames until `result` is there.

    Between two turns, and at the end, the person looks straight, so that the same side can be
    asked twice and the vector is compared where it is most exact.
    """

    def __init__(
        self,
        turns: Sequence[Side] | None = None,
        *,
        cut: float | None = None,
        limits: Limits | None = None,
        mirrored: bool = False,
    ) -> None:
        """Draw the turns.

        Args:
            turns: the order, where it was drawn and asked elsewhere; None: draw it now.
            cut: the similarity that frames of one person reach, from a calibration; None: only
                the boxes are compared.
            limits: what counts as following.
            mirrored: the frames are mirror images, as some cameras send them.

        Raises:
            ValueError: no turn, or one that is neither left nor right.
        """
        self.turns = draw_turns() if turns is None else tuple(turns)
        if not self.turns or any(turn not in SIDES for turn in self.turns):
            raise ValueError(f"The turns of a challenge are left or right; got {self.turns!r}.")
        self.limits = Limits() if limits is None else limits
        self.result: PadResult | None = None
        self.straight = False  # whether the last frame was a straight look of the same face
        self._cut = cut
        self._sign = -1.0 if mirrored else 1.0
        self._steps = ["straight", *(step for turn in self.turns for step in (turn, "straight"))]
        self._step = 0
        self._begun: float | None = None  # of the challenge
        self._since = 0.0  # of this instruction
        self._now = 0.0
        self._held = 0
        self._on_the_way = False
        self._hint = ""
        self._first: Sight | None = None  # the first straight look
        self._last: Sight | None = None  # the last one of the same face
        self._seen = 0.0  # when that was
        self._zero = 0.0
        self._against: dict[str, int] = {}
        self._looks = [0, 0]  # frames of this instruction, and those with the face in them

    @property
    def status(self) -> Status:
        """Where it stands."""
        over = self.result is not None
        step = None if over else self._steps[self._step]
        left = self.limits.seconds - (self._now - self._since)
        return Status(
            step, "" if step is None else _TEXT[step], _HINTS.get(self._hint, ""), self._step,
            len(self._steps), 0.0 if over else max(0.0, left), self.result,
        )  # fmt: skip

    def feed(self, time: float, faces: Sequence[Sight]) -> Status:
        """Take in one frame.

        Args:
            time: when it was taken, in seconds on any clock; it never runs back.
            faces: the faces in it that count: bystanders far behind are left out by the caller.

        Raises:
            ValueError: a time before the last one.
        """
        if self._begun is None:
            self._begun = self._since = self._now = self._seen = time
        if time < self._now:
            raise ValueError(f"Frames come in the order of time: {time:g} is before {self._now:g}.")
        if self.result is None:
            self._now, self._hint, self.straight = time, "", False
            self._looks[0] += 1
            self._look(faces)
            if self.result is None and time - self._since > self.limits.seconds:
                self._end_of_time()
        return self.status

    def finish(self) -> PadResult:
        """The outcome; where the source ended too early, nothing can be said."""
        return self.result or self._end("undecided", "ended_early")

    def _look(self, faces: Sequence[Sight]) -> None:
        if len(faces) != 1:
            self._absent("several_faces" if faces else "no_face")
            return
        sight = faces[0]
        contrary = self._other(sight)
        if contrary:
            self._contradicted(contrary)
            return
        self._last, self._seen = sight, self._now
        self._looks[1] += 1
        self._follow(sight)

    def _absent(self, why: str) -> None:
        self._hint, self._held = why, 0
        if self._first is not None and self._now - self._seen > self.limits.gap:
            self._end("undecided", "face_lost" if why == "no_face" else why)

    def _other(self, sight: Sight) -> str:
        """What shows that a sight is not of the same face, or ""."""
        if self._last is None or self._first is None:
            return ""
        if overlap(self._last.box, sight.box) < self.limits.overlap:
            return "face_jumped"
        # a turned head is like the look before it, where it is little like the straight one
        return "" if self._like(sight, self._first, self._last) else "face_changed"

    def _like(self, sight: Sight, *known: Sight) -> bool:
        """Whether it is as similar as the cut to one of some looks; yes where nothing is known."""
        if self._cut is None or sight.vector is None:
            return True
        found = [float(one.vector @ sight.vector) for one in known if one.vector is not None]
        return max(found, default=1.0) >= self._cut

    def _contradicted(self, why: str) -> None:
        """A frame that speaks against; too many in a row end it."""
        self._hint, self._held = why, 0
        self._against = {why: self._against.get(why, 0) + 1}
        if self._against[why] >= self.limits.patience:
            self._end("undecided" if why == "face_jumped" else "attack", why)

    def _follow(self, sight: Sight) -> None:
        """The same face: does it do what is asked?"""
        raw = self._sign * pose(sight.points)[0]
        step = self._steps[self._step]
        if self._first is None:
            if abs(raw) > 1.5 * self.limits.straight:
                return
            self._first, self._zero = sight, raw
        angle = raw - self._zero
        if step == "straight":
            self._straight(sight, abs(angle) <= self.limits.straight)
        else:
            self._turn(angle if step == "left" else -angle)

    def _straight(self, sight: Sight, straight: bool) -> None:
        """A look while a straight one is asked; where it is one, it must be like the first."""
        if straight and self._first is not None and not self._like(sight, self._first):
            self._contradicted("face_changed")
            return
        self._against = {}
        self.straight = straight
        self._hold(straight)

    def _turn(self, angle: float) -> None:
        """A look while a turn is asked.

        Args:
            angle: degrees to the side that is asked.
        """
        if angle <= -self.limits.turned:
            self._contradicted("wrong_turn")
            return
        self._against = {}
        self._on_the_way |= self.limits.straight < angle < self.limits.turned
        reached = angle >= self.limits.turned
        if reached and not self._on_the_way:
            self._hint = "slower"
        self._hold(reached and self._on_the_way)

    def _hold(self, held: bool) -> None:
        self._held = self._held + 1 if held else 0
        if self._held < self.limits.hold:
            return
        self._step, self._since, self._held = self._step + 1, self._now, 0
        self._on_the_way, self._looks = False, [0, 0]
        if self._step == len(self._steps):
            self._end("bona_fide", "followed")

    def _end_of_time(self) -> None:
        """A face that was there and did not do as asked failed; a face seldom seen is no answer."""
        looks, seen = self._looks
        there = self._first is not None and 2 * seen >= looks
        self._end("attack" if there else "undecided", "not_followed" if there else "no_face")

    def _end(self, outcome: PadOutcome, reason: str) -> PadResult:
        seconds = 0.0 if self._begun is None else self._now - self._begun
        measures = {
            "followed": float(self._step),
            "instructions": float(len(self._steps)),
            "seconds": seconds,
        }
        self.result = PadResult(outcome, NAME, (reason,), measures=measures)
        return self.result


def overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Intersection over union of two boxes, float32 (4,) each: 0…1."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    both = float(np.prod(np.maximum(high - low, 0)))
    union = float(a[2] * a[3] + b[2] * b[3]) - both
    return both / union if union > 0 else 0.0
