"""From what a gallery keeps of its faces to vectors of another encoder.

A face is kept as its aligned crop, a JPEG; its photo may still lie where it was. From the photo the
crop is cut again by the points found at enrolment, so that the vector is the one that enrolling it
anew would give, without the losses of JPEG.

N faces, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from embedder.align import Crop, align
from embedder.card import EncoderCard
from embedder.detect import Face
from embedder.encoder import known_models, open_network_encoder
from embedder.errors import UnusablePhoto
from embedder.photo import Photo, decode, read_bytes
from enroll.errors import CropsUnfit
from store.transitions import WaitingFace, add_twins, count_waiting, waiting_faces

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from embedder.encoder import Encoder
    from verify.opening import Parts

BATCH = 64  # faces encoded, and committed, together
Progress = Callable[[int, int], None]


@dataclass
class Encoding:
    """The encoding of faces that have a template in one space and none in another.

    Attributes:
        parts: the gallery.
        have: the space they have one in.
        card: the encoder whose space they have none in.
        from_photos: use the photo where it is there and the same; else the crop.
        made: how many templates were added.
        photos: how many vectors came from a photo.
        unreadable: template ids of faces whose crop does not open.
    """

    parts: Parts
    have: str
    card: EncoderCard
    from_photos: bool = False
    made: int = 0
    photos: int = 0
    unreadable: set[int] = field(default_factory=set)
    _last: tuple[str, Photo | None] = ("", None)  # a photo often shows several faces

    @cached_property
    def encoder(self) -> Encoder:
        """The network, opened when there is something to encode."""
        places = self.parts.places
        return open_network_encoder(self.card.name, device=places.device, runtime=places.runtime)

    def run(self, progress: Progress | None = None) -> None:
        """Encode what is waiting, a transaction a batch; continued by calling it again."""
        store, after, done = self.parts.store, 0, 0
        with store.read() as session:
            total = count_waiting(session, self.have, self.card.space)
        while True:
            with store.read() as session:
                waiting = waiting_faces(session, self.have, self.card.space, after, BATCH)
            if not waiting:
                return
            vectors = self.vectors(waiting)
            with store.begin() as session:
                self.made += add_twins(session, self.have, self.card.space, vectors)
            after, done = waiting[-1].template_id, done + len(waiting)
            if progress is not None:
                progress(done, max(total, done))

    def catch_up(self, session: Session) -> None:
        """The same within a transaction that writes, so that nothing is waiting at its end."""
        for waiting in self.batches(session):
            vectors = self.vectors(waiting)
            self.made += add_twins(session, self.have, self.card.space, vectors)

    def batches(self, session: Session) -> Iterator[list[WaitingFace]]:
        """The faces that are waiting, in one transaction."""
        after = 0
        while waiting := waiting_faces(session, self.have, self.card.space, after, BATCH):
            yield waiting
            after = waiting[-1].template_id

    def vectors(self, waiting: Sequence[WaitingFace]) -> dict[int, NDArray[np.float32]]:
        """Id of a face → its vector, float32 (D,); faces whose crop does not open are left out."""
        crops = [(one, self._crop(one)) for one in waiting]
        self.unreadable.update(one.template_id for one, crop in crops if crop is None)
        there = [(one, crop) for one, crop in crops if crop is not None]
        if not there:
            return {}
        vectors = self.encoder.encode([crop for _, crop in there]).vectors
        return {one.face_id: vector for (one, _), vector in zip(there, vectors, strict=True)}

    def _crop(self, one: WaitingFace) -> Crop | None:
        photo = self._photo(one) if self.from_photos else None
        if photo is not None:
            self.photos += 1
            return align(photo, _face(one), self.card.side)
        return stored_crop(one, self.card.side)

    def _photo(self, one: WaitingFace) -> Photo | None:
        """The photo of a face, where it is the file that was enrolled."""
        if self._last[0] != one.digest:
            self._last = (one.digest, _photo(one, self.parts.places.max_pixels))
        return self._last[1]


def require_same_crops(space: str, card: EncoderCard) -> None:
    """Make sure that an encoder looks at crops such as the gallery keeps.

    Args:
        space: the gallery's.
        card: the encoder.

    Raises:
        CropsUnfit: it looks at whole pictures and the gallery keeps faces, or the reverse.
    """
    for known in known_models():
        if known.space == space and known.alignment != card.alignment:
            raise CropsUnfit(card.name, card.alignment, known.alignment)


def stored_crop(one: WaitingFace, side: int) -> Crop | None:
    """The crop that a face was kept as, S × S pixels; None where it cannot be opened."""
    if one.crop is None:
        return None
    bgr = cv2.imdecode(np.frombuffer(one.crop, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None or bgr.shape[0] != bgr.shape[1]:
        return None
    if bgr.shape[0] != side:
        bgr = cv2.resize(bgr, (side, side), interpolation=cv2.INTER_AREA)
    pixels = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    return Crop(pixels, np.eye(2, 3), _face(one))


def _photo(one: WaitingFace, max_pixels: int) -> Photo | None:
    if not Path(one.source).is_file():
        return None
    try:
        encoded = read_bytes(Path(one.source))
        if encoded.digest != one.digest:
            return None
        return decode(encoded, max_pixels=max_pixels)
    except UnusablePhoto:
        return None


def _face(one: WaitingFace) -> Face:
    points = None if one.points is None else np.array(one.points, np.float32)
    return Face(np.array(one.box, np.float32), points, one.confidence)
