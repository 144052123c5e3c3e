"""When a point was tested or calibrated last and is due again: section 10 of a batch.

A statement per point and job, not an event.  What it means is in docs/wire-format.md (*Upkeep*).
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Any

from contracts.fields import Fields
from contracts.visit import JOBS

#: in one batch
MAX_UPKEEP = 10_000
STATES = frozenset({"current", "due", "overdue", "never"})
_DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """How one point stands with one job."""

    #: point key
    point: str
    #: ``bump`` or ``calibration``
    job: str
    #: when it passed last, ``YYYY-MM-DD`` (UTC); empty: never
    last: str
    #: when it is due; empty where nothing is
    due: str
    #: one of STATES
    state: str
    #: where the instrument hangs; empty where nobody wrote it
    street: str

    def to_wire(self) -> list[Any]:
        return [self.point, self.job, self.last, self.due, self.state, self.street]

    @classmethod
    def from_wire(cls, value: Any) -> Upkeep:
        """Returns the statement that ``to_wire`` wrote.

        Raises:
            PayloadError: names the field.
        """
        f = Fields("upkeep", value, 6)
        return cls(
            point=f.text("point", 64),
            job=f.choice("job", JOBS),
            last=f.text("last", 10, pattern=is_date_or_empty),
            due=f.text("due", 10, pattern=is_date_or_empty),
            state=f.choice("state", STATES),
            street=f.text("street", 256),
        )


def is_date_or_empty(text: str) -> bool:
    """Returns whether a text is empty or a day of the calendar, ``YYYY-MM-DD``."""
    if text and _DATE.fullmatch(text) is None:
        return False
    try:
        return not text or bool(datetime.date.fromisoformat(text))
    except ValueError:
        return False
