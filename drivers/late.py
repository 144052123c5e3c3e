"""The late-reply rule: who may still answer what, and what must not be asked meanwhile.

RTU replies carry a unit id and a function, and nothing that names their request.  So for
every delay up to the unit's bound a reply must never be taken as the answer to another
request: after a time-out nothing that the same reply could answer (same unit and function;
an exception reply has not even a byte count) is asked until the bound is over.  Pure
bookkeeping on the times handed in; ``drivers.exchange`` uses it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Key = tuple[int, int]  # unit id, function

#: a bound is never raised beyond this (microseconds)
LONGEST_BOUND_US = 60_000_000


@dataclass(slots=True, kw_only=True)
class _Owed:
    """A request that got no answer."""

    #: when its last byte had left (monotonic microseconds)
    sent_us: int
    #: until when its reply can be on the line
    until_us: int


@dataclass(slots=True)
class LateReplies:
    """Replies that are owed on one line."""

    _owed: dict[Key, _Owed] = field(default_factory=dict)
    _bounds_us: dict[int, int] = field(default_factory=dict)

    def bound_us(self, unit_id: int, declared_us: int) -> int:
        """Returns how long a reply of a unit can take: as declared, or more where more was seen."""
        return max(declared_us, self._bounds_us.get(unit_id, 0))

    def owe(self, key: Key, *, sent_us: int, until_us: int) -> None:
        """Notes that a request of this key got no answer and its reply can come until then."""
        self._owed[key] = _Owed(sent_us=sent_us, until_us=until_us)

    def answered(self, key: Key) -> None:
        """Notes that nothing is owed for this key any more."""
        self._owed.pop(key, None)

    def blocked_until(self, key: Key, now_us: int) -> int | None:
        """Returns until when nothing of this key may be asked, or ``None``."""
        owed = self._owed.get(key)
        return owed.until_us if owed is not None and now_us < owed.until_us else None

    def seen(self, key: Key, now_us: int | None) -> bool:
        """Notes a whole reply that answers nothing which was just asked.

        Args:
            key: of the frame.
            now_us: when it came; ``None`` where it may have waited in a buffer.

        Returns:
            Whether it was owed.  One that came later than the unit's bound raises that bound by
            a quarter more than was seen.
        """
        owed = self._owed.get(key)
        if owed is None:
            return False
        if now_us is not None and now_us > owed.until_us:
            raised = min((now_us - owed.sent_us) * 5 // 4, LONGEST_BOUND_US)
            self._bounds_us[key[0]] = max(raised, self._bounds_us.get(key[0], 0))
        return True
