"""The index beside the database: what it is, whether the two agree, making it anew, measuring it.

Nothing here mends as the other commands do when they open an index: `status` and `verify` look at
what lies there.

N templates, D dimensions, K neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from enroll.errors import NothingToMeasure
from index.errors import EngineMissing, WrongNumber
from index.opening import OpenedIndex, choose_engine, empty_index, open_with_marks, read_url
from index.protocol import ServerIndex, VectorIndex
from index.recall import Measured, measure
from index.rules import KINDS, Plan
from store.changes import current_position, holds_position
from store.following import stream_templates
from store.gallery import gallery_uid, require_space
from store.sealing import protection
from store.sync import refresh, save
from store.synced import SyncedIndex
from verify.opening import Parts

if TYPE_CHECKING:
    from index.neighbors import Neighbors

MEND = "vultus index build"
SAMPLE = 256  # queries to measure with
_TOLERANCE = 1e-6  # what a server may lose of a number on its way

Told = Callable[[int], object]  # how many more templates were read
Rows = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """An index, and how it compares with the database.

    Attributes:
        url: the engine's URL.
        engine: which engine that is on this machine.
        reason: why.
        state: `in step`; `behind`, it follows when it is next used; `out of step`, it must be made
            anew; `none yet`, it is made when it is first used.
        vectors: how many it holds.
        templates: how many the database names in this space.
        rev: the change it has kept; None where that is unknown.
        gallery_rev: the last change of the gallery.
        missing: templates that it lacks, after following.
        extra: ids that the database does not name.
        different: templates whose vector or site is another; None where that was not looked at.
        kind: how it searches; see `index.rules`.
        why: why so.
        memory: bytes of the vectors and of what finds them; 0 on a server.
        recall: recall@K against exact search; None where that was not measured.
        queries_per_second: in batches of 64; None where that was not measured.
    """

    url: str
    engine: str
    reason: str
    state: Literal["in step", "behind", "out of step", "none yet"]
    vectors: int
    templates: int
    rev: int | None
    gallery_rev: int
    missing: int
    extra: int
    different: int | None
    kind: str
    why: str
    memory: int
    recall: float | None = None
    queries_per_second: float | None = None

    @property
    def mend(self) -> str | None:
        """The command that mends it; None where nothing is wrong."""
        return MEND if self.state == "out of step" else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"mend": self.mend}


@dataclass(frozen=True, slots=True)
class EngineResult:
    """What one engine did with the gallery's vectors.

    Attributes:
        engine: its name, with the kind for FAISS.
        measured: recall and speed; None where it cannot run.
        note: why not, or what it does.
    """

    engine: str
    measured: Measured | None
    note: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {} if self.measured is None else asdict(self.measured)
        return {"engine": self.engine, **values, "note": self.note}


def index_status(parts: Parts, k: int = 10) -> IndexStatus:
    """Look at the index: which ids it lacks, and how good and quick it is.

    Args:
        parts: the gallery.
        k: K of the recall.

    Raises:
        IndexFileBroken: its file was cut, changed or written by something else.
    """
    found = _compared(parts, None, deep=False)
    return found if isinstance(found, IndexStatus) else _measured(*found, k)


def verify_index(parts: Parts, told: Told | None = None) -> IndexStatus:
    """Compare every row of the index with the database.

    Raises:
        IndexFileBroken: its file was cut, changed or written by something else.
    """
    found = _compared(parts, told, deep=True)
    return found if isinstance(found, IndexStatus) else found[0]


def build_index(
    parts: Parts, kind: str | None = None, recall: float | None = None, told: Told | None = None
) -> IndexStatus:
    """Make the index anew from the database, and save it.

    Args:
        parts: the gallery.
        kind: one of `index.rules.KINDS` for FAISS; None leaves it to the URL and the rule.
        recall: the part of the true neighbours that lists must find; None leaves it to the URL.
        told: is told how many templates were read.

    Raises:
        WrongNumber: a kind or a recall that there is not, or an engine that has none.
    """
    synced = _synced(parts, OpenedIndex(_fresh(parts, kind, recall), _path(parts), {}))
    with parts.store.begin() as session:  # nobody writes meanwhile
        end = current_position(session)
        known = [np.empty(0, np.int64)]
        for batch in stream_templates(session, synced.space):
            synced.index.add(batch.ids, batch.vectors, batch.sites)
            synced.epoch, synced.transform = batch.epoch, batch.transform
            known.append(batch.ids)
            if told is not None:
                told(len(batch.ids))
        synced.position = end
        if isinstance(synced.index, ServerIndex):
            synced.index.remove(np.setdiff1d(synced.index.ids(), np.concatenate(known)))
            synced.index.keep_marks(synced.marks())
    save(synced)
    return index_status(parts)


def benchmark_engines(parts: Parts, k: int = 10, recall: float | None = None) -> list[EngineResult]:
    """Measure each engine that runs here on the gallery's own vectors.

    Args:
        parts: the gallery.
        k: K of the recall.
        recall: what the lists are asked to find; None: their default.

    Raises:
        NothingToMeasure: the gallery names nobody yet.
    """
    ids, vectors, sites = _rows(parts)
    if not len(ids):
        raise NothingToMeasure("The gallery names nobody yet: enrol people with vultus enroll.")
    queries = _queries(vectors)
    return [
        *_each(("exact:", "faiss-gpu:"), (ids, vectors, sites), queries, k),
        *_each(
            [f"faiss:?kind={kind}" + (f"&recall={recall}" if recall else "") for kind in KINDS],
            (ids, vectors, sites), queries, k,
        ),
    ]  # fmt: skip


def template_count(parts: Parts) -> int:
    """How many templates the database names in the encoder's space; the length of a bar."""
    from sqlalchemy import func, select

    from store.schema import Template

    named = select(func.count(Template.id)).where(
        Template.person_id.is_not(None), Template.space == parts.card.space
    )
    with parts.store.read() as session:
        return int(session.scalar(named) or 0)


