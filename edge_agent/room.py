"""Room in the spool: what goes, in which order, when the quota or the disk is full or time has passed.

    1  receipted history, oldest first          no record needed: the collector has signed for it
    2  quiet data are thinned                   a new batch with signed loss records takes their place
    3  the oldest data away from any alarm      each range with a signed loss record
    4  data within 60 s of an alarm batch       likewise
    5  alarm batches                            likewise, and only when even the reserve is used up

Receipted alarm batches of a boot whose data still wait go after 2: they tell what is near an alarm.
Data may fill the quota without the reserve.  Where the disk itself is full the spool keeps to what
it has until there is space again.  How a record is sealed is not known here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

from contracts.batch import Lane
from edge_agent.delivery import Delivery
from edge_agent.errors import SpoolError
from edge_agent.old_catalogues import OldCatalogues
from edge_agent.quiet import QuietData
from edge_agent.spool import Spool
from edge_agent.spool_records import SALVAGE, Candidate, EpochRow, Gone
from edge_agent.spool_room import alarm_times, oldest, oldest_runs
from edge_agent.spool_thread import SpoolThread
from edge_agent.thin import Thinned, runs_within

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
#: of the pages that the file has on a full disk so much stays free: writing and deleting need them (bytes)
_SPARE_BYTES = 1536 * 1024
_EVERYTHING = 1 << 40
#: how often a full disk is looked at (seconds)
_LOOK_S = 5.0

Span = tuple[int, int]


class Room:
    """Decides what goes and sees to it; one call at a time."""

    def __init__(
        self,
        *,
        spool: SpoolThread,
        delivery: Delivery,
        uptime_s: Callable[[], int],
        monotonic: Callable[[], int],
        boot_id: bytes,
        let_go: Callable[[Sequence[Gone], Sequence[Gone], str], bool],
        thin: Callable[[Thinned, Sequence[Gone]], bool],
        in_use: Callable[[], Collection[int]],
        sealed_with: Callable[[], Collection[bytes]],
        quota_bytes: int,
        reserve_bytes: int,
        retention_s: int,
    ) -> None:
        """Takes what it needs.

        Args:
            monotonic: us of the boot ``boot_id``.
            let_go: seals loss records with a cause for ranges of one epoch, with the records that those carried;
                False when that cannot be done now.
            thin: seals what takes the place of some batches, with the records that those carried; likewise.
            in_use: numbers of the epochs that are sealed into.
            sealed_with: the catalogue of now, those of batches that the store does not have yet, and those
                of every batch sealed since the last call.
        """
        self._spool = spool
        self._delivery = delivery
        self._uptime_s = uptime_s
        self._monotonic = monotonic
        self._boot_id = boot_id
        self._let_go = let_go
        self._thin_out = thin
        self._quiet = QuietData(spool)
        self._catalogues = OldCatalogues(spool, sealed_with=sealed_with)
        self._in_use = in_use
        self._quota, self._reserve, self._retention_s = quota_bytes, reserve_bytes, retention_s
        #: the most that may be used while the disk is full; None when it is not
        self._ceiling: int | None = None
        self._looking: asyncio.Task[None] | None = None

    @property
    def is_disk_full(self) -> bool:
        """Whether the disk, not the quota, is what limits the spool."""
        return self._ceiling is not None

    def disk_is_full(self) -> None:
        """Keeps the spool within the pages that it has, until there is space again; call on the running loop."""
        self._ceiling = max(self._spool.used_bytes, self._spool.held_bytes - _SPARE_BYTES)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look_until_space())

    async def stop(self) -> None:
        """Ends the looking at a full disk; safe to call twice."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

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
        await self._release_down(target, keeps_alarm_times=True)
        if self.excess() > 0 and await self._thin():
            return
        await self._release_down(target, keeps_alarm_times=False)
        if self.excess() > 0:
            await self._drop(self.excess() + target)

    async def tend(self) -> None:
        """Lets receipted batches go that are older than the retention; forgets epochs and catalogues done with."""
        try:
            while await self._release(_EVERYTHING, self._retention_s) is not None:
                pass
            await self._forget()
            await self._catalogues.prune()
            if self._ceiling is not None:
                await self.look_at_disk()
        except SpoolError as error:
            _LOG.error("old history could not be released: %s", error)

    async def look_at_disk(self) -> None:
        """Goes back to the quota when the disk has space again."""
        if self._ceiling is not None and await self._spool.hold_ballast():
            self._ceiling = None
            _LOG.warning("the disk has space again")

    async def _look_until_space(self) -> None:
        while self._ceiling is not None:
            await asyncio.sleep(_LOOK_S)
            await self.look_at_disk()

    # -- receipted -------------------------------------------------------------------

    async def _release_down(self, target: int, *, keeps_alarm_times: bool) -> None:
        kept = {row.boot_id for row in self._waiting_data()} if keeps_alarm_times else set()
        while (excess := self.excess()) > 0:
            if await self._release(excess + target, None, without_alarms_of=kept) is None:
                break

    def _waiting_data(self) -> list[EpochRow]:
        return [row for row in self._delivery.epochs() if self._delivery.waiting(row.no, Lane.DATA)]

    async def _release(
        self, want: int, older_than_s: int | None, *, without_alarms_of: Collection[bytes] = ()
    ) -> Gone | None:
        candidates = [
            Candidate(
                epoch_no=row.no,
                lane=lane,
                ranges=ranges,
                keep_after_us=None if older_than_s is None else self._age_limit(row, older_than_s),
            )
            for lane in (Lane.DATA, Lane.ALARM)
            for row in self._delivery.epochs()
            if not (lane is Lane.ALARM and row.boot_id in without_alarms_of)
            and (ranges := self._delivery.releasable(row.no, lane))
        ]
        if not candidates:
            return None

        def release(spool: Spool) -> Gone | None:
            found = oldest(spool, candidates, want_bytes=want)
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

    async def thin(self) -> bool:
        """Has some quiet data that wait replaced by fewer samples; False where there are none to gain by.

        Raises:
            SpoolError: the store has failed.
        """
        return await self._thin()

    async def _thin(self) -> bool:
        """Has the oldest quiet data of this boot replaced by fewer samples; False where there are none to gain by."""
        ours = [row for row in self._delivery.epochs() if row.boot_id == self._boot_id]
        spared = (await self._around_alarms(ours)).get(self._boot_id, ())
        # Only now: an epoch may have begun while the store was asked.
        rows = {row.no: row for row in self._delivery.epochs()}
        for no, waiting in self._delivery.to_send(Lane.DATA):
            row = rows[no]
            # What was recovered carries records of a file that is not here: it stays whole or goes.
            if row.boot_id != self._boot_id or row.is_volatile or row.reason == SALVAGE:
                continue
            found = await self._quiet.find(row, waiting, spared=spared, until_us=self._monotonic() - AROUND_ALARM_US)
            if found is None:
                continue
            thinned, carried = found
            still = dict(self._delivery.to_send(Lane.DATA)).get(no, [])
            if not runs_within(thinned.runs, still):
                # Some were sent or receipted meanwhile: it is looked at again with the next seal.
                return True
            if not self._thin_out(thinned, carried):
                return False
            self._quiet.done(thinned)
            return True
        return False

    async def _drop(self, want: int) -> None:
        for _ in range(_WIDER):
            runs, carried = await self._spool.run(_look(await self._droppable(), want))
            if not runs:
                return
            still = dict(self._delivery.to_send(runs[0].lane)).get(runs[0].epoch_no, [])
            if not runs_within(runs, still):
                # Some were sent or receipted while the store was asked: what was delivered is not lost.
                continue
            # A record that costs what it frees would be followed by the next one, for ever.
            if sum(run.size for run in runs) - _RECORD_BYTES * len(carried) >= _LEAST_STEP // 2:
                self._let_go(runs, carried, "disk_full" if self.is_disk_full else "quota")
                return
            want *= 4

    async def _droppable(self) -> list[Candidate]:
        """Returns what may go, in the order in which it goes."""
        spared = await self._around_alarms(self._delivery.epochs())
        # Only now: while the store was asked an epoch may have begun, and batches may have been sent.
        rows = {row.no: row for row in self._delivery.epochs()}
        waiting = {lane: self._delivery.to_send(lane) for lane in Lane}
        far = [
            Candidate(epoch_no=no, lane=Lane.DATA, ranges=ranges, spared=spared.get(rows[no].boot_id, ()))
            for no, ranges in waiting[Lane.DATA]
        ]
        near = [Candidate(epoch_no=no, lane=Lane.DATA, ranges=ranges) for no, ranges in waiting[Lane.DATA]]
        alarms = [Candidate(epoch_no=no, lane=Lane.ALARM, ranges=ranges) for no, ranges in waiting[Lane.ALARM]]
        return [*far, *near, *(alarms if self.excess(Lane.ALARM) > 0 else ())]

    async def _around_alarms(self, rows: Sequence[EpochRow]) -> dict[bytes, list[Span]]:
        by_boot: dict[bytes, list[int]] = {}
        for row in rows:
            by_boot.setdefault(row.boot_id, []).append(row.no)
        found = await self._spool.run(lambda spool: {boot: alarm_times(spool, nos) for boot, nos in by_boot.items()})
        return {boot: widened(spans) for boot, spans in found.items()}


def _look(candidates: Sequence[Candidate], want: int) -> Callable[[Spool], tuple[list[Gone], list[Gone]]]:
    def look(spool: Spool) -> tuple[list[Gone], list[Gone]]:
        found = oldest_runs(spool, candidates, want_bytes=want, least_bytes=_LEAST_STEP)
        return found, [gone for run in found for gone in spool.carried(run)]

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
