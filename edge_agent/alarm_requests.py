"""What a person asks of the judge: that an alarm is reset, that a point is inhibited, that its inhibit ends.

Whatever was done is sealed as a note with the person's name.  Which words are taken says ``status.py``; at a
point where somebody is on a visit nobody else begins or ends an inhibit.
"""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.judge import Judge, ResetResult
from edge_agent.sealer import Sealer


class AlarmRequests:
    """The judge's other door: rows come in by one, persons by this."""

    def __init__(
        self, *, judge: Judge, sealer: Sealer, refusal: Callable[[str], str], clock: Callable[[], int]
    ) -> None:
        """Takes what it needs.

        Args:
            refusal: says why nobody else may begin or end an inhibit at a point; empty: he may.
            clock: monotonic us.
        """
        self._judge, self._sealer = judge, sealer
        self._refusal = refusal
        self._clock = clock

    def reset(self, point: str, rule: str, by: str) -> ResetResult:
        """Resets a latched alarm in a person's name."""
        result = self._judge.reset(point, rule, by, self._clock())
        if not result.refused:
            self._sealer.note("alarm-reset", f"{point} {rule} by {by}")
            self._sealer.take_events(result.events)
        return result

    def inhibit(self, point: str, *, reason: str, by: str, seconds: float) -> ResetResult:
        """Inhibits a point for so long, in a person's name."""
        if refused := self._refusal(point):
            return ResetResult(refused=refused)
        now = self._clock()
        result = self._judge.inhibit(point, reason=reason, by=by, now_us=now, until_us=now + round(seconds * 1e6))
        if not result.refused:
            self._sealer.note("inhibit", f"{point} for {seconds:.0f} s by {by}: {reason}")
        return result

    def end_inhibit(self, point: str, by: str) -> ResetResult:
        """Ends an inhibit before its time, in a person's name."""
        if refused := self._refusal(point):
            return ResetResult(refused=refused)
        result = self._judge.end_inhibit(point, self._clock())
        if not result.refused:
            self._sealer.note("inhibit", f"{point} ended by {by}")
            self._sealer.take_events(result.events)
        return result
