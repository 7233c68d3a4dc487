"""What a clustering of a library found, as plain values.

Letters: none; ids of templates are the numbers that SQL knows faces by.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Unsorted:
    """A photo none of whose faces is in a cluster, and why."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """Faces of one person, as far as can be told.

    Attributes:
        number: of the first run 1 is the largest; it stays from run to run.
        templates: ids of its faces, the most typical first.
        files: the photo of each face.
        name: the person's name once it has one.
        uid: stays from run to run too, also where the library has moved.
    """

    number: int
    templates: tuple[int, ...]
    files: tuple[str, ...]
    name: str | None = None
    uid: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        faces = [
            {"template": template, "file": file}
            for template, file in zip(self.templates, self.files, strict=True)
        ]
        about = {"cluster": self.number, "uid": self.uid, "name": self.name}
        return {**about, "size": len(faces), "faces": faces}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Cluster:
        """What `to_dict` gave; KeyError, TypeError or ValueError where it is something else."""
        faces = values["faces"]
        return cls(
            int(values["cluster"]),
            tuple(int(face["template"]) for face in faces),
            tuple(str(face["file"]) for face in faces),
            values["name"],
            values.get("uid"),
        )

    def without(self, templates: Collection[int], names: Collection[str]) -> Cluster:
        """The cluster without some faces, and without its name if that is one of some."""
        faces = zip(self.templates, self.files, strict=True)
        kept = [(template, file) for template, file in faces if template not in templates]
        name = None if self.name in names else self.name
        return replace(
            self, templates=tuple(t for t, _ in kept), files=tuple(f for _, f in kept), name=name
        )


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A change of the clusters that somebody should look at.

    Attributes:
        id: stays while the clusters do.
        kind: `merge`, two clusters that may be one person, or `split`, one that may be two.
        probability: that the change is right, 0 to 1.
        similarity: the mean similarity between the two parts.
        clusters: the numbers of the two clusters, or twice that of the one.
        one: templates of the first part.
        other: templates of the second part.
    """

    id: str
    kind: str
    probability: float
    similarity: float
    clusters: tuple[int, int]
    one: tuple[int, ...]
    other: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "id": self.id,
            "kind": self.kind,
            "probability": self.probability,
            "similarity": self.similarity,
            "clusters": list(self.clusters),
            "one": list(self.one),
            "other": list(self.other),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Suggestion:
        """What `to_dict` gave; KeyError, TypeError or ValueError where it is something else."""
        first, second = values["clusters"]
        return cls(
            str(values["id"]),
            str(values["kind"]),
            float(values["probability"]),
            float(values["similarity"]),
            (int(first), int(second)),
            tuple(int(one) for one in values["one"]),
            tuple(int(one) for one in values["other"]),
        )

    def without(self, templates: Collection[int]) -> Suggestion:
        """The suggestion without some faces."""
        one = tuple(t for t in self.one if t not in templates)
        other = tuple(t for t in self.other if t not in templates)
        return replace(self, one=one, other=other)


@dataclass(frozen=True, slots=True)
class Change:
    """What became of clusters since the run before.

    Attributes:
        kind: `new`, `grown`, `split`, `merged` or `gone`.
        before: numbers of the clusters before.
        after: numbers of the clusters now.
        added: faces that no run had before.
        moved: faces that were in another cluster before.
    """

    kind: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    added: int
    moved: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        counts = {"added": self.added, "moved": self.moved}
        return {"kind": self.kind, "before": list(self.before), "after": list(self.after), **counts}


@dataclass(frozen=True, slots=True)
class Clustering:
    """The clusters of a library.

    Attributes:
        run: id of the run in the database; 0 where it was only planned.
        method: how they were found, in words.
        photos: how many photos were looked at.
        clusters: the largest first.
        unsorted: photos without a usable face.
        suggestions: changes somebody should look at, the most probable first.
        changes: what is other than in the run before; nothing on the first.
        curve: how k was chosen, as `index.choose_k.ChosenK.to_dict` tells it; None: it was not.
        operation: what `vultus undo` takes; None where it was only planned.
    """

    run: int
    method: str
    photos: int
    clusters: tuple[Cluster, ...]
    unsorted: tuple[Unsorted, ...]
    suggestions: tuple[Suggestion, ...] = ()
    changes: tuple[Change, ...] = ()
    curve: Mapping[str, Any] | None = None
    operation: int | None = None

    @property
    def faces(self) -> int:
        """How many faces are in the clusters."""
        return sum(len(cluster.templates) for cluster in self.clusters)

    def rows(self) -> Iterator[tuple[str, int | None, str | None]]:
        """File, cluster and name of each face; and of each photo without one, its file alone."""
        for cluster in self.clusters:
            for file in cluster.files:
                yield file, cluster.number, cluster.name
        for photo in self.unsorted:
            yield photo.file, None, None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "run": self.run,
            "method": self.method,
            "photos": self.photos,
            "faces": self.faces,
            "clusters": [cluster.to_dict() for cluster in self.clusters],
            "unsorted": [{"file": u.file, "reason": u.reason} for u in self.unsorted],
            "suggestions": [suggestion.to_dict() for suggestion in self.suggestions],
            "changes": [change.to_dict() for change in self.changes],
            "curve": None if self.curve is None else dict(self.curve),
            "operation": self.operation,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Clustering:
        """What `to_dict` gave; KeyError, TypeError or ValueError where it is something else."""
        clusters = tuple(Cluster.from_dict(one) for one in values["clusters"])
        changes = (
            Change(c["kind"], tuple(c["before"]), tuple(c["after"]), c["added"], c["moved"])
            for c in values.get("changes", ())
        )
        return cls(
            values["run"],
            values["method"],
            values["photos"],
            clusters,
            tuple(Unsorted(u["file"], u["reason"]) for u in values["unsorted"]),
            tuple(Suggestion.from_dict(one) for one in values.get("suggestions", ())),
            tuple(changes),
            values.get("curve"),
            values.get("operation"),
        )

    def renumbered(self, numbers: Mapping[int, int]) -> Clustering:
        """The same with other numbers of templates; those that are not named stay."""

        def now(templates: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(numbers.get(t, t) for t in templates)

        clusters = (replace(one, templates=now(one.templates)) for one in self.clusters)
        hints = (replace(h, one=now(h.one), other=now(h.other)) for h in self.suggestions)
        return replace(self, clusters=tuple(clusters), suggestions=tuple(hints))

    def without(
        self, templates: Collection[int], names: Collection[str], files: Collection[str]
    ) -> Clustering:
        """The same without some faces, names and unsorted photos; numbers stay."""
        gone, called, lost = set(templates), set(names), set(files)
        some = (cluster.without(gone, called) for cluster in self.clusters)
        hints = (suggestion.without(gone) for suggestion in self.suggestions)
        return replace(
            self,
            clusters=tuple(cluster for cluster in some if cluster.templates),
            unsorted=tuple(photo for photo in self.unsorted if photo.file not in lost),
            suggestions=tuple(hint for hint in hints if hint.one and hint.other),
        )
