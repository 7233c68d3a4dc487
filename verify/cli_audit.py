"""`vultus audit`: the log of what was done, its check and its anchor; beside `audit scores`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from verify.cli import audit, format_option, gallery_options, leave
from verify.opening import Parts, Places
from verify.output import as_json, as_line, as_table

if TYPE_CHECKING:
    from store.audit_read import Logged

__all__ = ["audit"]

_BROKEN = 1


@audit.command(
    epilog="""\b
Examples:
  vultus audit log
  vultus audit log --person "Ann Lee" --since 2026-11-01
  vultus audit log --action decided --all --format jsonl""",
)
@click.option("--person", metavar="NAME|UID", help="Only what is about this person.")
@click.option("--action", help="Only this action, such as enrolled, decided or merged.")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="Only from this day or moment on (UTC).",
)
@click.option(
    "--last",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    metavar="N",
    help="How many rows, the latest.",
)
@click.option("--all", "everything", is_flag=True, help="Every row, however many.")
@gallery_options
@format_option("table", "json", "jsonl")
def log(
    person: str | None,
    action: str | None,
    since: datetime | None,
    last: int,
    everything: bool,
    places: Places,
    form: str,
) -> None:
    """Show what was done: when, by whom, about whom, and with which result."""
    from store.audit_read import person_uid, read_events

    with Parts(places) as parts, parts.store.read() as session:
        rows = read_events(
            session,
            person=None if person is None else person_uid(session, person),
            action=action,
            since=None if since is None else since.replace(tzinfo=UTC),
            last=None if everything else last,
        )
        _print_rows(rows, form)


def _print_rows(rows: Iterable[Logged], form: str) -> None:
    if form == "jsonl":
        for row in rows:
            click.echo(as_line(row.to_dict()))
    elif form == "json":
        click.echo(as_json([row.to_dict() for row in rows]))
    else:
        cells = [
            (
                row.number,
                row.time.isoformat(sep=" ", timespec="seconds"),
                row.actor,
                row.action,
                _whom(row),
                _told(row.details),
            )
            for row in rows
        ]
        click.echo(as_table(cells, ("row", "time", "by", "action", "about", "details")))


def _whom(row: Logged) -> str:
    """A person's present name, else what the row says, else the beginning of a uid."""
    if row.erased:
        return "(erased)"
    said = (row.private or {}).get("name") or (row.private or {}).get("source")
    return row.person or said or (row.subject or "")[:8]


def _told(details: dict[str, Any]) -> str:
    words = (
        f"{key}={value:.6g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in details.items()
        if value is not None and value is not False and value != []
    )
    return " ".join(words)


@audit.command(
    epilog="""\b
Examples:
  vultus audit verify
  vultus audit verify --anchor 1204:9f2c…            (as vultus audit anchor printed it)""",
)
@click.option(
    "--anchor",
    metavar="TEXT",
    help="What vultus audit anchor printed some day: the log must have passed through it.",
)
@gallery_options
@format_option("table", "json")
def verify(anchor: str | None, places: Places, form: str) -> None:
    """Check the log: was a row changed, removed, moved or put in?

    Exits with 0 when it is whole, with 1 when it is not; the first bad row is named.
    """
    from store.audit import Anchor
    from store.audit_check import verify_log

    kept = None if anchor is None else Anchor.parse(anchor)
    with Parts(places) as parts, parts.store.read() as session:
        found = verify_log(session, kept)
    if form == "json":
        click.echo(as_json(found.to_dict()))
    elif found.whole:
        click.echo(f"The log is whole: {found.length} rows, the last hash {found.head}.")
    else:
        click.echo(f"Row {found.row} of the log is bad: {found.fault}.")
        click.echo(f"The {found.length} rows before it are whole.")
    leave(0 if found.whole else _BROKEN)


@audit.command(epilog="\b\nExample:\n  vultus audit anchor >> /mnt/elsewhere/vultus-anchors")
@gallery_options
@format_option("table", "json")
def anchor(places: Places, form: str) -> None:
    """Print the length of the log and its last hash, to be kept where nobody can change it.

    Whoever can write to the database could write a whole new log; only an anchor shows that.
    """
    from store.audit import log_anchor

    with Parts(places) as parts, parts.store.read() as session:
        found = log_anchor(session)
    if form == "json":
        click.echo(as_json({"length": found.length, "head": found.head, "anchor": str(found)}))
    else:
        click.echo(str(found))
