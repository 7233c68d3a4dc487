"""One word for what a person before a live camera should do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from embedder.admission import BYSTANDER
from embedder.embed import FoundFace
from embedder.quality import DEFAULT_GATE

# Shares of the picture's shorter side that a face should have before a gate's camera: nearer it is
# cut off, further away a passer-by is meant. They guide, and never decide.
NEAR: Final = 0.85
FAR: Final = 0.18
_SIDE: Final = 80.0  # pixels of a face from which nothing is gained
_STILL: Final = 2.0  # times the least sharpness of the gate
_AHEAD: Final = 25.0  # degrees


def guidance(faces: Sequence[FoundFace], width: int, height: int) -> str:
    """What to say.

    Args:
        faces: all of a picture.
        width: of the picture, pixels.
        height: of the picture, pixels.

    Returns:
        `no_face, one_face_only, closer, too_close, look_ahead, turn_to_light, hold_still` or `ok`.
    """
    if not faces:
        return "no_face"
    largest = max(faces, key=lambda face: face.quality.size)
    near = [f for f in faces if f.quality.size >= BYSTANDER * largest.quality.size]
    if len(near) > 1:
        return "one_face_only"
    quality, share = largest.quality, largest.quality.size / min(width, height)
    checks = (
        ("too_close", share > NEAR),
        ("closer", share < FAR and quality.size < _SIDE),
        ("look_ahead", abs(quality.yaw) > _AHEAD or abs(quality.pitch) > _AHEAD),
        ("turn_to_light", quality.contrast < 2 * DEFAULT_GATE.contrast
         or quality.clipped > DEFAULT_GATE.clipped / 2),
        ("hold_still", quality.sharpness < _STILL * DEFAULT_GATE.sharpness),
    )  # fmt: skip
    return next((word for word, holds in checks if holds), "ok")
