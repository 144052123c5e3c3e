"""What beacon and sounder show: the annunciator sequence as a table.  Pure.

After ISA-18.1 (annunciator sequences), in the least form that is of use in a manhole: the beacon is on while an
alarm stands; the sounder is on until a named person silences it, and again with the next new alarm.  Silencing
acknowledges nothing and resets nothing.  An alarm that is latched stands until it is reset.

::

              raised                silence               raised
    QUIET ------------> SOUNDING ------------> SILENCED ----------> SOUNDING
      ^---------- over -----'                      |
      '------------------------- over -------------'
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from contracts.batch import AlarmEvent

#: marks an alarm that only proves the way to the centre; it drives nothing here
TEST = "test"


class Shows(Enum):
    """What the annunciator shows."""

    QUIET = "quiet"
    SOUNDING = "sounding"
    SILENCED = "silenced"


class Happens(Enum):
    """What changes it."""

    #: an alarm began that did not stand before
    RAISED = "raised"
    #: no alarm stands any more
    OVER = "over"
    #: a person silenced the sounder
    SILENCE = "silence"


#: what is not here changes nothing
TRANSITIONS: dict[tuple[Shows, Happens], Shows] = {
    (Shows.QUIET, Happens.RAISED): Shows.SOUNDING,
    (Shows.SOUNDING, Happens.SILENCE): Shows.SILENCED,
    (Shows.SOUNDING, Happens.OVER): Shows.QUIET,
    (Shows.SILENCED, Happens.RAISED): Shows.SOUNDING,
    (Shows.SILENCED, Happens.OVER): Shows.QUIET,
}
#: which roles are on
BEACON_ON = frozenset({Shows.SOUNDING, Shows.SILENCED})
SOUNDER_ON = frozenset({Shows.SOUNDING})


def step(shows: Shows, happens: Happens) -> Shows:
    """Returns what is shown after it happened."""
    return TRANSITIONS.get((shows, happens), shows)


class Standing:
    """The alarms that stand and drive the annunciator, by point and rule."""

    def __init__(self, severities: Iterable[str], before: Standing | None = None) -> None:
        """Takes the severities that drive it, and what stood before under others."""
        self._severities = frozenset(severities)
        self._raised_by: dict[tuple[str, str], bytes] = {} if before is None else dict(before._raised_by)

    def __len__(self) -> int:
        return len(self._raised_by)

    def take(self, event: AlarmEvent) -> Happens | None:
        """Takes one event; returns what it means for the sequence, if anything."""
        key = (event.point, event.rule_id)
        if event.state == "cleared":
            # The end of an occurrence that another has superseded ends nothing here.
            if self._raised_by.get(key) != event.raised_by:
                return None
            del self._raised_by[key]
            return None if self._raised_by else Happens.OVER
        if not self._drives(event) or self._raised_by.get(key) == event.raised_by:
            return None
        self._raised_by[key] = event.raised_by
        return Happens.RAISED

    def replace(self, events: Iterable[AlarmEvent]) -> Happens | None:
        """Takes all alarms that stand now, in the place of what was known; returns what that means."""
        now = {(event.point, event.rule_id): event.raised_by for event in events if self._drives(event)}
        before, self._raised_by = self._raised_by, now
        if any(before.get(key) != raised_by for key, raised_by in now.items()):
            return Happens.RAISED
        return Happens.OVER if before and not now else None

    def _drives(self, event: AlarmEvent) -> bool:
        return event.severity in self._severities and TEST not in event.marks and event.rule_id != TEST
