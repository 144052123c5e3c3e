"""Retention: whole days of evidence go, and a signed checkpoint stays in their place.

Only batches behind the contiguous end of their chain are dropped, oldest first, never the
newest of a chain, never alarms younger than the limit.  Before a chain loses evidence the
collector signs a *checkpoint*: up to which seq, with which digest, how many readings, and
the projections' totals at that time stand for.  Verification starts from the newest one.
Roll-ups of dropped days stay; ``rebuild`` keeps them, because nothing could make them again.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from collector.chain import Ledger
from collector.errors import CollectorError
from contracts.batch import EPOCH_BYTES, Lane
from contracts.catalogue import HASH_BYTES
from contracts.envelope import Type, decode_payload, seal, split
from contracts.fields import U32, Fields, pack, unpack
from contracts.keys import GATEWAY_ID, Signer

_LOG = logging.getLogger(__name__)
DAY_US = 86_400_000_000
#: batches dropped in one transaction
_STEP = 2000
#: between two looks (s)
LOOK_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The collector's word that a chain was verified up to ``seq`` before its evidence was dropped."""

    gateway: str
    epoch: bytes
    lane: Lane
    #: the last dropped batch, and its digest
    seq: int
    digest: bytes
    #: samples in everything dropped so far
    readings: int
    #: batches dropped so far, and the UTC time of their oldest sample (None: they had none)
    batches: int
    first_sample_us: int | None
    #: first UTC minute whose roll-ups rest wholly on evidence that is still here
    first_minute: int
    made_us: int

    def to_body(self) -> bytes:
        return pack(
            [
                self.gateway, self.epoch, int(self.lane), self.seq, self.digest, self.readings, self.batches,
                self.first_sample_us, self.first_minute, self.made_us,
            ]
        )  # fmt: skip

    @classmethod
    def from_body(cls, body: bytes) -> Checkpoint:
        """Reads a verified checkpoint; raises PayloadError naming the field."""
        f = Fields("checkpoint", unpack(body), 10)
        return cls(
            gateway=f.text("gateway", 16, pattern=lambda t: GATEWAY_ID.fullmatch(t) is not None),
            epoch=f.binary("epoch", EPOCH_BYTES),
            lane=Lane(f.integer("lane", 0, 1)),
            seq=f.integer("seq", 1, U32),
            digest=f.binary("digest", HASH_BYTES),
            readings=f.integer("readings"),
            batches=f.integer("batches"),
            first_sample_us=f.optional_integer("first_sample_us"),
            first_minute=f.integer("first_minute"),
            made_us=f.integer("made_us"),
        )


def prune(db: sqlite3.Connection, signer: Signer, before_us: int, now_us: int) -> int:
    """Drops evidence that arrived, and whose samples lie, before ``before_us``; inside a transaction.

    Returns:
        How many batches were dropped; 0 when there is nothing (more) to drop.
    """
    dropped = 0
    chains = db.execute(
        "SELECT g.id, n.epoch, c.epoch_no, c.lane, c.ranges, c.forks, c.breaks FROM chain c"
        " JOIN epoch_name n ON n.no=c.epoch_no JOIN gateway g ON g.no=n.gateway_no"
    ).fetchall()
    for gateway, epoch, epoch_no, lane, *texts in chains:
        ledger = Ledger.from_text(*texts)
        last = _last_to_drop(db, epoch_no, lane, ledger, before_us)
        if last is None:
            continue
        digest = db.execute(
            "SELECT min(digest) FROM evidence WHERE epoch_no=? AND lane=? AND seq=?", (epoch_no, lane, last)
        ).fetchone()[0]
        readings, batches, first_us, newest_us = db.execute(
            "SELECT coalesce(sum(CASE WHEN state<>2 THEN readings END),0), count(*),"
            " min(CASE WHEN state<>2 AND readings>0 THEN wall_us END),"
            " max(wall_us+last_us-first_us) FROM evidence WHERE epoch_no=? AND lane=? AND seq<=?",
            (epoch_no, lane, last),
        ).fetchone()
        older = newest_checkpoint(db, epoch_no, lane)
        if older is not None:
            readings, batches = readings + older.readings, batches + older.batches
            first_us = older.first_sample_us if older.first_sample_us is not None else first_us
        checkpoint = Checkpoint(
            gateway=gateway,
            epoch=epoch,
            lane=Lane(lane),
            seq=last,
            digest=digest,
            readings=readings,
            batches=batches,
            first_sample_us=first_us,
            first_minute=newest_us // 60_000_000 + 1,
            made_us=now_us,
        )
        envelope, _ = seal(Type.CHECKPOINT, checkpoint.to_body(), signer)
        db.execute(
            "INSERT INTO checkpoint(epoch_no, lane, seq, digest, made_us, envelope) VALUES(?,?,?,?,?,?)",
            (epoch_no, lane, last, digest, now_us, envelope),
        )
        dropped += db.execute(
            "DELETE FROM evidence WHERE epoch_no=? AND lane=? AND seq<=?", (epoch_no, lane, last)
        ).rowcount
    return dropped


def newest_checkpoint(db: sqlite3.Connection, epoch_no: int, lane: int) -> Checkpoint | None:
    """Returns the newest checkpoint of a chain, its signature not checked here."""
    row = db.execute(
        "SELECT envelope FROM checkpoint WHERE epoch_no=? AND lane=? ORDER BY seq DESC LIMIT 1", (epoch_no, lane)
    ).fetchone()
    return None if row is None else read_checkpoint(row[0])


def read_checkpoint(envelope: bytes) -> Checkpoint:
    """Returns the content of a checkpoint, its signature not checked here; raises ContractError."""
    return Checkpoint.from_body(decode_payload(split(envelope)[1]))


def _last_to_drop(db: sqlite3.Connection, epoch_no: int, lane: int, ledger: Ledger, before_us: int) -> int | None:
    """Returns the last seq that may go, at most a step of them; None when none may."""
    rows = db.execute(
        "SELECT seq, arrived_us, wall_us+last_us-first_us, state FROM evidence WHERE epoch_no=? AND lane=?"
        " AND seq<? ORDER BY seq LIMIT ?",
        (epoch_no, lane, ledger.contiguous, _STEP),
    )
    last: int | None = None
    for seq, arrived_us, newest_us, state in rows:
        if max(arrived_us, newest_us) >= before_us or state == 1:
            break
        last = seq
    return last


class Pruner:
    """Looks every hour whether whole days may go; does nothing when everything is kept."""

    def __init__(
        self,
        run: Callable[[Callable[[sqlite3.Connection], Any]], Future[Any]],
        signer: Signer,
        days: int,
        now_us: Callable[[], int],
    ) -> None:
        self._run_job = run
        self._signer = signer
        self._days = days
        self._now_us = now_us
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread, if there is anything to do for it."""
        if self._days:
            self._thread = threading.Thread(target=self._run, name="pruner", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends the thread; safe twice."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                dropped = self.look()
                if dropped:
                    _LOG.info("dropped %d batches older than %d days", dropped, self._days)
            except CollectorError as error:
                _LOG.error("retention: %s", error)
            self._stopping.wait(LOOK_S)

    def look(self) -> int:
        """Drops everything that is older than the limit, in steps; returns how many batches."""
        total = 0
        while not self._stopping.is_set():
            dropped: int = self._run_job(self._step).result()
            if not dropped:
                break
            total += dropped
        return total

    def _step(self, db: sqlite3.Connection) -> int:
        now_us = self._now_us()
        return prune(db, self._signer, (now_us // DAY_US - self._days) * DAY_US, now_us)
