"""A probe from a photo, a video file, a camera or a stream.

A photo gives one frame. A moving source is read until enough good frames are found, the source
ends or the time is over; the best ones, by sharpness and size, become the probe. A camera or
stream is read by a thread that keeps the latest frame only, so that a slow machine sees now and
not a queue of the past. No window is needed.

Letters: F frames, D dimensions.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from embedder.admission import admit
from embedder.embed import Embedder, FoundFace
from embedder.photo import Photo, Source, read_photo
from embedder.quality import Gate
from verify.errors import NoUsableFrame, ProbeRejected, SourceUnusable
from verify.pad import Shot
from verify.sources import VIDEO_SUFFIXES, is_moving

FRAMES = 5
TIMEOUT = 15.0
_LOOKS_A_SECOND = 8.0
_FIRST_FRAME = 10.0
_LAST_READ = 2.0
_LAST_CAMERA = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Probe:
    """What is compared: one face, seen in one frame or more.

    Attributes:
        vectors: float32 (F, D), unit rows, the best frame first.
        faces: the F faces behind them.
        source: where they came from.
        photos: the F frames they were found in.
    """

    vectors: NDArray[np.float32]
    faces: tuple[FoundFace, ...]
    source: str
    photos: tuple[Photo, ...] = ()

    @property
    def shots(self) -> list[Shot]:
        """The frames as a gate against presentation attacks takes them."""
        pairs = zip(self.photos, self.faces, strict=True)
        return [Shot(photo, face.crop.face) for photo, face in pairs]


def take(
    embedder: Embedder,
    source: Source,
    *,
    rule: str = "reject",
    gate: Gate | None = None,
    frames: int = FRAMES,
    timeout: float = TIMEOUT,
) -> Probe:
    """Take a probe from a source.

    Args:
        embedder: detector and encoder.
        source: a photo (path, bytes, array, PIL image), a video file, a camera number ("0") or
            a stream's URL.
        rule: what to do with several faces: `reject`, `largest`, `centre`.
        gate: the least quality; None: the default gate.
        frames: how many good frames of a moving source to fuse.
        timeout: seconds after which a moving source must have given what it has.

    Raises:
        ProbeRejected: a photo without exactly one usable face; `reason` is the code.
        NoUsableFrame: a moving source without one usable frame.
        SourceUnusable: a moving source that cannot be opened.
        UnusablePhoto: a photo that cannot be decoded.
    """
    gate = Gate() if gate is None else gate
    if isinstance(source, os.PathLike) and Path(source).suffix.lower() in VIDEO_SUFFIXES:
        source = os.fspath(source)
    if isinstance(source, str) and is_moving(source):
        return _from_frames(embedder, source, rule, gate, frames, timeout)
    photo = read_photo(source, max_pixels=embedder.max_pixels)
    admission = admit(embedder.faces(photo, rule), rule, gate)
    if admission.reason is not None:
        raise ProbeRejected(f"{photo.source}: {admission.detail}.", admission.reason)
    chosen = admission.faces[:1]
    return Probe(embedder.encode(chosen).vectors, chosen, photo.source, (photo,))


def _from_frames(
    embedder: Embedder, source: str, rule: str, gate: Gate, frames: int, timeout: float
) -> Probe:
    good: list[tuple[FoundFace, Photo]] = []
    refused: Counter[str] = Counter()
    name = shown(source)
    with open_source(source) as camera:
        end = time.monotonic() + timeout
        for pixels in _looks(camera):
            photo = Photo(pixels, "", name)
            admission = admit(embedder.faces(photo, rule), rule, gate)
            good += [(face, photo) for face in admission.faces[:1]]
            if admission.reason is not None:
                refused[admission.reason] += 1
            if len(good) >= 2 * frames or time.monotonic() > end:
                break
    return best_of(embedder, good, frames, name, refused)


def best_of(
    embedder: Embedder,
    good: Sequence[tuple[FoundFace, Photo]],
    frames: int,
    name: str,
    refused: Counter[str],
) -> Probe:
    """The probe from the best frames, by sharpness and size.

    Args:
        embedder: what encodes them.
        good: faces with their frames.
        frames: how many to take.
        name: where they came from.
        refused: reason code → frames without a good face.

    Raises:
        NoUsableFrame: there is none.
    """
    if not good:
        reason, count = refused.most_common(1)[0] if refused else ("face_not_found", 0)
        raise NoUsableFrame(
            f"{name}: none of {sum(refused.values())} frames showed one good face "
            f"({reason} in {count}): look into the camera, closer and in better light.",
            reason,
        )
    faces, photos = zip(*rank(good)[:frames], strict=True)
    return Probe(embedder.encode(faces).vectors, faces, name, photos)


def rank(good: Sequence[tuple[FoundFace, Photo]]) -> list[tuple[FoundFace, Photo]]:
    """Faces with their frames, the best first, by sharpness and size."""
    return sorted(good, key=lambda f: -f[0].quality.sharpness * min(f[0].quality.size, 112.0))


class Camera(Protocol):
    """A source of frames."""

    def read(self) -> NDArray[np.uint8] | None:
        """The next frame, uint8 (H, W, 3) RGB, or None at the end."""
        ...

    def close(self) -> None:
        """Let the device go."""
        ...


def _looks(camera: Camera) -> Iterator[NDArray[np.uint8]]:
    while (pixels := camera.read()) is not None:
        yield pixels


@contextmanager
def open_source(source: str) -> Iterator[Camera]:
    """Open a moving source.

    Args:
        source: a camera number, a stream's URL or a video file's path.

    Raises:
        SourceUnusable: it cannot be opened.
    """
    live = source.isdecimal() or "://" in source
    if not live and not Path(source).is_file():
        raise SourceUnusable(f"{source} does not exist: check the path.")
    device = cv2.VideoCapture(_camera_number(source) if source.isdecimal() else source)
    if not device.isOpened():
        device.release()
        kind = "camera" if source.isdecimal() else "stream" if live else "video"
        raise SourceUnusable(
            f"The {kind} {shown(source)} cannot be opened: check that it exists, that nothing "
            "else uses it and that you may read it."
        )
    camera: Camera = LatestFrame(device, shown(source)) if live else VideoFile(device)
    try:
        yield camera
    finally:
        camera.close()


def _camera_number(source: str) -> int:
    return min(int(source[:400]), _LAST_CAMERA)  # OpenCV takes a C int


def shown(source: str) -> str:
    """A source as it may be told and kept: a stream's URL without its user and password."""
    return re.sub(r"://[^/]*@", "://***@", source)


