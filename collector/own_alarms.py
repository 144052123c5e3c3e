"""The collector's own alarms: a gateway identity that is used twice.

Two contents for one number (a fork), or two epochs of one parent that are both heard, mean that a key was
copied.  No gateway states that, so the collector raises it: a row in ``own_alarm`` and a decision to page,
written in the transaction after which the ledgers say so.  From there it is told, shown, acknowledged and in
the journal like any other alarm.  It has no point, and nothing ends it: what was signed twice stays so.

A fact: it is kept through ``rebuild``, though the ledgers would show the same again.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping

from collector.measurement import Decision, Reason

#: two epochs of one parent that are both heard this long after the second began are two gateways (us)
ALTERNATING_US = 10_000_000
IDENTITY_RULE = "collector/identity"
SEVERITY = "orange"


def identity_alarm_id(gateway: str) -> bytes:
    """Returns the id of the alarm that a gateway's identity is used twice; each gateway has one."""
    return hashlib.sha256(b"identity\0" + gateway.encode()).digest()[:16]


class OwnAlarms:
    """Looks whether one is to be raised; belongs to the writer's connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Takes the writer's connection."""
        self._db = db
        #: epoch of each gateway's newest batch: while it does not change, no two epochs alternate
        self._epochs: dict[int, int] = {}
        self._raised: set[int] = set()

    def forget(self) -> None:
        """Drops everything held in memory, after a rollback."""
        self._epochs.clear()
        self._raised.clear()

    def look(self, chains: Iterable[tuple[int, int]], forked: Iterable[int], arrived_us: int) -> set[tuple[int, bytes]]:
        """Raises what is to be raised, inside the caller's transaction.

        Args:
            chains: (gateway, epoch) of every batch of the transaction.
            forked: epochs in which the transaction's ledgers know a fork.
            arrived_us: UTC us.

        Returns:
            (gateway, id) of those that are new.
        """
        forks, found = set(forked), set()
        for gateway_no, epoch_no in chains:
            if gateway_no in self._raised:
                continue
            if self._epochs.get(gateway_no) == epoch_no and epoch_no not in forks:
                continue
            self._epochs[gateway_no] = epoch_no
            id = self._raise(gateway_no, arrived_us)
            if id is not None:
                found.add((gateway_no, id))
        return found

    def are_due(self) -> bool:
        """Returns whether a gateway stands out of which nothing was raised yet; looks at all of them."""
        return any(is_used_twice(identity_facts(self._db, no)) for no in self._without())

    def look_at_all(self, now_us: int) -> None:
        """Raises all that is due, inside the caller's transaction."""
        for no in self._without():
            self._raise(no, now_us)

    def _without(self) -> list[int]:
        rows = self._db.execute("SELECT no FROM gateway WHERE no NOT IN (SELECT gateway_no FROM own_alarm)").fetchall()
        return [no for (no,) in rows]

    def _raise(self, gateway_no: int, arrived_us: int) -> bytes | None:
        facts = identity_facts(self._db, gateway_no)
        if not is_used_twice(facts):
            return None
        self._raised.add(gateway_no)
        (gateway,) = self._db.execute("SELECT id FROM gateway WHERE no=?", (gateway_no,)).fetchone()
        id = identity_alarm_id(gateway)
        since = facts.get("alternating_since_us")
        raised_us = int(since) if since is not None else _first_fork_us(self._db, gateway_no)
        made = self._db.execute(
            "INSERT INTO own_alarm(gateway_no, id, rule_id, severity, raised_us) VALUES(?,?,?,?,?)"
            " ON CONFLICT DO NOTHING",
            (gateway_no, id, IDENTITY_RULE, SEVERITY, raised_us),
        )
        if not made.rowcount:
            return None
        self._db.execute(
            "INSERT INTO decision(gateway_no, alarm_id, decision, reason, arrived_us) VALUES(?,?,?,?,?)",
            (gateway_no, id, Decision.PAGE.value, Reason.NEW.value, arrived_us),
        )
        return id


def is_used_twice(facts: Mapping[str, object]) -> bool:
    """Returns whether the facts of a gateway say that two sign with its key."""
    return "forks" in facts or "alternating_since_us" in facts


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


def _first_fork_us(db: sqlite3.Connection, gateway_no: int) -> int:
    """Returns when the second of two contents for one number came, for the first such number (UTC us).

    Where neither is a batch that is still here: when their epoch began, which is not later.
    """
    row = db.execute(
        "SELECT min(known_us) FROM (SELECT coalesce(max(e.arrived_us), p.first_arrived_us) AS known_us"
        " FROM chain c JOIN epoch_name n ON n.no=c.epoch_no JOIN json_each(c.forks) f"
        " LEFT JOIN epoch p ON p.epoch_no=c.epoch_no"
        " LEFT JOIN evidence e ON e.epoch_no=c.epoch_no AND e.lane=c.lane AND e.seq=f.value"
        " WHERE n.gateway_no=? GROUP BY c.epoch_no, c.lane, f.value)",
        (gateway_no,),
    ).fetchone()
    return int(row[0] or 0)


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
