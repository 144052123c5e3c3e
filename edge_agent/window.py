"""How much history may be on its way at once, so that an alarm does not queue behind it.  Pure.

What is sent on a thin link stands in a queue that nobody can look into; only the time until the receipt
tells how long it is: what is beyond the shortest such time of this connection was spent in queues, on the
link, at the broker or at the collector.  The window doubles when the *last* batch of a round came back soon,
and only where it was used: the first of a burst meets an empty queue whatever the link is like.  It shrinks in
proportion when anything came back late, once for all that was sent before.

    a round   begins when the one before ends; the first receipt for something sent since then fixes what
              is its last batch (the newest on its way at that moment); the receipt for that one ends it

LEDBAT (RFC 6817) steers by delay in the same way and for the same reason.
"""

from __future__ import annotations

#: at first and at least (bytes): half of it, the usual share of history, takes a link of 64 kbit/s one second
LEAST = 16 * 1024
#: a last batch that stood in queues for less lets the window grow; what it shrinks towards (us)
_SOON_US = 200_000
#: a batch that stood in queues for longer makes it shrink (us)
_LATE_US = 600_000


class Window:
    """Bytes that may be in flight."""

    def __init__(self, most: int) -> None:
        """Takes the most that it may grow to (bytes)."""
        self._most = most
        self.size = min(most, LEAST)
        #: the part of it that history may take, as it was last asked for
        self.share = 1.0
        #: shortest time to a receipt in this connection
        self._least_us: int | None = None
        self._begin_us = 0
        self._last_us: int | None = None
        self._newest_us = 0
        self._shrunk_us = -1
        self._is_used = False

    def restart(self, now_us: int = 0) -> None:
        """A new connection may have another path."""
        self.size = min(self._most, LEAST)
        self._least_us = None
        self._begin(now_us)

    def sent(self, now_us: int, history_bytes: int) -> None:
        """A batch of history went out; with it so many bytes of history are on their way."""
        self._newest_us = max(self._newest_us, now_us)
        if history_bytes * 2 >= self.size * self.share:
            self._is_used = True

    def came_back(self, sent_us: int, now_us: int, *, is_history: bool) -> None:
        """There is a receipt for a batch that was sent then."""
        took_us = now_us - sent_us
        self._least_us = took_us if self._least_us is None else min(took_us, self._least_us)
        queued_us = took_us - self._least_us
        if queued_us > _LATE_US:
            if sent_us > self._shrunk_us:
                self._shrink(self.size * _SOON_US // queued_us, now_us)
            return
        if not is_history or sent_us < self._begin_us:
            return
        if self._last_us is None:
            self._last_us = max(self._newest_us, sent_us)
        if sent_us >= self._last_us:
            if queued_us <= _SOON_US and self._is_used:
                self.size = min(self._most, self.size * 2)
            self._begin(now_us)

    def gave_up(self, now_us: int) -> None:
        """Something had no receipt in its time."""
        self._shrink(self.size // 2, now_us)

    def _shrink(self, size: int, now_us: int) -> None:
        self.size = max(min(LEAST, self._most), size)
        self._shrunk_us = now_us
        self._begin(now_us)

    def _begin(self, now_us: int) -> None:
        self._begin_us = now_us
        self._last_us = None
        self._is_used = False
