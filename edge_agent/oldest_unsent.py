"""How long the oldest batch has waited for its receipt, in running time of the agent.

Time in which nobody ran is not in it: no clock that can be trusted says how long that was.
"""

from __future__ import annotations

from contracts.batch import Lane, decode_batch
from contracts.envelope import decode_payload, split
from contracts.errors import ContractError
from edge_agent.delivery import Delivery
from edge_agent.errors import SpoolError
from edge_agent.spool_records import EpochRow
from edge_agent.spool_thread import SpoolThread


class OldestUnsent:
    """Looks for the oldest batch without a receipt; one look reads one batch of each lane."""

    def __init__(self, delivery: Delivery, spool: SpoolThread) -> None:
        self._delivery, self._spool = delivery, spool
        #: running time of the agent (seconds) at which it was sealed; None: nothing waits
        self._sealed_s: int | None = None
        #: which it was: number of the epoch, lane, seq
        self._which: tuple[int, Lane, int] | None = None

    def age_s(self, uptime_s: int) -> int | None:
        """Returns how long it waits; None: nothing waits, or the one that was looked at has its receipt."""
        if self._sealed_s is None or self._which is None or not self._is_waiting(*self._which):
            return None
        return max(0, uptime_s - self._sealed_s)

    def _is_waiting(self, epoch_no: int, lane: Lane, seq: int) -> bool:
        if not self._delivery.has_epoch(epoch_no):
            return False
        waiting = self._delivery.waiting(epoch_no, lane)
        return bool(waiting) and waiting[0][0] <= seq <= waiting[0][1]

    async def look(self) -> None:
        """Looks again."""
        oldest: int | None = None
        which: tuple[int, Lane, int] | None = None
        for row in self._delivery.epochs():
            for lane in Lane:
                if not self._delivery.has_epoch(row.no):
                    # Delivered and forgotten while the disk was read.
                    break
                waiting = self._delivery.waiting(row.no, lane)
                if not waiting:
                    continue
                seq = waiting[0][0]
                sealed_s = await self._sealed_at(row, lane, seq)
                if sealed_s is not None and (oldest is None or sealed_s < oldest):
                    oldest, which = sealed_s, (row.no, lane, seq)
            if oldest is not None:
                break
        self._sealed_s, self._which = oldest, which

    async def _sealed_at(self, row: EpochRow, lane: Lane, seq: int) -> int | None:
        try:
            found = await self._spool.run(
                lambda spool: spool.read(row.no, lane, [(seq, seq)], limit_bytes=1, limit_rows=1)
            )
            batches = [decode_batch(decode_payload(split(item.envelope)[1]), lane.type) for item in found]
        except (SpoolError, ContractError):
            return None
        if not batches:
            return None
        return row.started_uptime_s + (batches[0].header.sealed_us - row.started_us) // 1_000_000
