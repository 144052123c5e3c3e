"""Alarms as they are shown: the newest event's state, the raising event's time line.

Besides the gateways' own alarms there is one that the collector raises itself: a gateway
identity that is used twice (two hashes for one sequence number, or two epochs with one
parent that grow side by side).  It is computed when asked, from the ledgers.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Set
from fractions import Fraction
from typing import Any

from collector.point_views import show_number
from collector.views import AlarmView
from contracts.batch import AlarmEvent
from contracts.catalogue import CataloguePoint
from contracts.envelope import decode_payload, split
from contracts.errors import ContractError
from contracts.fields import unpack
from contracts.messages import Ask
from contracts.units import UNITS

#: an alarm that arrives this long after its sample is late (us)
LATE_US = 10_000_000
#: two epochs of one parent that are both heard this long after the second began are two gateways (us)
ALTERNATING_US = 10_000_000


class AlarmReader:
    """Reads alarms from one connection."""

    def __init__(
        self,
        db: sqlite3.Connection,
        silent: Set[tuple[str, str]],
        known: Mapping[tuple[str, str], CataloguePoint],
    ) -> None:
        """Takes the (gateway, point) that are silent now, and the points there are."""
        self._db = db
        self._silent = silent
        self._known = known
        #: what each gateway stated when it last connected: as of when, and its alarms
        self._statements: dict[str, tuple[tuple[int, int, int], frozenset[bytes]] | None] = {}

    def alarms(self, *, standing_only: bool, limit: int) -> list[AlarmView]:
        # In a flood the gravest stay; a history goes by time.
        where, rank = ("WHERE a.is_over=0", f"{_RANK},") if standing_only else ("", "")
        rows = self._db.execute(
            f"{_ALARMS} {where} ORDER BY a.is_over, {rank} a.raised_us DESC LIMIT ?", (limit,)
        ).fetchall()
        return self._identity_alarms() + [self._view(row) for row in rows]

    def alarm(self, id: str) -> AlarmView | None:
        try:
            key = bytes.fromhex(id)
        except ValueError:
            return None
        row = self._db.execute(f"{_ALARMS} WHERE a.id=?", (key,)).fetchone()
        if row is not None:
            return self._view(row)
        return next((alarm for alarm in self._identity_alarms() if alarm.id == id), None)

    def _view(self, row: tuple[Any, ...]) -> AlarmView:
        gateway, id, raised_us, newest_raw, newest_judged_us, first_raw = row[:6]
        first, order = row[6:11], row[11:]
        sampled_us, judged_us, sealed_us, received_us, committed_us = first
        newest = AlarmEvent.from_wire(unpack(newest_raw))
        event = newest if first_raw is None else AlarmEvent.from_wire(unpack(first_raw))
        unit = UNITS[event.unit]
        point = self._known.get((gateway, event.point))
        by, at_us = self._acknowledged(id)
        sampled_us = raised_us if sampled_us is None else sampled_us
        step = point.resolution if point is not None and point.kind == "int" else None
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
            is_source_silent=newest.state != "cleared" and (gateway, event.point) in self._silent,
            is_unstated=newest.state != "cleared" and self._is_unstated(gateway, id, order),
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
            cleared_us=newest_judged_us if newest.state == "cleared" else None,
            sampled_us=sampled_us,
            judged_us=newest_judged_us if judged_us is None else judged_us,
            sealed_us=sealed_us,
            received_us=received_us,
            committed_us=committed_us,
            latency_ms=None if committed_us is None else (committed_us - sampled_us) / 1e3,
            is_late=received_us is not None and received_us - sampled_us > LATE_US,
            acknowledged_by=by,
            acknowledged_us=at_us,
            marks=newest.marks,
        )

    def _is_unstated(self, gateway: str, id: bytes, order: tuple[int, int, int]) -> bool:
        """Whether the gateway has stated all its alarms since the newest event of this one, and not this one."""
        if gateway not in self._statements:
            self._statements[gateway] = self._read_statement(gateway)
        found = self._statements[gateway]
        return found is not None and order < found[0] and id not in found[1]

    def _read_statement(self, gateway: str) -> tuple[tuple[int, int, int], frozenset[bytes]] | None:
        row = self._db.execute(_NEWEST_ASK, (gateway,)).fetchone()
        if row is None:
            return None
        try:
            ask = Ask.from_body(decode_payload(split(row[0])[1]))
        except ContractError:
            return None  # changed after it was verified; `collector verify` names it
        boot = self._db.execute(_BOOT, (gateway, ask.boot_id)).fetchone()
        if boot is None:
            return None
        return (boot[0], boot[1], ask.statement.mono_us), frozenset(event.raised_by for event in ask.statement.events)

    def _acknowledged(self, id: bytes) -> tuple[str | None, int | None]:
        row = self._db.execute(
            "SELECT by, at_us FROM acknowledgement WHERE alarm_id=? ORDER BY id LIMIT 1", (id,)
        ).fetchone()
        return (None, None) if row is None else (row[0], row[1])

    # ---- the collector's own alarm ----------------------------------------------------------

    @staticmethod
    def identity_facts(db: sqlite3.Connection, gateway_no: int) -> dict[str, float | int | str | None]:
        """Returns what looks wrong about who a gateway is; empty when nothing does."""
        facts: dict[str, float | int | str | None] = {}
        forks = breaks = 0
        for fork_text, break_text in db.execute(
            "SELECT c.forks, c.breaks FROM chain c JOIN epoch_name n ON n.no=c.epoch_no WHERE n.gateway_no=?"
            " AND (c.forks<>'[]' OR c.breaks<>'[]')",
            (gateway_no,),
        ):
            forks += len(json.loads(fork_text))
            breaks += len(json.loads(break_text))
        if forks:
            facts["forks"] = forks
        if breaks:
            facts["chain_breaks"] = breaks
        rolled_back = db.execute(_ROLLED_BACK, (gateway_no,)).fetchone()[0]
        if rolled_back:
            facts["rolled_back"] = rolled_back
        alternating = db.execute(_ALTERNATING, (gateway_no, ALTERNATING_US)).fetchone()[0]
        if alternating is not None:
            facts["alternating_since_us"] = alternating
        return facts

    def _identity_alarms(self) -> list[AlarmView]:
        found = []
        for no, gateway in self._db.execute("SELECT no, id FROM gateway ORDER BY id").fetchall():
            facts = self.identity_facts(self._db, no)
            if "forks" in facts or "alternating_since_us" in facts:
                since = facts.get("alternating_since_us")
                if since is None:
                    since = self._first_fork_us(no)
                found.append(self._identity_alarm(gateway, int(since or 0)))
        return found

    def _first_fork_us(self, gateway_no: int) -> int:
        row = self._db.execute(
            "SELECT max(e.arrived_us) FROM chain c JOIN epoch_name n ON n.no=c.epoch_no, json_each(c.forks) f"
            " JOIN evidence e ON e.epoch_no=c.epoch_no AND e.lane=c.lane AND e.seq=f.value WHERE n.gateway_no=?",
            (gateway_no,),
        ).fetchone()
        return int(row[0] or 0)

    def _identity_alarm(self, gateway: str, at_us: int) -> AlarmView:
        id = hashlib.sha256(b"identity\0" + gateway.encode()).digest()[:16]
        by, acknowledged_us = self._acknowledged(id)
        return AlarmView(
            id=id.hex(), gateway=gateway, point="", en="Gateway identity used twice", zh="网关身份被重复使用",
            rule_id="collector/identity", rule_en="two gateways sign with one key", rule_zh="两台网关使用同一密钥签名",
            severity="orange", scheme="collector", state="active", is_source_silent=False, is_unstated=False,
            cause="cloned", limit=None, value=None, shown="", code=0, quantity="", unit="1", unit_en="", unit_zh="",
            raised_us=at_us, cleared_us=None, sampled_us=at_us, judged_us=at_us, sealed_us=None,
            received_us=at_us, committed_us=None,
            latency_ms=None, is_late=False, acknowledged_by=by, acknowledged_us=acknowledged_us, marks=(),
        )  # fmt: skip


def _fine(value: float) -> Fraction | None:
    """Returns a resolution for a number whose point is not known: whole numbers as such, else None."""
    return Fraction(1) if value == int(value) else None


def severities(alarms: Iterable[AlarmView]) -> dict[str, int]:
    """Counts alarms by severity."""
    counts: dict[str, int] = {}
    for alarm in alarms:
        counts[alarm.severity] = counts.get(alarm.severity, 0) + 1
    return counts


_RANK = "CASE a.severity WHEN 'red' THEN 0 WHEN 'orange' THEN 1 WHEN 'yellow' THEN 2 WHEN 'blue' THEN 3 ELSE 4 END"

_NEWEST_ASK = """
SELECT a.envelope FROM ask a JOIN gateway g ON g.no=a.gateway_no WHERE g.id=? ORDER BY a.arrived_us DESC LIMIT 1
"""

_BOOT = "SELECT b.rank, b.no FROM boot b JOIN gateway g ON g.no=b.gateway_no WHERE g.id=? AND b.boot_id=?"

_ALARMS = """
SELECT g.id, a.id, a.raised_us, n.event, n.judged_us, f.event, f.sampled_us, f.judged_us,
  v.sealed_us + v.wall_us - v.first_us, v.arrived_us, s.committed_us, a.rank, a.boot_no, a.mono_us
