"""Replay: the whole evidence, verified again, through the projector, in order of arrival.

``rebuild`` replays into the database itself and takes the best offset that each boot is
known to have by now; ``verify`` replays into a scratch database with the offsets that the
projections used, and compares.  What rests on evidence that retention has dropped cannot
be made again; :data:`UNPROVABLE` says which rows those are, and they are carried over.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from collector.alarm_log import apply_event
from collector.chain import Ledger
from collector.clock_repair import boots_in_repair
from collector.evidence import PROJECTED, REFUSED, WAITING, span
from collector.facts import shown
from collector.identities import Boot, Identities
from collector.ingest import Keys, decode_bounded_batch, decode_columns
from collector.projector import ChainState, Facts, Projector
from collector.retention import Checkpoint, read_checkpoint
from collector.walltime import offset_of, own_offset
from contracts.batch import AlarmEvent, Batch, Header, Lane
from contracts.catalogue import Catalogue
from contracts.columns import Columns
from contracts.envelope import Type, open_envelope
from contracts.errors import ContractError
from contracts.fields import Fields, unpack
from contracts.keys import Verifier
from contracts.messages import Ask

#: evidence rows read at a time, and batches gathered between two writes
_CHUNK = 256

#: first minute of a gateway whose evidence is all here
_FLOOR = "coalesce((SELECT max(f.minute) FROM temp.floor f WHERE f.gateway_no={table}.gateway_no), 0)"
#: rows of a gateway some of whose evidence was dropped, and theirs with it
_GONE = (
    "evidence_id NOT IN (SELECT e.id FROM {src}.evidence e) AND typeof(evidence_id)='integer'"
    " AND gateway_no IN (SELECT f.gateway_no FROM temp.floor f)"
)
#: per projection the rows that dropped evidence alone could prove; ``{src}`` is the schema
UNPROVABLE = {
    "point": "1",
    "epoch": "epoch_no IN (SELECT c.epoch_no FROM {src}.checkpoint c)",
    "loss": "evidence_id NOT IN (SELECT e.id FROM {src}.evidence e) AND typeof(evidence_id)='integer'"
    " AND epoch_no IN (SELECT n.no FROM {src}.epoch_name n JOIN temp.floor f ON f.gateway_no=n.gateway_no)",
    "waveform": "evidence_id NOT IN (SELECT e.id FROM {src}.evidence e) AND typeof(evidence_id)='integer'"
    " AND typeof(wall_us)='integer' AND wall_us/60000000 < " + _FLOOR.format(table="waveform"),
    # By no time: a visit is sealed after the samples that its batch is measured by.
    "visit": _GONE,
    "inhibit": _GONE,
    "upkeep": "wall_us/60000000 < " + _FLOOR.format(table="upkeep"),
    "latest": "wall_us/60000000 < " + _FLOOR.format(table="latest"),
    "health": "wall_us/60000000 < " + _FLOOR.format(table="health"),
    "rollup": "minute < coalesce((SELECT max(f.minute) FROM temp.floor f"
    " JOIN {src}.point p ON p.gateway_no=f.gateway_no WHERE p.no=rollup.point_no), 0)",
    "alarm_event": "typeof(event)='blob' AND typeof(sampled_us)='integer' AND sampled_us/60000000 < "
    + _FLOOR.format(table="alarm_event")
    + " AND (evidence_id IS NULL"
    " OR (typeof(evidence_id)='integer' AND evidence_id NOT IN (SELECT e.id FROM {src}.evidence e)))",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One evidence row that is not what was signed, described by its index columns and its neighbours."""

    evidence_id: int
    gateway: str
    epoch: bytes
    lane: int
    seq: int
    reason: str
    gateway_no: int
    epoch_no: int
    catalogue_no: int | None
    #: UTC, by the index columns; None where those are no numbers
    first_us: int | None
    last_us: int | None
    readings: int
    #: keys of the points that its catalogue lists
    points: tuple[str, ...]


@dataclass(slots=True)
class Outcome:
    """What a replay met."""

    batches: int = 0
    readings: int = 0
    damaged: list[Damage] = field(default_factory=list)
    #: sentences about facts beside the evidence (index columns, catalogues, checkpoints)
    wrong_facts: list[str] = field(default_factory=list)
    #: batches whose wall time rests on arrival or on another batch of the boot
    borrowed_time: int = 0


