"""Run by Alembic: configures it for one database and runs the revisions.

The program hands over an open connection in `config.attributes["connection"]`; a developer gives
`-x url=…` to Alembic's own command.
"""

from alembic import context
from sqlalchemy.engine import Connection

from store import ledger, records
from store.session import Store

TABLES = (ledger.Event.metadata, records.Run.metadata)[0]  # one that all tables share


def run(connection: Connection) -> None:
    """Run the revisions in the transaction of a connection."""
    context.configure(
        connection=connection,
        target_metadata=TABLES,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    """Run on the connection given, or on one of our own."""
    connection = context.config.attributes.get("connection")
    if isinstance(connection, Connection):
        run(connection)
        return
    url = context.get_x_argument(as_dictionary=True).get("url")
    with Store.open(url) as store, store.migrating() as own:
        run(own)


main()
