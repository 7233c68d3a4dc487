"""The log of what an index must do to follow the gallery.

The counter in the gallery's one row gives every change its number. The UPDATE that raises it holds
the row's lock until the commit, so changes are committed in the order of their numbers: whoever has
read up to `rev` will never find a smaller one later.

The log is kept short: its last `KEPT` changes stay, and those that an index on record still needs
unless it is `ABANDONED` changes behind. An index older than what is left is built anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Final, Literal

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from store.schema import Change, Gallery, IndexEngine

Op = Literal["add", "remove"]
CHUNK: Final = 500  # ids in one statement, below every database's limit of parameters
KEPT: Final = 20_000  # changes that are always kept
ABANDONED: Final = 1_000_000  # an index so far behind is not waited for


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the log: the number of a change and its tag; 0 and "" before the first."""

    rev: int
    tag: str


def append_changes(session: Session, template_ids: Sequence[int], op: Op) -> int:
    """Log that templates came or went, in the caller's transaction.

    Args:
        session: a transaction, as `Store` opens it.
        template_ids: ids of templates, one change each.
        op: "add" (also for a template whose site changed) or "remove".

    Returns:
        The gallery's revision after them.
    """
    if not template_ids:
        return current_rev(session)
    raised = (
        update(Gallery)
        .where(Gallery.id == 1)
        .values(rev=Gallery.rev + len(template_ids))
        .returning(Gallery.rev)
        .execution_options(synchronize_session=False)
    )
    last = session.execute(raised).scalar_one()
    first, tag = last - len(template_ids) + 1, token_hex(8)
    session.execute(
        insert(Change),
        [
            {"rev": rev, "template_id": template_id, "op": op, "tag": tag}
            for rev, template_id in enumerate(template_ids, first)
        ],
    )
    return last


def current_rev(session: Session) -> int:
    """The number of the last change, 0 in a new gallery."""
    return session.execute(select(Gallery.rev).where(Gallery.id == 1)).scalar_one()


def current_position(session: Session) -> Position:
    """Where the log ends, in one statement."""
    end = select(Gallery.rev, Change.tag).outerjoin(Change, Change.rev == Gallery.rev)
    row = session.execute(end.where(Gallery.id == 1)).one()
    return Position(row.rev, row.tag or "")


def holds_position(session: Session, position: Position) -> bool:
    """Whether the log passed through this position, so that what follows can be replayed."""
    if position.rev == 0:
        return True
    tag = session.scalar(select(Change.tag).where(Change.rev == position.rev))
    return tag == position.tag


def changes_after(session: Session, rev: int, limit: int) -> list[Change]:
    """The next changes after `rev`, in order, at most `limit`."""
    query = select(Change).where(Change.rev > rev).order_by(Change.rev).limit(limit)
    return list(session.scalars(query))


def is_pruned(session: Session, position: Position) -> bool:
    """Whether the log no longer reaches back to a position."""
    oldest = session.scalar(select(func.min(Change.rev)))
    return oldest is not None and position.rev < oldest and oldest > 1


def prune_changes(session: Session, kept: int = KEPT, abandoned: int = ABANDONED) -> int:
    """Drop the beginning of the log, where nobody needs it.

    An index on record has kept every change up to its `rev` and needs that one, to know its place.

    Args:
        session: a transaction that writes.
        kept: the last changes, which stay whatever happens; at least 1.
        abandoned: an index that is more changes behind is not waited for.

    Returns:
        How many changes were dropped; 0 unless there are twice as many as must be kept, so that
        this costs next to nothing most of the time.
    """
    oldest, last = session.scalar(select(func.min(Change.rev))), current_rev(session)
    if oldest is None or last - oldest < 2 * kept:
        return 0
    followers = select(func.min(IndexEngine.rev)).where(IndexEngine.rev >= last - abandoned)
    needed = session.scalar(followers)
    first = last - kept + 1 if needed is None else min(last - kept + 1, needed)
    if first <= oldest:
        return 0
    session.execute(delete(Change).where(Change.rev < first))
    return int(first - oldest)
