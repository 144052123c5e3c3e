"""The judge: every row against the rules of its points, at once, on the spot.

It thinks about no limit itself (``rules`` does) and stores and sends nothing.  It keeps where
each point stands, makes alarm events out of transitions, and gives its state to whoever
seals them, so that event and state become durable together and a restart raises nothing twice.

Nearly every row is quiet: all good, each value inside the band in which its rules have nothing
to say.  Those bands are kept in counts, as the values come, so a quiet row costs two
comparisons a point and makes nothing.

Rows that come before the state of the last run is there wait for it (``restore`` or ``begin``),
at most ``RESTORE_WAIT_US``: an alarm that stood before a restart is then not raised anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from contracts.batch import AlarmEvent, Statement
from contracts.errors import ContractError
from contracts.inhibit import Inhibit
from contracts.quality import CODES, GOOD, OVER_RANGE, UNDER_RANGE, WITH_VALUE
from edge_agent.alarm_events import ended, event_of
from edge_agent.inhibits import Inhibits
from edge_agent.judge_pairs import Pairs
from edge_agent.judge_state import Standing, StoredPoint, pack_state, unpack_state
from edge_agent.judged import Codes, JudgedBlock, JudgedPoint, Row
from edge_agent.plan import BlockPlan, PointPlan
from edge_agent.vibration.records import FeatureBlock
from rules import (
    CLEARING_CODES,
    PointState,
    RulesError,
    Severity,
    Transition,
    begin_inhibit,
    check_inhibit,
    check_silence,
    end_inhibit,
    is_heard,
    reload,
    remove,
    reset,
    restore,
    standing,
    start,
    step_point,
)

_LOG = logging.getLogger(__name__)

#: how long rows wait for the state of the last run (us)
RESTORE_WAIT_US = 2_000_000
#: a longer name does not fit the mark of an event
MAX_NAME = 100
#: what the wire carries of a name or a reason (bytes); the collector refuses a batch with more
MAX_WORDS = 256
_HEARD = frozenset(code for code in CODES if is_heard(code))
#: codes that prove nothing: no number, and no statement about a range
_NOTHING = frozenset(code for code in CODES if code not in WITH_VALUE) - {OVER_RANGE, UNDER_RANGE}
_GRAVITY = (Severity.RED, Severity.ORANGE, Severity.YELLOW, Severity.BLUE, Severity.INFO)

Events = Sequence[AlarmEvent]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetResult:
    """What became of what a person asked: a reset, or an inhibit's begin or end."""

    events: tuple[AlarmEvent, ...] = ()
    #: why it was refused, in words; empty when it was done
    refused: str = ""


