"""Pictures of requests through the library: look in threads, encode together, decide, record.

    bytes ─thread─▶ faces ─encoder batch─▶ vectors ─▶ decision ─commit group─▶ answer

Letters: F frames, D dimensions.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedder.admission import Admission, admit
from embedder.embed import FoundFace
from embedder.photo import Photo, read_photo
from embedder.quality import DEFAULT_GATE
from store.facts import denied_people
from store.people import site_ids
from store.sync import refresh
from verify import pair
from verify.capture import FRAMES, rank
from verify.decision import DEFAULT_FMR, Decision, rule_at
from verify.errors import NoUsableFrame, ProbeRejected
from verify.identify import Identification, identify
from verify.pad import Pad, PadResult, Shot, apply
from verify.person import NOT_THEM
from web import metrics
from web.auth import Principal
from web.batching import Batcher
from web.challenges import Passed
from web.errors import TooMany
from web.known import KnownPerson
from web.recorder import Moved, Recorder, Row, locked_out

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from verify.opening import Parts
    from web.settings import Settings

_TRIES = 5
_PICTURE = "picture"


@dataclass(frozen=True, slots=True)
class Asked:
    """How a decision is asked for.

    Attributes:
        fmr: the false-match rate; None: the default.
        unsure: the second rate; None: ten times the first.
        on_multiple: which face of several.
        source: what the record says the picture came from.
    """

    fmr: float | None = None
    unsure: float | None = None
    on_multiple: str = "reject"
    source: str = "http"

    @property
    def rate(self) -> float:
        """The false-match rate."""
        return DEFAULT_FMR if self.fmr is None else self.fmr


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture that was looked at.

    Attributes:
        photo: decoded.
        faces: all that were found, or chosen.
        admission: which of them may be used.
    """

    photo: Photo
    faces: tuple[FoundFace, ...]
    admission: Admission


