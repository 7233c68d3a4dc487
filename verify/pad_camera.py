"""The active challenge before a camera, a stream or a video: the probe comes from its own frames.

The frames that are compared are straight looks taken while the challenge ran, so that nobody can
change places between the challenge and the comparison.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embedder.admission import Admission, admit
from embedder.embed import Embedder, FoundFace
from embedder.photo import Photo, Source
from embedder.quality import OPEN_GATE, Gate
from verify.capture import FRAMES, Camera, Probe, VideoFile, best_of, open_source, shown
from verify.errors import SourceUnusable
from verify.pad import PadResult
from verify.pad_challenge import Challenge, Limits, Side, Sight, Status
from verify.sources import is_moving


@dataclass(frozen=True, slots=True)
class Asking:
    """How the challenge is put to the person.

    Attributes:
        turns: the order, where it was drawn and asked before the video was recorded; None: drawn
            now, as it must be for a camera.
        limits: what counts as following.
        mirrored: the frames are mirror images.
        say: is told where the challenge stands after each frame; None: nobody is told.
    """

    turns: tuple[Side, ...] | None = None
    limits: Limits | None = None
    mirrored: bool = False
    say: Callable[[Status], None] | None = None


def take_challenged(
    embedder: Embedder,
    source: Source,
    asking: Asking,
    *,
    cut: float,
    rule: str = "reject",
    gate: Gate | None = None,
    frames: int = FRAMES,
) -> tuple[Probe, PadResult]:
    """Run a challenge and take a probe from its straight looks.

    Args:
        embedder: detector and encoder.
        source: a camera number, a stream's URL or a video file.
        asking: how it is asked.
        cut: the similarity that frames of one person reach, from a calibration.
        rule: what to do with several faces; see `verify.capture.take`.
        gate: the least quality of a frame that is compared.
        frames: how many of those to fuse.

    Returns:
        The probe, and what came of the challenge.

    Raises:
        SourceUnusable: a photo, or what cannot be opened.
        NoUsableFrame: no straight look was good enough to compare.
    """
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    if not isinstance(source, str) or not is_moving(source):
        raise SourceUnusable(
            "A challenge needs somebody who moves: give a camera's number, a stream or a video."
        )
    challenge = Challenge(asking.turns, cut=cut, limits=asking.limits, mirrored=asking.mirrored)
    good: list[tuple[FoundFace, Photo]] = []
    refused: Counter[str] = Counter()
    name = shown(source)
    with open_source(source) as camera:
        clock = _clock(camera)
        while challenge.result is None and (pixels := camera.read()) is not None:
            moment = clock()
            photo = Photo(pixels, "", name)
            found = embedder.faces(photo, rule)
            status = challenge.feed(moment, _sights(embedder, found, rule))
            if asking.say is not None:
                asking.say(status)
            admission = admit(found, rule, Gate() if gate is None else gate)
            if admission.reason is not None:
                refused[admission.reason] += 1
            if challenge.straight:
                good += [(face, photo) for face in admission.faces[:1]]
    return best_of(embedder, good, frames, name, refused), challenge.finish()


def _sights(embedder: Embedder, found: Sequence[FoundFace], rule: str) -> list[Sight]:
    """The faces that count, encoded where there is just one; bystanders do not count."""
    counted: Admission = admit(found, rule, OPEN_GATE)
    faces = counted.faces[:1] if counted.reason is None else tuple(found)
    faces = tuple(face for face in faces if face.crop.face.points is not None)
    vectors = [embedder.encode(faces).vectors[0]] if len(faces) == 1 else [None] * len(faces)
    return [
        Sight(face.crop.face.box, face.crop.face.points, vector)
        for face, vector in zip(faces, vectors, strict=True)
        if face.crop.face.points is not None
    ]


def _clock(camera: Camera) -> Callable[[], float]:
    """The seconds of a frame: a video's own time, else the time of day's pace."""
    if not isinstance(camera, VideoFile):
        return time.monotonic
    interval, looks = camera.interval, iter(range(10**9))
    return lambda: next(looks) * interval
