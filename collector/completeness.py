"""Completeness: what became of every reading that the catalogue promised, by point and hour.

Computed when asked, from the signed batches themselves, and kept nowhere: what arrives late, is
thinned, or gets a better clock is right at once, and there is nothing that could disagree with the
evidence.  Memory is bounded: a stretch of some hours is decoded, counted and let go.

What a tick is, is decided by ``ledger``; when the gateway ran and what is not here, by
``timeline``.  A boot has one offset to UTC here, the best that is known by now, so that a tick
is in one hour and in no other; roll-ups and trends use the one that was best when a batch came.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from collector.evidence import read_batch
from collector.inhibits import Marked, mark_readings
from collector.ledger import Account, Counts, Edge, Grid, Piece, Row, Stretch, Stretches, Track, place_rows
from collector.outcomes import DAMAGED_HERE, RECONFIGURED, whose
from collector.timeline import OLD_US, BootSpan, EpochTime, read_spans
from collector.views import CompletenessView
from contracts.batch import Batch, Lane, Origin
from contracts.catalogue import Catalogue
from contracts.columns import block_number, decode_qualities
from contracts.errors import ContractError
from contracts.inhibit import Inhibit, spans

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
_DATA = int(Lane.DATA)
#: a batch may begin this long before its newest sample (us), as in ``trend``
_LONGEST_BATCH_US = HOUR_US
#: rows that are decoded at once, about
_MOST_ROWS = 300_000

#: keys of the points, interval and phase (ms)
_Form = tuple[tuple[str, ...], int, int]
#: of a batch: monotonic us, number of its catalogue, number of its epoch
_Mark = tuple[int, int, int]


@dataclass(slots=True)
class _Decoded:
    """What the batches around a stretch of time say."""

    rows: dict[_Form, list[Row]] = field(default_factory=dict)
    #: which catalogue was in force when
    marks: list[_Mark] = field(default_factory=list)
    damaged: list[Stretch] = field(default_factory=list)
    #: with the monotonic us of the batch that states it
    inhibits: list[tuple[int, Inhibit]] = field(default_factory=list)


def read_completeness(
    db: sqlite3.Connection,
    *,
    gateway_no: int,
    gateway: str,
    catalogue: Callable[[int], Catalogue],
    now_us: int,
    start_us: int,
    end_us: int,
    key: str | None = None,
    bucket_us: int = HOUR_US,
) -> list[CompletenessView]:
    """Returns what became of the ticks in ``[start_us, end_us)``, by point and hour, oldest first.

    Args:
        catalogue: by its number in the table.
        now_us: UTC; nothing is expected after it.
        start_us: UTC.
        end_us: UTC.
        key: of one point; None: all.
        bucket_us: an hour, or a day (UTC).
    """
    found: list[CompletenessView] = []
    for span in read_spans(db, gateway_no, now_us):
        reader = _SpanReader(db, gateway_no, catalogue, span, key)
        offset_us = span.boot.offset_us
        if offset_us is None:
            if _arrived_since(db, span, start_us):
                counts = reader.read(span.begin_us, span.until_us, lambda time_us: (0, 1 << 62))
                found += _views(gateway, span.boot.boot_id.hex(), counts, reader.marked, None)
            continue

        def hour_of(time_us: int, offset_us: int = offset_us) -> tuple[int, int]:
            hour = (time_us + offset_us) // bucket_us
            return hour, (hour + 1) * bucket_us - offset_us

        counts = reader.read(max(span.begin_us, start_us - offset_us), min(span.until_us, end_us - offset_us), hour_of)
        found += _views(gateway, "", counts, reader.marked, bucket_us)
    return _joined(found)


def _views(
    gateway: str, boot: str, counts: dict[tuple[str, int], Counts], marked: Marked, bucket_us: int | None
) -> Iterator[CompletenessView]:
    for (point, hour), outcomes in counts.items():
        yield CompletenessView(
            gateway=gateway,
            point=point,
            begin_us=None if bucket_us is None else hour * bucket_us,
            boot=boot,
            expected=outcomes.total(),
            counts=sorted((why.outcome.value, why.cause, whose(why).value, count) for why, count in outcomes.items()),
            inhibited=sorted(marked.get((point, hour), {}).items()),
        )


def _joined(views: Sequence[CompletenessView]) -> list[CompletenessView]:
    """Returns one view for each point and hour: two boots may share an hour."""
    found: dict[tuple[str, int, str], list[CompletenessView]] = {}
    for view in views:
        found.setdefault((view.boot, view.begin_us or 0, view.point), []).append(view)
    joined = []
    for _, same in sorted(found.items()):
        counts: Counter[tuple[str, str, str]] = Counter()
        inhibited: Counter[str] = Counter()
        for view in same:
            inhibited.update(dict(view.inhibited))
            for outcome, cause, by, count in view.counts:
                counts[outcome, cause, by] += count
        joined.append(
            CompletenessView(
                gateway=same[0].gateway,
                point=same[0].point,
                begin_us=same[0].begin_us,
                boot=same[0].boot,
                expected=counts.total(),
                counts=[(*key, count) for key, count in sorted(counts.items())],
                inhibited=sorted(inhibited.items()),
            )
        )
    return joined


def _arrived_since(db: sqlite3.Connection, span: BootSpan, start_us: int) -> bool:
    """Whether any of a boot without a clock can lie after ``start_us``: nothing arrives before it was read."""
    newest = [
        db.execute("SELECT max(arrived_us) FROM evidence WHERE epoch_no=? AND lane=?", (epoch.no, _DATA)).fetchone()[0]
        for epoch in span.epochs
    ]
    return not newest or any(arrived_us is not None and arrived_us >= start_us for arrived_us in newest)


class _SpanReader:
    """Counts the ticks of one boot, stretch by stretch."""

    def __init__(
        self,
        db: sqlite3.Connection,
        gateway_no: int,
        catalogue: Callable[[int], Catalogue],
        span: BootSpan,
        key: str | None,
    ) -> None:
        self._db, self._gateway_no, self._span = db, gateway_no, span
        self._catalogue = catalogue
        self._wanted = None if key is None else frozenset({key})
        self._forms: dict[int, list[_Form | None]] = {}
        #: readings that were taken while a person worked on the point
        self.marked: Marked = {}

    def read(
        self, begin_us: int, end_us: int, hour_of: Callable[[int], tuple[int, int]]
    ) -> dict[tuple[str, int], Counts]:
        """Returns the outcomes of the ticks from ``begin_us`` to before ``end_us``, monotonic."""
        counts: dict[tuple[str, int], Counts] = {}
        while begin_us < end_us:
            stop_us = min(end_us, begin_us + self._step_us(begin_us))
            self._count(begin_us, stop_us, hour_of, counts)
            begin_us = stop_us
        return counts

    def _step_us(self, begin_us: int) -> int:
        """Returns how much time is decoded at once."""
        held = self._catalogue_at(begin_us)
        if held is None:
            return DAY_US
        blocks = [form for form in self._forms_of(held[1]) if form is not None]
        per_hour = sum(3_600_000 / interval_ms for _, interval_ms, _ in blocks)
        return min(DAY_US, max(HOUR_US // 6, int(_MOST_ROWS / max(1.0, per_hour) * HOUR_US)))

    def _count(
        self,
        begin_us: int,
        end_us: int,
        hour_of: Callable[[int], tuple[int, int]],
        counts: dict[tuple[str, int], Counts],
    ) -> None:
        held = self._catalogue_at(begin_us)
        slowest_us = 0 if held is None else self._slowest_us(held[1])
        decoded = self._decode(begin_us - slowest_us - OLD_US, end_us + 2 * slowest_us + OLD_US)
        tracks = {
            form: Track(keys=form[0], grid=grid, placed=place_rows(rows, grid))
            for form, rows in decoded.rows.items()
            for grid in (Grid(form[1] * 1000, form[2] * 1000),)
        }
        force, edges = self._in_force(held, decoded.marks)
        account = Account(
            stretches=Stretches([*self._span.layers, *decoded.damaged]),
            edges=[*self._span.edges, *edges],
            hour_of=hour_of,
            wanted=self._wanted,
            counts=counts,
        )
        worked_on = spans(decoded.inhibits)
        for place, (from_us, number) in enumerate(force):
            until_us = force[place + 1][0] if place + 1 < len(force) else end_us
            first_us, stop_us = max(begin_us, from_us), min(end_us, until_us)
            if first_us >= stop_us:
                continue
            for form in self._forms_of(number):
                if form is None:
                    continue
                piece = _piece(form, tracks, first_us, stop_us, is_first=first_us == self._span.begin_us)
                account.add(piece)
                if worked_on:
                    mark_readings(self.marked, piece.track, worked_on, piece.begin_us, stop_us, hour_of)

    def _in_force(self, held: _Mark | None, marks: list[_Mark]) -> tuple[list[tuple[int, int]], list[Edge]]:
        """Returns from when on which catalogue was in force, and where it changed while the agent ran."""
        begins = {epoch.no: epoch.begin_us for epoch in self._span.epochs}
        force: list[tuple[int, int]] = []
        edges: list[Edge] = []
        before: _Mark | None = None
        for mark in sorted({*marks} if held is None else {*marks, held}):
            _, number, epoch_no = mark
            if before is None:
                force.append((-1, number))
            elif number != before[1]:
                # What was sampled under the old one was sealed with it.
                changed_us = before[0]
                if before[2] == epoch_no:
                    edges.append(Edge(changed_us, RECONFIGURED))
                else:
                    changed_us = max(changed_us, begins.get(epoch_no, changed_us))
                force.append((max(changed_us, force[-1][0]), number))
            before = mark
        return force, edges

    def _forms_of(self, number: int) -> list[_Form | None]:
        """Returns the form of every block of a catalogue; None for one that nobody asks for."""
        forms = self._forms.get(number)
        if forms is None:
            catalogue = self._catalogue(number)
            forms = []
            for block in catalogue.blocks:
                keys = tuple(catalogue.points[point].key for point in block.points)
                is_wanted = self._wanted is None or not self._wanted.isdisjoint(keys)
                forms.append((keys, block.interval_ms, block.phase_ms) if is_wanted else None)
            self._forms[number] = forms
        return forms

    def _slowest_us(self, number: int) -> int:
        return max((form[1] for form in self._forms_of(number) if form is not None), default=0) * 1000

    # ---- batches ----------------------------------------------------------------------------

    def _catalogue_at(self, time_us: int) -> _Mark | None:
        """Returns the newest batch before a time, whose catalogue is in force then; else the first one after it."""
        found: _Mark | None = None
        for epoch in self._span.epochs:
            if epoch.begin_us <= time_us:
                row = self._db.execute(
                    f"{_IN_FORCE} AND seq<? ORDER BY seq DESC LIMIT 1",
                    (epoch.no, _DATA, epoch.boot_no, OLD_US, self._seq_at(epoch, time_us)),
                ).fetchone()
                if row is not None and (found is None or row[0] > found[0]):
                    found = row
        if found is None:
            for epoch in sorted(self._span.epochs, key=lambda item: item.begin_us):
                row = self._db.execute(
                    f"{_IN_FORCE} ORDER BY seq LIMIT 1", (epoch.no, _DATA, epoch.boot_no, OLD_US)
                ).fetchone()
                if row is not None:
                    found = row
                    break
        return found

    def _seq_at(self, epoch: EpochTime, time_us: int) -> int:
        """Returns the least seq from which on every batch that is here was sealed at or after a time."""
        low, high = epoch.first_seq, epoch.last_seq + 1
        while low < high:
            middle = (low + high) // 2
            seq, sealed_us = self._db.execute(
                "SELECT seq, sealed_us FROM evidence WHERE epoch_no=? AND lane=? AND seq>=? AND boot_no=?"
                " ORDER BY seq LIMIT 1",
                (epoch.no, _DATA, middle, epoch.boot_no),
            ).fetchone()
            if sealed_us >= time_us:
                high = middle
            else:
                low = seq + 1
        return low

    def _decode(self, begin_us: int, end_us: int) -> _Decoded:
        """Decodes the batches whose samples can lie in a stretch of time."""
        decoded = _Decoded()
        seen: set[int] = set()
        for row in self._batches(begin_us, end_us):
            id, epoch_no, catalogue_no, sealed_us, first_us, last_us, envelope = row
            if id in seen:
                continue
            seen.add(id)
            try:
                batch = read_batch(envelope, _DATA)
                self._take(decoded, batch, epoch_no, catalogue_no)
            except ContractError:
                # Changed after it was verified: `collector verify` names it.
                decoded.damaged.append(Stretch(first_us, max(last_us, sealed_us) + 1, DAMAGED_HERE))
                continue
            is_old = sealed_us - last_us > OLD_US or batch.header.origin in (Origin.THINNED, Origin.RECOVERED)
            decoded.marks.append((last_us if is_old else sealed_us, catalogue_no, epoch_no))
        return decoded

    def _take(self, decoded: _Decoded, batch: Batch, epoch_no: int, catalogue_no: int) -> None:
        forms = self._forms_of(catalogue_no)
        run = 0 if batch.header.origin in (Origin.THINNED, Origin.RECOVERED) else epoch_no
        decoded.inhibits += [(batch.header.sealed_us, item) for item in batch.inhibits]
        for raw in batch.blocks:
            form = forms[block_number(raw)]
            if form is None:
                continue
            width = len(form[0])
            times, codes = decode_qualities(raw, width, batch.header.sealed_us)
            rows = decoded.rows.setdefault(form, [])
            if codes is None:
                rows += [Row(time_us, None, run) for time_us in times]
                continue
            for place, time_us in enumerate(times):
                own = tuple(codes[place * width : (place + 1) * width])
                rows.append(Row(time_us, own if any(own) else None, run))

    def _batches(self, begin_us: int, end_us: int) -> Iterator[tuple[int, int, int, int, int, int, bytes]]:
        db, boot = self._db, self._span.boot
        for epoch in self._span.epochs:
            if epoch.begin_us <= end_us and begin_us <= epoch.end_us:
                low, high = self._seq_at(epoch, begin_us), self._seq_at(epoch, end_us)
                yield from db.execute(
                    f"{_BATCHES} AND epoch_no=? AND seq BETWEEN ? AND ? ORDER BY seq",
                    (_DATA, boot.no, epoch.no, low, high),
                )
        for number in self._span.salvaged:
            yield from db.execute(
                f"{_BATCHES} AND epoch_no=? AND first_us<=? AND last_us>=?",
                (_DATA, boot.no, number, end_us, begin_us),
            )
        # Old samples in newer batches: by the records that thinned ones carry, and by time.
        yield from db.execute(
            f"{_BATCHES} AND first_us<=? AND last_us>=? AND id IN"
            " (SELECT l.evidence_id FROM loss l JOIN epoch_name n ON n.no=l.epoch_no WHERE n.gateway_no=?)",
            (_DATA, boot.no, end_us, begin_us, self._gateway_no),
        )
        if boot.offset_us is not None:
            yield from db.execute(
                f"{_BATCHES} AND gateway_no=? AND wall_us BETWEEN ? AND ? AND sealed_us-last_us>?",
                (
                    _DATA,
                    boot.no,
                    self._gateway_no,
                    begin_us + boot.offset_us - _LONGEST_BATCH_US,
                    end_us + boot.offset_us,
                    OLD_US,
                ),
            )


def _piece(form: _Form, tracks: dict[_Form, Track], begin_us: int, end_us: int, *, is_first: bool) -> Piece:
    """Returns a block's grid in force; that of a boot begins with the tick that its first sample belongs to."""
    keys, interval_ms, phase_ms = form
    track = tracks.get(form)
    if track is None:
        track = Track(keys=keys, grid=Grid(interval_ms * 1000, phase_ms * 1000), placed={})
    if is_first and track.placed:
        begin_us = min(begin_us, track.grid.time_of(min(track.placed)))
    others = tuple(
        other
        for of, other in tracks.items()
        if of != form and of[1:] == form[1:] and not set(keys).isdisjoint(other.keys)
    )
    return Piece(track=track, begin_us=begin_us, end_us=end_us, others=others)


_IN_FORCE = (
    "SELECT sealed_us, catalogue_no, epoch_no FROM evidence"
    " WHERE epoch_no=? AND lane=? AND boot_no=? AND state=0 AND readings>0 AND sealed_us-last_us<=?"
)

_BATCHES = (
    "SELECT id, epoch_no, catalogue_no, sealed_us, first_us, last_us, envelope FROM evidence"
    " WHERE lane=? AND boot_no=? AND state=0 AND readings>0"
)
