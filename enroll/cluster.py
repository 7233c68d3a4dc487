"""A library of unlabeled photos into clusters of one person each.

Every usable face of every photo becomes an unnamed template, so that running again decodes
nothing twice; the result is a run of numbered clusters, the largest first, which
`vultus name NUMBER NAME` turns into people.

The default method needs no number of clusters: average link with a cut that follows the size of
the clusters (`index.linkage.sized_link`), at the similarity that strangers of the calibration
reach at a rate of `verify.cuts.CUT_RATE`; see docs/clustering.md.

Letters: N faces, D dimensions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from embedder.admission import admit
from embedder.embed import FoundFace
from embedder.quality import DEFAULT_GATE, Gate
from enroll.batches import batches
from enroll.folder import find_photos
from enroll.intake import Looked, Ticket, look_ahead
from enroll.person import add_face, find_exactly, person_of, same_face
from enroll.sheet import require_place
from index.kmeans import kmeans
from index.linkage import sized_link
from store.audit import append_event
from store.clusters import clusters_of, find_cluster, name_cluster, save_run
from store.consent import NONE as NO_CONSENT
from store.consent import Consent, record_consent, require_consent
from store.errors import UnknownCluster
from store.gallery import pin_space, require_space
from store.photos import photo_records, record_photo
from store.sealing import require_comparable
from store.sync import refresh, save
from store.templates import LibraryFaces, faces_of_photos
from verify.cuts import cuts_of
from verify.opening import Parts

_SMALL, _TRIES = 1_000_000, 10  # products a step up to which k-means can begin anew so often
NO_FACE = "face_not_found"


@dataclass(frozen=True, slots=True)
class ClusterRules:
    """How a library is clustered.

    Attributes:
        k: the number of clusters, for k-means; None: the default method finds it.
        faces: which faces of a photo: `all`, `largest` or `centre`.
        gate: the least quality.
        seed: of k-means.
        jobs: threads that decode and detect; None: one a core.
    """

    k: int | None = None
    faces: str = "all"
    gate: Gate = DEFAULT_GATE
    seed: int = 0
    jobs: int | None = None


@dataclass(frozen=True, slots=True)
class Unsorted:
    """A photo none of whose faces is in a cluster, and why."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """Faces of one person, as far as can be told.

    Attributes:
        number: 1 is the largest.
        templates: ids of its faces, the most typical first.
        files: the photo of each face.
        name: the person's name once it has one.
    """

    number: int
    templates: tuple[int, ...]
    files: tuple[str, ...]
    name: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        faces = [
            {"template": template, "file": file}
            for template, file in zip(self.templates, self.files, strict=True)
        ]
        return {"cluster": self.number, "name": self.name, "size": len(faces), "faces": faces}

    def without(self, templates: Collection[int], names: Collection[str]) -> Cluster:
        """The cluster without some faces, and without its name if that is one of some."""
        faces = zip(self.templates, self.files, strict=True)
        kept = [(template, file) for template, file in faces if template not in templates]
        name = None if self.name in names else self.name
        return Cluster(self.number, tuple(t for t, _ in kept), tuple(f for _, f in kept), name)


@dataclass(frozen=True, slots=True)
class Clustering:
    """The clusters of a library.

    Attributes:
        run: id of the run in the database.
        method: how they were found, in words.
        photos: how many photos were looked at.
        clusters: the largest first.
        unsorted: photos without a usable face.
    """

    run: int
    method: str
    photos: int
    clusters: tuple[Cluster, ...]
    unsorted: tuple[Unsorted, ...]

    @property
    def faces(self) -> int:
        """How many faces are in the clusters."""
        return sum(len(cluster.templates) for cluster in self.clusters)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "run": self.run,
            "method": self.method,
            "photos": self.photos,
            "faces": self.faces,
            "clusters": [cluster.to_dict() for cluster in self.clusters],
            "unsorted": [{"file": u.file, "reason": u.reason} for u in self.unsorted],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Clustering:
        """What `to_dict` gave; KeyError, TypeError or ValueError where it is something else."""
        clusters = tuple(
            Cluster(
                int(one["cluster"]),
                tuple(int(face["template"]) for face in one["faces"]),
                tuple(str(face["file"]) for face in one["faces"]),
                one["name"],
            )
            for one in values["clusters"]
        )
        unsorted = tuple(Unsorted(u["file"], u["reason"]) for u in values["unsorted"])
        return cls(values["run"], values["method"], values["photos"], clusters, unsorted)

    def without(
        self, templates: Collection[int], names: Collection[str], files: Collection[str]
    ) -> Clustering:
        """The same without some faces, names and unsorted photos; numbers stay."""
        gone, called, lost = set(templates), set(names), set(files)
        some = (cluster.without(gone, called) for cluster in self.clusters)
        return replace(
            self,
            clusters=tuple(cluster for cluster in some if cluster.templates),
            unsorted=tuple(photo for photo in self.unsorted if photo.file not in lost),
        )

    def renumbered(self, numbers: Mapping[int, int]) -> Clustering:
        """The same with other numbers of templates; those that are not named stay."""
        clusters = (
            replace(cluster, templates=tuple(numbers.get(t, t) for t in cluster.templates))
            for cluster in self.clusters
        )
        return replace(self, clusters=tuple(clusters))


def cluster_library(
    parts: Parts,
    library: Path,
    rules: ClusterRules | None = None,
    *,
    out: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Clustering:
    """Cluster the faces of a library.

    Args:
        parts: the gallery; the faces are kept there, unnamed.
        library: a folder of photos, with any folders inside.
        rules: how.
        out: where the contact sheet will be, kept with the run so that forgetting finds it.
        progress: called after each commit with photos done and photos in all.

    Raises:
        FolderUnusable, NothingToEnroll: no photos.
        OutputUnusable: `out` holds something that the sheet would replace.
        NoCalibration, UnsupportedRate: the default method has no cut.
        SpaceMismatch: the gallery is pinned to another encoder.
        OneToOneOnly: the gallery's people cannot be compared with each other.
        VectorIndexError: k is less than 1 or more than there are faces.
    """
    rules = rules or ClusterRules()
    if out is not None:
        require_place(out)
    paths, _ = find_photos(library)
    cuts = None if rules.k is not None else cuts_of(parts.calibration)
    files: dict[str, str] = {}  # digest → where the photo lies now
    unsorted = []
    done = 0
    for batch in _read_library(parts, paths, rules):
        for looked, reason in batch:
            if reason is not None:
                unsorted.append(Unsorted(looked.source, reason))
            if looked.digest is not None:
                files.setdefault(looked.digest, looked.source)
        done += len(batch)
        if progress is not None:
            progress(done, len(paths))
    with parts.store.read() as session:
        faces = faces_of_photos(session, list(files), parts.card.space)
    labels, method = _partition(faces, rules, cuts)
    clusters = _ordered(faces, labels)
    where = {"library": str(library), "out": None if out is None else str(out.resolve())}
    with parts.store.begin() as session:
        run = save_run(
            session, space=parts.card.space, method=method, source=str(library),
            parameters=where | {"k": rules.k, "seed": rules.seed, "faces": rules.faces},
            clusters={number: faces.ids[rows].tolist() for number, rows in clusters.items()},
        )  # fmt: skip
        append_event(
            session, "clustered",
            details={
                "run": run.id, "method": method, "space": run.space, "photos": len(paths),
                "faces": len(faces), "clusters": len(clusters),
            },
            private={"source": str(library)},
        )  # fmt: skip
        told = _tell(session, faces, clusters, files)
    return Clustering(run.id, method, len(paths), told, tuple(unsorted))


def partition(
    vectors: NDArray[np.float32],
    cuts: tuple[float, float],
    apart: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """The default method on vectors.

    Args:
        vectors: float32 (N, D), unit rows.
        cuts: as `verify.cuts.cuts_of` gives them.
        apart: int64 (P, 2), rows that must not share a cluster.

    Returns:
        int64 (N,), a label a row.
    """
    return sized_link(vectors, cuts[0], cuts[1], apart)


def _partition(
    faces: LibraryFaces, rules: ClusterRules, cuts: tuple[float, float] | None
) -> tuple[NDArray[np.int64], str]:
    """Labels, int64 (N,), and the method in words."""
    if rules.k is not None:
        tries = _TRIES if len(faces) * rules.k <= _SMALL else 3
        found = kmeans(faces.vectors, rules.k, seed=rules.seed, tries=tries)
        return found.labels, f"k-means, k = {rules.k}"
    if cuts is None or len(faces) == 0:
        return np.zeros(len(faces), dtype=np.int64), "no faces"
    labels = partition(faces.vectors, cuts, _two_people(faces))
    return labels, f"average link, cut at similarity {cuts[0]:.3f}"


def _two_people(faces: LibraryFaces) -> NDArray[np.int64]:
    """Pairs of rows that are faces of one photo, and so two people: int64 (P, 2)."""
    by_photo: dict[int, list[int]] = {}
    for row, photo in enumerate(faces.photo_ids.tolist()):
        by_photo.setdefault(photo, []).append(row)
    pairs = [pair for rows in by_photo.values() for pair in combinations(rows, 2)]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _ordered(faces: LibraryFaces, labels: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Number → rows: clusters by size, rows of a cluster by closeness to its mean."""
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    groups.sort(key=lambda rows: (-len(rows), int(faces.ids[rows[0]])))
    ordered = {}
    for number, rows in enumerate(groups, start=1):
        vectors = faces.vectors[rows]
        closeness = vectors @ vectors.mean(axis=0)
        ordered[number] = rows[np.argsort(-closeness, kind="stable")]
    return ordered


