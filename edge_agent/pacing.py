"""How often ordinary data are sealed and sent, and how many bytes may go now.  Pure: no clock, no link.

    pace       sealed every          sent                          when
    LIVE       live interval (2 s)   at once                       an alarm stands, somebody watches; always on a LAN
    SPARING    seal interval (60 s)  at once                       a metered link
    THINNED    seal interval         thinned, every 15 minutes     the allowance is nearly used

Alarms are sealed and sent at once at every pace.  While the allowance is nearly used an alarm brings live data
for ten minutes after its last change, not for as long as it stands: one that stands for weeks would
use the rest up; and once it is used up nobody's watching brings them either.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

#: while the allowance is nearly used: live data after the last change of an alarm (us)
ALARM_LIVE_US = 600_000_000
#: and thinned data go this often (s)
THINNED_EVERY_S = 900.0
#: what a message costs beside its payload: TCP, IP and MQTT headers both ways, acknowledgements (bytes, about)
OVERHEAD_BYTES = 250
#: a cap may be saved up for this long (s)
_SAVED_S = 2.0


class Pace(Enum):
    """How ordinary data go."""

    LIVE = "live"
    SPARING = "sparing"
    THINNED = "thinned"


class Level(Enum):
    """How much of the allowance is used; ``allowance.py`` decides."""

    #: none is stated, or less than the part from which data are thinned
    ENOUGH = "enough"
    NEARLY_USED = "nearly used"
    USED_UP = "used up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """What speaks for live data at a moment."""

    alarms_standing: int = 0
    #: us since an alarm was raised or changed; None: not in this run
    alarm_age_us: int | None = None
    is_watched: bool = False


def pace_of(level: Level, wants: Wants, *, is_metered: bool) -> Pace:
    """Returns the pace of ordinary data."""
    if level is Level.ENOUGH:
        if not is_metered or wants.alarms_standing or wants.is_watched:
            return Pace.LIVE
        return Pace.SPARING
    if wants.alarm_age_us is not None and wants.alarm_age_us < ALARM_LIVE_US:
        return Pace.LIVE
    if wants.is_watched and level is Level.NEARLY_USED:
        return Pace.LIVE
    return Pace.THINNED


class ByteBudget:
    """A cap in bytes a second; one message may overdraw it, so that a large one goes at all.

    Alarms never ask whether they may; they are counted, and what is less urgent waits for them.
    """

    def __init__(self, bytes_per_s: int) -> None:
        """Takes the cap; 0: there is none."""
        self._rate = bytes_per_s
        self._most = bytes_per_s * _SAVED_S
        self._left = self._most
        self._at_us: int | None = None

    def spend(self, size: int, now_us: int) -> None:
        """Counts a payload that was handed to the link."""
        if self._rate:
            self._fill(now_us)
            self._left -= size + OVERHEAD_BYTES

    def wait_s(self, now_us: int) -> float:
        """Returns how long what may wait has to; 0: it may go."""
        if not self._rate:
            return 0.0
        self._fill(now_us)
        return max(0.0, -self._left / self._rate) if self._left <= 0 else 0.0

    def room(self, now_us: int) -> int | None:
        """Returns how many bytes may go now (at least 1 where something may); None: any number."""
        if not self._rate:
            return None
        self._fill(now_us)
        return max(1, int(self._left)) if self._left > 0 else 0

    def _fill(self, now_us: int) -> None:
        if self._at_us is not None:
            self._left = min(self._most, self._left + self._rate * max(0, now_us - self._at_us) / 1e6)
        self._at_us = now_us
