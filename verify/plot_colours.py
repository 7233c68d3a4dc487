"""Colours and marks that people who see few colours can tell apart.

Six colours of M. Okabe and K. Ito, "Color Universal Design", 2008, without black and yellow, which
vanish on a dark or a light page; each label also has a mark, so that twelve labels are twelve
different pairs.

Letters: S side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
MARKS = ("disc", "square", "triangle", "cross")
UNNAMED = "#8A8F96"
FOR, AGAINST = (213, 94, 0), (0, 114, 178)  # vermilion and blue
_FAINTEST, _STRONGEST = 0.0, 0.8


def colour(number: int) -> str:
    """The colour of a label, as CSS writes it."""
    return COLOURS[number % len(COLOURS)]


def mark(number: int) -> str:
    """The mark of a label: another one for labels of one colour."""
    return MARKS[(number + number // len(COLOURS)) % len(MARKS)]


def heat_layer(heat: NDArray[np.float64], largest: float) -> NDArray[np.uint8]:
    """A layer to lay over a crop: vermilion where the similarity fell, blue where it rose.

    Args:
        heat: float64 (S, S), drops of similarity.
        largest: the drop, or rise, of the strongest colour, above 0.

    Returns:
        uint8 (S, S, 4), RGBA; the stronger, the less transparent.
    """
    strength = np.clip(np.abs(heat) / max(largest, 1e-12), 0, 1)
    layer = np.empty((*heat.shape, 4), np.uint8)
    layer[..., :3] = np.where((heat > 0)[..., None], FOR, AGAINST)
    layer[..., 3] = np.rint(255 * (_FAINTEST + (_STRONGEST - _FAINTEST) * strength))
    return layer
