import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, select, text

from migrations import Status, check, ensure_schema, script_config, upgrade
from store import ledger, records
from store.errors import DatabaseUnusable, SchemaAhead, SchemaBehind
from store.people import add_person
from store.revision import REVISION
from store.session import Store

TABLES = (ledger.Event.metadata, records.Run.metadata)[0]  # one that all tables share


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gallery.sqlite3"


def set_revision(store: Store, revision: str) -> None:
    with store.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})


def test_the_code_wants_the_last_revision():
    assert ScriptDirectory.from_config(script_config()).get_heads() == [REVISION]


def test_revisions_are_four_digits_in_order():
    scripts = ScriptDirectory.from_config(script_config())
    found = [script.revision for script in scripts.walk_revisions()][::-1]
    assert all(re.fullmatch(r"\d{4}", revision) for revision in found)
    assert found == sorted(found)


def test_migrated_tables_equal_the_models(path: Path):
    upgrade(path)
    with Store.open(path) as store, store.engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True, "render_as_batch": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, TABLES) == []


def test_migrated_tables_equal_the_models_word_by_word(path: Path):
    """Alembic compares neither checks nor names nor AUTOINCREMENT, so compare what SQLite says."""
    upgrade(path)
    made = create_engine("sqlite://")
    TABLES.create_all(made)
    with Store.open(path) as store, store.engine.connect() as left, made.connect() as right:
        sql = text(
            "SELECT name, sql FROM sqlite_master "
            "WHERE name NOT LIKE 'sqlite_%' AND name <> 'alembic_version'"
        )
        found = {row.name: _words(row.sql) for row in left.execute(sql)}
        wanted = {row.name: _words(row.sql) for row in right.execute(sql)}
    made.dispose()
    assert found == wanted


def _words(sql: str) -> list[str]:
    return sorted(re.sub(r"\s+", " ", part).strip(" ()") for part in sql.split(","))


def test_upgrading_an_empty_database(path: Path):
    assert check(path) is Status.EMPTY
    assert upgrade(f"sqlite:///{path}") is Status.EMPTY
    assert check(path) is Status.CURRENT
    assert upgrade(path) is Status.CURRENT
    with Store.open(path) as store, store.begin() as session:
        store.require_current()
        assert session.execute(text("SELECT id, rev, space FROM gallery")).all() == [(1, 0, None)]
        assert session.execute(text("SELECT id, name FROM sites")).all() == [(0, "")]


def test_a_gallery_of_the_first_schema_keeps_its_decisions(path: Path):
    with Store.open(path) as store:
        with store.migrating() as connection:
            config = script_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
        assert check(store) is Status.BEHIND
        decide = (
            "INSERT INTO decisions (time, kind, answer, space, source, threshold) "
            "VALUES ('2026-01-31 00:00:00', 'verify', 'no', 's', 'a.jpg', 0.4)"
        )
        with store.begin() as session:
            session.execute(text(decide))
        with pytest.raises(SchemaBehind, match="run `vultus db upgrade`"):
            ensure_schema(store)
        assert upgrade(store) is Status.BEHIND
        with store.read() as session:
            kept = session.scalars(select(records.Decision)).one()
            assert (kept.answer, kept.threshold) == ("no", 0.4)
            assert (kept.extrapolated, kept.unsure_above) == (None, None)
            assert session.scalars(select(records.Profile)).all() == []


def test_each_gallery_has_its_own_uid(tmp_path: Path):
    uids = set()
    for name in "ab":
        with Store.open(tmp_path / name) as store:
            ensure_schema(store)
            with store.read() as session:
                uids.add(session.scalar(text("SELECT uid FROM gallery")))
    assert len(uids) == 2


def test_ensuring_keeps_what_is_there(path: Path):
    with Store.open(path) as store:
        ensure_schema(store)
        with store.begin() as session:
            add_person(session, "Ada")
        ensure_schema(store)
        with store.read() as session:
            assert session.scalar(text("SELECT name FROM people")) == "Ada"


def test_ensuring_never_upgrades_unasked(path: Path):
    with Store.open(path) as store:
        ensure_schema(store)
        set_revision(store, "0000")
        assert check(store) is Status.BEHIND
        with pytest.raises(SchemaBehind, match="run `vultus db upgrade`"):
            ensure_schema(store)


def test_a_newer_database_is_left_alone(path: Path):
    with Store.open(path) as store:
        ensure_schema(store)
        set_revision(store, "9999")
        assert check(store) is Status.AHEAD
        for function in (upgrade, ensure_schema):
            with pytest.raises(SchemaAhead, match="upgrade vultus"):
                function(store)


def test_another_programs_database_is_left_alone(path: Path):
    with Store.open(path) as store:
        with store.begin() as session:
            session.execute(text("CREATE TABLE recipes (id INTEGER)"))
        with pytest.raises(DatabaseUnusable, match=r"another program \(recipes\)"):
            ensure_schema(store)
        assert inspect(store.engine).get_table_names() == ["recipes"]


def test_a_failing_upgrade_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with Store.open(path) as store:
        monkeypatch.setattr("alembic.operations.Operations.create_index", fail)
        with pytest.raises(ZeroDivisionError):
            upgrade(store)
        assert inspect(store.engine).get_table_names() == []
        monkeypatch.undo()
        assert upgrade(store) is Status.EMPTY


def test_rebuilding_a_table_deletes_nothing_that_refers_to_it(path: Path):
    from alembic.operations import Operations

    upgrade(path)
    with Store.open(path) as store:
        with store.begin() as session:
            add_person(session, "Ada", site="berlin")
        with store.migrating() as connection:
            operations = Operations(MigrationContext.configure(connection))
            with operations.batch_alter_table("sites", recreate="always"):
                pass
        with store.read() as session:
            assert session.scalar(text("SELECT count(*) FROM people")) == 1
            assert session.scalar(text("PRAGMA foreign_keys")) == 1


def test_a_migration_that_leaves_rows_dangling_is_undone(path: Path):
    upgrade(path)
    with Store.open(path) as store:
        with store.begin() as session:
            add_person(session, "Ada", site="berlin")
        delete = text("DELETE FROM sites WHERE name = 'berlin'")
        with pytest.raises(DatabaseUnusable, match="table people"), store.migrating() as connection:
            connection.execute(delete)
        with store.read() as session:
            assert session.scalar(text("SELECT count(*) FROM sites")) == 2


def test_many_first_runs_at_once(tmp_path: Path):
    def first_run(path: Path) -> None:
        with Store.open(path) as store:
            ensure_schema(store)

    for turn in range(10):
        path = tmp_path / f"{turn}.sqlite3"
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(first_run, [path] * 16))
        assert check(path) is Status.CURRENT
