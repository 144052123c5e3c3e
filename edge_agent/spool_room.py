"""What making room asks of the spool: what may go first, and what lies where.  Nothing is removed here.

Who may go, and in which order, is decided in ``room.py`` and ``quiet.py``; what they take goes by ``Spool.release``,
or by ``Spool.commit`` with the loss record that stands for it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import apsw

from contracts.batch import Lane
from edge_agent.spool import Spool
from edge_agent.spool_records import SEQ_MASK, Candidate, Gone, batch_id, split_id

#: rows removed in one transaction
_PRUNE_ROWS = 500
#: runs of neighbours that go together, each with a record of its own
_MOST_RUNS = 20


def oldest(spool: Spool, candidates: Iterable[Candidate], *, want_bytes: int) -> Gone | None:
    """Returns the first run of neighbouring batches that may go, at most ``_PRUNE_ROWS``.

    Args:
        candidates: in the order in which they should go.
        want_bytes: the run ends when this much would be freed.

    Raises:
        SpoolError: the file cannot be read.
    """

    def read(db: apsw.Connection) -> Gone | None:
        for candidate in candidates:
            found = next(_runs(db, candidate, want_bytes), None)
            if found is not None:
                return found
        return None

    return spool.ask(read)


def oldest_runs(spool: Spool, candidates: Iterable[Candidate], *, want_bytes: int, least_bytes: int) -> list[Gone]:
    """Returns the first runs of one candidate that may go together.

    Thinned batches are no neighbours of each other: between them lies what they were made from.

    Args:
        candidates: in the order in which they should go.
        want_bytes: no more runs are taken when this much would be freed.
        least_bytes: runs that would free less together are passed over.

    Raises:
        SpoolError: the file cannot be read.
    """

    def read(db: apsw.Connection) -> list[Gone]:
        for candidate in candidates:
            found = _first_runs(db, candidate, want_bytes, least_bytes)
            if found:
                return found
        return []

    return spool.ask(read)


def alarm_times(spool: Spool, epoch_nos: Iterable[int]) -> list[tuple[int, int]]:
    """Returns the spans (monotonic us) of the alarm batches here of some epochs of one boot.

    Raises:
        SpoolError: the file cannot be read.
    """

    def read(db: apsw.Connection) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for no in epoch_nos:
            rows: Any = db.execute(
                "SELECT first_us, last_us FROM batch WHERE id BETWEEN ? AND ? AND last_us IS NOT NULL",
                (batch_id(no, Lane.ALARM, 1), batch_id(no, Lane.ALARM, SEQ_MASK)),
            )
            found.extend(rows)
        return found

    return spool.ask(read)


def spans(
    spool: Spool, epoch_no: int, lane: Lane, ranges: Iterable[tuple[int, int]], *, limit_rows: int
) -> list[tuple[int, int, int]]:
    """Returns (seq, first us, last us) of the batches here of the given seq ranges, in order.

    Raises:
        SpoolError: the file cannot be read.
    """

    def read(db: apsw.Connection) -> list[tuple[int, int, int]]:
        found: list[tuple[int, int, int]] = []
        for first, last in ranges:
            rows: Any = db.execute(
                "SELECT id, first_us, last_us FROM batch WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
                (batch_id(epoch_no, lane, first), batch_id(epoch_no, lane, last), limit_rows - len(found)),
            )
            found.extend((split_id(id)[2], first_us or 0, last_us or 0) for id, first_us, last_us in rows)
            if len(found) >= limit_rows:
                break
        return found

    return spool.ask(read)


def thinned_seqs(spool: Spool, epoch_no: int) -> set[int]:
    """Returns the seqs of an epoch's data batches that keep a thinned form of others.

    Raises:
        SpoolError: the file cannot be read.
    """
    bounds = (batch_id(epoch_no, Lane.DATA, 1), batch_id(epoch_no, Lane.DATA, SEQ_MASK))
    rows: Any = spool.ask(
        lambda db: db.execute(
            "SELECT record_id FROM gone WHERE cause='thinned' AND record_id BETWEEN ? AND ?", bounds
        ).fetchall()
    )
    return {split_id(id)[2] for (id,) in rows}


def _first_runs(db: apsw.Connection, candidate: Candidate, want_bytes: int, least_bytes: int) -> list[Gone]:
    """Returns the first runs that together free some ``want_bytes``; none where all free less than ``least_bytes``."""
    found: list[Gone] = []
    size = rows = 0
    for run in _runs(db, candidate, want_bytes):
        found.append(run)
        size += run.size
        rows += run.last - run.first + 1
        if size >= want_bytes or rows >= _PRUNE_ROWS or len(found) >= _MOST_RUNS:
            if size >= least_bytes:
                break
            # What frees next to nothing is passed over: its records would cost as much.
            found, size, rows = [], 0, 0
    return found if size >= least_bytes else []


def _runs(db: apsw.Connection, candidate: Candidate, want_bytes: int) -> Iterator[Gone]:
    no, lane = candidate.epoch_no, candidate.lane
    run: Gone | None = None
    for low, high in candidate.ranges:
        rows: Any = db.execute(
            "SELECT id, digest, readings, length(envelope), first_us, last_us FROM batch"
            " WHERE id BETWEEN ? AND ? ORDER BY id",
            (batch_id(no, lane, low), batch_id(no, lane, high)),
        )
        for id, digest, readings, size, first_us, last_us in rows:
            if candidate.keep_after_us is not None and last_us is not None and last_us > candidate.keep_after_us:
                break
            if last_us is not None and touches(candidate.spared, first_us, last_us):
                continue
            seq = split_id(id)[2]
            one = Gone(
                epoch_no=no,
                lane=lane,
                first=seq,
                last=seq,
                digest=digest,
                readings=readings,
                cause="released",
                size=size,
            )
            longer = None if run is None else _joined(run, one)
            if run is not None and longer is None:
                yield run
            run = longer or one
            if run.size >= want_bytes or run.last - run.first + 1 >= _PRUNE_ROWS:
                yield run
                run = None
    if run is not None:
        yield run


def _joined(run: Gone, one: Gone) -> Gone | None:
    if one.first != run.last + 1:
        return None
    return replace(one, first=run.first, readings=run.readings + one.readings, size=run.size + one.size)


def touches(spans: Sequence[tuple[int, int]], first_us: int, last_us: int) -> bool:
    """Returns whether one of the spans (ascending, apart) has a moment from ``first_us`` to ``last_us``."""
    place = bisect_right(spans, last_us, key=lambda span: span[0]) - 1
    return place >= 0 and spans[place][1] >= first_us
