"""Visits and due dates: kept as the gateways signed them, and read for lists.

A visit is kept once, by its id, whatever number of batches carry it.  Of what a gateway states of a point and
job only the newest counts, by boot order and sealing.

Pages of visits are found by key, as in the alarm journal: the thousandth is as quick as the first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeVar

from collector.visit_views import LastVisit, UpkeepView, VisitFilter, VisitPage, VisitView
from contracts.batch import AlarmEvent
from contracts.catalogue import CataloguePoint
from contracts.fields import pack, unpack
from contracts.units import UNITS
from contracts.upkeep import Upkeep
from contracts.visit import JOBS, RESULTS, Visit

#: (boot rank, boot, monotonic us of the sealing)
Order = tuple[int, int, int]
#: (recorded us, gateway, id): the order of the list, and a place in it
Key = tuple[int, int, bytes]
#: gateway, key -> the point by the newest catalogue, None where it names none
Names = Callable[[str, str], CataloguePoint | None]

P = TypeVar("P", bound=Hashable)
V = TypeVar("V")

#: a gateway states everything once a day: what is older than its newest statement by more was left out (us)
RESTATED_US = 36 * 3_600_000_000


def apply_visit(
    db: sqlite3.Connection,
    visit: Visit,
    *,
    gateway_no: int,
    boot_no: int,
    sealed_us: int,
    offset_us: int,
    evidence_id: int,
) -> None:
    """Keeps a visit inside the caller's transaction; the same one again, in another batch, changes nothing.

    Args:
        db: the writer's.
        visit: verified.
        gateway_no: whose it is.
        boot_no: of the batch that carries it.
        sealed_us: monotonic, of that batch.
        offset_us: turns the times of that boot into UTC.
        evidence_id: that batch.
    """
    db.execute(
        _VISIT,
        (
            gateway_no,
            visit.id,
            visit.point,
            visit.job,
            visit.result,
            visit.by,
            boot_no,
            sealed_us,
            sealed_us + offset_us,
            pack(visit.to_wire()),
            evidence_id,
        ),
    )


def apply_upkeep(db: sqlite3.Connection, said: Upkeep, *, gateway_no: int, order: Order, offset_us: int) -> None:
    """Keeps a statement inside the caller's transaction, where it is the newest of its point and job."""
    db.execute(
        _UPKEEP,
        (gateway_no, said.point, said.job, *order, order[2] + offset_us, said.last, said.due, said.state, said.street),
    )


# ---- visits that were made -------------------------------------------------------------------


def check(filter: VisitFilter) -> None:
    """Raises ValueError with a sentence where a word is not one of the filter's."""
    if filter.job is not None and filter.job not in JOBS:
        raise ValueError(f"job: {filter.job!r} is none of {', '.join(sorted(JOBS))}")
    if filter.result is not None and filter.result not in RESULTS:
        raise ValueError(f"result: {filter.result!r} is none of {', '.join(sorted(RESULTS))}")


def read_visits(
    db: sqlite3.Connection, filter: VisitFilter, names: Names, *, limit: int, after: str | None
) -> VisitPage:
    """Returns one page of visits, newest first; raises ValueError with a sentence."""
    check(filter)
    place = None if after is None else read_place(after)
    gateway_no = None
    if filter.gateway is not None:
        row = db.execute("SELECT no FROM gateway WHERE id=?", (filter.gateway,)).fetchone()
        if row is None:
            return VisitPage(visits=[], next=None)
        gateway_no = row[0]
    sql, values = select(filter, gateway_no, place, limit + 1)
    rows = db.execute(_SHOWN.format(chosen=sql), values).fetchall()
    views = [_view(db, row, names) for row in rows[:limit]]
    if len(rows) <= limit:
        return VisitPage(visits=views, next=None)
    wall_us, no, id = rows[limit - 1][:3]
    return VisitPage(visits=views, next=f"{wall_us}-{no}-{id.hex()}")


def select(filter: VisitFilter, gateway_no: int | None, after: Key | None, limit: int) -> tuple[str, tuple[Any, ...]]:
    """Returns the query for the rows of table ``visit`` of one page, newest first, and its values."""
    where: list[tuple[str, tuple[Any, ...]]] = []
    index = "ix_visit_wall"
    if gateway_no is not None:
        where.append(("gateway_no=?", (gateway_no,)))
        index = "ix_visit_gateway"
    if filter.point is not None and not filter.point.endswith("/"):
        where.append(("point=?", (filter.point,)))
        index = "ix_visit_point" if gateway_no is not None else index
    elif filter.point is not None:
        where.append(("point>=? AND point<?", (filter.point, f"{filter.point[:-1]}0")))  # "0" follows "/"
    if filter.job is not None:
        where.append(("job=?", (filter.job,)))
    if filter.result is not None:
        where.append(("result=?", (filter.result,)))
    if after is not None:
        where.append(("wall_us<=? AND (wall_us, gateway_no, id) < (?,?,?)", (after[0], *after)))
    text = " AND ".join(part for part, _ in where) or "1"
    sql = f"SELECT * FROM visit INDEXED BY {index} WHERE {text} ORDER BY wall_us DESC, gateway_no DESC, id DESC LIMIT ?"
    return sql, (*(value for _, values in where for value in values), limit)


