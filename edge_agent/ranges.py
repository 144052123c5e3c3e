"""Sets of sequence numbers kept as a short sorted list of ranges.  Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator


class Ranges:
    """Whole numbers from 1 on, as disjoint ranges ``(first, last)`` that never touch."""

    __slots__ = ("_ranges",)

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._ranges: list[tuple[int, int]] = []
        for first, last in ranges:
            self.add(first, last)

    def add(self, first: int, last: int) -> None:
        """Adds ``first`` to ``last``, joining what touches."""
        if last < first:
            return
        kept = []
        for low, high in self._ranges:
            if high + 1 < first or last + 1 < low:
                kept.append((low, high))
            else:
                first, last = min(first, low), max(last, high)
        kept.append((first, last))
        kept.sort()
        self._ranges = kept

    def without(self, other: Ranges) -> list[tuple[int, int]]:
        """Returns what is here and not in ``other``."""
        found = []
        for first, last in self._ranges:
            for low, high in other.missing(last):
                if high >= first:
                    found.append((max(low, first), high))
        return found

    def __contains__(self, number: int) -> bool:
        index = bisect_right(self._ranges, (number, 1 << 62)) - 1
        return index >= 0 and self._ranges[index][1] >= number

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._ranges)

    def __len__(self) -> int:
        return len(self._ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self._ranges == other._ranges

    def __hash__(self) -> int:
        raise TypeError("a Ranges changes and has no hash")

    def __repr__(self) -> str:
        return f"Ranges({self._ranges})"

    @property
    def contiguous(self) -> int:
        """The last number of the range that begins at 1, or 0."""
        return self._ranges[0][1] if self._ranges and self._ranges[0][0] == 1 else 0

    @property
    def total(self) -> int:
        """How many numbers are in the set."""
        return sum(last - first + 1 for first, last in self._ranges)

    def missing(self, last: int) -> Iterator[tuple[int, int]]:
        """Yields the ranges from 1 to ``last`` that are not in the set."""
        expected = 1
        for low, high in self._ranges:
            if low > last:
                break
            if low > expected:
                yield expected, low - 1
            expected = high + 1
        if expected <= last:
            yield expected, last
