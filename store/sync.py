"""Keeping a vector index true to the gallery.

The index is a cache. What it was saved with (`marks`) says which gallery, which space and which
change it has kept; from there the log is replayed. Where that is impossible, the file being
missing, broken, of another gallery or of a history that was undone, it is built anew from the
tables, and a warning says so.

Call these outside a transaction of your own.

D dimensions.
"""

import logging
from typing import Final

import numpy as np
from sqlalchemy.orm import Session

from index.errors import IndexFileBroken, IndexFileMismatch
from index.opening import OpenedIndex, open_with_marks, read_url
from index.protocol import FileIndex
from store.changes import Position, changes_after, current_position, holds_position
from store.following import present_templates, stream_templates
from store.gallery import gallery_uid
from store.schema import IndexEngine
from store.session import Store
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
    """
    url = default_index_url(store, space) if url is None else url
    opened, fault = _open(url, dim)
    with store.read() as session:
        synced = SyncedIndex(store, space, url, opened, gallery_uid(session))
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
    with synced.lock, synced.store.read() as session:
        before, end = synced.position, current_position(session)
        if end == before:
            return 0
        if before.rev > end.rev or not holds_position(session, before):
            _fill(synced, session, "the database was set back to an earlier state")
        elif not _replay(synced, session, end):
            _fill(synced, session, "the log of changes has a gap")
        return max(synced.position.rev - before.rev, 0)


def save(synced: SyncedIndex) -> bool:
    """Write the index to its file, and in the gallery how far it has come.

    Returns:
        Whether the file is up to date; False for an index in memory, and, with a warning, where
        the file cannot be written: the index will then be built anew next time.
    """
    if synced.path is None:
        return False
    with synced.lock:
        if synced.saved == synced.position:
            return True
        position = synced.position
        try:
            synced.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            synced.index.save(synced.path, synced.marks())
        except OSError as error:
            _log.warning("The index file %s cannot be written: %s", synced.path, error)
            return False
        synced.saved = position
    with synced.store.begin() as session:
        session.merge(IndexEngine(url=synced.url, space=synced.space, rev=position.rev))
    return True


def _open(url: str, dim: int) -> tuple[OpenedIndex, str | None]:
    try:
        return open_with_marks(url, dim), None
    except (IndexFileBroken, IndexFileMismatch, OSError) as error:
        return OpenedIndex(_empty(url, dim), read_url(url).path, {}), str(error)


def _empty(url: str, dim: int) -> FileIndex:
    return open_with_marks(f"{read_url(url).engine}:", dim).index


def _rebuild(synced: SyncedIndex, fault: str | None) -> None:
    with synced.store.read() as session:
        _fill(synced, session, fault)


def _fill(synced: SyncedIndex, session: Session, fault: str | None) -> None:
    if fault is not None:
        _log.warning("The index %s is built anew from the gallery: %s", synced.url, fault)
    end = current_position(session)  # before the rows: what comes between is replayed later
    index = _empty(synced.url, synced.dim)
    for batch in stream_templates(session, synced.space, BATCH):
        index.add(batch.ids, batch.vectors, batch.sites)
    synced.index, synced.position, synced.saved = index, end, None


def _replay(synced: SyncedIndex, session: Session, end: Position) -> bool:
    """Follow the log to its end; False where numbers are missing in it."""
    while synced.position.rev < end.rev:
        changes = changes_after(session, synced.position.rev, BATCH)
        if not changes or changes[-1].rev - synced.position.rev != len(changes):
            return False
        touched = {change.template_id for change in changes}
        present = present_templates(session, synced.space, sorted(touched))
        gone = sorted(touched.difference(present.ids.tolist()))
        synced.index.remove(np.array(gone, np.int64))
        if len(present.ids):
            synced.index.add(present.ids, present.vectors, present.sites)
        synced.position = Position(changes[-1].rev, changes[-1].tag)
        session.expunge_all()
    return True
