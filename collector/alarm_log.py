"""The alarm log: events into alarms, and what people did about them.

Every event states the alarm absolutely, so any order and any repetition end in the same
rows: an alarm shows its newest event, by boot rank, boot and monotonic judging time; an
``active`` that arrives behind a later ``cleared`` changes nothing.  A statement of active
alarms goes the same way: an alarm that nobody has told us of is made from it.

Acknowledging and taking it back are append-only and never touch the state of the alarm.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from collector.decisions import ask_for_review
from collector.errors import StoreError
from collector.real_warning import make_real
from collector.views import AlarmView, Change, Queries
from contracts.batch import AlarmEvent
from contracts.fields import pack

#: longest wait for the writer before a person is told that nothing was recorded (s)
WAIT_S = 10.0

_EVENT = """
INSERT INTO alarm_event(gateway_no, id, alarm_id, event, sampled_us, judged_us, evidence_id) VALUES(?,?,?,?,?,?,?)
ON CONFLICT(gateway_no, id) DO UPDATE SET
  event=excluded.event, sampled_us=excluded.sampled_us, judged_us=excluded.judged_us, evidence_id=excluded.evidence_id
WHERE alarm_event.evidence_id IS NULL AND excluded.evidence_id IS NOT NULL
"""

_ALARM = """
INSERT INTO alarm(gateway_no, id, point, rule_id, severity, state, is_over, raised_us, event_id, rank, boot_no,
                  mono_us)
