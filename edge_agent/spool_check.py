"""The full check of the spool: every page, and every row's own checksum, while the agent goes on.

It comes when polling has begun, once a day after that, and when somebody else has written to the file.
It runs in a thread of its own with the lowest priority, on a connection that only reads, in small steps with a
rest after each.  SQLite's check finds pages that do not fit together; what it does not see, a bit in the
bytes of a batch, the checksum of the row does.
A file whose pages do not fit together is put aside; a batch that is not what was written is signed for as
damaged and its row stays.  Nothing is repaired here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from edge_agent.errors import SpoolError
from edge_agent.remains import opened_to_read
from edge_agent.spool_records import StoredBatch, is_in_its_place, is_whole_row

_LOG = logging.getLogger(__name__)
#: how often (seconds of running)
EVERY_S = 86_400.0
#: how often it is asked whether there is a reason to check sooner (seconds)
_ASK_S = 5.0
#: steps of SQLite's check, and rows, between two rests (seconds)
_STEPS, _ROWS = 500, 50
_REST_S = 0.01
#: problems that one check tells at most, and damaged batches that it hands on
_MOST_PROBLEMS, _MOST_ROWS = 5, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a full check found."""

    #: what SQLite says of pages that do not fit together; empty where they do
    problems: tuple[str, ...] = ()
    #: batches that are not what was written
    batches: tuple[StoredBatch, ...] = ()
    rows: int = 0
    seconds: float = 0.0
    #: device and inode of the file that was checked
    place: tuple[int, int] | None = None
    #: why the check did not come to an end; empty where it did
    stopped: str = ""


def check_file(path: Path, *, is_stopped: Callable[[], bool], rest: Callable[[float], None] = time.sleep) -> Finding:
    """Checks a spool that may be in use; takes as long as it takes.

    Args:
        is_stopped: asked between two steps.
        rest: called between two steps with seconds.
    """
    begun = time.monotonic()

    def step() -> bool:
        rest(_REST_S)
        return is_stopped()

    problems: tuple[str, ...] = ()
    batches: list[StoredBatch] = []
    rows = 0
    stopped = ""
    place = None
    try:
        status = path.stat()
        place = (status.st_dev, status.st_ino)
        with opened_to_read(path) as db:
            db.set_progress_handler(step, _STEPS)
            said: list[Any] = db.execute(f"PRAGMA integrity_check({_MOST_PROBLEMS})").fetchall()
            problems = tuple(str(text) for (text,) in said if text != "ok")
            db.set_progress_handler(None)
            after = 0
            while not problems and not is_stopped() and len(batches) < _MOST_ROWS:
                piece: list[Any] = db.execute(
                    "SELECT id, digest, readings, first_us, last_us, checksum, envelope FROM batch"
                    " WHERE id>? ORDER BY id LIMIT ?",
                    (after, _ROWS),
                ).fetchall()
                if not piece:
                    break
                for id, digest, readings, first_us, last_us, checksum, envelope in piece:
                    after = id
                    rows += 1
                    if not is_whole_row(digest, checksum, envelope):
                        batches.append(
                            StoredBatch(id=id, digest=digest, readings=readings, envelope=envelope, is_whole=False)
                        )
                    elif not is_in_its_place(checksum, id, readings, first_us, last_us):
                        problems = (f"row {id} of table batch is not in the place where it was written",)
                rest(_REST_S)
    except (apsw.CorruptError, apsw.NotADBError, ValueError) as error:
        problems = (str(error),)
    except (apsw.Error, OSError) as error:
        stopped = str(error)
    return Finding(
        problems=problems,
        batches=tuple(batches),
        rows=rows,
        place=place,
        seconds=time.monotonic() - begun,
        stopped="stopped" if is_stopped() else stopped,
    )


class SpoolCheck:
    """Has the spool checked now and then, and tells what was found."""

    def __init__(
        self,
        path: Path,
        *,
        condemn: Callable[[str, tuple[int, int] | None], Awaitable[None]],
        damaged: Callable[[StoredBatch], None],
        doubts: Callable[[], int] = lambda: 0,
        every_s: float = EVERY_S,
    ) -> None:
        """Takes what it needs; starts nothing.

        Args:
            condemn: told that a file is damaged, and which; it raises SpoolError where nothing can be done.
            damaged: told of each batch that is.
            doubts: a count that grows when there is a reason to check at once.
        """
        self._path, self._condemn, self._damaged, self._every_s = path, condemn, damaged, every_s
        self._doubts = doubts
        self._stop = threading.Event()
        #: for the health record: ``running``, ``ok``, or what was found
        self.state = "not yet"

    async def run(self) -> None:
        """Checks, and checks again, until it is cancelled."""
        try:
            while True:
                doubts = self._doubts()
                await self.once()
                waited = 0.0
                while waited < self._every_s and self._doubts() == doubts:
                    await asyncio.sleep(_ASK_S)
                    waited += _ASK_S
        finally:
            self._stop.set()

    async def once(self) -> None:
        """Checks, and tells what was found."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Finding] = loop.create_future()

        def tell(found: Finding) -> None:
            if not done.done():
                done.set_result(found)

        def work() -> None:
            # The priority of this thread alone (setpriority(2), "per-thread attribute" on Linux).
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
            found = check_file(self._path, is_stopped=self._stop.is_set, rest=self._rest)
            if not self._stop.is_set():
                loop.call_soon_threadsafe(tell, found)

        self.state = "running"
        # No executor: leaving must not wait for a disk that does not answer.
        threading.Thread(target=work, name="spool-check", daemon=True).start()
        await self._take(await done)

    def _rest(self, seconds: float) -> None:
        self._stop.wait(seconds)

    async def _take(self, found: Finding) -> None:
        if found.problems:
            self.state = found.problems[0][:200]
            try:
                await self._condemn(self.state, found.place)
            except SpoolError as error:
                _LOG.error("the spool is damaged: %s; %s", self.state, error)
            return
        for batch in found.batches:
            self._damaged(batch)
        if found.stopped:
            self.state = found.stopped[:200]
            _LOG.error("the spool could not be checked: %s", found.stopped)
            return
        self.state = f"{len(found.batches)} damaged" if found.batches else "ok"
        _LOG.info("the spool is checked: %d batches in %.1f s, %s", found.rows, found.seconds, self.state)
