"""The serial RTU port: one thread per line, asked from asyncio.

The thread alone touches the port, because a user-space loop keeps the silence between
frames only when nothing else runs in it (asyncio's timers are a millisecond coarse).  The
exchange itself is ``drivers.exchange``; here are the queue, the thread and its life.  While a
late reply may come the idle thread looks at the line often, otherwise it sleeps until it is asked.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from contracts import quality
from drivers.exchange import Exchange, LineCounters
from drivers.port import RawRequest, RawResult, ReadRequest, ReadResult, WriteRequest, WriteResult, monotonic_us
from drivers.rs485 import NOT_OPEN, ElectronicsReport, Unavailable
from drivers.serial_wire import LineSettings, SerialWire, Wire

_LOG = logging.getLogger(__name__)
T = TypeVar("T")

#: how often an idle thread looks for a late reply (seconds)
_WATCH_S = 0.02
#: how old the electronics' report may be when a request is done (microseconds)
_REPORT_US = 5_000_000
_CLOSED = "port was closed"
_NO_ELECTRONICS = "this line is not on a serial port of this machine"


@dataclass(frozen=True, slots=True)
class _Job(Generic[T]):
    """What the thread is to do, and who waits for it."""

    run: Callable[[], T]
    when_closed: Callable[[], T]
    loop: asyncio.AbstractEventLoop
    result: asyncio.Future[T]

    def settle(self, *, closing: bool) -> None:
        """Does it, unless nobody waits any more, and hands the outcome over."""
        if self.result.cancelled():
            return
        try:
            outcome: T | Exception = self.when_closed() if closing else self.run()
        except Exception as error:  # the thread's outermost loop: whoever asked learns of it
            outcome = error
        try:
            self.loop.call_soon_threadsafe(self._hand_over, outcome)
        except RuntimeError:
            pass  # the loop has closed meanwhile, nobody waits for this any more

    def _hand_over(self, outcome: T | Exception) -> None:
        if self.result.done():
            return
        if isinstance(outcome, Exception):
            self.result.set_exception(outcome)
        else:
            self.result.set_result(outcome)


class SerialLine:
    """A ``RawPort`` over one serial line."""

    def __init__(
        self,
        settings: LineSettings,
        *,
        wire: Wire | None = None,
        clock_us: Callable[[], int] = monotonic_us,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._clock_us = clock_us
        self._serial = SerialWire(settings) if wire is None else None
        self._exchange = Exchange(
            settings, wire or self._serial or SerialWire(settings), clock_us=clock_us, sleep=sleep
        )
        self._closed_report = ElectronicsReport(
            path=settings.path, because=NOT_OPEN if wire is None else _NO_ELECTRONICS
        )
        self._report = self._closed_report
        self._reported_us: int | None = None
        self._jobs: queue.SimpleQueue[_Job[ReadResult] | _Job[WriteResult] | _Job[RawResult] | None]
        self._jobs = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closing = False

    @property
    def counters(self) -> LineCounters:
        """What the line has seen so far."""
        return self._exchange.counters

    def electronics(self) -> ElectronicsReport:
        """Returns what the kernel last told about the port, a few seconds old at most while it is used."""
        return self._report

    async def open(self) -> None:
        """Starts the thread, which opens the port; one that is not there is tried again by reads."""
        if self._thread is None:
            self._closing = False
            self._reported_us = None
            self._thread = threading.Thread(target=self._run, name=f"line {self._settings.path}", daemon=True)
            self._thread.start()

    async def read(self, request: ReadRequest) -> ReadResult:
        """Asks once; requests wait for each other in the order in which they were made.

        Raises:
            RequestError: Modbus cannot carry the request.
        """

        def refused() -> ReadResult:
            now = self._clock_us()
            return ReadResult(words=None, code=quality.PORT_CLOSED, requested_us=now, replied_us=now, detail=_CLOSED)

        loop, exchange = asyncio.get_running_loop(), self._exchange
        return await self._do(_Job(lambda: exchange.ask(request), refused, loop, loop.create_future()))

    async def write(self, request: WriteRequest) -> WriteResult:
        """Writes once, in turn with the reads.

        Raises:
            RequestError: Modbus cannot carry the request.
        """

        def refused() -> WriteResult:
            now = self._clock_us()
            return WriteResult(code=quality.PORT_CLOSED, requested_us=now, replied_us=now, detail=_CLOSED)

        loop, exchange = asyncio.get_running_loop(), self._exchange
        return await self._do(_Job(lambda: exchange.write(request), refused, loop, loop.create_future()))

    async def raw(self, request: RawRequest) -> RawResult:
        """Sends any bytes, or only listens, in turn with the reads; see ``Exchange.raw``."""

        def refused() -> RawResult:
            now = self._clock_us()
            return RawResult(heard=(), code=quality.PORT_CLOSED, requested_us=now, ended_us=now, detail=_CLOSED)

        loop, exchange = asyncio.get_running_loop(), self._exchange
        return await self._do(_Job(lambda: exchange.raw(request), refused, loop, loop.create_future()))

    def retry_now(self) -> None:
        """Lets the next request open the port, because it is known to be back."""
        self._exchange.retry_now()

    async def close(self) -> None:
        """Stops the thread after the exchange that runs; what waits behind it gets ``port_closed``."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._closing = True
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

    async def _do(self, job: _Job[T]) -> T:
        if self._thread is None:
            return job.when_closed()
        self._jobs.put(job)  # type: ignore[arg-type]  # T is one of the three results
        return await job.result

    def _run(self) -> None:
        exchange = self._exchange
        self._by_itself(exchange.try_open)
        self._by_itself(self._refresh)
        while True:
            try:
                job = self._jobs.get(timeout=_WATCH_S if exchange.is_watching() else None)
            except queue.Empty:
                self._by_itself(exchange.look)
                continue
            if job is None:
                break
            job.settle(closing=self._closing)
            self._by_itself(self._refresh)
        exchange.close()
        self._report = self._closed_report

    def _by_itself(self, act: Callable[[], object]) -> None:
        """Does what nobody asked for; a defect there must not end the thread, because then no read would ever end."""
        try:
            act()
        except Exception:
            _LOG.exception("line %s: %s failed", self._settings.path, getattr(act, "__name__", act))

    def _refresh(self) -> None:
        now = self._clock_us()
        if self._serial is not None and (self._reported_us is None or now - self._reported_us >= _REPORT_US):
            self._reported_us = now
            before, self._report = self._report.rs485, self._serial.electronics()
            if isinstance(self._report.rs485, Unavailable) and before != self._report.rs485:
                _LOG.error("%s: RS-485 direction by the kernel is %s", self._settings.path, self._report.rs485)
