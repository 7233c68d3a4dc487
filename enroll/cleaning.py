"""After rows were erased: thumbnails, pages, indexes and the bytes of the database's files.

Nothing here is part of the transaction that erased: it can be done again at any time, and what was
left undone is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path

import numpy as np
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from enroll.audit_sheet import forget_in_audit, kept_audits
from enroll.errors import OutputUnusable
from enroll.sheet import forget_in_sheet
from enroll.traces import Proof, Traces, find_pieces, still_others
from index.errors import UnknownEngine
from index.opening import read_url
from index.protocol import ServerIndex
from store.audit import append_event
from store.errors import DatabaseUnusable
from store.photos import chunks, origins
from store.receipts import note_scrubbed
from store.records import Run
from store.schema import IndexEngine, Template
from store.sealing import protection
from store.sync import refresh, save
from store.synced import default_index_url, is_anothers
from verify.opening import Parts
from verify.plot_files import forget_in_plot, kept_plots

_SEARCHED = 256  # erased vectors that the index is searched for
_NEAREST = 10


@dataclass
class Gone:
    """What an erasure took, gathered in its transaction.

    Attributes:
        traces: what files are searched for afterwards.
        names: the names of who was forgotten, former ones too.
        uids: theirs.
        files: paths of the photos.
    """

    traces: list[Traces] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    uids: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)

    @property
    def templates(self) -> list[int]:
        """Ids of the erased templates."""
        return [template for some in self.traces for template in some.templates]

    def add(self, session: Session, traces: Traces) -> None:
        """Note what is about to go."""
        self.traces.append(traces)
        came = origins(session, traces.templates)
        self.files.update(origin.source for origin in came.values())


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was cleaned.

    Attributes:
        thumbnails: files of contact sheets that are gone.
        sheets: contact sheets, audits and plots that were written anew.
        proof: what looking for traces found; None where it was not asked for.
        pending: why deleted bytes may still be in the database's files, or "".
        remains: where else something may be, in sentences.
    """

    thumbnails: int
    sheets: int
    proof: Proof | None
    pending: str
    remains: tuple[str, ...]


def clean(parts: Parts, gone: Gone, *, prove: bool = True) -> Cleaned:
    """Bring everything beside the database to its state, and scrub its files.

    Args:
        parts: the gallery, after the commit.
        gone: what the transaction took.
        prove: look for traces in every file afterwards.
    """
    remains: list[str] = []
    thumbnails, sheets = _sheets(parts, gone, remains)
    files = _indexes(parts, remains)
    pending = scrub(parts)
    remains += _remaining(parts, pending)
    proof = _proof(parts, gone, files) if prove else None
    return Cleaned(thumbnails, sheets, proof, pending, tuple(remains))


def scrub(parts: Parts) -> str:
    """Make deleted bytes leave the database's files; why they may not have, or ""."""
    try:
        parts.store.scrub()
    except DatabaseUnusable as error:
        return error.reason
    with parts.store.begin() as session:
        waited = note_scrubbed(session)
        if waited:
            append_event(session, "scrubbed", details={"receipts": waited})
    return ""


def _sheets(parts: Parts, gone: Gone, remains: list[str]) -> tuple[int, int]:
    """Write contact sheets and audits without who is gone; how many thumbnails and pages."""
    with parts.store.read() as session:
        outs = {(run.parameters or {}).get("out") for run in session.scalars(select(Run))}
        audits = kept_audits(session)
        plots = kept_plots(session)
    templates = set(gone.templates)
    thumbnails = pages = 0
    for out in sorted(Path(out) for out in outs if out):
        try:
            done = forget_in_sheet(out, templates, gone.names, gone.files)
        except OutputUnusable as error:
            remains.append(f"the contact sheet in {out} could not be written anew: {error}")
            continue
        thumbnails, pages = thumbnails + (done or 0), pages + (done is not None)
    for out in audits:
        try:
            pages += forget_in_audit(out, templates, gone.uids)
        except OutputUnusable as error:
            remains.append(f"the audit in {out} could not be written anew: {error}")
    for plot in plots:
        changed, left = forget_in_plot(plot, templates)
        pages += changed
        remains += [left] if left else []
    return thumbnails, pages


