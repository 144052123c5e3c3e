"""When a connection has become half-open: nobody answers on it, though somebody should; pure.

A link that was cut without a word shows only as requests that stay unanswered, and so does a
dead device behind a gateway that is well.  To give up the connection for the dead device would
hurt its neighbours, so silence counts only when somebody fell silent who was answering, or
when nobody on this connection answers at all.
"""

from __future__ import annotations

#: unanswered requests in a row after which a connection can be taken for half-open
MOST_UNANSWERED = 3


class Unanswered:
    """The unanswered requests in a row on one connection."""

    __slots__ = ("_answering", "_fell_silent", "_in_a_row")

    def __init__(self) -> None:
        self._answering: set[int] = set()
        self._fell_silent = False
        self._in_a_row = 0

    def answered(self, unit_id: int) -> None:
        """Notes a reply of this unit, or of its gateway on its behalf."""
        self._answering.add(unit_id)
        self.heard()

    def heard(self) -> None:
        """Notes that something came, whoever sent it."""
        self._in_a_row = 0
        self._fell_silent = False

    def add(self, unit_id: int) -> bool:
        """Notes a request of this unit that nobody answered; returns whether the connection is half-open."""
        self._in_a_row += 1
        if unit_id in self._answering:
            self._answering.discard(unit_id)
            self._fell_silent = True
        return self._in_a_row >= MOST_UNANSWERED and (self._fell_silent or not self._answering)
