"""The real ``edge-agent`` command, with an oracle that notes what it seals, stores and believes.

Run as ``ORACLE=FILE GATEWAY=ID python -m tests.reliability.watched_agent run ...``; in all else it is the agent.
``COMMIT_LIMIT_S`` in the environment: after so many seconds without an answer of the disk it goes on in memory.
A fact is written where the promise is made: *attempted* when a batch is signed, before anything else knows it,
*stored* when the commit has returned, *acknowledged* when a receipt was believed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from contracts.batch import Lane
from edge_agent import keeper
from edge_agent.cli import main
from edge_agent.delivery import Delivery
from edge_agent.seal import Chain, Sealed
from edge_agent.spool import Spool
from edge_agent.spool_records import Commit
from tests.reliability.oracle import Oracle, batch_series


def watch(oracle: Oracle, gateway: str) -> None:
    """Has every later seal, commit and receipt of this process noted."""
    seal, store, deliver = Chain.seal, Spool.commit, Delivery._deliver

    def sealed(self: Chain, lane: Lane, **content: Any) -> Sealed:
        made = seal(self, lane, **content)
        oracle.attempt(batch_series(gateway, made.epoch, lane), made.seq, made.digest.hex())
        return made

    def stored(self: Spool, commit: Commit) -> None:
        store(self, commit)
        for batch in commit.batches:
            oracle.stored(batch_series(gateway, batch.epoch, batch.lane), batch.seq, batch.digest.hex())

    def delivered(self: Delivery, key: tuple[int, Lane], proven: Iterable[tuple[int, int]]) -> None:
        proven = list(proven)
        deliver(self, key, proven)
        for first, last in proven:
            if first <= last:
                oracle.acked(batch_series(gateway, self._rows[key[0]].epoch, key[1]), first, last)

    Chain.seal = sealed  # type: ignore[method-assign]
    Spool.commit = stored  # type: ignore[method-assign]
    Delivery._deliver = delivered  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    keeper.COMMIT_LIMIT_S = float(os.environ.get("COMMIT_LIMIT_S", keeper.COMMIT_LIMIT_S))
    watch(Oracle(Path(os.environ["ORACLE"])), os.environ["GATEWAY"])
    sys.exit(main())