def read_place(text: str) -> Key:
    """Returns the place where a page ended; raises ValueError with a sentence."""
    try:
        wall_us, gateway_no, id = text.rsplit("-", 2)
        key = int(wall_us), int(gateway_no), bytes.fromhex(id)
    except ValueError:
        raise ValueError("after: is not where a page of visits ended") from None
    if abs(key[0]) >= 1 << 63 or abs(key[1]) >= 1 << 63:
        raise ValueError("after: is not where a page of visits ended")
    return key


def _view(db: sqlite3.Connection, row: tuple[Any, ...], names: Names) -> VisitView:
    wall_us, gateway_no, id, raw, mono_us, boot_id, gateway = row
    visit = Visit.from_wire(unpack(raw))
    offset_us: int | None = wall_us - mono_us
    if visit.boot_id != boot_id:
        # Sealed by a later boot than it was made in: only the clock of its own boot can say when that was.
        own = db.execute(_CLOCK, (gateway_no, visit.boot_id)).fetchone()
        offset_us = None if own is None else own[0]
    point = names(gateway, visit.point)
    unit = UNITS[visit.unit]
    return VisitView(
        gateway=gateway,
        id=id.hex(),
        point=visit.point,
        en="" if point is None else point.en,
        zh="" if point is None else point.zh,
        job=visit.job,
        result=visit.result,
        reason=visit.reason,
        by=visit.by,
        recorded_us=wall_us,
        began_us=None if offset_us is None else visit.began_us + offset_us,
        ended_us=None if offset_us is None else visit.ended_us + offset_us,
        unit=visit.unit,
        unit_en=unit.en,
        unit_zh=unit.zh,
        zero=visit.zero,
        applied=visit.applied,
        peak=visit.peak,
        t90_s=_seconds(visit.t90_us),
        t90_limit_s=_seconds(visit.t90_limit_us),
        return_s=_seconds(visit.return_us),
        return_limit_s=_seconds(visit.return_limit_us),
        serial=visit.serial,
        note=visit.note,
    )


def _seconds(us: int | None) -> float | None:
    return None if us is None else us / 1e6


def read_last_visits(db: sqlite3.Connection, gateway_no: int) -> dict[str, LastVisit]:
    """Returns per point of a gateway its newest visit."""
    rows = db.execute(_LAST, (gateway_no,)).fetchall()
    return {point: LastVisit(job=job, result=result, by=by, recorded_us=at) for point, job, result, by, at in rows}


def read_failed(db: sqlite3.Connection, gateway: str) -> dict[tuple[str, str], tuple[int, str]]:
    """Returns (point, job) -> (recorded UTC us, why) where the newest verdict is that it failed.

    A visit that somebody walked away from is no verdict, and leaves the one before it standing.
    """
    found = _newest(
        ((point, job), (result, wall_us), raw) for point, job, result, wall_us, raw in db.execute(_VERDICTS, (gateway,))
    )
    return {
        place: (wall_us, Visit.from_wire(unpack(raw)).reason)
        for place, ((result, wall_us), raw) in found.items()
        if result == "failed"
    }


def _newest(rows: Iterable[tuple[P, V, bytes]]) -> dict[P, tuple[V, bytes]]:
    """Returns per place the newest of visits that one batch carries: the one that ended last."""
    found: dict[P, tuple[V, bytes]] = {}
    for place, values, raw in rows:
        if place not in found or _ended_us(raw) > _ended_us(found[place][1]):
            found[place] = values, raw
    return found


def _ended_us(raw: bytes) -> int:
    return Visit.from_wire(unpack(raw)).ended_us


def read_over_range(db: sqlite3.Connection, gateway: str) -> dict[str, int]:
    """Returns point -> since when (UTC us) an alarm stands there that was over range at any time."""
    found: dict[str, int] = {}
    for point, raised_us, raw in db.execute(_OVER_RANGE, (gateway,)).fetchall():
        if AlarmEvent.from_wire(unpack(raw)).cause == "over_range":
            found[point] = min(raised_us, found.get(point, raised_us))
    return found


# ---- what is due -----------------------------------------------------------------------------