def _tell(
    session: Session,
    faces: LibraryFaces,
    clusters: dict[int, NDArray[np.int64]],
    files: dict[str, str],
) -> tuple[Cluster, ...]:
    from store.photos import origins
    from store.templates import owners

    photos = origins(session, faces.ids.tolist())
    named = owners(session, faces.ids[faces.person_ids >= 0].tolist())
    told = []
    for number, rows in clusters.items():
        ids = faces.ids[rows].tolist()
        names = Counter(named[i].name for i in ids if i in named)
        name = min(names, key=lambda n: (-names[n], n)) if names else None
        where = tuple(files[photos[i].digest] for i in ids)
        told.append(Cluster(number, tuple(ids), where, name))
    return tuple(told)


def _read_library(
    parts: Parts, paths: list[Path], rules: ClusterRules
) -> Iterator[list[tuple[Looked, str | None]]]:
    """Look at the photos not seen yet and store their faces, a transaction a batch.

    Yields:
        Each photo of a batch, with the reason why it shows nobody, or None.
    """
    space = parts.card.space
    with parts.store.read() as session:
        require_space(session, space)
        require_comparable(session)

    def known(digest: str) -> bool:
        with parts.store.read() as session:
            record = photo_records(session, [digest]).get(digest)
        return record is not None and record.outcome == "library"

    tickets = (Ticket(path, None) for path in paths)
    looked = look_ahead(tickets, parts.embedder, rules.faces, known, rules.jobs)
    for batch in batches(photo for photo, _ in looked):
        admissions = [(photo, admit(photo.faces, rules.faces, rules.gate)) for photo in batch]
        vectors = parts.embedder.encode([f for _, a in admissions for f in a.faces]).vectors
        told: list[tuple[Looked, str | None]] = []
        with parts.store.begin() as session:
            pin_space(session, space)
            start = 0
            for photo, admission in admissions:
                own = vectors[start : start + len(admission.faces)]
                start += len(own)
                with session.begin_nested():
                    reason = _store(session, space, photo, admission.faces, own, admission.reason)
                told.append((photo, reason))
        yield told


