"""Data that are held back until they are thinned: which of them may go.  Pure: no link, no disk.

    nothing held         everything may go
    held                 what was let go by number, and nothing sealed since

The newest batch of a connection goes all the same, and alarms never come here.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.ranges import Ranges

#: (epoch number, ranges of seqs)
Waiting = tuple[int, list[tuple[int, int]]]


class Held:
    """Remembers what may go while data are held."""

    def __init__(self) -> None:
        """Begins open."""
        self._is_on = False
        self._free: dict[int, Ranges] = {}

    @property
    def is_on(self) -> bool:
        """Whether data are held."""
        return self._is_on

    def hold(self) -> None:
        """Holds what is sealed from now on; what waits already may go."""
        self._is_on = True

    def open(self) -> None:
        """Lets everything go."""
        self._is_on = False
        self._free.clear()

    def let_go(self, waiting: Sequence[Waiting]) -> None:
        """Lets go what waits at this moment."""
        for epoch_no, ranges in waiting:
            free = self._free.setdefault(epoch_no, Ranges())
            for first, last in ranges:
                free.add(first, last)

    def of(self, waiting: Sequence[Waiting]) -> list[Waiting]:
        """Returns what of it may go."""
        if not self._is_on:
            return list(waiting)
        found = []
        for epoch_no, ranges in waiting:
            free = self._free.get(epoch_no)
            if free is None:
                continue
            allowed = [
                (max(first, begin), min(last, end)) for first, last in ranges for begin, end in free if begin <= last
            ]
            allowed = [(first, last) for first, last in allowed if first <= last]
            if allowed:
                found.append((epoch_no, allowed))
        return found