class VideoFile:
    """A video file, read a few frames a second of its own time."""

    def __init__(self, device: cv2.VideoCapture) -> None:
        self._device = device
        rate = device.get(cv2.CAP_PROP_FPS) or 25.0
        self._skip = max(0, round(rate / _LOOKS_A_SECOND) - 1)
        self.interval = (self._skip + 1) / rate  # seconds of the video between two looks

    def read(self) -> NDArray[np.uint8] | None:
        """The next frame to look at, uint8 (H, W, 3) RGB, or None at the end."""
        there, frame = self._device.read()
        for _ in range(self._skip):
            self._device.grab()
        return _to_rgb(frame) if there else None

    def close(self) -> None:
        """Close the file."""
        self._device.release()


class LatestFrame:
    """A camera or stream of which only the newest frame counts."""

    def __init__(self, device: cv2.VideoCapture, source: str) -> None:
        self._device = device
        self._source = source
        self._frame: NDArray[np.uint8] | None = None
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._ended:
            there, frame = self._device.read()
            with self._changed:
                if there:
                    self._frame = _to_rgb(frame)
                self._ended = self._ended or not there
                self._changed.notify_all()
        self._device.release()  # here, for a device must not go while it is being read

    def read(self) -> NDArray[np.uint8] | None:
        """The newest frame not read yet, uint8 (H, W, 3) RGB; None where the stream has ended.

        Raises:
            SourceUnusable: no frame came for ten seconds.
        """
        with self._changed:
            came = self._changed.wait_for(
                lambda: self._frame is not None or self._ended, _FIRST_FRAME
            )
            if not came:
                raise SourceUnusable(f"{self._source} is open and sends no pictures.")
            frame, self._frame = self._frame, None
        return frame

    def close(self) -> None:
        """Stop following; the device goes once its last read returns, waited for two seconds."""
        self._ended = True
        self._thread.join(timeout=_LAST_READ)


def _to_rgb(frame: NDArray[Any]) -> NDArray[np.uint8]:
    """A frame as OpenCV gives it, uint8 (H, W, 3) BGR, as RGB."""
    return np.ascontiguousarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), dtype=np.uint8)