def _store(
    session: Session,
    space: str,
    looked: Looked,
    faces: tuple[FoundFace, ...],
    vectors: NDArray[np.float32],
    reason: str | None,
) -> str | None:
    """Keep a photo of a library and its faces; the reason why it shows nobody, or None.

    Args:
        session: a transaction that writes.
        space: the vector space.
        looked: the photo.
        faces: its N usable faces.
        vectors: float32 (N, D).
        reason: why none is usable, or None.
    """
    if looked.digest is None:
        return "not_an_image" if looked.error is None else looked.error.reason
    if looked.known:
        return photo_records(session, [looked.digest])[looked.digest].reason
    why = looked.error.reason if looked.error is not None else reason
    record = photo_records(session, [looked.digest]).get(looked.digest)
    if record is not None and record.outcome == "library":
        return record.reason  # the same bytes under another name, earlier in this batch
    kept = faces_of_photos(session, [looked.digest], space)
    photo = record_photo(
        session, looked.digest, looked.source, looked.size, looked.width, looked.height,
        outcome="library", reason=why, taken=looked.taken,
    )  # fmt: skip
    for face, vector in zip(faces, vectors, strict=True):
        if same_face(kept, vector) is None:
            add_face(session, photo, face, space, vector, None)
    return why


@dataclass(frozen=True, slots=True)
class Named:
    """A cluster that was given a name.

    Attributes:
        number: the cluster.
        person: the name.
        faces: how many faces the cluster has.
        added: whether the person is new.
    """

    number: int
    person: str
    faces: int
    added: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "cluster": self.number,
            "person": self.person,
            "faces": self.faces,
            "new_person": self.added,
        }


def name_person(
    parts: Parts, number: int, name: str, site: str = "", consent: Consent = NO_CONSENT
) -> Named:
    """Turn a cluster of the last run into an enrolled person, or add it to one.

    Args:
        parts: the gallery.
        number: the cluster's number on the contact sheet.
        name: the person's name.
        site: where a new person belongs.
        consent: why their data may be kept.

    Raises:
        UnknownCluster: no such cluster in the last run, or its faces were forgotten.
        ConsentMissing: the site requires it, and it is not on record.
        InvalidName: the name cannot be stored.
    """
    index = parts.index
    with parts.store.begin() as session:
        cluster = find_cluster(session, number)
        known = find_exactly(session, name, site)
        require_consent(session, site, consent, known)
        added, person = known is None, person_of(session, name, site)
        record_consent(session, person, consent)
        faces = name_cluster(session, cluster, person, created=added)
        if faces == 0:
            raise UnknownCluster(number)
        named = Named(number, person.name, faces, added)
    refresh(index)
    save(index)
    return named


def summary_of_last(parts: Parts) -> list[tuple[int, int, str | None]]:
    """Number, size and name of the clusters of the last run."""
    from store.clusters import latest_run

    with parts.store.read() as session:
        run = latest_run(session)
        found = [] if run is None else clusters_of(session, run)
    return [(cluster.number, cluster.size, cluster.name) for cluster in found]
