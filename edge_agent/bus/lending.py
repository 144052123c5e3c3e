"""A technician's job on a line that is polled: when it may have a slot, and what it may not take.

A job says how many seconds it needs at most and gets them between two requests:

* never where an alarm block would be later than its deadline (``Schedule.alarm_comes_by``);
* while the line has nothing else to do at any time, otherwise at most its share of the time
  (``JOB_SHARE``; a burst of the agent's own states more);
* after a job somebody who is due goes first;
* within ``WAIT_S``, or it is refused in words.

A job with the share ``FIRST`` waits for none of these, only for the request or job that is under way: an alarm
output is switched so.  What such jobs cost the alarm points is counted by the budget (``output_cost``).
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from drivers.port import BusPort
from edge_agent.bus.schedule import Schedule
from edge_agent.errors import ControlError

#: of the line's time, while others want it
JOB_SHARE = 0.25
#: share of a job that goes before everybody; whoever asks with it keeps its own pace
FIRST = math.inf
#: a job that finds no slot within this is refused (seconds)
WAIT_S = 30.0
#: a job may not ask for more at once (seconds)
LONGEST_JOB_S = 30.0
#: a job that is cancelled may take this long to end (seconds)
_CANCEL_LIMIT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Somebody's work on the port."""

    work: Callable[[BusPort], Awaitable[Any]]
    #: how long it takes at most
    seconds: float
    #: monotonic us
    asked_us: int
    #: gets what the work returns or raises
    answer: asyncio.Future[Any]
    #: of the line's time that its owner may take while others want it, above 0 and at most 1; a burst of one
    #: short read after the other takes 1, so that its steps stay equal (turns of others come in between); or FIRST
    share: float = JOB_SHARE

    @property
    def lapses_us(self) -> int:
        """When it is refused, monotonic us."""
        return self.asked_us + round(WAIT_S * 1_000_000)


class Lending:
    """The jobs that wait for one port, first come, first served."""

    __slots__ = ("_clock", "_lent_last", "_port", "_port_id", "_rest_until_us", "_under_way", "served", "waiting")

    def __init__(self, port_id: str, port: BusPort, clock: Callable[[], int]) -> None:
        """Takes the port that is lent, and the monotonic clock in us."""
        self._port_id = port_id
        self._port = port
        self._clock = clock
        #: in the order in which they asked
        self.waiting: deque[Job] = deque()
        self._under_way: asyncio.Future[Any] | None = None
        self._rest_until_us = 0
        self._lent_last = False
        #: jobs that had their slot
        self.served = 0

    def ask(self, work: Callable[[BusPort], Awaitable[Any]], seconds: float, share: float) -> asyncio.Future[Any]:
        """Lets a job wait for its slot; returns what becomes of it.

        Raises:
            ControlError: it asks for more than any job may have.
        """
        if not 0 < seconds <= LONGEST_JOB_S:
            raise ControlError(
                f"a job on port {self._port_id} may take up to {LONGEST_JOB_S:g} s, not {seconds:g} s", exit_status=2
            )
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        job = Job(work=work, seconds=seconds, share=share, asked_us=self._clock(), answer=answer)
        if share == FIRST:
            self.waiting.appendleft(job)
        else:
            self.waiting.append(job)
        return answer

    def take(self, schedule: Schedule, spare_ms: Sequence[int], now_us: int) -> Job | None:
        """Takes the job that may start now; one that waited too long is refused.

        Args:
            schedule: of the port.
            spare_ms: per slot, how much longer than in its worst case it may wait after its tick.
            now_us: monotonic.
        """
        job = self._first()
        if job is None or self._under_way is not None:
            return None
        if job.share == FIRST:
            return self.waiting.popleft()
        end_ms = (now_us + round(job.seconds * 1_000_000)) // 1000 + 1
        is_idle = schedule.is_idle_until(end_ms)
        costs_alarm = schedule.alarm_comes_by(end_ms, spare_ms)
        if self._lent_last and not schedule.is_idle_until(now_us // 1000 + 1):
            self._lent_last = False
            return None
        if not costs_alarm and (is_idle or now_us >= self._rest_until_us):
            return self.waiting.popleft()
        if now_us >= job.lapses_us:
            self.waiting.popleft()
            reason = (
                f"its alarm points leave no room for {job.seconds:g} s at once; a shorter job would fit"
                if costs_alarm
                else "others used the line; try again"
            )
            job.answer.set_exception(ControlError(f"port {self._port_id} had no slot within {WAIT_S:g} s: {reason}"))
        return None

    def look_again_us(self, now_us: int) -> int | None:
        """Returns when a waiting job should be looked at, monotonic us; None: no job waits."""
        job = self._first()
        if job is None:
            return None
        return min(job.lapses_us, self._rest_until_us) if self._rest_until_us > now_us else job.lapses_us

    async def run(self, job: Job) -> int:
        """Gives a job its slot and answers it; returns the time that it took, us."""
        began = self._clock()
        if job.share == FIRST:
            await self._run_first(job)
            return self._clock() - began
        work: asyncio.Future[Any] = asyncio.ensure_future(job.work(self._port))
        self._under_way = work
        job.answer.add_done_callback(lambda answer: work.cancel() if answer.cancelled() else None)
        try:
            await asyncio.wait({work}, timeout=job.seconds)
            is_late = not work.done()
            if is_late:
                work.cancel()
                await asyncio.wait({work}, timeout=_CANCEL_LIMIT_S)
        finally:
            work.cancel()
            self._under_way = None
            took = self._clock() - began
            self.served += 1
            self._lent_last = True
            self._rest_until_us = began + round(took / job.share)
        self._settle(job, work, is_late=is_late)
        return took

    async def _run_first(self, job: Job) -> None:
        """Runs a job without a task of its own: its first request leaves in this very step of the poller."""
        # Only its place is taken: what it asks is bounded by the port, so a stop lets it end.
        self._under_way = asyncio.get_running_loop().create_future()
        error: BaseException | None = None
        try:
            async with asyncio.timeout(job.seconds):
                result = await job.work(self._port)
            if not job.answer.done():
                job.answer.set_result(result)
        except TimeoutError:
            error = ControlError(f"the job on port {self._port_id} took longer than the {job.seconds:g} s it asked for")
        except Exception as raised:
            error = raised
        finally:
            self._under_way = None
            self.served += 1
            if not job.answer.done():
                job.answer.set_exception(error or ControlError(f"the job on port {self._port_id} was stopped with it"))

    def stop(self) -> None:
        """Cancels the job under way."""
        if self._under_way is not None:
            self._under_way.cancel()

    def refuse_all(self) -> None:
        """Answers every job that waits: the port is being stopped."""
        while (job := self._first()) is not None:
            self.waiting.popleft()
            job.answer.set_exception(ControlError(f"port {self._port_id} is being stopped; try again in a few seconds"))

    def _first(self) -> Job | None:
        """The job whose turn is next; those that nobody waits for any more are dropped."""
        while self.waiting and self.waiting[0].answer.done():
            self.waiting.popleft()
        return self.waiting[0] if self.waiting else None

    def _settle(self, job: Job, work: asyncio.Future[Any], *, is_late: bool) -> None:
        if work.done() and not work.cancelled():
            error = work.exception()
            if job.answer.done():
                return
            if error is None:
                job.answer.set_result(work.result())
            else:
                job.answer.set_exception(error)
        elif not job.answer.done():
            reason = f"took longer than the {job.seconds:g} s it asked for" if is_late else "was stopped with the port"
            job.answer.set_exception(ControlError(f"the job on port {self._port_id} {reason}"))
