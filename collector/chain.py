"""The ledger of one lane of one epoch: which batches are accounted for, and how they link.

Pure.  A sequence number is *accounted for* when its batch is here (projected or refused) or
a signed loss record covers it; a batch that waits for its catalogue is not.  Any order of
arrival and any repetition end in the same ledger: ranges are a set, and a link between two
neighbours is judged from everything known about both, each time one of them changes.

    fork    one seq with two digests: a key or a whole gateway was copied; both are kept
    break   both neighbours are here and no digest of the first is the ``previous`` of the second
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

#: how many separate forks or breaks a ledger lists; more are counted in the last one only
MAX_LISTED = 256

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that speaks for a seq: a batch, or a loss record that ends there."""

    digest: bytes
    #: None for a loss record: it links to whatever lies before its range
    previous: bytes | None


#: every entry that is known for a seq; for a seq at the first batch of a loss range, the range
Known = Callable[[int], Sequence[Entry]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What is accounted for; ranges ascend and never touch each other."""

    ranges: tuple[Span, ...] = ()
    forks: tuple[int, ...] = ()
    breaks: tuple[int, ...] = ()

    @property
    def contiguous(self) -> int:
        """The last seq from 1 on of which nothing is missing; 0 when batch 1 is."""
        return self.ranges[0][1] if self.ranges and self.ranges[0][0] == 1 else 0

    @property
    def newest(self) -> int:
        return self.ranges[-1][1] if self.ranges else 0

    @property
    def total(self) -> int:
        """How many seqs are accounted for."""
        return sum(last - first + 1 for first, last in self.ranges)

    def holds(self, seq: int) -> bool:
        index = bisect_right(self.ranges, (seq, 1 << 62)) - 1
        return index >= 0 and self.ranges[index][1] >= seq

    def beyond(self) -> tuple[Span, ...]:
        """The ranges beyond ``contiguous``."""
        return self.ranges[1:] if self.contiguous else self.ranges

    def missing(self, known: int = 0) -> tuple[Span, ...]:
        """The ranges up to ``max(newest, known)`` that are not accounted for."""
        holes, expected = [], 1
        for first, last in self.ranges:
            if first > expected:
                holes.append((expected, first - 1))
            expected = last + 1
        if known >= expected:
            holes.append((expected, known))
        return tuple(holes)

    def to_text(self) -> tuple[str, str, str]:
        """Returns ranges, forks and breaks as JSON."""
        return _json(self.ranges), _json(self.forks), _json(self.breaks)

    @classmethod
    def from_text(cls, ranges: str, forks: str, breaks: str) -> Ledger:
        return cls(
            ranges=tuple((int(a), int(b)) for a, b in json.loads(ranges)),
            forks=tuple(json.loads(forks)),
            breaks=tuple(json.loads(breaks)),
        )


EMPTY = Ledger()


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def add_next(ledger: Ledger, seq: int) -> Ledger | None:
    """Adds the batch right behind the newest one, whose link the caller has checked.

    Returns None when ``seq`` is not that batch: then :func:`add` must judge.
    """
    ranges = ledger.ranges
    if not ranges or ranges[-1][1] + 1 != seq:
        return None
    return Ledger(ranges=(*ranges[:-1], (ranges[-1][0], seq)), forks=ledger.forks, breaks=ledger.breaks)


def add(ledger: Ledger, seq: int, known: Known) -> Ledger:
    """Adds a batch; ``known`` already tells of it and of every other entry.

    Returns:
        The new ledger; the same one for a repetition.
    """
    forks = set(ledger.forks)
    if len({entry.digest for entry in known(seq)}) > 1:
        forks.add(seq)
    breaks = _judge(set(ledger.breaks), (seq, seq + 1), known)
    return Ledger(ranges=_union(ledger.ranges, (seq, seq)), forks=_listed(forks), breaks=_listed(breaks))


def cover(ledger: Ledger, first: int, last: int, known: Known) -> Ledger:
    """Adds a signed loss record of ``first`` to ``last``; ``known`` already tells of it at ``last``."""
    forks = set(ledger.forks)
    if len({entry.digest for entry in known(last)}) > 1:
        forks.add(last)
    breaks = _judge(set(ledger.breaks), (last, last + 1), known)
    return Ledger(ranges=_union(ledger.ranges, (first, last)), forks=_listed(forks), breaks=_listed(breaks))


def with_seqs(ledger: Ledger, seqs: Iterable[int]) -> Ledger:
    """Returns a ledger that also holds some seqs, whatever links them."""
    ranges = ledger.ranges
    for seq in seqs:
        ranges = _union(ranges, (seq, seq))
    return Ledger(ranges=ranges, forks=ledger.forks, breaks=ledger.breaks)


def _judge(breaks: set[int], seqs: Iterable[int], known: Known) -> set[int]:
    for seq in seqs:
        if seq < 2:
            continue
        before, after = known(seq - 1), known(seq)
        digests = {entry.digest for entry in before}
        is_broken = bool(before) and bool(after) and not any(e.previous is None or e.previous in digests for e in after)
        (breaks.add if is_broken else breaks.discard)(seq)
    return breaks


def _listed(seqs: set[int]) -> tuple[int, ...]:
    return tuple(sorted(seqs)[:MAX_LISTED])


def _union(ranges: tuple[Span, ...], new: Span) -> tuple[Span, ...]:
    first, last = new
    before, after = [], []
    for span in ranges:
        if span[1] + 1 < first:
            before.append(span)
        elif last + 1 < span[0]:
            after.append(span)
        else:
            first, last = min(first, span[0]), max(last, span[1])
    return (*before, (first, last), *after)
