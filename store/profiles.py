"""Profiles: the error rates that a site decides with, under a name."""

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from store.audit import append_event
from store.names import clean_name
from store.records import Profile


def list_profiles(session: Session) -> list[Profile]:
    """The user's profiles, by name."""
    return list(session.scalars(select(Profile).order_by(Profile.name)))


def put_profile(session: Session, name: str, *, fmr: float, fpir: float, unsure: float) -> Profile:
    """Keep a profile, in place of one of the same name.

    Args:
        session: a transaction, as `Store` opens it.
        name: cleaned by `clean_name`.
        fmr: false-match rate of one claim, between 0 and 1.
        fpir: share of strangers taken for somebody of a gallery, between 0 and 1.
        unsure: how many times these rates the answer "unsure" reaches; 1 or more.

    Raises:
        InvalidName: the name cannot be stored.
        ValueError: the numbers are not that.
    """
    if not (0.0 < fmr < 1.0 and 0.0 < fpir < 1.0 and 1.0 <= unsure < float("inf")):
        raise ValueError(f"A profile holds two rates and a factor; got {fmr}, {fpir}, {unsure}.")
    name = clean_name(name)
    profile = session.scalar(select(Profile).where(Profile.name == name)) or Profile(name=name)
    profile.fmr, profile.fpir, profile.unsure = fmr, fpir, unsure
    session.add(profile)
    session.flush()
    details = {"profile": name, "fmr": float(fmr), "fpir": float(fpir), "unsure": float(unsure)}
    append_event(session, "profile_set", details=details)
    return profile


def remove_profile(session: Session, name: str) -> bool:
    """Delete a profile; whether there was one of that name."""
    gone = session.execute(delete(Profile).where(Profile.name == name).returning(Profile.id))
    if gone.first() is None:
        return False
    append_event(session, "profile_removed", details={"profile": name})
    return True
