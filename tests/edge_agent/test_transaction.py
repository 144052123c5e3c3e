"""A commit never holds the interpreter's lock, and is whole or nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import apsw
import pytest

from edge_agent.transaction import transaction


def test_what_fails_inside_leaves_nothing(tmp_path: Path) -> None:
    db = apsw.Connection(str(tmp_path / "a.db"))
    db.execute("CREATE TABLE t (n UNIQUE)")
    with transaction(db):
        db.execute("INSERT INTO t VALUES (1)")

    def twice() -> None:
        with transaction(db):
            db.execute("INSERT INTO t VALUES (2)")
            db.execute("INSERT INTO t VALUES (1)")

    def fail() -> None:
        with transaction(db):
            db.execute("INSERT INTO t VALUES (3)")
            raise ValueError

    for work, error in ((twice, apsw.ConstraintError), (fail, ValueError)):
        with pytest.raises(error):
            work()
        assert not db.in_transaction
    assert db.execute("SELECT n FROM t").fetchall() == [(1,)]


def test_a_commit_that_waits_lets_other_threads_run(tmp_path: Path) -> None:
    """The commit waits inside SQLite for a reader, and only another thread of this process can end the reading."""
    path = str(tmp_path / "a.db")
    reader = apsw.Connection(path)
    reader.execute("CREATE TABLE t (n)")
    reader.execute("INSERT INTO t VALUES (1)")
    is_committing = threading.Event()
    outcome: list[str] = []

    def write() -> None:
        db = apsw.Connection(path)
        db.set_busy_timeout(3000)
        try:
            with transaction(db):
                db.execute("INSERT INTO t VALUES (2)")
                is_committing.set()
            outcome.append("committed")
        except apsw.Error as error:
            outcome.append(str(error))

    reader.execute("BEGIN")
    rows = reader.execute("SELECT n FROM t")
    next(rows)
    writer = threading.Thread(target=write)
    writer.start()
    assert is_committing.wait(10)
    writer.join(0.05)
    rows.close()
    reader.execute("COMMIT")
    writer.join()
    assert outcome == ["committed"]
