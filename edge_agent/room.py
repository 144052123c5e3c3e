"""Room in the spool: what goes, in which order, when the quota or the disk is full or time has passed.

    1  receipted history, oldest first          no record needed: the collector has signed for it
    2  the oldest data away from any alarm      each range with a signed loss record
    3  data within 60 s of an alarm batch       likewise
    4  alarm batches                            likewise, and only when even the reserve is used up

Data may fill the quota without the reserve.  Where the disk itself is full the spool keeps to what
it has until there is space again.  How a record is sealed is not known here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence

from contracts.batch import Lane
from edge_agent.delivery import Delivery
from edge_agent.errors import SpoolError
from edge_agent.spool import Spool
from edge_agent.spool_records import Candidate, EpochRow, Gone
from edge_agent.spool_thread import SpoolThread

_LOG = logging.getLogger(__name__)
#: room is made in steps of this part of the quota, and never of less than a loss record may cost (bytes)
_STEP = 0.02
_LEAST_STEP = 4096
#: what a loss record takes in the batch that carries it (bytes)
_RECORD_BYTES = 80
#: how often a wider range is looked for when the first one would free nothing
_WIDER = 4
#: data this close to an alarm batch goes after all other data (us)
AROUND_ALARM_US = 60_000_000
#: on a full disk data leave at least this much of the spool's own pages free (bytes)
_LEAST_MARGIN = 64 * 1024
_EVERYTHING = 1 << 40

Span = tuple[int, int]


class Room:
    """Decides what goes and sees to it; one call at a time."""

    def __init__(
        self,
        *,
        spool: SpoolThread,
        delivery: Delivery,
        uptime_s: Callable[[], int],
        let_go: Callable[[Gone, Sequence[Gone]], bool],
        in_use: Callable[[], Collection[int]],
        quota_bytes: int,
        reserve_bytes: int,
        retention_s: int,
    ) -> None:
        """Takes what it needs.

        Args:
            let_go: seals a loss record for a range, with the records that the range itself carried;
                False when that cannot be done now.
            in_use: numbers of the epochs that are sealed into.
        """
        self._spool = spool
        self._delivery = delivery
        self._uptime_s = uptime_s
        self._let_go = let_go
        self._in_use = in_use
        self._quota, self._reserve, self._retention_s = quota_bytes, reserve_bytes, retention_s
        #: the most that may be used while the disk is full; None when it is not
        self._ceiling: int | None = None

    @property
    def is_disk_full(self) -> bool:
        """Whether the disk, not the quota, is what limits the spool."""
        return self._ceiling is not None

    def disk_is_full(self) -> None:
        """Keeps the spool within the pages that it has."""
        self._ceiling = self._spool.used_bytes

    def excess(self, lane: Lane = Lane.DATA) -> int:
        """Returns by how many bytes the spool is beyond what ``lane`` may use (<= 0: none)."""
        allowed = self._quota if lane is Lane.ALARM else self._quota - self._reserve
        if self._ceiling is not None:
            margin = 0 if lane is Lane.ALARM else min(max(_LEAST_MARGIN, self._ceiling // 20), self._ceiling // 2)
            allowed = min(allowed, self._ceiling - margin)
        return self._spool.used_bytes - allowed

    async def make(self) -> None:
        """Frees space down to a step below what data may use.

        Raises:
            SpoolError: the store has failed.
        """
        limit = self._quota if self._ceiling is None else self._ceiling
        target = max(_LEAST_STEP, int(limit * _STEP))
        while (excess := self.excess()) > 0:
            if await self._release(excess + target, None) is None:
                break
        if self.excess() > 0:
            await self._drop(self.excess() + target)

    async def tend(self) -> None:
        """Lets receipted batches go that are older than the retention, and forgets epochs that are done with."""
        try:
            while await self._release(_EVERYTHING, self._retention_s) is not None:
                pass
            await self._forget()
            if self._ceiling is not None:
                await self.look_at_disk()
        except SpoolError as error:
            _LOG.error("old history could not be released: %s", error)

    async def look_at_disk(self) -> None:
        """Goes back to the quota when the disk has space again."""
        if self._ceiling is not None and await self._spool.hold_ballast():
            self._ceiling = None
            _LOG.warning("the disk has space again")

    # -- receipted -------------------------------------------------------------------

    async def _release(self, want: int, older_than_s: int | None) -> Gone | None:
        candidates = [
            Candidate(
                epoch_no=row.no,
                lane=lane,
                ranges=ranges,
                keep_after_us=None if older_than_s is None else self._age_limit(row, older_than_s),
            )
            for lane in (Lane.DATA, Lane.ALARM)
            for row in self._delivery.epochs()
            if (ranges := self._delivery.releasable(row.no, lane))
        ]
        if not candidates:
            return None

        def release(spool: Spool) -> Gone | None:
            found = spool.oldest(candidates, want_bytes=want)
            if found is not None:
                spool.release(found.epoch_no, found.lane, found.first, found.last)
            return found

        found = await self._spool.run(release)
        if found is not None and self._delivery.has_epoch(found.epoch_no):
            self._delivery.released(found.epoch_no, found.lane, found.first, found.last)
        return found

    def _age_limit(self, row: EpochRow, older_than_s: int) -> int:
        age_of_start = self._uptime_s() - row.started_uptime_s
        return row.started_us + (age_of_start - older_than_s) * 1_000_000

    async def _forget(self) -> None:
        in_use = self._in_use()
        done = [
            row.no for row in self._delivery.epochs() if row.no not in in_use and self._delivery.is_finished(row.no)
        ]
        if done:
            await self._spool.run(lambda spool: spool.forget(done))
            for no in done:
                self._delivery.forget_epoch(no)

    # -- not receipted ---------------------------------------------------------------

    async def _drop(self, want: int) -> None:
        rows = {row.no: row for row in self._delivery.epochs()}
        waiting = {lane: self._delivery.to_send(lane) for lane in Lane}
        spared = await self._around_alarms(list(rows.values()))
        far = [
            Candidate(epoch_no=no, lane=Lane.DATA, ranges=ranges, spared=spared.get(rows[no].boot_id, ()))
            for no, ranges in waiting[Lane.DATA]
        ]
        near = [Candidate(epoch_no=no, lane=Lane.DATA, ranges=ranges) for no, ranges in waiting[Lane.DATA]]
        alarms = [Candidate(epoch_no=no, lane=Lane.ALARM, ranges=ranges) for no, ranges in waiting[Lane.ALARM]]
        candidates = [*far, *near, *(alarms if self.excess(Lane.ALARM) > 0 else ())]

        for _ in range(_WIDER):
            found = await self._spool.run(_look(candidates, want))
            if found is None:
                return
            gone, carried = found
            # A record that costs what it frees would be followed by the next one, for ever.
            if gone.size - _RECORD_BYTES * len(carried) >= _LEAST_STEP // 2:
                if self._delivery.has_epoch(gone.epoch_no):
                    self._let_go(gone, carried)
                return
            want *= 4

    async def _around_alarms(self, rows: Sequence[EpochRow]) -> dict[bytes, list[Span]]:
        by_boot: dict[bytes, list[int]] = {}
        for row in rows:
            by_boot.setdefault(row.boot_id, []).append(row.no)
        found = await self._spool.run(lambda spool: {boot: spool.alarm_times(nos) for boot, nos in by_boot.items()})
        return {boot: widened(spans) for boot, spans in found.items()}


def _look(candidates: Sequence[Candidate], want: int) -> Callable[[Spool], tuple[Gone, list[Gone]] | None]:
    def look(spool: Spool) -> tuple[Gone, list[Gone]] | None:
        found = spool.oldest(candidates, want_bytes=want, least_bytes=_LEAST_STEP)
        return None if found is None else (found, spool.carried(found))

    return look


def widened(spans: Sequence[Span], by_us: int = AROUND_ALARM_US) -> list[Span]:
    """Returns spans made wider on both sides, ascending, joined where they touch."""
    joined: list[Span] = []
    for first, last in sorted(spans):
        start, end = first - by_us, last + by_us
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined
