"""The mender: has the writer do one step of clock repair after another, and leaves it free most of the time.

It knows no step itself (``clock_repair.py``), and touches no database: each step is a job of the writer.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from collector.errors import CollectorError

_LOG = logging.getLogger(__name__)
#: the writer is free for this many times as long as a step has taken
_SHARE = 4


class Mender:
    """Lets the writer do one step after another, and leaves it free most of the time."""

    def __init__(
        self,
        run: Callable[[Callable[[sqlite3.Connection], Any]], Future[Any]],
        step: Callable[[], bool],
        *,
        idle_s: float = 1.0,
    ) -> None:
        """Takes the writer's way to run a job, and the store's step (True: there is more to do now)."""
        self._run_job = run
        self._step = step
        self._idle_s = idle_s
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=self._run, name="mender", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; safe twice."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None

    def _run(self) -> None:
        said = ""
        while not self._stopping.is_set():
            began = time.monotonic()
            pause_s = self._idle_s
            try:
                if self._run_job(lambda db: self._step()).result():
                    pause_s = min(self._idle_s, (time.monotonic() - began) * _SHARE)
                said = ""
            except CollectorError as error:
                if str(error) != said:
                    _LOG.error("clock repair waits: %s", error)
                said = str(error)
            except Exception:
                # The outermost loop: a defect here must not end repairs for good, nor be said every second.
                if said != "defect":
                    _LOG.exception("clock repair failed; it is tried again")
                said, pause_s = "defect", 60.0
            self._stopping.wait(pause_s)
