"""What an encoder is: the facts that live with its weights and name its vector space."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

ALIGNMENT = "five-point-similarity-112"
WHOLE = "whole"
PARITY = 0.9995  # cosine two runtimes or precisions of one vector space must have, at least


@dataclass(frozen=True, slots=True)
class EncoderCard:
    """The card of one encoder.

    `space` names the vector space: two encoders of one space give comparable vectors, and a
    gallery refuses any other. It follows from all that changes a vector: the reference weights,
    the input size and scaling, the channel order, the alignment and the mirrored second pass.
    Runtimes and precisions of one network share it once their vectors agree to cosine 0.9995.

    Attributes:
        name: short name used on the command line.
        arch: the network's architecture.
        dim: length D of its vectors.
        side: side S of the square crop in pixels.
        mean: subtracted from each channel before the network (0…255 scale).
        std: divides each channel after that.
        order: channel order the network wants, `RGB` or `BGR`.
        alignment: how a face becomes a crop; `whole` for pictures of things.
        mirror: whether the vectors of crop and mirrored crop are averaged (two passes).
        digests: file name → sha256 of the weights, the reference first.
        trained_on: what the network saw.
        weights_licence: SPDX name of the licence of the weights.
        data_licence: what is known of the licence of the training data.
        source: where the weights come from.
    """

    name: str
    arch: str
    dim: int
    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    order: str
    alignment: str
    mirror: bool
    digests: Mapping[str, str] = field(hash=False)
    trained_on: str
    weights_licence: str
    data_licence: str
    source: str

    @property
    def detector(self) -> str:
        """The detector that goes with its alignment: `whole` for pictures of things."""
        return "whole" if self.alignment == WHOLE else "yunet"

    @property
    def space(self) -> str:
        """Name of the vector space: name, D and a prefix of the digest of what shapes it."""
        reference = next(iter(self.digests.values()))
        facts = [
            reference, self.side, self.mean, self.std, self.order, self.alignment, self.mirror,
        ]  # fmt: skip
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        return f"{self.name}-{self.dim}-{digest[:12]}"

    def to_dict(self) -> dict[str, Any]:
        """The card as plain JSON values, `space` included."""
        return {"space": self.space, **asdict(self), "digests": dict(self.digests)}
