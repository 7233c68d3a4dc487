"""Average link on levelled similarities: who is like everybody is less like anybody.

Some rows are close to many others (a blurred face, a common kind of face): at one cut for all they
are joined to strangers first. The level of a row is its mean similarity to the clusters most like
it, its own left out; half of both rows' levels, as far as they are above the median, is taken from
each similarity:

    s'(i, j) = s(i, j) - (level(i) + level(j)) / 2 + median level

That is adaptive symmetric score normalisation without its division (P. Matějka et al., "Analysis
of score normalization in multilingual speaker recognition", Interspeech 2017). Its cohort is the
data's own clusters, found without levels first; each is one vote, so that a person with many photos
counts as one stranger. The median row's similarities stay, and with them the meaning of the cut.

The more people there are, the more of them look like somebody else. So clusters whose parts are
less alike than these are in themselves are parted again (`index.parting`).

Letters: N rows, D dimensions, P pairs, K clusters.
"""

import numpy as np
from numpy.typing import NDArray

from index.arrays import pair_array
from index.kmeans import sums_of
from index.linkage import average_rows, joined_rows, sized_link
from index.parting import LEAST, SHARE, lowest_cut, parted_rows

__all__ = ["levelled_link", "levels"]

_COHORT = 50  # clusters that a level is the mean similarity to: of `LEAST` those are strangers
_PRODUCTS = 1 << 24  # float32 similarities in memory at once: 64 MiB


def levelled_link(
    vectors: NDArray[np.float32],
    cut: float,
    strangers: float,
    apart: NDArray[np.int64] | None = None,
    shared: float = 0.5,
    together: NDArray[np.int64] | None = None,
    share: float = SHARE,
) -> NDArray[np.int64]:
    """Clusters by `index.linkage.sized_link`, again with levelled similarities, and parts.

    Where the first pass finds fewer than 200 clusters it is the result.

    Args:
        vectors: float32 (N, D), unit rows.
        cut: the cut for two single rows, as in `sized_link`.
        strangers: the mean similarity of two rows that belong apart, as there.
        apart: int64 (P, 2), pairs of rows that must not share a cluster.
        shared: as in `sized_link`.
        together: int64 (P, 2), pairs of rows that share one, however unlike they are.
        share: as in `index.parting.parted_rows`; 0 parts nothing.

    Returns:
        int64 (N,), labels from 0 in the order of each cluster's first row.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: a number outside its range, or pairs of rows that do not exist.
        Contradiction: a pair that must be apart is tied together.
    """
    first = sized_link(vectors, cut, strangers, apart, shared, together)
    if first.max(initial=-1) + 1 < LEAST:
        return first
    level = levels(vectors, first)
    # One more number a row: (1 - a) (1 - b) is 1 - a - b, but for a b, which is below 0.01.
    last = 1 - (level - np.median(level)) / 2
    rows = np.column_stack([vectors, last]).astype(np.float32)
    labels = average_rows(rows, cut + 1, apart, together)
    labels = joined_rows(rows, labels, cut + 1, strangers + 1, apart, shared)
    if not share:
        return labels
    ties = pair_array(together, len(vectors), "together")
    return parted_rows(rows, labels, lowest_cut(cut, strangers, shared), ties, share, 1)


def levels(vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Returns how alike each row is to the clusters most like it, without its own: float32 (N,).

    Args:
        vectors: float32 (N, D), unit rows.
        labels: int64 (N,), 0 to K - 1, K at least 2.
    """
    count = int(labels.max()) + 1
    sums = sums_of(vectors, labels, count)
    lengths = np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    means = (sums / lengths).astype(np.float32)
    few = min(_COHORT, count - 1)
    found = np.empty(len(vectors), dtype=np.float32)
    step = max(1, _PRODUCTS // count)
    for start in range(0, len(vectors), step):
        products = vectors[start : start + step] @ means.T
        products[np.arange(len(products)), labels[start : start + step]] = -np.inf
        closest = np.partition(products, -few, axis=1)[:, -few:]
        found[start : start + step] = closest.mean(axis=1)
    return found
