"""Calibrate on a folder of people: embed, fit, store as the active calibration of the space."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from embedder.admission import admit
from embedder.errors import UnusablePhoto
from embedder.photo import is_photo_name
from embedder.quality import DEFAULT_GATE
from store.gallery import put_calibration
from verify.calibration import Calibration
from verify.errors import NothingToMeasure
from verify.fitting import fit
from verify.opening import Parts
from verify.output import as_line
from verify.progress import progress

_BATCH = 32


def calibrate_on(
    parts: Parts, people: Path, on_multiple: str = "centre"
) -> tuple[Calibration, list[str]]:
    """Fit a calibration on a folder a person, and make it the one in force for the space.

    Args:
        parts: the gallery.
        people: the folder.
        on_multiple: `centre` or `largest`, for photos with several faces.

    Returns:
        The calibration, and the files that could not be used.

    Raises:
        NothingToMeasure: fewer than two people with a usable photo.
    """
    files = sorted(path for path in people.glob("*/**/*") if is_photo_name(path))
    if not files:
        raise NothingToMeasure(f"{people} holds no folders of people: people/Name/*.jpg is needed.")
    names: list[str] = []
    missed: list[str] = []
    vectors = []
    digest = hashlib.sha256()
    faces = []
    for path in progress(files, "calibrating", "photo"):
        try:
            photo = parts.embedder.read(path)
        except UnusablePhoto:
            missed.append(str(path))
            continue
        found = admit(parts.embedder.faces(photo, on_multiple), on_multiple, DEFAULT_GATE)
        if found.reason is not None:
            missed.append(str(path))
            continue
        name = path.relative_to(people).parts[0]
        digest.update(f"{name}\0{photo.digest}\n".encode())
        names.append(name)
        faces.append(found.faces[0])
        if len(faces) == _BATCH:
            vectors.append(parts.embedder.encode(faces).vectors)
            faces = []
    vectors.append(parts.embedder.encode(faces).vectors)
    calibration = fit(
        np.concatenate(vectors), names, space=parts.card.space, source=people.resolve().name,
        data_digest=digest.hexdigest(),
    )  # fmt: skip
    body = as_line(calibration.to_dict())
    with parts.store.begin() as session:
        put_calibration(session, parts.card.space, body, calibration.digest)
    return calibration, missed
