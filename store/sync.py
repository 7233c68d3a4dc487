"""Keeping a vector index true to the gallery.

The index is a cache. What it was saved with (`marks`) says which gallery, which space and which
change it has kept; from there the log is replayed. Where that is impossible, the file being
missing, broken, of another gallery or of a history that was undone, it is built anew from the
tables, and a warning says so.

Call these outside a transaction of your own.

D dimensions.
"""

import logging
from time import monotonic
from typing import Final

from sqlalchemy.orm import Session

from index.errors import IndexFileBroken, IndexFileMismatch
from index.opening import OpenedIndex, empty_index, open_with_marks, read_url
from index.protocol import FileIndex, ServerIndex
from store.changes import (
    Position,
    changes_after,
    current_position,
    holds_position,
    is_pruned,
    prune_changes,
)
from store.errors import RenewedMeanwhile
from store.following import apply_changes, stream_templates
from store.gallery import gallery_uid
from store.schema import IndexEngine
from store.sealing import protection
from store.session import Store
from store.shared import attach, follow
from store.synced import SyncedIndex, default_index_url

BATCH: Final = 4096  # changes replayed at once; a replay of more is worth saving
_log = logging.getLogger("vultus.store")


def open_synced(store: Store, url: str | None, space: str, dim: int) -> SyncedIndex:
    """Open the index of a gallery and bring it up to date.

    Args:
        store: the gallery's database, its schema current.
        url: of the engine, see `index.opening`; None is `default_index_url`.
        space: the vector space whose templates it holds.
        dim: D, the length of the vectors.

    Raises:
        UnknownEngine: the URL names none of the known engines.
        EngineMissing: the engine's library is not installed.
        IndexServerUnreachable: the engine is a server that does not answer.
        IndexServerMismatch: the server's collection is of another gallery or space.
    """
    url = default_index_url(store, space) if url is None else url
    with store.read() as session:
        sealed, uid = protection(session).sealed is not None, gallery_uid(session)
    if sealed and read_url(url).path is not None:
        url = f"{read_url(url).engine}:"  # what is sealed is not written anywhere else
    opened, fault = _open(url, dim)
    synced = SyncedIndex(store, space, url, opened, uid)
    if isinstance(opened.index, ServerIndex):
        try:
            attach(synced, opened.index, opened.marks)
        except BaseException:
            synced.close()
            raise
        return synced
    found = synced.position_in(opened.marks)
    if found is None:
        if fault is None and opened.path is not None and opened.path.exists():
            fault = "it belongs to another gallery or space"
        _rebuild(synced, fault)
    else:
        synced.position = synced.saved = found
        refresh(synced)
    if synced.saved is None or synced.position.rev - synced.saved.rev > BATCH:
        save(synced)
    return synced


def refresh(synced: SyncedIndex) -> int:
    """Apply what changed in the gallery since; one SELECT when nothing did.

    Returns:
        How many changes were applied.
    """
    if isinstance(synced.index, ServerIndex):
        with synced.lock:
            return follow(synced, synced.index)
    with synced.lock, synced.store.read() as session:
        before, end = synced.position, current_position(session)
        if end == before:
            return 0
        try:
            if is_pruned(session, before):
                _fill(synced, session, "it is older than the log of changes")
            elif before.rev > end.rev or not holds_position(session, before):
                _fill(synced, session, "the database was set back to an earlier state")
            elif not _replay(synced, session, end):
                _fill(synced, session, "the log of changes has a gap")
        except RenewedMeanwhile:
            _fill(synced, session, None)
        return max(synced.position.rev - before.rev, 0)


def save(synced: SyncedIndex, *, lazy: bool = False) -> bool:
    """Write the index to its file, and in the gallery how far it has come.

    Args:
        synced: the index.
        lazy: leave it where it was written less than `synced.pause` ago: the rows are the truth,
            and whoever opens the file replays what it lacks.

    Returns:
        Whether the file is up to date; False for an index in memory, of a sealed gallery, or on a
        server, which keeps every change itself, and, with a warning, where the file cannot be
        written: the index will then be built anew next time.
    """
    if synced.path is None or not isinstance(synced.index, FileIndex):
        return False
    if lazy and monotonic() - synced.written < synced.pause:
        return False
    synced.written = monotonic()
    with synced.lock:
        if synced.saved == synced.position:
            return True
        if _is_sealed(synced):
            return False
        position = synced.position
        try:
            synced.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            synced.index.save(synced.path, synced.marks())
        except OSError as error:
            _log.warning("The index file %s cannot be written: %s", synced.path, error)
            return False
        synced.saved = position
    with synced.store.begin() as session:
        if protection(session).sealed is not None:  # since the file was begun
            synced.path.unlink(missing_ok=True)
            return False
        session.merge(IndexEngine(url=synced.url, space=synced.space, rev=position.rev))
        prune_changes(session)
    return True


def _open(url: str, dim: int) -> tuple[OpenedIndex, str | None]:
    try:
        return open_with_marks(url, dim), None
    except (IndexFileBroken, IndexFileMismatch, OSError) as error:
        return OpenedIndex(_empty(url, dim), read_url(url).path, {}), str(error)


def _empty(url: str, dim: int) -> FileIndex | ServerIndex:
    return empty_index(url, dim)


def _is_sealed(synced: SyncedIndex) -> bool:
    with synced.store.read() as session:
        return protection(session).sealed is not None


def _rebuild(synced: SyncedIndex, fault: str | None) -> None:
    with synced.store.read() as session:
        _fill(synced, session, fault)


def _fill(synced: SyncedIndex, session: Session, fault: str | None) -> None:
    if fault is not None:
        _log.warning("The index %s is built anew from the gallery: %s", synced.url, fault)
    end = current_position(session)  # before the rows: what comes between is replayed later
    index = _empty(synced.url, synced.dim)
    epoch, transform = 0, None
    for number, batch in enumerate(stream_templates(session, synced.space, BATCH)):
        if number and batch.epoch != epoch:
            raise RenewedMeanwhile
        epoch, transform = batch.epoch, batch.transform
        index.add(batch.ids, batch.vectors, batch.sites)
    synced.index, synced.position, synced.saved = index, end, None
    synced.epoch, synced.transform = epoch, transform


def _replay(synced: SyncedIndex, session: Session, end: Position) -> bool:
    """Follow the log to its end; False where numbers are missing in it.

    Raises:
        RenewedMeanwhile: the templates are turned by another transform now.
    """
    while synced.position.rev < end.rev:
        changes = changes_after(session, synced.position.rev, BATCH)
        if not changes or changes[-1].rev - synced.position.rev != len(changes):
            return False
        reached = Position(changes[-1].rev, changes[-1].tag)
        apply_changes(session, changes, synced.index, synced.space, synced.epoch)
        synced.position = reached
    return True
