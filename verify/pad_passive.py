"""A heuristic against simulated recaptures: is this a face, or a print or screen of one?

It looks at single frames with a handful of measures of long standing, weighs them by a logistic
regression that was fitted on simulations (`verify.pad_recapture`), and compares the sum with two
thresholds chosen on bona fide pictures of other people. It is no certified presentation attack
detection: it knows nothing of masks, of good replays, of what is fed in behind the camera, and
docs/pad.md tells how much of what it was made for it misses.

| measure | what it sees | after |
|---|---|---|
| peaks, chroma_peaks | dots, pixel grids and their moiré, as peaks of the spectrum of light and of colour | D. C. Garcia, R. L. de Queiroz, "Face-spoofing 2D-detection based on moiré-pattern analysis", IEEE TIFS 10(4), 2015 |
| chroma | texture of colour against that of light | Z. Boulkenafet, J. Komulainen, A. Hadid, "Face spoofing detection using colour texture analysis", IEEE TIFS 11(8), 2016 |
| black | black that a medium cannot show: the darkest grey | D. Wen, H. Han, A. K. Jain, "Face spoof detection with image distortion analysis", IEEE TIFS 10(4), 2015 |
| border | straight edges beside the face: the sheet, the frame | J. Komulainen, A. Hadid, M. Pietikäinen, "Context based face anti-spoofing", BTAS 2013 |

Tried and left out, for they told nothing more on the simulations: the share of high frequencies (J. Li
et al., SPIE 5404, 2004) and the share of glare (Wen et al.).

Letters: F frames, S side of the patch, M = 5 measures.
"""  # noqa: E501 - a table's row is a line

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from verify.pad import DEFAULT_GATE, PadOutcome, PadResult, Shot

