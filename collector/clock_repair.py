"""Clock repair: what was placed in time by an offset that has turned out wrong is placed again, in the background.

When a boot's offset changes by more than is uncertain (``walltime.has_moved``), its batches may lie at the
wrong place: a gateway that woke in 1970 and met NTP an hour later, a clock that was stepped, a boot that
was never heard live.  The boot is noted in table ``meta`` in the very transaction that learnt it.  Then,
step by step:

    evidence of the boot, in order -> offset by what is known now -> off by more than SLACK_US?
        -> that batch's wall time, its events, latest values, health, waveforms, visits; and every minute of the
           gateway that it lay in or comes to lie in is rolled up anew from the evidence

A step is one transaction of bounded size and leaves everything as ``rebuild`` would make it from the same
offsets, so ``verify`` holds after each; what it does twice changes nothing the second time.  A process that dies
goes on from the last step.  The signed bytes, the monotonic times and the arrival are never touched.
Minutes that rest on pruned evidence stay as they are.  A minute that very many batches leave (a backlog
that had been placed where it arrived) is empty until the pass is over, and then made once.

A boot that was never heard live and had no set clock is *bracketed*: it ended before the boot after it began.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from collector.alarm_log import move_event
from collector.database import read_meta, write_meta
from collector.evidence import PROJECTED
from collector.identities import Boot, Identities
from collector.ingest import decode_columns
from collector.minutes import Minutes, minutes_of
from collector.projector import RECOVERED, Projector
from collector.retention import read_checkpoint
from collector.skew import ClockSkew
from collector.walltime import (
    SLACK_US,
    BootClock,
    Trust,
    has_changed,
    has_moved,
    improve,
    is_apart,
    offset_of,
    own_offset,
)
from contracts.batch import AlarmEvent, Anchor, Batch, Lane, decode_batch
from contracts.columns import Columns
from contracts.envelope import decode_payload, split
from contracts.errors import ContractError
from contracts.fields import unpack

_LOG = logging.getLogger(__name__)
_META = "clock_repair"
#: batches looked at, batches and readings moved, and rows of roll-ups made anew in one step, about: an alarm
#: that comes meanwhile waits for the step to end
_LOOK, _MOVE, _READINGS, _ROWS = 64, 32, 3000, 3000
#: a boot that nobody can date waits until its backlog has been still for this long (us)
_QUIET_US = 10_000_000
#: between two passes over one boot, whose clock may be of two minds (us)
_AGAIN_US = 60_000_000

#: (epoch, lane, seq, digest) of the last batch that was looked at; epoch 0 before the first
_Place = tuple[int, int, int, str]
_BEGIN: _Place = (0, 0, 0, "")
#: after the boot's own epochs: batches of other epochs that carry samples of it
_CARRIED_STAGE = 1 << 62


@dataclass(slots=True)
class _Moved:
    """One batch that changes its place."""

    evidence_id: int
    epoch_no: int
    lane: int
    boot: Boot
    first_us: int
    last_us: int
    old_us: int
    new_us: int
    batch: Batch | None
    columns: list[Columns]


class ClockRepair:
    """Knows which boots are to be looked at, and does it; belongs to the store and its thread."""

    def __init__(self, db: sqlite3.Connection, identities: Identities, projector: Projector) -> None:
        """Takes the writer's connection and what works on it."""
        self._db = db
        self._identities = identities
        self._projector = projector
        self._minutes = Minutes(db, identities, projector)
        #: gateway -> newest arrival of a batch of a boot that nobody can date
        self._undated: dict[int, int] = {}
        #: boot -> when the last pass over it ended
        self._done: dict[int, int] = {}
        #: what gateways say against our own clock
        self.skew = ClockSkew()
        #: batches moved since the start
        self.moved = 0
        self.forget()

    def forget(self) -> None:
        """Drops what is held in memory, after a rollback."""
        self._is_read = self._is_changed = False
        self._boots: dict[int, _Place] = {}
        self._gateways: set[int] = set()
        #: boots that have moved again while a pass over them was under way
        self._again: set[int] = set()
        #: boots with a batch that explains itself otherwise than its boot, until a newer anchor decides
        self._apart: set[int] = set()
        #: (gateway, minute) with so many batches that they are rolled up when the pass is over
        self._crowded: set[tuple[int, int]] = set()

    def _read(self) -> None:
        if self._is_read:
            return
        self._is_read = True
        kept = read_meta(self._db, _META)
        try:
            document = json.loads(kept) if kept else {"boots": [], "again": [], "crowded": [], "gateways": []}
            self._boots = {int(no): (int(a), int(b), int(c), str(d)) for no, (a, b, c, d) in document["boots"]}
            self._again = {int(no) for no in document["again"]}
            self._apart = {int(no) for no in document.get("apart", [])}
            self._crowded = {(int(no), int(minute)) for no, minute in document["crowded"]}
            self._gateways = {int(no) for no in document["gateways"]}
        except (ValueError, TypeError, KeyError) as error:
            _LOG.error("what was noted for clock repair cannot be read (%s); 'collector rebuild' repairs all", error)

    def is_due(self, now_us: int) -> bool:
        """Returns whether there is something that can be done now."""
        self._read()
        return bool(self._crowded) or self._next(now_us) is not None

    def _next(self, now_us: int) -> int | None:
        """Returns the boot to go on with; a pass that has begun comes first."""
        begun = [boot_no for boot_no, place in self._boots.items() if place != _BEGIN]
        if begun or self._crowded:
            return begun[0] if begun else None
        for boot_no in self._boots:
            if not 0 <= now_us - self._done.get(boot_no, -_AGAIN_US) < _AGAIN_US:
                return boot_no
        return None

    def learn(
        self, gateway_no: int, boot: Boot, anchors: tuple[Anchor, ...], at_us: int, arrived_us: int, *, is_ask: bool
    ) -> Boot:
        """Takes what a batch or an ask says of its boot's clock; notes a boot whose batches may now lie elsewhere.

        Args:
            gateway_no: whose boot it is.
            boot: as it was known.
            anchors: of the batch, or the one of the ask.
            at_us: monotonic time of the sealing, or of the ask.
            arrived_us: UTC.
            is_ask: an ask is never old: its arrival is a bound on both sides.
        """
        self.skew.note(gateway_no, anchors, at_us, arrived_us)
        is_live = is_ask or boot.live_us is not None
        clock = improve(boot.clock, anchors, at_us, arrived_us, is_live=is_live)
        is_undated = not is_live and clock.trust is Trust.ARRIVAL
        if has_moved(boot.clock, clock) and not is_undated:
            self.want(boot.no)
        self._weigh(boot, clock, is_apart=not is_ask and is_apart(clock, anchors, at_us, arrived_us))
        if is_undated:
            self._undated[gateway_no] = arrived_us
            self._want_bracket(gateway_no)
        elif is_ask and boot.live_us is None:
            self._want_bracket(gateway_no)
            self._read()
            if boot.clock.trust is Trust.ARRIVAL or boot.no in self._apart:
                # What its arrivals told was not acted on while nobody could date it; now they are a bound.
                self.want(boot.no)
        if clock != boot.clock:
            boot = replace(boot, clock=clock)
            self._identities.keep_boot(gateway_no, boot)
        return boot

    def _weigh(self, boot: Boot, clock: BootClock, *, is_apart: bool) -> None:
        """Has a boot looked at when its clock decides about batches that had explained themselves otherwise."""
        self._read()
        before = boot.clock
        is_newer = clock.trust is Trust.TRUSTED and clock.anchor_us not in (None, before.anchor_us)
        is_tighter = (before.bound_us or 0) - (clock.bound_us or 0) > SLACK_US and boot.live_us is not None
        if boot.no in self._apart and (is_newer or is_tighter):
            self._apart.discard(boot.no)
            self._is_changed = True
            self.want(boot.no)
            is_apart = is_apart or not is_newer
        is_set_anew = clock.trust is not Trust.TRUSTED and has_changed(before, clock)
        if (is_apart or is_set_anew) and boot.no not in self._apart:
            self._apart.add(boot.no)
            self._is_changed = True

    def want(self, boot_no: int) -> None:
        """Has a boot looked at from its beginning; :meth:`write` keeps that."""
        self._read()
        place = self._boots.get(boot_no)
        if place is None:
            self._boots[boot_no] = _BEGIN
        elif place != _BEGIN and boot_no not in self._again:
            self._again.add(boot_no)
        else:
            return
        self._is_changed = True

    def _want_bracket(self, gateway_no: int) -> None:
        self._read()
        if gateway_no not in self._gateways:
            self._gateways.add(gateway_no)
            self._is_changed = True

    def write(self) -> None:
        """Keeps what is to be done, in the caller's transaction."""
        if self._is_changed:
            document = {
                "boots": list(self._boots.items()),
                "again": sorted(self._again),
                "apart": sorted(self._apart),
                "crowded": sorted(self._crowded),
                "gateways": sorted(self._gateways),
            }
            write_meta(self._db, _META, json.dumps(document))
            self._is_changed = False

    def step(self, now_us: int) -> int:
        """Does a bounded piece of what is due, in the caller's transaction.

        Returns:
            How many batches were moved.
        """
        self._read()
        for gateway_no in sorted(self._gateways):
            if now_us - self._undated.get(gateway_no, 0) >= _QUIET_US:
                self._gateways.discard(gateway_no)
                self._undated.pop(gateway_no, None)
                self._is_changed = True
                self._bracket(gateway_no, is_still=True)
        boot_no = self._next(now_us)
        moved = [] if boot_no is None else self._step_of(boot_no, now_us)
        if boot_no is None and self._crowded:
            gateway_no, minute = min(self._crowded)
            self._crowded.discard((gateway_no, minute))
            self._is_changed = True
            self._minutes.roll_up(gateway_no, {minute})
        self.write()
        self.moved += len(moved)
        return len(moved)

    # ---- one boot ---------------------------------------------------------------------------

    def _step_of(self, boot_no: int, now_us: int) -> list[_Moved]:
        row = self._db.execute("SELECT gateway_no, boot_id FROM boot WHERE no=?", (boot_no,)).fetchone()
        self._is_changed = True
        if row is None:
            del self._boots[boot_no]
            return []
        gateway_no, boot = row[0], self._identities.boot_named(*row)
        found, place = self._look(gateway_no, boot, self._boots[boot_no])
        self._place_again(gateway_no, found)
        if place is not None:
            self._boots[boot_no] = place
        else:
            del self._boots[boot_no]
            self._done[boot_no] = now_us
            if boot_no in self._again:
                self._again.discard(boot_no)
                self._boots[boot_no] = _BEGIN
            self._move_told(gateway_no, boot)
            self._bracket(gateway_no)
            _LOG.info("clock repair of boot %s is done", boot.boot_id.hex()[:8])
        return found

    def _look(self, gateway_no: int, boot: Boot, place: _Place) -> tuple[list[_Moved], _Place | None]:
        """Returns batches that change their place, and from where to go on; None at the end."""
        found: list[_Moved] = []
        minutes: set[int] = set()
        points = max(1, self._db.execute("SELECT count(*) FROM point WHERE gateway_no=?", (gateway_no,)).fetchone()[0])
        readings = 0
        for looked, row in enumerate(self._rows(gateway_no, boot.no, place), 1):
            place = (row[-1], row[2], row[3], row[4].hex())
            if row[5] == boot.no:
                item = self._judge(gateway_no, boot, row)
                if item is not None:
                    found.append(item)
                    readings += 0 if item.batch is None else item.batch.header.readings
                    minutes |= minutes_of(item.columns, item.old_us) | minutes_of(item.columns, item.new_us)
            is_enough = len(found) >= _MOVE or readings >= _READINGS or len(minutes) * points >= _ROWS
            if looked >= _LOOK or is_enough:
                return found, place
        return found, None

    def _rows(self, gateway_no: int, boot_no: int, place: _Place) -> Iterable[tuple[Any, ...]]:
        """Yields the evidence behind a place; a row's last column is the stage it belongs to."""
        epochs = self._db.execute(
            "SELECT epoch_no FROM epoch WHERE boot_no=? AND epoch_no>=? ORDER BY 1", (boot_no, place[0])
        ).fetchall()
        for (epoch_no,) in epochs:
            after = (place[1], place[2], bytes.fromhex(place[3])) if epoch_no == place[0] else (-1, 0, b"")
            yield from self._db.execute(_OF_EPOCH, (epoch_no, *after)).fetchmany(_LOOK)
        after = (place[1], place[2], bytes.fromhex(place[3])) if place[0] == _CARRIED_STAGE else (-1, 0, b"")
        yield from self._db.execute(_CARRIED, (_CARRIED_STAGE, gateway_no, boot_no, *after, boot_no)).fetchmany(_LOOK)

    def _judge(self, gateway_no: int, boot: Boot, row: tuple[Any, ...]) -> _Moved | None:
        """Returns a batch whose offset is off, by what is known now."""
        number, epoch_no, lane, _, _, _, catalogue_no, state, first_us, last_us, wall_us, arrived_us, envelope = row[
            :13
        ]
        try:
            batch = decode_batch(decode_payload(split(envelope)[1]), Lane(lane).type)
        except ContractError:
            return None  # refused as it came, or damaged since: nothing of it is placed anywhere
        old_us = wall_us - first_us
        new_us = offset_of(batch.header, arrived_us, boot.clock, is_live=boot.live_us is not None)
        is_own = new_us == own_offset(batch.header, arrived_us)
        if new_us == old_us or (not is_own and abs(new_us - old_us) <= SLACK_US):
            return None
        columns: list[Columns] = []
        if state == PROJECTED and batch.blocks and catalogue_no is not None:
            catalogue = self._identities.catalogue(gateway_no, batch.header.catalogue)
            columns = decode_columns(batch, catalogue[1]) if catalogue is not None else []
        return _Moved(number, epoch_no, lane, boot, first_us, last_us, old_us, new_us, batch, columns)

    # ---- placing again ----------------------------------------------------------------------

    def _place_again(self, gateway_no: int, found: Sequence[_Moved]) -> None:
        if not found:
            return
        self._db.executemany(
            "UPDATE evidence SET wall_us=first_us+? WHERE id=?", [(item.new_us, item.evidence_id) for item in found]
        )
        minutes: set[int] = set()
        for item in found:
            minutes |= minutes_of(item.columns, item.old_us) | minutes_of(item.columns, item.new_us)
            self._move_parts(gateway_no, item)
        floor = self._floor(gateway_no)
        minutes = {minute for minute in minutes if minute >= floor and (gateway_no, minute) not in self._crowded}
        crowded = {minute for minute in minutes if self._minutes.is_crowded(gateway_no, minute)}
        self._minutes.drop(gateway_no, crowded)
        self._crowded |= {(gateway_no, minute) for minute in crowded}
        self._minutes.roll_up(gateway_no, minutes - crowded)
        for epoch_no, lane in sorted({(item.epoch_no, item.lane) for item in found if item.columns}):
            self._span_chain(gateway_no, epoch_no, lane, [item for item in found if item.columns])
        self._projector.finish()

    def _move_parts(self, gateway_no: int, item: _Moved) -> None:
        """Moves what stands for itself: latest values, waveforms, visits, health, events."""
        of = (gateway_no, item.boot.no, item.first_us, item.last_us)
        if item.columns:
            self._db.execute(_LATEST, (item.new_us, *of, item.old_us))
            self._db.execute(_NUMBER, (item.new_us, *of, item.old_us))
        assert item.batch is not None
        if item.batch.waveforms:
            self._db.execute("UPDATE waveform SET wall_us=mono_us+? WHERE evidence_id=?",
                             (item.new_us, item.evidence_id))  # fmt: skip
        if item.batch.visits:
            self._db.execute("UPDATE visit SET wall_us=mono_us+? WHERE evidence_id=?", (item.new_us, item.evidence_id))
        if item.batch.upkeep:
            self._db.execute(
                "UPDATE upkeep SET wall_us=mono_us+? WHERE gateway_no=? AND boot_no=? AND mono_us=?",
                (item.new_us, gateway_no, item.boot.no, item.batch.header.sealed_us),
            )
        for record in item.batch.health:
            self._db.execute(
                "UPDATE health SET wall_us=mono_us+? WHERE gateway_no=? AND subject=? AND boot_no=? AND mono_us=?",
                (item.new_us, gateway_no, record.subject, item.boot.no, record.mono_us),
            )
        for event in item.batch.events:
            if event.boot_id == item.batch.header.boot_id:
                move_event(self._db, gateway_no, event, item.new_us, evidence_id=item.evidence_id)

    def _move_told(self, gateway_no: int, boot: Boot) -> None:
        """Moves events of a boot that only a statement has told of."""
        offset_us = boot.clock.offset_us
        rows = self._db.execute(
            "SELECT event, sampled_us FROM alarm_event WHERE gateway_no=? AND evidence_id IS NULL", (gateway_no,)
        ).fetchall()
        for raw, sampled_us in rows:
            event = AlarmEvent.from_wire(unpack(raw))
            if event.boot_id != boot.boot_id or offset_us is None:
                continue
            if abs(sampled_us - event.sampled_us - offset_us) > SLACK_US:
                move_event(self._db, gateway_no, event, offset_us, evidence_id=None)

    def _span_chain(self, gateway_no: int, epoch_no: int, lane: int, found: Sequence[_Moved]) -> None:
        """Says anew from when to when the samples of a chain are."""
        state = self._projector.chain(epoch_no, lane)
        own = [item for item in found if (item.epoch_no, item.lane) == (epoch_no, lane)]
        firsts = [item.first_us + item.new_us for item in own]
        lasts = [item.last_us + item.new_us for item in own]
        low = min([*firsts, *([] if state.first_sample_us is None else [state.first_sample_us])])
        high = max([*lasts, *([] if state.last_sample_us is None else [state.last_sample_us])])
        first = self._db.execute(_FIRST, (gateway_no, low, epoch_no, lane)).fetchone()
        last = self._db.execute(_LAST, (gateway_no, high, epoch_no, lane)).fetchone()
        pruned = self._db.execute(
            "SELECT envelope FROM checkpoint WHERE epoch_no=? AND lane=? ORDER BY seq DESC LIMIT 1", (epoch_no, lane)
        ).fetchone()
        begins = [] if first is None else [first[0]]
        if pruned is not None:
            oldest_us = read_checkpoint(pruned[0]).first_sample_us
            begins += [] if oldest_us is None else [oldest_us]
        state.first_sample_us = min(begins) if begins else state.first_sample_us
        state.last_sample_us = last[0] if last is not None and last[0] is not None else state.last_sample_us
        self._projector.seed_chain(epoch_no, lane, state)

    def _floor(self, gateway_no: int) -> int:
        """Returns the first minute of a gateway whose evidence is all here."""
        rows = self._db.execute(
            "SELECT c.envelope FROM checkpoint c JOIN epoch_name n ON n.no=c.epoch_no WHERE n.gateway_no=?",
            (gateway_no,),
        )
        return max((read_checkpoint(envelope).first_minute for (envelope,) in rows), default=0)

    # ---- boots that nobody can date ---------------------------------------------------------

    def _bracket(self, gateway_no: int, *, is_still: bool = False) -> None:
        """A boot that was never heard live ended before the next one began: no later can it lie.

        Args:
            gateway_no: whose boots they are.
            is_still: its backlog is over, and with it what its arrival told of them.
        """
        rows = self._db.execute(
            "SELECT boot_id FROM boot WHERE gateway_no=? AND counter>=0 ORDER BY rank DESC, no DESC", (gateway_no,)
        ).fetchall()
        after_us: int | None = None
        for (boot_id,) in rows:
            boot = self._identities.boot_named(gateway_no, boot_id)
            clock = boot.clock
            if boot.live_us is None and clock.trust is Trust.ARRIVAL and clock.offset_us is not None:
                if is_still:
                    self.want(boot.no)
                newest_us = self._db.execute(_NEWEST_SEAL, (boot.no,)).fetchone()[0]
                if after_us is not None and newest_us is not None and clock.offset_us > after_us - newest_us:
                    if clock.offset_us - (after_us - newest_us) > SLACK_US:
                        self.want(boot.no)
                    clock = replace(clock, offset_us=after_us - newest_us)
                    self._identities.keep_boot(gateway_no, replace(boot, clock=clock))
            if clock.offset_us is not None:
                # A boot's monotonic time begins at 0.
                after_us = clock.offset_us


