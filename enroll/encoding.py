"""Named photos to vectors: what every engine of enrolment does, and what it hands to the store.

    NamedPhoto ─look─▶ Looked ─admit─▶ faces that may be enrolled ─encode─▶ Encoded

An engine decides where that is done: in this process, or on a cluster (`enroll.ray_engine`). What
is stored is decided in one place, `enroll.person`, and does not depend on it.

Letters: N faces, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from embedder.admission import admit
from embedder.embed import Embedder, FoundFace
from embedder.quality import Gate
from enroll.folder import NamedPhoto
from enroll.intake import Looked
from verify.opening import Parts


@dataclass(frozen=True, slots=True)
class Admitted:
    """What came of the faces of a photo that was looked at.

    Attributes:
        faces: those that may be enrolled.
        vectors: float32 (N, D), their vectors, unit rows.
        reason: where there is none, the code of the reason; see `embedder.admission`.
        detail: the reason in words.
    """

    faces: tuple[FoundFace, ...]
    vectors: NDArray[np.float32]
    reason: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A photo, ready to be stored.

    Attributes:
        looked: what was seen.
        name: the person it is said to show.
        admitted: its faces; None where it could not be used or was known already.
    """

    looked: Looked
    name: str
    admitted: Admitted | None


@dataclass(frozen=True, slots=True)
class Work:
    """What an engine is told.

    Attributes:
        parts: the gallery; an engine only reads from it.
        rule: which faces of a photo; see `EnrolmentRules.on_multiple`.
        gate: the least quality.
        jobs: threads; None: one a core.
        are_done: which photos of these digests need not be decoded; called from any thread.
    """

    parts: Parts
    rule: str
    gate: Gate
    jobs: int | None
    are_done: Callable[[Sequence[str]], AbstractSet[str]]

    def is_done(self, digest: str) -> bool:
        """Whether the photo of a digest need not be decoded."""
        return digest in self.are_done([digest])


class Engine(Protocol):
    """Where photos are looked at and encoded."""

    def encoded(self, photos: Sequence[NamedPhoto], work: Work) -> Iterator[Encoded]:
        """Look at photos and encode them: one result a photo, in their order.

        It is a generator; closing it ends what is under way.
        """
        ...


def admit_all(
    photos: Sequence[Looked], embedder: Embedder, rule: str, gate: Gate
) -> list[Admitted | None]:
    """Choose the faces that may be enrolled and encode them together.

    Args:
        photos: what was seen.
        embedder: encodes.
        rule: see `Work.rule`.
        gate: the least quality.

    Returns:
        one a photo; None for those that could not be used or were known already.
    """
    judged = [
        admit(photo.faces, rule, gate) if photo.error is None and not photo.known else None
        for photo in photos
    ]
    vectors = embedder.encode([f for one in judged if one is not None for f in one.faces]).vectors
    found: list[Admitted | None] = []
    start = 0
    for one in judged:
        count = 0 if one is None else len(one.faces)
        own = vectors[start : start + count]
        found.append(None if one is None else Admitted(one.faces, own, one.reason, one.detail))
        start += count
    return found
