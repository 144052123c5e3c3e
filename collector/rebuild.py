"""``collector rebuild``: drop every projection and make it again from the evidence, also after a
clock repair: each batch takes the best offset that its boot is known to have by now.

One transaction: readers see the old projections until the new ones are complete, and a cut
leaves the old ones.  The caller holds the lock of the data directory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from collector.database import open_writer
from collector.errors import StoreError
from collector.ingest import Keys
from collector.replay import UNPROVABLE, Outcome, Replay, make_floors
from collector.schema_projections import PROJECTIONS
from contracts.keys import Verifier


def rebuild(
    path: Path, keys: Keys, own_keys: dict[bytes, Verifier], progress: Callable[[int], None] = lambda batches: None
) -> Outcome:
    """Remakes the projections of a database that nobody else writes.

    Raises:
        StoreError: the disk did not take it; everything is as it was.
    """
    db = open_writer(path)
    try:
        db.execute("BEGIN IMMEDIATE")
        make_floors(db, "main")
        db.execute(f"CREATE TEMP TABLE kept AS SELECT * FROM rollup WHERE {UNPROVABLE['rollup'].format(src='main')}")
        for table in PROJECTIONS:
            if table == "rollup":
                db.execute("DELETE FROM rollup")
                continue
            kept = UNPROVABLE.get(table, "0").format(src="main")
            db.execute(f"DELETE FROM {table} WHERE NOT ({kept})")
        outcome = Replay(db, "main", keys, own_keys, repair=True, progress=progress).run()
        db.execute(f"DELETE FROM rollup WHERE {UNPROVABLE['rollup'].format(src='main')}")
        db.execute("INSERT INTO rollup SELECT * FROM temp.kept")
        db.execute("COMMIT")
        return outcome
    except sqlite3.Error as error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise StoreError(f"{path}: {error}") from error
    finally:
        db.close()