class Deciding:
    """The threads that pictures go through.

    Args:
        parts: the gallery, its encoder opened.
        settings: of the server.
    """

    def __init__(self, parts: Parts, settings: Settings) -> None:
        self.parts = parts
        self.recorder = Recorder(parts.store, settings.lockout)
        threads = settings.threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="vultus-look")
        self._looking = 0
        self._encoder: Batcher[FoundFace, NDArray[np.float32]] = Batcher(
            self._encode, "vultus-encoder", linger=settings.linger,
            coming=lambda have: self._looking > 0 and have < threads, largest=32,
        )  # fmt: skip

    def start(self) -> None:
        """Start the threads."""
        self._encoder.start()
        self.recorder.batcher.start()

    def close(self) -> None:
        """Finish what is in work."""
        self._pool.shutdown(wait=True)
        self._encoder.close()
        self.recorder.batcher.close()

    async def look(self, data: bytes, on_multiple: str) -> Seen:
        """Decode a picture and find its faces.

        Raises:
            UnusablePhoto: it cannot be decoded.
        """
        self._looking += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._look, data, on_multiple)
        finally:
            self._looking -= 1

    def _look(self, data: bytes, on_multiple: str) -> Seen:
        embedder = self.parts.embedder
        photo = read_photo(data, max_pixels=embedder.max_pixels, name=_PICTURE)
        faces = embedder.faces(photo, on_multiple)
        return Seen(photo, tuple(faces), admit(faces, on_multiple, DEFAULT_GATE))

    async def encode(self, faces: Sequence[FoundFace]) -> NDArray[np.float32]:
        """Vectors, float32 (F, D), unit rows, of F ≥ 1 faces."""
        futures = [asyncio.wrap_future(self._encoder.submit(face)) for face in faces]
        return np.stack(await asyncio.gather(*futures))

    def _encode(self, faces: Sequence[FoundFace]) -> list[NDArray[np.float32] | Exception]:
        metrics.BATCH.observe(len(faces))
        return list(self.parts.embedder.encode(faces).vectors)

    async def probe(
        self, pictures: Sequence[bytes], on_multiple: str
    ) -> tuple[NDArray[np.float32], list[Shot]]:
        """The vectors, float32 (F, D), of the best frames, and the frames.

        Raises:
            ProbeRejected: one picture without exactly one usable face.
            NoUsableFrame: several, and none has one.
            UnusablePhoto: a picture cannot be decoded.
        """
        seen = await asyncio.gather(*(self.look(data, on_multiple) for data in pictures))
        if len(seen) == 1 and seen[0].admission.reason is not None:
            admission = seen[0].admission
            raise ProbeRejected(f"The picture: {admission.detail}.", admission.reason or "")
        good = [(one.admission.faces[0], one.photo) for one in seen if one.admission.faces]
        if not good:
            refused = Counter(one.admission.reason or "" for one in seen)
            reason, count = refused.most_common(1)[0]
            raise NoUsableFrame(
                f"None of {len(seen)} frames showed one good face ({reason} in {count}): look "
                "into the camera, closer and in better light.", reason,
            )  # fmt: skip
        best = rank(good)[:FRAMES]
        shots = [Shot(photo, face.crop.face) for face, photo in best]
        return await self.encode([face for face, _ in best]), shots

    async def verify(
        self, person: KnownPerson,
        again: Callable[[], Awaitable[KnownPerson]],
        pictures: Sequence[bytes], asked: Asked,
        principal: Principal, pad: Pad, passed: Passed | None = None,
    ) -> Decision:  # fmt: skip
        """Decide whether pictures show a person; the decision is on record when this returns.

        Args:
            person: as the database had them a moment ago.
            again: reads them anew; awaited.
            pictures: frames of one capture.
            asked: the rates.
            principal: who asks.
            pad: what is asked of presentation attack detection.
            passed: what a challenge showed; then the gate is required.

        Raises:
            LockedOut: too many attempts on them failed.
            NoTemplates, UnsupportedRate, NoCalibration: nothing can be decided.
            ProbeRejected, NoUsableFrame, UnusablePhoto: the pictures cannot be used.
        """
        pair.require_templates(person.templates, person.name)
        calibration, calibration_id = self.parts.calibration, self.parts.calibration_id
        rule = rule_at(calibration, asked.rate, unsure=asked.unsure)
        vectors, shots = await self.probe(pictures, asked.on_multiple)
        if passed is not None:
            pad = replace(pad, mode="require")
        found = await self._gate(pad, shots, _same_face(passed, vectors, rule.threshold))
        for _ in range(_TRIES):
            decision = pair.verify(
                vectors, person.templates, calibration, asked.rate, person.name,
                unsure=asked.unsure,
            )  # fmt: skip
            if await self._denied(person, shots, vectors):
                decision = replace(decision, match="no", reasons=(*decision.reasons, NOT_THEM))
            decision = apply(decision, found, pad.mode)
            values = _values("verify", decision, asked.source, person.id, calibration_id)
            row = Row(principal.actor, values, person.rev, person.uid, counted=True)
            try:
                await asyncio.wrap_future(self.recorder.batcher.submit((row,)))
            except Moved:
                person = await again()
                pair.require_templates(person.templates, person.name)
                continue
            metrics.DECISIONS.labels("verify", decision.match).inc()
            return decision
        raise TooMany(
            "The gallery changes faster than this can be decided; send it again.", "overloaded",
            retry_after=1.0,
        )  # fmt: skip

    async def _denied(
        self, person: KnownPerson, shots: Sequence[Shot], vectors: NDArray[np.float32]
    ) -> bool:
        """Whether it was said of one of these very photos that its face is not the person."""
        digests = [shot.photo.digest for shot in shots]
        if person.denied.isdisjoint(digests):
            return False

        def look() -> bool:
            space = self.parts.card.space
            with self.parts.store.read() as session:
                return any(
                    person.id in denied_people(session, digest, space, vector[None])[0]
                    for digest, vector in zip(digests, vectors, strict=True)
                )

        return await asyncio.get_running_loop().run_in_executor(self._pool, look)

    async def _gate(self, pad: Pad, shots: list[Shot], shown: Sequence[PadResult]) -> PadResult:
        if pad.mode == "off" or pad.gate is None:
            return pad.check(shots, *shown)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: pad.check(shots, *shown))

    async def compare(
        self, first: bytes, second: bytes, asked: Asked, principal: Principal
    ) -> Decision:
        """Decide whether two pictures show one person; errors as `verify`."""
        calibration, calibration_id = self.parts.calibration, self.parts.calibration_id
        rule_at(calibration, asked.rate, unsure=asked.unsure)
        (one, _), (other, _) = await asyncio.gather(
            self.probe([first], asked.on_multiple), self.probe([second], asked.on_multiple)
        )
        decision = pair.compare(one, other, calibration, asked.rate, unsure=asked.unsure)
        values = _values("compare", decision, asked.source, None, calibration_id)
        row = Row(principal.actor, values)
        await asyncio.wrap_future(self.recorder.batcher.submit((row,)))
        metrics.DECISIONS.labels("compare", decision.match).inc()
        return decision

    async def identify(
        self, data: bytes, principal: Principal, *, fpir: float | None, k: int,
        unsure: float | None, sites: list[str] | None, on_multiple: str,
    ) -> tuple[Seen, list[tuple[FoundFace, Identification]]]:  # fmt: skip
        """Find out who is in a picture.

        Args:
            data: the picture.
            principal: who asks.
            fpir: the asked rate; None: the default.
            k: templates looked at for each face.
            unsure: the second rate.
            sites: where to look; None: everywhere.
            on_multiple: which faces.

        Raises:
            UnusablePhoto: it cannot be decoded.
            UnsupportedRate, NoCalibration: the rate cannot be promised.
        """
        seen = await self.look(data, on_multiple)
        chosen = sorted(seen.admission.faces, key=lambda face: float(face.crop.face.box[0]))
        if not chosen:
            return seen, []
        vectors = await self.encode(chosen)
        loop = asyncio.get_running_loop()
        answers = await loop.run_in_executor(
            self._pool, self._search, seen.photo.digest, vectors, sites,
            {"fpir": fpir, "k": k, "unsure": unsure},
        )  # fmt: skip
        calibration_id = self.parts.calibration_id
        rows = tuple(
            Row(
                principal.actor,
                _identified(who, self.parts.card.space, calibration_id),
                uid=who.candidates[0].uid if who.answer != "no" else None,
            )
            for who in answers
        )
        await asyncio.wrap_future(self.recorder.batcher.submit(rows))
        for who in answers:
            metrics.DECISIONS.labels("identify", who.answer).inc()
        return seen, list(zip(chosen, answers, strict=True))

    def _search(
        self, digest: str, vectors: NDArray[np.float32], sites: list[str] | None,
        rates: dict[str, Any],
    ) -> list[Identification]:  # fmt: skip
        parts = self.parts
        refresh(parts.index)
        with parts.store.read() as session:
            within = None if sites is None else np.array(site_ids(session, sites), np.int64)
            denied = denied_people(session, digest, parts.card.space, vectors)
            return identify(
                vectors, parts.index, session, parts.calibration, within=within, denied=denied,
                **rates,
            )  # fmt: skip

    def require_open(self, session: Session, person: KnownPerson) -> None:
        """Refuse at once what the commit would refuse.

        Raises:
            LockedOut: too many attempts on the person failed.
        """
        lockout = self.recorder.lockout
        tries = self.recorder.attempts(session, {person.id}).get(person.id, 0)
        if lockout is not None and tries >= lockout.count:
            raise locked_out(lockout)