def _indexes(parts: Parts, remains: list[str]) -> list[Path]:
    """Let the index follow, and remove the files of others; the files that may hold vectors."""
    with parts.store.read() as session:
        sealed = protection(session).sealed is not None
        urls = set(session.scalars(select(IndexEngine.url)))
        spaces = session.scalars(select(Template.space).distinct()).all()
    current: Path | None = None
    if not sealed or "index" in vars(parts):  # that of a sealed gallery lies in memory only
        refresh(parts.index)
        save(parts.index)
        current = parts.index.path
        urls.discard(parts.index.url)
        if isinstance(parts.index.index, ServerIndex):
            remains.append(
                f"{parts.index.url} answers with these vectors no more; the server's files lose "
                "their bytes when it compacts its segments"
            )
    urls.update(default_index_url(parts.store, space) for space in spaces)
    files = [] if current is None else [current]
    for file in () if current is None else _left_behind(current):
        file.unlink(missing_ok=True)
    for url in sorted(urls):
        files += _drop(parts, url, current, remains)
    return files


def _drop(parts: Parts, url: str, current: Path | None, remains: list[str]) -> list[Path]:
    """Remove the file of an index that is not in use: it is made anew when it is."""
    try:
        place = read_url(url)
    except UnknownEngine:
        return []
    if place.path is None or place.path == current:
        if "://" in url:
            remains.append(f"{url} follows when it is next used: run `vultus index status` with it")
        return []
    theirs = is_anothers(parts.store, place.path)  # a copied database names what it came from
    files = [] if theirs else [place.path, *_left_behind(place.path)]
    for file in files:
        file.unlink(missing_ok=True)
    with parts.store.begin() as session:
        session.execute(delete(IndexEngine).where(IndexEngine.url == url))
    return files


def _left_behind(file: Path) -> list[Path]:
    """What a writer of an index that was killed left beside it."""
    return list(file.parent.glob(f".{escape(file.name)}.*"))


def _proof(parts: Parts, gone: Gone, files: Iterable[Path]) -> Proof:
    """Look for what is gone: in the rows, in the index's answers, in the files."""
    wanted = frozenset(piece for traces in gone.traces for piece in traces.pieces)
    path = parts.store.path
    places = [] if path is None else [path, *(Path(f"{path}-{end}") for end in ("wal", "journal"))]
    places = [place for place in [*places, *files] if place.is_file()]
    found, read, complete = find_pieces(places, wanted)
    with parts.store.read() as session:
        rows = sum(
            session.execute(
                select(func.count()).select_from(Template).where(Template.id.in_(some))
            ).scalar_one()
            for some in chunks(gone.templates)
        )
        everything = {piece for pieces in found.values() for piece in pieces}
        others = still_others(session, everything) if path is not None else set()
    left = {file.name: len(pieces - others) for file, pieces in found.items() if pieces - others}
    return Proof(len(wanted), len(places), read, left, complete, rows, _answers(parts, gone))


def _answers(parts: Parts, gone: Gone) -> int | None:
    """How many erased templates a search still gives; None where there is no index to search."""
    index = vars(parts).get("index")
    if index is None:
        return None
    if not len(index):
        return 0
    erased = gone.templates
    vectors = [vector for traces in gone.traces for vector in traces.vectors][:_SEARCHED]
    rows = [np.frombuffer(vector, "<f4") for vector in vectors]
    queries = [row for row in rows if len(row) == index.dim]  # those of another space are left out
    if not queries:
        held = [] if isinstance(index.index, ServerIndex) else index.index.ids()
        return int(np.isin(held, erased).sum())
    ids = index.search(np.stack(queries), min(_NEAREST, len(index))).ids
    return int(np.isin(ids, erased).any(axis=1).sum())


def _remaining(parts: Parts, pending: str) -> list[str]:
    """Where the bytes of the database may still be."""
    with parts.store.read() as session:
        sealed = protection(session).sealed is not None
    told = []
    if pending:
        told.append(
            f"deleted bytes may still be in the database's files ({pending}): run the same command "
            "again, or `vultus db scrub`"
        )
    if parts.store.engine.dialect.name == "postgresql":
        told.append(
            "the data key is destroyed, and what it sealed cannot be opened; its wrapped copy, "
            "which only the master key opens, may stay in the server's write-ahead log and in "
            "backups until those are recycled"
            if sealed
            else "bytes of deleted rows stay in the server's pages until they are used again "
            "(`vultus db scrub` rewrites the tables), and in its write-ahead log and backups until "
            "those are recycled"
        )
    told.append("backups and snapshots made before keep what they hold; the photo files are kept")
    return told
