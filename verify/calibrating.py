"""Calibrate on a folder of people, on the gallery, or on both; keep the curve, put it in force."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedder.admission import admit
from embedder.errors import UnusablePhoto
from embedder.photo import is_photo_name
from embedder.quality import DEFAULT_GATE
from embedder.weights import digest_of
from store.calibrations import (
    decisions_by_calibration,
    find_calibration,
    list_calibrations,
    use_calibration,
    use_none,
)
from store.gallery import put_calibration, require_space
from store.photos import enrolled_digests
from store.records import Calibration as Row
from store.templates import named_templates
from verify.calibration import Calibration, parse, shipped
from verify.combining import combine
from verify.errors import CalibrationBroken, NoCalibration, NothingToMeasure
from verify.fitting import fit
from verify.opening import Parts
from verify.output import as_line
from verify.photoset import PhotoSet
from verify.progress import progress

_BATCH = 32
_LEAST_PEOPLE = 4  # fewer have no supported rate below 1


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a calibration run made.

    Attributes:
        calibration: the curve.
        number: its row in the database.
        missed: files of the folder that could not be used.
        known: how many photos of the folder were left out because the gallery holds them.
    """

    calibration: Calibration
    number: int
    missed: tuple[str, ...] = ()
    known: int = 0


def calibrate(
    parts: Parts,
    people: Path | None = None,
    *,
    gallery: bool = False,
    on_multiple: str = "centre",
) -> Fitted:
    """Fit a calibration and put it in force for the space; earlier ones stay on record.

    People of the folder are compared among themselves and people of the gallery among themselves:
    one person may be in both under two names. A photo that is in both counts in the gallery.

    Args:
        parts: the gallery.
        people: a folder a person, or None.
        gallery: whether to use the people enrolled.
        on_multiple: `centre` or `largest`, for photos of the folder with several faces.

    Raises:
        NothingToMeasure: fewer than four people with a usable photo; nothing has changed then.
        SpaceMismatch: the gallery is of another encoder's space.
    """
    curves: list[Calibration] = []
    missed: list[str] = []
    known = 0
    if gallery:
        curves.append(of_gallery(parts))
    if people is not None:
        held = _held(parts) if gallery else frozenset()
        curve, missed, known = _of_folder(parts, people, on_multiple, held)
        curves.append(curve)
    if not curves:
        raise NothingToMeasure("Name a folder of people, or ask for those enrolled: --gallery.")
    calibration = curves[0] if len(curves) == 1 else combine(curves)
    return Fitted(calibration, keep(parts, calibration), tuple(missed), known)


def calibrate_on(
    parts: Parts, people: Path, on_multiple: str = "centre"
) -> tuple[Calibration, list[str]]:
    """As `calibrate` on a folder a person: the calibration, and the files without use."""
    fitted = calibrate(parts, people, on_multiple=on_multiple)
    return fitted.calibration, list(fitted.missed)


def keep(parts: Parts, calibration: Calibration, *, in_force: bool = True) -> int:
    """Store a calibration; its number.

    Args:
        parts: the gallery.
        calibration: the curve, of whatever space.
        in_force: whether decisions in its space use it from now on.
    """
    body = as_line(calibration.to_dict())
    with parts.store.begin() as session:
        row = put_calibration(
            session, calibration.space, body, calibration.data_digest, active=in_force
        )
        return row.id


