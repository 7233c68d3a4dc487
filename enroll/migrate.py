"""Moving a gallery from one encoder to another without enrolling anybody again.

    encode, a commit a batch ──▶ cut over, one transaction ──▶ drop the old vectors
         (kill, run again)              (or roll back)            (when you are sure)

What the rows need is in `store.transitions`; this opens the encoders, makes sure that decisions in
the new space rest on a calibration, and cleans up outside of the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select

from embedder.card import EncoderCard
from embedder.encoder import card_of, known_models
from embedder.errors import UnknownModel
from enroll.errors import FacesUnreadable
from enroll.migrate_encoding import Encoding, Progress, require_same_crops
from enroll.sheet import renumber_sheet
from index.errors import UnknownEngine
from index.opening import read_url
from store.errors import DatabaseUnusable, NothingToMigrate
from store.gallery import active_calibration, pinned_space
from store.records import Run
from store.schema import IndexEngine
from store.synced import default_index_url
from store.transitions import (
    CURRENT,
    FINISHED,
    OPEN,
    READY,
    ROLLED_BACK,
    SWITCHED,
    Dropped,
    TransitionSummary,
    begin_transition,
    drop_space,
    latest_transition,
    set_state,
    switch_space,
    transition_summary,
    twins,
    unused_space,
)
from verify.calibration import calibration_for

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from store.ledger import Transition
    from verify.opening import Parts


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a step of a migration did.

    Attributes:
        status: how far the migration has come; None where the gallery was of that space already.
        space: the gallery's space now.
        encoded: templates that were added by this run.
        from_photos: how many of them came from a photo.
        left_out: faces that have no template in the gallery's space, theirs being unreadable.
    """

    status: TransitionSummary | None
    space: str
    encoded: int = 0
    from_photos: int = 0
    left_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = asdict(self) | {"status": None}
        return values | ({} if self.status is None else {"status": self.status.to_dict()})


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What is gone after a migration.

    Attributes:
        dropped: rows; None where they were dropped before.
        removed: index files that held vectors of the space.
        servers: index servers that may hold such vectors: drop their collections there.
        remarks: why old bytes may still be somewhere.
    """

    dropped: Dropped | None
    removed: tuple[str, ...]
    servers: tuple[str, ...]
    remarks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "dropped": None if self.dropped is None else asdict(self.dropped),
            "index_files_removed": list(self.removed),
            "index_servers": list(self.servers),
            "remarks": list(self.remarks),
        }


def migrate(
    parts: Parts,
    model: str,
    *,
    from_photos: bool = False,
    prepare: bool = False,
    leave_out: bool = False,
    progress: Progress | None = None,
) -> Migrated:
    """Encode every face with another encoder and pin the gallery to its space.

    Killed at any moment, it is continued by calling it again. What is enrolled meanwhile is encoded
    in the transaction that cuts over.

    Args:
        parts: the gallery.
        model: name of the encoder.
        from_photos: encode from the photo where it is there and the same, else from the crop.
        prepare: encode, and do not cut over.
        leave_out: cut over although faces cannot be encoded.
        progress: called with faces done and faces in all.

    Raises:
        UnknownModel: no such encoder.
        NothingToMigrate: the gallery holds nothing yet.
        TransitionUnderWay: another migration must be brought to its end first.
        CropsUnfit: the encoder looks at another kind of crop than the gallery keeps.
        NoCalibration: nothing says what a similarity means in the new space.
        FacesUnreadable: stored crops do not open; nothing was cut over.
        KeyMissing, KeyWrong, KeyUnusable: the gallery is sealed and there is no key for it.
    """
    card = card_of(model)
    with parts.store.begin() as session:
        pinned = pinned_space(session)
        if pinned == card.space:
            last = latest_transition(session)
            status = None if last is None else transition_summary(session, last)
            return Migrated(status, card.space)
        require_same_crops(pinned or "", card)
        _require_calibration(session, card.space)
        transition = begin_transition(session, card.space)
        number, source = transition.id, transition.source
    encoding = Encoding(parts, source, card, from_photos)
    encoding.run(progress)
    with parts.store.begin() as session:
        transition = _again(session, number)
        encoding.catch_up(session)
        _require_readable(encoding, leave_out=leave_out)
        set_state(session, transition, READY, {"left_out": len(encoding.unreadable)})
        if not prepare:
            _require_calibration(session, card.space)
            switch_space(session, transition, card.space, CURRENT)
        return _told(session, transition, encoding)


def roll_back(
    parts: Parts, *, leave_out: bool = False, progress: Progress | None = None
) -> Migrated:
    """Go back to the space before; faces enrolled since are encoded with its encoder.

    Args:
        parts: the gallery.
        leave_out: go back although faces cannot be encoded.
        progress: called with faces done and faces in all.

    Raises:
        NothingToMigrate: there is no migration, or its old vectors were dropped.
        UnknownModel: the old encoder is needed and not known any more.
        FacesUnreadable: stored crops do not open; nothing was changed.
    """
    with parts.store.begin() as session:
        transition = latest_transition(session)
        if transition is None or transition.state == FINISHED:
            raise NothingToMigrate(
                "There is no migration to roll back, or its old vectors were dropped."
            )
        number, source, target = transition.id, transition.source, transition.target
        if transition.state in (*OPEN, ROLLED_BACK):
            set_state(session, transition, ROLLED_BACK)
            return Migrated(transition_summary(session, transition), source)
    encoding = Encoding(parts, target, _card_of_space(source))
    encoding.run(progress)
    with parts.store.begin() as session:
        transition = _again(session, number)
        encoding.catch_up(session)
        _require_readable(encoding, leave_out=leave_out)
        switch_space(session, transition, source, ROLLED_BACK)
        return _told(session, transition, encoding)


def drop_old(parts: Parts) -> Cleaned:
    """Delete the vectors of the space that the gallery does not use, from its files too.

    Interrupted after its commit, the files are cleaned by calling it again.

    Raises:
        NothingToMigrate: there was no migration.
        TransitionUnderWay: it is neither cut over nor rolled back.
    """
    with parts.store.read() as session:
        transition = _last(session)
        space, kept = unused_space(session, transition), str(pinned_space(session))
        renumbered = twins(session, space, kept) if transition.state in SWITCHED else {}
        outs = {(run.parameters or {}).get("out") for run in session.scalars(select(Run))}
    remarks = _renumber_sheets(sorted(out for out in outs if out), renumbered)
    with parts.store.begin() as session:
        transition = _last(session)
        done = transition.state == FINISHED
        dropped = None if done else drop_space(session, transition)
        urls = list(session.scalars(select(IndexEngine.url).where(IndexEngine.space == space)))
        session.execute(delete(IndexEngine).where(IndexEngine.space == space))
    files, servers = _places([*urls, default_index_url(parts.store, space)])
    removed = tuple(str(file) for file in files if _remove(file))
    try:
        parts.store.scrub()
    except DatabaseUnusable as error:
        remarks.append(f"old bytes may remain in the files: {error.reason}")
    return Cleaned(dropped, removed, servers, tuple(remarks))


def status_of(parts: Parts) -> TransitionSummary | None:
    """How far the last migration has come; None where there was none."""
    with parts.store.read() as session:
        transition = latest_transition(session)
        return None if transition is None else transition_summary(session, transition)


def _last(session: Session) -> Transition:
    transition = latest_transition(session)
    if transition is None:
        raise NothingToMigrate("There was no migration, so there are no old vectors to drop.")
    return transition


def _again(session: Session, number: int) -> Transition:
    """The transition as it is now.

    Raises:
        NothingToMigrate: somebody else has brought it to its end meanwhile.
    """
    transition = latest_transition(session)
    if transition is None or transition.id != number or transition.state in (ROLLED_BACK, FINISHED):
        raise NothingToMigrate("The migration was ended by somebody else meanwhile; see --status.")
    return transition


def _told(session: Session, transition: Transition, encoding: Encoding) -> Migrated:
    return Migrated(
        transition_summary(session, transition), str(pinned_space(session)), encoding.made,
        encoding.photos, len(encoding.unreadable),
    )  # fmt: skip


def _require_calibration(session: Session, space: str) -> None:
    row = active_calibration(session, space)
    calibration_for(space, None if row is None else row.body)


def _require_readable(encoding: Encoding, *, leave_out: bool) -> None:
    if encoding.unreadable and not leave_out:
        raise FacesUnreadable(sorted(encoding.unreadable))


def _card_of_space(space: str) -> EncoderCard:
    for card in known_models():
        if card.space == space:
            return card
    raise UnknownModel(f"No known model gives vectors of the space {space}.")


def _renumber_sheets(outs: Sequence[str], renumbered: dict[int, int]) -> list[str]:
    """Let contact sheets name the templates that stay, so that forgetting finds them there."""
    from enroll.errors import OutputUnusable

    remarks = []
    for out in outs if renumbered else ():
        try:
            renumber_sheet(Path(out), renumbered)
        except OutputUnusable as error:
            remarks.append(str(error))
    return remarks


def _places(urls: Sequence[str]) -> tuple[list[Path], tuple[str, ...]]:
    """The files and the servers of index URLs."""
    files, servers = [], []
    for url in dict.fromkeys(urls):
        try:
            place = read_url(url)
        except UnknownEngine:
            continue
        if place.path is not None:
            files.append(place.path)
        elif "://" in url:
            servers.append(url)
    return files, tuple(servers)


def _remove(file: Path) -> bool:
    there = file.is_file()
    file.unlink(missing_ok=True)
    return there
