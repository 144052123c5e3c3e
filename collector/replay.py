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
from collector.evidence import PROJECTED, REFUSED, WAITING, span
from collector.identities import Identities
from collector.ingest import Keys, decode_columns
from collector.projector import ChainState, Facts, Projector
from collector.retention import Checkpoint, read_checkpoint
from collector.walltime import offset_of, own_offset
from contracts.batch import AlarmEvent, Batch, Header, Lane, decode_batch
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
#: per projection the rows that dropped evidence alone could prove; ``{src}`` is the schema
UNPROVABLE = {
    "point": "1",
    "epoch": "epoch_no IN (SELECT c.epoch_no FROM {src}.checkpoint c)",
    "loss": "evidence_id NOT IN (SELECT e.id FROM {src}.evidence e) AND typeof(evidence_id)='integer'"
    " AND epoch_no IN (SELECT n.no FROM {src}.epoch_name n JOIN temp.floor f ON f.gateway_no=n.gateway_no)",
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
    #: UTC, by the index columns
    first_us: int
    last_us: int
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
                self.outcome.wrong_facts.append(f"catalogue {hash.hex()[:16]} of {gateway}: {error}")
                continue
            self._catalogues[no] = catalogue

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
        (id, epoch_no, lane, seq, digest, previous, gateway_no, _, catalogue_no, state, code) = row[:11]
        readings, sealed_us, first_us, _, wall_us, arrived_us, envelope, epoch = row[11:]
        gateway = self._gateways.get(gateway_no, "")
        if not all(type(row[index]) is int for index in _INTEGERS):
            self._damaged(row, "a column of the table is no integer")
            return
        if self._epochs.get(epoch_no) != gateway_no:
            self._damaged(row, "its epoch is not one of this gateway's")
            return
        try:
            type_ = Lane(lane).type
            opened = open_envelope(envelope, type_, self._keys(gateway) or {})
            header = _read_header(opened.body)
        except (ContractError, ValueError) as error:
            self._damaged(row, str(error))
            return
        signed = (header.gateway, header.epoch, int(header.lane), header.seq, header.previous, header.readings)
        said = (gateway, epoch, lane, seq, previous, readings)
        if signed != said or opened.digest != digest or header.sealed_us != sealed_us:
            self._damaged(row, "the signed bytes are those of another batch than the table says")
            return
        batch, columns, found_code = self._decode(opened.body, type_, catalogue_no)
        boot = self._identities.boot(gateway_no, header.boot_id, header.boot_counter)
        true_first, true_last = span(header, columns)
        offset_us = wall_us - first_us
        own = own_offset(header, arrived_us)
        if own is None:
            self.outcome.borrowed_time += 1
        if self._repair:
            offset_us = offset_of(header, arrived_us, boot.clock)
            self._db.execute(
                "UPDATE main.evidence SET first_us=?, last_us=?, wall_us=?, boot_no=? WHERE id=?",
                (true_first, true_last, true_first + offset_us, boot.no, id),
            )
        else:
            self._check_index(row, boot.no, boot.counter, header, (true_first, true_last), own)
            offset_us = own if own is not None else offset_us
        facts = Facts(
            evidence_id=id, gateway_no=gateway_no, epoch_no=epoch_no, digest=digest, boot=boot, offset_us=offset_us,
            arrived_us=arrived_us, first_us=true_first, last_us=true_last,
        )  # fmt: skip
        if self._src != "main":
            self._db.execute(
                "INSERT INTO main.evidence(id, epoch_no, lane, seq, digest, previous, state) VALUES(?,?,?,?,?,?,?)",
                (id, epoch_no, lane, seq, digest, previous, state),
            )
        if state == WAITING and batch is not None:
            self._projector.apply_early(facts, batch)
        elif batch is None or found_code is not None:
            if state != REFUSED:
                self._wrong_state(row, f"was accepted, and its content is refused: {found_code}")
            self._projector.refuse(facts, header)
        else:
            if state != PROJECTED:
                self._wrong_state(row, f"is listed as refused ({code}), and its content reads")
            catalogue = self._catalogues.get(catalogue_no) if catalogue_no is not None else None
            self._projector.apply(facts, batch, columns, None if catalogue is None else (catalogue_no, catalogue))
            self.outcome.readings += header.readings

    def _decode(
        self, body: bytes, type: Type, catalogue_no: int | None
    ) -> tuple[Batch | None, list[Columns], str | None]:
        """Returns the batch, its samples, and the code if it is to be refused."""
        try:
            batch = decode_batch(body, type)
            catalogue = self._catalogues.get(catalogue_no) if catalogue_no is not None else None
            if not batch.blocks or catalogue is None:
                return batch, [], None
            return batch, decode_columns(batch, catalogue), None
        except ContractError as error:
            return None, [], error.code

    def _check_index(
        self,
        row: tuple[Any, ...],
        boot_no: int,
        counter: int,
        header: Header,
        span_us: tuple[int, int],
        own: int | None,
    ) -> None:
        first_us, last_us, wall_us, state = row[13], row[14], row[15], row[9]
        wrong = []
        if row[7] != boot_no:
            wrong.append("boot")
        if counter != header.boot_counter:
            wrong.append(f"boot counter (the table says {counter}, the signed bytes {header.boot_counter})")
        if state == PROJECTED and (first_us, last_us) != span_us:
            wrong.append(f"times (the table says {first_us}..{last_us}, the signed bytes {span_us[0]}..{span_us[1]})")
        if own is not None and wall_us - first_us != own:
            wrong.append(f"UTC offset (the table says {wall_us - first_us}, the signed anchor {own})")
        for text in wrong:
            self.outcome.wrong_facts.append(f"index of {self._name(row)}: {text}")

    def _name(self, row: tuple[Any, ...]) -> str:
        gateway = self._gateways.get(row[6], "?")
        return f"{gateway}, {_lane(row[2])} lane, epoch {row[18].hex()}, batch {row[3]}"

    def _wrong_state(self, row: tuple[Any, ...], text: str) -> None:
        self.outcome.wrong_facts.append(f"{self._name(row)} {text}")

    def _damaged(self, row: tuple[Any, ...], reason: str) -> None:
        catalogue = self._catalogues.get(row[8]) if row[8] is not None else None
        is_whole = all(type(row[index]) is int for index in _INTEGERS)
        self.outcome.damaged.append(
            Damage(
                evidence_id=row[0],
                gateway=self._gateways.get(row[6], "?"),
                epoch=row[18],
                lane=row[2],
                seq=row[3],
                reason=reason,
                gateway_no=row[6],
                epoch_no=row[1],
                catalogue_no=row[8],
                first_us=row[15],
                last_us=row[15] + row[14] - row[13] if is_whole else row[15],
                readings=row[11],
                points=tuple(point.key for point in catalogue.points) if catalogue is not None else (),
            )
        )

    # ---- after the batches ------------------------------------------------------------------

    def _take_asks(self) -> None:
        rows = self._db.execute(
            f"SELECT gateway_no, epoch_no, digest, envelope, arrived_us FROM {self._src}.ask ORDER BY id"
        ).fetchall()
        for gateway_no, epoch_no, digest, envelope, arrived_us in rows:
            gateway = self._gateways.get(gateway_no, "")
            try:
                opened = open_envelope(envelope, Type.ASK, self._keys(gateway) or {})
                ask = Ask.from_body(opened.body)
                if ask.gateway != gateway:
                    raise ContractError(f"it speaks for {ask.gateway}")
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
    """Makes ``temp.floor``: per gateway the first minute whose evidence is all here."""
    db.execute("CREATE TEMP TABLE floor(gateway_no INTEGER PRIMARY KEY, minute INTEGER)")
    rows = db.execute(
        f"SELECT n.gateway_no, c.envelope FROM {src}.checkpoint c JOIN {src}.epoch_name n ON n.no=c.epoch_no"
    ).fetchall()
    for gateway_no, envelope in rows:
        try:
            minute = read_checkpoint(envelope).first_minute
        except ContractError:
            continue  # reported where its signature is checked
        db.execute(
            "INSERT INTO temp.floor VALUES(?,?) ON CONFLICT DO UPDATE SET minute=max(minute, excluded.minute)",
            (gateway_no, minute),
        )


def _read_header(body: bytes) -> Header:
    return Header.from_wire(Fields("batch", unpack(body), 2).raw())


def _lane(lane: int) -> str:
    return "alarm" if lane == 0 else "data"


#: columns of the query below that hold integers
_INTEGERS = (0, 1, 2, 3, 6, 7, 9, 11, 12, 13, 14, 15, 16)

_EVIDENCE = """
SELECT e.id, e.epoch_no, e.lane, e.seq, e.digest, e.previous, e.gateway_no, e.boot_no, e.catalogue_no, e.state, e.code,
  e.readings, e.sealed_us, e.first_us, e.last_us, e.wall_us, e.arrived_us, e.envelope, n.epoch
FROM {src}.evidence e JOIN {src}.epoch_name n ON n.no=e.epoch_no WHERE e.id>? ORDER BY e.id LIMIT ?
"""

__all__ = ["UNPROVABLE", "Damage", "Outcome", "Replay", "make_floors"]
