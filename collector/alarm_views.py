"""Alarms as they are shown: the newest event's state, the raising event's time line.

Beside those of the gateways there are the collector's own (``collector.own_alarms``), which stand in a
table of their own; the journal lays the two beside each other.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import islice
from typing import Any, Protocol

from collector import journal
from collector.confirmations import count_trial
from collector.inhibit_views import InhibitView
from collector.journal import Key
from collector.measurement import LATE_US, Decision, Measurement, Reason, is_test, measure
from collector.notify.log import read_of_alarm
from collector.own_alarms import IDENTITY_RULE, SEVERITY
from collector.point_views import show_number
from collector.real_warning import ACTION
from collector.statements import Stated, read_statement
from collector.views import AlarmCounts, AlarmFilter, AlarmPage, AlarmView
from contracts.batch import AlarmEvent
from contracts.catalogue import CataloguePoint
from contracts.fields import unpack
from contracts.units import UNITS


class Sources(Protocol):
    """What is known of the points that alarms speak of."""

    def is_silent(self, gateway: str, key: str) -> bool:
        """Returns whether nothing current is heard of a point."""
        ...

    def point(self, gateway: str, key: str) -> CataloguePoint | None:
        """Returns a point of the newest catalogue."""
        ...

    def inhibit(self, gateway: str, key: str) -> InhibitView | None:
        """Returns who works on a point now; None for nobody."""
        ...


class AlarmReader:
    """Reads alarms from one connection."""

    def __init__(self, db: sqlite3.Connection, sources: Sources) -> None:
        """Takes a connection, and what is known of the points."""
        self._db = db
        self._sources = sources
        self._statements: dict[int, Stated | None] = {}

    def alarms(self, *, standing_only: bool, limit: int) -> list[AlarmView]:
        # In a flood those stay that nobody has acknowledged, the gravest first; a history goes by time.
        where, rank = ("WHERE is_over=0", f"{_IS_SEEN}, {_RANK},") if standing_only else ("", "")
        chosen = f"SELECT * FROM alarm a {where} ORDER BY is_over, {rank} raised_us DESC LIMIT ?"
        rows = self._db.execute(f"{_ALARMS.format(chosen=chosen)} ORDER BY is_over, {rank} raised_us DESC", (limit,))
        return self._own_alarms() + [self._view(row) for row in rows.fetchall()]

    def alarm(self, id: str) -> AlarmView | None:
        found = self.by_id([id])
        return found[0] if found else None

    def by_id(self, ids: Sequence[str]) -> list[AlarmView]:
        """Returns those that are known, in the order given."""
        found, own = [], None
        for id in ids:
            try:
                key = bytes.fromhex(id)
            except ValueError:
                continue
            row = self._db.execute(_ALARMS.format(chosen="SELECT * FROM alarm WHERE id=?"), (key,)).fetchone()
            if row is not None:
                found.append(self._view(row))
                continue
            own = self._own_alarms() if own is None else own
            found += [alarm for alarm in own if alarm.id == id]
        return found

    def reviews(self, limit: int) -> list[AlarmView]:
        """Returns alarms to review that do not stand here (those that do are among the standing ones)."""
        ids = self._db.execute(_TO_REVIEW, (limit,)).fetchall()
        return self.by_id([id.hex() for (id,) in ids])

    def counts(self) -> AlarmCounts:
        """Returns how many alarms stand, the collector's own included."""
        counts: dict[str, int] = {}
        unseen = 0
        for severity, count, without in self._db.execute(_COUNTS).fetchall():
            counts[severity] = count
            unseen += without
        for alarm in self._own_alarms():
            counts[alarm.severity] = counts.get(alarm.severity, 0) + 1
            unseen += alarm.acknowledged_us is None
        trial = count_trial(self._db)
        return AlarmCounts(
            standing=list(counts.items()),
            unacknowledged=unseen,
            to_review=self._db.execute(_REVIEWS).fetchone()[0],
            on_trial=trial.points,
            trial_since_us=trial.since_us,
            trial_unsaid=trial.unsaid,
        )

    def journal(self, filter: AlarmFilter, *, limit: int, after: str | None) -> AlarmPage:
        """Returns one page; raises ValueError with a sentence."""
        journal.check(filter)
        place = None if after is None else journal.read_place(after)
        gateway_no = None
        if filter.gateway is not None:
            row = self._db.execute("SELECT no FROM gateway WHERE id=?", (filter.gateway,)).fetchone()
            if row is None:
                return AlarmPage(alarms=[], next=None)
            gateway_no = row[0]
        keys = list(islice(self._journal_keys(filter, gateway_no, place, limit), limit + 1))
        own = {(row[3], row[0], row[2]): row for row in self._db.execute(_OWN).fetchall()}
        found = [self._own_alarm(*own[key]) if key in own else self._by_key(key) for key in keys[:limit]]
        return AlarmPage(alarms=found, next=journal.write_place(keys[limit - 1]) if len(keys) > limit else None)

    def _journal_keys(
        self, filter: AlarmFilter, gateway_no: int | None, place: Key | None, limit: int
    ) -> Iterator[Key]:
        """Yields the places of the journal from ``place`` on: alarms are looked at only when they are shown."""
        rows = self._db.execute(_OWN).fetchall()
        own = journal.own_keys([(row[3], row[0], row[2]) for row in rows], filter, SEVERITY, gateway_no, place)
        return heapq.merge(self._alarm_keys(filter, gateway_no, place, limit + 1), own, reverse=True)

    def _alarm_keys(self, filter: AlarmFilter, gateway_no: int | None, place: Key | None, limit: int) -> Iterator[Key]:
        gateways = dict(self._db.execute("SELECT no, id FROM gateway"))
        while True:
            chosen = journal.select(filter, gateway_no, place, limit)
            rows = self._db.execute(chosen.sql, chosen.values).fetchall()
            for no, id, point, raised_us in rows:
                place = (raised_us, no, id)
                if filter.state in (Measurement.ACTIVE, Measurement.SOURCE_SILENT):
                    if no not in gateways:  # heard of for the first time meanwhile
                        gateways = dict(self._db.execute("SELECT no, id FROM gateway"))
                    is_silent = self._sources.is_silent(gateways[no], point)
                    if is_silent is (filter.state == Measurement.ACTIVE):
                        continue
                yield place
            if len(rows) < limit:
                return
            limit = max(limit, _CHUNK)

    def _by_key(self, key: Key) -> AlarmView:
        sql = _ALARMS.format(chosen="SELECT * FROM alarm WHERE gateway_no=? AND id=?")
        return self._view(self._db.execute(sql, key[1:]).fetchone())

    def _view(self, row: tuple[Any, ...]) -> AlarmView:
        gateway, id, raised_us, newest_raw, newest_judged_us, first_raw = row[:6]
        first, order = row[6:11], row[11:14]
        gateway_no, shown_us, decision, reason, decided_us, trust, first_decided_us = row[14:]
        sampled_us, judged_us, sealed_us, received_us, committed_us = first
        newest = AlarmEvent.from_wire(unpack(newest_raw))
        event = newest if first_raw is None else AlarmEvent.from_wire(unpack(first_raw))
        unit = UNITS[event.unit]
        point = self._sources.point(gateway, event.point)
        said = self._said(id)
        by, at_us = acknowledged(said)
        warned_by, warned_us = warned(said)
        sampled_us = raised_us if sampled_us is None else sampled_us
        judged_us = newest_judged_us if judged_us is None else judged_us
        # When word of it came is what was decided before the desk spoke.
        word_us = first_decided_us if reason == Reason.DESK else decided_us
        came_us = received_us if received_us is not None else word_us
        step = point.resolution if point is not None and point.kind == "int" else None
        is_over = newest.state == "cleared"
        is_silent = not is_over and self._sources.is_silent(gateway, event.point)
        stated = self._stated(gateway_no)
        is_tested = is_test(newest.rule_id, newest.cause, newest.marks)
        return AlarmView(
            id=id.hex(),
            gateway=gateway,
            point=event.point,
            en=event.en,
            zh=event.zh,
            rule_id=newest.rule_id,
            rule_en=newest.rule_en,
            rule_zh=newest.rule_zh,
            severity=newest.severity,
            scheme=newest.scheme,
            state=newest.state,
            is_source_silent=is_silent,
            is_unstated=stated is not None
            and not (is_over or is_tested)
            and stated.is_missing(id, order, newest.severity),
            is_stated_over=stated is not None and is_over and not is_tested and stated.contradicts(id, order),
            measurement=measure(newest.state, is_source_silent=is_silent).value,
            cause=newest.cause,
            limit=newest.limit,
            value=event.value,
            shown="" if event.value is None else show_number(event.value, step or _fine(event.value)),
            code=event.code,
            quantity=event.quantity,
            unit=event.unit,
            unit_en=unit.en,
            unit_zh=unit.zh,
            raised_us=raised_us,
            cleared_us=newest_judged_us if is_over else None,
            sampled_us=sampled_us,
            judged_us=judged_us,
            sealed_us=sealed_us,
            received_us=received_us,
            committed_us=committed_us,
            shown_us=shown_us,
            latency_ms=None if committed_us is None else (committed_us - sampled_us) / 1e3,
            is_late=not trust or (came_us is not None and came_us - judged_us > LATE_US),
            decision=decision or Decision.NOTHING.value,
            decision_reason=reason or Reason.BEFORE.value,
            decided_us=decided_us,
            stood_s=_stood_s(raised_us, word_us, newest_judged_us if is_over else None),
            acknowledged_by=by,
            acknowledged_us=at_us,
            acknowledgements=said,
            warned_by=warned_by,
            warned_us=warned_us,
            marks=newest.marks,
            is_test=is_tested,
            inhibit=None if is_over else self._sources.inhibit(gateway, event.point),
            notices=read_of_alarm(self._db, gateway_no, id),
        )

    def _stated(self, gateway_no: int) -> Stated | None:
        if gateway_no not in self._statements:
            self._statements[gateway_no] = read_statement(self._db, gateway_no)
        return self._statements[gateway_no]

    def _said(self, id: bytes) -> list[tuple[str, str, int, str, str]]:
        return self._db.execute(
            "SELECT action, by, at_us, note, source FROM acknowledgement WHERE alarm_id=? ORDER BY id", (id,)
        ).fetchall()

    # ---- the collector's own alarm ----------------------------------------------------------

    def _own_alarms(self) -> list[AlarmView]:
        rows = self._db.execute(_OWN).fetchall()
        return [self._own_alarm(*row) for row in rows]

    def _own_alarm(
        self, gateway_no: int, gateway: str, id: bytes, raised_us: int, decided_us: int, shown_us: int | None
    ) -> AlarmView:
        said = self._said(id)
        by, acknowledged_us = acknowledged(said)
        return AlarmView(
            id=id.hex(), gateway=gateway, point="", en="Gateway identity used twice", zh="网关身份被重复使用",
            rule_id=IDENTITY_RULE, rule_en="two gateways sign with one key", rule_zh="两台网关使用同一密钥签名",
            severity=SEVERITY, scheme="collector", state="active", is_source_silent=False, is_unstated=False,
            is_stated_over=False, measurement="active", cause="cloned", limit=None, value=None, shown="", code=0,
            quantity="", unit="1", unit_en="", unit_zh="", raised_us=raised_us, cleared_us=None, sampled_us=raised_us,
            judged_us=raised_us, sealed_us=None, received_us=raised_us, committed_us=None, shown_us=shown_us,
            latency_ms=None, is_late=False, decision="page", decision_reason="new", decided_us=decided_us, stood_s=0.0,
            acknowledged_by=by, acknowledged_us=acknowledged_us, acknowledgements=said, marks=(),
            notices=read_of_alarm(self._db, gateway_no, id),
        )  # fmt: skip


