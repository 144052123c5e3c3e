"""The store: one transaction takes a group of verdicts into evidence and every projection.

What is durable when: a batch is acknowledged (a receipt names it) only after the commit
that holds its signed bytes, with ``synchronous=FULL``, has returned.  Evidence, projections,
chain state and receipt serials change in that one transaction, so a crash leaves all of
it or nothing; a crash between commit and receipt is healed by the gateway's next ask or
repetition.  A commit that fails (disk full, read-only) is rolled back whole, acknowledges
nothing and raises ``StoreError``; the next one may succeed.

One connection writes.  A store belongs to one thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collector.clock_repair import ClockRepair
from collector.confirmations import keep_confirmed
from collector.database import open_writer, read_meta, write_meta
from collector.decisions import keep_decisions, named_after_all
from collector.errors import StoreError
from collector.evidence import INSERT, OF_BOOT, PROJECTED, REFUSED, WAITING, read_batch, span
from collector.identities import Boot, Identities
from collector.ingest import (
    Accepted,
    Asked,
    CatalogueArrived,
    Quarantined,
    Refused,
    StatusSaid,
    Verdict,
    decode_columns,
)
from collector.links import Links
from collector.own_alarms import OwnAlarms
from collector.projector import Facts, Projector
from collector.quarantine import keep_aside, list_refused
from collector.receipts import make_receipt
from collector.skew import ClockSkew
from collector.statements import keep_statement
from collector.views import Change
from collector.walltime import offset_of
from contracts.batch import Batch, Header
from contracts.columns import Columns
from contracts.errors import ContractError
from contracts.messages import Time
from contracts.receipt import Receipt

#: receipt serials are reserved in steps, so that none is ever given twice
_SERIAL_STEP = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A verdict and when its message came (UTC us, our clock)."""

    verdict: Verdict
    arrived_us: int
    topic: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitResult:
    """What a commit did; everything named here is durable."""

    receipts: tuple[Receipt, ...]
    times: tuple[Time, ...]
    change: Change
    #: batches that carry alarm events: their commit time wants to be kept
    to_stamp: tuple[int, ...]
    accepted: int
    readings: int
    duplicates: int
    waiting: int
    refused: int
    quarantined: int


@dataclass(slots=True)
class _Tally:
    accepted: int = 0
    readings: int = 0
    duplicates: int = 0
    waiting: int = 0
    refused: int = 0
    quarantined: int = 0


