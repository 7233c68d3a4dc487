"""Face to Crop: a similarity transform of five points onto the reference points.

Letters: P = 5 points, S crop side.

Least-squares similarity (rotation, scale, shift, no reflection): S. Umeyama, "Least-squares
estimation of transformation parameters between two point patterns", IEEE TPAMI 13(4), 1991.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from embedder.arrays import expect
from embedder.detect import Face
from embedder.photo import Photo, Room

SIDE = 112
GREY = 127  # beside a thing in its crop
_ENOUGH = 0.5  # pixels of the crop to one of the photo, at which a bilinear warp does not alias
# Eyes, nose tip, mouth corners, image-left first, in a 112×112 crop.
REFERENCE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    dtype=np.float64,
)


@dataclass(frozen=True, slots=True)
class Crop:
    """An aligned picture, ready for the encoder.

    Attributes:
        pixels: uint8 (S, S, 3), RGB, 0…255.
        warp: float64 (2, 3), photo pixels → crop pixels.
        face: the face it was cut for.
    """

    pixels: NDArray[np.uint8]
    warp: NDArray[np.float64]
    face: Face

    def __post_init__(self) -> None:
        expect(self.pixels, np.uint8, (None, self.pixels.shape[0], 3), "Crop.pixels")
        expect(self.warp, np.float64, (2, 3), "Crop.warp")


def similarity_transform(
    source: NDArray[np.floating], target: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The rotation, scale and shift that bring points nearest to others (least squares).

    Args:
        source: float (P, 2) points.
        target: float (P, 2) points they should land on.

    Returns:
        float64 (2, 3): multiply with (x, y, 1).
    """
    centre_s, centre_t = source.mean(axis=0), target.mean(axis=0)
    s, t = source - centre_s, target - centre_t
    spread = max(float((s**2).sum()), np.finfo(np.float64).tiny)
    # A similarity without reflection in the plane is one complex number a + ib.
    a = float((s * t).sum()) / spread
    b = float((s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0]).sum()) / spread
    turn = np.array([[a, -b], [b, a]], dtype=np.float64)
    return np.column_stack([turn, centre_t - turn @ centre_s])


def align(photo: Photo, face: Face, side: int = SIDE) -> Crop:
    """Cut a face out of its photo, upright and at a fixed size; the border is replicated.

    A face without points (detector `whole`) becomes its box, resized with its aspect ratio
    kept and the rest grey (docs/encoders.md compares this with other ways).

    Args:
        photo: the picture the face was found in.
        face: the face.
        side: S, the side of the crop in pixels.

    Returns:
        Crop with pixels uint8 (S, S, 3).
    """
    if face.points is None:
        warp = _fit_box(face, side)
        pixels = _warp(photo.pixels, warp, side)
        return Crop(_grey_outside(pixels, warp, face), warp, face)
    warp = _fit_points(face.points, side)
    return Crop(_warp(photo.pixels, warp, side), warp, face)


def align_all(
    photo: Photo, faces: Sequence[Face], side: int = SIDE, room: Room | None = None
) -> list[Crop]:
    """Cut faces out of a photo that may have been decoded at a reduced size.

    A face is cut out of the reduced photo where it has twice the pixels of the crop there, as
    `align` leaves it with when it shrinks a large face; else the photo is decoded whole, once.

    Args:
        photo: the picture the faces were found in.
        faces: F of them, in its pixels; with points where it is reduced.
        side: S, the side of the crops in pixels.
        room: is asked for memory before the photo is decoded whole.

    Returns:
        F crops; their faces and warps are told in pixels of the file.
    """
    if photo.reduced == 1:
        return [align(photo, face, side) for face in faces]
    crops = [_from_reduced(photo, face, side) for face in faces]
    if None in crops:
        whole = photo.whole(room)
        full = [face.enlarged(photo.reduced) for face in faces]
        crops = [
            align(whole, face, side) if crop is None else crop
            for face, crop in zip(full, crops, strict=True)
        ]
    return [crop for crop in crops if crop is not None]


