"""Whether a line is open, and when it is tried again: back-off, and the sentence why not.

It knows no frames; ``drivers.exchange`` uses it.  A name is resolved anew at every attempt, so that
a by-id or by-path name finds an adapter that came back under another number.
"""

from __future__ import annotations

from collections.abc import Callable

from drivers.errors import LineError
from drivers.serial_wire import Wire

#: seconds between attempts to open a port that is not there; the last one stays
BACK_OFF_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)


class Opening:
    """The life of one wire; used by one thread."""

    def __init__(self, wire: Wire, *, clock_us: Callable[[], int]) -> None:
        self._wire = wire
        self._clock_us = clock_us
        self.is_open = False
        #: why it is closed, one sentence
        self.closed_because = "port is not open"
        #: how often it was opened
        self.opened = 0
        self._failures = 0
        self._next_us = 0

    def try_open(self) -> bool:
        """Opens the line unless a back-off runs; returns whether it was opened now."""
        if self._clock_us() < self._next_us:
            return False
        try:
            self._wire.open()
        except LineError as error:
            self.lose(error)
            return False
        self.is_open = True
        self.opened += 1
        self._failures = 0
        return True

    def retry_now(self) -> None:
        """Ends a back-off, because the line is known to be back; may be called from another thread."""
        self._next_us = 0

    def lose(self, error: LineError) -> None:
        """Closes a line that failed, and begins a back-off."""
        self.close()
        self.closed_because = str(error)
        wait_s = BACK_OFF_S[min(self._failures, len(BACK_OFF_S) - 1)]
        self._failures += 1
        self._next_us = self._clock_us() + int(wait_s * 1e6)

    def close(self) -> None:
        """Closes the line; safe to call twice."""
        self.is_open = False
        self._wire.close()
