"""Evidence into projections: one way, used by the store, by ``rebuild`` and by ``verify``.

A :class:`Projector` works inside somebody else's transaction on somebody else's connection.
It is told of verified batches only, each exactly once, in any order.  It keeps the ledgers
of recently touched chains in memory; after a rolled back transaction it must be forgotten
(:meth:`Projector.forget`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from collector.alarm_log import apply_event
from collector.chain import EMPTY, Entry, Ledger, add, add_next, cover
from collector.identities import Boot, Identities
from collector.inhibit_log import apply_inhibit
from collector.project import Form, Gathering, Place, read_form
from collector.upkeep import apply_upkeep, apply_visit
from collector.waveforms import apply_waveform
from contracts.batch import AlarmEvent, Batch, Header, HealthRecord, Lane, LossRecord, Origin
from contracts.catalogue import Catalogue
from contracts.columns import Columns

#: ledgers kept in memory
MAX_CHAINS = 4096
#: cause in table ``loss`` of a range whose samples came back in a batch recovered from a damaged store
RECOVERED = "recovered"


def is_recovered(loss: LossRecord) -> bool:
    """Returns whether a record names the batch that brings its samples back whole."""
    return loss.cause == "damaged" and loss.thinned_into is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One evidence row, as far as the projections care."""

    evidence_id: int
    gateway_no: int
    epoch_no: int
    digest: bytes
    boot: Boot
    offset_us: int
    arrived_us: int
    #: monotonic us of the oldest and newest sample
    first_us: int
    last_us: int


@dataclass(slots=True)
class ChainState:
    """The row of one chain while a transaction runs."""

    ledger: Ledger = EMPTY
    known: int = 0
    batches: int = 0
    readings: int = 0
    first_sample_us: int | None = None
    last_sample_us: int | None = None
    #: newest batch added in order: (seq, digest), so that the next one needs no look-up
    tail: tuple[int, bytes] | None = None


@dataclass(slots=True)
class Touched:
    """What a transaction changed."""

    chains: set[tuple[int, int]]
    points: list[tuple[int, str]]
    #: (gateway, id)
    alarms: set[tuple[int, bytes]]
    #: epochs of these chains whose ledgers know two contents for one number
    forked: set[int]


