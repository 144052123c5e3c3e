"""What the running agent does for its spool beside sealing: the full check, and taking in what was recovered.

What is checked and how is in ``spool_check.py``; where recovered batches come from in ``recovered.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_agent.control import Handler, Request, text_of
from edge_agent.delivery import Delivery
from edge_agent.errors import EdgeError
from edge_agent.keeper import Keeper, StoreState
from edge_agent.spool_check import SpoolCheck
from edge_agent.spool_records import StoredBatch, split_id
from edge_agent.spool_thread import SpoolThread
from edge_agent.state_dir import RECOVERED, SPOOL

#: the full check waits no longer than this for the first reading (seconds)
_CHECK_AFTER_S = 60


class SpoolCare:
    """Looks after one agent's spool."""

    def __init__(
        self,
        state_dir: Path,
        *,
        spool: SpoolThread,
        delivery: Delivery,
        keeper: Callable[[], Keeper | None],
        uptime_s: Callable[[], int],
        has_polled: Callable[[], bool],
        taken: Callable[[str], None],
    ) -> None:
        """Takes what it needs; starts nothing.

        Args:
            uptime_s: running time of the agent over all its starts.
            has_polled: whether the first reading is there.
            taken: told, in a sentence, that recovered batches wait to be sent.
        """
        self._state_dir, self._spool, self._delivery, self._keeper = state_dir, spool, delivery, keeper
        self._uptime_s, self._has_polled, self._taken = uptime_s, has_polled, taken
        self._check = SpoolCheck(
            state_dir / SPOOL, condemn=spool.condemn, damaged=self._damaged, doubts=lambda: spool.doubts
        )
        self._lock = asyncio.Lock()

    def facts(self) -> dict[str, int | str]:
        """Returns what the health record tells of it."""
        return {"spool_check": self._check.state, "spool_damaged_files": len(self._spool.aside)}

    def operations(self) -> dict[str, Handler]:
        """Returns operation -> handler for the control server."""

        async def take(request: Request) -> Any:
            return await self.take_recovered(text_of(request, "file"))

        return {"spool-take": take}

    async def run(self) -> None:
        """Has the spool checked when polling has begun, or where nothing answers for a while; never ends."""
        for _ in range(_CHECK_AFTER_S):
            await asyncio.sleep(1.0)
            if self._has_polled():
                break
        await self._check.run()

    def _damaged(self, batch: StoredBatch) -> None:
        keeper = self._keeper()
        if keeper is not None:
            keeper.damaged(split_id(batch.id)[0], batch)

    async def take_recovered(self, name: str) -> dict[str, int]:
        """Takes a file of recovered batches that lies in the state directory into the spool.

        Raises:
            EdgeError: there is none of this name, or the spool does not take it now.
        """
        keeper, path = self._keeper(), self._state_dir / name
        if keeper is None or keeper.state is not StoreState.NORMAL:
            raise EdgeError("the agent's store does not answer now; try again later")
        if Path(name).name != name or not name.startswith(RECOVERED) or not path.is_file():
            raise EdgeError(f"{name}: there is no file of recovered batches of this name in {self._state_dir}")
        # Imported late: a file is rarely salvaged.
        from edge_agent.recovered import take_in

        async with self._lock:
            counts = await take_in(path, spool=self._spool, delivery=self._delivery, uptime_s=self._uptime_s)
        keeper.look_at_room()
        self._taken(f"{counts['batches']} batches recovered from a damaged file")
        return counts
