"""Following the gallery with an index that a server keeps and several processes share.

How far the index has come is kept with its vectors (`marks`). Processes take turns: a turn is a
transaction that writes, which all databases grant to one at a time; it reads how far the index has
come and replays one batch. Without that a slow process could put a vector back that a faster one
had just removed.

Call these outside a transaction of your own.
"""

import logging
from dataclasses import dataclass
from typing import Final

import numpy as np
from sqlalchemy.orm import Session

from index.errors import IndexServerMismatch
from index.protocol import ServerIndex, VectorIndex
from store.changes import Position, changes_after, current_position, holds_position
from store.following import apply_changes, stream_templates
from store.schema import IndexEngine
from store.sealing import refuse_server
from store.synced import SyncedIndex

BATCH: Final = 4096  # changes replayed in one turn
_log = logging.getLogger("vultus.store")


def attach(synced: SyncedIndex, index: ServerIndex, marks: dict[str, str]) -> None:
    """Begin to follow with the index just opened, after making sure that it is this gallery's.

    Args:
        synced: the gallery's index.
        index: the server's.
        marks: what it was kept with.

    Raises:
        IndexServerMismatch: it belongs to another gallery or space, or to nobody we know.
    """
    if not marks and len(index):
        raise _foreign(synced, "nobody knows which gallery")
    if not marks:
        index.keep_marks(synced.marks())
    elif synced.position_in(marks) is None:
        raise _foreign(synced, f"another gallery or space ({marks.get('space', 'unknown')})")
    changed = follow(synced, index)
    if changed > BATCH:
        index.settle()


def follow(synced: SyncedIndex, index: ServerIndex) -> int:
    """Apply what changed in the gallery since; one SELECT when nothing did.

    Returns:
        How many changes were applied by this process.

    Raises:
        IndexServerMismatch: meanwhile the collection was given to another gallery.
    """
    with synced.store.read() as session:
        end = current_position(session)
        if synced.saved is not None and synced.position == end:
            return 0
    applied = 0
    while True:
        with synced.store.begin() as session:
            step = _turn(synced, index, session)
        applied += step.applied
        if step.done:
            return applied


@dataclass(frozen=True, slots=True)
class _Step:
    applied: int
    done: bool


def _turn(synced: SyncedIndex, index: ServerIndex, session: Session) -> _Step:
    refuse_server(session, synced.url)
    before, end = synced.position_in(index.marks()), current_position(session)
    if before is None:
        raise _foreign(synced, "another gallery or space")
    if before == end:
        synced.position = synced.saved = end
        return _Step(0, done=True)
    if before.rev > end.rev or not holds_position(session, before):
        after = _fill(synced, index, session, end, "the database was set back to an earlier state")
    else:
        after = _replay(synced, index, session, before) or _fill(
            synced, index, session, end, "the log of changes has a gap"
        )
    synced.position = synced.saved = after
    index.keep_marks(synced.marks())
    session.merge(IndexEngine(url=synced.url, space=synced.space, rev=after.rev))
    return _Step(max(after.rev - before.rev, 0), done=after == end)


def _replay(
    synced: SyncedIndex, index: VectorIndex, session: Session, before: Position
) -> Position | None:
    """Apply the next batch of the log; None where numbers are missing in it."""
    changes = changes_after(session, before.rev, BATCH)
    if not changes or changes[-1].rev - before.rev != len(changes):
        return None
    apply_changes(session, changes, index, synced.space)
    return Position(changes[-1].rev, changes[-1].tag)


def _fill(
    synced: SyncedIndex, index: ServerIndex, session: Session, end: Position, fault: str
) -> Position:
    """Make the index equal to the tables, row by row: others may be searching it."""
    _log.warning("The index %s is built anew from the gallery: %s", synced.url, fault)
    named = [np.empty(0, np.int64)]
    for batch in stream_templates(session, synced.space, BATCH):
        index.add(batch.ids, batch.vectors, batch.sites)
        named.append(batch.ids)
    index.remove(np.setdiff1d(index.ids(), np.concatenate(named)))
    return end


def _foreign(synced: SyncedIndex, whose: str) -> IndexServerMismatch:
    return IndexServerMismatch(
        f"the collection of {synced.url} holds vectors of {whose}: name another collection in the "
        "URL, or drop this one in Milvus if nobody needs it."
    )
