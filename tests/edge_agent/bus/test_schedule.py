"""The schedule of one port: cases for each sentence, and laws."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.bus.schedule import ALARM_RUN, Schedule, Slot, last_due, next_due


def slot(interval_ms: int = 1000, phase_ms: int = 0, *, is_alarm: bool = False) -> Slot:
    return Slot(interval_ms=interval_ms, phase_ms=phase_ms, is_alarm=is_alarm)


@pytest.mark.parametrize(
    ("now", "interval", "phase", "last", "next"),
    [
        (0, 1000, 0, 0, 1000),
        (999, 1000, 0, 0, 1000),
        (1000, 1000, 0, 1000, 2000),
        (1000, 1000, 1, 1, 1001),
        (1000, 1000, 999, 999, 1999),
        (7, 1, 0, 7, 8),
    ],
)
def test_the_grid(now: int, interval: int, phase: int, last: int, next: int) -> None:
    assert last_due(now, interval, phase) == last
    assert next_due(now, interval, phase) == next


@given(st.integers(0, 10**12), st.integers(1, 10**6), st.data())
def test_next_tick_is_in_the_future_and_aligned(now: int, interval: int, data: st.DataObject) -> None:
    phase = data.draw(st.integers(0, interval - 1))
    tick = next_due(now, interval, phase)
    assert now < tick <= now + interval
    assert tick % interval == phase
    assert last_due(now, interval, phase) == tick - interval


def test_nothing_is_due_before_the_first_tick() -> None:
    schedule = Schedule([slot(1000)], 5400)
    assert schedule.next_ms == 6000
    assert schedule.take(5999) is None
    assert schedule.take(6000) == (0, 6000, range(0), False)
    assert schedule.take(6000) is None
    assert schedule.next_ms == 7000


def test_at_once_takes_the_tick_that_has_begun() -> None:
    schedule = Schedule([slot(1000)], 5400, at_once=True)
    assert schedule.take(5400) == (0, 5000, range(0), False)
    assert schedule.next_ms == 6000


def test_a_tick_from_before_the_start_is_not_missed() -> None:
    schedule = Schedule([slot(1000), slot(1000)], 5900, at_once=True)
    assert schedule.take(5900) == (0, 5000, range(0), False)
    assert schedule.take(6100) == (1, 6000, range(0), False)


def test_no_slots() -> None:
    schedule = Schedule([], 0)
    assert schedule.next_ms is None
    assert schedule.take(10) is None


def order(slots: list[Slot], now_ms: int) -> list[int]:
    schedule = Schedule(slots, 0)
    taken = []
    while (turn := schedule.take(now_ms)) is not None:
        taken.append(turn.slot)
    return taken


def test_earliest_deadline_first() -> None:
    assert order([slot(3000), slot(1000), slot(2000)], 6000) == [1, 2, 0]


def test_alarm_block_first_at_equal_deadlines() -> None:
    assert order([slot(), slot(is_alarm=True), slot()], 1000) == [1, 0, 2]


def test_alarm_blocks_first_and_the_earliest_deadline_among_them() -> None:
    assert order([slot(500), slot(2000, is_alarm=True), slot(1000, is_alarm=True)], 2000) == [2, 1, 0]


def test_an_alarm_block_that_must_be_known_sooner_goes_first() -> None:
    slots = [slot(4000, is_alarm=True), replace(slot(4000, is_alarm=True), deadline_ms=300)]
    assert order(slots, 4000) == [1, 0]


def test_an_overdue_ordinary_block_gets_every_fourth_turn() -> None:
    slots = [slot(10, is_alarm=True), slot(10, is_alarm=True), slot(10)]
    schedule = Schedule(slots, 0)
    taken = [turn.slot for now in range(200, 600, 10) if (turn := schedule.take(now)) is not None]
    assert len(taken) == 40
    assert [place for place, number in enumerate(taken) if number == 2] == list(range(3, 40, 4))


def test_a_device_that_may_not_be_asked_is_passed_over() -> None:
    schedule = Schedule([replace(slot(is_alarm=True), device=7), slot()], 0)
    first = schedule.take(1000, {7: 1050})
    assert first is not None
    assert first.slot == 1
    assert schedule.take(1049, {7: 1050}) is None
    assert schedule.take(1050, {7: 1050}) == (0, 1000, range(0), False)


def test_a_second_attempt_waits_for_alarm_blocks_and_lapses_with_the_next_tick() -> None:
    schedule = Schedule([slot(1000, 10), slot(1000, 500, is_alarm=True)], 0)
    assert schedule.take(10) == (0, 10, range(0), False)
    schedule.again(0, 10, 400)
    assert schedule.take(399) is None
    assert schedule.take(500) == (1, 500, range(0), False)
    assert schedule.take(500) == (0, 10, range(0), True)
    schedule.again(0, 10, 2000)
    assert schedule.take(1010) == (0, 1010, range(0), False)
    assert schedule.take(1500) == (1, 1500, range(0), False)
    assert schedule.take(2000) is None


def test_what_was_begun_goes_on_in_its_own_class() -> None:
    schedule = Schedule([slot(1000, 10, is_alarm=True), slot(1000, 500, is_alarm=True)], 0)
    assert schedule.take(10) == (0, 10, range(0), False)
    schedule.go_on(0, 10, 400)
    assert schedule.take(500) == (0, 10, range(0), True)


def test_the_next_tick_waits_for_what_was_begun() -> None:
    schedule = Schedule([slot(1000, 10), slot(1000, 500, is_alarm=True)], 0)
    assert schedule.take(10) == (0, 10, range(0), False)
    schedule.go_on(0, 10, 1300)
    assert schedule.take(1010) == (1, 500, range(0), False)
    assert schedule.take(1010) is None
    assert schedule.take(1300) == (0, 10, range(0), True)
    assert schedule.take(1300) == (0, 1010, range(0), False)


def test_what_a_job_would_cost() -> None:
    schedule = Schedule([slot(1000, 0, is_alarm=True), slot(1000, 500)], 0)
    assert schedule.is_idle_until(500)
    assert not schedule.is_idle_until(501)
    assert not schedule.alarm_comes_by(1200, [200, 0])
    assert schedule.alarm_comes_by(1201, [200, 0])
    assert schedule.take(500) is not None
    assert schedule.take(500) is None
    assert schedule.is_idle_until(1000)


def test_missed_ticks_are_skipped_and_told() -> None:
    schedule = Schedule([slot(1000)], 0)
    turn = schedule.take(4200)
    assert turn is not None
    assert turn.tick_ms == 4000
    assert list(turn.missed) == [1000, 2000, 3000]
    assert schedule.next_ms == 5000


def test_a_late_tick_is_not_missed() -> None:
    schedule = Schedule([slot(1000)], 0)
    assert schedule.take(1999) == (0, 1000, range(0), False)


SLOTS = st.lists(
    st.builds(
        lambda interval, phase, is_alarm: slot(interval, phase % interval, is_alarm=is_alarm),
        st.integers(10, 2000),
        st.integers(0, 2000),
        is_alarm=st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@given(SLOTS, st.integers(0, 10**9), st.lists(st.integers(1, 900), min_size=20, max_size=80))
def test_every_tick_is_told_exactly_once_and_in_order(slots: list[Slot], start: int, took: list[int]) -> None:
    schedule = Schedule(slots, start)
    told: dict[int, list[int]] = {number: [] for number in range(len(slots))}
    now = start
    for ms in took:
        turn = schedule.take(now)
        if turn is None:
            assert schedule.next_ms is not None
            assert schedule.next_ms > now
            now = schedule.next_ms
            continue
        told[turn.slot] += [*turn.missed, turn.tick_ms]
        assert turn.tick_ms <= now < turn.tick_ms + slots[turn.slot].interval_ms
        now += ms
    for number, ticks in told.items():
        if ticks:
            one = slots[number]
            first = next_due(start, one.interval_ms, one.phase_ms)
            assert ticks == list(range(first, ticks[-1] + 1, one.interval_ms))


@given(SLOTS, st.integers(1, 3000))
def test_nobody_starves_on_a_port_with_too_much_to_do(slots: list[Slot], took_ms: int) -> None:
    schedule = Schedule(slots, 0)
    oldest = [next_due(0, one.interval_ms, one.phase_ms) for one in slots]
    overdue_turns = [0] * len(slots)
    now = 0
    for _ in range(200):
        turn = schedule.take(now)
        if turn is not None:
            for number, one in enumerate(slots):
                is_overdue = now >= oldest[number] + one.interval_ms
                overdue_turns[number] = overdue_turns[number] + 1 if is_overdue and number != turn.slot else 0
                # Every other block goes at most once before one whose deadline is over, but for the
                # alarm blocks, who have ALARM_RUN turns for each one of an ordinary block.
                assert overdue_turns[number] < (ALARM_RUN + 1) * len(slots)
            oldest[turn.slot] = turn.tick_ms + slots[turn.slot].interval_ms
        now += took_ms
