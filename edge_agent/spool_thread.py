"""The spool's own thread, and the files around it.

The event loop never touches the disk: it hands work to this thread and gets a future.  The
connection is made, used and closed there.  A file that SQLite finds damaged, when it is opened or
while it runs, is put aside under a name that tells so, and a new one takes its place; so it
does when somebody removed the file, which SQLite alone would not notice.  Whoever keeps batches
learns of it from ``take_replaced``.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import apsw

from edge_agent.ballast import Ballast
from edge_agent.errors import SpoolError
from edge_agent.spool import Opened, Spool

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
#: at most this many damaged files are kept beside the spool; then the agent refuses to start
_MOST_ASIDE = 20
#: a running file is put aside when SQLite has called it damaged this often without a success between
_MOST_DAMAGES = 3
#: less free than this is a full disk, whatever SQLite calls it
_FULL_BELOW = 256 * 1024


def connect_file(path: Path) -> Callable[[], apsw.Connection]:
    """Returns a function that opens the spool's database at ``path``."""

    def connect() -> apsw.Connection:
        return apsw.Connection(str(path))

    return connect


def put_aside(path: Path) -> str:
    """Renames a damaged spool with its log; returns a sentence that says where it is.

    Raises:
        SpoolError: it cannot be renamed, or too many lie there already; somebody should look.
    """
    for number in range(1, _MOST_ASIDE + 1):
        aside = path.with_name(f"{path.name}.damaged-{number}")
        if not aside.exists():
            try:
                for suffix in ("-wal", "-shm"):
                    companion = path.with_name(path.name + suffix)
                    if companion.exists():
                        companion.rename(aside.with_name(aside.name + suffix))
                path.rename(aside)
            except OSError as error:
                raise SpoolError(f"the damaged spool {path} cannot be put aside: {error.strerror}") from error
            return f"the spool was damaged and is kept as {aside.name}"
    raise SpoolError(f"{_MOST_ASIDE} damaged spools lie beside {path}: look at them and move them away")


class SpoolThread:
    """Runs every call on one :class:`Spool` in one thread, in order."""

    def __init__(self, path: Path, *, quota_bytes: int, reserve_bytes: int) -> None:
        self._path = path
        self._spool = Spool(connect_file(path), quota_bytes=quota_bytes, reserve_bytes=reserve_bytes)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        self._ballast = Ballast(path.with_name(path.name + ".ballast"))
        #: device and inode of the file that is open; None when none is
        self._place: tuple[int, int] | None = None
        self._damages = 0
        self._replaced: str | None = None
        self._was_full = False

    @property
    def path(self) -> Path:
        return self._path

    @property
    def used_bytes(self) -> int:
        """Bytes of all sealed batches, as of the last finished call."""
        return self._spool.used_bytes

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

    async def hold_ballast(self) -> bool:
        """Takes space on the disk against the day when it is full; returns whether it is held."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._ballast.hold)

    async def close(self, *, wait_s: float = 5.0) -> None:
        """Closes the file; gives up waiting for a disk that does not answer."""
        closing = asyncio.get_running_loop().run_in_executor(self._pool, self._spool.close)
        try:
            await asyncio.wait_for(asyncio.shield(closing), wait_s)
        except TimeoutError:
            _LOG.error("the disk has not answered for %.0f s: leaving without closing the spool", wait_s)
        self._pool.shutdown(wait=False, cancel_futures=True)

    # -- in the thread ---------------------------------------------------------------

    def _call(self, work: Callable[[Spool], T]) -> T:
        if self._place is None or self._place != _place_of(self._path):
            self._open_again()
        try:
            answer = work(self._spool)
        except SpoolError as error:
            self._place = None
            if _is_damage(error):
                self._damages += 1
                if self._damages >= _MOST_DAMAGES:
                    self._replace()
                raise
            if not self._make_space(error):
                raise
            answer = work(self._spool)
        self._damages = 0
        return answer

    def _open(self) -> Opened:
        try:
            opened = self._spool.open()
        except SpoolError as error:
            if _is_damage(error) and self._path.exists():
                opened = replace(self._begin_new(), put_aside=self._replaced)
                self._replaced = None
            elif self._make_space(error):
                opened = self._spool.open()
            else:
                raise
        self._now_open()
        return opened

    def _now_open(self) -> None:
        self._place = _place_of(self._path)
        self._ballast.hold()

    def _open_again(self) -> None:
        """Opens the file after an error, or after somebody removed or exchanged it."""
        self._spool.close()
        self._place = None
        had_epochs = self._spool.has_epochs
        opened = self._open()
        if opened.put_aside is not None:
            self._replaced = opened.put_aside
        elif had_epochs and not opened.epochs:
            self._replaced = "the spool was removed while the agent ran"
            _LOG.error(self._replaced)

    def _replace(self) -> None:
        self._damages = 0
        self._spool.close()
        self._begin_new()
        self._now_open()

    def _begin_new(self) -> Opened:
        self._replaced = put_aside(self._path)
        _LOG.error(self._replaced)
        return self._spool.open()

    def _make_space(self, error: SpoolError) -> bool:
        """After a failure for want of space: gives the ballast back and empties the log."""
        free = self._ballast.free_bytes()
        if not isinstance(error.__cause__, apsw.FullError) and (free is None or free >= _FULL_BELOW):
            return False
        self._was_full = True
        if self._ballast.is_there:
            self._ballast.give_back()
            _LOG.error("the disk is full: the space that was held back for this is used now")
        try:
            self._spool.checkpoint()
        except SpoolError:
            return False
        return True


def _is_damage(error: SpoolError) -> bool:
    return isinstance(error.__cause__, (apsw.CorruptError, apsw.NotADBError, ValueError, KeyError))


def _place_of(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
