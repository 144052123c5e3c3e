"""A gateway's time as its chains tell it: when it ran, what of it is not here, and why.

Read from the tables when asked.  For every boot with a known clock there is a stretch of time
that belongs to it: from its first data batch to the beginning of the next boot, or to now.  In it
lie the *lives* of the epochs, and over them the windows of batches that are not here: lost, not
arrived, refused, waiting, pruned.

Monotonic time decides; the wall clock only lines the boots up.  When a batch that is not here was
sealed is not known: it lies between its neighbours that are here, as far along as its number, and
the samples of a thinned batch say more.  Where there is a neighbour on one side only, the usual
time between two seals is counted from it.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from collector.chain import EMPTY, Ledger, Span
from collector.ledger import Edge, Stretch
from collector.outcomes import (
    NAMED,
    NEVER_SENT,
    POWER,
    PRUNED,
    STOPPED,
    UNHEARD,
    UNPLACED,
    WAITING,
    Outcome,
    Why,
)
from collector.point_views import Silence
from collector.projector import RECOVERED
from collector.retention import read_checkpoint
from collector.walltime import Trust
from contracts.batch import Lane

_DATA = int(Lane.DATA)
#: between two seals, where the batches do not tell (us), and what they may tell
_SEAL_US, _SEAL_LOW_US, _SEAL_HIGH_US = 2_000_000, 100_000, 600_000_000
#: a batch whose newest sample is older than this when it is sealed carries samples of others (us)
OLD_US = 120_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BootTime:
    """One boot; ``offset_us`` is UTC minus monotonic, None while its clock is not known."""

    no: int
    boot_id: bytes
    rank: int
    offset_us: int | None


@dataclass(slots=True, kw_only=True)
class EpochTime:
    """The data lane of one epoch; times are monotonic us of its boot."""

    no: int
    name: bytes
    boot_no: int | None
    is_salvage: bool
    parent: bytes | None
    ledger: Ledger
    #: newest seq that anybody has named
    heard: int
    #: first and last batch that is here; 0 where none is
    first_seq: int = 0
    last_seq: int = 0
    begin_us: int = 0
    end_us: int = 0
    #: usual time between two seals
    gap_us: int = _SEAL_US

    @property
    def is_life(self) -> bool:
        """Whether its batches tell when the agent ran."""
        return bool(self.last_seq) and not self.is_salvage and self.boot_no is not None


@dataclass(slots=True, kw_only=True)
class BootSpan:
    """The time that belongs to one boot; everything in monotonic us of it."""

    boot: BootTime
    begin_us: int
    until_us: int
    epochs: list[EpochTime]
    layers: list[Stretch] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    #: numbers of the gateway's epochs that carry what a damaged store still held
    salvaged: tuple[int, ...] = ()


#: what lies over what, where windows meet
_RANK = {
    Outcome.PRUNED: 0,
    Outcome.NOT_ARRIVED: 1,
    Outcome.LOST: 2,
    Outcome.THINNED: 3,
    Outcome.QUARANTINED: 4,
}


def read_spans(db: sqlite3.Connection, gateway_no: int, now_us: int) -> list[BootSpan]:
    """Returns the time of every boot that has data; those without a known clock last.

    Args:
        now_us: UTC; nothing is expected after it.
    """
    boots = _read_boots(db, gateway_no)
    epochs = _read_epochs(db, gateway_no, boots)
    lives = _by_boot(epochs)
    salvaged = tuple(epoch.no for epoch in epochs if epoch.is_salvage)
    ends = {no: (min(item.begin_us for item in own), max(item.end_us for item in own)) for no, own in lives.items()}
    for no, first_us, last_us in db.execute(_CARRIED, (gateway_no,)).fetchall():
        begin_us, end_us = ends.get(no, (first_us, last_us + 1))
        ends[no] = (min(begin_us, first_us), max(end_us, last_us + 1))
    spans = {
        no: BootSpan(boot=boots[no], begin_us=begin_us, until_us=end_us, epochs=lives.get(no, []), salvaged=salvaged)
        for no, (begin_us, end_us) in ends.items()
        if no in boots
    }
    known = sorted((item for item in spans.values() if item.boot.offset_us is not None), key=_begin)
    unknown = [item for item in spans.values() if item.boot.offset_us is None]
    for place, span in enumerate(known):
        _extend(span, known[place + 1] if place + 1 < len(known) else None, unknown, now_us, is_first=place == 0)
    for span in unknown:
        _extend(span, None, [], None, is_first=True)
    for epoch in epochs:
        if epoch.is_life and epoch.boot_no in spans:
            spans[epoch.boot_no].layers += _absent_of(db, epoch)
    _place_unseen(db, epochs, spans, known)
    for span in spans.values():
        span.layers.sort(key=lambda item: _RANK.get(item.why.outcome, -1))
    return known + unknown


def _begin(span: BootSpan) -> int:
    return span.begin_us + (span.boot.offset_us or 0)


def _by_boot(epochs: Iterable[EpochTime]) -> dict[int, list[EpochTime]]:
    found: dict[int, list[EpochTime]] = {}
    for epoch in epochs:
        if epoch.is_life and epoch.boot_no is not None:
            found.setdefault(epoch.boot_no, []).append(epoch)
    return found


def _read_boots(db: sqlite3.Connection, gateway_no: int) -> dict[int, BootTime]:
    rows = db.execute(
        "SELECT no, boot_id, rank, live_us, bound_us, offset_us, trust FROM boot WHERE gateway_no=?", (gateway_no,)
    )
    found = {}
    for no, boot_id, rank, live_us, bound_us, offset_us, trust in rows:
        # What only came out of a backlog says no more than that it was sealed before it arrived.
        is_known = trust > Trust.ARRIVAL or (trust == Trust.ARRIVAL and live_us is not None)
        offset = Silence.offset(bound_us, offset_us, live_us) if is_known else None
        found[no] = BootTime(no=no, boot_id=boot_id, rank=rank, offset_us=offset)
    return found


def _read_epochs(db: sqlite3.Connection, gateway_no: int, boots: dict[int, BootTime]) -> list[EpochTime]:
    rows = db.execute(_EPOCHS, (gateway_no,)).fetchall()
    heads: dict[bytes, int] = {}
    for row in rows:
        if row[4] is not None:
            heads[row[4]] = max(heads.get(row[4], 0), row[5] or 0)
    asked = db.execute("SELECT epoch_no, data_seq FROM link WHERE gateway_no=?", (gateway_no,)).fetchone() or (None, 0)
    found = []
    for no, name, boot_no, reason, parent, _, ranges, known in rows:
        ledger = EMPTY if ranges is None else Ledger.from_text(ranges, "[]", "[]")
        heard = max(ledger.newest, known or 0, heads.get(name, 0), (asked[1] or 0) if asked[0] == no else 0)
        epoch = EpochTime(
            no=no, name=name, boot_no=boot_no, is_salvage=reason == "salvage", parent=parent, ledger=ledger, heard=heard
        )  # fmt: skip
        boot = boots.get(boot_no or 0)
        _read_ends(db, epoch, None if boot is None else boot.offset_us)
        found.append(epoch)
    # Epochs that nothing but their child has named have no number.
    for place, name in enumerate(sorted(heads.keys() - {epoch.name for epoch in found}), 1):
        found.append(
            EpochTime(
                no=-place, name=name, boot_no=None, is_salvage=False, parent=None, ledger=EMPTY, heard=heads[name]
            )
        )
    _part_lives(found)
    return found


def _read_ends(db: sqlite3.Connection, epoch: EpochTime, offset_us: int | None) -> None:
    ends = "SELECT seq, sealed_us, first_us FROM evidence WHERE epoch_no=? AND lane=? AND boot_no=? ORDER BY seq"
    of = (epoch.no, _DATA, epoch.boot_no)
    first = db.execute(f"{ends} LIMIT 1", of).fetchone()
    if first is None:
        return
    last = db.execute(f"{ends} DESC LIMIT 1", of).fetchone()
    epoch.first_seq, epoch.last_seq, epoch.end_us = first[0], last[0], last[1]
    if last[0] > first[0]:
        epoch.gap_us = min(max((last[1] - first[1]) // (last[0] - first[0]), _SEAL_LOW_US), _SEAL_HIGH_US)
    epoch.begin_us = min(first[1], first[2])
    if first[0] == 1:
        return
    epoch.begin_us = max(0, min(epoch.begin_us, first[1] - first[0] * epoch.gap_us))
    pruned = db.execute(
        "SELECT envelope FROM checkpoint WHERE epoch_no=? AND lane=? ORDER BY seq DESC LIMIT 1", (epoch.no, _DATA)
    ).fetchone()
    oldest_us = None if pruned is None else read_checkpoint(pruned[0]).first_sample_us
    if oldest_us is not None and offset_us is not None:
        epoch.begin_us = min(first[1], max(0, oldest_us - offset_us))


def _part_lives(epochs: Sequence[EpochTime]) -> None:
    """An epoch whose first batches are not here began no earlier than its parent ended."""
    by_name = {epoch.name: epoch for epoch in epochs}
    for epoch in epochs:
        parent = by_name.get(epoch.parent) if epoch.parent is not None else None
        if epoch.first_seq > 1 and parent is not None and parent.boot_no == epoch.boot_no and parent.is_life:
            epoch.begin_us = min(max(epoch.begin_us, parent.end_us), epoch.end_us)


def _extend(
    span: BootSpan, after: BootSpan | None, unknown: Sequence[BootSpan], now_us: int | None, *, is_first: bool
) -> None:
    """Lays the lives of a boot, and what follows them until the next boot or now."""
    end_us, offset_us, rank = span.until_us, span.boot.offset_us or 0, span.boot.rank
    why = UNHEARD
    if after is not None:
        span.until_us = max(end_us, _begin(after) - offset_us)
        why = POWER
    elif now_us is not None:
        span.until_us = max(end_us, now_us - offset_us)
    if any(rank < item.boot.rank and (after is None or item.boot.rank < after.boot.rank) for item in unknown):
        why = UNPLACED
    # What follows reaches beyond the end: a tick just before it may have been answered behind it.
    span.layers = [Stretch(span.begin_us, end_us, STOPPED), Stretch(end_us, span.until_us + OLD_US, why)]
    newest: int | None = None
    for epoch in sorted(span.epochs, key=lambda item: item.begin_us):
        if newest is None or epoch.begin_us > newest:
            cause = POWER if newest is None and not is_first else STOPPED
            span.edges.append(Edge(epoch.begin_us, cause))
        newest = epoch.end_us if newest is None else max(newest, epoch.end_us)
        span.layers.append(Stretch(epoch.begin_us, epoch.end_us, NEVER_SENT))


# ---- batches that are not here -----------------------------------------------------------------


def _absent_of(db: sqlite3.Connection, epoch: EpochTime) -> list[Stretch]:
    """Returns the windows of what is not here of an epoch of which something is."""
    seals = _Seals(db, epoch)
    found = [Stretch(*seals.window(first, last), why) for first, last, why in _not_here(db, epoch)]
    refused = db.execute(
        "SELECT seq, code FROM evidence WHERE epoch_no=? AND lane=? AND state=2 ORDER BY seq", (epoch.no, _DATA)
    )
    for seq, code in refused.fetchall():
        found.append(Stretch(*seals.window(seq, seq), Why(Outcome.QUARANTINED, code or "payload")))
    return found


def _not_here(db: sqlite3.Connection, epoch: EpochTime) -> Iterator[tuple[int, int, Why]]:
    """Yields runs of seqs and why they are not here."""
    waiting = [
        seq
        for (seq,) in db.execute(
            "SELECT e.seq FROM waiting w JOIN evidence e ON e.id=w.evidence_id WHERE w.epoch_no=? AND e.lane=?"
            " ORDER BY 1",
            (epoch.no, _DATA),
        )
    ]
    for seq in waiting:
        yield seq, seq, WAITING
    for span in epoch.ledger.missing(epoch.heard):
        for first, last in _without(span, waiting):
            yield first, last, NAMED
    pruned = db.execute("SELECT max(seq) FROM checkpoint WHERE epoch_no=? AND lane=?", (epoch.no, _DATA)).fetchone()[0]
    if pruned is not None:
        yield 1, pruned, PRUNED
    losses = db.execute(
        "SELECT first, last, cause FROM loss WHERE epoch_no=? AND lane=? ORDER BY first", (epoch.no, _DATA)
    )
    for first, last, cause in losses.fetchall():
        here = db.execute(
            "SELECT DISTINCT seq FROM evidence WHERE epoch_no=? AND lane=? AND seq BETWEEN ? AND ? ORDER BY 1",
            (epoch.no, _DATA, first, last),
        )
        outcome = Outcome.THINNED if cause == "thinned" else Outcome.LOST
        # What came back from a damaged store is here: a hole in it was in none of the batches.
        why = NEVER_SENT if cause == RECOVERED else Why(outcome, cause)
        for part in _without((first, last), [seq for (seq,) in here]):
            yield *part, why


def _without(span: Span, seqs: Sequence[int]) -> Iterator[Span]:
    """Yields what is left of a range without some ascending numbers."""
    first, last = span
    for seq in seqs:
        if first <= seq <= last:
            if first < seq:
                yield first, seq - 1
            first = seq + 1
    if first <= last:
        yield first, last


class _Seals:
    """When the batches of one epoch were sealed, as far as that can be told."""

    def __init__(self, db: sqlite3.Connection, epoch: EpochTime) -> None:
        self._db, self._epoch = db, epoch
        #: (seq, monotonic us) that thinned batches prove
        self._thinned: list[tuple[int, int]] = []
        for low, high, first_us, last_us in db.execute(_THINNED, (epoch.no, _DATA, epoch.boot_no)).fetchall():
            self._thinned += [(low - 1, first_us), (high, last_us)]
        self._thinned.sort()

    def window(self, first: int, last: int) -> tuple[int, int]:
        """Returns from when to when the samples of a run of batches that are not here were sealed."""
        begin_us, end_us = self._at(first - 1), self._at(last)
        after = self._next(last + 1)
        if after is not None and after[0] == last + 1:
            # Whatever lies before the first sample of the next batch was in these.
            end_us = max(end_us, after[2] if begin_us <= after[2] <= after[1] else after[1])
        return begin_us, max(begin_us, end_us)

    def _next(self, seq: int) -> tuple[int, int, int] | None:
        row: tuple[int, int, int] | None = self._db.execute(
            "SELECT seq, sealed_us, first_us FROM evidence WHERE epoch_no=? AND lane=? AND seq>=? AND boot_no=?"
            " ORDER BY seq LIMIT 1",
            (self._epoch.no, _DATA, seq, self._epoch.boot_no),
        ).fetchone()
        return row

    def _at(self, seq: int) -> int:
        """Returns when a batch was sealed, or about when."""
        before = self._db.execute(
            "SELECT seq, sealed_us FROM evidence WHERE epoch_no=? AND lane=? AND seq<=? AND boot_no=?"
            " ORDER BY seq DESC LIMIT 1",
            (self._epoch.no, _DATA, seq, self._epoch.boot_no),
        ).fetchone()
        low: tuple[int, int] = (0, self._epoch.begin_us) if before is None else before
        after = self._next(seq + 1)
        high: tuple[int, int] | None = None if after is None else after[:2]
        if low[0] == seq:
            return low[1]
        place = bisect_right(self._thinned, (seq, 1 << 62))
        for at, time_us in self._thinned[:place][-1:]:
            if at > low[0] and time_us > low[1]:
                low = (at, time_us)
        for at, time_us in self._thinned[place:][:1]:
            if high is None or (at < high[0] and low[1] <= time_us < high[1]):
                high = (at, time_us)
        if high is None:
            return low[1] + (seq - low[0]) * self._epoch.gap_us
        return low[1] + (high[1] - low[1]) * (seq - low[0]) // (high[0] - low[0])


def _place_unseen(
    db: sqlite3.Connection, epochs: Sequence[EpochTime], spans: dict[int, BootSpan], known: Sequence[BootSpan]
) -> None:
    """Places epochs of which nothing is here: before the one that names them, or that signs for their loss.

    Where there is no time before that one (a volatile epoch), before the batch that signs.
    """
    unseen: dict[int, list[tuple[EpochTime, int]]] = {}
    lives = {epoch.no: epoch for epoch in epochs if epoch.is_life and epoch.boot_no in spans}
    for epoch in epochs:
        if epoch.last_seq or not epoch.heard:
            continue
        child = next((item for item in lives.values() if item.parent == epoch.name), None)
        signed = db.execute(_SIGNED, (epoch.no, _DATA)).fetchone()
        if child is not None:
            unseen.setdefault(child.no, []).append((epoch, child.begin_us))
        elif signed is not None and signed[0] in lives:
            unseen.setdefault(signed[0], []).insert(0, (epoch, signed[1]))
    for number, items in unseen.items():
        before = lives[number]
        at = spans[before.boot_no or 0]
        free_us = before.begin_us - _end_before(before, at, known)
        total = sum(epoch.heard for epoch, _ in items)
        has_room = free_us >= total * before.gap_us // 2
        gap_us = min(before.gap_us, free_us // total) if has_room else before.gap_us
        end_us = before.begin_us
        for epoch, signed_us in reversed(items):
            if not has_room:
                end_us = signed_us
            for first, last, why in _not_here(db, epoch):
                window = Stretch(
                    end_us - (epoch.heard - first + 1) * gap_us, end_us - (epoch.heard - last) * gap_us, why
                )
                _lay(window, at, known)
            end_us -= epoch.heard * gap_us


def _end_before(epoch: EpochTime, at: BootSpan, known: Sequence[BootSpan]) -> int:
    """Returns when the life before an epoch ended, in the time of its boot; its begin where there is none."""
    ends = [item.end_us for item in at.epochs if item.end_us <= epoch.begin_us]
    offset_us = at.boot.offset_us
    if not ends and offset_us is not None:
        earlier = [item for item in known if item is not at and _begin(item) < _begin(at)]
        ends = [life.end_us + (item.boot.offset_us or 0) - offset_us for item in earlier[-1:] for life in item.epochs]
    return min(epoch.begin_us, max(ends)) if ends else epoch.begin_us


def _lay(window: Stretch, at: BootSpan, known: Sequence[BootSpan]) -> None:
    """Lays a window over the time of its boot and, before that, over what follows the boot before."""
    at.layers.append(window)
    for other in known:
        if other is not at and at.boot.offset_us is not None:
            shift = at.boot.offset_us - (other.boot.offset_us or 0)
            other.layers.append(Stretch(window.begin_us + shift, window.end_us + shift, window.why))


_EPOCHS = """
SELECT n.no, n.epoch, p.boot_no, p.reason, p.parent, p.parent_data_seq, c.ranges, c.known
FROM epoch_name n LEFT JOIN epoch p ON p.epoch_no=n.no LEFT JOIN chain c ON c.epoch_no=n.no AND c.lane=1
WHERE n.gateway_no=? ORDER BY n.no
"""

# Old samples in newer batches: of which boot they are, and the span of them.
_CARRIED = """
SELECT e.boot_no, min(e.first_us), max(e.last_us)
FROM loss l JOIN epoch_name n ON n.no=l.epoch_no JOIN evidence e ON e.id=l.evidence_id
WHERE n.gateway_no=? AND l.cause IN ('thinned', 'recovered') AND e.state=0 AND e.readings>0 GROUP BY e.boot_no
"""

# The first batch that signs for anything of an epoch.
_SIGNED = """
SELECT e.epoch_no, e.sealed_us FROM loss l JOIN evidence e ON e.id=l.evidence_id
WHERE l.epoch_no=? AND l.lane=? ORDER BY e.arrived_us, e.id LIMIT 1
"""

# Per thinned batch that is here: the seqs of an epoch that it stands for, and the span of its samples.
_THINNED = """
SELECT min(l.first), max(l.last), e.first_us, e.last_us FROM loss l JOIN evidence e ON e.id=l.evidence_id
WHERE l.epoch_no=? AND l.lane=? AND l.cause='thinned' AND e.boot_no=? AND e.state=0 AND e.readings>0
GROUP BY l.evidence_id
"""