FROM alarm a JOIN gateway g ON g.no=a.gateway_no
JOIN alarm_event n ON n.gateway_no=a.gateway_no AND n.id=a.event_id
LEFT JOIN alarm_event f ON f.gateway_no=a.gateway_no AND f.id=a.id
LEFT JOIN evidence v ON v.id=f.evidence_id
LEFT JOIN commit_stamp s ON s.evidence_id=f.evidence_id
"""

_ROLLED_BACK = """
SELECT count(*) FROM epoch p JOIN epoch_name n ON n.no=p.epoch_no
JOIN epoch_name q ON q.gateway_no=n.gateway_no AND q.epoch=p.parent
JOIN chain c ON c.epoch_no=q.no AND c.newest > CASE c.lane WHEN 0 THEN p.parent_alarm_seq ELSE p.parent_data_seq END
WHERE n.gateway_no=? AND p.is_volatile=0
"""

# Arrival of the second epoch where the first one was still heard afterwards, and the second too.
_ALTERNATING = """
SELECT min(b.first_arrived_us) FROM epoch a JOIN epoch_name n ON n.no=a.epoch_no
JOIN epoch_name m ON m.gateway_no=n.gateway_no JOIN epoch b ON b.epoch_no=m.no
WHERE n.gateway_no=?1 AND a.epoch_no<>b.epoch_no AND a.is_volatile=0 AND b.is_volatile=0 AND a.parent=b.parent
  AND a.first_arrived_us <= b.first_arrived_us AND a.last_arrived_us > b.first_arrived_us + ?2
  AND b.last_arrived_us > b.first_arrived_us + ?2
"""
