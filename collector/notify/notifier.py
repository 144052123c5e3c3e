"""Acts on the plan: one thread for each address, so that a dead one delays no other.

    woken by a change, or by time -> read -> plan -> record -> send -> record the answer -> read again

The attempt is on the disk before it is made.  A kill between sending and recording leaves an attempt without an
answer: after the restart it is made again and says that it may be a repetition.  A disk that takes nothing
delays a message by ``RECORD_S`` at most and stops none: the alarm is here, so it is told.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import replace
from datetime import tzinfo
from pathlib import Path
from typing import Protocol

from collector.database import open_reader
from collector.errors import CollectorError
from collector.notify import log, words
from collector.notify.plan import (
    RED,
    UNTOLD,
    Attempt,
    Key,
    Kind,
    Message,
    Rule,
    Source,
    Subject,
    Told,
    is_settled,
    plan,
    take,
)
from collector.views import AlarmView, Change, Queries

_LOG = logging.getLogger(__name__)

#: longest wait for the attempt to be on the disk before it is made anyway (s)
RECORD_S = 2.0
#: the tables are looked at again after so long at most, whatever was heard (s)
LOOK_S = 30.0
#: between two looks (s), and as a multiple of what a look takes: a flood leaves the machine to others
SHORTEST_S, SHARE = 0.1, 4
#: messages go out for so long (s) before the tables are looked at again, and are worded so many at a time
SENDING_S, READ_AHEAD = 1.0, 20
#: what was told is remembered for so many alarms that are no longer looked at
REMEMBERED = 50_000


class Channel(Protocol):
    """Sends to one address."""

    def send(self, title: str, body: str, severity: str) -> log.Answer:
        """Sends once, waits for the answer a few seconds at most, raises nothing.

        Args:
            title: one line.
            body: plain text.
            severity: of the gravest alarm in it, or ``info``.
        """
        ...


class Notifier:
    """Serves one address of one rule; start once, stop safe twice."""

    def __init__(
        self,
        target: str,
        rule: Rule,
        channel: Channel,
        *,
        path: Path,
        notices: log.NoticeLog,
        queries: Queries,
        now_us: Callable[[], int],
        on_change: Callable[[Change], object],
        names: Callable[[str], tuple[str, str]] = lambda gateway: ("", ""),
        zone: tzinfo | None = None,
    ) -> None:
        """Takes everything that it needs; nothing starts here.

        Args:
            target: name of the address in the record, such as ``duty/1``.
            rule: which alarms.
            channel: the way to the address; used by the notifier's thread only.
            path: the database.
            notices: writes the record.
            queries: tells what a message says of an alarm.
            now_us: UTC us.
            on_change: is told of alarms that somebody was told of.
            names: labels of a gateway, English and Chinese.
            zone: of the times in messages.
        """
        self.target = target
        self.rule = rule
        self._channel = channel
        self._path = path
        self._notices = notices
        self._queries = queries
        self._now_us = now_us
        self._on_change = on_change
        self._names = names
        self._zone = zone
        self._tests: deque[tuple[str, Future[int]]] = deque()
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._told: dict[Key, Told] = {}
        self._quiet: dict[Source, int] = {}
        self._gathered_us: int | None = None
        self._mark = 0
        #: told of as standing, and not yet that they are over
        self._awaiting: set[Key] = set()

    def start(self) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=self._run, name=f"notify {self.target}", daemon=True)
        self._thread.start()

    def halt(self) -> None:
        """Has the thread end after the message that is on its way; does not wait."""
        self._stopped.set()
        self._woken.set()

    def stop(self) -> None:
        """Ends the thread after the message that is on its way; safe twice."""
        self.halt()
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None

    def wake(self) -> None:
        """Has it look now; from any thread."""
        self._woken.set()

    def test(self, by: str) -> Future[int]:
        """Sends a message that is a test; the future has the number of the attempt once it has an answer."""
        future: Future[int] = Future()
        self._tests.append((by, future))
        self._woken.set()
        return future

    # ---- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        db = self._open()
        said = ""
        while db is not None and not self._stopped.is_set():
            began = time.monotonic()
            self._woken.clear()
            wait_s = LOOK_S
            try:
                self._send_tests()
                wait_s = self.step(db)
                said = ""
            except (CollectorError, sqlite3.Error) as error:
                if str(error) != said:
                    _LOG.error("notify %s waits: %s", self.target, error)
                said, wait_s = str(error), 1.0
            except Exception:
                # The outermost loop: a defect here must not end paging for good, nor be said every second.
                if said != "defect":
                    _LOG.exception("notify %s failed; it is tried again", self.target)
                said, wait_s = "defect", 5.0
            self._rest(max(SHORTEST_S, (time.monotonic() - began) * SHARE), wait_s)
        if db is not None:
            db.close()

    def _open(self) -> sqlite3.Connection | None:
        """Returns a connection, trying again until there is one; None when it is stopped before."""
        said = ""
        while not self._stopped.is_set():
            try:
                db = open_reader(self._path)
                self.open(db)
                return db
            except (CollectorError, sqlite3.Error) as error:
                if str(error) != said:
                    _LOG.error("notify %s waits: %s", self.target, error)
                said = str(error)
            self._stopped.wait(1.0)
        return None

    def _rest(self, least_s: float, wait_s: float) -> None:
        """Leaves the machine to others for a moment, whoever wakes it, then sleeps until it is woken or time is up."""
        pause_s = min(least_s, wait_s, 1.0)
        if pause_s > 0:
            self._stopped.wait(pause_s)
            self._woken.wait(min(wait_s - pause_s, LOOK_S))

    def open(self, db: sqlite3.Connection) -> None:
        """Learns from the record where it stands."""
        mark = log.read_mark(db, self.target)
        self._mark = log.newest_decision(db) if mark is None else mark
        if mark is None:
            self._notices.read_on(self.target, self._mark)
        clear_from = log.read_clear_from(db, self.target)
        if not self.rule.all_clear:
            # What ends from now on is not owed, also where the rule tells of it again one day.
            self._notices.clear_from(self.target, is_told=False)
        elif clear_from is None:
            self._notices.clear_from(self.target)
        else:
            self._awaiting = log.read_awaiting(db, self.target, clear_from)
        self._quiet = log.read_quiet(db, self.target, self._now_us() - self.rule.quiet_s * 1_000_000)

    def step(self, db: sqlite3.Connection) -> float:
        """Looks once and sends what is due, for a second or so; returns when to look again (s; 0: at once)."""
        now_us = self._now_us()
        subjects = self._read_subjects(db)
        chosen = [subject for subject in subjects if self.rule.chooses(subject)]
        for subject in chosen:
            if subject.key not in self._told:
                self._told[subject.key] = log.read_told(db, self.target, subject.key)
            if self.rule.all_clear and not subject.is_over and self._told[subject.key].sent_us is not None:
                self._awaiting.add(subject.key)
        found = plan(self.rule, chosen, self._told, self._quiet, self._gathered_us, now_us)
        began, seen = time.monotonic(), dict[Key, AlarmView]()
        for number, message in enumerate(found.messages):
            if self._stopped.is_set() or time.monotonic() - began > SENDING_S:
                return 0.0
            if number % READ_AHEAD == 0:
                seen = self._read(found.messages[number : number + READ_AHEAD])
            self._tell(message, seen)
            self._send_tests()
        self._move_on(subjects)
        if found.messages:
            return 0.0  # what failed or is to be repeated is due at another time now
        return LOOK_S if found.next_us is None else max(0.05, (found.next_us - self._now_us()) / 1e6)

    def _read_subjects(self, db: sqlite3.Connection) -> list[Subject]:
        """Returns what stands or is new, and what was told of and is over since."""
        subjects = log.read_subjects(db, self._mark)
        over = log.read_over(db, self._awaiting.difference(subject.key for subject in subjects))
        return [
            replace(subject, awaits_clear=True) if subject.key in self._awaiting else subject
            for subject in (*subjects, *over)
        ]

    def _move_on(self, subjects: list[Subject]) -> None:
        """Moves the mark up to the first decision about which something is owed, and forgets what is past it."""
        newest = max((subject.decision_id for subject in subjects), default=self._mark)
        unsettled = [
            subject.decision_id
            for subject in subjects
            if not is_settled(self.rule, subject, self._told.get(subject.key, UNTOLD))
        ]
        mark = max(self._mark, min([newest, *(number - 1 for number in unsettled)]))
        if mark > self._mark:
            self._mark = mark
            self._notices.read_on(self.target, mark)
        if len(self._told) > REMEMBERED:
            live = {subject.key for subject in subjects}
            self._told = {key: told for key, told in self._told.items() if key in live}

    # ---- one message --------------------------------------------------------------------------

    def _tell(self, message: Message, seen: Mapping[Key, AlarmView]) -> None:
        alarms = tuple((subject.key, subject.severity) for subject in message.subjects)
        notice = self._begin(message.kind, alarms, message.is_possible_repeat, "")
        if message.kind is Kind.GIVEN_UP:
            answer = log.Answer(outcome="given_up", detail="no answer for a day, and nobody needs it now")
        else:
            severity = "info" if message.kind is Kind.CLEARED else message.severity
            answer = self._channel.send(*self._write(message, seen), severity)
        self._end(notice, answer)
        for subject in message.subjects:
            attempt = Attempt(
                at_us=notice.at_us, severity=subject.severity, outcome=answer.outcome, kind=message.kind.value
            )
            self._told[subject.key] = take(self._told.get(subject.key, UNTOLD), attempt)
            if answer.is_sent and message.kind is not Kind.CLEARED:
                self._quiet[subject.source] = notice.at_us
            if answer.is_sent and self.rule.all_clear and not subject.is_over:
                self._awaiting.add(subject.key)  # it may be over before the next look
            elif subject.is_over and answer.outcome != "failed":
                self._awaiting.discard(subject.key)
        if message.kind is Kind.CLEARED or (message.severity != RED and message.kind is not Kind.GIVEN_UP):
            self._gathered_us = notice.at_us

    def _read(self, messages: Sequence[Message]) -> dict[Key, AlarmView]:
        """Returns what is known of the alarms that messages name: a look at a gateway's points serves them all."""
        keys = {s.key[1].hex(): s.key for message in messages for s in message.subjects[: words.NAMED]}
        return {keys[view.id]: view for view in self._queries.alarms_by_id(list(keys))}

    def _write(self, message: Message, seen: Mapping[Key, AlarmView]) -> tuple[str, str]:
        named = message.subjects[: words.NAMED]
        alarms = [seen[subject.key] for subject in named if subject.key in seen]
        try:
            return self._word(message, alarms)
        except Exception:  # an alarm is told, whatever becomes of its words, and stops none behind it
            _LOG.exception("notify %s: a message could not be worded", self.target)
            first = named[0]
            return f"Qianshao 前哨: {first.severity}", f"{first.gateway} {words.line(first.point)} {first.rule_id}"

    def _word(self, message: Message, alarms: Sequence[AlarmView]) -> tuple[str, str]:
        return words.write_message(
            self.rule.lang,
            message.kind,
            alarms,
            total=len(message.subjects),
            is_possible_repeat=message.is_possible_repeat,
            names=self._names,
            zone=self._zone,
        )

    def _send_tests(self) -> None:
        while self._tests:
            by, future = self._tests.popleft()
            notice = self._begin(Kind.TEST, (), False, by)
            answer = self._channel.send(*words.write_test(self.rule.lang, self.rule.name, by), "info")
            kept = self._end(notice, answer)
            _wait(kept)
            future.set_result(notice.id)

    def _begin(self, kind: Kind, alarms: tuple[tuple[Key, str], ...], is_possible_repeat: bool, by: str) -> log.Notice:
        """Records an attempt, and waits until it is on the disk, though not for long."""
        notice = log.Notice(
            id=self._notices.number(), target=self.target, kind=kind, at_us=self._now_us(),
            is_possible_repeat=is_possible_repeat, by=by, alarms=alarms,
        )  # fmt: skip
        if not _wait(self._notices.begin(notice)):
            _LOG.error("notify %s: an attempt is made that is not on the disk", self.target)
        return notice

    def _end(self, notice: log.Notice, answer: log.Answer) -> Future[object]:
        if answer.outcome == "failed":
            _LOG.warning("notify %s: attempt %d failed: %s", self.target, notice.id, answer.detail)
        ids = frozenset(id.hex() for (_, id), _ in notice.alarms)

        def tell(future: Future[object]) -> None:
            if future.exception() is not None:
                _LOG.error("notify %s: the answer to attempt %d is not on the disk", self.target, notice.id)
            elif ids:
                self._on_change(Change(gateways=frozenset(), alarms=ids, points=frozenset()))

        kept = self._notices.end(notice, answer, self._now_us())
        kept.add_done_callback(tell)
        return kept


def _wait(future: Future[object]) -> bool:
    """Waits for a write, though not for long; returns whether it is on the disk."""
    try:
        future.result(timeout=RECORD_S)
    except (FutureTimeoutError, CollectorError, sqlite3.Error):
        return False
    return True
