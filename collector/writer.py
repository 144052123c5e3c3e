"""The writer thread: takes verdicts from the queue, commits them in groups, then answers.

    link thread --put--> [urgent | ordinary] --group--> Store.commit --> receipts --> changes

Urgent (alarms, asks) goes before ordinary and is committed on its own, so an alarm never
waits behind a backlog.  Groups form by themselves: whatever came while the last commit was
on its way to the disk is the next group.  The queue is bounded; when it is full ``put``
waits, and receipts come more slowly.

A disk that takes no commit is said once; the group goes back to its queue and is tried again until
it does.  Nothing is acknowledged before.  Jobs and urgent messages that come meanwhile are tried
before it: they are small, and a job that drops old evidence makes room.  A group that fails for
another reason is taken one by one, and what still fails is left out, counted and logged: its
gateway will offer it again.
"""

from __future__ import annotations

import gc
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from collector.errors import StoreError
from collector.ingest import Accepted, Asked, Refused
from collector.receipts import sign_receipt, sign_time
from collector.store import Arrival, CommitResult, Store
from collector.views import Change
from contracts.batch import Lane
from contracts.keys import Signer

_LOG = logging.getLogger(__name__)

QUEUE_SIZE = 4096
GROUP_SIZE = 128
#: between two tries on a disk that takes nothing (s)
RETRY_S = 0.5
#: longest wait of ``put`` for room before it lets go (s); the gateway will offer it again
PUT_WAIT_S = 5.0
TALLIED = ("accepted", "readings", "duplicates", "waiting", "refused", "quarantined")
COUNTED = (*TALLIED, "receipts", "commits", "failed_commits", "let_go")


def calm_garbage_collection() -> None:
    """Makes Python look for cycles less often: columns are many lists and no cycles.

    With the usual thresholds a third of the ingest time goes into looking at them.
    """
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


Job = tuple[Callable[[sqlite3.Connection], Any], "Future[Any]"]


