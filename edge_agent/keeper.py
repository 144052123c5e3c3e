"""The keeper: seals what was sampled and judged, and sees to it that it is kept.

    NORMAL    seal -> commit -> offer to the uplink
    VOLATILE  the store has not answered in time: seal in a chain of its own, offer at once
              from memory; polling and alarms never wait for a disk

What was sealed before the store stopped answering keeps its place and is committed, byte for byte,
when it answers again; alarm events that waited there are sealed a second time in the
volatile chain, so that they are not late, and event ids make that harmless.  When the store
is back, the volatile chain is written to it as well and the old epoch goes on.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import msgpack

from contracts.batch import AlarmEvent, Genesis, HealthRecord, Lane, LossRecord, Note, Origin, Statement
from edge_agent.delivery import BatchKey, Delivery
from edge_agent.errors import SpoolError
from edge_agent.seal import Chain, Sealed
from edge_agent.spool import Commit, EpochRow, Opened, Spool
from edge_agent.spool_thread import SpoolThread
from edge_agent.uplink import Uplink

_LOG = logging.getLogger(__name__)
#: a commit that takes longer makes the agent go on without the store
COMMIT_LIMIT_S = 0.2
#: what a volatile epoch may hold in memory (bytes of envelopes)
_MEMORY_LIMIT = 16 * 1024 * 1024
#: epoch numbers from here on were given without asking the store
FIRST_UNASKED = 1 << 28
#: pause before a store that failed is tried again
_TRY_AGAIN_S = 1.0
#: room is made in steps of this part of the quota
_STEP = 0.02


class StoreState(Enum):
    """Whether the store answers."""

    NORMAL = "normal"
    VOLATILE = "volatile"


@dataclass(slots=True, kw_only=True)
class _Pending:
    epoch_no: int
    commit: Commit
    events: tuple[AlarmEvent, ...]
    at_us: int
    is_resealed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What goes into one data batch."""

    #: the monotonic us that the blocks' times are relative to
    sealed_us: int
    catalogue: bytes = b""
    blocks: Sequence[Any] = ()
    readings: int = 0
    first_us: int | None = None
    last_us: int | None = None
    statement: Statement | None = None
    health: Sequence[HealthRecord] = field(default=())
    notes: Sequence[Note] = field(default=())


