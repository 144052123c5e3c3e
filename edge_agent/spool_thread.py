"""The spool's own thread, and the files around it.

The event loop never touches the disk: it hands work to this thread and gets a future.  The
connection is made, used and closed there.  A file that is found damaged, when it is opened or
while it runs, is put aside under a name that tells when (``put_aside.py``), and a new one takes its place;
so it does when somebody removed the file, which SQLite alone would not notice.  Whoever keeps batches
learns of it from ``take_replaced``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import apsw

from edge_agent.ballast import SIZE, Ballast
from edge_agent.errors import SpoolError
from edge_agent.put_aside import Aside, has_lost_its_log, kept_aside, put_aside, put_log_aside, reason_of
from edge_agent.remains import read_remains
from edge_agent.spool import Opened, Spool

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
#: a running file is put aside when SQLite has called it damaged this often within so many seconds; what else
#: succeeds meanwhile does not help whoever needs the damaged part
_MOST_DAMAGES = 3
_DAMAGES_WITHIN_S = 60.0
#: sentences of ``take_replaced``; a file that was put aside has one of its own
REMOVED = "the spool was removed while the agent ran"
_GONE = "the spool was gone or empty"
#: less free than this is a full disk, whatever SQLite calls it
_FULL_BELOW = 256 * 1024


def connect_file(path: Path) -> Callable[[], apsw.Connection]:
    """Returns a function that opens the spool's database at ``path``."""

    def connect() -> apsw.Connection:
        return apsw.Connection(str(path))

    return connect


@dataclass(frozen=True, slots=True)
class _Place:
    """Which files lie there, and when the first one was last written."""

    #: device and inode of the spool and of its log
    files: tuple[tuple[int, int] | None, ...]
    #: nanoseconds, and bytes
    written: tuple[int, int]

    @classmethod
    def of(cls, path: Path, log: Path) -> _Place:
        files = (_place_of(path), _place_of(log))
        try:
            status = os.stat(path)
        except OSError:
            return cls(files, (0, 0))
        return cls(files, (status.st_mtime_ns, status.st_size))


