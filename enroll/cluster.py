"""A library of unlabeled photos into clusters of one person each.

Every usable face of every photo becomes an unnamed template, so that running again decodes
nothing twice; the result is a run of numbered clusters, the largest first, which
`vultus name NUMBER NAME` turns into people.

The default method needs no number of clusters: average link with a cut that follows the size of
the clusters, on levelled similarities, and parts again what is less alike than it is in itself
(`index.levelled.levelled_link`), at the similarity that strangers of the calibration reach at a
rate of `verify.cuts.CUT_RATE`; see docs/clustering.md. When
the library was clustered before in the same way, new faces join the clusters that are there, and
the others stay as they are.

Letters: N faces, D dimensions, C clusters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from embedder.quality import DEFAULT_GATE, Gate
from enroll.clustering_known import Known, Shot, burst_cut, known_of, shots_of
from enroll.clustering_methods import AUTO, Method, Way, clustered, grown
from enroll.clustering_numbers import Before, Numbers, before_of, changes_of, numbered
from enroll.clustering_read import Reading, read_library
from enroll.clustering_result import Change, Cluster, Clustering, Suggestion, Unsorted
from enroll.clustering_suggest import (
    ANSWERS,
    MOST,
    SUGGESTED,
    found_suggestions,
    kept_form,
    odds_of,
    pending,
)
from enroll.folder import find_photos
from enroll.person import find_exactly, person_of
from enroll.sheet import require_place
from index.levelled import levelled_link
from store.audit import append_event
from store.clusters import clusters_of, find_cluster, name_cluster, record_run, save_run
from store.consent import NONE as NO_CONSENT
from store.consent import Consent, record_consent, require_consent
from store.errors import UnknownCluster
from store.schema import Template
from store.sync import refresh, save
from store.templates import LibraryFaces, faces_of_photos, owners
from verify.cuts import cuts_of
from verify.opening import Parts

__all__ = [
    "NO_FACE",
    "Change",
    "Cluster",
    "ClusterRules",
    "Clustering",
    "Named",
    "Suggestion",
    "Unsorted",
    "cluster_library",
    "name_person",
    "partition",
    "summary_of_last",
]

NO_FACE = "face_not_found"


@dataclass(frozen=True, slots=True)
class ClusterRules:
    """How a library is clustered.

    Attributes:
        k: the number of clusters, for k-means; `auto`: k-means with the number chosen; None: the
            method finds it.
        faces: which faces of a photo: `all`, `largest` or `centre`.
        gate: the least quality.
        seed: of k-means.
        jobs: threads that decode and detect; None: one a core.
        method: `link`, `graph`, `density` or `kmeans`; None: the default.
        bursts: whether photos taken within seconds of each other are a hint.
        again: cluster all faces anew, also where new ones could join.
    """

    k: int | Literal["auto"] | None = None
    faces: str = "all"
    gate: Gate = DEFAULT_GATE
    seed: int = 0
    jobs: int | None = None
    method: Method | None = None
    bursts: bool = True
    again: bool = False


@dataclass(frozen=True, slots=True)
class _Library:
    """Photos that were looked at.

    Attributes:
        photos: how many.
        files: digest → where the photo lies now.
        unsorted: those without a usable face.
    """

    photos: int
    files: dict[str, str]
    unsorted: tuple[Unsorted, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """The faces of a library and their clusters.

    Attributes:
        faces: N faces.
        shots: photo id → photo.
        known: what was known of them.
        before: the run before.
        numbers: the clusters.
        curve: how k was chosen, if it was.
        grew: whether faces joined the clusters that were there.
    """

    faces: LibraryFaces
    shots: Mapping[int, Shot]
    known: Known
    before: Before
    numbers: Numbers
    curve: Mapping[str, Any] | None
    grew: bool


def cluster_library(
    parts: Parts,
    library: Path,
    rules: ClusterRules | None = None,
    *,
    out: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    plan: bool = False,
    prepare: Callable[[Mapping[str, str]], None] | None = None,
) -> Clustering:
    """Cluster the faces of a library.

    Args:
        parts: the gallery; the faces are kept there, unnamed.
        library: a folder of photos, with any folders inside.
        rules: how.
        out: where the contact sheet will be, kept with the run so that forgetting finds it.
        progress: called after each commit with photos done and photos in all.
        plan: only tell what would change; faces are kept, clusters are not.
        prepare: called once the photos are read, with digest → file, before faces are compared.

    Raises:
        FolderUnusable, NothingToEnroll: no photos.
        OutputUnusable: `out` holds something that the sheet would replace.
        NoCalibration, UnsupportedRate: the method has no cut.
        SpaceMismatch: the gallery is pinned to another encoder.
        OneToOneOnly: the gallery's people cannot be compared with each other.
        VectorIndexError: k is less than 1 or more than there are faces.
    """
    rules = rules or ClusterRules()
    if out is not None:
        require_place(out)
    paths, _ = find_photos(library)
    way = _way(parts, rules)
    read = _read(parts, paths, rules, progress)
    if prepare is not None:
        prepare(read.files)
    found = _find(parts, str(library), read, rules, way)
    method = way.words if len(found.faces) or way.k is not None else "no faces"
    changes = changes_of(found.before, found.numbers)
    if plan:
        with parts.store.read() as session:
            told = _tell(session, found)
        return Clustering(0, method, read.photos, told, read.unsorted, (), changes, found.curve)
    hints = _hints(parts, found, changes)
    parameters = {
        "library": str(library), "out": None if out is None else str(out.resolve()),
        "k": rules.k, "seed": rules.seed, "faces": rules.faces, "method": way.method,
        "bursts": rules.bursts, "curve": found.curve,
    }  # fmt: skip
    faces, rows = found.faces, found.numbers.rows
    with parts.store.begin() as session:
        kept = _kept(session, found, hints, changes)
        run = save_run(
            session, space=parts.card.space, method=method, source=str(library),
            parameters=parameters | kept, uids=found.numbers.uids, people=_people(found),
            clusters={number: faces.ids[some].tolist() for number, some in rows.items()},
        )  # fmt: skip
        operation = record_run(session, run)
        append_event(
            session, "clustered",
            details={
                "run": run.id, "method": method, "space": run.space, "photos": read.photos,
                "faces": len(faces), "clusters": len(rows), "operation": operation.id,
            },
            private={"source": str(library)},
        )  # fmt: skip
        told, open_hints = _tell(session, found), pending(session, run)
    return Clustering(
        run.id, method, read.photos, told, read.unsorted, open_hints, changes, found.curve,
        operation.id,
    )  # fmt: skip


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
    return levelled_link(vectors, cuts[0], cuts[1], apart)


def _way(parts: Parts, rules: ClusterRules) -> Way:
    """The method and its cuts; pictures of things without a calibration of theirs have none."""
    k = None if rules.k == AUTO else rules.k
    if k is not None:
        return Way("kmeans", k, rules.seed, None)
    things = parts.detector == "whole" and parts.calibration_id is None
    if things and rules.method in {None, "kmeans"}:
        return Way("kmeans", None, rules.seed, None)
    method = "kmeans" if rules.k == AUTO else rules.method or "link"
    return Way(method, None, rules.seed, cuts_of(parts.calibration))


def _read(
    parts: Parts,
    paths: list[Path],
    rules: ClusterRules,
    progress: Callable[[int, int], None] | None,
) -> _Library:
    files: dict[str, str] = {}
    unsorted = []
    done = 0
    for batch in read_library(parts, paths, Reading(rules.faces, rules.gate, rules.jobs)):
        for looked, reason in batch:
            if reason is not None:
                unsorted.append(Unsorted(looked.source, reason))
            if looked.digest is not None:
                files.setdefault(looked.digest, looked.source)
        done += len(batch)
        if progress is not None:
            progress(done, len(paths))
    return _Library(len(paths), files, tuple(unsorted))


def _find(parts: Parts, source: str, read: _Library, rules: ClusterRules, way: Way) -> _Found:
    """The clusters of the faces of photos; nothing is kept."""
    space = parts.card.space
    hint = burst_cut(parts.calibration) if rules.bursts and way.cuts is not None else None
    with parts.store.read() as session:
        faces = faces_of_photos(session, list(read.files), space)
        shots = shots_of(session, faces, read.files)
        known = known_of(session, faces, shots, hint)
        before = before_of(session, faces.ids, source)
    curve = None
    alike = before.same and (before.method, before.space) == (way.words, space)
    grows = not rules.again and way.grows and alike
    if len(faces) == 0 and way.k is None:
        labels = np.zeros(0, dtype=np.int64)
    elif grows and way.cuts is not None:
        labels, curve = grown(faces.vectors, before.labels, known, way.cuts), before.curve
    else:
        labels, curve = clustered(faces.vectors, known, way)
    numbers = numbered(faces, labels, before, grew=grows)
    return _Found(faces, shots, known, before, numbers, curve, grows)


def _hints(
    parts: Parts, found: _Found, changes: tuple[Change, ...]
) -> list[tuple[dict[str, Any], NDArray[np.int64]]]:
    """What to suggest; of a library that grew only about the clusters that changed."""
    labels = found.numbers.labels
    things = parts.detector == "whole" and parts.calibration_id is None
    odds = None if things or not len(labels) else odds_of(parts.calibration, labels)
    if odds is None:
        return []
    changed = None
    if found.grew:
        changed = np.array([number for change in changes for number in change.after], np.int64)
    return found_suggestions(found.faces.vectors, labels, found.known, odds, changed)


def _kept(
    session: Session,
    found: _Found,
    hints: list[tuple[dict[str, Any], NDArray[np.int64]]],
    changes: tuple[Change, ...],
) -> dict[str, Any]:
    """The suggestions and answers to keep with a run; those of the run before that still hold."""
    uids = found.numbers.uids
    told = []
    for values, rows in hints:
        query = select(Template.uid).where(Template.id.in_(found.faces.ids[rows].tolist()))
        told.append(kept_form(values, uids, list(session.scalars(query))))
    if found.grew:
        changed = {uids[number] for change in changes for number in change.after}
        told += [one for one in found.before.suggested if not changed & set(one["clusters"])]
    told.sort(key=lambda one: (-one["probability"], one["id"]))
    ids = {one["id"] for one in told}
    answers = {key: one for key, one in found.before.answers.items() if key in ids}
    return {SUGGESTED: told[:MOST], ANSWERS: answers}


def _people(found: _Found) -> dict[int, int]:
    """Number → the person most of its named faces show."""
    people = {}
    for number, rows in found.numbers.rows.items():
        named = found.faces.person_ids[rows]
        counts = Counter(named[named >= 0].tolist())
        if counts:
            people[number] = min(counts, key=lambda person: (-counts[person], person))
    return people


def _tell(session: Session, found: _Found) -> tuple[Cluster, ...]:
    faces = found.faces
    named = owners(session, faces.ids[faces.person_ids >= 0].tolist())
    told = []
    for number, rows in found.numbers.rows.items():
        ids = faces.ids[rows].tolist()
        names = Counter(named[i].name for i in ids if i in named)
        name = min(names, key=lambda n: (-names[n], n)) if names else None
        where = tuple(found.shots[photo].file for photo in faces.photo_ids[rows].tolist())
        told.append(Cluster(number, tuple(ids), where, name, found.numbers.uids[number]))
    return tuple(told)


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