class Keeper:
    """Owns the chains and the order of commits."""

    def __init__(
        self,
        *,
        spool: SpoolThread,
        delivery: Delivery,
        chain: Chain,
        epoch_no: int,
        row: EpochRow,
        new_chain: Callable[[bytes, Genesis, Origin], Chain],
        monotonic: Callable[[], int],
        alarm_state: Callable[[], bytes | None],
        uptime_s: Callable[[], int],
        quota_bytes: int,
        reserve_bytes: int,
        retention_s: int,
    ) -> None:
        self._spool = spool
        self._delivery = delivery
        self._new_chain = new_chain
        self._monotonic = monotonic
        self._alarm_state = alarm_state
        self._uptime_s = uptime_s
        self._durable = chain
        self._durable_no = epoch_no
        self._durable_row: EpochRow | None = row
        self._volatile: Chain | None = None
        self._volatile_no = 0
        self._volatile_row: EpochRow | None = None
        self._pending: deque[_Pending] = deque()
        self._committing: asyncio.Task[None] | None = None
        self._later_events: list[AlarmEvent] = []
        self._stored = 0
        self._quota, self._reserve, self._retention_s = quota_bytes, reserve_bytes, retention_s
        self._rows: dict[int, EpochRow] = {epoch_no: row}
        self.uplink: Uplink | None = None
        #: batches of a volatile epoch that are neither receipted nor in the spool, by key
        self.memory: dict[BatchKey, Sealed] = {}
        self.counts = {
            "batches": 0,
            "readings": 0,
            "bytes": 0,
            "commits": 0,
            "volatile_epochs": 0,
            "lost_batches": 0,
            "lost_readings": 0,
        }
        self.last_error = ""
        self._room_task: asyncio.Task[None] | None = None
        #: called once with what lies in a spool that could not be opened at the start
        self.on_first_answer: Callable[[Opened], None] | None = None

    @property
    def chain(self) -> Chain:
        """The chain that the next seal goes on."""
        return self._volatile or self._durable

    @property
    def epoch_no(self) -> int:
        """Its number in this spool."""
        return self._volatile_no if self._volatile is not None else self._durable_no

    @property
    def state(self) -> StoreState:
        """Whether the store answers."""
        return StoreState.NORMAL if self._volatile is None else StoreState.VOLATILE

    def know(self, rows: Sequence[EpochRow]) -> None:
        """Learns the epochs that lie in the spool."""
        for row in rows:
            self._rows[row.no] = row

    # -- sealing ---------------------------------------------------------------------

    def seal_alarms(self, events: Sequence[AlarmEvent]) -> None:
        """Seals alarm events now; they share one batch."""
        for start in range(0, len(events), 200):
            part = tuple(events[start : start + 200])
            sealed = self._seal(Lane.ALARM, self._monotonic(), events=part)
            if self._volatile is not None:
                self._later_events.extend(part)
            self._keep([sealed], part)

    def seal_data(
        self, content: Content, *, losses: Sequence[LossRecord] = (), drop: Sequence[tuple[int, LossRecord]] = ()
    ) -> None:
        """Seals what was collected since the last seal."""
        sealed = self._seal(
            Lane.DATA,
            content.sealed_us,
            catalogue=content.catalogue,
            blocks=content.blocks,
            readings=content.readings,
            first_us=content.first_us,
            last_us=content.last_us,
            statement=content.statement,
            health=content.health,
            notes=content.notes,
            losses=losses,
        )
        self._keep([sealed], (), drop=drop)

    def _seal(self, lane: Lane, sealed_us: int, **content: Any) -> Sealed:
        chain = self.chain
        sealed = chain.seal(lane, sealed_us=sealed_us, **content)
        self._delivery.sealed(self.epoch_no, lane, chain.head(lane))
        self.counts["batches"] += 1
        self.counts["readings"] += sealed.readings
        self.counts["bytes"] += len(sealed.envelope)
        return sealed

    def _keep(
        self, batches: list[Sealed], events: tuple[AlarmEvent, ...], *, drop: Sequence[tuple[int, LossRecord]] = ()
    ) -> None:
        if self._volatile is not None:
            for sealed in batches:
                self._offer(self._volatile_no, sealed, is_stored=False)
            self._limit_memory()
            return
        commit = Commit(
            epoch_no=self._durable_no,
            batches=batches,
            state=self._state(),
            delivered=self._delivery.take_changed(),
            drop=drop,
        )
        self._submit(commit, events)

    def _state(self) -> dict[str, bytes]:
        state = {"uptime_s": str(self._uptime_s()).encode()}
        alarms = self._alarm_state()
        if alarms is not None:
            state["alarms"] = alarms
        since, epoch = self._delivery.collector
        if epoch:
            state["collector"] = msgpack.packb([since, epoch])
        return state

    def keep_catalogue(self, hash: bytes, envelope: bytes) -> None:
        """Makes a catalogue durable before the first batch that uses it."""
        self._submit(Commit(epoch_no=self._durable_no, catalogue=(hash, envelope)), ())

    def _offer(self, epoch_no: int, sealed: Sealed, *, is_stored: bool) -> None:
        if not is_stored:
            self.memory[epoch_no, sealed.lane, sealed.seq] = sealed
        if self.uplink is not None:
            self.uplink.offer(epoch_no, sealed)

    # -- committing ------------------------------------------------------------------

    def _submit(self, commit: Commit, events: tuple[AlarmEvent, ...]) -> None:
        self._pending.append(_Pending(epoch_no=commit.epoch_no, commit=commit, events=events, at_us=self._monotonic()))
        loop = asyncio.get_running_loop()
        loop.call_later(COMMIT_LIMIT_S, self._check_late)
        if self._committing is None or self._committing.done():
            self._committing = loop.create_task(self._commit_all())

    async def _commit_all(self) -> None:
        """Commits what waits, in order, then brings a volatile epoch to an end."""
        while self._pending or self._volatile is not None:
            try:
                if self._pending:
                    await self._commit_first()
                else:
                    await self._come_back()
            except SpoolError as error:
                if str(error) != self.last_error:
                    _LOG.error("%s; readings go on in memory", error)
                self.last_error = str(error)
                self._go_volatile()
                await asyncio.sleep(_TRY_AGAIN_S)
        if self._spool_excess() > 0 and (self._room_task is None or self._room_task.done()):
            self._room_task = asyncio.get_running_loop().create_task(self._make_room())

    async def _commit_first(self) -> None:
        item = self._pending[0]
        row = self._durable_row
        await self._spool.run(lambda spool: _commit(spool, row, item.commit))
        self._pending.popleft()
        self._durable_row = None
        self.counts["commits"] += 1
        for sealed in item.commit.batches:
            self._offer(item.epoch_no, sealed, is_stored=True)
        if self.on_first_answer is not None:
            learn, self.on_first_answer = self.on_first_answer, None
            learn(await self._spool.run(Spool.inventory))

    def _check_late(self) -> None:
        if self._volatile is None and self._pending:
            waited = (self._monotonic() - self._pending[0].at_us) / 1e6
            if waited >= COMMIT_LIMIT_S * 0.99:
                self._go_volatile()

    def _go_volatile(self) -> None:
        if self._volatile is not None:
            return
        parent = self._durable.as_parent()
        genesis = Genesis(version=self._durable.genesis.version, reason="store_unusable", parent=parent)
        self._volatile = self._new_chain(os.urandom(8), genesis, Origin.VOLATILE)
        self._volatile_no = unasked_epoch_no()
        self._volatile_row = EpochRow(
            no=self._volatile_no,
            epoch=self._volatile.epoch,
            reason="store_unusable",
            boot_id=self._volatile.boot.boot_id,
            boot_counter=self._volatile.boot.counter,
            started_us=self._monotonic(),
            started_uptime_s=self._uptime_s(),
            is_volatile=True,
        )
        self._rows[self._volatile_no] = self._volatile_row
        self._delivery.add_epoch(self._volatile_row)
        self.counts["volatile_epochs"] += 1
        _LOG.warning("the store does not answer in time: going on in a volatile epoch")
        waiting = [event for item in self._pending if not item.is_resealed for event in item.events]
        for item in self._pending:
            item.is_resealed = True
        if waiting:
            self.seal_alarms(waiting)

    async def _come_back(self) -> None:
        """Writes the volatile chain to the store; when all of it is there, the old epoch goes on."""
        row, no = self._volatile_row, self._volatile_no
        assert row is not None
        batches = self._unstored(no)
        commit = Commit(epoch_no=no, batches=batches, state=self._state())
        await self._spool.run(lambda spool: _commit(spool, row, commit))
        for sealed in batches:
            self.memory.pop((no, sealed.lane, sealed.seq), None)
        self._stored += len(batches)
        if self._unstored(no):  # sealed while the commit ran
            return
        self._volatile = None
        self.last_error = ""
        _LOG.warning("the store answers again: %d batches of the volatile epoch are now kept", self._stored)
        self._stored = 0
        events, self._later_events = self._later_events, []
        if events:
            self.seal_alarms(events)

    def _unstored(self, epoch_no: int) -> list[Sealed]:
        return [self.memory[key] for key in sorted(key for key in self.memory if key[0] == epoch_no)]

    def _limit_memory(self) -> None:
        """Lets the oldest volatile data go when memory is full, with a signed record of it."""
        held = self.memory
        size = sum(len(sealed.envelope) for sealed in held.values())
        if size <= _MEMORY_LIMIT:
            return
        data = sorted(key for key in held if key[1] is Lane.DATA)
        gone: list[Sealed] = []
        while data and size > _MEMORY_LIMIT * 0.9:
            key = data.pop(0)
            sealed = held.pop(key)
            size -= len(sealed.envelope)
            gone.append(sealed)
        if gone:
            loss = LossRecord(
                epoch=gone[0].epoch,
                lane=Lane.DATA,
                first=gone[0].seq,
                last=gone[-1].seq,
                digest=gone[-1].digest,
                readings=sum(sealed.readings for sealed in gone),
                cause="store_unusable",
            )
            self._count_loss(self._volatile_no, loss)
            self._offer(self._volatile_no, self._seal(Lane.DATA, self._monotonic(), losses=(loss,)), is_stored=False)

    # -- room ------------------------------------------------------------------------

    def _spool_excess(self) -> int:
        return self._spool.used_bytes - (self._quota - self._reserve)

    async def _make_room(self) -> None:
        """Frees space: receipted history first, then the oldest data with a signed loss record."""
        want = self._spool_excess() + int(self._quota * _STEP)
        try:
            while want > 0:
                freed = await self._release(want, None)
                if not freed:
                    break
                want -= freed
            if self._spool_excess() > 0:
                await self._drop_oldest(self._spool_excess() + int(self._quota * _STEP))
        except SpoolError as error:
            _LOG.error("no room could be made: %s", error)

    async def release_old(self) -> None:
        """Lets receipted batches go that are older than the retention."""
        try:
            while await self._release(1 << 40, self._retention_s):
                pass
        except SpoolError as error:
            _LOG.error("old history could not be released: %s", error)

    async def _release(self, want: int, older_than_s: int | None) -> int:
        before = self._spool.used_bytes
        for no in sorted(self._rows):
            row = self._rows[no]
            keep_after: int | None = None
            if older_than_s is not None:
                age_of_start = self._uptime_s() - row.started_uptime_s
                keep_after = row.started_us + (age_of_start - older_than_s) * 1_000_000
            for lane in (Lane.DATA, Lane.ALARM):
                ranges = list(self._delivery.delivered(no, lane))
                found = await self._spool.run(
                    lambda spool, no=no, lane=lane, ranges=ranges, keep=keep_after: spool.oldest(  # type: ignore[misc]
                        no, lane, ranges, want_bytes=want, keep_after_us=keep
                    )
                )
                if found is not None:
                    first, last, _, _ = found
                    await self._spool.run(
                        lambda spool, no=no, lane=lane, first=first, last=last: spool.release(no, lane, first, last)  # type: ignore[misc]
                    )
                    return before - self._spool.used_bytes
        return 0

    async def _drop_oldest(self, want: int) -> None:
        for no in sorted(self._rows):
            if no not in self._rows or self._volatile is not None:
                return
            waiting = [
                item for epoch_no, ranges in self._delivery.to_send(Lane.DATA) if epoch_no == no for item in ranges
            ]
            found = await self._spool.run(
                lambda spool, no=no, waiting=waiting: spool.oldest(  # type: ignore[misc]
                    no, Lane.DATA, waiting, want_bytes=want, keep_after_us=None
                )
            )
            if found is None or self._volatile is not None:
                continue
            first, last, digest, readings = found
            loss = LossRecord(
                epoch=self._rows[no].epoch,
                lane=Lane.DATA,
                first=first,
                last=last,
                digest=digest,
                readings=readings,
                cause="quota",
            )
            self._count_loss(no, loss)
            _LOG.warning("the spool is full: %d batches (%d readings) were let go", last - first + 1, readings)
            self.seal_data(Content(sealed_us=self._monotonic()), losses=(loss,), drop=((no, loss),))
            return

    def _count_loss(self, epoch_no: int, loss: LossRecord) -> None:
        self._delivery.lost(epoch_no, loss.lane, loss.first, loss.last)
        self.counts["lost_batches"] += loss.last - loss.first + 1
        self.counts["lost_readings"] += loss.readings

    # -- leaving ---------------------------------------------------------------------

    async def drain(self, *, wait_s: float = 3.0) -> bool:
        """Waits until everything sealed is durable; False when the store did not answer in time."""
        if self._committing is not None and not self._committing.done():
            try:
                await asyncio.wait_for(asyncio.shield(self._committing), wait_s)
            except TimeoutError:
                return False
        return not self._pending


def unasked_epoch_no() -> int:
    """Returns a number for an epoch when the store cannot be asked: random, above those of restarts."""
    return FIRST_UNASKED | int.from_bytes(os.urandom(3), "big")


def _commit(spool: Spool, row: EpochRow | None, commit: Commit) -> None:
    if row is not None:
        spool.begin_epoch(row)
    spool.commit(commit)
