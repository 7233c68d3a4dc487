"""The gallery: all that Vultus does, from Python, one call a method."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from embedder.photo import Source
from enroll.cluster import Clustering, ClusterRules, Named, cluster_library, name_person
from enroll.corrections import Corrected, deny, merge, rename, split, undo
from enroll.encoding import Engine
from enroll.errors import NothingToEnroll
from enroll.folder import NamedPhoto, PeopleFolder
from enroll.forget import Forgotten, forget
from enroll.listing import read_photos
from enroll.person import EnrolmentRules, Outcome, enroll_people
from enroll.sheet import write_sheet
from store.operations import OperationSummary
from store.people import PersonSummary, list_people
from verify.decision import DEFAULT_FMR, Decision
from verify.opening import Parts, Places
from verify.pad import OFF, Pad
from verify.person import CaptureRules, Comparison, compare_captures, verify_person
from verify.photos import IdentifiedPhoto, identify_photos


@dataclass(frozen=True, slots=True)
class EnrolmentReport:
    """What became of every file of an enrolment.

    Attributes:
        outcomes: one a file, in order.
        layout: what was detected, in words.
    """

    outcomes: tuple[Outcome, ...]
    layout: str

    @property
    def counts(self) -> dict[str, int]:
        """How many files were enrolled, unchanged and rejected."""
        found = dict.fromkeys(("enrolled", "unchanged", "rejected"), 0)
        for outcome in self.outcomes:
            found[outcome.status] += 1
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        files = [outcome.to_dict() for outcome in self.outcomes]
        return {"layout": self.layout, **self.counts, "files": files}


class Gallery:
    """People, their templates, and the questions asked of them.

    Open it with `open_gallery` and close it, or use it in a `with` block. A picture is a path,
    the bytes of a file, a uint8 (H, W, 3) RGB array or a PIL image.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def enroll(
        self,
        photos: str | Path | Iterable[Source],
        name: str | None = None,
        rules: EnrolmentRules | None = None,
        engine: Engine | None = None,
    ) -> EnrolmentReport:
        """Enrol a folder of people, one photo, or pictures of one person.

        Args:
            photos: a folder (`people/Name/*.jpg` or `people/Name.jpg`), a photo's path, an address
                `s3://bucket/prefix`, or pictures, which need a `name`.
            name: everything is of this person.
            rules: how; see `EnrolmentRules`.
            engine: where they are encoded, such as `enroll.ray_engine.RayEngine("auto")`; None: in
                this process.

        Raises:
            FolderUnusable, NothingToEnroll: no photos there.
            SpaceMismatch: the gallery is pinned to another encoder.
        """
        if isinstance(photos, (str, Path)):
            folder = read_photos(os.fspath(photos), name)
        else:
            folder = _pictures(photos, name)
        outcomes = tuple(enroll_people(self.parts, folder, rules, engine))
        return EnrolmentReport(outcomes, folder.layout)

    def verify(
        self, person: str, source: Source, *, fmr: float = DEFAULT_FMR, site: str | None = None,
        rules: CaptureRules | None = None, unsure: float | None = None,
        extrapolate: bool = False, explain: bool = False, pad: Pad = OFF,
    ) -> Decision:  # fmt: skip
        """Is this the person? See `verify.person.verify_person` for arguments and errors."""
        return verify_person(
            self.parts, person, source, fmr=fmr, site=site, rules=rules, unsure=unsure,
            extrapolate=extrapolate, explain=explain, pad=pad,
        )  # fmt: skip

    def compare(
        self, first: Source, second: Source, *, fmr: float = DEFAULT_FMR,
        rules: CaptureRules | None = None, unsure: float | None = None, extrapolate: bool = False,
    ) -> Comparison:  # fmt: skip
        """Do two pictures show one person? Errors as `verify`."""
        return compare_captures(
            self.parts, first, second, fmr=fmr, rules=rules, unsure=unsure, extrapolate=extrapolate
        )

    def identify(
        self, sources: Source | Iterable[Source], *, fpir: float | None = None,
        sites: list[str] | None = None, on_multiple: str = "all", unsure: float | None = None,
        extrapolate: bool = False, explain: bool = False,
    ) -> list[IdentifiedPhoto]:  # fmt: skip
        """Who is in these pictures? See `verify.photos.identify_photos`."""
        return list(
            identify_photos(
                self.parts,
                as_sources(sources),
                fpir=fpir,
                sites=sites,
                on_multiple=on_multiple,
                unsure=unsure,
                extrapolate=extrapolate,
                explain=explain,
            )
        )

    def cluster(
        self, library: str | Path, out: str | Path | None = None, rules: ClusterRules | None = None
    ) -> Clustering:
        """Group the faces of a library into people; with `out`, write the contact sheet there."""
        folder = None if out is None else Path(out)
        clustering = cluster_library(self.parts, Path(library), rules, out=folder)
        if folder is not None:
            write_sheet(self.parts, clustering, folder)
        return clustering

    def name(self, cluster: int, name: str, site: str = "") -> Named:
        """Turn a cluster of the last run into an enrolled person."""
        return name_person(self.parts, cluster, name, site)

    def rename(self, who: str, name: str, site: str | None = None) -> Corrected:
        """Give somebody another name; for this and the others see `enroll.corrections`."""
        return rename(self.parts, who, name, site)

    def merge(self, source: str, target: str, site: str | None = None) -> Corrected:
        """Make two people one: what `source` has moves to `target`."""
        return merge(self.parts, source, target, site)

    def split(
        self, who: str, name: str, which: Sequence[str | Path], site: str | None = None
    ) -> Corrected:
        """Make some of somebody's faces, by template or photo, a new person."""
        return split(self.parts, who, name, which, site)

    def deny(self, who: str, which: Sequence[str | Path], site: str | None = None) -> Corrected:
        """Keep that some faces, by template or photo, are not somebody's."""
        return deny(self.parts, who, which, site)

    def undo(self, operation: int | None = None) -> OperationSummary:
        """Take back a naming or a correction, the latest without a number."""
        return undo(self.parts, operation)

    def people(self, site: str | None = None) -> list[PersonSummary]:
        """Everybody in the gallery."""
        with self.parts.store.read() as session:
            return list_people(session, site)

    def forget(self, what: str, site: str | None = None) -> Forgotten:
        """Erase a person, or a photo by path or sha256, and all that came from it."""
        return forget(self.parts, what, site)

    def close(self) -> None:
        """Close the database."""
        self.parts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_gallery(
    database: str | Path | None = None,
    *,
    index: str | None = None,
    model: str | None = None,
    detector: str | None = None,
    device: str | None = None,
    runtime: str | None = None,
    key_file: str | Path | None = None,
) -> Gallery:
    """Open a gallery; a first call creates it.

    Args:
        database: path of an SQLite file or an SQLAlchemy URL; None: `VULTUS_DATABASE`, else a
            file in the user's data folder.
        index: engine URL; None: `VULTUS_INDEX`, else a file beside the database.
        model: `sface`, `sface-mirror` or `picture`; None: what the gallery was made with, else
            `VULTUS_MODEL`, else `vultus-face-1`.
        detector: `yunet` for faces, `whole` for pictures of things; None: the encoder's.
        device: `cpu` or `cuda`.
        runtime: `openvino` or `onnxruntime`.
        key_file: what opens a sealed gallery; None: `VULTUS_KEY_FILE`, and `VULTUS_KEY`.

    Raises:
        DatabaseUnusable, SchemaBehind, SchemaAhead: the database cannot be used.
    """
    places = Places(
        None if database is None else str(database), index, model, detector, device, runtime,
        key_file=None if key_file is None else str(key_file),
    )  # fmt: skip
    parts = Parts(places)
    parts.store.require_current()
    return Gallery(parts)


def as_sources(sources: Source | Iterable[Source]) -> list[Source]:
    """One picture, or many, as a list."""
    single = isinstance(sources, (str, bytes, os.PathLike, np.ndarray)) or hasattr(sources, "mode")
    return [sources] if single else list(sources)  # type: ignore[list-item,arg-type]  # told apart above


def _pictures(photos: Iterable[Source], name: str | None) -> PeopleFolder:
    """Pictures of one person as a folder."""
    if name is None:
        raise NothingToEnroll("Pictures need a name: gallery.enroll(pictures, name='Ann').")
    found = tuple(NamedPhoto(source, name) for source in as_sources(photos))
    if not found:
        raise NothingToEnroll(f"There is no picture to enrol for {name}.")
    return PeopleFolder(Path(), found, f"{len(found)} pictures of {name}", 0)
