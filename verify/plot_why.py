"""`vultus plot --why A B`: two photos, their similarity, and what it rests on in each.

Letters: S crop side.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from embedder.embed import FoundFace
from embedder.photo import Source
from verify.chart_pictures import ending
from verify.decision import DEFAULT_FMR, Answer, rule_at
from verify.errors import NoCalibration, PlotUnusable, UnsupportedRate
from verify.occlusion import PATCH, STEP, OcclusionMap, occlusion_maps
from verify.opening import Parts

FORMAT = "vultus-why-1"


@dataclass(frozen=True, slots=True, eq=False)
class Why:
    """A pair and what its similarity rests on.

    Attributes:
        files: the ends of the two paths.
        similarity: of the two, −1…1.
        maps: one for each photo.
        space: the vector space.
        threshold: the similarity asked for "yes"; None where no calibration gives one.
        fmr: the false-match rate it stands for.
        answer: yes, no or unsure; None without a threshold.
        doubt: why there is no threshold, or what speaks against it; "" where nothing does.
    """

    files: tuple[str, str]
    similarity: float
    maps: tuple[OcclusionMap, OcclusionMap]
    space: str
    threshold: float | None
    fmr: float
    answer: Answer | None
    doubt: str

    @property
    def title(self) -> str:
        """One line: similarity, threshold, answer."""
        told = f"similarity {self.similarity:.3f}"
        if self.threshold is None:
            return f"{told}; no threshold: {self.doubt}"
        at = f"threshold {self.threshold:.3f} at false-match rate {self.fmr:.2g}"
        return f"{told}; {at}: {self.answer}"

    @property
    def largest(self) -> float:
        """The largest size of a pixel's mean drop in either map: the end of the colour scale."""
        return max(float(abs(one.heat()).max()) for one in self.maps)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        ends = zip(self.files, self.maps, strict=True)
        return {
            "format": FORMAT,
            "similarity": round(self.similarity, 6),
            "threshold": self.threshold,
            "fmr": self.fmr,
            "answer": self.answer,
            "doubt": self.doubt,
            "model": self.space,
            "maps": [{"file": file, **one.to_dict()} for file, one in ends],
        }

    def rows(self) -> list[tuple[object, ...]]:
        """A head, then one row a place of the patch: photo, left, top, side, drop."""
        found: list[tuple[object, ...]] = [("file", "left", "top", "side", "drop")]
        for file, one in zip(self.files, self.maps, strict=True):
            found += [
                (file, left, top, one.patch, round(float(one.drops[i, j]), 6))
                for i, top in enumerate(one.tops.tolist())
                for j, left in enumerate(one.lefts.tolist())
            ]
        return found


def why(
    parts: Parts, first: Source, second: Source, *, fmr: float = DEFAULT_FMR,
    rule: str = "centre", patch: float = PATCH, step: float = STEP,
) -> Why:  # fmt: skip
    """Find out what the similarity of two photos rests on.

    Args:
        parts: encoder, detector, calibration.
        first: a photo.
        second: another.
        fmr: the false-match rate whose threshold is told.
        rule: which face of a photo with several: `centre` or `largest`.
        patch: side of the patch as a share of the crop's.
        step: how far it moves, as a share of the crop's side.

    Raises:
        PlotUnusable: a photo shows no face.
        UnusablePhoto: a photo that cannot be read.
    """
    faces = [_face(parts, source, rule) for source in (first, second)]
    crops = [face.crop for face in faces]
    similarity, one, other = occlusion_maps(
        parts.embedder.encoder, crops[0], crops[1], patch=patch, step=step
    )
    threshold, answer, doubt = _decision(parts, similarity, fmr)
    return Why(
        (_name(first), _name(second)), similarity, (one, other), parts.card.space, threshold, fmr,
        answer, doubt,
    )  # fmt: skip


def _name(source: Source) -> str:
    """The end of a path; of what is no file, "picture"."""
    return ending(str(source)) if isinstance(source, str | os.PathLike) else "picture"


def _face(parts: Parts, source: Source, rule: str) -> FoundFace:
    found = parts.embedder.faces(parts.embedder.read(source), rule)
    if not found:
        raise PlotUnusable(
            f"{_name(source)} shows no face: give another photo, or --detector whole for things."
        )
    return found[0]


def _decision(
    parts: Parts, similarity: float, fmr: float
) -> tuple[float | None, Answer | None, str]:
    """Threshold, answer, and doubts about them."""
    try:
        rule = rule_at(parts.calibration, fmr)
    except NoCalibration:
        return None, None, f"no calibration for {parts.card.space} (vultus calibrate)"
    except UnsupportedRate:
        return None, None, f"the calibration does not support {fmr:.2g}"
    doubt = ""
    if parts.detector == "whole" and parts.calibration_id is None:
        doubt = "the threshold is that of faces, not of whole pictures"
    return rule.threshold, rule.answer(similarity), doubt