def boots_in_repair(db: sqlite3.Connection, src: str) -> frozenset[int]:
    """Returns the numbers of the boots that are due, as a database says; none where that cannot be read."""
    return frozenset(item[0] for item in _noted(db, src, "boots"))


def minutes_in_repair(db: sqlite3.Connection, src: str) -> frozenset[tuple[int, int]]:
    """Returns (gateway, minute) of roll-ups that are not there until a pass is over."""
    return frozenset((item[0], item[1]) for item in _noted(db, src, "crowded"))


def _noted(db: sqlite3.Connection, src: str, name: str) -> list[list[Any]]:
    row = db.execute(f"SELECT value FROM {src}.meta WHERE key=?", (_META,)).fetchone()
    try:
        return [] if row is None else [[int(item[0]), item[1]] for item in json.loads(row[0])[name]]
    except (ValueError, TypeError, KeyError, IndexError):
        return []


_COLUMNS = """
SELECT e.id, e.epoch_no, e.lane, e.seq, e.digest, e.boot_no, e.catalogue_no, e.state, e.first_us, e.last_us, e.wall_us,
  e.arrived_us, e.envelope"""

_OF_EPOCH = f"""{_COLUMNS}, e.epoch_no FROM evidence e
WHERE e.epoch_no=? AND (e.lane, e.seq, e.digest) > (?,?,?) ORDER BY e.lane, e.seq, e.digest
"""

