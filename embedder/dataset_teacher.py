"""The vectors a teacher gives the training pictures, computed once and kept.

Letters: N pictures, T dimensions of the teacher.
"""

from __future__ import annotations

import hashlib
import io

import numpy as np
from numpy.typing import NDArray

from embedder.align import Crop
from embedder.dataset import Pictures
from embedder.detect import Face
from embedder.encoder import Encoder, open_network_encoder
from embedder.errors import BadRecipe
from embedder.weights import cache_folder, write_atomically

_BLOCK = 512


def with_teacher(pictures: Pictures, name: str | None) -> Pictures:
    """The pictures with the unit vectors, float32 (N, T), an encoder gives them.

    Args:
        pictures: of the encoder's side; grey ones are shown to it as grey RGB.
        name: of the encoder; None is right only where the pictures have vectors already.

    Raises:
        BadRecipe: no teacher is named, or the pictures are of another size than it wants.
    """
    if pictures.teacher is not None:
        return pictures
    if name is None:
        raise BadRecipe("The objectives distil a teacher: name one in the recipe (teacher).")
    encoder = open_network_encoder(name)
    if encoder.card.side != pictures.side:
        raise BadRecipe(
            f"The teacher {name} wants pictures of side {encoder.card.side}, the network "
            f"{pictures.side}: choose another network or teacher."
        )
    path = cache_folder() / "pictures" / f"teacher-{_digest(pictures, encoder)}.npy"
    if path.is_file():
        return pictures.taught(np.load(path, allow_pickle=False))
    vectors = _vectors(pictures, encoder)
    file = io.BytesIO()
    np.save(file, vectors)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, file.getvalue())
    return pictures.taught(vectors)


def _digest(pictures: Pictures, encoder: Encoder) -> str:
    digest = hashlib.sha256(encoder.card.space.encode())
    for i in range(0, len(pictures), _BLOCK):
        digest.update(pictures.pixels[i : i + _BLOCK].tobytes())
    return digest.hexdigest()[:24]


def _vectors(pictures: Pictures, encoder: Encoder) -> NDArray[np.float32]:
    """Unit vectors float32 (N, T)."""
    blocks = [
        encoder.encode([crop_of(p) for p in pictures.pixels[i : i + _BLOCK]]).vectors
        for i in range(0, len(pictures), _BLOCK)
    ]
    return np.concatenate(blocks)


def crop_of(pixels: NDArray[np.uint8]) -> Crop:
    """A training picture as the crop an encoder takes.

    Args:
        pixels: uint8 (S, S, 1 or 3), grey or RGB, 0…255; grey becomes three equal channels.

    Returns:
        Its `pixels` are uint8 (S, S, 3), its `warp` float64 (2, 3) changes nothing.
    """
    side = pixels.shape[0]
    colour = np.ascontiguousarray(np.broadcast_to(pixels, (side, side, 3)))
    face = Face(np.array([0, 0, side, side], np.float32), None, 1.0)
    return Crop(colour, np.eye(2, 3, dtype=np.float64), face)
