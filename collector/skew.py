"""Is it our own clock that is wrong?  What gateways with synchronised clocks say against it.

Each message of a gateway whose clock NTP keeps shows by how much that clock is ahead of ours, less what
the message took to come.  The most of the last minutes is kept, because a batch out of a backlog took
long.  When more than five such gateways, and most of those that tell, agree within two seconds on more than
five seconds, ours is the clock that is wrong.  It is shown; nothing else follows from it: arrival times are kept
as our clock gave them, beside what the gateways say.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from contracts.batch import Anchor, ClockState

#: our clock is not called wrong for less (us), and never on the word of fewer gateways
LIMIT_US, MOST_DOUBTFUL = 5_000_000, 5
#: within this they agree (us)
AGREE_US = 2_000_000
#: of two such windows the greatest counts (us)
_WINDOW_US = 300_000_000
#: a clock less certain than this says nothing about ours (ms)
_CERTAIN_MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Skew:
    """What they agree on."""

    #: how far our clock is behind theirs, us; negative: ahead
    behind_us: int
    gateways: int


class ClockSkew:
    """Collects what gateways say; told in the writer's thread, asked in any."""

    def __init__(self) -> None:
        #: gateway -> (begin of the window, greatest in it, greatest in the one before)
        self._said: dict[int, tuple[int, int, int | None]] = {}
        self._newest_us = 0

    def note(self, gateway_no: int, anchors: tuple[Anchor, ...], at_us: int, arrived_us: int) -> None:
        """Takes the anchors of something sealed at monotonic ``at_us`` that arrived at UTC ``arrived_us``."""
        anchor = anchors[-1] if anchors else None
        if anchor is None or anchor.state is not ClockState.SYNCHRONISED:
            return
        if anchor.uncertainty_ms is None or anchor.uncertainty_ms > _CERTAIN_MS:
            return
        ahead_us = anchor.wall_us + at_us - anchor.mono_us - arrived_us
        begin_us, now, before = self._said.get(gateway_no, (arrived_us, ahead_us, None))
        if 0 <= arrived_us - begin_us < _WINDOW_US:
            self._said[gateway_no] = (begin_us, max(now, ahead_us), before)
        else:
            # Our clock may have been set meanwhile: what was long ago by it says nothing now.
            is_near = 0 <= arrived_us - begin_us < 2 * _WINDOW_US
            self._said[gateway_no] = (arrived_us, ahead_us, now if is_near else None)
        self._newest_us = arrived_us

    def verdict(self) -> Skew | None:
        """Returns by how much our clock is wrong, where enough of them agree on it."""
        said = [
            now if before is None else max(now, before)
            for begin_us, now, before in list(self._said.values())
            if abs(self._newest_us - begin_us) < 2 * _WINDOW_US
        ]
        return agreed(said)

    def counters(self) -> dict[str, float]:
        """Returns the verdict for metrics and the page; 0 gateways: nothing is held against our clock."""
        skew = self.verdict()
        return {
            "clock_behind_s": 0.0 if skew is None else skew.behind_us / 1e6,
            "clock_doubted_by": 0.0 if skew is None else float(skew.gateways),
        }


def agreed(ahead_us: list[int]) -> Skew | None:
    """Returns what most of some gateways agree on, where that is worth telling.

    Args:
        ahead_us: per gateway how far its clock is ahead of ours.
    """
    ordered = sorted(ahead_us)
    best = (0, 0)
    for first, low in enumerate(ordered):
        best = max(best, (bisect_right(ordered, low + AGREE_US) - first, first))
    count, first = best
    if count <= MOST_DOUBTFUL or 2 * count <= len(ordered):
        return None
    middle = ordered[first + count // 2]
    return Skew(behind_us=middle, gateways=count) if abs(middle) > LIMIT_US else None
