"""One transaction on the spool's connection, without which polling would wait for the disk.

``with connection:`` of apsw 3.54 holds Python's interpreter lock while SQLite commits, so that no other thread
runs until the disk has answered: on a disk that hung for ten seconds nothing was polled and no alarm was raised.
Statements let go of the lock, and so does a transaction that is made of them
(``tests/edge_agent/test_transaction.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import apsw


@contextmanager
def transaction(db: apsw.Connection) -> Iterator[None]:
    """Commits what is done inside, or nothing of it when that fails.

    Raises:
        apsw.Error: it could not begin or commit; nothing of it is durable.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # After some failures SQLite has done it already.
        if db.in_transaction:
            with suppress(apsw.Error):
                db.execute("ROLLBACK")
        raise