def _stood_s(raised_us: int, decided_us: int | None, cleared_us: int | None) -> float | None:
    """Returns how long an alarm had stood when word of it came, or had stood in all where it was over by then (s)."""
    if decided_us is None:
        return None
    until_us = decided_us if cleared_us is None else min(decided_us, cleared_us)
    return max(0.0, (until_us - raised_us) / 1e6)


def acknowledged(said: Iterable[tuple[str, str, int, str, str]]) -> tuple[str | None, int | None]:
    """Returns who acknowledged first since it was last taken back, and when; None where nobody has."""
    by, at_us = None, None
    for action, name, when_us, _, _ in said:
        if action == "unacknowledge":
            by, at_us = None, None
        elif action == "acknowledge" and by is None:
            by, at_us = name, when_us
    return by, at_us


def warned(said: Iterable[tuple[str, str, int, str, str]]) -> tuple[str | None, int | None]:
    """Returns who made it a real warning, and when; None where nobody has."""
    return next(((name, at_us) for action, name, at_us, _, _ in said if action == ACTION), (None, None))


def _fine(value: float) -> Fraction | None:
    """Returns a resolution for a number whose point is not known: whole numbers as such, else None."""
    return Fraction(1) if value == int(value) else None


_RANK = "CASE severity WHEN 'red' THEN 0 WHEN 'orange' THEN 1 WHEN 'yellow' THEN 2 WHEN 'blue' THEN 3 ELSE 4 END"

