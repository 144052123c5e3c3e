"""Virtual time: a clock that only moves when an event loop has nothing left to do, and such a loop.

It is asyncio's own loop with another selector: what would be waited for is skipped, and the clock is set
to the next timer.  Work for the spool's thread is done in the loop, in order, and takes as long as
the virtual disk says.  Nothing sleeps, no thread runs, and a run with the same steps is the same run.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections import deque
from collections.abc import Callable
from typing import Any

#: turns of the loop without any time passing: more is a task that never comes to rest
_MOST_TURNS = 20_000
#: timers that may come due in one stretch of time, however long: two days of the agent's own are far fewer
_MOST_NAPS = 200_000


class Clock:
    """True time, us since the beginning; no clock of the gateway or the collector is this one."""

    def __init__(self, now_us: int) -> None:
        self.begin_us = self.now_us = now_us

    def seconds(self) -> float:
        """Returns the time since the beginning: few enough seconds that a float still tells nanoseconds apart."""
        return (self.now_us - self.begin_us) / 1e6


class _Skipper(selectors.SelectSelector):
    """Moves the clock instead of waiting."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.until_us = clock.now_us
        self.loop: VirtualLoop | None = None
        self.turns = 0
        self.naps = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout == 0:
            self.turns += 1
            if self.turns > _MOST_TURNS:
                raise AssertionError("something in the loop goes on for ever without time passing")
            return []
        self.turns = 0
        self.naps += 1
        if self.naps > _MOST_NAPS:
            waiting = [] if self.loop is None else self.loop._scheduled[:3]  # type: ignore[attr-defined]
            raise AssertionError(f"something in the loop wakes up for ever and finds nothing to do: {waiting}")
        left_us = self.until_us - self.clock.now_us
        wait_us = left_us if timeout is None else min(left_us, max(1, math.ceil(timeout * 1e6)))
        self.clock.now_us += wait_us
        if wait_us >= left_us and self.loop is not None:
            self.loop.stop()
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop of one program's life; a crash is to leave it where it stands."""

    def __init__(self, clock: Clock, disk_delay_us: Callable[[], int]) -> None:
        """Takes the clock, and how long the next call to the disk is to take."""
        self._virtual_clock = clock
        self._skipper = _Skipper(clock)
        super().__init__(self._skipper)
        self._skipper.loop = self
        self._delay_us = disk_delay_us
        self._jobs: deque[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]] = deque()

    def time(self) -> float:
        return self._virtual_clock.seconds()

    def pass_time(self, seconds: float = 0.0) -> None:
        """Lets everything come to rest, and time pass; 0: what is due now."""
        self._skipper.naps = 0
        self._skipper.until_us = self._virtual_clock.now_us + round(seconds * 1e6)
        self.run_forever()

    def do(self, work: Callable[[], Any], *, after_s: float = 0.0) -> None:
        """Does something in the loop, now or when time has passed, and lets what follows from it come to rest.

        Raises:
            Exception: what the work raised.
        """
        raised: list[BaseException] = []
        done: list[bool] = []

        def call() -> None:
            done.append(True)
            try:
                work()
            except BaseException as error:
                raised.append(error)

        if after_s:
            self.call_at(self.time() + after_s, call)
        else:
            self.call_soon(call)
        self.pass_time(after_s)
        if after_s and not done:
            self.pass_time()
        if raised:
            raise raised[0]

    def abandon(self) -> None:
        """A crash: nothing that waits is ever done."""
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._jobs.clear()
        self._ready.clear()  # type: ignore[attr-defined]
        self._scheduled.clear()  # type: ignore[attr-defined]
        self.close()

    # -- the disk's thread -------------------------------------------------------------

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Queues work of the disk's one thread."""
        future: asyncio.Future[Any] = self.create_future()
        self._jobs.append((future, func, args))
        if len(self._jobs) == 1:
            self._begin()
        return future

    def _begin(self) -> None:
        # Half of the time goes before the disk has done it, half before the caller hears of it.
        half_s = self._delay_us() / 2e6
        if half_s:
            self.call_later(half_s, self._work, half_s)
        else:
            self.call_soon(self._work, 0.0)

    def _work(self, rest_s: float) -> None:
        future, func, args = self._jobs[0]
        answer: Any = None
        raised: Exception | None = None
        try:
            answer = func(*args)
        except Exception as error:
            raised = error
        if rest_s:
            self.call_later(rest_s, self._answer, future, answer, raised)
        else:
            self._answer(future, answer, raised)

    def _answer(self, future: asyncio.Future[Any], answer: Any, raised: Exception | None) -> None:
        self._jobs.popleft()
        if not future.done():
            if raised is None:
                future.set_result(answer)
            else:
                future.set_exception(raised)
        if self._jobs:
            self._begin()
