"""Profiles: the error rates that a site decides with, by name.

A dining hall and a border want different errors: at a border a stranger who passes is the worst,
in a hall it is the queue behind somebody who is not recognised. Three are built in as starting
points; a gallery keeps its own, and one of the same name stands in for the built-in one. The
false-match rate of `gate`, 1 in 1,000, is the one Frontex asks of automated border control
("Best practice technical guidelines for ABC systems", 2015); `border` asks ten times less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from store.errors import UnknownProfile

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Profile:
    """The rates of a site.

    Attributes:
        name: what it is called.
        fmr: how often a stranger may pass as the person claimed.
        fpir: how often a stranger may be taken for somebody of the gallery.
        unsure: up to how many times these rates the answer is "unsure"; 1: never.
        built_in: whether it comes with the program.
    """

    name: str
    fmr: float
    fpir: float
    unsure: float
    built_in: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "fmr": self.fmr,
            "fpir": self.fpir,
            "unsure": self.unsure,
            "built_in": self.built_in,
        }

    def second(self, rate: float) -> float:
        """The second rate beside `fmr` or `fpir`; below 1, as a rate is."""
        return max(rate, min(rate * self.unsure, 0.5))


BUILT_IN = (
    Profile("gate", fmr=1e-3, fpir=0.01, unsure=10.0, built_in=True),
    Profile("hall", fmr=1e-2, fpir=0.05, unsure=2.0, built_in=True),
    Profile("border", fmr=1e-4, fpir=0.003, unsure=30.0, built_in=True),
)


def profiles(session: Session) -> list[Profile]:
    """Every profile that can be asked for: the gallery's own, then the built-in ones."""
    from store.profiles import list_profiles

    own = [Profile(p.name, p.fmr, p.fpir, p.unsure) for p in list_profiles(session)]
    names = {profile.name for profile in own}
    return own + [profile for profile in BUILT_IN if profile.name not in names]


def find_profile(session: Session, name: str) -> Profile:
    """The profile of a name.

    Raises:
        UnknownProfile: there is none.
    """
    return _named(profiles(session), name)


def drop_profile(session: Session, name: str) -> None:
    """Delete one of the gallery's own profiles.

    Raises:
        UnknownProfile: the gallery has none of that name.
    """
    from store.profiles import list_profiles, remove_profile

    if not remove_profile(session, name):
        raise UnknownProfile(name, [profile.name for profile in list_profiles(session)])


def _named(known: Sequence[Profile], name: str) -> Profile:
    for profile in known:
        if profile.name == name:
            return profile
    raise UnknownProfile(name, [profile.name for profile in known])


@dataclass(frozen=True, slots=True)
class Rates:
    """The two rates a command decides with; None stands for the default.

    Attributes:
        first: of "yes".
        second: up to which the answer is "unsure".
    """

    first: float | None
    second: float | None


def rates_of(
    session: Session, name: str | None, kind: str, first: float | None, second: float | None
) -> Rates:
    """The rates to decide with: what was given explicitly, else the profile's.

    Args:
        session: a transaction, as `Store` opens it.
        name: of the profile; None: none.
        kind: `fmr` or `fpir`.
        first: the rate given, or None.
        second: the second rate given, or None.

    Raises:
        UnknownProfile: no profile of that name.
    """
    if name is None:
        return Rates(first, second)
    profile = find_profile(session, name)
    rate = first if first is not None else {"fmr": profile.fmr, "fpir": profile.fpir}[kind]
    return Rates(rate, second if second is not None else profile.second(rate))
