"""Which day it is, as far as anything vouches for it.  Pure but for what it remembers.

Due dates need the calendar, and nothing else in the agent does.  A day is believed only when something
vouches for the clock (``clock.py``: NTP, the collector, or either of them carried on by the monotonic clock).
Even then a server may be wrong: a day that is not where the monotonic clock, or the last run, says that
it should be is believed only after it has stood for ``PROOF_US``.  Meanwhile there is no day, and
whoever decides keeps what was decided.

    no day --vouched, near what was--> believed --a jump--> in doubt --stood six hours--> believed
"""

from __future__ import annotations

from datetime import UTC, date, datetime

from contracts.batch import Anchor, ClockState

#: a jump of the wall clock that is more than a leap second, a step of NTP or a drift (us)
_NEAR_US = 86_400_000_000
#: how long a day that nobody expected must stand (us)
PROOF_US = 6 * 3_600_000_000
#: a gateway that was off for longer than this is not believed at once (days)
_AWAY_DAYS = 31
_VOUCHED = frozenset({ClockState.SYNCHRONISED, ClockState.COLLECTOR})


def is_vouched(anchor: Anchor) -> bool:
    """Returns whether something vouches, or vouched in this boot, for the wall clock of an anchor."""
    carried = anchor.state is ClockState.FREE_RUNNING and anchor.uncertainty_ms is not None
    return anchor.state in _VOUCHED or carried


class TrustedDay:
    """The day of one run of the agent."""

    def __init__(self, seen: date | None) -> None:
        """Takes the newest day that an earlier run believed; None: there was none."""
        #: the newest day that was believed
        self.seen = seen
        self._base: Anchor | None = None
        self._doubted: Anchor | None = None

    def look(self, anchor: Anchor) -> date | None:
        """Returns the day by an anchor of this moment; None: none can be believed."""
        if not is_vouched(anchor):
            return None
        today = day_of(anchor.wall_us)
        if not self._is_expected(anchor, today):
            if self._doubted is None or not _is_near(self._doubted, anchor):
                self._doubted = anchor
            if anchor.mono_us - self._doubted.mono_us < PROOF_US:
                return None
        self._base, self._doubted, self.seen = anchor, None, today
        return today

    def day_at(self, mono_us: int) -> date | None:
        """Returns the day of a moment of this boot, by what was believed last; None: nothing was yet."""
        return None if self._base is None else day_of(self._base.wall_us + mono_us - self._base.mono_us)

    def _is_expected(self, anchor: Anchor, today: date) -> bool:
        if self._base is not None:
            return _is_near(self._base, anchor)
        if self.seen is None:
            return True
        return -1 <= (today - self.seen).days <= _AWAY_DAYS


def day_of(wall_us: int) -> date:
    """Returns the day of a time, UTC microseconds, at most that of the last year there is."""
    return datetime.fromtimestamp(min(max(0, wall_us), 253_402_300_799_000_000) / 1e6, UTC).date()


def _is_near(base: Anchor, anchor: Anchor) -> bool:
    return abs(anchor.wall_us - base.wall_us - (anchor.mono_us - base.mono_us)) <= _NEAR_US
