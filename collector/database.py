"""The database file: opening it the one right way, making it, and small named values in it.

Every connection that writes is WAL with ``synchronous=FULL`` and says so after checking;
readers are read-only.  The schema is applied by Alembic, inside this program.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from pathlib import Path
from typing import Any

from collector.errors import StoreError

FILE_NAME = "evidence.sqlite3"


def open_writer(path: Path) -> sqlite3.Connection:
    """Opens the one connection that writes.

    Raises:
        StoreError: it cannot be opened, or does not keep what FULL promises.
    """
    try:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA busy_timeout=5000")
        db.execute("PRAGMA cache_size=-32768")
        db.execute("PRAGMA wal_autocheckpoint=4000")
        db.execute("PRAGMA temp_store=MEMORY")
        mode = db.execute("PRAGMA journal_mode").fetchone()[0]
        synchronous = db.execute("PRAGMA synchronous").fetchone()[0]
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    if mode != "wal" or synchronous != 2:
        db.close()
        raise StoreError(f"{path}: the file system allows journal mode {mode} only; WAL with FULL is needed")
    return db


def open_reader(path: Path) -> sqlite3.Connection:
    """Opens a read-only connection, usable from any one thread at a time; raises StoreError."""
    if not path.exists():
        raise StoreError(f"{path} is not there; 'collector init' makes it")
    try:
        db = sqlite3.connect(
            f"file:{path.resolve()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False, timeout=5.0
        )
        db.execute("PRAGMA query_only=1")
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return db
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error


def upgrade(path: Path, now_us: int) -> None:
    """Makes the database, or brings its schema up to date; gives it a collector epoch.

    Raises:
        StoreError: it cannot be written, or belongs to a newer version.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    is_new = not path.exists()
    engine = None
    try:
        if is_new:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        db = open_writer(path)
        engine = create_engine("sqlite+pysqlite://", creator=lambda: sqlite3.connect(path))
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        if read_meta(db, "collector_epoch") is None:
            new_epoch(db, now_us)
        db.close()
    except CommandError as error:
        raise StoreError(f"{path}: the schema is not one that this version knows: {error}") from error
    except (sqlite3.Error, SQLAlchemyError, OSError) as error:
        raise StoreError(f"{path}: {error}") from error
    finally:
        if engine is not None:
            engine.dispose()


def new_epoch(db: sqlite3.Connection, now_us: int) -> None:
    """Begins a new collector epoch: receipts of older ones are then older for every gateway."""
    write_meta(db, "collector_epoch", secrets.token_bytes(8))
    write_meta(db, "collector_since_us", now_us)
    write_meta(db, "serial_reserved", 0)


def read_meta(db: sqlite3.Connection, key: str) -> Any:
    """Returns a named value, or None."""
    row = db.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
    return None if row is None else row[0]


def write_meta(db: sqlite3.Connection, key: str, value: object) -> None:
    """Keeps a named value."""
    db.execute(
        "INSERT INTO meta(key, value) VALUES(?,?) ON CONFLICT(key) DO UPDATE SET value=excluded.value", (key, value)
    )
