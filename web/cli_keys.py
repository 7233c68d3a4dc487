"""The commands `keys add`, `keys list`, `keys revoke`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from verify.cli import format_option, gallery_options
from verify.opening import Parts, Places
from verify.output import as_json, as_table

if TYPE_CHECKING:
    from store.keys import KeyRecord

SCOPES = ("verify", "identify", "enrol", "admin")


@click.group(
    short_help="Make, list and revoke keys of the HTTP interface.",
    epilog="\b\nExamples:\n  vultus keys add gate-1 --scope verify\n  vultus keys revoke gate-1",
)
def keys() -> None:
    """Keys of `vultus serve`; only their hashes are kept."""


@keys.command(
    epilog="""\b
Examples:
  vultus keys add front-desk --scope verify --scope identify
  vultus keys add gate-1 --scope verify --site north --expires 2027-06-30""",
)
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    required=True,
    help="What it may do; admin may do all. Repeatable.",
)
@click.option("--site", "sites", multiple=True, help="Limit it to this site. Repeatable.")
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), help="The day it ends.")
@gallery_options
@format_option("table", "json")
def add(
    name: str, scopes: tuple[str, ...], sites: tuple[str, ...], expires: datetime | None,
    places: Places, form: str,
) -> None:  # fmt: skip
    """Make a key called NAME and show it, this once."""
    from store.audit import append_event
    from store.keys import add_key
    from web.tokens import new_key, parse_key, seal_secret

    uid, key = new_key()
    secret = (parse_key(key) or ("", ""))[1]
    ends = None if expires is None else expires.replace(tzinfo=UTC)
    with Parts(places) as parts, parts.store.begin() as session:
        row = add_key(session, uid, name, seal_secret(secret), scopes, sites or None, ends)
        told = {"scopes": sorted(row.scopes), "limited": row.sites is not None}
        append_event(session, "key_added", uid, told, {"name": row.name})
    if form == "json":
        click.echo(as_json(_values(row) | {"key": key}))
        return
    click.echo(key)
    click.echo(f"This is the only time the key of {row.name} is shown; keep it safe.", err=True)


@keys.command("list", epilog="\b\nExample:\n  vultus keys list --format json")
@gallery_options
@format_option("table", "json")
def list_command(places: Places, form: str) -> None:
    """List the keys, never the secret part of one."""
    from store.keys import list_keys

    with Parts(places) as parts, parts.store.read() as session:
        found = list_keys(session)
    if form == "json":
        click.echo(as_json({"keys": [_values(row) for row in found]}))
        return
    rows = [
        (row.name, row.uid, " ".join(sorted(row.scopes)),
         "all" if row.sites is None else " ".join(site or '""' for site in sorted(row.sites)),
         _day(row.created), _day(row.expires), _day(row.used), _state(row))
        for row in found
    ]  # fmt: skip
    head = ("name", "uid", "scopes", "sites", "created", "expires", "last used", "state")
    click.echo(as_table(rows, head))


@keys.command(epilog="\b\nExample:\n  vultus keys revoke gate-1")
@click.argument("who", metavar="NAME|UID")
@gallery_options
def revoke(who: str, places: Places) -> None:
    """End a key; running servers refuse it within a second."""
    from store.audit import append_event
    from store.keys import revoke_key

    with Parts(places) as parts, parts.store.begin() as session:
        row = revoke_key(session, who)
        append_event(session, "key_revoked", row.uid)
    click.echo(f"The key {row.name} ({row.uid}) holds no longer.")


def _values(row: KeyRecord) -> dict[str, Any]:
    return {
        "uid": row.uid, "name": row.name, "scopes": sorted(row.scopes),
        "sites": None if row.sites is None else sorted(row.sites),
        "created": row.created.isoformat(),
        "expires": None if row.expires is None else row.expires.isoformat(),
        "used": None if row.used is None else row.used.isoformat(), "state": _state(row),
    }  # fmt: skip


def _state(row: KeyRecord) -> str:
    why = row.refusal(datetime.now(UTC))
    return "in force" if why is None else why.removeprefix("key_")


def _day(moment: datetime | None) -> str:
    return "–" if moment is None else moment.strftime("%Y-%m-%d %H:%M")
