"""Clocks: monotonic microseconds for everything, wall time only as anchors.

Linux tells through ``adjtimex(2)`` whether something disciplines the clock; ``STA_UNSYNC``
(0x40) in its status, or an answer of ``TIME_ERROR`` (5), means that nothing does.  What vouches for
the wall clock, best first:

    ntp        the kernel says that NTP, chrony or PTP disciplines it; its own maximum error
    collector  the collector signed the time against our nonce; the system clock is left alone
    free       nothing does.  After one of the two above: carried on from it by the monotonic clock, so
               that whoever steps the wall clock moves nothing; its uncertainty grows by ``DRIFT_PPM``.
               Never anything: the wall clock as it is, uncertainty unknown
    unset      as free, and the wall clock lies before the last known good time, or beyond belief

Nothing is timed by any of it: schedules and delays are monotonic.  docs/time.md says what people see.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass

from contracts.batch import Anchor, ClockState
from contracts.fields import U32
from edge_agent.c_library import c_library

_STA_UNSYNC = 0x40
_TIME_ERROR = 5
#: a wall clock before this was never set: 2026-01-01T00:00:00Z, UTC us, when this program was made
NEVER_BEFORE_US = 1_767_225_600_000_000
#: one after this neither: 2200-01-01T00:00:00Z.  Collectors refuse times from 2255 on (2^53 us)
_NEVER_AFTER_US = 7_258_118_400_000_000
#: how fast the uncertainty of a clock grows that nothing disciplines: as the kernel's own maxerror does
#: (MAXFREQ in Linux' kernel/time/ntp.c), ten times what an ordinary quartz drifts
DRIFT_PPM = 500
#: a clock may be this much behind the last known good time before it counts as unset (us)
_SLACK_US = 60_000_000
#: how often the kernel is asked (us)
_ASK_KERNEL_US = 10_000_000
#: a jump of the wall clock that is looked into at once (us)
_JUMP_US = 100_000
#: the collector is asked for the time again when ours is less certain than this (ms)
_WANTED_MS = 2_000
#: and after this long when it has not answered; doubled each time, up to the second (us)
_WANT_AGAIN_US, _WANT_LEAST_OFTEN_US = 60_000_000, 600_000_000


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
        timex = _Timex()
        answer = c_library().adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return False, None
    if answer < 0:
        return False, None
    is_disciplined = answer != _TIME_ERROR and not timex.status & _STA_UNSYNC
    return is_disciplined, max(1, int(timex.maxerror) // 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeBounds:
    """Between which UTC microseconds it is now."""

    earliest_us: int
    #: None where nothing says how late it may be
    latest_us: int | None
    #: the system clock itself is disciplined: whoever reads it reads the right time
    is_system_clock_set: bool = False


#: for whoever has a system clock that can be relied on
SET_CLOCK = TimeBounds(earliest_us=NEVER_BEFORE_US, latest_us=None, is_system_clock_set=True)


class AnchorClock:
    """Makes the anchors that travel in sealed batches."""

    def __init__(
        self,
        *,
        monotonic: Callable[[], int] = monotonic_us,
        wall: Callable[[], int] = wall_us,
        discipline: Callable[[], tuple[bool, int | None]] = kernel_discipline,
        last_good_us: Callable[[], int] = lambda: NEVER_BEFORE_US,
    ) -> None:
        """Takes the clocks, who tells whether the wall clock is disciplined, and the last known good time."""
        self._monotonic = monotonic
        self._wall = wall
        self._discipline = discipline
        self._last_good_us = last_good_us
        #: the newest tie that something vouched for
        self._base: Anchor | None = None
        self._asked_at: int | None = None
        self._wanted_at: int | None = None
        self._want_again_us = _WANT_AGAIN_US
        self._disciplined: tuple[bool, int | None] = (False, None)

    def learn(self, *, sent_us: int, received_us: int, wall_us: int) -> None:
        """Takes the collector's signed time; it was read between sending and receiving.

        What is known better, because NTP vouched for it a moment ago, stays.
        """
        self._wanted_at, self._want_again_us = None, _WANT_AGAIN_US
        middle = (sent_us + received_us) // 2
        half = max(1, -(-(received_us - sent_us) // 2000))
        if self._base is None or half <= (_carry(self._base, middle).uncertainty_ms or 0):
            self._base = Anchor(mono_us=middle, wall_us=wall_us, state=ClockState.COLLECTOR, uncertainty_ms=half)

    def anchor(self) -> Anchor:
        """Returns the best tie between the clocks at this moment."""
        mono, wall = self._monotonic(), self._wall()
        if self._asked_at is None or mono - self._asked_at > _ASK_KERNEL_US or self._is_stepped(mono, wall):
            self._disciplined, self._asked_at = self._discipline(), mono
        is_disciplined, error_ms = self._disciplined
        is_believable = self._last_good_us() - _SLACK_US <= wall < _NEVER_AFTER_US
        if is_disciplined and NEVER_BEFORE_US <= wall < _NEVER_AFTER_US:
            anchor = Anchor(mono_us=mono, wall_us=wall, state=ClockState.SYNCHRONISED, uncertainty_ms=error_ms)
            self._base = anchor if error_ms is not None else self._base
            return anchor
        if self._base is not None:
            return _carry(self._base, mono)
        state = ClockState.FREE_RUNNING if is_believable else ClockState.UNSET
        return Anchor(mono_us=mono, wall_us=min(max(0, wall), _NEVER_AFTER_US), state=state, uncertainty_ms=None)

    def _is_stepped(self, mono_us: int, wall_us: int) -> bool:
        """Returns whether a disciplined wall clock has jumped; whoever set it by hand ended the discipline."""
        if self._base is None or not self._disciplined[0]:
            return False
        carried = _carry(self._base, mono_us)
        return abs(carried.wall_us - wall_us) > _JUMP_US + (carried.uncertainty_ms or 0) * 1000

    def bounds(self) -> TimeBounds:
        """Returns between which times it is now, for whoever has to judge the dates of a certificate."""
        anchor = self.anchor()
        if anchor.uncertainty_ms is None and anchor.state is not ClockState.SYNCHRONISED:
            # A clock that goes on from a saved time lies behind; one that was never set says nothing at all.
            own_us = anchor.wall_us if anchor.state is ClockState.FREE_RUNNING else 0
            return TimeBounds(earliest_us=max(own_us, self._last_good_us()), latest_us=None)
        half_us = (anchor.uncertainty_ms or 0) * 1000
        return TimeBounds(
            earliest_us=anchor.wall_us - half_us,
            latest_us=anchor.wall_us + half_us,
            is_system_clock_set=anchor.state is ClockState.SYNCHRONISED,
        )

    def wants_time(self) -> bool:
        """Returns whether the collector's signed time would help now; ever more seldom while it does not answer."""
        anchor = self.anchor()
        known = anchor.uncertainty_ms
        if anchor.state is ClockState.SYNCHRONISED or (known is not None and known <= _WANTED_MS):
            return False
        if self._wanted_at is not None:
            if anchor.mono_us - self._wanted_at < self._want_again_us:
                return False
            self._want_again_us = min(2 * self._want_again_us, _WANT_LEAST_OFTEN_US)
        self._wanted_at = anchor.mono_us
        return True


def _carry(base: Anchor, mono_us: int) -> Anchor:
    """Returns a tie carried on by the monotonic clock; the uncertainty grows."""
    since_us = mono_us - base.mono_us
    grown_ms = (base.uncertainty_ms or 0) + abs(since_us) * DRIFT_PPM // 1_000_000_000
    state = ClockState.COLLECTOR if base.state is ClockState.COLLECTOR else ClockState.FREE_RUNNING
    return Anchor(
        mono_us=mono_us, wall_us=max(0, base.wall_us + since_us), state=state, uncertainty_ms=min(grown_ms, U32)
    )
