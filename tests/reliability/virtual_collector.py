"""The real collector's receiving half without its threads: ingest, writer's order and answers, store, receipts.

A message is judged when it comes and waits in memory; ``work`` commits what waits, as the writer's thread does.
Its disk can refuse commits, and it can be killed before a commit, or between the commit and the answer.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from collector.database import FILE_NAME, new_epoch, upgrade
from collector.errors import StoreError
from collector.ingest import Accepted, Refused, judge_message
from collector.store import Arrival, CommitResult, Store
from collector.verify import Report, verify
from collector.writer import GROUP_SIZE, QUEUE_SIZE, Writer
from contracts.batch import Lane
from contracts.keys import Signer, Verifier
from contracts.receipt import Receipt
from tests.reliability.virtual_broker import Broker
from tests.reliability.virtual_time import Clock

SIGNER = Signer.from_seed(b"the collector's signing key here")
_TEMPLATE: list[Path] = []


def _template() -> Path:
    """Returns an empty database; making one takes longer than a whole run."""
    if not _TEMPLATE:
        folder = Path(tempfile.mkdtemp(prefix="qianshao-model-"))
        upgrade(folder / FILE_NAME, 1)
        _TEMPLATE.append(folder / FILE_NAME)
    return _TEMPLATE[0]


class _FailingDb:
    """The writer's connection on a disk that may refuse a commit."""

    def __init__(self, db: sqlite3.Connection, collector: VirtualCollector) -> None:
        self._db = db
        self._collector = collector

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def execute(self, sql: str, *more: Any) -> Any:
        if sql == "COMMIT" and self._collector.refuses:
            self._collector.refuses -= 1
            raise sqlite3.OperationalError("database or disk is full")
        return self._db.execute(sql, *more)


