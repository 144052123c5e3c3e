"""What SQLite can still read of a damaged spool: epochs, heads, receipts, alarm state.

Quick, because the agent waits for it when it starts in a new file.  None of it is proved: it says where the
next epoch goes on from, and what need not be sent again; batches are proved in ``salvage.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from edge_agent.put_aside import SUFFIXES
from edge_agent.spool_open import read_all
from edge_agent.spool_records import Opened


@contextmanager
def opened_to_read(path: Path, *, is_frozen: bool = False) -> Iterator[apsw.Connection]:
    """Opens a spool file to read; ``is_frozen``: without its log, writing nothing beside it."""
    # as_uri() quotes what a URI may not have.
    name = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if is_frozen else ''}"
    db = apsw.Connection(name, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    try:
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        yield db
    finally:
        db.close(True)


def read_remains(path: Path) -> Opened | None:
    """Returns what SQLite can still read of the small tables of a file that nobody uses; None where it cannot.

    The file and its log are not touched: the log's index is made beside other names of both.
    """
    for is_frozen in (False, True):
        try:
            if is_frozen:
                with opened_to_read(path, is_frozen=True) as db:
                    return read_all(db)
            with _other_names(path) as other, opened_to_read(other) as db:
                return read_all(db)
        except (apsw.Error, OSError, ValueError, KeyError, TypeError):
            continue
    return None


@contextmanager
def _other_names(path: Path) -> Iterator[Path]:
    other = path.with_name(f".reading-{os.getpid()}-{path.name}")
    try:
        for suffix in ("", "-wal"):
            here = path.with_name(path.name + suffix)
            if here.exists():
                os.link(here, other.with_name(other.name + suffix))
        yield other
    finally:
        for suffix in SUFFIXES:
            other.with_name(other.name + suffix).unlink(missing_ok=True)
