"""Simulated recaptures: what a camera sees of a face on paper or on a screen.

The gate of `verify.pad_passive` was fitted on these and is measured on these. They are simulations:
enough to tell whether a measure sees what it is meant to see and to find out that an installation
is broken, and no replacement for photographing prints and screens with the camera in use.

A medium shows the picture at several times its resolution, lies before the camera with a margin
and a slight perspective, and is taken through a lens (blur), a light (gradient), a sensor (noise,
sampling) and a JPEG. A bona fide picture can be sent through the same camera, so that nothing
learns the camera in place of the medium.

- print: inks lie in dots on rotated screens, one screen a colour (R. Ulichney, "Digital
  Halftoning", MIT Press, 1987), on paper that is neither white nor smooth, in a smaller gamut;
- screen: each pixel is three stripes in a black matrix; the camera's sampling of that grid gives
  moiré (D. Garcia, R. de Queiroz, IEEE TIFS 10(4), 2015); its light is bluish, its black is not
  black, and its glass reflects.

Letters: H rows, W columns.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
_FINER = 4  # how much finer than the camera a medium is drawn
_ANGLES = (15.0, 75.0, 0.0, 45.0)  # of the screens of cyan, magenta, yellow and black


@dataclass(frozen=True, slots=True)
class Camera:
    """What stands between a medium and a file.

    Attributes:
        blur: standard deviation of the lens's blur, pixels of the camera.
        noise: standard deviation of the sensor's noise, 0…1.
        quality: of the JPEG.
        margin: how much of the picture's side the surroundings take on each side; 0: none.
        tilt: perspective, share of the side by which a corner is off.
    """

    blur: float
    noise: float
    quality: int
    margin: float
    tilt: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Camera:
        """A camera at random."""
        return cls(
            blur=float(rng.uniform(0.3, 0.9)),
            noise=float(rng.uniform(0.004, 0.02)),
            quality=int(rng.integers(80, 96)),
            margin=float(rng.choice([0.0, 0.0, 0.06, 0.12])),
            tilt=float(rng.uniform(0.0, 0.04)),
        )


def retaken(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The same scene through another camera: no medium, no margin; still bona fide.

    Args:
        pixels: uint8 (H, W, 3) RGB.
        rng: where chance comes from.

    Returns:
        uint8 (H, W, 3) RGB.
    """
    camera = Camera.drawn(rng)
    straight = Camera(camera.blur, camera.noise, camera.quality, 0.0, 0.0)
    return _taken(_light(_unit(pixels), rng, 0.1), straight, rng, pixels.shape[:2])


def printed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A colour print with dots the camera can nearly resolve; arguments as `retaken`."""
    fine = _enlarged(_unit(pixels))
    paper = _papered(_halftone(fine, cell=float(rng.uniform(5.0, 11.0))), rng)
    return _recaptured(paper, pixels.shape[:2], rng, glare=0.1)


def photo_printed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A photographic print: no dots, only paper, gamut and blur; arguments as `retaken`."""
    return _recaptured(_papered(_enlarged(_unit(pixels)), rng), pixels.shape[:2], rng, glare=0.3)


