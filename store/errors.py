"""Errors of the store, one sentence each, saying what to do next.

StoreError
├── InvalidName         a name that cannot be stored
├── InvalidVector       a vector that is not a template
├── UnknownPerson       nobody of that name or uid
├── AmbiguousPerson     several people answer to that name
├── PersonExists        the name is taken in that site
├── UnknownPhoto        no photo of that digest or path
├── UnknownTemplate     an id that is no template
├── UnknownCluster      no cluster of that number
├── UnknownProfile      no profile of that name
├── UnknownCalibration  no calibration of that number
├── SpaceMismatch       the gallery was enrolled with another encoder
├── SchemaBehind        the database is older than the program
├── SchemaAhead         the database is newer than the program
└── DatabaseUnusable    the database cannot be opened, read or written
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import ClassVar

UNUSABLE_INPUT = 2
OUR_SIDE = 3


class StoreError(Exception):
    """Base of every error of the store."""

    code: ClassVar[str] = "store_error"
    exit_code: ClassVar[int] = OUR_SIDE


class InvalidName(StoreError):
    """A name is empty, too long or holds control characters."""

    code = "invalid_name"
    exit_code = UNUSABLE_INPUT


class InvalidVector(StoreError):
    """A vector has the wrong shape, dtype or length."""

    code = "invalid_vector"


class UnknownPerson(StoreError):
    """Nobody in the gallery has that uid or name; up to three close names are offered."""

    code = "unknown_person"
    exit_code = UNUSABLE_INPUT

    def __init__(self, who: str, known: Iterable[str] = ()) -> None:
        by_folded = {name.casefold(): name for name in known}
        close = get_close_matches(who.casefold(), by_folded, n=3, cutoff=0.6)
        self.who = who
        self.close = tuple(by_folded[name] for name in close)
        hint = (
            f"did you mean {' or '.join(repr(name) for name in self.close)}?"
            if self.close
            else "`vultus people list` lists everyone."
        )
        super().__init__(f"Nobody called {who!r} is enrolled; {hint}")


class AmbiguousPerson(StoreError):
    """Several people answer to that name; each one's uid and site are given."""

    code = "ambiguous_person"
    exit_code = UNUSABLE_INPUT

    def __init__(self, who: str, candidates: Sequence[tuple[str, str, str]]) -> None:
        self.who = who
        self.candidates = tuple(candidates)
        listed = ", ".join(f"{name} in site {site!r} ({uid})" for uid, name, site in candidates)
        super().__init__(
            f"{len(candidates)} people are called {who!r}: {listed}; give the uid or the site."
        )


class PersonExists(StoreError):
    """The name is taken in that site."""

    code = "person_exists"
    exit_code = UNUSABLE_INPUT

    def __init__(self, name: str, site: str) -> None:
        where = f" in site {site!r}" if site else ""
        super().__init__(
            f"Somebody called {name!r} exists already{where}; take another name or merge the two."
        )


class UnknownPhoto(StoreError):
    """No photo of that digest or path."""

    code = "unknown_photo"
    exit_code = UNUSABLE_INPUT

    def __init__(self, what: str) -> None:
        super().__init__(
            f"No photo {what!r} in the gallery; give its sha256 or its path as it was enrolled."
        )


class UnknownTemplate(StoreError):
    """Some ids are no templates."""

    code = "unknown_template"
    exit_code = UNUSABLE_INPUT

    def __init__(self, missing: Sequence[int]) -> None:
        shown = ", ".join(str(template_id) for template_id in missing[:3])
        super().__init__(
            f"{len(missing)} template ids are not in the gallery ({shown}); read them again."
        )


class UnknownCluster(StoreError):
    """No cluster of that number in that run."""

    code = "unknown_cluster"
    exit_code = UNUSABLE_INPUT

    def __init__(self, number: int) -> None:
        super().__init__(
            f"The last clustering has no cluster {number}; `vultus cluster` makes and lists them."
        )


class UnknownProfile(StoreError):
    """No profile of that name, neither the user's nor a built-in one."""

    code = "unknown_profile"
    exit_code = UNUSABLE_INPUT

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(
            f"There is no profile {name!r} here; there are {', '.join(known) or 'none'}: "
            "`vultus profiles list` shows them and `vultus profiles set` makes one."
        )


class UnknownCalibration(StoreError):
    """No calibration of that number."""

    code = "unknown_calibration"
    exit_code = UNUSABLE_INPUT

    def __init__(self, number: int) -> None:
        super().__init__(
            f"The gallery has no calibration {number}; `vultus calibrate list` shows those it has."
        )


class SpaceMismatch(StoreError):
    """The gallery pins one vector space and another was asked for."""

    code = "space_mismatch"

    def __init__(self, pinned: str, asked: str) -> None:
        self.pinned = pinned
        self.asked = asked
        super().__init__(
            f"This gallery holds vectors of {pinned!r}, which cannot be compared with {asked!r}; "
            "use the model it was enrolled with, or start another gallery with --database."
        )


class SchemaBehind(StoreError):
    """The database is older than the program."""

    code = "schema_behind"

    def __init__(self, found: str | None, wanted: str) -> None:
        state = "has no tables yet" if found is None else f"is at schema {found}"
        super().__init__(
            f"The database {state} and this program needs schema {wanted}: run `vultus db upgrade`."
        )


class SchemaAhead(StoreError):
    """The database is newer than the program."""

    code = "schema_ahead"

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(
            f"The database is at schema {found}, newer than this program's {wanted}: "
            "upgrade vultus, or use another --database."
        )


class DatabaseUnusable(StoreError):
    """The database cannot be opened, read or written, for the reason given."""

    code = "database_unusable"

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = reason
        super().__init__(f"The database {where} cannot be used: {reason}; {_next_step(reason)}.")


def _next_step(reason: str) -> str:
    if "malformed" in reason or "not a database" in reason:
        return "restore it from a backup, or name another with --database"
    if "locked" in reason or "is reading it" in reason:
        return "wait until the other program is done, then run this again"
    if "disk is full" in reason:
        return "make room, then run this again"
    if "driver is not installed" in reason:
        return "install the driver, or name another database with --database"
    return "check its path and permissions, or name another with --database"
