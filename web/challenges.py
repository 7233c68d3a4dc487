"""Challenges in progress: turn the head as asked, once, within a minute, for one key.

A challenge lives in the memory of the worker that began it, whose name its token begins with:
another worker that is asked about it asks that one. It is over within a minute, and one that is
lost with its worker is begun again. What was passed may be used by one verification, with pictures
of the same face.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.pad import PadResult
from verify.pad_challenge import Challenge, Limits, Sight, Status
from web.auth import Principal
from web.errors import Conflict, Forbidden, NotFound, Refusal
from web.relay import Message, Relay

SECONDS = 60.0
_MOST = 1000
_SLOW = Limits(seconds=10.0, gap=2.5)  # pictures come over a network, some a second


@dataclass
class _Begun:
    challenge: Challenge
    key: int
    person: str | None
    at: float
    first: NDArray[np.float32] | None = None
    used: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class Passed:
    """What a challenge showed.

    Attributes:
        result: what came of it.
        vector: float32 (D,), of the face that did it; None where nothing was seen.
    """

    result: PadResult
    vector: NDArray[np.float32] | None


class Challenges:
    """The challenges of one worker, and the way to those of the others.

    Args:
        folder: where workers find each other; None: there is one only.
        seconds: after which a challenge is over, whatever came of it.
    """

    def __init__(self, folder: Path | None = None, seconds: float = SECONDS) -> None:
        self._begun: OrderedDict[str, _Begun] = OrderedDict()
        self._seconds = seconds
        self._lock = threading.Lock()
        self._relay = Relay(folder, self._answer)
        self.start, self.close = self._relay.start, self._relay.close

    def begin(
        self, who: Principal, person: str | None, cut: float | None, *, mirrored: bool
    ) -> tuple[str, Status]:
        """Draw the turns of a new challenge.

        Args:
            who: whose it is; nobody else can go on with it.
            person: uid of whom it is for; None: anybody.
            cut: the similarity that frames of one person reach.
            mirrored: the pictures are mirror images.
        """
        challenge = Challenge(cut=cut, limits=_SLOW, mirrored=mirrored)
        token = f"{self._relay.name}.{secrets.token_urlsafe(24)}"
        with self._lock:
            self._drop_old()
            self._begun[token] = _Begun(challenge, who.key_id, person, time.monotonic())
        return token, challenge.status

    def feed(self, token: str, who: Principal, sights: list[Sight]) -> dict[str, Any]:
        """Take in one frame.

        Returns:
            The status, as plain JSON values.

        Raises:
            NotFound: no such challenge of this key, or its time is over.
            Conflict: it is over already.
        """
        if self._is_elsewhere(token):
            seen = [_plain(sight) for sight in sights]
            return self._ask({"do": "feed", "token": token, "key": who.key_id, "sights": seen})
        return self._feed(token, who.key_id, sights)

    def _feed(self, token: str, key: int, sights: list[Sight]) -> dict[str, Any]:
        begun = self._find(token, key)
        with begun.lock:
            if begun.challenge.result is not None:
                raise Conflict("This challenge is over; begin a new one.", "challenge_over")
            status = begun.challenge.feed(time.monotonic(), sights)
            if begun.first is None and len(sights) == 1:
                begun.first = sights[0].vector
            return status.to_dict()

    def take(self, token: str | None, person: str, who: Principal) -> Passed | None:
        """Use up a challenge for a verification; None where none was named.

        Raises:
            Forbidden: it was used before, is for somebody else, or is not over.
            NotFound: no such challenge of this key, or its time is over.
        """
        if token is None:
            return None
        if self._is_elsewhere(token):
            asked = {"do": "take", "token": token, "key": who.key_id, "person": person}
            return _passed(self._ask(asked))
        return self._take(token, person, who.key_id)

    def _take(self, token: str, person: str, key: int) -> Passed:
        begun = self._find(token, key)
        with begun.lock:
            if begun.used:
                raise Forbidden("This challenge was used before; begin a new one.", "replayed")
            begun.used = True
            if begun.person not in (None, person):
                raise Forbidden("This challenge is for somebody else.", "other_person")
            return Passed(begun.challenge.finish(), begun.first)

    def _is_elsewhere(self, token: str) -> bool:
        return token.partition(".")[0] != self._relay.name

    def _ask(self, question: Message) -> Message:
        """Ask the worker that has a challenge."""
        told = self._relay.ask(str(question["token"]).partition(".")[0], question)
        if told is None:
            raise _unknown()
        if "refused" in told:
            message, code, status = told["refused"]
            raise Refusal(message, code, status=status)
        return told

    def _answer(self, question: Message) -> Message:
        """What another worker asks about a challenge of this one."""
        token, key = question["token"], question["key"]
        try:
            if question["do"] == "feed":
                sights = [_sight(one) for one in question["sights"]]
                return self._feed(token, key, sights)
            passed = self._take(token, question["person"], key)
        except Refusal as refusal:
            return {"refused": [str(refusal), refusal.code, refusal.status]}
        vector = None if passed.vector is None else passed.vector.tolist()
        return {"result": passed.result.to_dict(), "vector": vector}

    def _find(self, token: str, key: int) -> _Begun:
        with self._lock:
            self._drop_old()
            begun = self._begun.get(token)
        if begun is None or begun.key != key:
            raise _unknown()
        return begun

    def _drop_old(self) -> None:
        oldest = time.monotonic() - self._seconds
        while self._begun:
            token, begun = next(iter(self._begun.items()))
            if begun.at >= oldest and len(self._begun) < _MOST:
                return
            del self._begun[token]


def _unknown() -> NotFound:
    return NotFound(
        "There is no such challenge, or its minute is over; begin a new one.", "unknown_challenge"
    )


def _plain(sight: Sight) -> dict[str, Any]:
    vector = None if sight.vector is None else sight.vector.tolist()
    return {"box": sight.box.tolist(), "points": sight.points.tolist(), "vector": vector}


def _sight(values: dict[str, Any]) -> Sight:
    box, points = (np.array(values[name], np.float32) for name in ("box", "points"))
    vector = values["vector"]
    return Sight(box, points, None if vector is None else np.array(vector, np.float32))


def _passed(told: dict[str, Any]) -> Passed:
    found, vector = told["result"], told["vector"]
    result = PadResult(
        found["outcome"], found["gate"], tuple(found["reasons"]), measures=found["measures"]
    )
    return Passed(result, None if vector is None else np.array(vector, np.float32))