class Writer:
    """Owns the store while it runs."""

    def __init__(
        self,
        store: Store,
        signer: Signer,
        *,
        publish: Callable[[str, bytes], object],
        on_change: Callable[[Change], object],
        now_us: Callable[[], int],
    ) -> None:
        """Takes an open store; ``publish`` and ``on_change`` are called from the writer's thread."""
        self._store = store
        self._signer = signer
        self._publish = publish
        self._on_change = on_change
        self._now_us = now_us
        self._urgent: deque[Arrival] = deque()
        self._ordinary: deque[Arrival] = deque()
        self._jobs: deque[Job] = deque()
        self._condition = threading.Condition()
        self._stopping = False
        self._is_failing = False
        #: whose newest group the disk has refused: the urgent ones' (True), the ordinary ones' (False)
        self._refused: set[bool] = set()
        self._thread: threading.Thread | None = None
        self._counts: dict[str, float] = dict.fromkeys(
            (
                "accepted",
                "readings",
                "duplicates",
                "waiting",
                "refused",
                "quarantined",
                "receipts",
                "commits",
                "failed_commits",
                "let_go",
            ),
            0.0,
        )

    def start(self) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Commits what is queued, unless the disk refuses, and ends; safe twice."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=15)
            self._thread = None

    def put(self, arrival: Arrival) -> bool:
        """Queues a verdict; waits for room.  Returns False when it had to be let go."""
        urgent = _is_urgent(arrival)
        queue = self._urgent if urgent else self._ordinary
        with self._condition:
            if len(queue) >= QUEUE_SIZE:
                self._condition.wait_for(lambda: len(queue) < QUEUE_SIZE or self._stopping, timeout=PUT_WAIT_S)
                if len(queue) >= QUEUE_SIZE or self._stopping:
                    self._counts["let_go"] += 1
                    return False
            queue.append(arrival)
            self._condition.notify_all()
        return True

    def run(self, job: Callable[[sqlite3.Connection], Any]) -> Future[Any]:
        """Runs a small write in the writer's thread and in a transaction of its own."""
        future: Future[Any] = Future()
        with self._condition:
            if self._stopping:
                future.set_exception(StoreError("the collector is stopping"))
                return future
            self._jobs.append((job, future))
            self._condition.notify_all()
        return future

    def counters(self) -> dict[str, float]:
        """Returns what happened since the start, for metrics."""
        with self._condition:
            return {f"ingest_{name}": value for name, value in self._counts.items()} | {
                "ingest_queue": float(len(self._urgent) + len(self._ordinary)),
                "ingest_failing": float(self._is_failing),
            }

    # ---- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._urgent or self._ordinary or self._jobs or self._stopping)
                jobs = [self._jobs.popleft() for _ in range(len(self._jobs))]
                queue = self._urgent or self._ordinary
                group = [queue.popleft() for _ in range(min(len(queue), GROUP_SIZE))]
                self._condition.notify_all()
                is_urgent = queue is self._urgent
                if not jobs and not group and self._stopping:
                    return
            for job, future in jobs:
                self._run_job(job, future)
            left = self._commit(group, is_urgent=is_urgent) if group else []
            if left:
                # Back where it was: an alarm, or a job, that comes meanwhile does not wait behind it.
                with self._condition:
                    queue.extendleft(reversed(left))
                    if self._condition.wait_for(lambda: self._stopping, timeout=RETRY_S):
                        for _, future in self._jobs:
                            if future.set_running_or_notify_cancel():
                                future.set_exception(StoreError("the collector is stopping"))
                        return

    def _run_job(self, job: Callable[[sqlite3.Connection], Any], future: Future[Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return  # whoever asked has been told that it was not done
        try:
            future.set_result(self._store.run(job))
        except Exception as error:  # the outermost loop: whoever asked is told
            future.set_exception(error)

    def _commit(self, group: list[Arrival], *, is_urgent: bool) -> list[Arrival]:
        """Commits a group and answers; returns what is left of it because the disk takes nothing."""
        try:
            result = self._store.commit(group)
        except StoreError as error:
            self._refused.add(is_urgent)
            self._say_failing(error)
            with self._condition:
                self._counts["failed_commits"] += 1
            return group
        except Exception:  # the outermost loop: one message must not stop the others
            _LOG.exception("a group of %d messages could not be taken", len(group))
            if len(group) == 1:
                with self._condition:
                    self._counts["let_go"] += 1
                return []
            for number, arrival in enumerate(group):
                if self._commit([arrival], is_urgent=is_urgent):
                    return group[number:]
            return []
        self._refused.discard(is_urgent)
        if not self._refused:
            self._say_working()
        try:
            self._answer(result)
        except Exception:  # the outermost loop: what is committed stays so, and a gateway asks for its receipt again
            _LOG.exception("what was committed could not be answered for")
        return []

    def _answer(self, result: CommitResult) -> None:
        """Everything that may happen only after the commit."""
        committed_us = self._now_us()
        with self._condition:
            for name in TALLIED:
                self._counts[name] += getattr(result, name)
            self._counts["commits"] += 1
        for receipt in result.receipts:
            self._publish(*sign_receipt(receipt, self._signer))
        for time in result.times:
            self._publish(*sign_time(time, self._signer))
        if result.to_stamp:
            try:
                self._store.stamp(result.to_stamp, committed_us)
            except StoreError as error:
                self._say_failing(error)
        with self._condition:
            self._counts["receipts"] += len(result.receipts)
        change = result.change
        if change.gateways or change.alarms or change.points:
            self._on_change(change)

    def _say_failing(self, error: StoreError) -> None:
        if not self._is_failing:
            self._is_failing = True
            _LOG.error("the store takes no commit, nothing is acknowledged until it does: %s", error)

    def _say_working(self) -> None:
        if self._is_failing:
            self._is_failing = False
            _LOG.warning("the store takes commits again")


def _is_urgent(arrival: Arrival) -> bool:
    verdict = arrival.verdict
    if isinstance(verdict, Accepted):
        return verdict.batch.header.lane is Lane.ALARM
    if isinstance(verdict, Refused):
        return verdict.header.lane is Lane.ALARM
    return isinstance(verdict, Asked)