# Thinned and recovered batches of other epochs that carry samples of a boot, in an order of their own.
_CARRIED = f"""{_COLUMNS}, ? FROM evidence e
WHERE e.id IN (SELECT l.evidence_id FROM loss l JOIN epoch_name n ON n.no=l.epoch_no
               WHERE n.gateway_no=? AND l.cause IN ('thinned', '{RECOVERED}'))
  AND e.boot_no=? AND (e.lane, e.seq, e.digest) > (?,?,?)
  AND e.epoch_no NOT IN (SELECT p.epoch_no FROM epoch p WHERE p.boot_no=?)
ORDER BY e.lane, e.seq, e.digest
"""

_LATEST = """
UPDATE latest SET wall_us=mono_us+?1
WHERE gateway_no=?2 AND boot_no=?3 AND mono_us BETWEEN ?4 AND ?5 AND wall_us=mono_us+?6
"""

_NUMBER = """
UPDATE latest SET number_wall_us=number_mono_us+?1
WHERE gateway_no=?2 AND number_boot_no=?3 AND number_mono_us BETWEEN ?4 AND ?5 AND number_wall_us=number_mono_us+?6
"""

_FIRST = """
SELECT wall_us FROM evidence WHERE gateway_no=? AND wall_us>=? AND epoch_no=? AND lane=? AND state=0 AND readings>0
ORDER BY wall_us LIMIT 1
"""

# Batches overlap a little: the one that begins last need not be the one that ends last.
_LAST = """
SELECT max(ends) FROM (
  SELECT wall_us+last_us-first_us AS ends FROM evidence
  WHERE gateway_no=? AND wall_us<=? AND epoch_no=? AND lane=? AND state=0 AND readings>0
  ORDER BY wall_us DESC LIMIT 100)
"""

_NEWEST_SEAL = """
SELECT max(e.sealed_us) FROM epoch p JOIN evidence e ON e.epoch_no=p.epoch_no AND e.boot_no=p.boot_no
WHERE p.boot_no=? AND e.seq>=(SELECT max(x.seq) FROM evidence x WHERE x.epoch_no=e.epoch_no AND x.lane=e.lane)
"""
