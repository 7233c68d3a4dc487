"""How many of the true neighbours a search found.

Letters: Q queries, K neighbours.
"""

import numpy as np

from index.errors import WrongShape
from index.neighbors import NO_ID, Neighbors

__all__ = ["recall"]


def recall(found: Neighbors, truth: Neighbors) -> float:
    """Returns recall@K: of the true K neighbours, the part that was found, over all queries.

    The order within the K does not count. A query that has fewer than K true neighbours counts with
    those it has.

    Args:
        found: ids (Q, K) of the engine that is judged.
        truth: ids (Q, K) of an exact engine for the same queries.

    Returns:
        From 0 to 1; 1 where there is nothing to find.

    Raises:
        WrongShape: the two differ in shape.
    """
    if found.ids.shape != truth.ids.shape:
        raise WrongShape(
            f"found and truth must both have shape (Q, K), got {found.ids.shape} "
            f"and {truth.ids.shape}: search both with the same queries and k."
        )
    wanted = int(np.count_nonzero(truth.ids != NO_ID))
    hits = sum(
        len(np.intersect1d(a[a != NO_ID], b[b != NO_ID]))
        for a, b in zip(found.ids, truth.ids, strict=True)
    )
    return hits / wanted if wanted else 1.0
