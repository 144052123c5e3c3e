"""The serial RTU port: one thread per line, asked from asyncio.

The thread alone touches the port, because a user-space loop keeps the silence between
frames only when nothing else runs in it (asyncio's timers are a millisecond coarse).  The
exchange itself is ``drivers.exchange``; here are the queue, the thread and its life.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable

from contracts import quality
from drivers.exchange import Exchange, LineCounters
from drivers.port import ReadRequest, ReadResult, monotonic_us
from drivers.serial_wire import LineSettings, SerialWire, Wire

_Result = asyncio.Future[ReadResult]
_Job = tuple[ReadRequest, asyncio.AbstractEventLoop, _Result]


class SerialLine:
    """A ``BusPort`` over one serial line."""

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
        self._exchange = Exchange(settings, wire or SerialWire(settings), clock_us=clock_us, sleep=sleep)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closing = False

    @property
    def counters(self) -> LineCounters:
        """What the line has seen so far."""
        return self._exchange.counters

    async def open(self) -> None:
        """Starts the thread, which opens the port; one that is not there is tried again by reads."""
        if self._thread is None:
            self._closing = False
            self._thread = threading.Thread(target=self._run, name=f"line {self._settings.path}", daemon=True)
            self._thread.start()

    async def read(self, request: ReadRequest) -> ReadResult:
        """Asks once; reads wait for each other in the order in which they were made.

        Raises:
            RequestError: Modbus cannot carry the request.
        """
        if self._thread is None:
            return self._not_open()
        loop = asyncio.get_running_loop()
        result: _Result = loop.create_future()
        self._jobs.put((request, loop, result))
        return await result

    async def close(self) -> None:
        """Stops the thread after the exchange that runs; what waits behind it gets ``port_closed``."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._closing = True
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

    def _run(self) -> None:
        self._exchange.try_open()
        while (job := self._jobs.get()) is not None:
            request, loop, result = job
            if result.cancelled():
                continue
            try:
                outcome: ReadResult | Exception = self._not_open() if self._closing else self._exchange.ask(request)
            except Exception as error:  # the thread's outermost loop: whoever asked learns of it
                outcome = error
            _hand_over(loop, result, outcome)
        self._exchange.close()

    def _not_open(self) -> ReadResult:
        now = self._clock_us()
        return ReadResult(
            words=None, code=quality.PORT_CLOSED, requested_us=now, replied_us=now, detail="port was closed"
        )


def _hand_over(loop: asyncio.AbstractEventLoop, result: _Result, outcome: ReadResult | Exception) -> None:
    try:
        loop.call_soon_threadsafe(_settle, result, outcome)
    except RuntimeError:
        pass  # the loop has closed meanwhile, nobody waits for this any more


def _settle(result: _Result, outcome: ReadResult | Exception) -> None:
    if result.done():
        return
    if isinstance(outcome, Exception):
        result.set_exception(outcome)
    else:
        result.set_result(outcome)
