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
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from contracts.batch import AlarmEvent, Statement
from contracts.columns import MAX_COUNT
from contracts.errors import ContractError
from contracts.quality import CODES, GOOD, OVER_RANGE, UNDER_RANGE, WITH_VALUE
from edge_agent.alarm_events import ended, event_of
from edge_agent.judge_state import Standing, StoredPoint, pack_state, unpack_state
from edge_agent.plan import BlockPlan, PointPlan
from edge_agent.vibration.records import FeatureBlock
from rules import (
    LimitState,
    Phase,
    PointState,
    RulesError,
    Sample,
    Severity,
    Transition,
    check_silence,
    is_heard,
    quiet_band,
    quiet_counts,
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
_HEARD = frozenset(code for code in CODES if is_heard(code))
#: codes that prove nothing: no number, and no statement about a range
_NOTHING = frozenset(code for code in CODES if code not in WITH_VALUE) - {OVER_RANGE, UNDER_RANGE}
_BEYOND = MAX_COUNT + 1
_GRAVITY = (Severity.RED, Severity.ORANGE, Severity.YELLOW, Severity.BLUE, Severity.INFO)

Row = Sequence[int | float | None]
Codes = Sequence[int] | None
Events = Sequence[AlarmEvent]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetResult:
    """What became of a reset."""

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
        #: events that the next call hands out
        self._owed: list[AlarmEvent] = []
        now = clock()
        # Points with the same rules begin in the same state: one record for all of them.
        begun = {id(plan.rules): start(plan.rules, boot=boot_id, now_us=now) for plan in points}
        self._points = [_Point(plan, begun[id(plan.rules)]) for plan in points]
        self._blocks = [_Block(self._points[number] for number in block.points) for block in blocks]
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

    def _judge_closely(self, block: _Block, sampled_us: int, row: Row, codes: Codes, replied_us: int) -> Events:
        # The rules want a point's samples in order of time; a tick that was missed beside a slow
        # reply may lie before it.
        at_us = max(sampled_us, block.sampled_us)
        block.row, block.codes, block.sampled_us = row, codes, at_us
        events: list[AlarmEvent] = []
        for place, point in enumerate(block.points):
            value, code = row[place], GOOD if codes is None else codes[place]
            if code in _HEARD:
                point.heard_us = at_us
                if code == GOOD and value is not None and block.lows[place] < value < block.highs[place]:
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
        point: _Point,
        state: PointState,
        made: Iterable[Transition],
        events: list[AlarmEvent],
        judged_us: int | None = None,
    ) -> None:
        """Keeps a point's new state and turns its transitions into events."""
        if state != point.state:
            point.put(state)
            self.is_changed = True
        for transition in made:
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
            StoredPoint(key=point.plan.key, state=point.state)
            for point in self._points
            if not _is_as_started(point.state)
        )
        return pack_state(Standing(points=kept, events=tuple(self._newest.values())))

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
        one ends with cause ``superseded``.  Events come with the next row or ``check_silence``.
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
            restored, made = restore(point.plan.rules, state, boot=self._boot, now_us=now, known_elapsed=same_boot)
            self._take(point, restored, made, events)
        self.is_changed = True
        self._owe(events)
        self._judge_waiting()

    def replace_plan(self, points: Sequence[PointPlan], blocks: Sequence[BlockPlan | FeatureBlock]) -> Events:
        """Goes on under another plan; returns the events of alarms whose rule or point is gone.

        A point whose rules are the same goes on as if nothing had been; by rule id an alarm
        stays when its rule only changed.
        """
        now = self._clock()
        self._judge_waiting()
        events = self._pay()
        old = {point.plan.key: point for point in self._points}
        self._points = []
        for plan in points:
            before = old.pop(plan.key, None)
            if before is None:
                self._points.append(_Point(plan, start(plan.rules, boot=self._boot, now_us=now)))
                continue
            point = _Point(plan, before.state)
            point.heard_us, point.carried = before.heard(), before.last()
            self._points.append(point)
            if plan.rules != before.plan.rules:
                state, made = reload(plan.rules, before.state, now_us=now)
                point.put(state)
                self.is_changed = True
                self._take(point, state, made, events)
        for gone in old.values():
            self._take(gone, gone.state, remove(gone.state, now_us=now), events)
            self.is_changed = self.is_changed or not _is_as_started(gone.state)
        self._blocks = [_Block(self._points[number] for number in block.points) for block in blocks]
        return events

    def _judge_waiting(self) -> None:
        rows, self._waiting = self._waiting, None
        owed = self._pay()
        for row in rows or ():
            owed.extend(self.judge_row(*row))
        self._owe(owed)

    def _ended(self, event: AlarmEvent, cause: str, now_us: int) -> AlarmEvent:
        return ended(event, cause, gateway=self._gateway, boot_id=self._boot, now_us=now_us)