MEASURES = ("peaks", "chroma_peaks", "chroma", "black", "border")
_PATCH = 256  # more of a face is not looked at, for grids show in pixels, not in faces
_LEAST = 32
_FRAME = 320  # in which borders are looked for
_TINY = 1e-6
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Weights:
    """How the measures are weighed.

    Attributes:
        centre: float64 (M,), subtracted from the measures.
        scale: float64 (M,), by which they are divided then.
        weight: float64 (M,).
        bias: added to the weighed sum.
        attack: "attack" from this score on.
        undecided: "undecided" from this score on.
        source: what they were fitted and the thresholds chosen on.
    """

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: float
    attack: float
    undecided: float
    source: str

    def score(self, measures: NDArray[np.floating]) -> NDArray[np.float64]:
        """Log-odds of an attack among the simulations, float64 (F,), of measures (F, M)."""
        scaled = (measures - self.centre) / self.scale
        return np.asarray(scaled @ self.weight + self.bias, dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        columns = {"centre": self.centre, "scale": self.scale, "weight": self.weight}
        return {
            "source": self.source,
            "measures": {
                name: {key: float(f"{column[i]:.6g}") for key, column in columns.items()}
                for i, name in enumerate(MEASURES)
            },
            "bias": float(f"{self.bias:.6g}"),
            "attack": float(f"{self.attack:.6g}"),
            "undecided": float(f"{self.undecided:.6g}"),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Weights:
        """What `to_dict` gave."""
        rows = [values["measures"][name] for name in MEASURES]
        columns = [np.array([row[key] for row in rows]) for key in ("centre", "scale", "weight")]
        return cls(
            columns[0], columns[1], columns[2], values["bias"], values["attack"],
            values["undecided"], values["source"],
        )  # fmt: skip


@cache
def shipped() -> Weights:
    """The weights that come with Vultus; `benchmarks/pad.py --write` made them."""
    text = (resources.files("verify") / "data" / "pad_recapture.json").read_text(encoding="utf-8")
    return Weights.from_dict(json.loads(text))


class RecaptureGate:
    """The heuristic as a gate: the median score of the frames against two thresholds."""

    name = DEFAULT_GATE

    def __init__(self, weights: Weights | None = None) -> None:
        """Take the weights.

        Args:
            weights: None: the shipped ones.
        """
        self._weights = shipped() if weights is None else weights

    def check(self, shots: Sequence[Shot]) -> PadResult:
        """Judge a presentation by its frames; see `verify.pad.PadGate`."""
        rows = [row for row in map(measure, shots) if row is not None]
        if not rows:
            return PadResult("undecided", self.name, ("face_too_small",))
        found = np.stack(rows)
        score = float(np.median(self._weights.score(found)))
        weights = self._weights
        outcome: PadOutcome = "bona_fide"
        if score >= weights.undecided:
            outcome = "attack" if score >= weights.attack else "undecided"
        told = dict(zip(MEASURES, np.median(found, axis=0).tolist(), strict=True))
        reasons = () if outcome == "bona_fide" else self._why(found)
        return PadResult(outcome, self.name, reasons, score, weights.attack, told)

    def _why(self, found: Floats) -> tuple[str, ...]:
        """The measures that speak most for an attack, at most two."""
        weights = self._weights
        share = weights.weight * (np.median(found, axis=0) - weights.centre) / weights.scale
        return tuple(MEASURES[i] for i in np.argsort(-share)[:2] if share[i] > 0)


def measure(shot: Shot) -> Floats | None:
    """The measures of one frame, float32 (M,); None where the face is too small to tell."""
    box = shot.face.box.astype(np.float64)
    patch = _patch(shot.photo.pixels, box)
    if min(patch.shape[:2]) < _LEAST:
        return None
    colours = cv2.cvtColor(patch, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    light, chroma = colours[..., 0], [colours[..., 1], colours[..., 2]]
    of_colour = _spectrum(chroma[0]) + _spectrum(chroma[1])
    found = (
        _peaks(_spectrum(light)),
        _peaks(of_colour),
        float(np.log((_fine(chroma[0]) + _fine(chroma[1]) + 0.1) / (_fine(light) + 0.1))),
        float(np.percentile(light, 1) / 255),
        _border(shot.photo.pixels, box),
    )
    return np.array(found, dtype=np.float32)


def _patch(pixels: NDArray[np.uint8], box: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The middle of a face at the photo's own resolution, uint8 (S, S', 3), S at most 256."""
    centre, side = box[:2] + box[2:] / 2, min(float(box[2:].max()), float(_PATCH))
    height, width = pixels.shape[:2]
    low = np.clip(np.round(centre - side / 2), 0, None).astype(int)
    high = np.clip(np.round(centre + side / 2), 0, (width, height)).astype(int)
    return np.ascontiguousarray(pixels[low[1] : high[1], low[0] : high[0]])


def _spectrum(plane: Floats) -> Floats:
    """Power over frequency, float32 (S, S), zero in the middle; the window hides the patch's edges.

    Args:
        plane: float32 (H, W), cut to a square.
    """
    side = min(plane.shape)
    square = plane[:side, :side] - plane[:side, :side].mean()
    window = np.outer(np.hanning(side), np.hanning(side))
    power = np.abs(np.fft.fftshift(np.fft.fft2(square * window))) ** 2
    return power.astype(np.float32)


def _rings(side: int) -> tuple[NDArray[np.int64], Floats]:
    """Ring number and frequency (cycles a pixel) of each place of a spectrum (S, S)."""
    steps = np.arange(side) - side // 2
    radius = np.hypot(steps[:, None], steps[None, :])
    return np.round(radius / max(side / 64, 1)).astype(np.int64), (radius / side).astype(np.float32)


def _peaks(power: Floats) -> float:
    """How far the highest peaks rise above their ring, as a logarithm.

    The strongest 0.2 % between 0.1 and 0.5 cycles a pixel; what JPEG's blocks put on the axes is
    left out.
    """
    side = len(power)
    ring, frequency = _rings(side)
    level = np.log(power + _TINY)
    total = np.bincount(ring.ravel(), level.ravel())
    mean = total / np.maximum(np.bincount(ring.ravel()), 1)
    rise = level - mean[ring]
    steps = np.abs(np.arange(side) - side // 2)
    off_axis = (steps[:, None] > 1) & (steps[None, :] > 1)
    chosen = rise[(frequency > 0.1) & (frequency < 0.5) & off_axis]
    count = max(4, round(0.002 * chosen.size))
    return float(np.partition(chosen, -count)[-count:].mean())


def _fine(plane: Floats) -> float:
    """Mean size of what a blur of one pixel takes away."""
    return float(np.abs(plane - cv2.GaussianBlur(plane, (0, 0), 1.0)).mean())


def _border(pixels: NDArray[np.uint8], box: NDArray[np.float64]) -> float:
    """On how many sides of the face, 0…1 of four, a long straight edge runs along it."""
    height, width = pixels.shape[:2]
    scale = min(1.0, _FRAME / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = cv2.cvtColor(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    edges = cv2.Canny(cv2.GaussianBlur(grey, (0, 0), 1.2), 40, 100)
    x, y, w, h = (float(v) * scale for v in box)
    least = round(0.9 * max(w, h))
    lines = cv2.HoughLinesP(edges, 1, np.pi / 180, max(20, least // 2), None, max(20, least), 6)
    sides = set()
    for x1, y1, x2, y2 in np.reshape([] if lines is None else lines, (-1, 4)).astype(float):
        across, along = abs(x2 - x1), abs(y2 - y1)
        middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
        if along > 8 * across and not x < middle_x < x + w:
            sides.add("left" if middle_x <= x else "right")
        if across > 8 * along and not y < middle_y < y + h:
            sides.add("top" if middle_y <= y else "bottom")
    return len(sides) / 4
