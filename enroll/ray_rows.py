"""Photos on their way to the workers of a cluster and back, as rows of plain columns.

Arrays travel as their bytes, little-endian, so that they come back bit for bit; nothing of ours
is pickled.

Letters: N faces, D dimensions, S crop side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from embedder.align import Crop
from embedder.detect import Face
from embedder.embed import FoundFace
from embedder.errors import NotAnImage, PhotoTooLarge, PhotoUnreadable, UnusablePhoto
from embedder.quality import Quality
from enroll.encoding import Admitted
from enroll.intake import Looked

if TYPE_CHECKING:
    import pyarrow as pa

_ERRORS: Final = {kind.code: kind for kind in (NotAnImage, PhotoTooLarge, PhotoUnreadable)}


@dataclass(frozen=True, slots=True)
class Reply:
    """What a worker says of one photo.

    Attributes:
        number: the photo's place in the run.
        looked: what was seen.
        admitted: its faces; None where it could not be used.
        machine: the worker's host name.
        device: what its encoder runs on, such as `cpu openvino bf16`.
        fault: why the worker can look at nothing at all, or "".
    """

    number: int
    looked: Looked
    admitted: Admitted | None
    machine: str
    device: str
    fault: str = ""


def to_table(replies: Iterable[Reply]) -> pa.Table:
    """Replies as a table."""
    import pyarrow as pa

    return pa.Table.from_pylist([_row(reply) for reply in replies], schema=_schema())


def from_table(table: pa.Table) -> Iterator[Reply]:
    """The replies of a table."""
    return map(_reply, table.to_pylist())


def _schema() -> pa.Schema:
    import pyarrow as pa

    text, data, whole = pa.string(), pa.binary(), pa.int64()
    columns = ("box", "points", "warp", "quality", "pixels", "vector")
    face = pa.struct([
        *((name, data) for name in columns), ("confidence", pa.float64()), ("side", whole),
    ])  # fmt: skip
    return pa.schema([
        ("number", whole), ("source", text), ("digest", text), ("size", whole), ("width", whole),
        ("height", whole), ("taken", text), ("error", text), ("said", text),
        ("judged", pa.bool_()), ("reason", text), ("detail", text),
        ("faces", pa.list_(face)), ("machine", text), ("device", text), ("fault", text),
    ])  # fmt: skip


def _row(reply: Reply) -> dict[str, Any]:
    looked, admitted = reply.looked, reply.admitted
    row: dict[str, Any] = {
        "number": reply.number, "source": looked.source, "digest": looked.digest,
        "size": looked.size, "width": looked.width, "height": looked.height,
        "taken": None if looked.taken is None else looked.taken.isoformat(),
        "error": None if looked.error is None else looked.error.code, "said": str(looked.error),
        "judged": admitted is not None, "reason": None, "detail": "", "faces": [],
        "machine": reply.machine, "device": reply.device, "fault": reply.fault,
    }  # fmt: skip
    if admitted is not None:
        faces = zip(admitted.faces, admitted.vectors, strict=True)
        row |= {
            "reason": admitted.reason,
            "detail": admitted.detail,
            "faces": [_face_row(face, vector) for face, vector in faces],
        }
    return row


def _face_row(face: FoundFace, vector: NDArray[np.float32]) -> dict[str, Any]:
    """A face and its vector, float32 (D,)."""
    crop = face.crop
    return {
        "box": _bytes(crop.face.box, "<f4"),
        "points": None if crop.face.points is None else _bytes(crop.face.points, "<f4"),
        "confidence": crop.face.confidence,
        "warp": _bytes(crop.warp, "<f8"),
        "quality": _bytes(np.array(astuple(face.quality)), "<f8"),
        "pixels": _bytes(crop.pixels, "u1"),
        "side": len(crop.pixels),
        "vector": _bytes(vector, "<f4"),
    }


def _reply(row: Mapping[str, Any]) -> Reply:
    error = None if row["error"] is None else _error(row["error"], row["said"])
    taken = None if row["taken"] is None else datetime.fromisoformat(row["taken"])
    admitted = None
    if row["judged"]:
        faces = tuple(_found(face) for face in row["faces"])
        vectors = _vectors(row["faces"])
        admitted = Admitted(faces, vectors, row["reason"], row["detail"])
    looked = Looked(
        row["source"], row["digest"], row["size"], row["width"], row["height"], taken,
        () if admitted is None else admitted.faces, error,
    )  # fmt: skip
    return Reply(row["number"], looked, admitted, row["machine"], row["device"], row["fault"])


def _found(row: Mapping[str, Any]) -> FoundFace:
    points = None if row["points"] is None else _array(row["points"], "<f4", (5, 2))
    face = Face(_array(row["box"], "<f4", (4,)), points, row["confidence"])
    side = row["side"]
    pixels = _array(row["pixels"], "u1", (side, side, 3))
    quality = Quality(*_array(row["quality"], "<f8", (-1,)).tolist())
    return FoundFace(Crop(pixels, _array(row["warp"], "<f8", (2, 3)), face), quality)


def _vectors(faces: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
    """The vectors of N faces, float32 (N, D); (0, 0) where there is none."""
    if not faces:
        return np.empty((0, 0), np.float32)
    return np.stack([_array(face["vector"], "<f4", (-1,)) for face in faces])


def _error(code: str, said: str) -> UnusablePhoto:
    return _ERRORS.get(code, NotAnImage)(said)


def _bytes(array: NDArray[Any], kind: str) -> bytes:
    return np.ascontiguousarray(array, dtype=kind).tobytes()


def _array(data: bytes, kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """An array of its own in the machine's byte order."""
    found = np.frombuffer(data, dtype=kind)
    return found.astype(found.dtype.newbyteorder("="), copy=True).reshape(shape)
