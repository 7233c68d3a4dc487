"""Whether an encoder may be used commercially: what its card states, and nothing guessed.

Two licences matter: that of the weights and that of what they were trained on. Each passes only
where the card states one that is known to allow commercial use; silence and free words do not
pass. This is a help for choosing, and no legal advice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from embedder.card import EncoderCard

OWN = "own"  # the trainer's own pictures, with everybody's consent where they show people
# SPDX identifiers (spdx.org/licenses) of licences that allow commercial use.
_CODE = (
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "ISC", "MIT", "Unlicense",
    "Zlib",
)  # fmt: skip
_WORKS = (
    "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CDLA-Permissive-1.0",
    "CDLA-Permissive-2.0", "ODC-By-1.0", "PDDL-1.0",
)  # fmt: skip
_ALLOWING = frozenset(name.lower() for name in (*_CODE, *_WORKS))


@dataclass(frozen=True, slots=True)
class Commercial:
    """What a card says about commercial use.

    Attributes:
        weights: whether the licence of the weights is known to allow it.
        data: whether that of the training data is.
        reasons: what does not pass, a sentence each.
    """

    weights: bool
    data: bool
    reasons: tuple[str, ...]

    @property
    def passes(self) -> bool:
        """Whether both do."""
        return self.weights and self.data

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "passes": self.passes, "weights": self.weights, "data": self.data,
            "reasons": list(self.reasons),
        }  # fmt: skip


def commercial(card: EncoderCard) -> Commercial:
    """What the card of an encoder says about commercial use."""
    weights = card.weights_licence.strip().lower() in _ALLOWING
    data = card.data_licence.strip().lower() in {*_ALLOWING, OWN}
    told = (
        (weights, "weights", card.weights_licence),
        (data, "training data", card.data_licence),
    )
    reasons = tuple(
        f"{what}: {said or 'no licence stated'!r} is not known to allow commercial use"
        for passes, what, said in told
        if not passes
    )
    return Commercial(weights, data, reasons)
