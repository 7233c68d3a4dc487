"""What a similarity rests on: cover a part of one picture, and see how far it falls.

A grey patch slides over one aligned crop; at each place the crop is encoded again and compared
with the other, uncovered one. Where the similarity falls, the network took what is there as a sign
of sameness; where it rises, as a sign of difference. It shows what this network used for this pair,
and no more: a patch also brings edges that the network has not learnt.

Source: M. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014
(there the score of a class; here the cosine of a pair).

Letters: S crop side, R × C places of the patch, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.align import GREY, Crop
from embedder.encoder import Encoder

PATCH, STEP = 0.2, 0.07  # of the side


@dataclass(frozen=True, slots=True, eq=False)
class OcclusionMap:
    """How the similarity of a pair depends on the places of one crop.

    Attributes:
        pixels: uint8 (S, S, 3), the crop.
        drops: float32 (R, C), similarity without the patch minus similarity with it.
        lefts: int64 (C,), the patch's left edge in crop pixels.
        tops: int64 (R,), its upper edge.
        patch: its side in pixels.
    """

    pixels: NDArray[np.uint8]
    drops: NDArray[np.float32]
    lefts: NDArray[np.int64]
    tops: NDArray[np.int64]
    patch: int

    def heat(self) -> NDArray[np.float64]:
        """Float64 (S, S): for each pixel the mean drop over the patches that cover it."""
        side = len(self.pixels)
        total, count = np.zeros((side, side)), np.zeros((side, side))
        for i, top in enumerate(self.tops.tolist()):
            for j, left in enumerate(self.lefts.tolist()):
                place = np.s_[top : top + self.patch, left : left + self.patch]
                total[place] += self.drops[i, j]
                count[place] += 1
        return total / np.maximum(count, 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "patch": self.patch, "tops": self.tops.tolist(), "lefts": self.lefts.tolist(),
            "drops": [[round(float(v), 6) for v in row] for row in self.drops],
        }  # fmt: skip


def occlusion_maps(
    encoder: Encoder, first: Crop, second: Crop, *, patch: float = PATCH, step: float = STEP
) -> tuple[float, OcclusionMap, OcclusionMap]:
    """The similarity of two crops, and what it rests on in each of them.

    Args:
        encoder: turns crops into vectors; all covered crops of a map are encoded together.
        first: a crop of the encoder's side.
        second: another.
        patch: side of the patch as a share of the crop's side, above 0 and below 1.
        step: how far it moves, as a share of the crop's side.
    """
    whole = encoder.encode([first, second]).vectors  # (2, D)
    similarity = float(whole[0] @ whole[1])
    maps = [
        _map(encoder, crop, other, similarity, patch, step)
        for crop, other in ((first, whole[1]), (second, whole[0]))
    ]
    return similarity, maps[0], maps[1]


def _map(
    encoder: Encoder, crop: Crop, other: NDArray[np.float32], similarity: float, patch: float,
    step: float,
) -> OcclusionMap:  # fmt: skip
    """The map of one crop; `other`: float32 (D,), the other's unit vector."""
    side = len(crop.pixels)
    width = min(max(1, round(side * patch)), side - 1)
    edges = _edges(side, width, max(1, round(side * step)))
    covered = [_covered(crop, top, left, width) for top in edges for left in edges]
    vectors = encoder.encode(covered).vectors  # (R · C, D)
    drops = similarity - (vectors @ other).reshape(len(edges), len(edges))
    places = np.array(edges, np.int64)
    return OcclusionMap(crop.pixels, drops.astype(np.float32), places, places, width)


def _edges(side: int, width: int, step: int) -> Sequence[int]:
    """Where the patch begins; the last place ends at the border."""
    return sorted({*range(0, side - width + 1, step), side - width})


def _covered(crop: Crop, top: int, left: int, width: int) -> Crop:
    pixels = crop.pixels.copy()
    pixels[top : top + width, left : left + width] = GREY
    return replace(crop, pixels=pixels)
