"""Errors of the store, one sentence each, saying what to do next.

StoreError
├── InvalidName         a name that cannot be stored
├── InvalidVector       a vector that is not a template
├── UnknownPerson       nobody of that name or uid
├── AmbiguousPerson     several people answer to that name
├── PersonExists        the name is taken in that site
├── ConsentMissing      the site enrols nobody without consent on record
├── UnknownPhoto        no photo of that digest or path
├── UnknownTemplate     an id that is no template
├── UnknownCluster      no cluster of that number
├── UnknownProfile      no profile of that name
├── UnknownCalibration  no calibration of that number
├── UnknownKey          no key of the HTTP interface of that name
├── KeyExists           a key of that name is in force
├── UnknownJob          no job of that uid
├── InvalidAnchor       a text that is no anchor of the log
├── UnknownOperation    no operation of that number
├── CannotUndo          a later operation, or an erasure, stands in the way
├── InvalidCorrection   a correction that cannot be made
├── KeyMissing          the gallery is sealed and no key was given
├── KeyWrong            the gallery is sealed with another key
├── KeyUnusable         a key file or keyring entry that gives no key
├── SealBroken          a sealed row that does not open
├── NotSealed           what is asked for needs a sealed gallery
├── SealedIndex         a sealed gallery lets no server keep its vectors
├── RenewedMeanwhile    templates were renewed while they were being read
├── OneToOneOnly        people of this gallery cannot be compared with each other
├── SpaceMismatch       the gallery was enrolled with another encoder
├── NothingToMigrate    no change of the encoder to begin, to go back from or to finish
├── TransitionUnderWay  a change of the encoder must be brought to its end first
├── SchemaBehind        the database is older than the program
├── SchemaAhead         the database is newer than the program
├── TargetNotEmpty      a gallery cannot be moved into a database that holds something
├── MoveFailed          what arrived in the other database is not what was sent
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


class ConsentMissing(StoreError):
    """The site enrols nobody without basis, date and reference of consent on record."""

    code = "consent_missing"
    exit_code = UNUSABLE_INPUT

    def __init__(self, site: str) -> None:
        where = f"site {site!r}" if site else "the default site"
        super().__init__(
            f"People of {where} are enrolled with consent on record only: give --consent-basis, "
            "--consent-date and --consent-reference."
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


class UnknownKey(StoreError):
    """No key of the HTTP interface of that name or uid."""

    code = "unknown_key"
    exit_code = UNUSABLE_INPUT

    def __init__(self, who: str) -> None:
        super().__init__(f"There is no key {who!r}; `vultus keys list` shows those there are.")


class KeyExists(StoreError):
    """A key of that name is in force."""

    code = "key_exists"
    exit_code = UNUSABLE_INPUT

    def __init__(self, name: str) -> None:
        super().__init__(
            f"A key called {name!r} is in force; take another name, or revoke that one first."
        )


class UnknownJob(StoreError):
    """No job of that uid, or none that may be seen."""

    code = "unknown_job"
    exit_code = UNUSABLE_INPUT

    def __init__(self, uid: str) -> None:
        super().__init__(f"There is no job {uid!r}; GET /v1/jobs lists those there are.")


class InvalidAnchor(StoreError):
    """A text is no anchor of the log of events."""

    code = "invalid_anchor"
    exit_code = UNUSABLE_INPUT

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text!r} is no anchor; give one as `vultus audit anchor` printed it: the length of "
            "the log, a colon and 64 hexadecimal digits."
        )


class UnknownOperation(StoreError):
    """No operation of that number, or none at all that could be undone."""

    code = "unknown_operation"
    exit_code = UNUSABLE_INPUT

    def __init__(self, number: int | None) -> None:
        what = "There is nothing to undo" if number is None else f"There is no operation {number}"
        super().__init__(f"{what}; `vultus undo --list` shows what was done.")


class CannotUndo(StoreError):
    """An operation cannot be undone as things are now, for the reason given."""

    code = "cannot_undo"
    exit_code = UNUSABLE_INPUT

    def __init__(self, number: int, kind: str, reason: str) -> None:
        self.number = number
        super().__init__(f"Operation {number} ({kind}) cannot be undone: {reason}.")


class InvalidCorrection(StoreError):
    """A correction that cannot be made, with the reason and the next step."""

    code = "invalid_correction"
    exit_code = UNUSABLE_INPUT


class KeyMissing(StoreError):
    """The gallery is sealed and no key was given; None as the fingerprint stands for any key."""

    code = "key_missing"

    def __init__(self, fingerprint: str | None) -> None:
        self.fingerprint = fingerprint
        wanted = (
            "Sealing needs a key"
            if fingerprint is None
            else f"This is sealed with the key {fingerprint}"
        )
        make = "; `vultus seal new-key PATH` makes one" if fingerprint is None else ""
        super().__init__(
            f"{wanted} and none was given: name its file with --key-file or VULTUS_KEY_FILE, or "
            f"put the key into VULTUS_KEY{make}."
        )


class KeyWrong(StoreError):
    """The gallery is sealed with another key than those given."""

    code = "key_wrong"

    def __init__(self, fingerprint: str, given: Sequence[str]) -> None:
        self.fingerprint = fingerprint
        super().__init__(
            f"This is sealed with the key {fingerprint}, and the key given is "
            f"{' or '.join(given)}: give the right one with --key-file, VULTUS_KEY_FILE or "
            "VULTUS_KEY; a key file may hold several."
        )


class KeyUnusable(StoreError):
    """A key file or keyring entry cannot be read or written, or holds no key."""

    code = "key_unusable"

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(
            f"The key of {place} cannot be used: {reason}; `vultus seal new-key PATH` makes a key "
            "file, and --key-file names it."
        )


class SealBroken(StoreError):
    """A sealed row was changed, moved, or its data key is gone."""

    code = "seal_broken"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"A sealed row does not open: {reason}; restore the database from a backup."
        )


class NotSealed(StoreError):
    """What is asked for needs a sealed gallery."""

    code = "not_sealed"

    def __init__(self) -> None:
        super().__init__(
            "This gallery is not sealed, so nothing would keep the secret of its transform: run "
            "`vultus seal on --key-file PATH` first."
        )


class SealedIndex(StoreError):
    """A sealed gallery lets no server keep its vectors."""

    code = "sealed_index"

    def __init__(self, url: str) -> None:
        super().__init__(
            f"This gallery is sealed, and {url} would keep its vectors in the clear: leave --index "
            "out, so that the index is kept in memory."
        )


class RenewedMeanwhile(StoreError):
    """Templates were renewed while they were being read."""

    code = "renewed_meanwhile"

    def __init__(self) -> None:
        super().__init__("The templates were renewed while they were being read: run this again.")


class OneToOneOnly(StoreError):
    """Each person of the gallery has a transform of their own."""

    code = "one_to_one_only"

    def __init__(self) -> None:
        super().__init__(
            "This gallery keeps each person's templates under a transform of their own, so that "
            "nobody can be compared with anybody else: it verifies a claimed person (`vultus "
            "verify`) and neither identifies nor clusters; `vultus rekey --renewable gallery` "
            "changes that."
        )


class SpaceMismatch(StoreError):
    """The gallery pins one vector space and another was asked for."""

    code = "space_mismatch"

    def __init__(self, pinned: str, asked: str) -> None:
        self.pinned = pinned
        self.asked = asked
        super().__init__(
            f"This gallery holds vectors of {pinned!r}, which cannot be compared with {asked!r}; "
            "use the model it was enrolled with, or start another gallery with --database; a "
            "program that was running while the gallery was migrated must be started again."
        )


class NothingToMigrate(StoreError):
    """There is no change of the encoder to begin, to go back from or to finish."""

    code = "nothing_to_migrate"
    exit_code = UNUSABLE_INPUT


class TransitionUnderWay(StoreError):
    """A change of the encoder must be brought to its end first."""

    code = "transition_under_way"
    exit_code = UNUSABLE_INPUT

    def __init__(self, source: str, target: str, state: str) -> None:
        self.state = state
        steps = {
            "encoding": "run `vultus models migrate` to that model again, or --roll-back",
            "ready": "run `vultus models migrate` to that model again, or --roll-back",
            "current": "keep it with `vultus models migrate --drop-old`, or --roll-back",
            "rolled_back": "end it with `vultus models migrate --drop-old`",
        }
        super().__init__(
            f"The gallery's change from {source} to {target} is {state.replace('_', ' ')}: "
            f"{steps.get(state, 'see `vultus models migrate --status`')}."
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


class TargetNotEmpty(StoreError):
    """A gallery cannot be moved into a database that holds something."""

    code = "target_not_empty"
    exit_code = UNUSABLE_INPUT

    def __init__(self, where: str, why: str) -> None:
        super().__init__(
            f"The gallery cannot be moved to {where}: {why}; name an empty database, "
            "which the move fills itself."
        )


class MoveFailed(StoreError):
    """What arrived in the other database is not what was sent."""

    code = "move_failed"

    def __init__(self, where: str, table: str) -> None:
        super().__init__(
            f"Table {table} differs in {where} from what was sent, so nothing was kept there; "
            "the gallery is where it was: move it again, or report this."
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
    if "is reading it" in reason:
        return "wait until the other program is done, then run `vultus db scrub`"
    if any(words in reason for words in ("locked", "lock timeout", "deadlock")):
        return "wait until the other program is done, then run this again"
    if "connection" in reason:
        return "see that the server runs and can be reached, then run this again"
    if "disk is full" in reason:
        return "make room, then run this again"
    if "driver is not installed" in reason:
        return "install the driver, or name another database with --database"
    return "check its path, its permissions and the free space, or name another with --database"
