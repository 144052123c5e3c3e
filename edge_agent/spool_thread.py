"""The spool's own thread, and the files around it.

The event loop never touches the disk: it hands work to this thread and gets a future.  The
connection is made, used and closed there.  A file that SQLite finds damaged when it is opened is
put aside under a name that tells when, and a new one takes its place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw

from edge_agent.errors import SpoolError
from edge_agent.spool import Opened, Spool

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
#: at most this many damaged files are kept beside the spool; then the agent refuses to start
_MOST_ASIDE = 20


def connect_file(path: Path) -> Callable[[], apsw.Connection]:
    """Returns a function that opens the spool's database at ``path``."""

    def connect() -> apsw.Connection:
        return apsw.Connection(str(path))

    return connect


def put_aside(path: Path) -> str:
    """Renames a damaged spool with its log; returns a sentence that says where it is.

    Raises:
        SpoolError: too many lie there already; somebody should look.
    """
    for number in range(1, _MOST_ASIDE + 1):
        aside = path.with_name(f"{path.name}.damaged-{number}")
        if not aside.exists():
            for suffix in ("-wal", "-shm"):
                companion = path.with_name(path.name + suffix)
                if companion.exists():
                    companion.rename(aside.with_name(aside.name + suffix))
            path.rename(aside)
            return f"the spool was damaged and is kept as {aside.name}"
    raise SpoolError(f"{_MOST_ASIDE} damaged spools lie beside {path}: look at them and move them away")


class SpoolThread:
    """Runs every call on one :class:`Spool` in one thread, in order."""

    def __init__(self, path: Path, *, quota_bytes: int, reserve_bytes: int) -> None:
        self._path = path
        self._spool = Spool(connect_file(path), quota_bytes=quota_bytes, reserve_bytes=reserve_bytes)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")

    @property
    def path(self) -> Path:
        return self._path

    @property
    def used_bytes(self) -> int:
        """Bytes of all sealed batches, as of the last finished call."""
        return self._spool.used_bytes

    def run(self, work: Callable[[Spool], T]) -> asyncio.Future[T]:
        """Queues ``work`` and returns a future on the running loop."""
        return asyncio.get_running_loop().run_in_executor(self._pool, work, self._spool)

    async def open(self) -> Opened:
        """Opens the spool, putting a damaged file aside.

        Raises:
            SpoolError: it cannot be used at all (full, read-only, no permission).
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._open)

    def _open(self) -> Opened:
        existed = self._path.exists()
        try:
            return self._spool.open()
        except SpoolError as error:
            if not existed or not isinstance(error.__cause__, (apsw.CorruptError, apsw.NotADBError)):
                raise
            sentence = put_aside(self._path)
            _LOG.error("%s (%s)", sentence, error)
            opened = self._spool.open()
            return Opened(
                epochs=opened.epochs,
                lanes=opened.lanes,
                state=opened.state,
                catalogues=opened.catalogues,
                put_aside=sentence,
            )

    async def close(self, *, wait_s: float = 5.0) -> None:
        """Closes the file; gives up waiting for a disk that does not answer."""
        closing = asyncio.get_running_loop().run_in_executor(self._pool, self._spool.close)
        try:
            await asyncio.wait_for(asyncio.shield(closing), wait_s)
        except TimeoutError:
            _LOG.error("the disk has not answered for %.0f s: leaving without closing the spool", wait_s)
        self._pool.shutdown(wait=False, cancel_futures=True)
