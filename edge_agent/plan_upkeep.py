"""What a plan says about upkeep: which points are to be tested or calibrated how often, and where they hang."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contracts.fields import Fields
from contracts.upkeep import is_date_or_empty
from contracts.visit import JOBS
from rules.due_dates import GRACE_DAYS

#: no interval is longer (days)
MAX_DAYS = 3650


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One job that a point needs again and again."""

    #: key of the point
    point: str
    #: ``bump`` or ``calibration``
    job: str
    #: from one to the next, 1 to MAX_DAYS
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpkeepPlan:
    """Everything about upkeep."""

    watched: tuple[Watched, ...] = ()
    #: per device of the plan where it hangs; none where nobody wrote any
    streets: tuple[str, ...] = ()
    #: (device id, ``YYYY-MM-DD``) of units that came calibrated in the place of others
    calibrated: tuple[tuple[str, str], ...] = ()
    #: days after the due date from which on a calibration is overdue
    grace_days: int = GRACE_DAYS

    def street(self, device: int) -> str:
        """Returns where a device of the plan hangs; empty: nobody wrote it."""
        return self.streets[device] if self.streets else ""

    def to_wire(self) -> list[Any]:
        watched = [[item.point, item.job, item.days] for item in self.watched]
        return [watched, list(self.streets), [list(item) for item in self.calibrated], self.grace_days]

    @classmethod
    def from_wire(cls, value: Any, devices: int) -> UpkeepPlan:
        """Returns what ``to_wire`` gave.

        Args:
            devices: of the plan.
        """
        f = Fields("upkeep", value, 4)
        watched = []
        for item in f.items("watched", 2 * 65_536):
            g = Fields("upkeep.watched", item, 3)
            watched.append(
                Watched(point=g.text("point", 64), job=g.choice("job", JOBS), days=g.integer("days", 1, MAX_DAYS))
            )
        streets = f.items("streets", devices)
        named = Fields("upkeep.streets", streets, len(streets))
        calibrated = []
        for item in f.items("calibrated", 4096):
            g = Fields("upkeep.calibrated", item, 2)
            calibrated.append((g.text("device", 64), g.text("day", 10, pattern=is_date_or_empty)))
        return cls(
            watched=tuple(watched),
            streets=tuple(named.text("street") for _ in streets),
            calibrated=tuple(calibrated),
            grace_days=f.integer("grace_days", 0, MAX_DAYS),
        )


#: where the site file says nothing
NO_UPKEEP = UpkeepPlan()
