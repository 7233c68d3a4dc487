"""The commands about what may be kept: forget, purge, receipts, sites, and people consent."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from enroll.cli import PART_FAILED, ask, yes_option
from enroll.cli_consent import consent_options
from enroll.cli_corrections import people
from verify.cli import format_option, gallery_options, leave
from verify.opening import Parts, Places
from verify.output import as_json, as_table

if TYPE_CHECKING:
    from enroll.cleaning import Cleaned
    from enroll.forget import Forgotten
    from enroll.purge import Purged
    from store.consent import Consent
    from store.policies import SiteSummary

__all__ = ["forget", "people", "purge", "receipts", "sites"]

_NO = 1
_FOREVER = "forever"

receipt_option = click.option(
    "--receipt",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the receipt there, as JSON: keep it, nothing else holds the key of its hash.",
)
no_proof_option = click.option(
    "--no-proof",
    is_flag=True,
    help="Do not read the files through for traces afterwards: that takes time when they are huge.",
)


@click.command(
    short_help="Erase a person or a photo.",
    epilog="""\b
Examples:
  vultus forget "Ann Lee"
  vultus forget "Ann Lee" --receipt ann.json --yes
  vultus forget people/Ann/3.jpg --yes""",
)
@click.argument("what", metavar="PERSON|PHOTO")
@click.option("--site", help="Look for the person only in this site.")
@receipt_option
@no_proof_option
@yes_option
@gallery_options
@format_option("table", "json")
def forget(
    what: str,
    site: str | None,
    receipt: Path | None,
    no_proof: bool,
    yes: bool,
    places: Places,
    form: str,
) -> None:
    """Erase a PERSON, or a PHOTO, down to the bytes: rows, vectors, crops, index, pages, log.

    The files are read through afterwards for what should be gone, and a receipt tells what was
    found. Where somebody was reading just then, so that old bytes had to stay, the same command
    given again finishes it; exits with 3 until then. The photo files stay where they are.
    """
    from enroll.forget import forget as erase
    from enroll.forget import is_pending, kind_of, write_receipts
    from store.errors import UnknownPerson

    _require_new(receipt)
    with Parts(places) as parts:
        try:
            kind = kind_of(parts, what, site)
            if not yes:
                ask(f"Erase the {kind} {what} for good?")
        except UnknownPerson:
            if not is_pending(parts):
                raise
        gone = erase(parts, what, site, prove=not no_proof)
        if receipt is not None and gone.receipt is not None:
            write_receipts(receipt, gone.receipt)
    if form == "json":
        click.echo(as_json(gone.to_dict()))
    else:
        _tell(gone, what, receipt)
    leave(0 if gone.whole else PART_FAILED)


def _require_new(receipt: Path | None) -> None:
    """Refuse a place for receipts before anything is erased."""
    if receipt is not None and (receipt.exists() or not receipt.absolute().parent.is_dir()):
        why = "exists already" if receipt.exists() else "lies in a folder that does not exist"
        raise click.UsageError(f"{receipt} {why}: name another --receipt.")


def _tell(gone: Forgotten, what: str, file: Path | None) -> None:
    rows = gone.rows
    if gone.receipt is None:
        click.echo(f"Nobody and no photo called {what} is in the gallery (any more).")
        if not gone.pending:
            click.echo("What an earlier erasure deleted has left the database's files now.")
    else:
        click.echo(
            f"Forgot the {gone.what} {what}: {rows.templates} templates, {rows.faces} faces with "
            f"their crops, {rows.photos} photos, {gone.thumbnails} thumbnails, index entries."
        )
        _tell_cleaned(gone.cleaned)
        kept = f"--receipt FILE writes it down; its key {gone.receipt['key']} is kept nowhere else"
        where = kept if file is None else f"written to {file}"
        click.echo(f"Receipt {gone.receipt['receipt']}: {where}.")
    if gone.pending:
        click.echo(f"Run this again: old bytes are still in the files, {gone.pending}.", err=True)


def _tell_cleaned(cleaned: Cleaned) -> None:
    proof = cleaned.proof
    if proof is not None:
        found = ", ".join(f"{count} in {file}" for file, count in proof.found.items()) or "none"
        part = "" if proof.complete else " (not all: there was no more time)"
        click.echo(
            f"Looked for {proof.pieces} traces in {proof.files} files, {proof.bytes / 1e6:.1f} MB"
            f"{part}: found {found}."
        )
    for line in cleaned.remains:
        click.echo(f"What may remain: {line}.")


@click.command(
    short_help="Erase what may be kept no longer.",
    epilog="""\b
