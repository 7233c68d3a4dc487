"""Identify every face of photos, record what was answered.

Letters: M sites.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.admission import admit
from embedder.embed import FoundFace
from embedder.errors import UnusablePhoto
from embedder.photo import Photo, Source, printable
from embedder.quality import Gate
from store.facts import denied_people
from store.gallery import record_decision
from store.people import site_ids
from store.sync import refresh
from verify.explain import Explanation
from verify.explain import explain as explanation_of
from verify.identify import Identification, identify
from verify.neighbours import NEIGHBOURS
from verify.opening import Parts


@dataclass(frozen=True, slots=True)
class IdentifiedFace:
    """One face and who it is.

    Attributes:
        box: x, y, width, height in photo pixels.
        quality: its measures.
        who: the answer and the candidates.
        explanation: what the first candidate's answer rests on, where it was asked for.
    """

    box: tuple[float, float, float, float]
    quality: dict[str, float]
    who: Identification
    explanation: Explanation | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        box = [round(value, 1) for value in self.box]
        told = {} if self.explanation is None else {"explanation": self.explanation.to_dict()}
        return {"box": box, "quality": self.quality, **self.who.to_dict(), **told}


@dataclass(frozen=True, slots=True)
class IdentifiedPhoto:
    """A photo and who is in it.

    Attributes:
        source: where it came from.
        faces: its usable faces, image-left first.
        reason: where there are none, a code (`face_not_found`, `not_an_image`, …), else None.
        detail: the reason in words.
    """

    source: str
    faces: tuple[IdentifiedFace, ...]
    reason: str | None = None
    detail: str = ""

    @property
    def answer(self) -> str:
        """Yes when somebody is known, unsure when somebody may be, else no."""
        answers = {face.who.answer for face in self.faces}
        return next((a for a in ("yes", "unsure") if a in answers), "no")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "source": self.source,
            "answer": self.answer,
            "reason": self.reason,
            "detail": self.detail,
            "faces": [face.to_dict() for face in self.faces],
        }


def identify_photos(
    parts: Parts,
    sources: Iterable[Source],
    *,
    fpir: float | None = None,
    k: int = NEIGHBOURS,
    sites: list[str] | None = None,
    on_multiple: str = "all",
    gate: Gate | None = None,
    unsure: float | None = None,
    extrapolate: bool = False,
    explain: bool = False,
) -> Iterator[IdentifiedPhoto]:
    """Identify the faces of photos, one photo after the other.

    A picture that cannot be used gives a result with its reason, so that one bad file does not
    end a batch.

    Args:
        parts: the gallery.
        sources: paths, bytes, arrays or PIL images.
        fpir: the asked false-positive identification rate; see `verify.identify.gallery_rule`.
        k: how many templates to look at for each face.
        sites: names of the sites to search; None: all.
        on_multiple: which faces of a photo: `all`, `largest`, `centre`, `reject`.
        gate: the least quality; None: the default gate.
        unsure: the rate up to which the answer is "unsure"; None: ten times the asked one.
        extrapolate: answer at rates beyond what the calibration's counts show, and say so.
        explain: gather what the answer about the first candidate rests on.

    Raises:
        UnsupportedRate, NoCalibration: the rate cannot be promised.
        SpaceMismatch: the gallery is of another space.
    """
    within = _site_array(parts, sites)
    rate = {
        "fpir": fpir, "k": k, "within": within, "unsure": unsure, "extrapolate": extrapolate,
    }  # fmt: skip
    for source in sources:
        try:
            photo = parts.embedder.read(source)
        except UnusablePhoto as error:
            name = source if isinstance(source, (str, os.PathLike)) else "picture"
            yield IdentifiedPhoto(printable(name), (), error.reason, str(error))
            continue
        faces = parts.embedder.faces(photo, on_multiple)
        admission = admit(faces, on_multiple, Gate() if gate is None else gate)
        chosen = sorted(admission.faces, key=lambda face: float(face.crop.face.box[0]))
        found = tuple(_identify(parts, chosen, photo, rate, explain)) if chosen else ()
        yield IdentifiedPhoto(photo.source, found, admission.reason, admission.detail)


def _identify(
    parts: Parts, faces: list[FoundFace], photo: Photo, rate: dict[str, Any], explain: bool
) -> Iterator[IdentifiedFace]:
    vectors = parts.embedder.encode(faces).vectors
    refresh(parts.index)  # a program that runs for long finds who was enrolled since
    with parts.store.read() as session:
        denied = denied_people(session, photo.digest, parts.card.space, vectors)
        answers = identify(vectors, parts.index, session, parts.calibration, denied=denied, **rate)
    calibration_id = parts.calibration_id
    with parts.store.begin() as session:
        for who in answers:
            first = who.candidates[0] if who.candidates else None
            record_decision(
                session, kind="identify", answer=who.answer, space=parts.card.space,
                source=photo.source, similarity=None if first is None else first.similarity,
                threshold=who.threshold, fmr=who.fpir, calibration_id=calibration_id,
                person_id=who.person_id, unsure_above=who.unsure_above,
                extrapolated=who.extrapolated,
            )  # fmt: skip
    for i, (face, who) in enumerate(zip(faces, answers, strict=True)):
        x, y, w, h = (float(value) for value in face.crop.face.box)
        told = _explain(parts, face, vectors[i : i + 1], who, rate["within"]) if explain else None
        yield IdentifiedFace((x, y, w, h), face.quality.to_dict(), who, told)


def _explain(
    parts: Parts,
    face: FoundFace,
    vector: NDArray[np.float32],
    who: Identification,
    within: NDArray[np.int64] | None,
) -> Explanation | None:
    """What the answer about the first candidate rests on; None for an empty gallery.

    Args:
        parts: the gallery.
        face: the face.
        vector: float32 (1, D), its unit vector.
        who: the answer.
        within: int64 (M,), ids of the sites searched; None: all.
    """
    if not who.candidates:
        return None
    first = who.candidates[0]
    return explanation_of(
        parts, first.person_id, vector, (face,), similarity=first.similarity,
        comparisons=who.gallery_size, within=within,
    )  # fmt: skip


def _site_array(parts: Parts, sites: list[str] | None) -> NDArray[np.int64] | None:
    """Ids of sites, int64 (M,); None for all."""
    if sites is None:
        return None
    with parts.store.read() as session:
        return np.array(site_ids(session, sites), dtype=np.int64)