def _each(
    urls: tuple[str, ...] | list[str], rows: Rows, queries: NDArray[np.float32], k: int
) -> Iterator[EngineResult]:
    truth = _truth(rows, queries, k)
    for url in urls:
        name = read_url(url).options.get("kind", url.partition(":")[0])
        try:
            index = empty_index(url, rows[1].shape[1])
        except EngineMissing as error:
            yield EngineResult(name, None, str(error))
            continue
        index.add(*rows)
        why = "every vector is compared."
        if url.startswith("faiss:"):
            from index.faiss import FaissIndex

            assert isinstance(index, FaissIndex)  # noqa: S101 - for the type checker
            index.train()
            why = index.searched.reason
            if name != "flat" and index.exact:
                note = why if "reach" in why else "too few vectors for lists."
                yield EngineResult(name, None, note)
                continue
        yield EngineResult(name, measure(index, queries, truth), why)


def _compared(
    parts: Parts, told: Told | None, *, deep: bool
) -> IndexStatus | tuple[IndexStatus, VectorIndex]:
    """The status, and the index it is about unless there is none."""
    url, card = parts.index_url, parts.card
    choice = choose_engine(url)
    with parts.store.read() as session:
        require_space(session, card.space)
        end = current_position(session)
        sealed = protection(session).sealed is not None
    reason = "The gallery is sealed: kept in memory, never written." if sealed else choice.reason
    opened = open_with_marks(url, card.dim)
    synced = _synced(parts, opened)
    found = synced.position_in(opened.marks)
    nothing = IndexStatus(
        url, choice.engine, reason, "none yet", 0, template_count(parts), None, end.rev,
        0, 0, None, "", "", 0,
    )  # fmt: skip
    if opened.path is not None and not opened.path.exists():
        return nothing
    if opened.path is None and not isinstance(opened.index, ServerIndex):
        return nothing
    state: Literal["in step", "behind"] = "in step" if found == end else "behind"
    with parts.store.read() as session:
        follows = found is not None and found.rev <= end.rev and holds_position(session, found)
    if follows and found is not None:
        synced.position = synced.saved = found
        refresh(synced)  # in memory only
    missing, extra, different = _differences(parts, synced, told, deep=deep)
    wrong = not follows or missing or extra or different
    kind, why, memory = _how(synced.index)
    status = replace(
        nothing, state="out of step" if wrong else state, vectors=len(synced.index),
        rev=None if found is None else found.rev, missing=missing, extra=extra,
        different=different if deep else None, kind=kind, why=why, memory=memory,
    )  # fmt: skip
    return status, synced.index


