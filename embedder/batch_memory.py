"""Vectors of earlier batches, kept as more pairs for those of this one.

A network changes slowly, so that the vectors of the last few batches are still about right: each
new vector is compared with all of them, which gives many more hard negatives than a batch holds
(Wang, Zhang, Huang, Scott, "Cross-Batch Memory for Embedding Learning", CVPR 2020). What is kept
has no gradient.

The library's memory keeps its vectors as buffers, but not where in its ring it is; both are saved
here, so that a continued run is exact.

Letters: N vectors, D dimensions, R vectors remembered.
"""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning import losses, reducers
from torch import Tensor, nn
from torch.nn import functional

from embedder.errors import BadRecipe


class SquaredPairs(losses.ContrastiveLoss):
    """½ d² for equal pairs, ½ max(0, margin − d)² for others: Hadsell's, on the library's pairs."""

    def __init__(self, margin: float, distance: nn.Module) -> None:
        super().__init__(neg_margin=margin, distance=distance, reducer=reducers.MeanReducer())

    def pos_calc(self, pos_pair_dist: Tensor, margin: float) -> Tensor:
        """Distances (P,) of equal pairs → their losses (P,)."""
        del margin  # equal pairs have none
        return 0.5 * pos_pair_dist**2

    def neg_calc(self, neg_pair_dist: Tensor, margin: float) -> Tensor:
        """Distances (P,) of different pairs → their losses (P,)."""
        return 0.5 * functional.relu(margin - neg_pair_dist) ** 2


class BatchMemory(losses.CrossBatchMemory):
    """The library's memory, whose place in its ring is saved and restored with its vectors."""

    def __init__(
        self, loss: nn.Module, dim: int, size: int, miner: nn.Module | None = None
    ) -> None:
        """An empty memory.

        Args:
            loss: of vectors against remembered ones.
            dim: D.
            size: R; not below a batch.
            miner: chooses pairs or triplets; None: all.
        """
        super().__init__(loss, dim, size, miner)

    @staticmethod
    def supported_losses() -> list[str]:
        """Names of the losses that can be asked about two sets of vectors."""
        return [*losses.CrossBatchMemory.supported_losses(), SquaredPairs.__name__]

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Float (N, D) and int64 (N,) → scalar; they are remembered afterwards.

        Raises:
            BadRecipe: the batch does not fit into the memory.
        """
        if len(embeddings) > self.memory_size:
            raise BadRecipe(
                f"A memory of {self.memory_size} vectors is smaller than the batch of "
                f"{len(embeddings)}: make it at least as large, or leave it out."
            )
        if not len(labels):  # nobody in this batch has a name: the ring stays where it is
            return embeddings.sum() * 0.0
        return super().forward(embeddings, labels)

    def get_extra_state(self) -> Tensor:
        """Where the ring is: int64 (2,), the next place and whether it went round."""
        return torch.tensor([self.queue_idx, int(self.has_been_filled)])

    def set_extra_state(self, state: Any) -> None:  # noqa: ANN401 - torch hands on what was saved
        """Put back what `get_extra_state` gave."""
        place, filled = state.tolist()
        self.queue_idx, self.has_been_filled = int(place), bool(filled)
