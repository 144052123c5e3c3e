"""When a bump test or a calibration is due again, and from when on its absence makes a value doubtful.  Pure.

    last passed + days = due        due + grace = overdue

    never     nobody passed it yet, and the first due date is still to come
    current   passed, and not due yet
    due       the due date has come
    overdue   the grace is over as well

A point that never passed counts from the day on which it was first watched.  Days are days of the
calendar, UTC.  Whether a day may be believed at all is not decided here (``edge_agent.trusted_day``).
The grace of 30 days is an engineering default of this project, as is the treatment as *uncertain* after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

#: days after the due date from which on it is overdue, where nobody says otherwise
GRACE_DAYS = 30
#: a day that a person wrote may lie this far ahead: the calendar of his time zone, not a mistake
_AHEAD = timedelta(days=1)


class DueState(StrEnum):
    """How a point stands with one job."""

    CURRENT = "current"
    DUE = "due"
    OVERDUE = "overdue"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A state with the day on which it turns into ``due``; None where that is not known."""

    state: DueState
    due: date | None


def due_on(*, last: date | None, since: date | None, days: int) -> date | None:
    """Returns the day on which a job is due.

    Args:
        last: it passed; None: never.
        since: the point is watched; None: not known.
        days: from one to the next, 1 or more.
    """
    start = since if last is None else last
    if start is None:
        return None
    try:
        return start + timedelta(days=days)
    except OverflowError:
        return date.max


def standing(*, last: date | None, since: date | None, days: int, grace_days: int, today: date) -> Standing:
    """Returns how a job stands today; a ``last`` that lies ahead of today proves nothing.

    Args:
        last: day on which it passed; None: never.
        since: day on which the point was first watched; None: today.
        days: from one to the next.
        grace_days: 0 or more.
        today: a day that can be believed.
    """
    if last is not None and last - today > _AHEAD:
        last = None
    due = due_on(last=last, since=min(today, since or today), days=days)
    assert due is not None  # since is known
    if today < due:
        return Standing(state=DueState.NEVER if last is None else DueState.CURRENT, due=due)
    late = (today - due).days > grace_days
    return Standing(state=DueState.OVERDUE if late else DueState.DUE, due=due)