def screened(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A screen whose pixels are near the size of the camera's; arguments as `retaken`."""
    return _screen(pixels, rng, pitch=float(rng.uniform(3.2, 7.0)))


def fine_screened(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A screen too fine for the camera to resolve: hardly moiré; arguments as `retaken`."""
    return _screen(pixels, rng, pitch=float(rng.uniform(1.4, 2.2)))


SPECIES: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "print": printed,
    "photo-print": photo_printed,
    "screen": screened,
    "fine-screen": fine_screened,
}


def _unit(pixels: Pixels) -> Floats:
    return np.asarray(pixels / 255.0, dtype=np.float32)


def _enlarged(picture: Floats) -> Floats:
    height, width = picture.shape[:2]
    size = (width * _FINER, height * _FINER)
    large = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
    return np.clip(large, 0, 1).astype(np.float32)


def _halftone(picture: Floats, cell: float) -> Floats:
    """Dots of four inks.

    Args:
        picture: float32 (H, W, 3), 0…1.
        cell: pitch of the screens in pixels of `picture`.
    """
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    black = 0.5 * (1.0 - picture.max(axis=2))
    inks = np.dstack([1.0 - picture - black[..., None], black])
    light, shares = np.ones_like(picture), np.linspace(0, 1, 33)
    for ink, angle in enumerate(_ANGLES):
        turn = np.radians(angle)
        u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        spot = 0.5 + 0.25 * (np.cos(2 * np.pi * u / cell) + np.cos(2 * np.pi * v / cell))
        # the share of paper under ink is the ink: the spot function by its quantiles
        asked = np.interp(inks[..., ink], shares, np.quantile(spot[::7, ::7], shares))
        dot = np.clip((asked - spot) * 8 + 0.5, 0, 1)  # a drop of ink has soft edges
        for channel in (ink,) if ink < 3 else (0, 1, 2):
            light[..., channel] *= 1.0 - dot
    return light.astype(np.float32)


def _papered(picture: Floats, rng: np.random.Generator) -> Floats:
    """The inks' gamut and the paper's tint and grain."""
    grey = picture.mean(axis=2, keepdims=True)
    kept = rng.uniform(0.7, 0.9)
    shown = grey + (picture - grey) * kept
    black, white = rng.uniform(0.06, 0.14), np.array([0.95, 0.94, 0.9]) * rng.uniform(0.93, 1.0)
    shown = black + shown * (white - black)
    grain = cv2.GaussianBlur(rng.normal(0, 1, shown.shape[:2]).astype(np.float32), (0, 0), 3.0)
    grained = shown + (rng.uniform(0.05, 0.15) * grain)[..., None]
    return np.asarray(np.clip(grained, 0, 1), dtype=np.float32)


def _screen(pixels: Pixels, rng: np.random.Generator, pitch: float) -> Pixels:
    """A screen with pixels of `pitch` drawn pixels."""
    fine = _enlarged(_unit(pixels)) ** np.float32(rng.uniform(0.85, 1.2))
    height, width = fine.shape[:2]
    turn = np.radians(rng.uniform(-4, 4))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    u = (x * np.cos(turn) + y * np.sin(turn)) / pitch
    v = (y * np.cos(turn) - x * np.sin(turn)) / pitch
    rows = 0.75 + 0.25 * np.cos(2 * np.pi * v)
    depth = rng.uniform(0.4, 0.8)
    stripes = [
        rows * (1 - depth + depth * np.cos(2 * np.pi * (u - shift / 3))) for shift in range(3)
    ]
    grid = np.clip(np.dstack(stripes), 0, None)
    lit = fine * grid / grid.mean() * np.array([0.92, 0.97, 1.05]) + rng.uniform(0.02, 0.08)
    return _recaptured(np.clip(lit, 0, 1.2).astype(np.float32), pixels.shape[:2], rng, glare=0.5)


def _recaptured(
    medium: Floats, size: tuple[int, int], rng: np.random.Generator, glare: float
) -> Pixels:
    """A medium before a camera; `glare` is how often it reflects a lamp."""
    lit = _light(medium, rng, 0.25)
    if rng.random() < glare:
        lit = _reflected(lit, rng)
    return _taken(lit, Camera.drawn(rng), rng, size)


def _light(picture: Floats, rng: np.random.Generator, strength: float) -> Floats:
    """Light that falls off to one side."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    falling = 1.0 + rng.uniform(0, strength) * (x * np.cos(turn) + y * np.sin(turn))
    return np.asarray(picture * falling[..., None], dtype=np.float32)


def _reflected(picture: Floats, rng: np.random.Generator) -> Floats:
    """The soft image of a lamp."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    at = rng.uniform(0.2, 0.8, 2) * (height, width)
    spread = rng.uniform(0.05, 0.2) * max(height, width)
    lamp = np.exp(-(((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * spread**2)))
    return np.asarray(picture + rng.uniform(0.1, 0.5) * lamp[..., None], dtype=np.float32)


def _taken(
    picture: Floats, camera: Camera, rng: np.random.Generator, size: tuple[int, int]
) -> Pixels:
    """A picture, float32 (h, w, 3) of any size, through a camera giving `size`: rows, columns."""
    height, width = size
    scale = picture.shape[0] / height
    around = 1 - 2 * camera.margin
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    source = (corners * (picture.shape[1], picture.shape[0])).astype(np.float32)
    target = camera.margin + corners * around + rng.uniform(-1, 1, (4, 2)) * camera.tilt
    if camera.margin == 0.0:  # the medium fills the frame: its edges stay outside
        target += (corners - 0.5) * 4 * camera.tilt
    warp = cv2.getPerspectiveTransform(source, (target * (width, height)).astype(np.float32))
    surroundings = rng.uniform(0.1, 0.9, 3).astype(np.float32)
    # the lens blurs before the sensor samples, so that a grid finer than the sensor aliases
    soft = cv2.GaussianBlur(picture, (0, 0), max(0.3, camera.blur * scale * 0.6))
    seen = cv2.warpPerspective(
        soft, warp, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
        borderValue=tuple(surroundings.tolist()),
    )  # fmt: skip
    noisy = np.clip(seen + rng.normal(0, camera.noise, seen.shape), 0, 1)
    file = io.BytesIO()
    Image.fromarray((noisy * 255).round().astype(np.uint8)).save(
        file, "JPEG", quality=camera.quality
    )
    return np.asarray(Image.open(file).convert("RGB"), dtype=np.uint8)
