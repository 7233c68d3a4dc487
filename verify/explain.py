"""Why an answer is what it is: the nearest photos, the next person, rates and quality.

Letters: F frames, M templates, D dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.embed import FoundFace
from store.photos import origins
from store.templates import owners, vectors_of
from verify.calibration import Calibration
from verify.opening import Parts

NEAREST = 3
_LARGEST_K = 2048  # the most neighbours that every engine gives


@dataclass(frozen=True, slots=True)
class Nearest:
    """One of the templates nearest to the probe.

    Attributes:
        template: its id.
        similarity: −1…1; of a capture of several frames, their mean.
        photo: where the photo behind it came from.
        quality: the measures of its face that were kept, or None.
    """

    template: int
    similarity: float
    photo: str
    quality: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "template": self.template,
            "similarity": round(self.similarity, 6),
            "photo": self.photo,
            "quality": self.quality,
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an answer rests on.

    Attributes:
        nearest: the person's templates nearest to the probe, the most similar first.
        next_person: the most similar other person of the same sites, or None where there is none.
        next_similarity: how similar, −1…1, or None.
        similarity: of the person the answer is about.
        probability: that this is the person, were half of all claims true; None without mated
            comparisons in the calibration.
        fmr: how often a stranger would be as similar to one of the templates compared.
        fmr_is_limit: whether `fmr` is only an upper limit, because too few strangers of the
            calibration were as similar for a rate.
        fnmr: how often a photo of the person would be less similar; None as for `probability`.
        comparisons: how many templates `fmr` is over.
        quality: measures of the probe's faces, one a frame.
        calibration: the data of the curve.
    """

    nearest: tuple[Nearest, ...]
    next_person: str | None
    next_similarity: float | None
    similarity: float
    probability: float | None
    fmr: float
    fmr_is_limit: bool
    fnmr: float | None
    comparisons: int
    quality: tuple[dict[str, float], ...]
    calibration: str

    @property
    def margin(self) -> float | None:
        """How much more similar the person is than the next; negative where less."""
        return None if self.next_similarity is None else self.similarity - self.next_similarity

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "nearest": [one.to_dict() for one in self.nearest],
            "next_person": self.next_person,
            "next_similarity": _rounded(self.next_similarity),
            "margin": _rounded(self.margin),
            "probability": _rounded(self.probability),
            "prior": 0.5,
            "fmr_at_similarity": self.fmr,
            "fmr_is_limit": self.fmr_is_limit,
            "fnmr_at_similarity": self.fnmr,
            "comparisons": self.comparisons,
            "quality": list(self.quality),
            "calibration": self.calibration,
        }

    def lines(self) -> list[str]:
        """The same as sentences for people."""
        told = [f"nearest {one.similarity:.3f}  {one.photo}" for one in self.nearest]
        if self.margin is not None:
            told.append(f"margin {self.margin:+.3f} to the next person, {self.next_person}")
        if self.probability is not None:
            told.append(f"probability {self.probability:.4f}, were half of all claims true")
        sign = "<" if self.fmr_is_limit else ""
        over = f" over {self.comparisons} templates" if self.comparisons > 1 else ""
        told.append(f"a stranger is as similar at a rate of {sign}{self.fmr:.2g}{over}")
        if self.fnmr is not None:
            told.append(f"a photo of the same person is less similar at a rate of {self.fnmr:.2g}")
        told += [
            f"probe: {q['size']:.0f} px, sharpness {q['sharpness']:.2f}, yaw {q['yaw']:+.0f}°, "
            f"pitch {q['pitch']:+.0f}°"
            for q in self.quality[:1]
        ]
        return [*told, f"calibration: {self.calibration}"]


def explain(
    parts: Parts,
    person_id: int,
    probe: NDArray[np.float32],
    faces: Sequence[FoundFace],
    *,
    similarity: float,
    comparisons: int,
    within: NDArray[np.int64] | None = None,
) -> Explanation:
    """Gather what an answer about a person rests on.

    Args:
        parts: the gallery.
        person_id: whom the answer is about.
        probe: float32 (F, D), unit rows: the frames of the capture.
        faces: the F faces behind them.
        similarity: what the answer was given on.
        comparisons: how many templates the rate is over.
        within: int64, ids of the sites in which the next person is looked for; None: all.
    """
    mean = probe.mean(axis=0)
    with parts.store.read() as session:
        ids, templates = vectors_of(session, person_id, parts.card.space)
        similarities = templates @ mean
        order = np.argsort(-similarities, kind="stable")[:NEAREST]
        photos = origins(session, ids[order].tolist())
    other = _next_person(parts, person_id, mean, len(ids), within)
    fmr, limit = rate_at(parts.calibration, similarity, comparisons)
    return Explanation(
        nearest=tuple(
            Nearest(
                int(ids[i]), float(similarities[i]), photos[ids[i]].source, photos[ids[i]].quality
            )
            for i in order
        ),
        next_person=None if other is None else other[0],
        next_similarity=None if other is None else other[1],
        similarity=similarity,
        probability=parts.calibration.probability_at(similarity),
        fmr=fmr,
        fmr_is_limit=limit,
        fnmr=parts.calibration.fnmr_at(similarity),
        comparisons=comparisons,
        quality=tuple(face.quality.to_dict() for face in faces),
        calibration=f"{parts.calibration.source}, {parts.calibration.digest[:12]}",
    )


def rate_at(calibration: Calibration, similarity: float, comparisons: int) -> tuple[float, bool]:
    """How often a stranger is at least this similar to one of several templates.

    Args:
        calibration: the curve.
        similarity: −1…1.
        comparisons: how many templates.

    Returns:
        The rate, 0…1, and whether it is only an upper limit, by the rule of three.
    """
    counted = calibration.fmr_at(similarity)
    each = max(counted, min(calibration.smallest_fmr, 1.0))
    rate = 1.0 if each >= 1.0 else -math.expm1(comparisons * math.log1p(-each))
    return rate, counted < each


def _next_person(
    parts: Parts,
    person_id: int,
    mean: NDArray[np.float32],
    own: int,
    within: NDArray[np.int64] | None,
) -> tuple[str, float] | None:
    """Name and similarity of the most similar person beside one who has `own` templates."""
    length = float(np.linalg.norm(mean))
    size = len(parts.index)
    if size == 0 or length == 0.0:
        return None
    query = (mean / length)[None].astype(np.float32)
    hits = parts.index.search(query, min(own + 1, size, _LARGEST_K), within)[0]
    with parts.store.read() as session:
        whose = owners(session, [template for template, _ in hits])
    for template, similarity in hits:
        owner = whose.get(template)
        if owner is not None and owner.person_id != person_id:
            return owner.name, similarity * length
    return None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
