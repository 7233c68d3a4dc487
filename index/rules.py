"""Which structure FAISS searches with, by the number of vectors; measured in docs/engines.md.

Up to `FLAT_BELOW` vectors every one of them is compared: that is exact and takes milliseconds.
Above, vectors are sorted into inverted lists (IVF) and a search visits those nearest to the query.
What the lists keep of a vector only proposes candidates; their similarities are computed from the
vectors themselves, so that a coarse code costs recall, which is measured, and never a similarity.

H. Jégou et al., "Product quantization for nearest neighbor search", 2011 (inverted lists, PQ);
F. André et al., "Cache locality is not enough", 2015 (the 4-bit codes that are scanned in
registers).

Letters: N vectors, D dimensions, L lists.
"""

import math
from dataclasses import dataclass

from index.errors import WrongNumber

__all__ = ["FLAT_BELOW", "KINDS", "RECALL", "Plan", "Structure", "structure_for"]

KINDS = ("flat", "ivf-flat", "ivf-fp16", "ivf-sq8", "ivf-pq")
"""What can be asked for: the bytes kept of a vector in the lists are 4 D, 2 D, D and D / 4."""

FLAT_BELOW = 100_000
PQ_FROM = 1_000_000
RECALL = 0.99


@dataclass(frozen=True, slots=True)
class Plan:
    """What a user asks of the engine.

    Attributes:
        kind: one of `KINDS`; "" leaves the choice to the number of vectors.
        recall: the part of the true neighbours to find, above 0 and below 1, `RECALL` where it is
            None; flat finds all.

    Raises:
        WrongNumber: a kind or a recall that there is not.
    """

    kind: str = ""
    recall: float | None = None

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.kind and self.kind not in KINDS:
            raise WrongNumber(f"there is no kind {self.kind!r}: choose one of {', '.join(KINDS)}.")
        if self.recall is not None and not 0 < self.recall < 1:
            raise WrongNumber(
                f"recall must be above 0 and below 1, got {self.recall:g}: for all neighbours ask "
                "for kind=flat."
            )


@dataclass(frozen=True, slots=True)
class Structure:
    """What is to be built.

    Attributes:
        kind: one of `KINDS`.
        lists: L; 0 for flat.
        reason: why, in one sentence.
    """

    kind: str
    lists: int
    reason: str


def structure_for(count: int, plan: Plan) -> Structure:
    """Returns the structure for N = `count` vectors.

    L is the power of two nearest to the root of N, at least 16: lists as long as they are many, so
    that finding the lists and scanning them stay in balance.

    Args:
        count: N.
        plan: what was asked.
    """
    lists = max(16, 2 ** round(math.log2(math.sqrt(max(count, 1)))))
    if plan.kind:
        kind, reason = plan.kind, f"{plan.kind} was asked for by name."
    elif count < FLAT_BELOW:
        kind, reason = "flat", f"below {FLAT_BELOW:,} vectors every one is compared."
    elif count < PQ_FROM:
        kind, reason = "ivf-sq8", f"from {FLAT_BELOW:,} vectors, in lists of one byte a number."
    else:
        kind, reason = "ivf-pq", f"from {PQ_FROM:,} vectors, in lists of two bits a number."
    return Structure(kind, 0 if kind == "flat" else lists, reason)
