"""When to look for a reply: how long each unit of a line lately took to begin its answer.

Waking a thread for every few bytes costs more than the bytes, so the exchange sleeps until a whole
reply can be there.  A look that comes too early costs one more; a look that comes too late
costs line time.  So the guess follows the quick replies: a unit whose delays scatter is
looked for early, a steady one just when it is done.  It is a guess about when to look and
nothing else: no time-out, no judgement about a device.  Pure.
"""

from __future__ import annotations

#: a reply that was there at the first look was perhaps there earlier: so much earlier next time, and twice as
#: much with each further one in a row, so that one slow reply does not cost a thousand (microseconds)
_SOONER_US = 10
#: a reply that came so little after the look is the unit's usual delay
_NEAR_US = 200
#: one that came later yet moves the guess only so far: a unit whose delays scatter is looked for early
_LATER_US = 5
#: beyond the moment that was seen, for the scheduler's own scatter
_MARGIN_US = 60


class Thinking:
    """The guesses of one line, by unit id (microseconds behind the time that the bytes alone take)."""

    def __init__(self) -> None:
        self._guess_us: dict[int, int] = {}
        self._step_us: dict[int, int] = {}

    def of(self, unit_id: int) -> int:
        """Returns how long after the bytes' own time a first look is worth it; 0 for a unit not heard yet."""
        return self._guess_us.get(unit_id, 0)

    def whole_at_first(self, unit_id: int) -> None:
        """Notes that the reply was whole when it was first looked for."""
        guess = self._guess_us.get(unit_id, 0)
        if guess:
            step = self._step_us.get(unit_id, _SOONER_US)
            self._guess_us[unit_id] = max(0, guess - step)
            self._step_us[unit_id] = 2 * step

    def whole_after(self, unit_id: int, delay_us: int) -> None:
        """Notes that the first look came too early, and after how long the reply was whole.

        Args:
            unit_id: whose.
            delay_us: behind the time that the bytes alone take.
        """
        self._step_us.pop(unit_id, None)
        guess = self._guess_us.get(unit_id)
        if guess is None:
            self._guess_us[unit_id] = max(0, delay_us)
        elif delay_us - guess <= _NEAR_US:
            self._guess_us[unit_id] = max(0, delay_us + _MARGIN_US)
        else:
            self._guess_us[unit_id] = guess + _LATER_US