_IS_SEEN = """coalesce(
  (SELECT k.action FROM acknowledgement k WHERE k.alarm_id=a.id AND k.action<>'warn' ORDER BY k.id DESC LIMIT 1),
  '')='acknowledge'"""

#: rows of the journal that are looked at together, where a page takes more than itself
_CHUNK = 1000

# The alarms are chosen first, so that what is shown of them is read for a page of them and not for all.
_ALARMS = """
SELECT g.id, a.id, a.raised_us, n.event, n.judged_us, f.event, f.sampled_us, f.judged_us,
  v.sealed_us + v.wall_us - v.first_us, v.arrived_us, s.committed_us, a.rank, a.boot_no, a.mono_us,
  a.gateway_no, w.shown_us, d.decision, d.reason, d.arrived_us, (SELECT b.trust FROM boot b WHERE b.no=a.boot_no),
  (SELECT min(e.arrived_us) FROM decision e WHERE e.gateway_no=a.gateway_no AND e.alarm_id=a.id)
FROM ({chosen}) a JOIN gateway g ON g.no=a.gateway_no
JOIN alarm_event n ON n.gateway_no=a.gateway_no AND n.id=a.event_id
LEFT JOIN alarm_event f ON f.gateway_no=a.gateway_no AND f.id=a.id
LEFT JOIN evidence v ON v.id=f.evidence_id
LEFT JOIN commit_stamp s ON s.evidence_id=f.evidence_id
LEFT JOIN alarm_shown w ON w.alarm_id=a.id
LEFT JOIN decision d ON d.id=(SELECT max(e.id) FROM decision e WHERE e.gateway_no=a.gateway_no AND e.alarm_id=a.id)
"""

