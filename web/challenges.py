"""Challenges in progress: turn the head as asked, once, within a minute, for one key.

A challenge lives in the memory of the worker that began it: it is over within a minute, and one
that is lost with its worker is begun again. What was passed is given out as a token that one
verification may use, with pictures of the same face.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from verify.pad import PadResult
from verify.pad_challenge import Challenge, Limits, Sight, Status
from web.auth import Principal
from web.errors import Conflict, Forbidden, NotFound

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
    """The challenges of one worker."""

    def __init__(self) -> None:
        self._begun: OrderedDict[str, _Begun] = OrderedDict()
        self._lock = threading.Lock()

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
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._drop_old()
            self._begun[token] = _Begun(challenge, who.key_id, person, time.monotonic())
        return token, challenge.status

    def feed(self, token: str, who: Principal, sights: list[Sight]) -> Status:
        """Take in one frame.

        Raises:
            NotFound: no such challenge of this key, or its time is over.
            Conflict: it is over already.
        """
        begun = self._find(token, who)
        with begun.lock:
            if begun.challenge.result is not None:
                raise Conflict("This challenge is over; begin a new one.", "challenge_over")
            status = begun.challenge.feed(time.monotonic(), sights)
            if begun.first is None and len(sights) == 1:
                begun.first = sights[0].vector
            return status

    def take(self, token: str | None, person: str, who: Principal) -> Passed | None:
        """Use up a challenge for a verification; None where none was named.

        Raises:
            Forbidden: it was used before, is for somebody else, or is not over.
            NotFound: no such challenge of this key, or its time is over.
        """
        if token is None:
            return None
        begun = self._find(token, who)
        with begun.lock:
            if begun.used:
                raise Forbidden("This challenge was used before; begin a new one.", "replayed")
            begun.used = True
            if begun.person not in (None, person):
                raise Forbidden("This challenge is for somebody else.", "other_person")
            return Passed(begun.challenge.finish(), begun.first)

    def _find(self, token: str, who: Principal) -> _Begun:
        with self._lock:
            self._drop_old()
            begun = self._begun.get(token)
        if begun is None or begun.key != who.key_id:
            raise NotFound(
                "There is no such challenge, or its minute is over; begin a new one.",
                "unknown_challenge",
            )
        return begun

    def _drop_old(self) -> None:
        oldest = time.monotonic() - SECONDS
        while self._begun:
            token, begun = next(iter(self._begun.items()))
            if begun.at >= oldest and len(self._begun) < _MOST:
                return
            del self._begun[token]