class _Point:
    """One point: its plan, where it stands, and what follows from that for the next sample."""

    __slots__ = (
        "_block",
        "_place",
        "_resolution",
        "carried",
        "has_rules",
        "heard_us",
        "ignores_unproven",
        "plan",
        "state",
    )

    def __init__(self, plan: PointPlan, state: PointState) -> None:
        self.plan = plan
        self.has_rules = bool(plan.rules.limits) or plan.rules.silence is not None
        #: newest good or uncertain sample that was looked at closely, monotonic us
        self.heard_us: int | None = None
        #: newest sample under an earlier plan
        self.carried: Sample | None = None
        self._resolution: Fraction | None = plan.resolution if plan.kind == "int" else None
        self._block: _Block | None = None
        self._place = 0
        self.state = state
        #: whether a sample that proves nothing leaves the state as it is
        self.ignores_unproven = _ignores_unproven(state)

    def join(self, block: _Block, place: int) -> None:
        """Takes its place in a block."""
        self._block, self._place = block, place
        self.put(self.state)

    def put(self, state: PointState) -> None:
        """Takes a new state, and what follows from it."""
        self.state = state
        self.ignores_unproven = _ignores_unproven(state)
        if self._block is None:
            return
        band = quiet_band(self.plan.rules, state)
        if self._resolution is not None:
            low, high = quiet_counts(band, self._resolution)
            # Integers compare faster with integers; no count lies beyond these.
            band = (_whole(low), _whole(high))
        self._block.lows[self._place], self._block.highs[self._place] = band

    def sample(self, value: int | float | None, code: int, at_us: int) -> Sample:
        """Returns a sample in the unit of the rules; a count becomes the float nearest to it."""
        if value is None:
            return Sample(value=None, code=code, at_us=at_us)
        number = float(value) if self._resolution is None else float(value * self._resolution)
        return Sample(value=number, code=code, at_us=at_us)

    def heard(self) -> int | None:
        """Returns the time of the newest good or uncertain sample of this boot; None: none yet."""
        block = -1 if self._block is None else self._block.heard_us
        own = -1 if self.heard_us is None else self.heard_us
        newest = max(block, own)
        return None if newest < 0 else newest

    def last(self) -> Sample | None:
        """Returns the newest sample, of whatever quality."""
        block = self._block
        if block is None or block.row is None:
            return self.carried
        code = GOOD if block.codes is None else block.codes[self._place]
        return self.sample(block.row[self._place], code, block.sampled_us)


class _Block:
    """One block: its points, their quiet bands in counts, and its newest row."""

    __slots__ = ("codes", "heard_us", "highs", "lows", "points", "row", "sampled_us", "silence_us")

    def __init__(self, points: Iterable[_Point]) -> None:
        self.points = tuple(points)
        self.lows: list[float] = [-math.inf] * len(self.points)
        self.highs: list[float] = [math.inf] * len(self.points)
        self.row: Row | None = None
        self.codes: Codes = None
        self.sampled_us = 0
        #: newest row that was all good and quiet, monotonic us; -1: none yet
        self.heard_us = -1
        rules = [point.plan.rules.silence for point in self.points]
        #: shortest silence that one of its points may not have; None where none is watched
        self.silence_us = min((rule.after_us for rule in rules if rule is not None), default=None)
        for place, point in enumerate(self.points):
            point.join(self, place)


def _ignores_unproven(state: PointState) -> bool:
    # Bad and missing samples matter to an inhibit (its newest sample), to a running off-delay
    # (which they pause) and to a gas point that may be lost while it rises.
    is_clearing = any(item.phase is Phase.CLEARING for item in state.limits)
    return state.inhibit is None and state.passed_us is None and state.lost_samples == 0 and not is_clearing


def _is_as_started(state: PointState) -> bool:
    settled = state.silence is None and state.inhibit is None and state.passed_us is None and not state.lost_samples
    return settled and all(item == LimitState(rule_id=item.rule_id) for item in state.limits)


def _whole(count: float) -> float:
    return int(max(-_BEYOND, min(_BEYOND, count)))


def _gravity(event: AlarmEvent) -> tuple[int, str, str]:
    return _GRAVITY.index(Severity(event.severity)), event.point, event.rule_id