def _from_reduced(photo: Photo, face: Face, side: int) -> Crop | None:
    """A face cut out of a reduced photo; None where it has too few pixels there."""
    factor, full = photo.reduced, face.enlarged(photo.reduced)
    if full.points is None:
        return None
    warp = _fit_points(full.points, side)
    turn = warp[:, :2]
    # pixel centres: x_full = factor · x_reduced + (factor − 1) / 2
    shift = turn @ np.full(2, (factor - 1) / 2) + warp[:, 2]
    inner = np.column_stack([turn * factor, shift])
    if _scale(inner) > _ENOUGH:
        return None
    return Crop(_warp(photo.pixels, inner, side), warp, full)


def _fit_points(points: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    """The warp, float64 (2, 3), that brings points, float32 (5, 2), onto the reference points."""
    return similarity_transform(points.astype(np.float64), REFERENCE * (side / SIDE))


def _scale(warp: NDArray[np.float64]) -> float:
    """Pixels of the crop to one of the photo, of a warp float64 (2, 3)."""
    return float(np.hypot(warp[0, 0], warp[1, 0]))


def _fit_box(face: Face, side: int) -> NDArray[np.float64]:
    x, y, w, h = (float(v) for v in face.box)
    scale = side / max(w, h)
    # pixel centres: the middle of the box lands on the middle of the crop
    shift = (side - 1) / 2 - scale * (np.array([x + w / 2, y + h / 2]) - 0.5)
    return np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])


def _grey_outside(
    pixels: NDArray[np.uint8], warp: NDArray[np.float64], face: Face
) -> NDArray[np.uint8]:
    """A crop, uint8 (S, S, 3), with everything outside the box of its thing made grey.

    Args:
        pixels: the crop.
        warp: float64 (2, 3), photo → crop.
        face: whose box it is.
    """
    low = warp @ np.append(face.box[:2] - 0.5, 1.0) + 0.5  # edges of pixels, not their centres
    high = warp @ np.append(face.box[:2] + face.box[2:] - 0.5, 1.0) + 0.5
    left, top, right, bottom = np.rint(np.concatenate([low, high])).astype(int)
    inside = np.s_[max(top, 0) : max(bottom, top + 1), max(left, 0) : max(right, left + 1)]
    filled = np.full_like(pixels, GREY)
    filled[inside] = pixels[inside]
    return filled


def _warp(pixels: NDArray[np.uint8], warp: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """Warp a photo into a crop; a face much larger than the crop is shrunk by area first.

    Args:
        pixels: uint8 (H, W, 3).
        warp: float64 (2, 3), photo → crop.
        side: S.

    Returns:
        uint8 (S, S, 3).
    """
    scale = _scale(warp)
    if scale >= _ENOUGH:
        return _sample(pixels, warp, side)
    region, offset = _region(pixels, warp, side)
    shrink = 2 * scale  # leaves a factor of two to the bilinear warp: no aliasing
    height, width = region.shape[:2]
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = cv2.resize(region, size, interpolation=cv2.INTER_AREA)
    ratio = np.array([size[0] / width, size[1] / height])
    turn = warp[:, :2] / ratio
    # pixel centres: x_small + ½ = (x_region + ½) · ratio, and x = x_region + offset
    shift = warp[:, :2] @ (offset + 0.5 / ratio - 0.5) + warp[:, 2]
    return _sample(small.astype(np.uint8, copy=False), np.column_stack([turn, shift]), side)


def _region(
    pixels: NDArray[np.uint8], warp: NDArray[np.float64], side: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The part of the photo under the crop, with a margin, and its top left corner (2,)."""
    back = cv2.invertAffineTransform(warp)
    corners = np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]]) @ back.T
    margin = 2 / max(_scale(warp), 1e-9)
    height, width = pixels.shape[:2]
    low = np.clip(np.floor(corners.min(axis=0) - margin), 0, [width - 1, height - 1]).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0) + margin), low + 1, [width, height]).astype(int)
    return pixels[low[1] : high[1], low[0] : high[0]], low.astype(np.float64)


def _sample(pixels: NDArray[np.uint8], warp: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    out = cv2.warpAffine(
        pixels, warp, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return out.astype(np.uint8, copy=False)
