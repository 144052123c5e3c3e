"""Gateways that keep their promise badly, each in one way: a test that does not catch them shows nothing.

Each is a story whose gateway is changed in one place; the code of the agent stays as it is.  The mutant
without a checksum of each row is in ``test_bit_flips.py``.
"""

from __future__ import annotations

import asyncio
from array import array

import apsw

from edge_agent.delivery import Claim
from edge_agent.keeper import Keeper
from edge_agent.spool import Commit, Opened
from edge_agent.uplink import Uplink
from tests.reliability.crash_vfs_story import FailingDisk, Story, WatchedSpool


class _Lazy(WatchedSpool):
    pragma = ""

    def open(self) -> Opened:
        opened = super().open()
        assert self._db is not None
        self._db.execute(self.pragma)
        return opened


class _Normal(_Lazy):
    pragma = "PRAGMA synchronous=NORMAL"


class _Off(_Lazy):
    pragma = "PRAGMA synchronous=OFF"


class _Delete(_Lazy):
    pragma = "PRAGMA journal_mode=DELETE"

    def open(self) -> Opened:
        opened = super().open()
        assert self._db is not None
        # A log that stays would bring its mode back.
        is_on = array("i", [0])
        self._db.file_control("main", apsw.SQLITE_FCNTL_PERSIST_WAL, is_on.buffer_info()[0])
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(self.pragma)
        return opened


class SynchronousNormal(Story):
    """The log is synced before a checkpoint only: the last commits may go."""

    spool = _Normal


class SynchronousOff(Story):
    """Nothing is synced."""

    spool = _Off
    is_whole = False


class DeleteJournal(Story):
    """A commit ends with the deletion of the journal, which nobody syncs: it may come back and undo the commit."""

    spool = _Delete
    is_whole = False


class _BelievesAnything(Uplink):
    async def _digests(self, claims: list[Claim]) -> list[bytes | None]:
        return [claim.digest for claim in claims]


class ReceiptWithoutDigest(Story):
    """A receipt is believed whatever digest it names."""

    uplink_type = _BelievesAnything


class SequenceReset(Story):
    """Every start goes on in the same epoch and counts from 1 again."""

    def new_epoch(self) -> bytes:
        return b"the same"

    async def calm(self) -> None:
        # Its store refuses a second batch under one number: it never comes to rest.
        for _ in range(12):
            await asyncio.sleep(0)


class _OffersFirst(Keeper):
    def _submit(self, commit: Commit, events: tuple[object, ...]) -> None:
        for sealed in commit.batches:
            self._offer(commit.epoch_no, sealed)
        super()._submit(commit, events)  # type: ignore[arg-type]


class OfferBeforeCommit(Story):
    """What is sealed is sent before it is durable."""

    keeper_type = _OffersFirst


class _TrustsTheLog(WatchedSpool):
    def _write_log_again(self, db: apsw.Connection) -> int:
        self._is_doubtful = False
        return 0


class SyncOnceMore(FailingDisk):
    """After a sync that failed the next one is taken to make up for it."""

    spool = _TrustsTheLog


#: mutant -> what it must be caught by: numbers of the checker that are not zero
MUTANTS: dict[type[Story], frozenset[str]] = {
    SynchronousNormal: frozenset({"lost"}),
    SynchronousOff: frozenset({"lost"}),
    DeleteJournal: frozenset({"lost"}),
    ReceiptWithoutDigest: frozenset({"lost"}),
    SequenceReset: frozenset({"altered"}),
    OfferBeforeCommit: frozenset({"lost"}),
    SyncOnceMore: frozenset({"lost"}),
}