class Replay:
    """One pass over the evidence of schema ``src`` into the projections of schema ``main``."""

    def __init__(
        self,
        db: sqlite3.Connection,
        src: str,
        keys: Keys,
        own_keys: dict[bytes, Verifier],
        *,
        repair: bool,
        progress: Callable[[int], None] = lambda batches: None,
    ) -> None:
        """Takes a connection inside a transaction.

        Args:
            db: ``main`` holds the projections to be made.
            src: schema that holds the evidence; ``main`` for a rebuild.
            keys: of the gateways.
            own_keys: of the collector, for checkpoints.
            repair: take the best offset known by now, and write it into the evidence's index.
            progress: told now and then how many batches are done.
        """
        self._db = db
        self._src = src
        self._keys = keys
        self._own = own_keys
        self._repair = repair
        self._progress = progress
        self._identities = Identities(db)
        self._projector = Projector(db, self._identities)
        self._gateways: dict[int, str] = {}
        #: epoch number -> gateway number
        self._epochs: dict[int, int] = {}
        self._catalogues: dict[int, Catalogue] = {}
        self._by_hash: dict[tuple[int, bytes], int] = {}
        #: boots whose batches are being given other offsets while we look
        self._in_repair = boots_in_repair(db, src)
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Replays everything; projections of ``main`` must be empty but for what is unprovable."""
        src = self._src
        self._gateways = dict(self._db.execute(f"SELECT no, id FROM {src}.gateway"))
        self._epochs = dict(self._db.execute(f"SELECT no, gateway_no FROM {src}.epoch_name"))
        self._read_catalogues()
        self._seed_chains()
        self._refeed_events()
        for row in self._rows():
            self._take(row)
            self.outcome.batches += 1
            if self.outcome.batches % _CHUNK == 0:
                self._projector.finish()
                self._progress(self.outcome.batches)
        self._take_asks()
        self._projector.finish()
        return self.outcome

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        last = 0
        while True:
            rows = self._db.execute(_EVIDENCE.format(src=self._src), (last, _CHUNK)).fetchall()
            if not rows:
                return
            yield from rows
            last = rows[-1][0]

    # ---- before the batches -----------------------------------------------------------------

    def _read_catalogues(self) -> None:
        rows = self._db.execute(f"SELECT no, gateway_no, hash, envelope FROM {self._src}.catalogue").fetchall()
        for no, gateway_no, hash, envelope in rows:
            gateway = self._gateways.get(gateway_no, "")
            try:
                opened = open_envelope(envelope, Type.CATALOGUE, self._keys(gateway) or {})
                catalogue = Catalogue.from_body(opened.body)
                if catalogue.hash != hash:
                    raise ContractError("its hash is not the one it is kept under")
            except ContractError as error:
                self.outcome.wrong_facts.append(f"catalogue {shown(hash)[:16]} of {gateway}: {error}")
                continue
            self._catalogues[no] = catalogue
            self._by_hash[gateway_no, catalogue.hash] = no

    def _seed_chains(self) -> None:
        rows = self._db.execute(
            f"SELECT c.epoch_no, c.lane, c.seq, c.digest, c.envelope, g.id, n.epoch FROM {self._src}.checkpoint c"
            f" JOIN {self._src}.epoch_name n ON n.no=c.epoch_no JOIN {self._src}.gateway g ON g.no=n.gateway_no"
            " ORDER BY c.seq"
        ).fetchall()
        for epoch_no, lane, seq, digest, envelope, gateway, epoch in rows:
            try:
                point = Checkpoint.from_body(open_envelope(envelope, Type.CHECKPOINT, self._own).body)
                if (point.gateway, point.epoch, int(point.lane), point.seq, point.digest) != (
                    gateway, epoch, lane, seq, digest,
                ):  # fmt: skip
                    raise ContractError("it is not the one that was signed")
            except ContractError as error:
                self.outcome.wrong_facts.append(f"checkpoint of {gateway}, batch {seq}: {error}")
                continue
            state = ChainState(
                ledger=Ledger(ranges=((1, seq),)),
                batches=point.batches,
                readings=point.readings,
                first_sample_us=point.first_sample_us,
                last_sample_us=self._db.execute(
                    "SELECT max(us) FROM temp.newest WHERE epoch_no=? AND lane=?", (epoch_no, lane)
                ).fetchone()[0],
            )
            self._projector.seed_chain(epoch_no, lane, state)

    def _refeed_events(self) -> None:
        """Makes the alarms again whose events were carried over."""
        rows = self._db.execute("SELECT gateway_no, event, sampled_us, evidence_id FROM main.alarm_event").fetchall()
        for gateway_no, raw, sampled_us, evidence_id in rows:
            event = AlarmEvent.from_wire(unpack(raw))
            boot = self._identities.boot_named(gateway_no, event.boot_id)
            apply_event(
                self._db, event, gateway_no=gateway_no, rank=boot.rank, boot_no=boot.no,
                offset_us=sampled_us - event.sampled_us, evidence_id=evidence_id,
            )  # fmt: skip

    # ---- one batch --------------------------------------------------------------------------

    def _take(self, row: tuple[Any, ...]) -> None:
        (id, epoch_no, lane, seq, digest, previous, gateway_no, _, _, state, _) = row[:11]
        readings, sealed_us, first_us, _, wall_us, arrived_us, envelope, epoch = row[11:]
        gateway = self._gateways.get(gateway_no, "")
        if not all(type(row[index]) is int for index in _INTEGERS):
            self._damaged(row, "a column of the table is no integer")
            return
        if self._epochs.get(epoch_no) != gateway_no:
            self._damaged(row, "the table lists it under an epoch that its gateway does not have")
            return
        try:
            type_ = Lane(lane).type
            opened = open_envelope(envelope, type_, self._keys(gateway) or {})
            header = _read_header(opened.body)
        except (ContractError, ValueError) as error:
            self._damaged(row, str(error))
            return
        compared = (
            ("gateway", gateway, header.gateway),
            ("epoch", epoch, header.epoch),
            ("seq", seq, header.seq),
            ("digest", digest, opened.digest),
            ("previous", previous, header.previous),
            ("readings", readings, header.readings),
            ("sealed_us", sealed_us, header.sealed_us),
        )
        wrong = [
            f"{name}: {_plain(said)}, signed: {_plain(signed)}" for name, said, signed in compared if said != signed
        ]
        if wrong:
            self._damaged(row, "the signed bytes are those of another batch than the table says; " + "; ".join(wrong))
            return
        true_no = self._by_hash.get((gateway_no, header.catalogue))
        batch, columns, found_code = self._decode(opened.body, type_, true_no)
        boot = self._identities.boot(gateway_no, header.boot_id, header.boot_counter)
        true_first, true_last = span(header, columns)
        offset_us = wall_us - first_us
        own = own_offset(header, arrived_us)
        better_us = offset_of(header, arrived_us, boot.clock, is_live=boot.live_us is not None)
        if self._repair:
            offset_us = better_us
            self._db.execute(
                "UPDATE main.evidence SET first_us=?, last_us=?, wall_us=?, boot_no=? WHERE id=?",
                (true_first, true_last, true_first + offset_us, boot.no, id),
            )
        else:
            # A signed anchor says what the offset is, unless more is known of the boot, or becomes known just now.
            is_borrowed = own is None or own != better_us or boot.no in self._in_repair
            own = None if is_borrowed else own
            self._check_index(row, boot, header, (true_first, true_last), own, true_no)
            offset_us = own if own is not None else offset_us
        if own is None:
            self.outcome.borrowed_time += 1
        facts = Facts(
            evidence_id=id, gateway_no=gateway_no, epoch_no=epoch_no, digest=digest, boot=boot, offset_us=offset_us,
            arrived_us=arrived_us, first_us=true_first, last_us=true_last,
        )  # fmt: skip
        is_waiting = state == WAITING and true_no is None
        if self._src != "main":
            self._db.execute(
                "INSERT INTO main.evidence(id, epoch_no, lane, seq, digest, previous, state) VALUES(?,?,?,?,?,?,?)",
                (id, epoch_no, lane, seq, digest, previous, WAITING if is_waiting else PROJECTED),
            )
        elif state == WAITING and not is_waiting:
            self._db.execute("UPDATE main.evidence SET state=?, catalogue_no=? WHERE id=?", (PROJECTED, true_no, id))
            self._db.execute("DELETE FROM main.waiting WHERE evidence_id=?", (id,))
        if batch is not None and is_waiting:
            self._expect_state(row, WAITING)
            self._projector.apply_early(facts, batch)
        elif batch is None or found_code is not None:
            self._expect_state(row, REFUSED)
            self._projector.refuse(facts, header, batch)
        else:
            self._expect_state(row, PROJECTED)
            if batch.blocks and true_no is None:
                self.outcome.wrong_facts.append(f"{self._name(row)}: its catalogue is not here")
            catalogue = None if true_no is None else (true_no, self._catalogues[true_no])
            self._projector.apply(facts, batch, columns, catalogue)
            self.outcome.readings += header.readings

    def _decode(
        self, body: bytes, type: Type, catalogue_no: int | None
    ) -> tuple[Batch | None, list[Columns], str | None]:
        """Returns the batch (None if it does not decode), its samples, and the code if it is to be refused."""
        try:
            batch = decode_bounded_batch(body, type)
        except ContractError as error:
            return None, [], error.code
        if not batch.blocks or catalogue_no is None:
            return batch, [], None
        try:
            return batch, decode_columns(batch, self._catalogues[catalogue_no]), None
        except ContractError as error:
            return batch, [], error.code

    def _check_index(
        self,
        row: tuple[Any, ...],
        boot: Boot,
        header: Header,
        span_us: tuple[int, int],
        own: int | None,
        catalogue_no: int | None,
    ) -> None:
        first_us, last_us, wall_us, state = row[13], row[14], row[15], row[9]
        wrong = []
        if row[7] != boot.no:
            wrong.append(f"boot (the table says {row[7]}, the signed bytes name boot {boot.no})")
        if boot.counter != header.boot_counter:
            wrong.append(f"boot counter (the table says {boot.counter}, the signed bytes {header.boot_counter})")
        if row[8] != catalogue_no and (row[8] is not None or (state == PROJECTED and header.catalogue)):
            wrong.append(f"catalogue (the table says {row[8]}, the signed bytes name {header.catalogue.hex()[:16]})")
        if state == PROJECTED and (first_us, last_us) != span_us:
            wrong.append(f"times (the table says {first_us}..{last_us}, the signed bytes {span_us[0]}..{span_us[1]})")
        if own is not None and wall_us - first_us != own:
            wrong.append(f"UTC offset (the table says {wall_us - first_us}, the signed anchor {own})")
        if state != REFUSED and row[10] is not None:
            wrong.append(f"code (the table says {row[10]!r} of a batch that is not refused)")
        for text in wrong:
            self.outcome.wrong_facts.append(f"index of {self._name(row)}: {text}")

    def _name(self, row: tuple[Any, ...]) -> str:
        gateway = self._gateways.get(row[6], "?")
        return f"{gateway}, {_lane(row[2])} lane, epoch {shown(row[18])}, batch {row[3]}"

    def _expect_state(self, row: tuple[Any, ...], expected: int) -> None:
        if row[9] != expected:
            said = _STATES[row[9]] if row[9] in _STATES else f"state {row[9]}"
            text = f"{self._name(row)} is listed as {said}, and by its signed bytes it is {_STATES[expected]}"
            self.outcome.wrong_facts.append(text)

    def _damaged(self, row: tuple[Any, ...], reason: str) -> None:
        catalogue = self._catalogues.get(row[8]) if row[8] is not None else None
        # The epoch knows whose batch it is, also where the row itself says something else.
        gateway_no = self._epochs.get(row[1], row[6])
        wall_us, length_us = (
            (row[15], row[14] - row[13]) if all(type(row[i]) is int for i in (13, 14, 15)) else (None, 0)
        )
        self.outcome.damaged.append(
            Damage(
                evidence_id=row[0],
                gateway=self._gateways.get(gateway_no, "?"),
                epoch=row[18] if isinstance(row[18], bytes) else b"",
                lane=row[2],
                seq=row[3],
                reason=reason,
                gateway_no=gateway_no,
                epoch_no=row[1],
                catalogue_no=row[8],
                first_us=wall_us,
                last_us=None if wall_us is None else wall_us + length_us,
                readings=row[11],
                points=tuple(point.key for point in catalogue.points) if catalogue is not None else (),
            )
        )

    # ---- after the batches ------------------------------------------------------------------

    def _take_asks(self) -> None:
        rows = self._db.execute(
            "SELECT a.gateway_no, a.epoch_no, a.digest, a.envelope, a.arrived_us, n.epoch"
            f" FROM {self._src}.ask a LEFT JOIN {self._src}.epoch_name n ON n.no=a.epoch_no ORDER BY a.id"
        ).fetchall()
        for gateway_no, epoch_no, digest, envelope, arrived_us, epoch in rows:
            gateway = self._gateways.get(gateway_no, "")
            try:
                opened = open_envelope(envelope, Type.ASK, self._keys(gateway) or {})
                ask = Ask.from_body(opened.body)
                if ask.gateway != gateway:
                    raise ContractError(f"it speaks for {ask.gateway}")
                if (opened.digest, ask.epoch) != (digest, epoch):
                    raise ContractError("the signed bytes are those of another ask than the table says")
            except ContractError as error:
                self.outcome.wrong_facts.append(f"ask of {gateway}: {error}")
                continue
            boot = self._identities.boot(gateway_no, ask.boot_id, ask.boot_counter)
            offset_us = boot.clock.offset_us
            facts = Facts(
                evidence_id=0, gateway_no=gateway_no, epoch_no=epoch_no, digest=digest, boot=boot,
                offset_us=arrived_us - ask.anchor.mono_us if offset_us is None else offset_us, arrived_us=arrived_us,
                first_us=ask.anchor.mono_us, last_us=ask.anchor.mono_us,
            )  # fmt: skip
            self._projector.apply_statement(facts, ask.statement.events)


def make_floors(db: sqlite3.Connection, src: str) -> None:
    """Makes what dropped evidence leaves behind.

    ``temp.floor``: per gateway the first minute whose evidence is all here; ``temp.newest``: per chain its newest
    sample, where that went with the evidence.
    """
    db.execute("CREATE TEMP TABLE floor(gateway_no INTEGER PRIMARY KEY, minute INTEGER)")
    db.execute("CREATE TEMP TABLE newest(epoch_no INTEGER, lane INTEGER, us INTEGER)")
    rows = db.execute(
        f"SELECT n.gateway_no, c.epoch_no, c.lane, c.envelope FROM {src}.checkpoint c"
        f" JOIN {src}.epoch_name n ON n.no=c.epoch_no"
    ).fetchall()
    for gateway_no, epoch_no, lane, envelope in rows:
        try:
            minute = read_checkpoint(envelope).first_minute
        except ContractError:
            continue  # reported where its signature is checked
        db.execute(
            "INSERT INTO temp.floor VALUES(?,?) ON CONFLICT DO UPDATE SET minute=max(minute, excluded.minute)",
            (gateway_no, minute),
        )
        db.execute(
            f"INSERT INTO temp.newest SELECT epoch_no, lane, last_sample_us FROM {src}.chain"
            " WHERE epoch_no=? AND lane=? AND typeof(last_sample_us)='integer' AND last_sample_us/60000000 < ?",
            (epoch_no, lane, minute),
        )


def _read_header(body: bytes) -> Header:
    return Header.from_wire(Fields("batch", unpack(body), 2).raw())


def _plain(value: Any) -> str:
    return value.hex()[:16] if isinstance(value, bytes) else str(value)


def _lane(lane: int) -> str:
    return "alarm" if lane == 0 else "data"


_STATES = {PROJECTED: "taken in", WAITING: "waiting for its catalogue", REFUSED: "refused"}

#: columns of the query below that hold integers
_INTEGERS = (0, 1, 2, 3, 6, 7, 9, 11, 12, 13, 14, 15, 16)

_EVIDENCE = """
SELECT e.id, e.epoch_no, e.lane, e.seq, e.digest, e.previous, e.gateway_no, e.boot_no, e.catalogue_no, e.state, e.code,
  e.readings, e.sealed_us, e.first_us, e.last_us, e.wall_us, e.arrived_us, e.envelope, n.epoch
FROM {src}.evidence e LEFT JOIN {src}.epoch_name n ON n.no=e.epoch_no WHERE e.id>? ORDER BY e.id LIMIT ?
"""

__all__ = ["UNPROVABLE", "Damage", "Outcome", "Replay", "make_floors"]
