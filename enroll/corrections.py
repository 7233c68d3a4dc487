"""Corrections by a gallery's user: rename, merge, split, "not them", undo; the index follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from embedder.photo import printable
from store import corrections
from store.operations import OperationSummary, list_operations, undo_operation
from store.people import find_person
from store.sync import refresh, save
from verify.opening import Parts

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Corrected:
    """What a correction did.

    Attributes:
        kind: rename, merge, split or not.
        person: whom it was about; the name before.
        other: the name after, whom they were merged into, or the new person; None for "not".
        templates: how many templates have another person now, or none.
        operation: what `undo` takes; None where nothing had to be changed.
    """

    kind: str
    person: str
    other: str | None
    templates: int
    operation: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "person": self.person,
            "other": self.other,
            "templates": self.templates,
            "operation": self.operation,
        }


def rename(parts: Parts, who: str, name: str, site: str | None = None) -> Corrected:
    """Give somebody another name.

    Args:
        parts: the gallery.
        who: name or uid.
        name: the new one.
        site: look for the person only there.

    Raises:
        UnknownPerson, AmbiguousPerson: nobody or several people of that name.
        InvalidName, PersonExists: the name cannot be stored, or is taken.
    """
    with parts.store.begin() as session:
        person = find_person(session, who, site)
        before = person.name
        after = corrections.rename_person(session, person, name).name
        number = None if before == after else _latest(session)
    return Corrected(corrections.RENAME, before, after, 0, number)


def merge(parts: Parts, source: str, target: str, site: str | None = None) -> Corrected:
    """Make two people one: what `source` has moves to `target`, and `source` is gone.

    Raises:
        UnknownPerson, AmbiguousPerson: nobody or several people of a name.
    """

    def work(session: Session) -> Corrected:
        one, other = (find_person(session, who, site) for who in (source, target))
        same, names = one.id == other.id, (one.name, other.name)
        moved = corrections.merge_people(session, one, other)
        return Corrected(corrections.MERGED, *names, moved, None if same else _latest(session))

    return _followed(parts, work)


def split(
    parts: Parts, who: str, name: str, which: Sequence[str | Path], site: str | None = None
) -> Corrected:
    """Make some of somebody's faces a new person.

    Args:
        parts: the gallery.
        who: name or uid.
        name: of the new person.
        which: numbers of templates (`vultus people show`), or photos by path or sha256.
        site: look for the person only there.

    Raises:
        UnknownPerson, AmbiguousPerson: nobody or several people of that name.
        UnknownTemplate, UnknownPhoto: some are not this person's.
        InvalidCorrection: none are given, or nothing would stay.
        InvalidName, PersonExists: the name cannot be stored, or is taken.
    """

    def work(session: Session) -> Corrected:
        person = find_person(session, who, site)
        ids = corrections.templates_meant(session, person, [printable(w) for w in which])
        new = corrections.split_person(session, person, ids, name)
        return Corrected(corrections.SPLIT, person.name, new.name, len(ids), _latest(session))

    return _followed(parts, work)


def deny(parts: Parts, who: str, which: Sequence[str | Path], site: str | None = None) -> Corrected:
    """Keep that faces are not somebody's; arguments and errors as `split`."""

    def work(session: Session) -> Corrected:
        person = find_person(session, who, site)
        ids = corrections.templates_meant(session, person, [printable(w) for w in which])
        count = corrections.deny_templates(session, person, ids)
        return Corrected(corrections.NOT, person.name, None, count, _latest(session))

    return _followed(parts, work)


def undo(parts: Parts, number: int | None = None) -> OperationSummary:
    """Undo an operation, the latest without a number.

    Raises:
        UnknownOperation: there is none.
        CannotUndo: it is undone already, somebody it was about is forgotten, or a later one,
            which is named, stands in the way.
    """
    return _followed(parts, lambda session: undo_operation(session, number))


def operations(parts: Parts, last: int | None = None) -> list[OperationSummary]:
    """What was done, the latest first; `last`: only so many."""
    with parts.store.read() as session:
        return list_operations(session, last)


def _followed(parts: Parts, work: Callable[[Session], T]) -> T:
    """Do something in one transaction; then the index follows and is saved."""
    index = parts.index
    with parts.store.begin() as session:
        done = work(session)
    refresh(index)
    save(index)
    return done


def _latest(session: Session) -> int:
    """The number of the operation that this transaction has just recorded."""
    return list_operations(session, 1)[0].number
