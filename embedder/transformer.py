"""The encoder as a scikit-learn transformer: pictures in, vectors out, in any pipeline.

    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from vultus import open_encoder

    pipeline = make_pipeline(open_encoder("sface"), KNeighborsClassifier(1))
    pipeline.fit(paths, names)

Letters: N pictures, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import (  # type: ignore[import-untyped]  # it ships no types
    BaseEstimator,
    TransformerMixin,
)

from embedder.align import Crop
from embedder.card import EncoderCard
from embedder.embed import Embedder, open_embedder
from embedder.encoder import Embeddings
from embedder.errors import NoFace
from embedder.photo import Source


class PictureEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is not typed
    """An `Encoder` that also takes whole pictures, with scikit-learn's manners.

    Its parameters are plain values, so that it can be cloned and searched over; the networks are
    opened when they are first needed.
    """

    def __init__(
        self,
        model: str | None = None,
        detector: str | None = None,
        rule: str = "centre",
        device: str | None = None,
        runtime: str | None = None,
    ) -> None:
        """Keep the choices.

        Args:
            model: encoder, `vultus-face-1` (default), `sface`, `sface-mirror` or `picture`.
            detector: `yunet` for faces, `whole` for pictures of things; None: the
                encoder's.
            rule: which face of a picture with several: `centre` or `largest`.
            device: `cpu` or `cuda`.
            runtime: `openvino` or `onnxruntime`.
        """
        self.model = model
        self.detector = detector
        self.rule = rule
        self.device = device
        self.runtime = runtime

    @property
    def embedder(self) -> Embedder:
        """The detector and encoder behind it, opened on first use and after `set_params`."""
        asked = (self.model, self.detector, self.device, self.runtime)
        opened: tuple[object, Embedder] | None = self.__dict__.get("_opened")
        if opened is None or opened[0] != asked:
            fresh = open_embedder(
                self.model, detector=self.detector, device=self.device, runtime=self.runtime
            )
            opened = (asked, fresh)
            self._opened = opened
        return opened[1]

    @property
    def card(self) -> EncoderCard:
        """What the weights are; `card.space` names the vector space."""
        return self.embedder.encoder.card

    def encode(self, crops: Sequence[Crop]) -> Embeddings:
        """Unit vectors, float32 (N, D), of N aligned crops."""
        return self.embedder.encoder.encode(crops)

    def fit(self, pictures: object = None, labels: object = None) -> Self:  # noqa: ARG002 - the interface of scikit-learn
        """Do nothing: the encoder is trained already."""
        return self

    def transform(self, pictures: Sequence[Source]) -> NDArray[np.float32]:
        """Vectors of pictures.

        Args:
            pictures: N paths, bytes, uint8 (H, W, 3) RGB arrays or PIL images.

        Returns:
            float32 (N, D), unit rows.

        Raises:
            NoFace: a picture without a face, named by its position.
            UnusablePhoto: a picture that cannot be decoded.
        """
        vectors = np.empty((len(pictures), self.card.dim), dtype=np.float32)
        for i, picture in enumerate(pictures):
            (found,) = self.embedder.embed([picture], self.rule)
            if len(found) == 0:
                raise NoFace(f"Picture {i} shows no face: leave it out, or use detector='whole'.")
            vectors[i] = found.vectors[0]
        return vectors

    def __getstate__(self) -> dict[str, Any]:
        """The choices alone: what is open stays in its process, and a copy opens its own."""
        return {key: value for key, value in super().__getstate__().items() if key != "_opened"}

    def __sklearn_is_fitted__(self) -> bool:
        return True