def _differences(
    parts: Parts, synced: SyncedIndex, told: Told | None, *, deep: bool
) -> tuple[int, int, int]:
    """How many templates are missing, too many, and different."""
    held, index = synced.index.ids(), synced.index
    missing = different = known = 0
    with parts.store.read() as session:
        for batch in stream_templates(session, synced.space):
            there = np.isin(batch.ids, held, assume_unique=True)
            missing += int(np.count_nonzero(~there))
            known += int(np.count_nonzero(there))
            if deep and there.any():
                ids = batch.ids[there]
                apart = np.abs(index.vectors(ids) - batch.vectors[there]).max(axis=1)
                wrong = apart > _TOLERANCE
                if hasattr(index, "sites"):
                    wrong |= index.sites(ids) != batch.sites[there]
                different += int(np.count_nonzero(wrong))
            if told is not None:
                told(len(batch.ids))
    return missing, len(held) - known, different


def _measured(status: IndexStatus, index: VectorIndex, k: int) -> IndexStatus:
    """The status with recall and speed on the index's own vectors."""
    ids = index.ids()
    if not len(ids):
        return status
    vectors = index.vectors(ids)
    queries = _queries(vectors)
    truth = _truth((ids, vectors, np.zeros_like(ids)), queries, k)
    found = measure(index, queries, truth)
    return replace(status, recall=found.recall, queries_per_second=found.queries_per_second)


def _truth(rows: Rows, queries: NDArray[np.float32], k: int) -> Neighbors:
    from index.exact import ExactIndex

    exact = ExactIndex(rows[1].shape[1])
    exact.add(*rows)
    return exact.search(queries, k)


def _queries(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Some of the vectors, float32 (N, D), drawn by chance."""
    count = min(SAMPLE, len(vectors))
    return vectors[np.random.default_rng(0).choice(len(vectors), count, replace=False)]


def _rows(parts: Parts) -> Rows:
    """All templates of the database."""
    ids, vectors, sites = [], [], []
    with parts.store.read() as session:
        for batch in stream_templates(session, parts.card.space):
            ids.append(batch.ids)
            vectors.append(batch.vectors)
            sites.append(batch.sites)
    if not ids:
        none = np.empty(0, np.int64)
        return none, np.empty((0, parts.card.dim), np.float32), none
    return np.concatenate(ids), np.concatenate(vectors), np.concatenate(sites)


def _how(index: VectorIndex) -> tuple[str, str, int]:
    """How an index searches, why, and its bytes."""
    if hasattr(index, "searched"):
        searched = index.searched
        kind = searched.kind
        if searched.lists:
            efforts = ", ".join(f"{e.probes} for k = {e.k}" for e in searched.efforts)
            kind = f"{kind}, {searched.lists} lists, looks into {efforts}"
        return kind, searched.reason, searched.memory
    kind = "exact" if index.exact else "approximate"
    return kind, "", getattr(index, "memory", 0)


def _fresh(parts: Parts, kind: str | None, recall: float | None) -> Any:  # noqa: ANN401 - any engine, to be filled
    index = empty_index(parts.index_url, parts.card.dim)
    if kind is None and recall is None:
        return index
    if not hasattr(index, "plan") or not isinstance(index.plan, Plan):
        raise WrongNumber("Only the engine faiss: has a --kind and a --recall.")
    index.plan = Plan(kind or index.plan.kind, recall or index.plan.recall)
    return index


def _path(parts: Parts) -> Any:  # noqa: ANN401 - a path or None
    return read_url(parts.index_url).path


def _synced(parts: Parts, opened: OpenedIndex) -> SyncedIndex:
    with parts.store.read() as session:
        uid = gallery_uid(session)
    return SyncedIndex(parts.store, parts.card.space, parts.index_url, opened, uid)
