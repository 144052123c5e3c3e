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
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import msgpack

from contracts.batch import AlarmEvent, Genesis, Lane, LossRecord, Origin
from contracts.errors import ContractError
from edge_agent.content import Content
from edge_agent.delivery import Delivery
from edge_agent.errors import SpoolError
from edge_agent.losses import Losses
from edge_agent.new_file import settle
from edge_agent.put_aside import reason_of
from edge_agent.room import Room
from edge_agent.seal import Chain, Sealed
from edge_agent.spool import Spool
from edge_agent.spool_records import (
    FIRST_UNASKED,
    Commit,
    EpochRow,
    Gone,
    Opened,
    StoredBatch,
    loss_record,
    unasked_epoch_no,
)
from edge_agent.spool_thread import SpoolThread
from edge_agent.uplink import Uplink
from edge_agent.volatile import VolatileBatches

__all__ = ["COMMIT_LIMIT_S", "Content", "Keeper", "StoreState"]

_LOG = logging.getLogger(__name__)
#: a commit that takes longer makes the agent go on without the store
COMMIT_LIMIT_S = 0.2
#: what a volatile epoch may hold in memory (bytes of envelopes)
_MEMORY_LIMIT = 16 * 1024 * 1024
#: a volatile epoch is written to the store in pieces of this size
_PIECE = 1024 * 1024
#: alarm events of a volatile epoch that are sealed again afterwards, at most; the newest count
_MOST_LATER = 5000
#: pause before a store that failed is tried again
_TRY_AGAIN_S = 1.0
#: alarm events in one batch
_EVENTS = 200
#: running time, collector and receipts go with a seal at most so often: each costs the disk a page, and what a
#: power cut takes of them is sent twice at worst (us)
_DUES_EVERY_US = 5_000_000


class StoreState(Enum):
    """Whether the store answers."""

    NORMAL = "normal"
    VOLATILE = "volatile"


@dataclass(slots=True, kw_only=True)
class _Pending:
    commit: Commit
    events: tuple[AlarmEvent, ...]
    at_us: int
    is_resealed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Epoch:
    """One epoch that is sealed into."""

    chain: Chain
    row: EpochRow