def read_upkeep(db: sqlite3.Connection, gateway: str | None = None) -> list[UpkeepView]:
    """Returns the newest statement of every point and job."""
    rows: Sequence[tuple[Any, ...]] = db.execute(_STATED, (gateway, gateway)).fetchall()
    newest: dict[str, Order] = {}
    for id, _, _, rank, boot_no, mono_us, *_ in rows:
        newest[id] = max(newest.get(id, (0, 0, 0)), (rank, boot_no, mono_us))
    return [
        UpkeepView(
            gateway=id,
            point=point,
            job=job,
            last=last,
            due=due,
            state=state,
            street=street,
            stated_us=wall_us,
            is_stated=is_repeated((rank, boot_no, mono_us), newest[id]),
        )
        for id, point, job, rank, boot_no, mono_us, wall_us, last, due, state, street in rows
    ]


def read_due(db: sqlite3.Connection, gateway_no: int) -> dict[str, list[tuple[str, str, str]]]:
    """Returns per point (job, ``due`` or ``overdue``, day) of what a gateway states to be due."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    rows = db.execute(_DUE, (gateway_no,)).fetchall()
    newest: Order = max((row[4:] for row in rows), default=(0, 0, 0))
    for point, job, state, due, *order in rows:
        if state in ("due", "overdue") and is_repeated((order[0], order[1], order[2]), newest):
            found.setdefault(point, []).append((job, state, due))
    return found


def is_repeated(order: Order, newest: Order) -> bool:
    """Returns whether a statement may still hold, with one of ``newest`` there: it would have been repeated by then.

    By the monotonic clock of the newest boot alone: a wall clock that jumps takes nothing off the list.
    """
    since_us = order[2] if order[:2] == newest[:2] else 0
    return newest[2] - since_us <= RESTATED_US


_VISIT = """
INSERT INTO visit(gateway_no, id, point, job, result, by, boot_no, mono_us, wall_us, visit, evidence_id)
VALUES(?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT(gateway_no, id) DO UPDATE SET wall_us=excluded.wall_us WHERE visit.evidence_id=excluded.evidence_id
"""

_UPKEEP = """
INSERT INTO upkeep(gateway_no, point, job, rank, boot_no, mono_us, wall_us, last, due, state, street)
VALUES(?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT(gateway_no, point, job) DO UPDATE SET rank=excluded.rank, boot_no=excluded.boot_no,
  mono_us=excluded.mono_us, wall_us=excluded.wall_us, last=excluded.last, due=excluded.due, state=excluded.state,
  street=excluded.street
WHERE (excluded.rank, excluded.boot_no, excluded.mono_us) > (upkeep.rank, upkeep.boot_no, upkeep.mono_us)
"""

_CLOCK = "SELECT offset_us FROM boot WHERE gateway_no=? AND boot_id=?"

# The boot is that of the batch.
_SHOWN = """
SELECT v.wall_us, v.gateway_no, v.id, v.visit, v.mono_us, b.boot_id, g.id
FROM ({chosen}) v JOIN gateway g ON g.no=v.gateway_no JOIN boot b ON b.no=v.boot_no
ORDER BY v.wall_us DESC, v.gateway_no DESC, v.id DESC
"""

# By the list's order, along an index: every look at a page asks for it.
_LAST = """
SELECT v.point, v.job, v.result, v.by, v.wall_us
FROM (SELECT gateway_no, id, point, max(wall_us) FROM visit WHERE gateway_no=? GROUP BY point) n
JOIN visit v ON v.gateway_no=n.gateway_no AND v.id=n.id
"""

# By boot and sealing, which no wall clock can turn round; more than one row of a place are of one batch.
_VERDICTS = """
SELECT n.point, n.job, n.result, n.wall_us, n.visit FROM (
  SELECT v.point, v.job, v.result, v.wall_us, v.visit,
    rank() OVER (PARTITION BY v.point, v.job ORDER BY b.rank DESC, v.boot_no DESC, v.mono_us DESC) AS place
  FROM visit v JOIN gateway g ON g.no=v.gateway_no JOIN boot b ON b.no=v.boot_no
  WHERE g.id=? AND v.result IN ('passed','failed')) n
WHERE n.place=1
"""

# The words are looked for in the signed bytes first: in a flood few of the events are worth decoding.
_OVER_RANGE = """
SELECT a.point, a.raised_us, e.event FROM gateway g JOIN alarm a ON a.gateway_no=g.no AND a.is_over=0
JOIN alarm_event e ON e.gateway_no=a.gateway_no AND e.alarm_id=a.id
WHERE g.id=? AND instr(e.event, CAST('over_range' AS BLOB))>0
"""

_DUE = """
SELECT point, job, state, due, rank, boot_no, mono_us FROM upkeep WHERE gateway_no=? ORDER BY point, job
"""

_STATED = """
SELECT g.id, u.point, u.job, u.rank, u.boot_no, u.mono_us, u.wall_us, u.last, u.due, u.state, u.street
FROM upkeep u JOIN gateway g ON g.no=u.gateway_no WHERE (? IS NULL OR g.id=?) ORDER BY g.id, u.point, u.job
"""