class VirtualCollector:
    """One collector and its database through all its restarts."""

    def __init__(self, folder: Path, clock: Clock, broker: Broker, gateways: dict[str, dict[bytes, Verifier]]) -> None:
        self.path = folder / FILE_NAME
        shutil.copyfile(_template(), self.path)
        self._clock, self._broker, self._gateways = clock, broker, gateways
        #: commits that its disk will refuse
        self.refuses = 0
        self.is_up = False
        #: called with every receipt whose commit has returned, before it is published
        self.on_receipts: Callable[[tuple[Receipt, ...]], None] = lambda receipts: None
        #: (gateway's epoch, lane, seq) -> digests that a commit ever took
        self.held: dict[tuple[bytes, Lane, int], set[bytes]] = {}
        self.errors: list[str] = []
        self.start()
        new_epoch(self.store._db, self.now_us())
        self.crash()
        self.start()

    def now_us(self) -> int:
        """Returns its clock, UTC."""
        return self._clock.now_us

    def start(self) -> None:
        """Starts after an end or a crash; safe when it runs."""
        if self.is_up:
            return
        self.store = Store(self.path, self.now_us)
        self.store.open()
        self.store._db = _FailingDb(self.store._db, self)  # type: ignore[assignment]
        self.writer = Writer(
            self.store,
            SIGNER,
            publish=lambda topic, envelope: self._broker.down.append((topic, envelope)),
            on_change=lambda change: None,
            now_us=self.now_us,
        )
        self.is_up = True

    def crash(self) -> None:
        """Is killed: what waits in memory is gone."""
        if self.is_up:
            self.store._undo()
            self.store.close()
        self.is_up = False

    def take(self, topic: str, payload: bytes) -> None:
        """Takes one message; lost while it does not run."""
        if self.is_up:
            verdict = judge_message(topic, payload, self._gateways.get)
            if max(len(self.writer._urgent), len(self.writer._ordinary)) >= QUEUE_SIZE:
                self.work()
                if not self.is_up or max(len(self.writer._urgent), len(self.writer._ordinary)) >= QUEUE_SIZE:
                    return  # let go, as the writer does after some seconds without room
            self.writer.put(Arrival(verdict=verdict, arrived_us=self.now_us(), topic=topic))

    def work(self, *, dies: str = "") -> None:
        """Commits what waits, urgent first.

        Args:
            dies: ``before`` the first commit has returned, or ``after`` it and before anybody is told.
        """
        writer = self.writer
        while self.is_up and (queue := writer._urgent or writer._ordinary):
            group = [queue.popleft() for _ in range(min(len(queue), GROUP_SIZE))]
            if dies == "before":
                self.refuses = 1
            try:
                result = self._commit(group)
            except StoreError:
                if dies:
                    self.crash()
                    return
                # As the writer does: the group is tried again until the disk takes it.
                queue.extendleft(reversed(group))
                return
            self._note(group)
            if dies == "after":
                self.crash()
                return
            self.on_receipts(result.receipts)
            writer._answer(result)

    def _commit(self, group: list[Arrival]) -> CommitResult:
        return self.store.commit(group)

    def _note(self, group: list[Arrival]) -> None:
        for arrival in group:
            verdict = arrival.verdict
            if isinstance(verdict, (Accepted, Refused)):
                header = verdict.batch.header if isinstance(verdict, Accepted) else verdict.header
                self.held.setdefault((header.epoch, header.lane, header.seq), set()).add(verdict.digest)

    # -- backup and restore -------------------------------------------------------------

    def backup(self) -> Path:
        """Copies the database beside the running collector."""
        target = self.path.with_name("backup.sqlite3")
        target.unlink(missing_ok=True)
        copy = sqlite3.connect(target)
        source = sqlite3.connect(self.path)
        source.backup(copy)
        copy.close()
        source.close()
        return target

    def restore(self, file: Path) -> None:
        """Goes on from a backup, as ``collector restore`` leaves it: with a new collector epoch."""
        self.crash()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        shutil.copyfile(file, self.path)
        self.start()
        new_epoch(self.store._db, self.now_us())
        self.crash()
        self.start()

    # -- what it holds ------------------------------------------------------------------

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Returns the rows of a query."""
        found: list[tuple[Any, ...]] = self.store._db.execute(sql, values).fetchall()
        return found

    def keys(self) -> set[tuple[bytes, Lane, int]]:
        """Returns every batch that it holds, also those that wait for their catalogue."""
        was_up = self.is_up
        self.start()
        rows = self.rows("SELECT n.epoch, e.lane, e.seq FROM evidence e JOIN epoch_name n ON n.no=e.epoch_no")
        if not was_up:
            self.crash()
        return {(epoch, Lane(lane), seq) for epoch, lane, seq in rows}

    def spans(self, epoch: bytes, lane: Lane) -> list[tuple[int, int]]:
        """Returns what a receipt for a chain may cover: batches that are here and usable, and signed losses."""
        number = self.rows("SELECT no FROM epoch_name WHERE epoch=?", epoch)[0][0]
        found: list[tuple[int, int]] = []
        seqs = self.rows(
            "SELECT seq FROM evidence WHERE epoch_no=? AND lane=? AND state<>1 ORDER BY seq", number, int(lane)
        )
        for (seq,) in seqs:
            if found and found[-1][1] + 1 == seq:
                found[-1] = (found[-1][0], seq)
            else:
                found.append((seq, seq))
        losses = self.rows("SELECT first, last FROM loss WHERE epoch_no=? AND lane=?", number, int(lane))
        return [*found, *((first, last) for first, last in losses)]

    @property
    def epoch(self) -> bytes:
        """Its own epoch."""
        epoch: bytes = self.store._epoch
        return epoch

    @property
    def since_us(self) -> int:
        """When that began, UTC us."""
        since: int = self.store._since_us
        return since

    @property
    def serial(self) -> int:
        """The serial of its newest receipt."""
        serial: int = self.store._serial
        return serial

    def verify(self) -> Report:
        """Runs ``collector verify``."""
        return verify(self.path, self._gateways.get, {SIGNER.key_id: Verifier(SIGNER.public)})