class Projector:
    """Applies batches to every projection."""

    def __init__(self, connection: sqlite3.Connection, identities: Identities) -> None:
        self._db = connection
        self._identities = identities
        self._chains: dict[tuple[int, int], ChainState] = {}
        self._forms: dict[int, Form] = {}
        self._begin()

    def _begin(self) -> None:
        self._gathering, self._again = Gathering(), Gathering()
        self._points: list[tuple[int, str]] = []
        self._dirty: set[tuple[int, int]] = set()
        self._alarms: set[tuple[int, bytes]] = set()
        self._epochs: dict[int, tuple[int, int, int, int]] = {}

    def forget(self) -> None:
        """Drops everything held in memory, after a rollback."""
        self._chains.clear()
        self._forms.clear()
        self._begin()

    def chain(self, epoch_no: int, lane: int) -> ChainState:
        """Returns the state of a chain; an empty one when there is none yet."""
        state = self._chains.get((epoch_no, lane))
        if state is None:
            if len(self._chains) >= MAX_CHAINS:
                self._chains = {key: held for key, held in self._chains.items() if key in self._dirty}
            state = self._chains[epoch_no, lane] = self._read_chain(epoch_no, lane)
        return state

    def _read_chain(self, epoch_no: int, lane: int) -> ChainState:
        row = self._db.execute(
            "SELECT ranges, forks, breaks, known, batches, readings, first_sample_us, last_sample_us"
            " FROM chain WHERE epoch_no=? AND lane=?",
            (epoch_no, lane),
        ).fetchone()
        if row is None:
            return ChainState()
        return ChainState(Ledger.from_text(*row[:3]), *row[3:])

    def seed_chain(self, epoch_no: int, lane: int, state: ChainState) -> None:
        """Begins a chain where a checkpoint stands for everything before."""
        self._chains[epoch_no, lane] = state
        self._dirty.add((epoch_no, lane))

    # ---- one batch --------------------------------------------------------------------------

    def apply(
        self, facts: Facts, batch: Batch, columns: Sequence[Columns], catalogue: tuple[int, Catalogue] | None
    ) -> None:
        """Projects one batch; ``catalogue`` is (number, content), None when there are no blocks."""
        header = batch.header
        self._seen(facts, header)
        before = self.chain(facts.epoch_no, int(header.lane))
        was_held = before.tail != (header.seq - 1, header.previous) and before.ledger.holds(header.seq)
        state = self._add_to_chain(facts, header)
        if columns and catalogue is not None:
            place = Place(facts.boot.rank, facts.boot.no, facts.offset_us)
            is_copy = header.origin is Origin.THINNED or self.has_come(facts, batch, was_held=was_held)
            add = self._gathering.add_thinned if is_copy else self._gathering.add
            add(self.form(facts.gateway_no, *catalogue), place, columns)
            first, last = facts.first_us + facts.offset_us, facts.last_us + facts.offset_us
            state.readings += header.readings
            state.first_sample_us = first if state.first_sample_us is None else min(first, state.first_sample_us)
            state.last_sample_us = last if state.last_sample_us is None else max(last, state.last_sample_us)
        self._apply_sections(facts, batch)

    def has_come(self, facts: Facts, batch: Batch, *, was_held: bool) -> bool:
        """Returns whether the samples of a batch came before: in it, or in a batch recovered from it.

        Whichever of them came first counts; of the others the samples are taken as those of a thinned
        batch are, so that nothing is counted twice whatever the order.
        """
        header = batch.header
        places = [(facts.epoch_no, int(header.lane), header.seq, facts.digest)] if was_held else []
        if header.origin is Origin.RECOVERED:
            places += [
                (self._identities.epoch_no(facts.gateway_no, loss.epoch), int(loss.lane), loss.last, loss.digest)
                for loss in batch.losses
                if is_recovered(loss)
            ]
        return any(
            self._db.execute(_EARLIER, (*place, facts.evidence_id) * 2 + place[:3]).fetchone() is not None
            for place in places
        )

    def apply_early(self, facts: Facts, batch: Batch) -> None:
        """Projects what a batch says for itself while its blocks wait for their catalogue.

        It is not yet accounted for in its chain; :meth:`apply` comes later.
        """
        self._seen(facts, batch.header)
        self._apply_sections(facts, batch)

    def refuse(self, facts: Facts, header: Header, batch: Batch | None) -> None:
        """Accounts for a refused batch.

        Where only its blocks do not fit the catalogue, ``batch`` still says what it says for itself,
        as it would have while it waited; None where the content does not decode at all.
        """
        self._seen(facts, header)
        self._add_to_chain(facts, header)
        if batch is not None:
            self._apply_sections(facts, batch)

    def apply_again(
        self, facts: Facts, batch: Batch, columns: Sequence[Columns], catalogue: tuple[int, Catalogue] | None
    ) -> None:
        """Takes in a projected batch once more whose boot got another rank.

        What is newest may change by it; sums, chains and losses do not.
        """
        self._flush()
        if columns and catalogue is not None:
            place = Place(facts.boot.rank, facts.boot.no, facts.offset_us)
            self._again.add(self.form(facts.gateway_no, *catalogue), place, columns)
        for event in batch.events:
            self._apply_event(facts, event, facts.evidence_id)
        for event in batch.statement.events if batch.statement is not None else ():
            self._apply_event(facts, event, None)
        for record in batch.health:
            self._apply_health(facts, record)
        self._apply_standing(facts, batch)

    def form(self, gateway_no: int, catalogue_no: int, catalogue: Catalogue) -> Form:
        """Returns the points of a catalogue."""
        form = self._forms.get(catalogue_no)
        if form is None:
            form = self._forms[catalogue_no] = read_form(self._db, gateway_no, catalogue)
        return form

    def _apply_sections(self, facts: Facts, batch: Batch) -> None:
        for event in batch.events:
            self._apply_event(facts, event, facts.evidence_id)
        if batch.statement is not None:
            for event in batch.statement.events:
                self._apply_event(facts, event, None)
        for record in batch.health:
            self._apply_health(facts, record)
        for loss in batch.losses:
            self._apply_loss(facts, loss)
        for waveform in batch.waveforms:
            apply_waveform(
                self._db,
                waveform,
                gateway_no=facts.gateway_no,
                boot_no=facts.boot.no,
                offset_us=facts.offset_us,
                evidence_id=facts.evidence_id,
            )
        for visit in batch.visits:
            apply_visit(
                self._db,
                visit,
                gateway_no=facts.gateway_no,
                boot_no=facts.boot.no,
                sealed_us=batch.header.sealed_us,
                offset_us=facts.offset_us,
                evidence_id=facts.evidence_id,
            )
        self._apply_standing(facts, batch)

    def _apply_standing(self, facts: Facts, batch: Batch) -> None:
        """Takes in what is stated of points, of which only the newest counts."""
        gateway_no, order = facts.gateway_no, (facts.boot.rank, facts.boot.no, batch.header.sealed_us)
        for said in batch.upkeep:
            apply_upkeep(self._db, said, gateway_no=gateway_no, order=order, offset_us=facts.offset_us)
        for inhibit in batch.inhibits:
            if apply_inhibit(self._db, inhibit, gateway_no=gateway_no, order=order, evidence_id=facts.evidence_id):
                self._points.append((gateway_no, inhibit.point))

    def _apply_event(self, facts: Facts, event: AlarmEvent, evidence_id: int | None) -> None:
        boot, offset_us = facts.boot, facts.offset_us
        if event.boot_id != boot.boot_id:
            boot = self._identities.boot_named(facts.gateway_no, event.boot_id)
            known = boot.clock.offset_us
            # An unknown boot lies before this one: its times are shown as of this boot's start.
            offset_us = known if known is not None else facts.offset_us - event.judged_us
        if apply_event(
            self._db,
            event,
            gateway_no=facts.gateway_no,
            rank=boot.rank,
            boot_no=boot.no,
            offset_us=offset_us,
            evidence_id=evidence_id,
        ):
            self._alarms.add((facts.gateway_no, event.raised_by))

    def apply_statement(self, facts: Facts, events: Sequence[AlarmEvent]) -> bool:
        """Takes the statement of an ask; returns whether it told anything new."""
        before = len(self._alarms)
        for event in events:
            self._apply_event(facts, event, None)
        return len(self._alarms) != before

    def _apply_health(self, facts: Facts, record: HealthRecord) -> None:
        text = json.dumps(dict(record.facts), ensure_ascii=False, separators=(",", ":"))
        self._db.execute(
            _HEALTH,
            (
                facts.gateway_no,
                record.subject,
                facts.boot.rank,
                facts.boot.no,
                record.mono_us,
                record.mono_us + facts.offset_us,
                text,
            ),
        )

    def _apply_loss(self, facts: Facts, loss: LossRecord) -> None:
        epoch_no = self._identities.epoch_no(facts.gateway_no, loss.epoch)
        lane = int(loss.lane)
        cause = RECOVERED if is_recovered(loss) else loss.cause
        self._db.execute(
            _LOSS, (epoch_no, lane, loss.first, loss.last, loss.digest, loss.readings, cause, facts.evidence_id)
        )
        state = self.chain(epoch_no, lane)
        state.ledger = cover(state.ledger, loss.first, loss.last, lambda seq: self.entries(epoch_no, lane, seq))
        state.tail = None
        self._dirty.add((epoch_no, lane))

    # ---- chains -----------------------------------------------------------------------------

    def _add_to_chain(self, facts: Facts, header: Header) -> ChainState:
        lane, seq = int(header.lane), header.seq
        state = self.chain(facts.epoch_no, lane)
        ledger = None
        if state.tail == (seq - 1, header.previous):
            ledger = add_next(state.ledger, seq)
        if ledger is None:
            ledger = add(state.ledger, seq, lambda at: self.entries(facts.epoch_no, lane, at))
        state.ledger = ledger
        if ledger.newest == seq:
            state.tail = (seq, facts.digest)
        state.batches += 1
        self._dirty.add((facts.epoch_no, lane))
        if header.other.seq:
            other = self.chain(facts.epoch_no, 1 - lane)
            if header.other.seq > other.known:
                other.known = header.other.seq
                self._dirty.add((facts.epoch_no, 1 - lane))
        return state

    def entries(self, epoch_no: int, lane: int, seq: int) -> list[Entry]:
        """Returns everything that speaks for one seq; waiting batches do not yet."""
        batches = self._db.execute(
            "SELECT digest, previous FROM evidence WHERE epoch_no=? AND lane=? AND seq=? AND state<>1",
            (epoch_no, lane, seq),
        )
        found = [Entry(digest, previous) for digest, previous in batches]
        losses = self._db.execute(
            "SELECT digest FROM loss WHERE epoch_no=? AND lane=? AND last=?", (epoch_no, lane, seq)
        )
        pruned = self._db.execute(
            "SELECT digest FROM checkpoint WHERE epoch_no=? AND lane=? AND seq=?", (epoch_no, lane, seq)
        )
        return found + [Entry(digest, None) for (digest,) in (*losses, *pruned)]

    def _seen(self, facts: Facts, header: Header) -> None:
        is_volatile = int(header.origin is Origin.VOLATILE)
        held = self._epochs.get(facts.epoch_no)
        first = facts.arrived_us if held is None else min(held[1], facts.arrived_us)
        last = facts.arrived_us if held is None else max(held[2], facts.arrived_us)
        self._epochs[facts.epoch_no] = (facts.boot.no, first, last, max(is_volatile, held[3] if held else 0))
        genesis = header.genesis
        if genesis is None:
            return
        parent = genesis.parent
        self._write_epoch(facts.epoch_no)
        self._db.execute(
            "UPDATE epoch SET version=?, reason=?, parent=?, parent_alarm_seq=?, parent_data_seq=? WHERE epoch_no=?",
            (genesis.version, genesis.reason)
            + ((None, None, None) if parent is None else (parent.epoch, parent.alarm.seq, parent.data.seq))
            + (facts.epoch_no,),
        )

    def _write_epoch(self, epoch_no: int) -> None:
        boot_no, first, last, is_volatile = self._epochs[epoch_no]
        self._db.execute(_EPOCH, (epoch_no, boot_no, is_volatile, first, last))

    # ---- end of a transaction ---------------------------------------------------------------

    def finish(self) -> Touched:
        """Writes what was gathered; the caller commits."""
        self._flush()
        self._points += self._again.write(self._db, with_rollups=False)
        for epoch_no in self._epochs:
            self._write_epoch(epoch_no)
        rows = []
        for epoch_no, lane in self._dirty:
            state = self._chains[epoch_no, lane]
            rows.append(
                (
                    epoch_no,
                    lane,
                    state.ledger.newest,
                    state.known,
                    state.batches,
                    state.readings,
                    state.first_sample_us,
                    state.last_sample_us,
                    *state.ledger.to_text(),
                )
            )
        self._db.executemany(_CHAIN, rows)
        forked = {epoch_no for epoch_no, lane in self._dirty if self._chains[epoch_no, lane].ledger.forks}
        touched = Touched(self._dirty, self._points, self._alarms, forked)
        self._begin()
        return touched

    def _flush(self) -> None:
        self._points += self._gathering.write(self._db)
        self._gathering = Gathering()

    @property
    def dirty(self) -> set[tuple[int, int]]:
        """The chains that this transaction changed so far."""
        return self._dirty