VALUES(?,?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT(gateway_no, id) DO UPDATE SET
  point=excluded.point, rule_id=excluded.rule_id, severity=excluded.severity, state=excluded.state,
  is_over=excluded.is_over, event_id=excluded.event_id, rank=excluded.rank,
  boot_no=excluded.boot_no, mono_us=excluded.mono_us
WHERE (excluded.rank, excluded.boot_no, excluded.mono_us, excluded.event_id)
    > (alarm.rank, alarm.boot_no, alarm.mono_us, alarm.event_id)
"""

# When the alarm began: by the event that raised it, or the oldest that is known while that one is on its way.
_RAISED = """
UPDATE alarm SET raised_us=coalesce(
  (SELECT e.sampled_us FROM alarm_event e WHERE e.gateway_no=alarm.gateway_no AND e.id=alarm.id),
  (SELECT min(e.sampled_us) FROM alarm_event e WHERE e.gateway_no=alarm.gateway_no AND e.alarm_id=alarm.id))
WHERE gateway_no=? AND id=?
"""


def apply_event(
    connection: sqlite3.Connection,
    event: AlarmEvent,
    *,
    gateway_no: int,
    rank: int,
    boot_no: int,
    offset_us: int,
    evidence_id: int | None,
) -> bool:
    """Takes one event into the log, inside the caller's transaction.

    Args:
        connection: the writer's.
        event: verified.
        gateway_no: whose event it is.
        rank: of the event's boot.
        boot_no: the event's boot.
        offset_us: turns the event's times into UTC.
        evidence_id: the batch that carries it; None when a statement tells of it.

    Returns:
        Whether anything changed.
    """
    sampled_us, judged_us = event.sampled_us + offset_us, event.judged_us + offset_us
    before = connection.total_changes
    connection.execute(
        _EVENT, (gateway_no, event.id, event.raised_by, pack(event.to_wire()), sampled_us, judged_us, evidence_id)
    )
    connection.execute(
        _ALARM,
        (
            gateway_no,
            event.raised_by,
            event.point,
            event.rule_id,
            event.severity,
            event.state,
            event.state == "cleared",
            sampled_us,
            event.id,
            rank,
            boot_no,
            event.judged_us,
        ),
    )
    if connection.total_changes == before:
        return False
    connection.execute(_RAISED, (gateway_no, event.raised_by))
    return True


def move_event(
    connection: sqlite3.Connection, gateway_no: int, event: AlarmEvent, offset_us: int, *, evidence_id: int | None
) -> None:
    """Gives an event that is in the log another UTC, where it is there by this batch (None: by a statement)."""
    connection.execute(
        "UPDATE alarm_event SET sampled_us=?, judged_us=? WHERE gateway_no=? AND id=? AND evidence_id IS ?",
        (event.sampled_us + offset_us, event.judged_us + offset_us, gateway_no, event.id, evidence_id),
    )
    connection.execute(_RAISED, (gateway_no, event.raised_by))


class AlarmActions:
    """What people do about alarms; every write goes through the one writer."""

    def __init__(
        self,
        run: Callable[[Callable[[sqlite3.Connection], Any]], Future[Any]],
        queries: Queries,
        now_us: Callable[[], int],
        on_change: Callable[[Change], object] = lambda change: None,
    ) -> None:
        """Takes the writer's way to run a job, the queries, the clock (UTC us), and who is told of a change."""
        self._run = run
        self._queries = queries
        self._now_us = now_us
        self._on_change = on_change
        #: ids whose being shown is on its way to the disk, or there
        self._shown: set[str] = set()

    def acknowledge(self, alarm_id: str, by: str, note: str = "", source: str = "") -> AlarmView | None:
        """Notes that somebody has taken notice; returns the alarm, or None where there is none.

        Raises:
            StoreError: it could not be kept.
        """
        return self._say("acknowledge", alarm_id, by, note, source)

    def unacknowledge(self, alarm_id: str, by: str, note: str = "", source: str = "") -> AlarmView | None:
        """Notes that somebody takes the acknowledgement back, which stays in the record; as ``acknowledge``."""
        return self._say("unacknowledge", alarm_id, by, note, source)

    def warn(self, alarm_id: str, by: str, note: str = "", source: str = "") -> AlarmView | None:
        """Makes a trial alarm a real warning, which pages; returns the alarm, or None where there is none.

        Raises:
            NotOnTrialError: it is not held back for trial.
            StoreError: it could not be kept.
        """
        alarm = self._queries.alarm(alarm_id)
        if alarm is None:
            return None
        id, at_us = bytes.fromhex(alarm.id), self._now_us()
        self._wait(
            self._run(lambda db: make_real(db, id, by=by[:80], at_us=at_us, note=note[:500], source=source[:80]))
        )
        self._on_change(Change(gateways=frozenset(), alarms=frozenset((alarm.id,)), points=frozenset()))
        return self._queries.alarm(alarm_id)

    def _say(self, action: str, alarm_id: str, by: str, note: str, source: str) -> AlarmView | None:
        alarm = self._queries.alarm(alarm_id)
        if alarm is None:
            return None
        row = (bytes.fromhex(alarm.id), by[:80], self._now_us(), note[:500], source[:80], action)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO acknowledgement(alarm_id, by, at_us, note, source, action) VALUES(?,?,?,?,?,?)", row
            )
            if action == "acknowledge":
                connection.execute("DELETE FROM review WHERE alarm_id=?", row[:1])
            else:
                ask_for_review(connection, row[0])

        self._wait(self._run(write))
        self._on_change(Change(gateways=frozenset(), alarms=frozenset((alarm.id,)), points=frozenset()))
        return self._queries.alarm(alarm_id)

    @staticmethod
    def _wait(future: Future[Any]) -> None:
        try:
            future.result(timeout=WAIT_S)
        except TimeoutError:
            if future.cancel():
                raise StoreError("the store is busy; it was not recorded") from None
            future.result()  # it is being written this moment: what is said of it has to be true

    def note_shown(self, alarm_ids: Sequence[str]) -> None:
        """Notes that alarms stand on a page that somebody has open; the first time counts.  Does not wait."""
        new = [id for id in alarm_ids if id not in self._shown]
        if not new:
            return
        self._shown.update(new)
        rows = [(bytes.fromhex(id), self._now_us()) for id in new]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO alarm_shown(alarm_id, shown_us) VALUES(?,?) ON CONFLICT DO NOTHING", rows
            )

        def settle(future: Future[Any]) -> None:
            if future.exception() is not None:  # the disk took it not: the next look at the page says it again
                self._shown.difference_update(new)

        self._run(write).add_done_callback(settle)
