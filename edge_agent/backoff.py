"""When to try the broker again: full jitter, with the bound that the kind of failure allows.  Pure.

    kind of failure      bound doubles from 1 s up to
    broken, refused      60 s    the broker is there, or was a moment ago: its whole fleet comes back at once
    no answer, no way    20 s    our own path is gone, and nobody storms when it heals
    while alarms wait    10 s    between the beginnings of two tries, whatever the kind

The wait is anywhere between nothing and the bound ("Exponential Backoff And Jitter", AWS architecture blog:
full jitter makes the least work for a server whose clients all lost it together).  The bound begins anew
after 60 s of health, and after less in proportion, so that a broker that takes us and drops us again is
backed off from like one that is not there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

BASE_S = 1.0
#: a session this long makes up for every failure before it
HEALTHY_S = 60.0
#: no more than this between the beginnings of two tries while alarms wait
URGENT_S = 10.0
_MOST_DOUBLINGS = 16


class Failure(Enum):
    """How a try or a session ended."""

    #: the session broke, or the other side refused: somebody is there
    REFUSED = "refused"
    #: no answer in time, no route, no name: nobody was reached
    UNREACHED = "unreached"


_MOST_S = {Failure.REFUSED: 60.0, Failure.UNREACHED: 20.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How patient a link is.  ``next`` values are new records."""

    base_s: float = BASE_S
    #: no bound is above this; None: what the kind of failure says
    most_s: float | None = None
    #: failures that are not made up for
    attempt: int = 0

    def bound_s(self, failure: Failure) -> float:
        """Returns the longest wait before the next try (s)."""
        most_s = _MOST_S[failure] if self.most_s is None else min(self.most_s, _MOST_S[failure])
        return min(most_s, self.base_s * float(1 << min(self.attempt, _MOST_DOUBLINGS)))

    def wait_s(self, failure: Failure, *, roll: float, tried_for_s: float, is_urgent: bool) -> float:
        """Returns how long to wait after a failure.

        Args:
            failure: how it ended.
            roll: by chance, 0 to 1.
            tried_for_s: since the beginning of the try or session that failed.
            is_urgent: whether alarms wait.
        """
        bound_s = self.bound_s(failure)
        if is_urgent:
            bound_s = min(bound_s, max(0.0, URGENT_S - tried_for_s))
        return bound_s * roll

    def failed(self) -> Backoff:
        """Returns the patience after a try that reached no session."""
        return Backoff(base_s=self.base_s, most_s=self.most_s, attempt=self.attempt + 1)

    def ended(self, up_s: float) -> Backoff:
        """Returns the patience when a session of ``up_s`` seconds ended, for the wait that follows."""
        made_up = self.attempt if up_s >= HEALTHY_S else int(math.log2(1 + max(0.0, up_s)))
        return Backoff(base_s=self.base_s, most_s=self.most_s, attempt=max(0, self.attempt - made_up))