class SpoolThread:
    """Runs every call on one :class:`Spool` in one thread, in order."""

    def __init__(self, path: Path, *, seconds: Callable[[], float] = time.monotonic) -> None:
        """Remembers what it needs; opens nothing.

        Args:
            seconds: a monotonic clock, for how close together damages are.
        """
        self._path = path
        self._spool = Spool(connect_file(path))
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        # Looked at with every call: a path made anew each time would fill the interpreter's table of interned names.
        self._log_path = path.with_name(path.name + "-wal")
        self._ballast = Ballast(path.with_name(path.name + ".ballast"))
        #: which files are open, and when the spool's own was last written; None when none is
        self._place: _Place | None = None
        #: how often somebody else has written to the file: each time is a reason to check it
        self.doubts = 0
        self._seconds = seconds
        #: when SQLite called the file damaged
        self._damages: list[float] = []
        self._replaced: str | None = None
        self._was_full = False
        #: whether the disk was full and no space is held against it
        self._is_tight = False
        #: files that were damaged and are kept beside the spool, as of the last time that one was opened
        self.aside: tuple[Aside, ...] = ()

    @property
    def path(self) -> Path:
        return self._path

    @property
    def used_bytes(self) -> int:
        """Bytes of all sealed batches, as of the last finished call."""
        return self._spool.used_bytes

    @property
    def held_bytes(self) -> int:
        """Bytes that the disk has given to the spool's file, its free pages with it; 0 where nobody can tell."""
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def run(self, work: Callable[[Spool], T]) -> asyncio.Future[T]:
        """Queues ``work`` and returns a future on the running loop; it raises SpoolError."""
        return asyncio.get_running_loop().run_in_executor(self._pool, self._call, work)

    def take_replaced(self) -> str | None:
        """Returns, once, the sentence that says why a new file took the place of the one before."""
        sentence, self._replaced = self._replaced, None
        return sentence

    def take_full(self) -> bool:
        """Returns, once, whether the disk was found full."""
        was, self._was_full = self._was_full, False
        return was

    async def open(self) -> Opened:
        """Opens the spool, putting a damaged file aside.

        Raises:
            SpoolError: it cannot be used at all (full, read-only, no permission).
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._open)

    async def condemn(self, why: str, place: tuple[int, int] | None) -> None:
        """Puts a file aside that a check found damaged, and goes on with a new one.

        Args:
            place: device and inode of that file; another one that lies there by now stays.

        Raises:
            SpoolError: it cannot be put aside.
        """

        def work() -> None:
            if _place_of(self._path) == place:
                _LOG.error("the spool is damaged: %s", why)
                self._replace()

        await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def hold_ballast(self) -> bool:
        """Takes space on the disk against the day when it is full; returns whether it is held."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._hold_ballast)

    async def close(self, *, wait_s: float = 5.0) -> None:
        """Closes the file; gives up waiting for a disk that does not answer."""
        closing = asyncio.get_running_loop().run_in_executor(self._pool, self._spool.close)
        try:
            await asyncio.wait_for(asyncio.shield(closing), wait_s)
        except TimeoutError:
            _LOG.error("the disk has not answered for %.0f s: leaving without closing the spool", wait_s)
        self._pool.shutdown(wait=False, cancel_futures=True)

    # -- in the thread ---------------------------------------------------------------

    def _hold_ballast(self) -> bool:
        is_held = self._ballast.hold()
        self._is_tight = self._is_tight and not is_held
        return is_held

    def _call(self, work: Callable[[Spool], T]) -> T:
        place = _Place.of(self._path, self._log_path)
        if self._place != place:
            if self._place is not None and self._place.files == place.files:
                # Only this thread writes it: what it holds now was not written by SQLite.
                _LOG.error("somebody else has written to %s", self._path)
                self.doubts += 1
                self._spool.leave()
            self._open_again()
        try:
            answer = work(self._spool)
        except SpoolError as error:
            self._place = None
            if _is_damage(error):
                now = self._seconds()
                self._damages = [at for at in self._damages if now - at < _DAMAGES_WITHIN_S] + [now]
                if len(self._damages) >= _MOST_DAMAGES:
                    self._replace()
                raise
            if not self._make_space(error):
                raise
            answer = work(self._spool)
        if self._is_tight:
            with contextlib.suppress(SpoolError):
                self._spool.settle_growth(self.held_bytes)
        self._place = _Place.of(self._path, self._log_path)
        return answer

    def _open(self) -> Opened:
        orphan = put_log_aside(self._path)
        if orphan is not None:
            _LOG.error(orphan)
        is_logless = has_lost_its_log(self._path)
        try:
            opened = self._spool.open()
        except SpoolError as error:
            # Of our own statements one can only be wrong here because the tables are.
            if (_is_damage(error) or isinstance(error.__cause__, apsw.SQLError)) and self._path.exists():
                _LOG.error("%s", error)
                opened = self._begin_new()
                self._replaced = None
            elif self._make_space(error):
                opened = self._spool.open()
            else:
                raise
        if orphan is not None and opened.put_aside is None:
            opened = replace(opened, put_aside=f"{_GONE}; {orphan}")
        if is_logless and opened.put_aside is None:
            sentence = "the log beside the spool is gone: what was sealed last may be missing"
            _LOG.error(sentence)
            opened = replace(opened, remark=sentence)
        self._now_open()
        return opened

    def _now_open(self) -> None:
        self._place = _Place.of(self._path, self._log_path)
        self.aside = kept_aside(self._path)
        free = self._ballast.free_bytes()
        if not self._ballast.hold() and free is not None and free < SIZE:
            # Full, and nothing is held back any more: the spool keeps to what it has before it is too late.
            self._was_full = self._is_tight = True

    def _open_again(self) -> None:
        """Opens the file after an error, or after somebody removed or exchanged it."""
        self._spool.close()
        self._place = None
        had_epochs = self._spool.has_epochs
        opened = self._open()
        if (
            had_epochs
            and not opened.epochs
            and (opened.put_aside is None or reason_of(opened.put_aside) == "spool_lost")
        ):
            self._replaced = REMOVED + (opened.put_aside or "").removeprefix(_GONE)
            _LOG.error(self._replaced)
        elif opened.put_aside is not None:
            self._replaced = opened.put_aside

    def _replace(self) -> None:
        self._damages.clear()
        self._spool.leave()
        self._place = None
        self._begin_new()
        self._now_open()

    def _begin_new(self) -> Opened:
        aside, self._replaced = put_aside(self._path)
        _LOG.error(self._replaced)
        before = read_remains(aside)
        return replace(self._spool.open(), put_aside=self._replaced, before=before)

    def _make_space(self, error: SpoolError) -> bool:
        """After a failure for want of space: gives the ballast back and empties the log."""
        free = self._ballast.free_bytes()
        if not isinstance(error.__cause__, apsw.FullError) and (free is None or free >= _FULL_BELOW):
            return False
        self._was_full = self._is_tight = True
        was_held = self._ballast.is_there
        if was_held:
            self._ballast.give_back()
            _LOG.error("the disk is full: the space that was held back for this is used now")
        try:
            self._spool.checkpoint()
        except SpoolError:
            return False
        if was_held:
            # Whoever filled the disk would take it too: what is deleted later needs pages for that.
            with contextlib.suppress(SpoolError):
                self._spool.take_pages()
        return True


def _is_damage(error: SpoolError) -> bool:
    return isinstance(error.__cause__, (apsw.CorruptError, apsw.NotADBError, ValueError, KeyError, TypeError))


def _place_of(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