def of_gallery(parts: Parts) -> Calibration:
    """The curve of the people enrolled: mated where they have two templates or more.

    Raises:
        NothingToMeasure: fewer than four people.
        SpaceMismatch: the gallery is of another encoder's space.
    """
    with parts.store.read() as session:
        require_space(session, parts.card.space)
        faces = named_templates(session, parts.card.space)
    names = [str(person) for person in faces.person_ids]
    digest = hashlib.sha256()
    for name, vector in zip(names, faces.vectors, strict=True):
        digest.update(f"{name}\0".encode() + vector.tobytes())
    _require_people(len(set(names)), "The gallery")
    return fit(
        faces.vectors, names, space=parts.card.space, source="the gallery",
        data_digest=digest.hexdigest(),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Listed:
    """One calibration of the list.

    Attributes:
        number: its row, or `shipped`.
        in_force: whether decisions in its space use it.
        source: the data it was fitted on.
        people: how many.
        smallest_fmr: the smallest rate it supports.
        created: ISO date.
        decisions: how many decisions rest on it; None for the shipped one, which they do not name.
        space: the vector space.
        data_digest: hex sha256 of the data.
    """

    number: str
    in_force: bool
    source: str
    people: int
    smallest_fmr: float
    created: str
    decisions: int | None
    space: str
    data_digest: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def listing(parts: Parts) -> list[Listed]:
    """The calibrations kept, the oldest first, then the one shipped with the encoder."""
    with parts.store.read() as session:
        rows = list_calibrations(session)
        used = decisions_by_calibration(session)
        found = [
            _listed(str(row.id), parse(row.body), used.get(row.id, 0), in_force=row.active)
            for row in rows
        ]
    ours = shipped().get(parts.card.space)
    if ours is None:
        return found
    in_force = not any(row.active and row.space == parts.card.space for row in rows)
    return [*found, _listed("shipped", ours, None, in_force=in_force)]


def _listed(
    number: str, calibration: Calibration, decisions: int | None, *, in_force: bool
) -> Listed:
    return Listed(
        number=number,
        in_force=in_force,
        source=calibration.source,
        people=calibration.people,
        smallest_fmr=calibration.smallest_fmr,
        created=calibration.created,
        decisions=decisions,
        space=calibration.space,
        data_digest=calibration.data_digest,
    )


def put_in_force(parts: Parts, number: str) -> Calibration:
    """Put a calibration in force for its space; raises as `find`."""
    calibration, row = find(parts, number)
    with parts.store.begin() as session:
        if row is None:
            use_none(session, calibration.space)
        else:
            use_calibration(session, row.id)
    return calibration


def read_file(parts: Parts, file: Path, *, in_force: bool) -> tuple[Calibration, int]:
    """Keep a calibration from a file of JSON: the calibration and its number.

    Args:
        parts: the gallery.
        file: as `export` wrote it.
        in_force: whether to put it in force for its space.

    Raises:
        CalibrationBroken: the file holds none.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CalibrationBroken(f"{file} is not a calibration: it is no text.") from error
    calibration = parse(text)
    return calibration, keep(parts, calibration, in_force=in_force)


def combine_kept(parts: Parts, numbers: Sequence[str]) -> tuple[Calibration, int]:
    """Add the counts of kept calibrations, keep the sum and put it in force.

    Raises:
        CannotCombine: one alone, several spaces, or the same data twice.
        UnknownCalibration: no calibration of a number.
    """
    calibration = combine([find(parts, number)[0] for number in numbers])
    return calibration, keep(parts, calibration)


def find(parts: Parts, number: str) -> tuple[Calibration, Row | None]:
    """A calibration of the gallery by its number, or `shipped` for the encoder's own.

    Raises:
        UnknownCalibration: no calibration of that number.
        NoCalibration: none was shipped for the encoder.
        CalibrationBroken: it cannot be read.
    """
    if number == "shipped":
        found = shipped().get(parts.card.space)
        if found is None:
            raise NoCalibration(parts.card.space)
        return found, None
    with parts.store.read() as session:
        row = find_calibration(session, int(number))
        session.expunge(row)
    return parse(row.body), row


def of_photos(photos: PhotoSet, space: str) -> Calibration:
    """The curve of the photos an evaluation looked at, less those without a usable face.

    Args:
        photos: the photos as vectors.
        space: the vector space.

    Raises:
        NothingToMeasure: fewer than four people.
    """
    listing = photos.listing
    rows = np.flatnonzero(photos.looked & ~photos.failed)
    names = [listing.person(int(row)) for row in rows]
    _require_people(len(set(names)), str(listing.root))
    digest = hashlib.sha256()
    for row, name in zip(rows.tolist(), names, strict=True):
        digest.update(f"{name}\0{digest_of(Path(listing.path(row)))}\n".encode())
    return fit(
        photos.vectors[rows], names, space=space, source=listing.root.resolve().name,
        data_digest=digest.hexdigest(),
    )  # fmt: skip


def _held(parts: Parts) -> frozenset[str]:
    with parts.store.read() as session:
        return enrolled_digests(session)


def _require_people(count: int, where: str) -> None:
    if count < _LEAST_PEOPLE:
        raise NothingToMeasure(
            f"{where} shows {count} people with a usable photo, which is too few for any rate: "
            "give four people at least, and several hundred to support small rates."
        )


def _of_folder(
    parts: Parts, people: Path, on_multiple: str, held: frozenset[str]
) -> tuple[Calibration, list[str], int]:
    """The curve of a folder, the files without use, and how many photos `held` left out."""
    files = sorted(path for path in people.glob("*/**/*") if is_photo_name(path))
    if not files:
        raise NothingToMeasure(f"{people} holds no folders of people: people/Name/*.jpg is needed.")
    names: list[str] = []
    missed: list[str] = []
    vectors = []
    digest = hashlib.sha256()
    faces = []
    known = 0
    for path in progress(files, "calibrating", "photo"):
        try:
            photo = parts.embedder.read(path)
        except UnusablePhoto:
            missed.append(str(path))
            continue
        if photo.digest in held:
            known += 1
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
    _require_people(len(set(names)), str(people))
    vectors.append(parts.embedder.encode(faces).vectors)
    calibration = fit(
        np.concatenate(vectors), names, space=parts.card.space, source=people.resolve().name,
        data_digest=digest.hexdigest(),
    )  # fmt: skip
    return calibration, missed, known
