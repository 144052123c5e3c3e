"""A collector that signs its receipts before it commits, to see that the tests of kills notice.

The real command in every other respect; run as ``python -m tests.reliability.hasty_collector serve ...``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from collector.cli import main
from collector.store import CommitResult, Store


def _transaction(self: Store, work: Callable[[], Any]) -> Any:
    """Leaves a group of batches uncommitted until the next transaction begins."""
    if self._db.in_transaction:
        self._db.execute("COMMIT")
    self._db.execute("BEGIN IMMEDIATE")
    result = work()
    if not isinstance(result, CommitResult):
        self._db.execute("COMMIT")
    return result


if __name__ == "__main__":
    Store._transaction = _transaction  # type: ignore[method-assign]
    sys.exit(main())
