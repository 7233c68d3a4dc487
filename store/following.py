"""What an index must hold, read from the tables: all of it, or the part that changed.

B templates a batch, D dimensions. Ids and sites are int64, vectors float32 with unit rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from index.protocol import VectorIndex
from store.errors import RenewedMeanwhile
from store.photos import chunks
from store.renewal import Transform
from store.schema import Change, Person, Template
from store.sealing import Stored, comparable, turned

_Named = Select[int, int, str, str, bytes, int | None]


@dataclass(frozen=True, slots=True)
class Batch:
    """Templates that have a person, as an index takes them.

    Attributes:
        ids: int64 (B,), rising.
        vectors: float32 (B, D).
        sites: int64 (B,), the site of each template's person.
        epoch: which transform the vectors are turned by; 0: by none.
        transform: that transform, or None.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    sites: NDArray[np.int64]
    epoch: int = 0
    transform: Transform | None = None


def stream_templates(session: Session, space: str, batch: int = 4096) -> Iterator[Batch]:
    """Every template of a space that has a person, in rising order of ids.

    Memory holds one batch at a time. Where each person has a transform of their own there is none.

    Args:
        session: a transaction, as `Store` opens it.
        space: name of the vector space.
        batch: the most templates in one batch.
    """
    last = -1
    while True:
        following = _named(space).where(Template.id > last).order_by(Template.id).limit(batch)
        found = _batch(session, following)
        if len(found.ids) == 0:
            return
        yield found
        last = int(found.ids[-1])


def present_templates(session: Session, space: str, template_ids: Sequence[int]) -> Batch:
    """Those of the given templates that are in the space now and have a person."""
    parts = [
        _batch(session, _named(space).where(Template.id.in_(some)).order_by(Template.id))
        for some in chunks(sorted(template_ids))
    ]
    full = [part for part in parts if len(part.ids)]
    if not full:
        return _batch_of(session, [])
    return Batch(
        np.concatenate([part.ids for part in full]),
        np.concatenate([part.vectors for part in full]),
        np.concatenate([part.sites for part in full]),
        *_one_transform(full),
    )


def apply_changes(
    session: Session, changes: Sequence[Change], index: VectorIndex, space: str, epoch: int = 0
) -> None:
    """Bring what the changes touch to its state of now; doing so again changes nothing.

    Args:
        session: a transaction, as `Store` opens it; what it held in memory is let go.
        changes: rows of the log.
        index: what follows.
        space: the vector space whose templates it holds.
        epoch: which transform its vectors are turned by; 0: by none.

    Raises:
        RenewedMeanwhile: the templates are turned by another; the index is as it was.
    """
    touched = {change.template_id for change in changes}
    present = present_templates(session, space, sorted(touched))
    if len(present.ids) and present.epoch != epoch:
        raise RenewedMeanwhile
    gone = sorted(touched.difference(present.ids.tolist()))
    index.remove(np.array(gone, np.int64))
    if len(present.ids):
        index.add(present.ids, present.vectors, present.sites)
    session.expunge_all()


def _named(space: str) -> _Named:
    stored = (Template.uid, Template.space, Template.vector, Template.seal_id)
    query = select(Template.id, Person.site_id, *stored)
    return query.join(Person, Person.id == Template.person_id).where(Template.space == space)


def _batch(session: Session, query: _Named) -> Batch:
    rows = session.execute(query).all()
    if any(row.seal_id is not None for row in rows) and not comparable(session):
        rows = []
    return _batch_of(session, rows)


def _batch_of(session: Session, rows: Sequence[Any]) -> Batch:
    vectors, epoch, transform = turned(session, [Stored(*row[2:]) for row in rows])
    return Batch(
        np.array([row[0] for row in rows], np.int64),
        vectors,
        np.array([row[1] for row in rows], np.int64),
        epoch,
        transform,
    )


def _one_transform(parts: Sequence[Batch]) -> tuple[int, Transform | None]:
    """What turned all the parts.

    Raises:
        RenewedMeanwhile: not the same.
    """
    if len({part.epoch for part in parts}) > 1:
        raise RenewedMeanwhile
    return parts[0].epoch, parts[0].transform
