"""Names that photos bring along in their XMP become people, as if somebody had named the faces.

Regions are matched to faces by the overlap of their boxes. Each name is an operation that
`vultus undo` takes back; what was named otherwise, or said not to be that person, stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from enroll.clustering_result import Unsorted
from enroll.clustering_xmp import SAME_PLACE, Region, SidecarUnusable, overlap, regions_of
from enroll.person import find_exactly, person_of
from store.consent import NONE as NO_CONSENT
from store.consent import require_consent
from store.errors import InvalidName
from store.facts import denied_templates
from store.names import clean_name
from store.photos import chunks
from store.regrouping import name_faces
from store.schema import Face, Person, Photo, Template
from store.sync import refresh, save
from verify.opening import Parts


@dataclass(frozen=True, slots=True)
class Names:
    """What became of the names in a library's photos.

    Attributes:
        named: how many faces have a person now.
        known: how many were called that already.
        left: photos with a name that was not taken, and why.
    """

    named: int
    known: int
    left: tuple[Unsorted, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        left = [{"file": one.file, "reason": one.reason} for one in self.left]
        return {"named": self.named, "known": self.known, "left": left}


@dataclass(frozen=True, slots=True)
class _Seen:
    """A stored face: its template, its box as parts of the picture, and what it is called."""

    template: int
    box: tuple[float, float, float, float]
    name: str | None


def read_names(parts: Parts, files: Mapping[str, str], site: str = "") -> Names:
    """Give the faces of photos the names in their XMP and sidecars.

    Args:
        parts: the gallery, which has the faces.
        files: digest → where the photo lies.
        site: where new people belong.

    Raises:
        ConsentMissing: the site requires consent, and it is not on record; nothing has changed.
    """
    regions, left = _regions(files)
    if not regions:
        return Names(0, 0, tuple(left))
    wanted: dict[str, list[tuple[int, str]]] = {}
    known = 0
    with parts.store.read() as session:
        faces = _faces(session, list(regions), parts.card.space)
    for digest, some in regions.items():
        file = files[digest]
        for region, face in _matched(some, faces.get(digest, [])):
            why = _objection(region, face)
            if why is not None or face is None:
                left.append(Unsorted(file, why or ""))
            elif face.name == clean_name(region.name):
                known += 1
            else:
                wanted.setdefault(clean_name(region.name), []).append((face.template, file))
    index = parts.index
    named = 0
    with parts.store.begin() as session:
        for name, templates in sorted(wanted.items()):
            named += _give(session, name, site, templates, left)
    refresh(index)
    save(index)
    return Names(named, known, tuple(left))


def _regions(files: Mapping[str, str]) -> tuple[dict[str, list[Region]], list[Unsorted]]:
    """Digest → regions, of the photos that tell any; and the photos whose XMP is unusable."""
    found, left = {}, []
    for digest, file in files.items():
        try:
            if some := regions_of(Path(file)):
                found[digest] = some
        except SidecarUnusable as error:
            if "picture" not in str(error):  # a file that is no picture is told as such
                left.append(Unsorted(file, str(error)))
        except OSError as error:
            left.append(Unsorted(file, error.strerror or str(error)))
    return found, left


def _faces(session: Session, digests: Sequence[str], space: str) -> dict[str, list[_Seen]]:
    """Digest → the faces of that photo."""
    found: dict[str, list[_Seen]] = {}
    box = (Face.x, Face.y, Face.w, Face.h, Photo.width, Photo.height)
    for some in chunks(list(digests)):
        query = select(Photo.digest, Template.id, Person.name, *box)
        query = query.join(Face, Face.photo_id == Photo.id).join(
            Template, Template.face_id == Face.id
        )
        query = query.outerjoin(Person, Person.id == Template.person_id)
        query = query.where(Photo.digest.in_(some), Template.space == space)
        for digest, template, name, x, y, w, h, width, height in session.execute(query):
            parts = (x / width, y / height, w / width, h / height)
            found.setdefault(digest, []).append(_Seen(template, parts, name))
    return found


def _matched(
    regions: Sequence[Region], faces: Sequence[_Seen]
) -> Iterator[tuple[Region, _Seen | None]]:
    """Each region with the face it lies on, the largest overlap first, or with None."""
    pairs = sorted(
        ((overlap(region.box, face.box), r, f)
         for r, region in enumerate(regions) for f, face in enumerate(faces)),
        reverse=True,
    )  # fmt: skip
    face_of: dict[int, int] = {}
    for common, row, column in pairs:
        if common >= SAME_PLACE and row not in face_of and column not in face_of.values():
            face_of[row] = column
    for number, region in enumerate(regions):
        yield region, faces[face_of[number]] if number in face_of else None


def _objection(region: Region, face: _Seen | None) -> str | None:
    """Why a name is not taken, or None."""
    try:
        name = clean_name(region.name)
    except InvalidName:
        return "a name that cannot be stored"
    if face is None:
        return f"no usable face where {name!r} is"
    if face.name is not None and face.name != name:
        return f"the face of {name!r} is called {face.name!r} here"
    return None


def _give(
    session: Session,
    name: str,
    site: str,
    templates: Sequence[tuple[int, str]],
    left: list[Unsorted],
) -> int:
    """Name templates, one operation a name; how many."""
    known = find_exactly(session, name, site)
    require_consent(session, site, NO_CONSENT, known)
    ids = [template for template, _ in templates]
    denied = frozenset[int]() if known is None else denied_templates(session, ids, known)
    left += [
        Unsorted(file, f"the face was said not to be {name!r}")
        for template, file in templates
        if template in denied
    ]
    free = [template for template in ids if template not in denied]
    if not free:
        return 0
    person = person_of(session, name, site)
    name_faces(session, free, person, created=known is None)
    return len(free)
