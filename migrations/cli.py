"""`vultus db`: the schema of the database."""

import click

from migrations.upgrading import Status
from migrations.upgrading import check as check_schema
from migrations.upgrading import upgrade as upgrade_schema
from store.schema import REVISION

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
    short_help="Check and upgrade the database's schema.",
    epilog="""\b
Examples:
  vultus db check
  vultus db upgrade --database /srv/faces/gallery.sqlite3""",
)
def db() -> None:
    """Create, upgrade and check the database's tables."""


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
