"""From many dimensions to two or three: UMAP where it is installed, else principal components.

UMAP keeps neighbours together: L. McInnes, J. Healy, J. Melville, "UMAP: Uniform Manifold
Approximation and Projection for Dimension Reduction", arXiv:1802.03426, 2018. Principal
components show the directions of most variance: K. Pearson, "On lines and planes of closest fit
to systems of points in space", Philosophical Magazine 2, 1901.

Letters: N vectors, D dimensions, P dimensions of the picture.
"""

from __future__ import annotations

import importlib.util
import warnings

import numpy as np
from numpy.typing import NDArray

from verify.errors import PlotToolMissing, PlotUnusable
from verify.plot import Projection

METHODS = ("auto", "umap", "pca")
NEIGHBOURS, SPREAD = 15, 0.1
_FEW = 10  # vectors up to which UMAP has no neighbourhoods to keep
_SPECTRAL = 50  # vectors from which UMAP begins with a spectral layout


def project(
    vectors: NDArray[np.float32],
    dims: int = 2,
    method: str = "auto",
    *,
    seed: int = 0,
    neighbours: int = NEIGHBOURS,
    spread: float = SPREAD,
) -> Projection:
    """Places for vectors.

    Args:
        vectors: float32 (N, D), unit rows.
        dims: P, 2 or 3.
        method: `umap`, `pca`, or `auto`: UMAP where it is installed and there are enough vectors,
            else principal components; the words say why.
        seed: of UMAP.
        neighbours: how many neighbours UMAP keeps together, from 2.
        spread: how close UMAP packs them, 0…1.

    Raises:
        PlotUnusable: too few vectors, or fewer dimensions than asked.
        PlotToolMissing: UMAP is asked for and not installed.
    """
    count, wide = vectors.shape
    if count < dims + 1:
        raise PlotUnusable(
            f"There are {count} vectors: a picture of {dims} dimensions needs {dims + 1} and more."
        )
    if wide < dims:
        raise PlotUnusable(f"The vectors have {wide} dimensions: ask for --dims {wide} or less.")
    there = umap_is_there()
    if method == "umap" and not there:
        raise PlotToolMissing('UMAP is not installed: pip install "vultus[plot]", or --method pca.')
    if method == "umap" or (method == "auto" and there and count > _FEW):
        return _umap(vectors, dims, seed, min(neighbours, count - 1), spread)
    why = ""
    if method == "auto":
        missing = 'UMAP is not installed (pip install "vultus[plot]")'
        why = f"; {missing if not there else f'{count} vectors are too few for UMAP'}"
    return _components(vectors, dims, why)


def umap_is_there() -> bool:
    """Whether UMAP is installed; the compiled leftovers of an uninstalled one do not count."""
    spec = importlib.util.find_spec("umap")
    return spec is not None and spec.loader is not None


def _umap(
    vectors: NDArray[np.float32], dims: int, seed: int, neighbours: int, spread: float
) -> Projection:
    """Places float64 (N, P) by UMAP on cosines; one thread, so that a seed gives one picture."""
    with warnings.catch_warnings():  # its own and its libraries'
        warnings.simplefilter("ignore")
        import umap

        places = umap.UMAP(
            n_components=dims, metric="cosine", n_neighbors=max(neighbours, 2), min_dist=spread,
            random_state=seed, n_jobs=1, init="spectral" if len(vectors) >= _SPECTRAL else "random",
        ).fit_transform(vectors)  # fmt: skip
    words = f"UMAP to {dims} dimensions: {neighbours} neighbours, min_dist {spread:g}, seed {seed}"
    return Projection(np.asarray(places, np.float64), "umap", words)


def _components(vectors: NDArray[np.float32], dims: int, why: str) -> Projection:
    """Places float64 (N, P): the first principal components; their signs are made definite."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    values, axes = np.linalg.eigh(centred.T @ centred)  # (D,) rising, (D, D)
    axes = axes[:, ::-1][:, :dims]
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.where(axes[largest, np.arange(dims)] < 0, -1.0, 1.0)
    total = float(values.clip(0).sum())
    shares = tuple(
        float(max(value, 0.0) / total) if total > 0 else 0.0 for value in values[::-1][:dims]
    )
    words = f"PCA to {dims} dimensions, {sum(shares):.0%} of the variance{why}"
    return Projection(centred @ axes, "pca", words, shares)
