"""Which points a person works on, and what of it is still to be signed: pure but for what it remembers.

An inhibit is stated in the next data batch when it begins, changes or ends, and again every
``AGAIN_US`` while it lasts, so that a batch that is lost does not take the mark with it.  What a statement
means is in docs/wire-format.md (*Inhibit*).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from contracts.inhibit import Inhibit

#: a running inhibit is stated again after this (us)
AGAIN_US = 600_000_000


class Inhibits:
    """The inhibits of one agent."""

    def __init__(self) -> None:
        self._running: dict[str, Inhibit] = {}
        self._stated_us: dict[str, int] = {}
        self._owed: list[Inhibit] = []

    def __iter__(self) -> Iterator[str]:
        """Yields the keys of the points that are inhibited."""
        return iter(tuple(self._running))

    def __len__(self) -> int:
        return len(self._running)

    def of(self, point: str) -> Inhibit | None:
        """Returns the running inhibit of a point; None where nobody works on it."""
        return self._running.get(point)

    def begin(self, inhibit: Inhibit) -> None:
        """Begins one; a second one of a point replaces the first, and goes on from where that began."""
        before = self._running.get(inhibit.point)
        if before is not None:
            inhibit = replace(inhibit, since_us=before.since_us)
        self._running[inhibit.point] = inhibit
        self._stated_us.pop(inhibit.point, None)

    def end(self, point: str, at_us: int) -> None:
        """Ends one, at its own time or before it."""
        inhibit = self._running.pop(point, None)
        self._stated_us.pop(point, None)
        if inhibit is not None:
            until_us = max(inhibit.since_us, min(at_us, inhibit.until_us))
            self._owed.append(replace(inhibit, until_us=until_us))

    def due(self, now_us: int) -> tuple[Inhibit, ...]:
        """Returns what is to be stated in a batch sealed now, and takes it to be stated."""
        owed, self._owed = self._owed, []
        for point, inhibit in self._running.items():
            stated_us = self._stated_us.get(point)
            if stated_us is None or now_us - stated_us >= AGAIN_US:
                self._stated_us[point] = now_us
                owed.append(inhibit)
        return tuple(owed)
