"""A clock that turns out wrong moves what it had placed: in steps, to where a rebuild would put it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import collector.clock_repair as clock_repair
import collector.minutes as minutes
from collector.database import FILE_NAME, read_meta
from collector.store import Store
from collector.walltime import SLACK_US
from contracts.batch import ClockState, HealthRecord, Lane
from contracts.quality import NO_REPLY
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US, Gateway
from tests.collector.test_store import dump
from tests.collector.test_verify import check, remake

S = 1_000_000
HOUR, DAY = 3600 * S, 86400 * S
NTP, UNSET, FREE, SIGNED = (
    ClockState.SYNCHRONISED, ClockState.UNSET, ClockState.FREE_RUNNING, ClockState.COLLECTOR,
)  # fmt: skip


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_repair, "_MOVE", 2)
    monkeypatch.setattr(clock_repair, "_LOOK", 5)


def mend(bench: Bench, after: Callable[[], object] = lambda: None) -> int:
    """Does every step that is due; returns how many there were."""
    bench.now_us += 61 * S  # every backlog is still by now
    steps = 1
    repair = bench.store._repair
    while bench.store.run(lambda db: bench.store.mend()) or repair._boots or repair._crowded:
        after()
        steps += 1
        if not bench.store._repair.is_due(bench.now_us):
            bench.now_us += 61 * S  # a boot that has moved again waits a minute
        assert steps < 500
    after()
    return steps


def assert_true(bench: Bench) -> None:
    report = check(bench)
    assert report.is_true, [*map(str, report.false_rows), *report.wrong_facts]


def walls(bench: Bench) -> list[int]:
    """Returns the wall time of the first sample of each batch with readings, in order of monotonic time, s."""
    rows = bench.rows(
        "SELECT e.wall_us FROM evidence e JOIN boot b ON b.no=e.boot_no WHERE e.readings>0"
        " ORDER BY b.counter, e.first_us"
    )
    return [(wall_us - START_US) // S for (wall_us,) in rows]


def rollup_minutes(bench: Bench) -> list[tuple[int, int]]:
    rows = bench.rows(
        "SELECT r.minute, r.count+r.without FROM rollup r JOIN point p ON p.no=r.point_no WHERE p.key='well-0/ch4'"
        " ORDER BY 1"
    )
    return [(minute - START_US // (60 * S), ticks) for minute, ticks in rows]


@pytest.mark.usefixtures("small_steps")
def test_readings_of_a_clock_that_was_unset_are_put_right_when_it_is_learnt(bench: Bench) -> None:
    g = bench.gateway
    g.clock = UNSET
    alarm = g.event("active", 20 * S)
    backlog = [g.catalogue_message(), *(g.data(m * 60 * S + 30 * S, m) for m in range(6))]
    backlog.append(g.seal(21 * S, lane=Lane.ALARM, events=(alarm,)))
    backlog.append(g.seal(400 * S, health=(HealthRecord(subject="agent", mono_us=399 * S, facts=()),)))
    bench.send(*backlog, at_us=HOUR)
    assert walls(bench)[0] > 3000, "nothing was known but that it had arrived"
    kept = bench.rows("SELECT sealed_us, first_us, arrived_us, envelope FROM evidence ORDER BY id")
    g.clock = NTP
    bench.send(g.ask_message(HOUR + 2 * S), g.data(HOUR + 2 * S), at_us=HOUR + 3 * S)
    assert_true(bench)
    assert mend(bench, lambda: assert_true(bench)) > 2
    assert walls(bench) == [29, 89, 149, 209, 269, 329, 3601]
    assert rollup_minutes(bench) == [*((m, 2) for m in range(6)), (60, 2)]
    assert bench.rows("SELECT sampled_us FROM alarm_event") == [(START_US + 20 * S,)]
    assert bench.rows("SELECT raised_us FROM alarm") == [(START_US + 20 * S,)]
    assert bench.rows("SELECT wall_us FROM health") == [(START_US + 399 * S,)]
    assert bench.rows("SELECT first_sample_us FROM chain WHERE lane=1") == [(START_US + 29 * S,)]
    raw = bench.rows("SELECT sealed_us, first_us, arrived_us, envelope FROM evidence ORDER BY id")
    assert raw[: len(kept)] == kept, "what was signed, when it was sampled and when it came stay"
    noted = json.loads(read_meta(bench.store._db, "clock_repair") or "")
    assert noted == {"boots": [], "again": [], "apart": [], "crowded": [], "gateways": []}


_STEPS = [-S, S, -HOUR, HOUR, -100 * DAY, 100 * DAY, -365 * DAY, 365 * DAY]


@pytest.mark.parametrize(
    ("state", "wrong_us"),
    [
        (NTP, -S),
        (NTP, -HOUR),
        (NTP, 365 * DAY),
        *(
            pytest.param(state, wrong_us, marks=pytest.mark.ci)
            for state, steps in ((NTP, _STEPS), (SIGNED, _STEPS[2:4]), (FREE, _STEPS[6:]))
            for wrong_us in steps
        ),
    ],
)
def test_a_clock_that_was_stepped_leaves_no_hole_and_no_double(bench: Bench, state: ClockState, wrong_us: int) -> None:
    g = bench.gateway
    g.clock = state
    bench.send(g.catalogue_message(), g.ask_message(5 * S), at_us=5 * S)
    for second in range(10, 400, 10):
        # Right, then wrong for two minutes, then right.
        g.offset_us = START_US + (wrong_us if 120 <= second < 240 else 0)
        bench.send(g.data(second * S, ticks=10), at_us=second * S + 20_000)
        order = bench.rows("SELECT mono_us, value FROM latest WHERE key='well-0/ch4'")
        assert order == [(second * S, 59)], "a wrong clock hides nothing"
    mend(bench)
    assert_true(bench)
    times = walls(bench)
    assert times == sorted(times)
    off = [wall - (second - 9) for wall, second in zip(times, range(10, 400, 10), strict=True)]
    assert all(abs(one) <= 1 for one in off), off
    ticks = rollup_minutes(bench)
    assert sum(count for _, count in ticks) == 390
    assert max(count for _, count in ticks) <= 62
    assert all(-1 <= minute <= 7 for minute, _ in ticks)


@pytest.mark.usefixtures("small_steps")
def test_two_boots_that_nobody_heard_live_lie_before_the_one_that_asked(bench: Bench) -> None:
    first, second = (
        Gateway(clock=UNSET, epoch=b"epoch--%d" % n, boot_id=b"boot-0123456789%d" % n, boot_counter=n) for n in (1, 2)
    )
    third = Gateway(epoch=b"epoch--3", boot_id=b"boot-01234567893", boot_counter=3, offset_us=START_US + DAY)
    bench.send(first.catalogue_message(), third.ask_message(10 * S), at_us=DAY + 10 * S)
    # The backlog comes newest boot first.
    bench.send(third.data(20 * S), at_us=DAY + 21 * S)
    bench.send(*(second.data(m * 60 * S + 30 * S) for m in range(4)), at_us=DAY + 22 * S)
    bench.send(*(first.data(m * 60 * S + 30 * S) for m in range(4)), at_us=DAY + 23 * S)
    mend(bench, lambda: assert_true(bench))
    times = walls(bench)
    assert times == sorted(times), "boot by boot, and within each by monotonic time"
    assert times[7] <= 86400, "all before the boot that asked began"
    assert times[3] < times[4]
    flags = bench.rows("SELECT counter, trust, live_us IS NULL FROM boot ORDER BY counter")
    assert flags == [(1, 1, 1), (2, 1, 1), (3, 3, 0)], "told as not known"
    assert bench.rows("SELECT boot_no FROM latest WHERE key='well-0/ch4'") == bench.rows(
        "SELECT no FROM boot WHERE counter=3"
    )


@pytest.mark.usefixtures("small_steps")
def test_a_backlog_that_was_piled_up_where_it_arrived_is_decoded_about_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minutes, "_CROWD", 10)
    gathered = 0
    gather = minutes.Minutes._gather

    def counted(self: minutes.Minutes, *rest: Any) -> None:
        nonlocal gathered
        gathered += 1
        gather(self, *rest)

    monkeypatch.setattr(minutes.Minutes, "_gather", counted)
    g = bench.gateway
    g.clock = UNSET
    bench.send(g.catalogue_message(), *(g.data(m * 30 * S + 30 * S) for m in range(60)), at_us=HOUR)
    g.clock = NTP
    bench.send(g.ask_message(HOUR + 2 * S), at_us=HOUR + 3 * S)
    mend(bench, lambda: assert_true(bench))
    assert walls(bench) == [29 + 30 * m for m in range(60)]
    assert sum(ticks for _, ticks in rollup_minutes(bench)) == 120
    assert gathered < 4 * 60


@pytest.mark.usefixtures("small_steps")
def test_a_repair_goes_on_after_the_process_died_in_the_middle(bench: Bench) -> None:
    g = bench.gateway
    g.clock = UNSET
    bench.send(g.catalogue_message(), *(g.data(m * 60 * S + 30 * S) for m in range(9)), at_us=HOUR)
    g.clock = NTP
    bench.send(g.ask_message(HOUR + 2 * S), at_us=HOUR + 3 * S)
    for _ in range(2):
        assert bench.store.run(lambda db: bench.store.mend())
        bench.store.close()  # nothing is kept in memory
        bench.store = Store(bench.data / FILE_NAME, lambda: bench.now_us)
        bench.store.open()
    mend(bench)
    assert walls(bench) == [29 + 60 * m for m in range(9)]
    assert_true(bench)


@pytest.mark.usefixtures("small_steps")
def test_a_step_that_fails_leaves_everything_as_it_was(bench: Bench) -> None:
    g = bench.gateway
    g.clock = UNSET
    bench.send(g.catalogue_message(), *(g.data(m * 60 * S + 30 * S) for m in range(4)), at_us=HOUR)
    g.clock = NTP
    bench.send(g.ask_message(HOUR + 2 * S), at_us=HOUR + 3 * S)
    before = dump(bench)

    def fail() -> None:
        bench.store.mend()
        raise ValueError("the power goes here")

    with pytest.raises(ValueError, match="power"):
        bench.store.run(lambda db: fail())
    assert dump(bench) == before
    mend(bench)
    assert walls(bench) == [29 + 60 * m for m in range(4)]


def test_what_is_certain_stays(bench: Bench) -> None:
    g = bench.gateway
    g.clock = SIGNED
    bench.send(g.catalogue_message(), g.ask_message(S), at_us=S)
    for second in range(10, 200, 10):
        g.offset_us = START_US + second * 40  # 40 ppm of drift, seen at every anchor
        bench.send(g.data(second * S), at_us=second * S + 20_000)
    assert not bench.store.run(lambda db: bench.store.mend())
    assert bench.store._repair.moved == 0


def test_a_minute_shared_with_another_boot_keeps_both(bench: Bench) -> None:
    g = bench.gateway
    g.clock = UNSET
    codes = [[NO_REPLY, 0], [0, 0], [0, 0], [0, 0]]
    late = g.seal(45 * S, times=[41 * S, 44 * S], values=[[None, 7], [1, 2], [1, 2], [0.5, 0.5]], codes=codes)
    bench.send(g.catalogue_message(), late, at_us=HOUR)
    other = Gateway(epoch=b"epoch--2", boot_id=b"another-boot-id.", boot_counter=2, offset_us=START_US + 50 * S)
    bench.send(other.data(5 * S), at_us=HOUR)
    bench.now_us += 100 * S
    g.clock = NTP
    bench.send(g.data(46 * S, ticks=1), at_us=2 * HOUR)
    mend(bench, lambda: assert_true(bench))
    assert rollup_minutes(bench) == [(0, 5)]
    assert bench.rows("SELECT without FROM rollup ORDER BY point_no LIMIT 1") == [(1,)]


boots = st.integers(0, 2)
steps = st.lists(
    st.tuples(
        boots,
        st.sampled_from([NTP, NTP, SIGNED, FREE, UNSET, UNSET]),
        st.sampled_from([0, 0, 0, 700_000, -700_000, HOUR, -HOUR, 365 * DAY, -365 * DAY]),
        st.sampled_from([0, 0, 0, 30 * S, HOUR]),
        st.sampled_from(["data", "data", "data", "ask", "alarm", "health", "mend"]),
    ),
    min_size=3,
    max_size=14,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=12)
@given(story=steps)
# A batch of a free-running clock between two of a set one, which comes back to where it was.
@example(story=[(2, NTP, 0, 0, "data"), (2, FREE, 700_000, 0, "data"), (2, NTP, 0, 0, "health")])
# A boot whose backlog tells better and better when it was, and that then turns out to be live.
@example(
    story=[(1, UNSET, 0, HOUR, "data"), (1, UNSET, 0, 0, "data"), (1, UNSET, 0, HOUR, "data"), (1, NTP, 0, 0, "ask")]
)
# A batch of a clock that was set back, which only the first ask shows to be wrong.
@example(story=[(1, NTP, 0, 0, "data"), (1, FREE, -HOUR, 30 * S, "data"), (1, NTP, HOUR, 0, "ask")])
# Two settings of a free clock, and then a set one that agrees with the second.
@example(
    story=[
        (2, FREE, 700_000, 0, "data"),
        (2, FREE, 0, HOUR, "health"),
        (2, UNSET, 0, 0, "mend"),
        (2, NTP, 0, 0, "data"),
    ]
)
def test_whatever_clocks_say_mending_ends_where_rebuilding_ends(
    make_bench: Callable[[], Bench], story: list[tuple[Any, ...]]
) -> None:
    bench = make_bench()
    gateways = [Gateway(epoch=b"epoch--%d" % n, boot_id=b"boot-0123456789%d" % n, boot_counter=n + 1) for n in range(3)]
    bench.send(gateways[0].catalogue_message(), at_us=S)
    at_us = [10 * S + n * 2 * HOUR for n in range(3)]
    now_us = 0
    for boot, state, wrong_us, late_us, what in story:
        g = gateways[boot]
        at_us[boot] += 25 * S
        g.clock, g.offset_us = state, START_US + boot * 2 * HOUR + wrong_us
        mono_us = at_us[boot] - boot * 2 * HOUR
        now_us = max(now_us, at_us[boot] + late_us)
        match what:
            case "data":
                message = g.data(mono_us, ticks=20)
            case "ask":
                message = g.ask_message(mono_us)
            case "alarm":
                message = g.seal(mono_us, lane=Lane.ALARM, events=(g.event("active", mono_us - S),))
            case "health":
                message = g.seal(mono_us, health=(HealthRecord(subject="agent", mono_us=mono_us, facts=()),))
            case _:
                bench.store.run(lambda db: bench.store.mend())
                continue
        bench.send(message, at_us=now_us)
    mend(bench)
    assert_true(bench)
    placed = dict(bench.rows("SELECT id, wall_us FROM evidence"))
    remake(bench)
    again = dict(bench.rows("SELECT id, wall_us FROM evidence"))
    assert all(abs(again[number] - wall_us) <= SLACK_US for number, wall_us in placed.items())


@pytest.mark.usefixtures("small_steps")
def test_a_backlog_that_comes_for_long_is_not_moved_again_with_every_batch(bench: Bench) -> None:
    old = Gateway(clock=UNSET)
    new = Gateway(epoch=b"epoch--2", boot_id=b"another-boot-id.", boot_counter=2, offset_us=START_US + HOUR)
    bench.send(old.catalogue_message(), new.ask_message(S), at_us=HOUR + S)
    for number in range(40):
        bench.send(old.data(10 * S + number * 2 * S), at_us=HOUR + 2 * S + number * 1000)
        bench.store.run(lambda db: bench.store.mend())
    assert bench.store._repair.moved == 0
    mend(bench)
    assert 0 < bench.store._repair.moved <= 40
    assert walls(bench)[-1] <= 3600
    assert_true(bench)
