"""Backup and restore.

A backup is one consistent file, made beside the running collector.  It may hold the
collector's epoch; a restore gives the database a new one, so that gateways, whose receipts
of the old epoch may promise more than the backup holds, offer everything again.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from collector.database import FILE_NAME, new_epoch, open_reader, open_writer, upgrade
from collector.errors import SettingsError, StoreError


def backup(path: Path, target: Path) -> int:
    """Copies the database to ``target``, which must not exist; returns its size in bytes.

    Raises:
        SettingsError: the target exists.
        StoreError: reading or writing failed.
    """
    if target.exists():
        raise SettingsError(f"{target} exists; a backup overwrites nothing")
    source = open_reader(path)
    try:
        target.touch(mode=0o600)
        copy = sqlite3.connect(target)
        try:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
        finally:
            copy.close()
    except (sqlite3.Error, OSError) as error:
        target.unlink(missing_ok=True)
        raise StoreError(f"{target}: {error}") from error
    finally:
        source.close()
    return target.stat().st_size


def restore(file: Path, data: Path, now_us: int) -> None:
    """Puts a backup into an empty data directory, with a new collector epoch.

    Raises:
        SettingsError: the file is no database of ours, or there is one already.
        StoreError: writing failed.
    """
    path = data / FILE_NAME
    if path.exists():
        raise SettingsError(f"{path} exists; restore into an empty data directory")
    if not file.is_file():
        raise SettingsError(f"{file} is not there")
    try:
        source = sqlite3.connect(f"file:{file.resolve()}?mode=ro", uri=True)
        try:
            source.execute("SELECT count(*) FROM evidence").fetchone()
            path.touch(mode=0o600)
            copy = sqlite3.connect(path)
            source.backup(copy)
            copy.close()
        finally:
            source.close()
    except sqlite3.DatabaseError as error:
        path.unlink(missing_ok=True)
        raise SettingsError(f"{file}: no database of a collector: {error}") from error
    except OSError as error:
        raise StoreError(f"{path}: {error}") from error
    upgrade(path, now_us)
    db = open_writer(path)
    try:
        new_epoch(db, now_us)
    finally:
        db.close()
