"""Which faces of a photo may be used, and the reason where none may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from embedder.embed import FoundFace
from embedder.quality import Gate

# Under `reject`, a bystander whose face is less than this share of the largest face's side does
# not make a photo ambiguous: nobody mistakes who the photo is of.
BYSTANDER = 0.5


@dataclass(frozen=True, slots=True)
class Admission:
    """What came of a photo's faces.

    Attributes:
        faces: those that may be used.
        reason: where there is none, a code: `face_not_found, multiple_faces, face_too_small,
            low_quality, extreme_pose`; else None.
        detail: the reason in words, or "".
    """

    faces: tuple[FoundFace, ...]
    reason: str | None = None
    detail: str = ""


def admit(found: Sequence[FoundFace], rule: str, gate: Gate) -> Admission:
    """Choose the faces of a photo that may be used.

    Args:
        found: the faces of the photo, after the rules `largest` and `centre` chose theirs.
        rule: under `reject` several faces of comparable size are refused.
        gate: the least quality.
    """
    if not found:
        return Admission((), "face_not_found", "no face was found")
    if rule == "reject":
        largest = max(face.quality.size for face in found)
        rivals = [face for face in found if face.quality.size >= BYSTANDER * largest]
        if len(rivals) > 1:
            return Admission((), "multiple_faces", f"{len(rivals)} faces of comparable size")
        found = rivals
    good = tuple(face for face in found if not _reasons(face, gate))
    if good:
        return Admission(good)
    best = max(found, key=lambda face: face.quality.size)
    reasons = _reasons(best, gate)
    return Admission((), reasons[0], _describe(best, reasons))


def _reasons(face: FoundFace, gate: Gate) -> list[str]:
    """What a face falls short of; a thing may lie on plain white or black."""
    of_a_thing = face.crop.face.points is None
    return (replace(gate, clipped=1.0) if of_a_thing else gate).reasons(face.quality)


def _describe(face: FoundFace, reasons: Sequence[str]) -> str:
    q = face.quality
    words = {
        "face_too_small": f"the face is {q.size:.0f} pixels wide",
        "low_quality": f"sharpness {q.sharpness:.2f}, contrast {q.contrast:.2f}, "
        f"clipped {q.clipped:.0%}, confidence {q.confidence:.2f}",
        "extreme_pose": f"the head is turned {q.yaw:.0f}° to the side, {q.pitch:.0f}° up",
    }
    return "; ".join(words[reason] for reason in reasons)
