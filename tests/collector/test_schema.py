"""The migrations lead to the schema; every connection is what the promise needs."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from collector.database import FILE_NAME, open_reader, open_writer, read_meta, upgrade
from collector.errors import StoreError
from collector.schema import metadata


def test_the_migrations_lead_to_the_schema(template: Path) -> None:
    engine = create_engine(f"sqlite:///{template}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_upgrading_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    upgrade(path, 5)
    epoch = read_meta(open_reader(path), "collector_epoch")
    upgrade(path, 6)
    assert read_meta(open_reader(path), "collector_epoch") == epoch
    assert path.stat().st_mode & 0o077 == 0


def test_the_writer_is_wal_and_full_and_readers_cannot_write(template: Path) -> None:
    db = open_writer(template)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    reader = open_reader(template)
    with pytest.raises(sqlite3.OperationalError):
        reader.execute("DELETE FROM meta")


def test_a_schema_of_the_future_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    upgrade(path, 5)
    db = open_writer(path)
    db.execute("UPDATE alembic_version SET version_num='9999'")
    with pytest.raises(StoreError, match="schema"):
        upgrade(path, 6)


def test_no_database_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="collector init"):
        open_reader(tmp_path / "none")
    (tmp_path / "text").write_text("not a database " * 100)
    with pytest.raises(StoreError):
        open_reader(tmp_path / "text")


def test_alarms_from_before_decisions_were_kept_page_nobody(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    import collector.database

    path = tmp_path / FILE_NAME
    config = Config()
    config.set_main_option("script_location", str(Path(collector.database.__file__).parent / "migrations"))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.exec_driver_sql(
            "INSERT INTO alarm VALUES(1, x'0a', 'well-1/ch4', 'r', 'red', 'active', 0, 77, x'0a', 1, 1, 5)"
        )
        connection.exec_driver_sql(
            "INSERT INTO acknowledgement(alarm_id, by, at_us, note, source) VALUES(x'0a', 'Li', 78, '', 'page')"
        )
    engine.dispose()
    upgrade(path, 5)
    db = open_reader(path)
    assert db.execute("SELECT alarm_id, decision, reason FROM decision").fetchall() == [(b"\n", "nothing", "before")]
    assert db.execute("SELECT by, action FROM acknowledgement").fetchall() == [("Li", "acknowledge")]