class Judge:
    """Where every point of a plan stands."""

    def __init__(
        self,
        gateway_id: str,
        boot_id: bytes,
        points: Sequence[PointPlan],
        blocks: Sequence[BlockPlan | FeatureBlock],
        clock: Callable[[], int],
    ) -> None:
        """Knows nothing of any point yet.

        Args:
            boot_id: whose monotonic clock all times here are of.
            clock: that clock, us.
        """
        self._gateway = gateway_id
        self._boot = boot_id
        self._clock = clock
        #: whether the state differs from what ``state_bytes`` gave last
        self.is_changed = False
        #: (point, rule) -> newest event of an alarm that is not cleared
        self._newest: dict[tuple[str, str], AlarmEvent] = {}
        #: which points somebody works on, and what of it is to be signed
        self.inhibits = Inhibits()
        #: events that the next call hands out
        self._owed: list[AlarmEvent] = []
        now = clock()
        # Points with the same rules begin in the same state: one record for all of them.
        begun = {id(plan.rules): start(plan.rules, boot=boot_id, now_us=now) for plan in points}
        self._points = [JudgedPoint(plan, begun[id(plan.rules)]) for plan in points]
        self._pairs = Pairs(self._points)
        self._blocks = [JudgedBlock(self._points[number] for number in block.points) for block in blocks]
        self._waiting: list[tuple[int, int, Row, Codes, int]] | None = []
        self._wait_until_us = now + RESTORE_WAIT_US
        # One look on the hot path for both: rows wait, or events are owed.
        self._is_special = True

    # -- rows --------------------------------------------------------------------------

    def judge_row(self, block_number: int, sampled_us: int, row: Row, codes: Codes, replied_us: int) -> Events:
        """Returns the alarm events that one row makes, nearly always none.

        Args:
            block_number: of the plan.
            sampled_us: monotonic.
            row: counts or floats in the order of the block's points; None where there is no number.
            codes: one quality code per point; None when all are good.
            replied_us: when the row was known, monotonic.
        """
        if self._is_special:
            return self._judge_special(block_number, sampled_us, row, codes, replied_us)
        block = self._blocks[block_number]
        if codes is None:
            for value, low, high in zip(row, block.lows, block.highs, strict=True):
                if not low < value < high:  # type: ignore[operator]  # all good: every value is there
                    break
            else:
                block.row = row
                block.codes = None
                block.sampled_us = block.heard_us = sampled_us
                return ()
        return self._judge_closely(block, sampled_us, row, codes, replied_us)

    def _judge_closely(self, block: JudgedBlock, sampled_us: int, row: Row, codes: Codes, replied_us: int) -> Events:
        # The rules want a point's samples in order of time; a tick that was missed beside a slow
        # reply may lie before it.
        at_us = max(sampled_us, block.sampled_us)
        block.row, block.codes, block.sampled_us = row, codes, at_us
        events: list[AlarmEvent] = []
        for place, point in enumerate(block.points):
            value, code = row[place], GOOD if codes is None else codes[place]
            if code in _HEARD:
                point.heard_us = at_us
                if code in CLEARING_CODES and value is not None and block.lows[place] < value < block.highs[place]:
                    continue
            elif point.ignores_unproven and code in _NOTHING:
                continue
            if not point.has_rules:
                continue
            state, made = step_point(point.plan.rules, point.state, point.sample(value, code, at_us))
            self._take(point, state, made, events, replied_us)
        return events

    def _judge_special(self, block_number: int, sampled_us: int, row: Row, codes: Codes, replied_us: int) -> Events:
        if self._waiting is not None:
            self._waiting.append((block_number, sampled_us, row, codes, replied_us))
            if self._clock() < self._wait_until_us:
                return ()
            _LOG.warning("the alarm state of the last run is not there yet: judging without it")
            self.begin()
            return self._pay()
        return [*self._pay(), *self.judge_row(block_number, sampled_us, row, codes, replied_us)]

    def _take(
        self,
        point: JudgedPoint,
        state: PointState,
        made: Iterable[Transition],
        events: list[AlarmEvent],
        judged_us: int | None = None,
    ) -> None:
        """Keeps a point's new state and turns its transitions into events."""
        if state is not point.state:
            if state != point.state:
                point.put(state)
                self.is_changed = True
            else:
                # Only what a watch remembers differs: nothing to keep, and the same band.
                point.state = state
        at_us = 0
        for transition in made:
            at_us = max(at_us, transition.at_us)
            key = (point.plan.key, transition.rule_id)
            event = event_of(
                transition,
                gateway=self._gateway,
                boot_id=self._boot,
                point=point.plan,
                before=self._newest.get(key),
                judged_us=max(self._clock(), judged_us or 0),
            )
            self._remember(event)
            events.append(event)
        if at_us:
            for owner in self._pairs.watching(point.plan.key):
                self._confirm(owner, at_us, events)

    def _confirm(self, owner: JudgedPoint, at_us: int, events: list[AlarmEvent]) -> None:
        """Looks at the pairs of one point."""
        state, made = self._pairs.step(owner, at_us)
        if state is not owner.state:
            self._take(owner, state, made, events)

    def _remember(self, event: AlarmEvent) -> None:
        self.is_changed = True
        if event.state == "cleared":
            self._newest.pop((event.point, event.rule_id), None)
        else:
            self._newest[event.point, event.rule_id] = event

    def _owe(self, events: Iterable[AlarmEvent]) -> None:
        self._owed.extend(events)
        self._is_special = self._waiting is not None or bool(self._owed)

    def _pay(self) -> list[AlarmEvent]:
        events, self._owed = self._owed, []
        self._is_special = self._waiting is not None
        return events

    # -- time and people ---------------------------------------------------------------

    def check_silence(self, now_us: int) -> Events:
        """Returns the events of points that were not heard for too long; to be called about once a second.

        Silence that lasts is one event.  Events that a restart or a reload owes come here too.
        """
        if self._waiting is not None:
            if now_us < self._wait_until_us:
                return ()
            self.begin()
        events = self._pay()
        self._check_inhibits(now_us, events)
        for owner in self._pairs.owners:
            self._confirm(owner, now_us, events)
        for block in self._blocks:
            if block.silence_us is None or now_us - block.heard_us < block.silence_us:
                continue
            for point in block.points:
                if point.plan.rules.silence is None or point.state.silence is not None:
                    continue
                state, made = check_silence(
                    point.plan.rules, point.state, heard_us=point.heard(), now_us=now_us, last=point.last()
                )
                self._take(point, state, made, events)
        return events

    def reset(self, point: str, rule_id: str, by: str, now_us: int) -> ResetResult:
        """Resets one latched alarm, unless its condition stands or its last value is not good.

        Args:
            point: key of the point.
            by: name of the person, at most ``MAX_NAME`` characters.
            now_us: monotonic.
        """
        found = next((item for item in self._points if item.plan.key == point), None)
        if found is None:
            return ResetResult(refused=f"there is no point {point!r}")
        if len(by) > MAX_NAME:
            return ResetResult(refused=f"a name has at most {MAX_NAME} characters")
        done = reset(found.plan.rules, found.state, rule_id, by=by, last=found.last(), now_us=now_us)
        if done.refused:
            return ResetResult(refused=done.refused)
        events: list[AlarmEvent] = []
        self._take(found, done.state, done.transitions, events)
        return ResetResult(events=tuple(events))

    def inhibit(self, point: str, *, reason: str, by: str, now_us: int, until_us: int) -> ResetResult:
        """Inhibits a point: its samples set and clear nothing until then, and an active alarm stays.

        Args:
            point: key of the point; a second inhibit of it replaces the first.
            reason: why, in a few words.
            by: name of the person; it and the reason have at most ``MAX_NAME`` characters and ``MAX_WORDS`` bytes.
            now_us: monotonic.
            until_us: monotonic.
        """
        found = next((item for item in self._points if item.plan.key == point), None)
        if found is None:
            return ResetResult(refused=f"there is no point {point!r}")
        if len(by) > MAX_NAME or len(reason) > MAX_NAME:
            return ResetResult(refused=f"a name or reason has at most {MAX_NAME} characters")
        if max(len(words.encode(errors="replace")) for words in (by, reason)) > MAX_WORDS:
            return ResetResult(refused=f"a name or reason has at most {MAX_WORDS} bytes of UTF-8")
        try:
            found.put(begin_inhibit(found.state, reason=reason, by=by, until_us=until_us))
        except RulesError as error:
            return ResetResult(refused=str(error))
        self.is_changed = True
        self.inhibits.begin(Inhibit(point=point, since_us=now_us, until_us=until_us, reason=reason, by=by))
        return ResetResult()

    def end_inhibit(self, point: str, now_us: int) -> ResetResult:
        """Ends an inhibit before its time; a value past a limit raises at once."""
        found = next((item for item in self._points if item.plan.key == point), None)
        if found is None or found.state.inhibit is None:
            return ResetResult(refused=f"{point!r} is not inhibited")
        events: list[AlarmEvent] = []
        state, made = end_inhibit(found.plan.rules, found.state, now_us)
        self._take(found, state, made, events)
        self.is_changed = True
        self.inhibits.end(point, now_us)
        return ResetResult(events=tuple(events))

    def inhibited(self) -> list[str]:
        """Returns the keys of the points that are inhibited."""
        return sorted(self.inhibits)

    def _check_inhibits(self, now_us: int, events: list[AlarmEvent]) -> None:
        """Ends the inhibits whose time is up; those that a sample has ended are noted as ended."""
        if not self.inhibits:
            return
        running = set(self.inhibits)
        for point in [point for point in self._points if point.plan.key in running]:
            state, made = check_inhibit(point.plan.rules, point.state, now_us)
            if state is not point.state:
                self._take(point, state, made, events)
                self.is_changed = True
            if state.inhibit is None:
                self.inhibits.end(point.plan.key, now_us)

    def statement(self, now_us: int) -> Statement:
        """Returns the newest event of every alarm that is not cleared, the gravest first."""
        return Statement(mono_us=now_us, events=tuple(sorted(self._newest.values(), key=_gravity)))

    # -- state -------------------------------------------------------------------------

    def state_bytes(self) -> bytes | None:
        """Returns everything to be kept, or None when nothing changed since the last call.

        Whoever takes the bytes sees that they become durable with the next commit, or calls
        ``mark_changed``.
        """
        if not self.is_changed:
            return None
        self.is_changed = False
        kept = tuple(
            StoredPoint(key=point.plan.key, state=point.state) for point in self._points if not point.is_at_rest
        )
        return pack_state(Standing(points=kept, events=tuple(self._newest.values())))

    @property
    def is_ready(self) -> bool:
        """Whether the state of the last run is here, or known to be none: rows are judged as they come."""
        return self._waiting is None

    def standing(self) -> Iterable[AlarmEvent]:
        """Returns the newest event of every alarm that is not cleared, in no order."""
        return self._newest.values()

    def mark_changed(self) -> None:
        """Lets the next ``state_bytes`` give the state again, after bytes of it were lost."""
        self.is_changed = True

    def begin(self) -> None:
        """Begins without the state of a last run; rows that waited are judged now."""
        self._judge_waiting()

    def restore(self, data: bytes, same_boot: bool) -> None:
        """Takes what ``state_bytes`` gave in the last run; rows that waited are judged after it.

        Alarms of points or rules that are gone end with a ``cleared`` event, cause ``removed``.
        An alarm that was raised meanwhile because this came too late stays, and the old
        one ends with cause ``superseded``; an inhibit that began meanwhile stays.
        Events come with the next row or ``check_silence``.
        State that cannot be read is reported in the log, and judging begins without it.

        Args:
            same_boot: whether the monotonic clock went on since then.
        """
        try:
            stored = unpack_state(data)
        except (ContractError, RulesError) as error:
            _LOG.error("the alarm state of the last run cannot be read, every alarm begins anew: %s", error)
            self.begin()
            return
        known = {point.plan.key: point for point in self._points}
        old = {item.key: item.state for item in stored.points}
        now = self._clock()
        events: list[AlarmEvent] = []
        late: set[str] = set()
        for event in stored.events:
            point = known.get(event.point)
            if point is None or event.point not in old:
                events.append(self._ended(event, "removed", now))
            elif standing(point.state):
                late.add(event.point)
                events.append(self._ended(event, "superseded", now))
            else:
                self._newest[event.point, event.rule_id] = event
        for key, state in old.items():
            point = known.get(key)
            if point is None or key in late:
                continue
            begun = point.state.inhibit
            restored, made = restore(point.plan.rules, state, boot=self._boot, now_us=now, known_elapsed=same_boot)
            if begun is not None:
                # Somebody did not wait for the store; his inhibit is stated already, and knows the newest sample.
                restored = begin_inhibit(restored, reason=begun.reason, by=begun.by, until_us=begun.until_us)
                restored = replace(restored, inhibit=begun)
            self._take(point, restored, made, events)
            if begun is None and (going := restored.inhibit) is not None and going.until_us > now:
                # Since when is not kept, and need not be: nobody sampled while the agent was away.
                self.inhibits.begin(
                    Inhibit(point=key, since_us=now, until_us=going.until_us, reason=going.reason, by=going.by)
                )
        self.is_changed = True
        self._owe(events)
        self._judge_waiting()

    def replace_plan(self, points: Sequence[PointPlan], blocks: Sequence[BlockPlan | FeatureBlock]) -> Events:
        """Goes on under another plan; returns the events of alarms whose rule or point is gone.

        A point whose rules are the same goes on as if nothing had been; by rule id an alarm
        stays when its rule only changed, until the next sample is judged by the new one (policy ``stay``).
        """
        now = self._clock()
        self._judge_waiting()
        events = self._pay()
        old = {point.plan.key: point for point in self._points}
        self._points, self._pairs = [], Pairs()
        for plan in points:
            before = old.pop(plan.key, None)
            if before is None:
                self._points.append(JudgedPoint(plan, start(plan.rules, boot=self._boot, now_us=now)))
                continue
            point = JudgedPoint(plan, before.state)
            point.heard_us, point.carried = before.heard(), before.last()
            self._points.append(point)
            if plan.rules != before.plan.rules:
                state, made = reload(plan.rules, before.state, now_us=now)
                point.put(state)
                self.is_changed = True
                self._take(point, state, made, events)
        for gone in old.values():
            self.inhibits.end(gone.plan.key, now)
            self._take(gone, gone.state, remove(gone.state, now_us=now), events)
            self.is_changed = self.is_changed or not gone.is_at_rest
        for block_before in self._blocks:
            block_before.leave()
        self._blocks = [JudgedBlock(self._points[number] for number in block.points) for block in blocks]
        self._pairs = Pairs(self._points)
        return events

    def _judge_waiting(self) -> None:
        rows, self._waiting = self._waiting, None
        owed = self._pay()
        for row in rows or ():
            owed.extend(self.judge_row(*row))
        self._owe(owed)

    def _ended(self, event: AlarmEvent, cause: str, now_us: int) -> AlarmEvent:
        return ended(event, cause, gateway=self._gateway, boot_id=self._boot, now_us=now_us)


def _gravity(event: AlarmEvent) -> tuple[int, str, str]:
    return _GRAVITY.index(Severity(event.severity)), event.point, event.rule_id
