"""Clocks: monotonic microseconds for everything, wall time only as anchors.

Linux tells through ``adjtimex(2)`` whether something disciplines the clock; ``STA_UNSYNC``
(0x40) in its status, or an answer of ``TIME_ERROR`` (5), means that nothing does.  A wall clock before
this program's release date was never set.  A clock that the collector set against a
nonce is better than one that nobody set, and is used only as an anchor: the system clock is
left alone.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

from contracts.batch import Anchor, ClockState

_STA_UNSYNC = 0x40
_TIME_ERROR = 5
#: a wall clock before this was never set: 2026-01-01T00:00:00Z, UTC us
NEVER_BEFORE_US = 1_767_225_600_000_000
#: how much an undisciplined quartz may drift: 100 ppm
_DRIFT_MS_PER_US = 100e-6 / 1000


class _Timex(ctypes.Structure):
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def monotonic_us() -> int:
    """Returns the monotonic clock of this boot, microseconds."""
    return time.monotonic_ns() // 1000


def wall_us() -> int:
    """Returns the system's wall clock, UTC microseconds."""
    return time.time_ns() // 1000


def kernel_discipline() -> tuple[bool, int | None]:
    """Returns whether the kernel clock is disciplined, and its maximum error in milliseconds."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        timex = _Timex()
        answer = library.adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return False, None
    if answer < 0:
        return False, None
    is_disciplined = answer != _TIME_ERROR and not timex.status & _STA_UNSYNC
    return is_disciplined, max(1, int(timex.maxerror) // 1000)


class AnchorClock:
    """Makes the anchors that travel in sealed batches."""

    def __init__(
        self,
        *,
        monotonic: Callable[[], int] = monotonic_us,
        wall: Callable[[], int] = wall_us,
        discipline: Callable[[], tuple[bool, int | None]] = kernel_discipline,
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._discipline = discipline
        self._collector: Anchor | None = None
        self._asked_at: int | None = None
        self._disciplined: tuple[bool, int | None] = (False, None)

    def learn(self, *, sent_us: int, received_us: int, wall_us: int) -> None:
        """Takes the collector's signed time; it was read between sending and receiving."""
        middle = (sent_us + received_us) // 2
        half = max(1, (received_us - sent_us) // 2000)
        self._collector = Anchor(mono_us=middle, wall_us=wall_us, state=ClockState.COLLECTOR, uncertainty_ms=half)

    def anchor(self) -> Anchor:
        """Returns the best tie between the clocks at this moment."""
        mono, wall = self._monotonic(), self._wall()
        if self._asked_at is None or mono - self._asked_at > 10_000_000:
            self._disciplined, self._asked_at = self._discipline(), mono
        is_disciplined, error_ms = self._disciplined
        if is_disciplined:
            return Anchor(mono_us=mono, wall_us=wall, state=ClockState.SYNCHRONISED, uncertainty_ms=error_ms)
        if self._collector is not None:
            since = mono - self._collector.mono_us
            spread = (self._collector.uncertainty_ms or 0) + int(since * _DRIFT_MS_PER_US)
            return Anchor(
                mono_us=mono,
                wall_us=self._collector.wall_us + since,
                state=ClockState.COLLECTOR,
                uncertainty_ms=spread,
            )
        if wall < NEVER_BEFORE_US:
            return Anchor(mono_us=mono, wall_us=max(0, wall), state=ClockState.UNSET, uncertainty_ms=None)
        return Anchor(mono_us=mono, wall_us=wall, state=ClockState.FREE_RUNNING, uncertainty_ms=None)
