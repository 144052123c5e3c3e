"""The data directory: what is in it, and who may use it.

evidence.sqlite3 (-wal, -shm)   the database
collector.key, collector.pub    the collector's own key
gateways/                       one file per registered gateway
documents/                      letters that confirm limits, each under its SHA-256
settings.toml                   optional
lock                            held by the one process that writes
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from collector.database import FILE_NAME, upgrade
from collector.errors import BusyError, SettingsError
from collector.keys import load_signer
from contracts.keys import Signer


def wall_us() -> int:
    """Returns UTC in microseconds."""
    return time.time_ns() // 1000


def database(data: Path) -> Path:
    """Returns the path of the database."""
    return data / FILE_NAME


def prepare(data: Path) -> Signer:
    """Makes what is missing (directory, key, database) and brings the schema up to date.

    Raises:
        SettingsError, StoreError: with a sentence.
    """
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        signer = load_signer(data, create=True)
        (data / "gateways").mkdir(exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{data}: {error.strerror or error}") from error
    upgrade(database(data), wall_us())
    return signer


class Lock:
    """Held by the process that writes; a second one is refused with a sentence."""

    def __init__(self, data: Path) -> None:
        self._path = data / "lock"
        self._file: int | None = None

    def __enter__(self) -> Lock:
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.__exit__()
            raise BusyError(f"{self._path.parent} is in use by another collector process; stop it first") from None
        except OSError as error:
            raise SettingsError(f"{self._path}: {error.strerror or error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
