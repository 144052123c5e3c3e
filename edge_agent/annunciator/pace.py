"""When an output board is tried again.  Pure; times are monotonic microseconds.

A board that answers is written to at once.  One that failed may cost its line only so much, because others are
polled there: one quick second try, then ever longer pauses (``REST_S``).  An alarm that begins meanwhile shortens
the pause to ``LEAST_S`` after the last try, so a board that is back shows it within that time.  ``bus.output_cost``
counts with these numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_agent.plan_annunciator import LEAST_S

#: the quick second try after a failure, where none was made within ``LEAST_S``
QUICK_S = 0.3
#: pauses after the quick try, one after the other
REST_S = (5.0, 10.0, 20.0, 30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How one board has answered."""

    #: failures in a row
    failures: int = 0
    #: nothing is tried before
    due_us: int = 0
    #: of the last failure; 0: none
    failed_us: int = 0
    #: of the last failure that had a quick try after it; 0: none
    quick_us: int = 0

    def succeeded(self) -> Pace:
        """Returns it after an answer as wanted."""
        return replace(self, failures=0, due_us=0)

    def failed(self, now_us: int) -> Pace:
        """Returns it after a try that failed."""
        failures = self.failures + 1
        if failures == 1 and (not self.quick_us or now_us >= self.quick_us + _us(LEAST_S)):
            due = now_us + _us(QUICK_S)
            return Pace(failures=failures, due_us=due, failed_us=now_us, quick_us=now_us)
        rest = REST_S[min(max(failures - 2, 0), len(REST_S) - 1)]
        return replace(self, failures=failures, due_us=now_us + _us(rest), failed_us=now_us)

    def hurried(self) -> Pace:
        """Returns it with the least pause: an alarm waits to be shown."""
        if not self.failures:
            return self
        return replace(self, due_us=min(self.due_us, self.failed_us + _us(LEAST_S)))


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
