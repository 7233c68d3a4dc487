"""How fit a face is for comparison, in numbers with units, and the reasons where it is not.

Letters: S crop side, P = 5 points.

The limits of `Gate` were set on photographs of the development people: see docs/quality.md.
They guard enrolment and captures against pictures that say nothing; they never decide who
somebody is. Terms follow ISO/IEC 29794-5 (face image quality).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from embedder.align import Crop

# A plain head in millimetres, x to image right, y down, z to the camera; image-left first.
_HEAD = np.array(
    [
        [-32.0, -34.0, -32.0],
        [32.0, -34.0, -32.0],
        [0.0, 4.0, 0.0],
        [-25.0, 34.0, -28.0],
        [25.0, 34.0, -28.0],
    ]
)
_SIDE = 112  # the side of crops the limits were set on; larger ones are shrunk to it
_INNER = slice(16, 96)  # the face without its surroundings in a crop of 112


@dataclass(frozen=True, slots=True)
class Quality:
    """Measures of one face.

    Attributes:
        size: side of the face in photo pixels (square root of the box's area).
        confidence: the detector's, 0…1.
        sharpness: standard deviation of the Laplacian of the crop over the standard deviation
            of its grey values; 0 is a flat blur, a sharp face about 0.3 and more.
        brightness: mean grey value of the face, 0…1.
        contrast: standard deviation of the grey values, 0…0.5.
        clipped: share of pixels burnt out or drowned in black, 0…1.
        yaw, pitch, roll: head pose in degrees; positive to image right, up, clockwise.
            Estimated from five points: good to about ten degrees. 0 for pictures of things.
    """

    size: float
    confidence: float
    sharpness: float
    brightness: float
    contrast: float
    clipped: float
    yaw: float
    pitch: float
    roll: float

    def to_dict(self) -> dict[str, float]:
        """The measures, rounded, as plain JSON values."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Gate:
    """What a face must have to be enrolled or compared.

    Attributes:
        size: least side in photo pixels.
        confidence: least confidence of the detector.
        sharpness: least sharpness.
        contrast: least contrast.
        clipped: largest share of clipped pixels.
        yaw, pitch: largest turn to either side, degrees.
    """

    size: float = 20.0
    confidence: float = 0.6
    sharpness: float = 0.05
    contrast: float = 0.04
    clipped: float = 0.6
    yaw: float = 65.0
    pitch: float = 50.0

    def reasons(self, quality: Quality) -> list[str]:
        """Reason codes of what falls short: `face_too_small, low_quality, extreme_pose`.

        Empty when the face is good enough.
        """
        poor = (
            quality.confidence < self.confidence
            or quality.sharpness < self.sharpness
            or quality.contrast < self.contrast
            or quality.clipped > self.clipped
        )
        turned = abs(quality.yaw) > self.yaw or abs(quality.pitch) > self.pitch
        found = {
            "face_too_small": quality.size < self.size,
            "low_quality": poor,
            "extreme_pose": turned,
        }
        return [reason for reason, holds in found.items() if holds]


DEFAULT_GATE = Gate()
OPEN_GATE = Gate(0.0, 0.0, 0.0, 0.0, 1.0, 180.0, 180.0)


def measure(crop: Crop) -> Quality:
    """Quality measures of an aligned face, or of a picture of a thing."""
    # In floats and before the cut: rounding and a mirrored border would look like sharp edges.
    whole = cv2.cvtColor(crop.pixels.astype(np.float32), cv2.COLOR_RGB2GRAY)
    if len(whole) != _SIDE:
        whole = cv2.resize(whole, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    grey = whole[_INNER, _INNER]
    deviation = float(grey.std())
    edges = float(cv2.Laplacian(whole, cv2.CV_32F)[_INNER, _INNER].std())
    yaw, pitch, roll = (0.0, 0.0, 0.0) if crop.face.points is None else pose(crop.face.points)
    return Quality(
        size=float(np.sqrt(max(crop.face.box[2] * crop.face.box[3], 0.0))),
        confidence=crop.face.confidence,
        sharpness=edges / max(deviation, 1.0),
        brightness=float(grey.mean()) / 255,
        contrast=deviation / 255,
        clipped=float(((grey <= 2) | (grey >= 253)).mean()),
        yaw=yaw,
        pitch=pitch,
        roll=roll,
    )


def pose(points: NDArray[np.float32]) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees from five points.

    A weak-perspective camera is fitted to a plain head (least squares) and its rotation read
    off: DeMenthon and Davis, "Model-based object pose in 25 lines of code", IJCV 15, 1995.

    Args:
        points: float32 (5, 2), image-left first.
    """
    seen = points.astype(np.float64) - points.mean(axis=0)
    head = _HEAD - _HEAD.mean(axis=0)
    camera = np.linalg.lstsq(head, seen, rcond=None)[0].T  # (2, 3): scaled first rows of a rotation
    left, _, right = np.linalg.svd(np.vstack([camera, np.cross(camera[0], camera[1])]))
    turn = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
    yaw = np.degrees(np.arctan2(turn[0, 2], np.hypot(turn[0, 0], turn[0, 1])))
    pitch = np.degrees(np.arctan2(-turn[1, 2], turn[2, 2]))
    roll = np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))
    return float(yaw), float(pitch), float(roll)
