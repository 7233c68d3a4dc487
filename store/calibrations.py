"""The calibrations a gallery keeps: several a space, one of them in force."""

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from store.audit import append_event
from store.errors import UnknownCalibration
from store.records import Calibration, Decision


def list_calibrations(session: Session, space: str | None = None) -> list[Calibration]:
    """What is kept, the oldest first.

    Args:
        session: a transaction, as `Store` opens it.
        space: only those of this vector space; None: all.
    """
    query = select(Calibration).order_by(Calibration.id)
    if space is not None:
        query = query.where(Calibration.space == space)
    return list(session.scalars(query))


def decisions_by_calibration(session: Session) -> dict[int, int]:
    """Calibration → how many decisions rest on it; those on a shipped one name none."""
    query = select(Decision.calibration_id, func.count()).group_by(Decision.calibration_id)
    return {row[0]: row[1] for row in session.execute(query) if row[0] is not None}


def find_calibration(session: Session, number: int) -> Calibration:
    """The calibration of a number.

    Raises:
        UnknownCalibration: there is none.
    """
    found = session.get(Calibration, number)
    if found is None:
        raise UnknownCalibration(number)
    return found


def use_calibration(session: Session, number: int) -> Calibration:
    """Put a calibration in force for its space; decisions made before keep the one they used.

    Raises:
        UnknownCalibration: there is none of that number.
    """
    chosen = find_calibration(session, number)
    _retire(session, chosen.space)
    chosen.active = True
    session.flush()
    details = {"calibration": number, "space": chosen.space, "digest": chosen.digest}
    append_event(session, "calibration_in_force", details=details)
    return chosen


def use_none(session: Session, space: str) -> None:
    """Put none in force, so that the one shipped with the encoder is."""
    _retire(session, space)
    append_event(session, "calibration_in_force", details={"calibration": None, "space": space})


def _retire(session: Session, space: str) -> None:
    session.execute(update(Calibration).where(Calibration.space == space).values(active=False))
    session.expire_all()
