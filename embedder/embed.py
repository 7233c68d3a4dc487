"""The way from a photo to vectors, on one screen.

    bytes ─decode─▶ Photo ─detect─▶ Face ─align─▶ Crop ─measure─▶ Quality
                                                  Crop ─encode─▶ Embeddings (N, D)

Letters: N faces, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from embedder.align import Crop, align_all
from embedder.detect import Detector, choose, open_detector
from embedder.encoder import Embeddings, Encoder, open_network_encoder
from embedder.photo import MAX_PIXELS, Photo, Room, Source, read_photo
from embedder.quality import Quality, measure

RULES = ("reject", "largest", "centre", "all")


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face found, cut out and measured; not yet encoded.

    Attributes:
        crop: the aligned picture, with the face it was cut for.
        quality: its measures.
    """

    crop: Crop
    quality: Quality


@dataclass(frozen=True, slots=True)
class Embedder:
    """A detector and an encoder: all that turns pictures into vectors.

    Attributes:
        detector: finds faces.
        encoder: turns crops into vectors.
        max_pixels: photos with more pixels are refused.
    """

    detector: Detector
    encoder: Encoder
    max_pixels: int = MAX_PIXELS

    @property
    def space(self) -> str:
        """The vector space its vectors live in."""
        return self.encoder.card.space

    def read(self, source: Source, name: str | None = None) -> Photo:
        """Decode one picture; see `embedder.photo.read_photo` for what it takes and raises."""
        return read_photo(source, max_pixels=self.max_pixels, name=name)

    def faces(self, photo: Photo, rule: str = "all", room: Room | None = None) -> list[FoundFace]:
        """The faces of a photo, cut out and measured.

        Args:
            photo: a decoded picture.
            rule: `all` faces; the one by `largest` or `centre`; `reject`, where several are an
                error of the caller's making, returns all of them too.
            room: is asked for memory before a photo decoded smaller is decoded whole.
        """
        found = self.detector.detect(photo)
        if found and rule in {"largest", "centre"}:
            found = [choose(found, photo, rule)]
        crops = align_all(photo, found, self.encoder.card.side, room)
        return [FoundFace(crop, measure(crop)) for crop in crops]

    def encode(self, faces: Sequence[FoundFace]) -> Embeddings:
        """Unit vectors, float32 (N, D), of N found faces."""
        return self.encoder.encode([face.crop for face in faces])

    def embed(self, sources: Iterable[Source], rule: str = "centre") -> list[Embeddings]:
        """Decode, detect, align and encode pictures: one `Embeddings` a picture, (0, D) if no face.

        Args:
            sources: paths, bytes, arrays or PIL images.
            rule: which faces; see `faces`.
        """
        return [self.encode(self.faces(self.read(source), rule)) for source in sources]


def open_embedder(
    model: str | None = None,
    *,
    detector: str | None = None,
    device: str | None = None,
    runtime: str | None = None,
    max_pixels: int = MAX_PIXELS,
    quick: bool = False,
) -> Embedder:
    """Open a detector and an encoder by name; arguments as `open_network_encoder`.

    Args:
        model: encoder, `vultus-face-1` (default), `sface`, `sface-mirror` or `picture`.
        detector: `yunet` for faces, `whole` for pictures of things; None: the encoder's.
        device: `cpu` or `cuda`.
        runtime: `openvino` or `onnxruntime`.
        max_pixels: photos with more pixels are refused.
        quick: for a photo or two; see `open_network_encoder`.
    """
    encoder = open_network_encoder(model, device=device, runtime=runtime, quick=quick)
    chosen = encoder.card.detector if detector is None else detector
    network = encoder.network
    return Embedder(open_detector(chosen, network.runtime, network.device), encoder, max_pixels)
