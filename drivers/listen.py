"""A serial line that is only listened to: one thread that reads and never writes.

For a bus that a certified controller or PLC owns.  It opens the port, hands what it hears to
``drivers.overheard`` and the pairs to whoever asked, in the event loop.  It has no way to send: the wire it
is given is used by ``open``, ``read``, ``wait`` and ``close`` alone.  A port that goes away is opened again
with the same back-off as any other line.

Not proved on hardware: that an adapter whose transmitter is switched by RTS stays off the line.  RTS is
switched off at once, and the kernel raises it for the moment of opening; an adapter with
automatic direction, or one wired to receive only, is the safe choice.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from drivers.errors import LineError
from drivers.exchange import BACK_OFF_S
from drivers.overheard import Overheard, OverheardCounts, Overhearing
from drivers.port import monotonic_us
from drivers.serial_wire import LineSettings, SerialWire, Wire

_LOG = logging.getLogger(__name__)
#: how long the thread sleeps on a quiet line before it looks whether it is to stop (seconds)
_IDLE_S = 0.25
#: how soon it looks again while a frame or an answer is under way
_BUSY_S = 0.02

#: what was heard, and why the port is away (empty while it is there)
Hear = Callable[[Sequence[Overheard], str], None]


class ListenLine:
    """Reads one line along until it is closed."""

    def __init__(
        self,
        settings: LineSettings,
        hear: Hear,
        *,
        wire: Wire | None = None,
        slow_units: Mapping[int, float] | None = None,
        clock_us: Callable[[], int] = monotonic_us,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Opens nothing.

        Args:
            settings: of the line, as its owner has them.
            hear: called in the event loop of ``open``.
            wire: instead of the serial port.
            slow_units: seconds that a unit may take to answer, by unit id, where that is above 1 s.
        """
        self._settings = settings
        self._hear = hear
        self._wire = wire or SerialWire(settings, sends=False)
        self._clock_us = clock_us
        self._sleep = sleep
        self._line = Overhearing(settings.char_s, slow_units=slow_units)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def counts(self) -> OverheardCounts:
        """What the line has carried so far."""
        return self._line.counts

    async def open(self) -> None:
        """Starts the thread."""
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name=f"listen {self._settings.path}", daemon=True)
            self._thread.start()

    async def close(self) -> None:
        """Ends the thread and closes the port; safe to call twice."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            await asyncio.to_thread(thread.join)

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                self._wire.open()
                failures = 0
                self._tell((), "")
                self._listen()
            except LineError as error:
                self._tell((), str(error))
            except Exception as error:
                # The thread's outermost loop: a defect is told, and the bus is listened to again.
                _LOG.exception("listening to %s failed", self._settings.path)
                self._tell((), f"listening failed: {type(error).__name__}")
            self._wire.close()
            end_us = self._clock_us() + int(BACK_OFF_S[min(failures, len(BACK_OFF_S) - 1)] * 1e6)
            failures += 1
            while not self._stop.is_set() and self._clock_us() < end_us:
                self._sleep(_IDLE_S)

    def _listen(self) -> None:
        while not self._stop.is_set():
            self._wire.wait(_BUSY_S if self._line.is_waiting else _IDLE_S)
            data, now = self._wire.read(), self._clock_us()
            if found := self._line.hear(data, now):
                self._tell(found, "")

    def _tell(self, found: Sequence[Overheard], away: str) -> None:
        if self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._hear, found, away)
        except RuntimeError:
            pass  # the loop has closed meanwhile, nobody listens any more