class Keeper:
    """Owns the chains and the order of commits."""

    def __init__(
        self,
        *,
        spool: SpoolThread,
        delivery: Delivery,
        chain: Chain,
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
        self._durable = _Epoch(chain=chain, row=row)
        self._volatile: _Epoch | None = None
        self._pending: deque[_Pending] = deque()
        self._committing: asyncio.Task[None] | None = None
        #: alarm events of the volatile epoch with the seq of their batch there
        self._later: deque[tuple[int, AlarmEvent]] = deque(maxlen=_MOST_LATER)
        #: taken from their owners and not yet durable
        self._owed_state: dict[str, bytes] = {}
        self._owed_gone: list[Gone] = []
        #: when a seal last had running time and receipts with it; None: the next one has
        self._dues_us: int | None = None
        self._stored = 0
        #: the catalogue of now
        self._catalogue = b""
        #: those of the batches sealed since somebody asked
        self._sealed_with: set[bytes] = set()
        self.uplink: Uplink | None = None
        #: batches of a volatile epoch that are neither receipted nor in the spool
        self.memory = VolatileBatches()
        self.counts = {
            "batches": 0,
            "readings": 0,
            "bytes": 0,
            "commits": 0,
            "volatile_epochs": 0,
            "lost_batches": 0,
            "lost_readings": 0,
            "lost_events": 0,
            "thinned_batches": 0,
            "thinned_readings": 0,
        }
        self.last_error = ""
        #: why a new file took the place of the spool, until what follows from it is done
        self._new_file = ""
        self._room_task: asyncio.Task[None] | None = None
        self._signing: set[asyncio.Task[None]] = set()
        self._losses = Losses(
            delivery=delivery,
            seal_data=self.seal_data,
            place=lambda: None if self._volatile is not None else self._durable.chain,
            monotonic=monotonic,
            counts=self.counts,
        )
        self.room = Room(
            spool=spool,
            delivery=delivery,
            uptime_s=uptime_s,
            monotonic=monotonic,
            boot_id=row.boot_id,
            let_go=self._losses.let_go,
            thin=self._losses.thin,
            in_use=self._in_use,
            sealed_with=self._take_sealed_with,
            quota_bytes=quota_bytes,
            reserve_bytes=reserve_bytes,
            retention_s=retention_s,
        )
        #: called once, before the first commit, with what lies in a spool that did not open at the start
        self.on_first_answer: Callable[[Opened], None] | None = None
        #: called when a new file took the place of the spool; it lacks catalogue and alarm state
        self.on_new_file: Callable[[str], None] = lambda sentence: None

    @property
    def chain(self) -> Chain:
        """The chain that the next seal goes on."""
        return (self._volatile or self._durable).chain

    @property
    def epoch_no(self) -> int:
        """Its number in this spool."""
        return (self._volatile or self._durable).row.no

    @property
    def state(self) -> StoreState:
        """Whether the store answers."""
        return StoreState.NORMAL if self._volatile is None else StoreState.VOLATILE

    def _in_use(self) -> frozenset[int]:
        return frozenset({self._durable.row.no, self.epoch_no})

    def _take_sealed_with(self) -> set[bytes]:
        pending = {sealed.catalogue for item in self._pending for sealed in item.commit.batches}
        taken, self._sealed_with = self._sealed_with, set()
        return {self._catalogue} | taken | pending | self.memory.catalogues()

    # -- sealing ---------------------------------------------------------------------

    def seal_alarms(self, events: Sequence[AlarmEvent]) -> None:
        """Seals alarm events now; they share one batch."""
        for start in range(0, len(events), _EVENTS):
            self._seal_events(tuple(events[start : start + _EVENTS]), is_kept=False)

    def _seal_events(self, events: tuple[AlarmEvent, ...], *, is_kept: bool) -> None:
        """Seals one batch of events, or two of half of them where one would be too large.

        Args:
            is_kept: whether the durable chain has them too.
        """
        try:
            sealed = self._seal(Lane.ALARM, self._monotonic(), events=events)
        except ContractError:
            if len(events) > 1:
                self._seal_events(events[: len(events) // 2], is_kept=is_kept)
                self._seal_events(events[len(events) // 2 :], is_kept=is_kept)
            else:
                self.counts["lost_events"] += 1
                _LOG.exception("an alarm event could not be sealed")
            return
        if self._volatile is not None and not is_kept:
            self._later.extend((sealed.seq, event) for event in events)
        self._keep(sealed, events)

    def seal_data(
        self,
        content: Content,
        *,
        losses: Sequence[LossRecord] = (),
        drop: Sequence[tuple[int, LossRecord]] = (),
        gone: Sequence[Gone] = (),
    ) -> None:
        """Seals what was collected since the last seal.

        Args:
            losses: signed with it.
            drop: which of them stand for batches that are removed with this commit.
            gone: ranges to be remembered with this commit.

        Raises:
            contracts.errors.ContractError: the content does not fit one batch; nothing was sealed.
        """
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
            waveforms=content.waveforms,
            inhibits=content.inhibits,
            visits=content.visits,
            upkeep=content.upkeep,
            confirmed=content.confirmed,
            losses=losses,
            origin=content.origin,
        )
        self._keep(sealed, (), drop=drop, gone=gone)

    def _seal(self, lane: Lane, sealed_us: int, **content: Any) -> Sealed:
        chain = self.chain
        sealed = chain.seal(lane, sealed_us=sealed_us, **content)
        self._delivery.sealed(self.epoch_no, lane, chain.head(lane))
        self.counts["batches"] += 1
        if content.get("origin") is not Origin.THINNED:
            self.counts["readings"] += sealed.readings
        self.counts["bytes"] += len(sealed.envelope)
        self._sealed_with.add(sealed.catalogue)
        return sealed

    def _keep(
        self,
        sealed: Sealed,
        events: tuple[AlarmEvent, ...],
        *,
        drop: Sequence[tuple[int, LossRecord]] = (),
        gone: Sequence[Gone] = (),
    ) -> None:
        if self._volatile is not None:
            self._owed_gone.extend(gone)
            self.memory.add(self.epoch_no, sealed)
            self._offer(self.epoch_no, sealed)
            self._limit_memory()
            return
        row, is_due = self._durable.row, self._is_due()
        self._submit(
            Commit(
                epoch_no=row.no,
                epochs=(row,),
                batches=(sealed,),
                state=self._state() if is_due else self._changed_alarms(),
                delivered=self._delivery.take_changed() if is_due else {},
                drop=drop,
                gone=(*self._take_owed_gone(), *gone),
            ),
            events,
        )

    def _take_owed_gone(self) -> list[Gone]:
        owed, self._owed_gone = self._owed_gone, []
        return owed

    def _is_due(self) -> bool:
        now = self._monotonic()
        if self._dues_us is not None and now - self._dues_us < _DUES_EVERY_US:
            return False
        self._dues_us = now
        return True

    def _changed_alarms(self) -> dict[str, bytes]:
        alarms = self._alarm_state()
        return {} if alarms is None else {"alarms": alarms}

    def _state(self) -> dict[str, bytes]:
        state = {"uptime_s": str(self._uptime_s()).encode(), **self._changed_alarms()}
        since, epoch = self._delivery.collector
        if epoch:
            state["collector"] = msgpack.packb([since, epoch])
        return state

    def keep_catalogue(self, hash: bytes, envelope: bytes) -> None:
        """Makes a catalogue durable before the first batch that uses it."""
        self._catalogue = hash
        row = self._durable.row
        self._submit(Commit(epoch_no=row.no, epochs=(row,), catalogue=(hash, envelope)), ())

    def _offer(self, epoch_no: int, sealed: Sealed) -> None:
        if self.uplink is not None:
            self.uplink.offer(epoch_no, sealed)

    # -- committing ------------------------------------------------------------------

    def _submit(self, commit: Commit, events: tuple[AlarmEvent, ...]) -> None:
        self._pending.append(_Pending(commit=commit, events=events, at_us=self._monotonic()))
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
                await self._look_at_store()
            except SpoolError as error:
                if str(error) != self.last_error:
                    _LOG.error("%s; readings go on in memory", error)
                await self._wait_for_store(str(error))
            except Exception as error:
                # The outermost loop of keeping: a defect must not end it unseen, nor lose what waits.
                _LOG.exception("a commit failed as no disk fails; it is made again")
                await self._wait_for_store(f"{type(error).__name__}: {error}")
        self.look_at_room()

    async def _wait_for_store(self, error: str) -> None:
        self.last_error = error
        self._go_volatile()
        await asyncio.sleep(_TRY_AGAIN_S)

    async def _commit_first(self) -> None:
        if self.on_first_answer is not None:
            opened = await self._spool.run(Spool.inventory)
            learn, self.on_first_answer = self.on_first_answer, None
            learn(opened)
        item = self._pending[0]
        await self._spool.run(lambda spool: spool.commit(item.commit))
        self._pending.popleft()
        self.counts["commits"] += 1
        for sealed in item.commit.batches:
            self._offer(item.commit.epoch_no, sealed)

    async def _look_at_store(self) -> None:
        if self._spool.take_full():
            self.room.disk_is_full()
        self._new_file = self._spool.take_replaced() or self._new_file
        if self._new_file:
            await self._go_on_in_new_file(self._new_file)

    async def _go_on_in_new_file(self, sentence: str) -> None:
        after = await settle(
            self._spool,
            self._delivery,
            durable_no=self._durable.row.no,
            volatile_no=lambda: None if self._volatile is None else self._volatile.row.no,
            pending=lambda: [
                (item.commit.epoch_no, sealed) for item in self._pending for sealed in item.commit.batches
            ],
        )
        self._new_file = ""
        self._begin_epoch(reason_of(sentence))
        self.on_new_file(sentence)
        if after.losses or after.gone:
            for loss in after.losses:
                self.counts["lost_batches"] += loss.last - loss.first + 1
            self.seal_data(Content(sealed_us=self._monotonic()), losses=after.losses, gone=after.gone)

    def _begin_epoch(self, reason: str) -> None:
        """Goes on in a new epoch, whose parent is the one before; what waits of that one is committed first."""
        old = self._durable
        number = old.row.no + 1 if old.row.no < FIRST_UNASKED else unasked_epoch_no()
        genesis = Genesis(version=old.chain.genesis.version, reason=reason, parent=old.chain.as_parent())
        chain = self._new_chain(os.urandom(8), genesis, Origin.LIVE)
        row = replace(
            old.row,
            no=number,
            epoch=chain.epoch,
            reason=reason,
            started_us=self._monotonic(),
            started_uptime_s=self._uptime_s(),
        )
        self._submit(Commit(epoch_no=old.row.no, epochs=(old.row, row)), ())
        self._durable = _Epoch(chain=chain, row=row)
        self._delivery.add_epoch(row)

    def _check_late(self) -> None:
        if self._volatile is None and self._pending:
            waited = (self._monotonic() - self._pending[0].at_us) / 1e6
            if waited >= COMMIT_LIMIT_S * 0.99:
                self._go_volatile()

    # -- the volatile epoch ----------------------------------------------------------

    def _go_volatile(self) -> None:
        if self._volatile is not None:
            return
        durable = self._durable.chain
        genesis = Genesis(version=durable.genesis.version, reason="store_unusable", parent=durable.as_parent())
        chain = self._new_chain(os.urandom(8), genesis, Origin.VOLATILE)
        row = EpochRow(
            no=unasked_epoch_no(),
            epoch=chain.epoch,
            reason="store_unusable",
            boot_id=chain.boot.boot_id,
            boot_counter=chain.boot.counter,
            started_us=self._monotonic(),
            started_uptime_s=self._uptime_s(),
            is_volatile=True,
        )
        self._volatile = _Epoch(chain=chain, row=row)
        self._delivery.add_epoch(row)
        self.counts["volatile_epochs"] += 1
        _LOG.warning("the store does not answer in time: going on in a volatile epoch")
        waiting = [event for item in self._pending if not item.is_resealed for event in item.events]
        for item in self._pending:
            item.is_resealed = True
        for start in range(0, len(waiting), _EVENTS):
            self._seal_events(tuple(waiting[start : start + _EVENTS]), is_kept=True)

    async def _come_back(self) -> None:
        """Writes a piece of the volatile chain to the store; after the last one the old epoch goes on."""
        volatile = self._volatile
        assert volatile is not None
        batches, gone = self.memory.begin_storing(_PIECE)
        self._owed_state.update(self._state())
        # Whose receipts the ranges are goes with the ranges, in the next seal of the old epoch: a new collector's
        # name beside what the one before had receipted would release what the new one lacks.
        self._owed_state.pop("collector", None)
        owed = list(self._owed_gone)
        commit = Commit(
            epoch_no=volatile.row.no,
            epochs=(self._durable.row, volatile.row),
            batches=batches,
            state=dict(self._owed_state),
            gone=(*gone, *owed),
        )
        try:
            await self._spool.run(lambda spool: spool.commit(commit))
        except BaseException:
            self.memory.not_stored()
            raise
        self._owed_state.clear()
        self._owed_gone = [item for item in self._owed_gone if item not in owed]
        self._stored += len(batches)
        for item in gone:
            if item.cause == "released" and self._delivery.has_epoch(item.epoch_no):
                self._delivery.released(item.epoch_no, item.lane, item.first, item.last)
        if self.memory.stored(gone) and not self._owed_gone and not self._pending:
            self._end_volatile()

    def _end_volatile(self) -> None:
        assert self._volatile is not None
        no, self._volatile = self._volatile.row.no, None
        self.last_error = ""
        self._dues_us = None
        _LOG.warning("the store answers again: %d batches of the volatile epoch are now kept", self._stored)
        self._stored = 0
        events = [event for seq, event in self._later if not self._delivery.is_delivered((no, Lane.ALARM, seq))]
        self._later.clear()
        if events:
            self.seal_alarms(events)

    def _limit_memory(self) -> None:
        """Lets the oldest volatile batches go when memory is full, with signed records of it."""
        if self.memory.size <= _MEMORY_LIMIT or self._volatile is None:
            return
        runs, carried = self.memory.shed(int(_MEMORY_LIMIT * 0.9), "store_unusable")
        epoch = self._volatile.row.epoch
        losses = [loss_record(gone, epoch) for gone in runs]
        for gone in runs:
            self._losses.count(gone)
        if losses:
            sealed = self._seal(Lane.DATA, self._monotonic(), losses=(*losses, *carried))
            self.memory.add(self.epoch_no, sealed)
            self._offer(self.epoch_no, sealed)

    # -- room ------------------------------------------------------------------------

    async def _make_room(self) -> None:
        try:
            await self.room.make()
        except SpoolError as error:
            _LOG.error("no room could be made: %s", error)
        except Exception:
            _LOG.exception("making room failed")

    def look_at_room(self) -> None:
        """Makes room where something was added to the store without a commit of ours."""
        if self.room.excess() > 0 and (self._room_task is None or self._room_task.done()):
            self._room_task = asyncio.get_running_loop().create_task(self._make_room())

    def damaged(self, epoch_no: int, batch: StoredBatch) -> None:
        """Signs for a batch whose bytes in the store are no longer those that were written; the row stays."""
        gone = self._losses.damaged(epoch_no, batch)
        if gone is not None:
            task = asyncio.get_running_loop().create_task(self._sign_again(gone))
            self._signing.add(task)
            task.add_done_callback(self._signing.discard)

    async def _sign_again(self, damaged: Gone) -> None:
        """The records that lay in a damaged batch are sealed anew: the holes that they are for are still there."""
        try:
            carried = await self._spool.run(lambda spool: spool.carried(damaged))
            if carried:
                self._losses.sign_again(carried)
        except SpoolError as error:
            _LOG.error("the loss records in a damaged batch could not be sealed anew: %s", error)

    @property
    def is_kept(self) -> bool:
        """Whether everything sealed so far is in the store."""
        return not self._pending and self._volatile is None

    # -- leaving ---------------------------------------------------------------------

    async def drain(self, *, wait_s: float = 3.0) -> bool:
        """Waits until everything sealed is durable; False when the store did not answer in time."""
        if self._room_task is not None:
            self._room_task.cancel()
            await asyncio.gather(self._room_task, return_exceptions=True)
        await self.room.stop()
        changed = self._delivery.take_changed() if self._volatile is None else {}
        if changed:
            row = self._durable.row
            self._submit(Commit(epoch_no=row.no, epochs=(row,), state=self._state(), delivered=changed), ())
        if self._committing is not None and not self._committing.done():
            try:
                await asyncio.wait_for(asyncio.shield(self._committing), wait_s)
            except TimeoutError:
                return False
        return self.is_kept
