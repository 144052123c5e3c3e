"""The checker: five numbers from the facts of an oracle, each with the ids that it counts.  Pure.

    lost        promised (stored, or covered by a receipt) and neither read nor explained
    unexpected  read, and nobody ever attempted it
    duplicated  read twice by one final query
    altered     read with another mark than it was attempted with, or two things under one id
    gaps        a place in a chain, or on the grid, that is neither read nor explained

As in Jepsen's total-queue and set-full checkers; the gap is ours: a seq below the newest that anybody knows,
or a tick of the grid, must be there or have a record that says why not.  A thing counts as lost or
as a gap, not as both.  What was attempted and never promised may be there or not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from edge_agent.ranges import Ranges
from tests.reliability.oracle import Fact, Kind

#: ids that ``str()`` of a verdict names of each number
_NAMED = 5
Id = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The five numbers, as the ids behind them, and why."""

    lost: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    duplicated: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    #: how many things were read, and how many promised ones a record explains
    read: int = 0
    explained: int = 0

    @property
    def numbers(self) -> tuple[int, int, int, int, int]:
        """Lost, unexpected, duplicated, altered, unexplained gaps."""
        return len(self.lost), len(self.unexpected), len(self.duplicated), len(self.altered), len(self.gaps)

    @property
    def is_clean(self) -> bool:
        """Whether all five are zero."""
        return not any(self.numbers)

    def __str__(self) -> str:
        parts = [f"{self.read} read, {self.explained} explained"]
        for name in ("lost", "unexpected", "duplicated", "altered", "gaps"):
            found: tuple[str, ...] = getattr(self, name)
            more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            parts.append(f"{name} {len(found)}" + (f": {'; '.join(found[:_NAMED])}{more}" if found else ""))
        return "\n".join(parts)


@dataclass(slots=True)
class _Series:
    attempted: dict[int, str] = field(default_factory=dict)
    expected: set[int] = field(default_factory=set)
    stored: dict[int, str] = field(default_factory=dict)
    acked: Ranges = field(default_factory=Ranges)
    marks_acked: dict[int, str] = field(default_factory=dict)
    explained: Ranges = field(default_factory=Ranges)
    read: dict[int, str] = field(default_factory=dict)


def check(facts: Iterable[Fact]) -> Verdict:
    """Returns the verdict on a whole history."""
    series: dict[str, _Series] = defaultdict(_Series)
    duplicated: list[str] = []
    altered: list[str] = []
    reused: list[str] = []
    for fact in facts:
        one = series[fact.series]
        number, mark = fact.first, fact.mark
        match fact.kind:
            case Kind.ATTEMPT:
                if one.attempted.setdefault(number, mark) != mark:
                    reused.append(f"{fact.series} {number}: two things under one id")
            case Kind.STORED:
                if one.stored.setdefault(number, mark) != mark:
                    reused.append(f"{fact.series} {number}: two things were stored under one id")
            case Kind.ACKED:
                one.acked.add(number, fact.last)
                if mark:
                    one.marks_acked[fact.last] = mark
            case Kind.GAP:
                one.explained.add(number, fact.last)
            case Kind.EXPECT:
                one.expected.add(number)
            case Kind.READING:
                duplicated.clear()
                altered.clear()
                for other in series.values():
                    other.read.clear()
            case Kind.READ:
                if number not in one.read:
                    one.read[number] = mark
                elif one.read[number] == mark:
                    duplicated.append(f"{fact.series} {number}")
                else:
                    altered.append(f"{fact.series} {number}: read as {one.read[number]} and as {mark}")
    series.pop("", None)
    return _verdict(series, duplicated, [*altered, *reused])


def _verdict(series: dict[str, _Series], duplicated: list[str], altered: list[str]) -> Verdict:
    lost: list[str] = []
    unexpected: list[str] = []
    gaps: list[str] = []
    explained = 0
    for name in sorted(series):
        one = series[name]
        for number, mark in one.read.items():
            was = one.attempted.get(number)
            if was is None:
                unexpected.append(f"{name} {number}")
            elif was != mark:
                altered.append(f"{name} {number}: attempted as {was}, read as {mark}")
        for number, mark in [*one.stored.items(), *one.marks_acked.items()]:
            if one.attempted.get(number, mark) != mark:
                altered.append(f"{name} {number}: attempted as {one.attempted[number]}, promised as {mark}")
        is_chain = name.startswith("batch/")
        promised = set(one.stored)
        for first, last in one.acked:
            # Only in a chain every number between two is a thing.
            promised.update(range(first, last + 1) if is_chain else (n for n in one.attempted if first <= n <= last))
        for number in sorted(promised - one.read.keys()):
            if number in one.explained:
                explained += 1
            else:
                lost.append(f"{name} {number}: {'stored' if number in one.stored else 'acknowledged'}, not read")
        places = set(one.expected)
        if is_chain:
            # A chain has no holes: from 1 to the newest that anybody knows.
            places.update(range(1, max([0, *promised, *one.read, *(last for _, last in one.explained)]) + 1))
        gaps += [
            f"{name} {number}: no record says why"
            for number in sorted(places - one.read.keys() - promised)
            if number not in one.explained
        ]
    return Verdict(
        lost=tuple(lost),
        unexpected=tuple(unexpected),
        duplicated=tuple(duplicated),
        altered=tuple(altered),
        gaps=tuple(gaps),
        read=sum(len(one.read) for one in series.values()),
        explained=explained,
    )