class Store:
    """Commits verdicts; see the module's first lines for the promise."""

    def __init__(
        self,
        path: Path,
        now_us: Callable[[], int],
        names: Callable[[str], tuple[str, str]] = lambda gateway: ("", ""),
    ) -> None:
        """Takes the database file, the clock (UTC us) and the labels of a gateway (en, zh)."""
        self._path = path
        self._now_us = now_us
        self._names = names

    def open(self) -> None:
        """Opens the writer's connection; raises StoreError."""
        self._db = open_writer(self._path)
        self._identities = Identities(self._db)
        self._projector = Projector(self._db, self._identities)
        self._epoch: bytes = read_meta(self._db, "collector_epoch")
        self._since_us: int = read_meta(self._db, "collector_since_us")
        self._serial: int = read_meta(self._db, "serial_reserved")
        self._reserved = self._serial
        self._links = Links(self._db)
        self._own_alarms = OwnAlarms(self._db)
        #: gateways whose statement of active alarms the running transaction has renewed
        self._stated: set[int] = set()
        self._repair = ClockRepair(self._db, self._identities, self._projector)
        if self._own_alarms.are_due():  # known to an older version, which kept no row of it
            self.run(lambda db: self._own_alarms.look_at_all(self._now_us()))

    def close(self) -> None:
        """Closes the connection; safe twice."""
        self._db.close()

    # ---- one transaction --------------------------------------------------------------------

    def commit(self, arrivals: Sequence[Arrival]) -> CommitResult:
        """Takes a group of verdicts in one transaction.

        Raises:
            StoreError: nothing of the group was kept or acknowledged.
        """
        result: CommitResult = self._transaction(lambda: self._commit(arrivals))
        return result

    def run(self, job: Callable[[sqlite3.Connection], Any]) -> Any:
        """Runs a small write of somebody else in a transaction of its own; raises StoreError."""
        return self._transaction(lambda: job(self._db))

    def stamp(self, evidence_ids: Sequence[int], committed_us: int) -> None:
        """Keeps when the commit of batches with alarm events had returned."""
        rows = [(number, committed_us) for number in evidence_ids]
        self.run(
            lambda db: db.executemany(
                "INSERT INTO commit_stamp(evidence_id, committed_us) VALUES(?,?) ON CONFLICT DO NOTHING", rows
            )
        )

    def mend(self) -> bool:
        """Does one step of clock repair, inside a job of :meth:`run`; returns whether more is due now."""
        self._repair.step(self._now_us())
        return self._repair.is_due(self._now_us())

    @property
    def clock_skew(self) -> ClockSkew:
        """What gateways say against our own clock; asked in any thread."""
        return self._repair.skew

    def run_checkpoint(self) -> None:
        """Moves the write-ahead log into the database file, for backups and measurements."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def scalar(self, sql: str) -> Any:
        """Returns the first column of the first row of a query, for tests and measurements."""
        return self._db.execute(sql).fetchone()[0]

    def _transaction(self, work: Callable[[], Any]) -> Any:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            result = work()
            self._db.execute("COMMIT")
            return result
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError):
            self._undo()  # our own mistake about one message: trying it again cannot help
            raise
        except sqlite3.Error as error:
            self._undo()
            raise StoreError(f"{self._path}: {error}") from error
        except BaseException:
            self._undo()
            raise

    def _undo(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # SQLite has rolled back by itself, as after a full disk
        self._identities.forget()
        self._projector.forget()
        self._links.forget()
        self._own_alarms.forget()
        self._repair.forget()
        self._serial = max(self._serial, self._reserved)

    def _commit(self, arrivals: Sequence[Arrival]) -> CommitResult:
        tally = _Tally()
        self._links.clear()
        self._stated.clear()
        chains: dict[tuple[str, bytes, int], int] = {}
        gateways: set[int] = set()
        #: (gateway, epoch) of each batch, in order
        epochs: list[tuple[int, int]] = []
        arrived: dict[int, int] = {}
        times: list[Time] = []
        stamps: list[int] = []
        for arrival in arrivals:
            verdict = arrival.verdict
            if isinstance(verdict, Quarantined):
                tally.quarantined += 1
                keep_aside(self._db, verdict, arrival.arrived_us)
                continue
            gateway_no = self._gateway_no(verdict.gateway, arrival.arrived_us)
            gateways.add(gateway_no)
            arrived[gateway_no] = max(arrival.arrived_us, arrived.get(gateway_no, 0))
            match verdict:
                case Accepted() | Refused():
                    header = verdict.batch.header if isinstance(verdict, Accepted) else verdict.header
                    evidence_id = self._take_batch(gateway_no, arrival, verdict, header, tally)
                    epoch_no = self._identities.epoch_no(gateway_no, header.epoch)
                    chains[verdict.gateway, header.epoch, int(header.lane)] = epoch_no
                    epochs.append((gateway_no, epoch_no))
                    if evidence_id is not None and isinstance(verdict, Accepted) and verdict.batch.events:
                        stamps.append(evidence_id)
                case CatalogueArrived():
                    self._take_catalogue(gateway_no, verdict, arrival.arrived_us, chains, tally)
                case Asked():
                    self._take_ask(gateway_no, verdict, arrival.arrived_us, chains)
                    times.append(Time(gateway=verdict.gateway, nonce=verdict.ask.nonce, wall_us=self._now_us()))
                case StatusSaid():
                    status = verdict.status
                    self._links.note(
                        gateway_no, online=int(status.online), session=status.session, version=status.version
                    )
        touched = self._projector.finish()
        alarms = touched.alarms | named_after_all(self._db, self._stated)
        keep_decisions(self._db, alarms, arrived)
        own = self._own_alarms.look(epochs, touched.forked, max(arrived.values(), default=0))
        self._links.write()
        self._repair.write()
        receipts = tuple(self._receipt(*key, epoch_no) for key, epoch_no in chains.items())
        ids = dict(self._db.execute("SELECT no, id FROM gateway").fetchall()) if gateways else {}
        change = Change(
            gateways=frozenset(ids[number] for number in gateways),
            alarms=frozenset(alarm.hex() for _, alarm in alarms | own),
            points=frozenset((ids[number], key) for number, key in touched.points),
        )
        return CommitResult(
            receipts=receipts,
            times=tuple(times),
            change=change,
            to_stamp=tuple(stamps),
            accepted=tally.accepted,
            readings=tally.readings,
            duplicates=tally.duplicates,
            waiting=tally.waiting,
            refused=tally.refused,
            quarantined=tally.quarantined,
        )

    # ---- batches ----------------------------------------------------------------------------

    def _take_batch(
        self, gateway_no: int, arrival: Arrival, verdict: Accepted | Refused, header: Header, tally: _Tally
    ) -> int | None:
        """Keeps one batch; returns its evidence id, or None for a repetition."""
        epoch_no = self._identities.epoch_no(gateway_no, header.epoch)
        if self._holds(epoch_no, header, verdict.digest):
            tally.duplicates += 1
            return None
        self._links.hear(gateway_no, arrival.arrived_us)
        boot = self._boot(gateway_no, header, arrival.arrived_us, is_read=isinstance(verdict, Accepted))
        state, code, reason, columns, catalogue = PROJECTED, None, "", [], None
        batch: Batch | None = None
        if isinstance(verdict, Refused):
            state, code, reason = REFUSED, verdict.code, verdict.reason
        else:
            batch = verdict.batch
            if batch.blocks:
                catalogue = self._identities.catalogue(gateway_no, header.catalogue)
                if catalogue is None:
                    state = WAITING
                else:
                    try:
                        columns = decode_columns(batch, catalogue[1])
                    except ContractError as error:
                        state, code, reason = REFUSED, error.code, str(error)
        offset_us = offset_of(header, arrival.arrived_us, boot.clock, is_live=boot.live_us is not None)
        first_us, last_us = span(header, columns)
        cursor = self._db.execute(
            INSERT,
            (
                epoch_no,
                int(header.lane),
                header.seq,
                verdict.digest,
                header.previous,
                gateway_no,
                boot.no,
                None if catalogue is None else catalogue[0],
                state,
                code,
                header.readings,
                header.sealed_us,
                first_us,
                last_us,
                first_us + offset_us,
                arrival.arrived_us,
                verdict.envelope,
            ),
        )
        facts = Facts(
            evidence_id=int(cursor.lastrowid or 0),
            gateway_no=gateway_no,
            epoch_no=epoch_no,
            digest=verdict.digest,
            boot=boot,
            offset_us=offset_us,
            arrived_us=arrival.arrived_us,
            first_us=first_us,
            last_us=last_us,
        )
        self._project(facts, header, batch, columns, catalogue, state, tally)
        if state == REFUSED:
            list_refused(
                self._db, arrived_us=arrival.arrived_us, topic=arrival.topic, code=code or "", reason=reason,
                digest=facts.digest, size=len(verdict.envelope),
            )  # fmt: skip
        return facts.evidence_id

    def _project(
        self,
        facts: Facts,
        header: Header,
        batch: Batch | None,
        columns: list[Columns],
        catalogue: Any,
        state: int,
        tally: _Tally,
    ) -> None:
        if batch is None or state == REFUSED:
            self._projector.refuse(facts, header, batch)
            tally.refused += 1
        elif state == WAITING:
            self._projector.apply_early(facts, batch)
            self._db.execute(
                "INSERT INTO waiting(evidence_id, gateway_no, epoch_no, hash) VALUES(?,?,?,?)",
                (facts.evidence_id, facts.gateway_no, facts.epoch_no, header.catalogue),
            )
            tally.waiting += 1
        else:
            self._projector.apply(facts, batch, columns, catalogue)
            tally.accepted += 1
            tally.readings += header.readings
        stated = None if batch is None else batch.statement
        if stated is not None and keep_statement(self._db, facts.gateway_no, facts.boot, stated, facts.arrived_us):
            self._stated.add(facts.gateway_no)
        if batch is not None and batch.confirmed:
            keep_confirmed(
                self._db, facts.gateway_no, facts.boot, header.sealed_us, facts.arrived_us, batch.confirmed,
                None if catalogue is None else catalogue[1],
            )  # fmt: skip
        self._links.note_batch(facts.gateway_no, header, facts.boot, facts.arrived_us)

    def _holds(self, epoch_no: int, header: Header, digest: bytes) -> bool:
        lane, seq = int(header.lane), header.seq
        key = (epoch_no, lane, seq, digest)
        found = self._db.execute(
            "SELECT 1 FROM evidence WHERE epoch_no=? AND lane=? AND seq=? AND digest=?", key
        ).fetchone()
        if found is not None:
            return True
        if not self._projector.chain(epoch_no, lane).ledger.holds(seq):
            return False
        # Known and not here: either a second digest, or pruned long ago.
        floor = self._db.execute(
            "SELECT max(seq) FROM checkpoint WHERE epoch_no=? AND lane=?", (epoch_no, lane)
        ).fetchone()[0]
        return floor is not None and seq <= floor

    def _boot(self, gateway_no: int, header: Header, arrived_us: int, *, is_read: bool) -> Boot:
        """Returns the boot of a batch; a batch that reads may improve what is known of its clock."""
        boot = self._identities.boot(gateway_no, header.boot_id, header.boot_counter)
        if not is_read:
            return boot
        return self._repair.learn(gateway_no, boot, header.anchors, header.sealed_us, arrived_us, is_ask=False)

    def _take_catalogue(
        self,
        gateway_no: int,
        verdict: CatalogueArrived,
        arrived_us: int,
        chains: dict[tuple[str, bytes, int], int],
        tally: _Tally,
    ) -> None:
        """Keeps a catalogue and projects the batches that waited for it."""
        hash = verdict.catalogue.hash
        made = self._db.execute(
            "INSERT INTO catalogue(gateway_no, hash, envelope, arrived_us) VALUES(?,?,?,?) ON CONFLICT DO NOTHING",
            (gateway_no, hash, verdict.envelope, arrived_us),
        )
        if made.rowcount:
            self._links.hear(gateway_no, arrived_us)
        self._links.note(gateway_no, catalogue_if_none=hash)
        catalogue = self._identities.catalogue(gateway_no, hash)
        assert catalogue is not None
        self._projector.form(gateway_no, *catalogue)
        rows = self._db.execute(
            "SELECT e.id, e.epoch_no, e.lane, e.digest, e.wall_us-e.first_us, e.arrived_us, e.envelope FROM waiting w"
            " JOIN evidence e ON e.id=w.evidence_id WHERE w.gateway_no=? AND w.hash=? ORDER BY e.id",
            (gateway_no, hash),
        ).fetchall()
        for number, epoch_no, lane, digest, offset_us, batch_arrived_us, envelope in rows:
            batch = read_batch(envelope, lane)
            header = batch.header
            state, code, columns, reason = PROJECTED, None, [], ""
            try:
                columns = decode_columns(batch, catalogue[1])
            except ContractError as error:
                state, code, reason = REFUSED, error.code, str(error)
            first_us, last_us = span(header, columns)
            # The offset was kept with the sealing time as the first sample's.
            facts = Facts(
                evidence_id=number,
                gateway_no=gateway_no,
                epoch_no=epoch_no,
                digest=digest,
                boot=self._identities.boot(gateway_no, header.boot_id, header.boot_counter),
                offset_us=offset_us,
                arrived_us=batch_arrived_us,
                first_us=first_us,
                last_us=last_us,
            )
            if state == REFUSED:
                list_refused(
                    self._db, arrived_us=batch_arrived_us, topic="", code=code or "", reason=reason, digest=digest,
                    size=len(envelope),
                )  # fmt: skip
            self._db.execute(
                "UPDATE evidence SET state=?, code=?, catalogue_no=?, first_us=?, last_us=?, wall_us=? WHERE id=?",
                (state, code, catalogue[0], first_us, last_us, first_us + offset_us, number),
            )
            self._db.execute("DELETE FROM waiting WHERE evidence_id=?", (number,))
            self._project(facts, header, batch, columns, catalogue, state, tally)
            chains[verdict.gateway, header.epoch, lane] = epoch_no

    # ---- asks and links ------------------------------------------------------------

    def _take_ask(
        self, gateway_no: int, verdict: Asked, arrived_us: int, chains: dict[tuple[str, bytes, int], int]
    ) -> None:
        """Notes where a gateway stands; marks every chain that it needs a receipt for."""
        ask, gateway = verdict.ask, verdict.gateway
        epoch_no = self._identities.epoch_no(gateway_no, ask.epoch)
        boot = self._identities.boot(gateway_no, ask.boot_id, ask.boot_counter)
        boot = self._repair.learn(gateway_no, boot, (ask.anchor,), ask.anchor.mono_us, arrived_us, is_ask=True)
        clock, rank = boot.clock, boot.rank
        boot = self._identities.went_live(gateway_no, boot, arrived_us)
        if boot.rank != rank:
            self._apply_again(gateway_no, boot)
        offset_us = clock.offset_us if clock.offset_us is not None else arrived_us - ask.anchor.mono_us
        facts = Facts(
            evidence_id=0,
            gateway_no=gateway_no,
            epoch_no=epoch_no,
            digest=verdict.digest,
            boot=boot,
            offset_us=offset_us,
            arrived_us=arrived_us,
            first_us=ask.anchor.mono_us,
            last_us=ask.anchor.mono_us,
        )
        told = self._projector.apply_statement(facts, ask.statement.events)
        if keep_statement(self._db, gateway_no, boot, ask.statement, arrived_us):
            self._stated.add(gateway_no)
        is_known = self._db.execute("SELECT 1 FROM ask WHERE digest=?", (verdict.digest,)).fetchone() is not None
        is_newest = not is_known and self._links.note_ask(gateway_no, ask, boot, epoch_no, arrived_us)
        if is_newest:
            self._db.execute("DELETE FROM ask WHERE epoch_no=? AND told=0", (epoch_no,))
        if is_newest or (told and not is_known):
            self._db.execute(
                "INSERT INTO ask(gateway_no, epoch_no, digest, envelope, arrived_us, told) VALUES(?,?,?,?,?,?)",
                (gateway_no, epoch_no, verdict.digest, verdict.envelope, arrived_us, int(told)),
            )
        for epoch in dict.fromkeys((*ask.unreceipted, ask.epoch)):
            number = self._identities.epoch_no(gateway_no, epoch)
            chains.setdefault((gateway, epoch, 0), number)
            chains.setdefault((gateway, epoch, 1), number)
        rows = self._db.execute(
            "SELECT n.epoch, c.epoch_no, c.lane FROM chain c JOIN epoch_name n ON n.no=c.epoch_no"
            " WHERE n.gateway_no=? AND (c.known>c.newest OR c.ranges NOT LIKE '[[1,%' OR c.ranges LIKE '%],[%')",
            (gateway_no,),
        ).fetchall()
        for epoch, number, lane in rows:
            chains.setdefault((gateway, epoch, lane), number)

    def _apply_again(self, gateway_no: int, boot: Boot) -> None:
        """Takes in once more what came before the first ask of a boot, whose rank that ask has raised."""
        rows = self._db.execute(OF_BOOT, (boot.no,)).fetchall()
        for number, epoch_no, lane, digest, offset_us, arrived_us, envelope, first_us, last_us, state in rows:
            batch = read_batch(envelope, lane)
            catalogue = self._identities.catalogue(gateway_no, batch.header.catalogue) if batch.blocks else None
            columns = decode_columns(batch, catalogue[1]) if catalogue is not None and state == PROJECTED else []
            facts = Facts(
                evidence_id=number, gateway_no=gateway_no, epoch_no=epoch_no, digest=digest, boot=boot,
                offset_us=offset_us, arrived_us=arrived_us, first_us=first_us, last_us=last_us,
            )  # fmt: skip
            self._projector.apply_again(facts, batch, columns, catalogue)

    def _gateway_no(self, gateway: str, now_us: int) -> int:
        en, zh = self._names(gateway)
        return self._identities.gateway_no(gateway, now_us=now_us, en=en, zh=zh)

    # ---- receipts ---------------------------------------------------------------------------

    def _receipt(self, gateway: str, epoch: bytes, lane: int, epoch_no: int) -> Receipt:
        now_us = self._now_us()
        if self._serial >= self._reserved:
            self._reserved = self._serial + _SERIAL_STEP
            write_meta(self._db, "serial_reserved", self._reserved)
        self._serial += 1
        self._db.execute(
            "INSERT INTO receipt(epoch_no, lane, serial, issued_us) VALUES(?,?,?,?)"
            " ON CONFLICT(epoch_no, lane) DO UPDATE SET serial=excluded.serial, issued_us=excluded.issued_us",
            (epoch_no, lane, self._serial, now_us),
        )
        return make_receipt(
            self._db,
            self._projector,
            gateway=gateway,
            epoch=epoch,
            epoch_no=epoch_no,
            lane=lane,
            collector_epoch=self._epoch,
            collector_since_us=self._since_us,
            serial=self._serial,
            issued_us=now_us,
        )
