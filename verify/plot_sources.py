"""Where the vectors of a plot come from: a gallery, a folder with a folder per class, an .npz file.

Letters: N vectors, D dimensions, S side.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.embed import Embedder, FoundFace
from store.gallery import require_space
from store.photos import crops
from store.templates import named_templates, owners
from verify.errors import PlotUnusable
from verify.opening import Parts
from verify.photoset import encode, list_people
from verify.plot import Cloud, drawn

LIMIT = 3000  # vectors of a plot, unless more are asked for
_THUMBNAIL = 64  # pixels
_QUALITY = 75
_CHUNK = 500


def of_gallery(
    parts: Parts, *, site: str | None = None, limit: int = LIMIT, seed: int = 0,
    pictures: bool = True,
) -> Cloud:  # fmt: skip
    """The templates of a gallery's people, with their crops.

    Args:
        parts: the gallery.
        site: only people of this site.
        limit: a draw of so many where there are more.
        seed: of the draw.
        pictures: take the crops along.

    Raises:
        SpaceMismatch: the gallery is of another space than the encoder.
        OneToOneOnly: its templates cannot be compared with each other.
        PlotUnusable: nobody is enrolled.
    """
    with parts.store.read() as session:
        require_space(session, parts.card.space)
        faces = named_templates(session, parts.card.space)
        whose = owners(session, faces.ids.tolist())
    rows = [
        row
        for row, template in enumerate(faces.ids.tolist())
        if template in whose and (site is None or whose[template].site == site)
    ]
    if not rows:
        where = "" if site is None else f" in the site {site!r}"
        raise PlotUnusable(
            f"Nobody is enrolled{where}: enrol people first, or name a folder or an .npz file."
        )
    chosen = [rows[i] for i in drawn(len(rows), limit, seed).tolist()]
    ids = faces.ids[chosen].tolist()
    return Cloud(
        vectors=faces.vectors[chosen],
        labels=tuple(whose[template].name for template in ids),
        files=tuple(f"template {template}" for template in ids),
        thumbnails=_crops(parts, ids) if pictures else (None,) * len(ids),
        source="the gallery" + ("" if site is None else f", site {site}"),
        total=len(rows),
        templates=tuple(ids),
    )


def _crops(parts: Parts, ids: list[int]) -> tuple[bytes | None, ...]:
    """The crops of templates as small JPEG files."""
    found: dict[int, bytes] = {}
    for start in range(0, len(ids), _CHUNK):
        with parts.store.read() as session:
            some = crops(session, ids[start : start + _CHUNK])
        found |= {template: _smaller(jpeg) for template, jpeg in some.items()}
    return tuple(found.get(template) for template in ids)


def _smaller(jpeg: bytes) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(jpeg)) as image:
        return thumbnail(np.asarray(image.convert("RGB"), np.uint8))


def thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """A picture, uint8 (H, W, 3), as a JPEG file of at most 64 × 64."""
    from PIL import Image

    small = Image.fromarray(pixels)
    small.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return file.getvalue()


def of_folder(
    embedder: Embedder, root: Path, *, rule: str = "centre", limit: int = LIMIT, seed: int = 0,
    pictures: bool = True, quiet: bool = False,
) -> Cloud:  # fmt: skip
    """The pictures of a folder, encoded; a folder per class (`DIR/Name/*.jpg`).

    Args:
        embedder: detector and encoder.
        root: the folder.
        rule: which face of a photo with several: `centre` or `largest`.
        limit: a draw of so many pictures where there are more.
        seed: of the draw.
        pictures: keep small copies of the crops.
        quiet: no progress bar.

    Raises:
        NothingToMeasure: it holds no pictures.
        PlotUnusable: none of them gave a vector.
    """
    listing = list_people(root)
    small: dict[int, bytes] = {}

    def seen(row: int, face: FoundFace) -> None:
        if pictures:
            small[row] = thumbnail(face.crop.pixels)

    asked = drawn(len(listing), limit, seed)
    photos = encode(embedder, listing, asked, rule=rule, quiet=quiet, seen=seen)
    rows = [row for row in asked.tolist() if row not in photos.reasons]
    reasons = dict(Counter(photos.reasons.values()).most_common())
    if not rows:
        told = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
        raise PlotUnusable(
            f"None of the {len(asked)} pictures of {root} gave a vector ({told}): is the detector "
            "the right one? --detector whole takes pictures of things as they are."
        )
    return Cloud(
        vectors=photos.vectors[rows],
        labels=tuple(listing.person(row) for row in rows),
        files=tuple(listing.files[row] for row in rows),
        thumbnails=tuple(small.get(row) for row in rows),
        source=f"{root.resolve().name}, {embedder.encoder.card.name}",
        left_out=reasons,
        total=len(listing) - len(reasons),
    )


def of_npz(path: Path, *, limit: int = LIMIT, seed: int = 0, pictures: bool = True) -> Cloud:
    """The vectors of an .npz file.

    It holds `vectors` (N, D), and may hold `labels` (N,), `names` (which labels that are numbers
    point into) and `pictures` uint8 (N, S, S) or (N, S, S, C).

    Args:
        path: the file.
        limit: a draw of so many where there are more.
        seed: of the draw.
        pictures: take `pictures` along.

    Raises:
        PlotUnusable: it cannot be read, or the arrays are not these.
    """
    arrays = _arrays(path)
    vectors = unit(arrays["vectors"], path)
    count = len(vectors)
    rows = drawn(count, limit, seed)
    labels = _labels(arrays, count, path)
    small: list[bytes | None] = [None] * len(rows)
    if pictures and "pictures" in arrays:
        shown = _pictures(arrays["pictures"], count, path)
        small = [thumbnail(picture) for picture in shown[rows]]
    return Cloud(
        vectors=vectors[rows],
        labels=tuple(labels[row] for row in rows.tolist()),
        files=tuple(f"row {row}" for row in rows.tolist()),
        thumbnails=tuple(small),
        source=path.name,
        total=count,
    )


def everything(parts: Parts, place: Path, *, rule: str = "centre", quiet: bool = False) -> Cloud:
    """All vectors of a folder or an .npz file, without pictures.

    Args:
        parts: detector and encoder, opened for a folder.
        place: a folder per class, or an .npz file.
        rule: which face of a photo with several: `centre` or `largest`.
        quiet: no progress bar.

    Raises:
        NothingToMeasure, PlotUnusable: there is nothing that can be used.
    """
    if place.is_dir():
        return of_folder(
            parts.embedder, place, rule=rule, limit=sys.maxsize, pictures=False, quiet=quiet
        )
    return of_npz(place, limit=sys.maxsize, pictures=False)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files if name in _KEYS}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise PlotUnusable(f"{path} is no .npz file that can be read ({error}).") from error
    except (TypeError, AttributeError) as error:  # a single array: it has no names
        raise PlotUnusable(f"{path} is no .npz file: write one with numpy.savez.") from error
    if "vectors" not in found:
        raise PlotUnusable(
            f"{path} has no array `vectors` (N, D): write it with "
            "numpy.savez(path, vectors=…, labels=…)."
        )
    return found


_KEYS = frozenset({"vectors", "labels", "names", "pictures"})


def unit(vectors: NDArray[Any], path: Path) -> NDArray[np.float32]:
    """Vectors as float32 (N, D) of unit rows.

    Args:
        vectors: real numbers (N, D), no row zero.
        path: what messages call them.

    Raises:
        PlotUnusable: another shape or kind, or a row that is zero or not finite.
    """
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or vectors.shape[1] < 1:
        raise PlotUnusable(
            f"{path}: `vectors` is {vectors.dtype} {vectors.shape}; it must be numbers (N, D)."
        )
    rows = vectors.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0))
    if len(bad):
        raise PlotUnusable(f"{path}: row {bad[0]} of `vectors` is zero or not finite.")
    return np.asarray(rows / lengths, np.float32)


def _labels(arrays: dict[str, NDArray[Any]], count: int, path: Path) -> list[str]:
    """N labels in words."""
    if "labels" not in arrays:
        return [""] * count
    labels = arrays["labels"]
    if labels.shape != (count,) or labels.dtype.kind not in "iuUb":
        raise PlotUnusable(
            f"{path}: `labels` is {labels.dtype} {labels.shape}; it must be numbers or texts "
            f"({count},)."
        )
    names = arrays.get("names")
    if names is None or labels.dtype.kind == "U":
        return [str(label) for label in labels.tolist()]
    if names.ndim != 1 or not len(names) or not -1 <= labels.min() <= labels.max() < len(names):
        raise PlotUnusable(f"{path}: `labels` point out of `names` ({len(names)} of them).")
    return ["" if label < 0 else str(names[label]) for label in labels.tolist()]


def _pictures(given: NDArray[Any], count: int, path: Path) -> NDArray[np.uint8]:
    """Uint8 (N, S, S, 3)."""
    shaped = given[..., None] if given.ndim == 3 else given
    if given.dtype != np.uint8 or shaped.ndim != 4 or len(shaped) != count:
        raise PlotUnusable(
            f"{path}: `pictures` is {given.dtype} {given.shape}; it must be uint8 ({count}, S, S) "
            f"or ({count}, S, S, 3)."
        )
    if shaped.shape[3] not in {1, 3}:
        raise PlotUnusable(f"{path}: `pictures` has {shaped.shape[3]} channels; 1 or 3 are right.")
    return np.broadcast_to(shaped, (*shaped.shape[:3], 3))
