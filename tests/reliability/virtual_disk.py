"""A virtual disk under the real spool: full, failing once before or after its sync, or slow.

*Full* is SQLite's own answer when its file may not grow.  A call that *fails before* leaves nothing; one that
*fails after* has done everything and says that it has not, as a sync may.  Power cuts inside
a transaction are elsewhere (``crash_vfs.py``): here a crash falls between two calls.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import apsw

from contracts.batch import Lane
from edge_agent.errors import SpoolError
from edge_agent.spool import Commit, Spool
from edge_agent.spool_records import Gone

T = TypeVar("T")
#: pages that the ballast holds back
_BALLAST_PAGES = 32
_UNLIMITED = 1_000_000


class Disk:
    """What the disk does to whoever uses it."""

    def __init__(self) -> None:
        self.is_full = False
        #: how long every call takes (us)
        self.delay_us = 0
        #: calls that fail: ``before`` or ``after`` they were done, first one first
        self.faults: list[str] = []
        self.has_ballast = True
        #: the live connection, to set its limit
        self.db: apsw.Connection | None = None
        #: what a file may have while it is full; None: not known yet
        self._pages: int | None = None

    def fill(self) -> None:
        """Leaves no page more than there are."""
        self.is_full = True
        self._pages = None
        self.limit()

    def free(self) -> None:
        """Has space again."""
        self.is_full = False
        self.limit()

    def give_back(self) -> None:
        """Takes what the ballast held for the spool."""
        self.has_ballast = False
        if self._pages is not None:
            self._pages += _BALLAST_PAGES
        self.limit()

    def limit(self) -> None:
        """Sets what the open file may have; a file that is made on a full disk has what the ballast leaves."""
        if self.db is None:
            return
        with contextlib.suppress(apsw.Error):  # closed, or damaged: the next one is limited when it is opened
            if self.is_full and self._pages is None:
                self._pages = max(self.db.pragma("page_count"), _BALLAST_PAGES)
            self.db.pragma("max_page_count", self._pages if self.is_full else _UNLIMITED)

    def connect(self, path: Path) -> Callable[[], apsw.Connection]:
        """Returns a function that opens a database on this disk."""

        def connect() -> apsw.Connection:
            self.db = apsw.Connection(str(path))
            self.limit()
            return self.db

        return connect


class VirtualBallast:
    """In the place of the ballast file."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    @property
    def is_there(self) -> bool:
        return self._disk.has_ballast

    def free_bytes(self) -> int | None:
        return 0 if self._disk.is_full else 1 << 40

    def hold(self) -> bool:
        self._disk.has_ballast = self._disk.has_ballast or not self._disk.is_full
        return self._disk.has_ballast

    def give_back(self) -> None:
        if self._disk.has_ballast:
            self._disk.give_back()


class Watch:
    """Who is told what the spool has promised and what it let go; nobody by default."""

    def storing(self, commit: Commit) -> None:
        """A commit begins."""

    def stored(self, commit: Commit) -> None:
        """A commit has returned."""

    def releasing(self, gone: Gone) -> None:
        """A range goes because a receipt covers it."""


class FaultySpool(Spool):
    """The real spool on such a disk."""

    def __init__(self, path: Path, disk: Disk, watch: Watch) -> None:
        super().__init__(disk.connect(path))
        self._disk = disk
        self._watch = watch

    def _write(self, work: Callable[[apsw.Connection], T]) -> T:
        fault = self._disk.faults.pop(0) if self._disk.faults else ""
        if not fault:
            return super()._write(work)

        def fail_before(db: apsw.Connection) -> T:
            work(db)
            raise apsw.IOError("disk I/O error (a virtual disk's)")

        if fault == "before":
            return super()._write(fail_before)
        super()._write(work)
        error = apsw.IOError("disk I/O error (a virtual disk's)")
        self._fail(error)
        raise SpoolError(f"the spool could not be written: {error}") from error

    def commit(self, commit: Commit) -> None:
        for gone in commit.gone:
            if gone.cause == "released":
                self._watch.releasing(gone)
        self._watch.storing(commit)
        super().commit(commit)
        self._watch.stored(commit)

    def release(self, epoch_no: int, lane: Lane, first: int, last: int) -> int:
        self._watch.releasing(
            Gone(
                epoch_no=epoch_no,
                lane=lane,
                first=first,
                last=last,
                digest=b"",
                readings=0,
                cause="released",
            )
        )
        return super().release(epoch_no, lane, first, last)