_TO_REVIEW = """
SELECT r.alarm_id FROM review r CROSS JOIN alarm a ON a.gateway_no=r.gateway_no AND a.id=r.alarm_id WHERE a.is_over=1
ORDER BY r.arrived_us DESC, r.alarm_id LIMIT ?
"""

# Those that stand are among the standing ones, and not counted twice.
_REVIEWS = """
SELECT count(*) FROM review r CROSS JOIN alarm a ON a.gateway_no=r.gateway_no AND a.id=r.alarm_id WHERE a.is_over=1
"""

_COUNTS = """
SELECT a.severity, count(*), sum(coalesce(
  (SELECT k.action FROM acknowledgement k WHERE k.alarm_id=a.id AND k.action<>'warn' ORDER BY k.id DESC LIMIT 1),
  '')<>'acknowledge')
FROM alarm a WHERE a.is_over=0 GROUP BY a.severity
"""

_OWN = """
SELECT o.gateway_no, g.id, o.id, o.raised_us, coalesce(
  (SELECT max(d.arrived_us) FROM decision d WHERE d.gateway_no=o.gateway_no AND d.alarm_id=o.id), o.raised_us),
  (SELECT w.shown_us FROM alarm_shown w WHERE w.alarm_id=o.id)
FROM own_alarm o JOIN gateway g ON g.no=o.gateway_no ORDER BY g.id
"""