def _same_face(
    passed: Passed | None, vectors: NDArray[np.float32], cut: float
) -> tuple[PadResult, ...]:
    """What a challenge showed, where the pictures are of the face that did it.

    Args:
        passed: the challenge; None: there was none.
        vectors: float32 (F, D), unit rows, of the pictures.
        cut: the similarity that pictures of one person reach.
    """
    if passed is None:
        return ()
    if passed.vector is None or float((vectors @ passed.vector).min()) < cut:
        return (PadResult("attack", "challenge", ("face_changed",)),)
    return (passed.result,)


def _values(
    kind: str, decision: Decision, source: str, person_id: int | None, calibration_id: int | None
) -> dict[str, Any]:
    """A decision as `store.gallery.record_decision` takes it."""
    return {
        "kind": kind, "answer": decision.match, "space": decision.space, "source": source,
        "person_id": person_id, "similarity": decision.similarity,
        "threshold": decision.threshold, "fmr": decision.fmr, "calibration_id": calibration_id,
        "unsure_above": decision.unsure_above, "extrapolated": decision.extrapolated,
    }  # fmt: skip


def _identified(who: Identification, space: str, calibration_id: int | None) -> dict[str, Any]:
    first = who.candidates[0] if who.candidates else None
    return {
        "kind": "identify", "answer": who.answer, "space": space, "source": "http",
        "person_id": who.person_id, "similarity": None if first is None else first.similarity,
        "threshold": who.threshold, "fmr": who.fpir, "calibration_id": calibration_id,
        "unsure_above": who.unsure_above, "extrapolated": who.extrapolated,
    }  # fmt: skip