Examples:
  vultus purge --dry-run
  vultus purge --yes --receipt purged.json
  vultus purge --site north --yes""",
)
@click.option("--site", help="Only in this site.")
@click.option("--dry-run", is_flag=True, help="Tell what would go, erase nothing.")
@receipt_option
@no_proof_option
@yes_option
@gallery_options
@format_option("table", "json")
def purge(
    site: str | None,
    dry_run: bool,
    receipt: Path | None,
    no_proof: bool,
    yes: bool,
    places: Places,
    form: str,
) -> None:
    """Erase people whose time is over, and what sites keep for a number of days only.

    `vultus enroll --expires` sets the first, `vultus sites set --retention-days` the second: it
    covers decisions, rejected photos, and faces of a library that nobody has named.
    """
    from enroll.forget import write_receipts
    from enroll.purge import plan_purge
    from enroll.purge import purge as erase

    _require_new(receipt)
    with Parts(places) as parts:
        plan = plan_purge(parts, site)
        if dry_run or plan.empty:
            _tell_purged(plan, form, dry_run=True)
            return
        if not yes:
            _tell_purged(plan, "table", dry_run=True, err=True)
            ask("Erase this for good?")
        done = erase(parts, site, prove=not no_proof)
        if receipt is not None:
            write_receipts(receipt, list(done.receipts))
    _tell_purged(done, form, dry_run=False)
    cleaned = done.cleaned
    proof = None if cleaned is None else cleaned.proof
    whole = cleaned is None or (not cleaned.pending and (proof is None or proof.clean))
    leave(0 if whole else PART_FAILED)


def _tell_purged(done: Purged, form: str, *, dry_run: bool, err: bool = False) -> None:
    if form == "json":
        click.echo(as_json(done.to_dict() | {"dry_run": dry_run}))
        return
    if done.people:
        rows = [(p.name, p.site or "–", f"{p.expires:%Y-%m-%d}") for p in done.people]
        click.echo(as_table(rows, ("name", "site", "expired")), err=err)
    for share in done.sites:
        counts = share.counts
        click.echo(
            f"site {share.site or '–'}, older than {share.days} days: {counts['decisions']} "
            f"decisions, {counts['photos']} rejected photos, {counts['library']} photos of a "
            "library",
            err=err,
        )
    if done.empty:
        click.echo("There is nothing to purge.", err=err)
    else:
        click.echo(f"{len(done.people)} people {'would go' if dry_run else 'are gone'}.", err=err)
    if done.cleaned is not None:
        _tell_cleaned(done.cleaned)


@click.group(
    short_help="List and check receipts of erasures.",
    epilog="""\b
Examples:
  vultus receipts list
  vultus receipts check ann.json --person "Ann Lee\"""",
)
def receipts() -> None:
    """Receipts prove that somebody was erased, and name nobody."""


@receipts.command("list", epilog="\b\nExample:\n  vultus receipts list --format json")
@gallery_options
@format_option("table", "json")
def list_command(places: Places, form: str) -> None:
    """List the receipts that the gallery gave, the latest first."""
    from store.receipts import PENDING, list_receipts

    with Parts(places) as parts, parts.store.read() as session:
        rows = [(r.uid, r.time.isoformat(), dict(r.counts or {})) for r in list_receipts(session)]
    told = [
        {"receipt": uid, "time": time, "pending": bool(counts.pop(PENDING, False)), **counts}
        for uid, time, counts in rows
    ]
    if form == "json":
        click.echo(as_json({"receipts": told}))
        return
    head = ("receipt", "time", "templates", "photos", "pending")
    click.echo(as_table([tuple(one.get(name) for name in head) for one in told], head))


@receipts.command(epilog='\b\nExample:\n  vultus receipts check ann.json --person "Ann Lee"')
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--person", metavar="NAME", help="Also whether it is about this person.")
@click.option("--site", default="", help="The site they belonged to.")
@gallery_options
@format_option("table", "json")
def check(file: Path, person: str | None, site: str, places: Places, form: str) -> None:
    """Compare the receipts of a FILE with the gallery's log.

    Exits with 0 when each belongs to it, with 1 when one does not.
    """
    from enroll.forget import check_receipts

    with Parts(places) as parts:
        found = check_receipts(parts, file, person, site)
    if form == "json":
        told = [
            {
                "belongs": one.belongs,
                "known": one.known,
                "logged": one.logged,
                "pending": one.pending,
                "about_them": one.subject,
            }
            for one in found
        ]
        click.echo(as_json({"receipts": told}))
    else:
        for one in found:
            click.echo(_verdict(one.known, one.logged, one.subject, person))
            if one.pending:
                click.echo("Old bytes may still be in the files: run vultus db scrub.")
    leave(0 if all(one.belongs for one in found) else _NO)


def _verdict(known: bool, logged: int | None, subject: bool | None, person: str | None) -> str:
    if not known:
        return "The receipt is not one of this gallery's, or it was changed."
    if logged is None:
        return "The gallery has this receipt, and no row of its log tells of it."
    about = {None: "", True: f" It is about {person}.", False: f" It is not about {person}."}
    return f"The receipt is this gallery's: row {logged} of the log tells of it.{about[subject]}"


