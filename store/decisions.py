"""Reading the decisions on record."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.records import Calibration, Decision


def decisions_since(session: Session, since: datetime) -> Iterator[tuple[Decision, str | None]]:
    """The decisions from a moment on, the oldest first, each with the calibration it used.

    Args:
        session: a transaction, as `Store` opens it.
        since: an aware time.

    Yields:
        The decision and the JSON text of its calibration, None where it was the shipped one.
    """
    query = (
        select(Decision, Calibration.body)
        .join(Calibration, Calibration.id == Decision.calibration_id, isouter=True)
        .where(Decision.time >= since)
        .order_by(Decision.id)
    )
    for row in session.execute(query):
        yield row[0], row[1]