def lane_name(lane: int) -> str:
    """Returns ``alarm`` or ``data``."""
    return Lane(lane).name.lower()


# A batch that came before and is projected; one recovered from it; or a checkpoint that stands for it.
_EARLIER = f"""
SELECT 1 FROM evidence WHERE epoch_no=? AND lane=? AND seq=? AND digest=? AND id<? AND state=0
UNION ALL
SELECT 1 FROM loss l JOIN evidence e ON e.id=l.evidence_id
WHERE l.epoch_no=? AND l.lane=? AND l.last=? AND l.digest=? AND e.id<? AND e.state=0 AND l.cause='{RECOVERED}'
UNION ALL
SELECT 1 FROM checkpoint WHERE epoch_no=? AND lane=? AND seq>=?
"""

_LOSS = f"""
INSERT INTO loss(epoch_no, lane, first, last, digest, readings, cause, evidence_id) VALUES(?,?,?,?,?,?,?,?)
ON CONFLICT DO UPDATE SET readings=excluded.readings, cause=excluded.cause, evidence_id=excluded.evidence_id
WHERE excluded.cause='{RECOVERED}' AND loss.cause<>'{RECOVERED}'
"""

_CHAIN = """
INSERT INTO chain(epoch_no, lane, newest, known, batches, readings, first_sample_us, last_sample_us,
                  ranges, forks, breaks)
VALUES(?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT(epoch_no, lane) DO UPDATE SET newest=excluded.newest, known=excluded.known, batches=excluded.batches,
  readings=excluded.readings, first_sample_us=excluded.first_sample_us, last_sample_us=excluded.last_sample_us,
  ranges=excluded.ranges, forks=excluded.forks, breaks=excluded.breaks
"""

_EPOCH = """
INSERT INTO epoch(epoch_no, boot_no, version, reason, is_volatile, first_arrived_us, last_arrived_us)
VALUES(?,?,'','',?,?,?)
ON CONFLICT(epoch_no) DO UPDATE SET is_volatile=max(is_volatile, excluded.is_volatile),
  first_arrived_us=min(first_arrived_us, excluded.first_arrived_us),
  last_arrived_us=max(last_arrived_us, excluded.last_arrived_us)
"""

_HEALTH = """
INSERT INTO health(gateway_no, subject, rank, boot_no, mono_us, wall_us, facts) VALUES(?,?,?,?,?,?,?)
ON CONFLICT(gateway_no, subject) DO UPDATE SET rank=excluded.rank, boot_no=excluded.boot_no, mono_us=excluded.mono_us,
  wall_us=excluded.wall_us, facts=excluded.facts
WHERE (excluded.rank, excluded.boot_no, excluded.mono_us) > (health.rank, health.boot_no, health.mono_us)
"""
