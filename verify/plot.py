"""Vectors as a picture: points on a plane or in space, near where the vectors are alike.

    gallery | folder | .npz ─gather─▶ Cloud ─project─▶ Plot ─draw─▶ PNG, SVG, HTML, JSON, CSV

`verify.plot_sources` gathers, `verify.plot_project` projects, `verify.plot_draw` and
`verify.plot_page` draw. A projection loses most of what a vector says: neighbours in the picture
are a hint, distances between far groups mean nothing; decisions are made on the vectors alone.

Letters: N vectors, D dimensions, P dimensions of the picture (2 or 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = "vultus-plot-1"
LEGEND = 12  # labels up to which a legend is shown


@dataclass(frozen=True, slots=True, eq=False)
class Cloud:
    """Vectors and what is known of each.

    Attributes:
        vectors: float32 (N, D), unit rows.
        labels: N labels; "" where there is none.
        files: N texts that tell which picture it was.
        thumbnails: N small JPEG files; None where there is no picture.
        source: what they came from, in words.
        left_out: reason code → how many pictures gave no vector.
        total: how many vectors there were before a draw; N where all are here.
        templates: N ids of templates of a gallery; empty elsewhere.
    """

    vectors: NDArray[np.float32]
    labels: tuple[str, ...]
    files: tuple[str, ...]
    thumbnails: tuple[bytes | None, ...]
    source: str
    left_out: Mapping[str, int] = field(default_factory=dict)
    total: int = 0
    templates: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Where the vectors lie in the picture.

    Attributes:
        places: float64 (N, P); no unit.
        method: `umap` or `pca`.
        words: how it was done, and why so where something else was asked or is usual.
        variance: the share of the vectors' variance that each axis shows (pca), else empty.
    """

    places: NDArray[np.float64]
    method: str
    words: str
    variance: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Plot:
    """A cloud and its projection.

    Attributes:
        cloud: what is shown.
        projection: where.
        seed: of the projection and of the draw.
    """

    cloud: Cloud
    projection: Projection
    seed: int

    @property
    def dims(self) -> int:
        """P, 2 or 3."""
        return int(self.projection.places.shape[1])

    @property
    def names(self) -> tuple[str, ...]:
        """The labels that occur, in order; "" among them where vectors have none."""
        return tuple(sorted(set(self.cloud.labels)))

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Int64 (N,), the place of each vector's label in `names`."""
        place = {name: number for number, name in enumerate(self.names)}
        return np.array([place[label] for label in self.cloud.labels], np.int64)

    def lines(self) -> list[str]:
        """What is to be known of it, for a terminal or below the picture."""
        cloud = self.cloud
        told = [f"{len(cloud)} vectors of {len(self.names)} labels from {cloud.source}"]
        if cloud.total > len(cloud):
            told[0] += f", drawn from {cloud.total} (seed {self.seed})"
        told.append(self.projection.words)
        if cloud.left_out:
            why = ", ".join(f"{reason} {count}" for reason, count in cloud.left_out.items())
            told.append(f"{sum(cloud.left_out.values())} pictures left out: {why}")
        return told

    def rows(self) -> list[tuple[object, ...]]:
        """A head, then each vector's place, label and picture."""
        head = ("x", "y", "z")[: self.dims]
        places = [tuple(round(float(v), 6) for v in row) for row in self.projection.places]
        ends = zip(places, self.cloud.labels, self.cloud.files, strict=True)
        return [(*head, "label", "file"), *((*place, label, file) for place, label, file in ends)]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        head, *rows = self.rows()
        return {
            "format": FORMAT,
            "source": self.cloud.source,
            "method": self.projection.method,
            "words": self.projection.words,
            "variance": list(self.projection.variance),
            "dims": self.dims,
            "seed": self.seed,
            "vectors": len(self.cloud),
            "total": max(self.cloud.total, len(self.cloud)),
            "left_out": dict(self.cloud.left_out),
            "points": [dict(zip(map(str, head), row, strict=True)) for row in rows],
        }


def drawn(count: int, limit: int, seed: int) -> NDArray[np.int64]:
    """Rows of a draw without repeats, int64, rising: all where `count` is not above `limit`."""
    if count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:limit])