@click.group(
    short_help="What holds for each site: retention, consent.",
    epilog="""\b
Examples:
  vultus sites list
  vultus sites set north --retention-days 30 --consent required""",
)
def sites() -> None:
    """Sites are places or tenants with their own people and their own policy."""


@sites.command("list", epilog="\b\nExample:\n  vultus sites list --format json")
@gallery_options
@format_option("table", "json")
def list_sites_command(places: Places, form: str) -> None:
    """List the sites with their people and policies."""
    from store.policies import list_sites

    with Parts(places) as parts, parts.store.read() as session:
        found = list_sites(session)
    _print_sites(found, form)


def _print_sites(found: list[SiteSummary], form: str) -> None:
    if form == "json":
        click.echo(as_json({"sites": [site.to_dict() for site in found]}))
        return
    rows = [
        (
            site.name or "–",
            site.people,
            site.policy.retention_days or _FOREVER,
            "required" if site.policy.consent_required else "optional",
            "shown" if site.policy.show_picture else "not shown",
        )
        for site in found
    ]
    click.echo(as_table(rows, ("site", "people", "kept for days", "consent", "picture")))


def _days(_context: click.Context, _option: click.Parameter, value: str | None) -> int | str | None:
    if value in (None, _FOREVER):
        return value
    if not str(value).isdecimal() or not 1 <= int(str(value)) <= 36500:
        raise click.BadParameter(f"give a number of days from 1 to 36500, or {_FOREVER}.")
    return int(str(value))


@sites.command(
    "set",
    epilog="""\b
Examples:
  vultus sites set north --retention-days 30 --consent required
  vultus sites set "" --retention-days forever         (the default site has no name)""",
)
@click.argument("name")
@click.option(
    "--retention-days",
    callback=_days,
    metavar="N",
    help="Days after which vultus purge erases decisions, rejected photos and unnamed library "
    f"faces; or {_FOREVER}.",
)
@click.option(
    "--consent",
    type=click.Choice(["required", "optional"]),
    help="Whether people are enrolled only with basis, date and reference of consent.",
)
@click.option(
    "--show-picture/--no-show-picture",
    default=None,
    help="Whether a gate may show the picture of whom it recognised.",
)
@gallery_options
@format_option("table", "json")
def set_command(
    name: str,
    retention_days: int | str | None,
    consent: str | None,
    show_picture: bool | None,
    places: Places,
    form: str,
) -> None:
    """Change what holds for the site NAME, which is made when it is new."""
    from store.policies import list_sites, set_policy

    changes: dict[str, Any] = {}
    if retention_days is not None:
        changes["retention_days"] = None if retention_days == _FOREVER else retention_days
    if consent is not None:
        changes["consent_required"] = consent == "required"
    if show_picture is not None:
        changes["show_picture"] = show_picture
    if not changes:
        raise click.UsageError("Say what to change: see vultus sites set --help.")
    with Parts(places) as parts:
        with parts.store.begin() as session:
            set_policy(session, name, **changes)
        with parts.store.read() as session:
            found = [site for site in list_sites(session) if site.name == name.strip()]
    _print_sites(found, form)


@people.command(
    "consent",
    epilog="""\b
Examples:
  vultus people consent "Ann Lee" --consent-basis consent --consent-reference form-17
  vultus people consent "Ann Lee" --expires 2027-11-01
  vultus people consent "Ann Lee\"""",
)
@click.argument("person")
@click.option("--site", help="Look only in this site.")
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), help="When to purge them (UTC).")
@consent_options
@gallery_options
@format_option("table", "json")
def consent_command(
    person: str,
    site: str | None,
    expires: datetime | None,
    consent: Consent,
    places: Places,
    form: str,
) -> None:
    """Show why a PERSON's data may be kept and until when, or change it."""
    from datetime import UTC

    from store.consent import Consent, record_consent, set_expiry
    from store.people import find_person

    with Parts(places) as parts, parts.store.begin() as session:
        row = find_person(session, person, site)
        record_consent(session, row, consent)
        if expires is not None:
            set_expiry(session, row, expires.replace(tzinfo=UTC))
        now = Consent.of(row)
        told = {
            "uid": row.uid,
            "name": row.name,
            "site": row.site,
            "expires": None if row.expires is None else row.expires.isoformat(),
            "consent_basis": now.basis,
            "consent_date": None if now.date is None else now.date.isoformat(),
            "consent_reference": now.reference,
        }
    if form == "json":
        click.echo(as_json(told))
        return
    for key, value in told.items():
        click.echo(f"{key:18} {'–' if value in (None, '') else value}")
