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

from store.photos import chunks
from store.schema import Person, Template
from store.vectors import unpack


@dataclass(frozen=True, slots=True)
class Batch:
    """Templates that have a person, as an index takes them.

    Attributes:
        ids: int64 (B,), rising.
        vectors: float32 (B, D).
        sites: int64 (B,), the site of each template's person.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    sites: NDArray[np.int64]


def stream_templates(session: Session, space: str, batch: int = 4096) -> Iterator[Batch]:
    """Every template of a space that has a person, in rising order of ids.

    Memory holds one batch at a time.

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
        return _batch_of([])
    return Batch(
        np.concatenate([part.ids for part in full]),
        np.concatenate([part.vectors for part in full]),
        np.concatenate([part.sites for part in full]),
    )


def _named(space: str) -> Select[int, bytes, int]:
    query = select(Template.id, Template.vector, Person.site_id)
    return query.join(Person, Person.id == Template.person_id).where(Template.space == space)


def _batch(session: Session, query: Select[int, bytes, int]) -> Batch:
    return _batch_of(session.execute(query).all())


def _batch_of(rows: Sequence[Any]) -> Batch:
    return Batch(
        np.array([row[0] for row in rows], np.int64),
        unpack([row[1] for row in rows]),
        np.array([row[2] for row in rows], np.int64),
    )
