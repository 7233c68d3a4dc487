"""`vultus db`: the schema of the database, its place, and what was deleted from it."""

import json

import click

from migrations.upgrading import Status
from migrations.upgrading import check as check_schema
from migrations.upgrading import upgrade as upgrade_schema
from store.receipts import note_scrubbed
from store.revision import REVISION
from store.session import Store

NOT_CURRENT = 3
SAYS = {
    Status.CURRENT: f"current: the database is at schema {REVISION}.",
    Status.EMPTY: "empty: the database has no tables yet; run `vultus db upgrade`.",
    Status.BEHIND: f"behind: this program needs schema {REVISION}; run `vultus db upgrade`.",
    Status.AHEAD: f"ahead: this program knows schema {REVISION} at most; upgrade vultus.",
}
DONE = {
    Status.CURRENT: f"The database is at schema {REVISION} already.",
    Status.EMPTY: f"The tables of schema {REVISION} were created.",
    Status.BEHIND: f"The database was upgraded to schema {REVISION}.",
}

database = click.option(
    "--database",
    envvar="VULTUS_DATABASE",
    metavar="URL",
    show_envvar=True,
    help="SQLAlchemy URL or path of an SQLite file; by default one in your data folder.",
)


@click.group(
    short_help="Check, upgrade, move and scrub the database.",
    epilog="""\b
Examples:
  vultus db check
  vultus db upgrade --database /srv/faces/gallery.sqlite3
  vultus db move gallery.sqlite3 postgresql://host/faces""",
)
def db() -> None:
    """Create, upgrade and check the database's tables; move it; scrub what was deleted."""


@db.command(epilog="\b\nExample:\n  vultus db upgrade --database postgresql+psycopg://host/faces")
@database
def upgrade(database: str | None) -> None:
    """Bring the database to this program's schema; an empty one gets all tables.

    It happens whole or not at all. Back up a large gallery first.
    """
    click.echo(DONE[upgrade_schema(database)])


@db.command(epilog="\b\nExample:\n  vultus db check || vultus db upgrade")
@database
@click.pass_context
def check(context: click.Context, database: str | None) -> None:
    """Tell whether the database has this program's schema; exit 0 if so, 3 if not."""
    status = check_schema(database)
    click.echo(SAYS[status])
    if status is not Status.CURRENT:
        context.exit(NOT_CURRENT)


@db.command(
    epilog="""\b
Examples:
  vultus db move gallery.sqlite3 postgresql://host/faces
  vultus db move postgresql://host/faces copy.sqlite3 --format json"""
)
@click.argument("source")
@click.argument("target")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How results are printed.",
)
def move(source: str, target: str, quiet: bool, form: str) -> None:
    """Copy a whole gallery from the database SOURCE into the empty database TARGET.

    Both are SQLAlchemy URLs or paths of SQLite files, of one kind or of two. It happens whole or
    not at all, every table is compared at the end, and SOURCE is not changed: nobody can write to
    it meanwhile. Sealed rows stay sealed; the key stays the same.
    """
    from tqdm import tqdm

    from migrations.moving import move as move_gallery

    hidden = True if quiet else None  # None: shown on terminals only
    with tqdm(desc="moving", unit=" rows", disable=hidden, leave=False) as bar:

        def tell(_table: str, rows: int) -> None:
            bar.update(rows)

        moved = move_gallery(source, target, tell)
    if form == "json":
        tables = [{"table": one.name, "rows": one.rows, "sha256": one.digest} for one in moved]
        click.echo(json.dumps({"tables": tables}))
        return
    for one in moved:
        if one.rows:
            click.echo(f"{one.name:<18}{one.rows:>9} rows   {one.digest[:16]}")
    click.echo(f"{sum(one.rows for one in moved)} rows were moved, and are the same there.")


@db.command(epilog="\b\nExample:\n  vultus db scrub --database /srv/faces/gallery.sqlite3")
@database
def scrub(database: str | None) -> None:
    """Make what was deleted leave the database's files.

    `vultus forget` does so itself, unless somebody was reading just then; this repeats it. On
    PostgreSQL the tables are rewritten, for which everybody else waits.
    """
    with Store.open(database) as store:
        store.require_current()
        store.scrub(fully=True)
        with store.begin() as session:
            note_scrubbed(session)
        click.echo(f"What was deleted has left {store.url}.")
