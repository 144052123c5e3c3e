"""When the source of an alarm is silent: no word of it, or for its longest silence only that nothing was read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from collector.database import FILE_NAME
from collector.queries import SqliteQueries
from contracts.batch import Lane
from contracts.quality import FAULT, GOOD, NO_REPLY, OTHER_DEVICE, OVER_RANGE
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US

S = 1_000_000


@pytest.fixture
def queries(bench: Bench) -> Iterator[SqliteQueries]:
    found = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us, dict)
    yield found
    found.close()


@pytest.mark.parametrize(
    ("code", "last_s", "measurement"),
    [
        # A number is younger than the longest silence of 5 s, and a seal of 2 s.
        (NO_REPLY, 104, "active"),
        # The gateway goes on telling that the device does not answer: nobody knows what is there now.
        (NO_REPLY, 112, "source_silent"),
        # An instrument that says that it is broken, or that there is more than it can measure, is heard.
        (FAULT, 112, "active"),
        (OVER_RANGE, 112, "active"),
        # What another device says at its address is no word of it.
        (OTHER_DEVICE, 104, "active"),
        (OTHER_DEVICE, 112, "source_silent"),
    ],
)
def test_a_source_of_which_only_missing_readings_come_is_silent(
    bench: Bench, queries: SqliteQueries, code: int, last_s: int, measurement: str
) -> None:
    g = bench.gateway
    raised = g.event("active", 102 * S)
    bench.send(
        g.catalogue_message(),
        g.seal(100 * S, times=[99 * S], values=[[1], [1], [1], [1.0]]),
        g.seal(102 * S, times=[101 * S], values=[[1], [1], [1], [1.0]]),
        g.seal(102 * S, lane=Lane.ALARM, events=(raised,)),
        at_us=102 * S,
    )
    for second in range(104, last_s + 1, 2):
        codes = [[code], [GOOD], [GOOD], [GOOD]]
        bench.send(
            g.seal(second * S, times=[second * S - S], values=[[None], [1], [1], [1.0]], codes=codes), at_us=second * S
        )
    bench.now_us = START_US + last_s * S
    (alarm,) = queries.alarms()
    assert alarm.point == "well-0/ch4"
    assert (alarm.state, alarm.measurement) == ("active", measurement)
    # What is heard again is no longer silent, and nothing of this has ended the alarm.
    bench.send(
        g.seal((last_s + 2) * S, times=[(last_s + 1) * S], values=[[1], [1], [1], [1.0]]), at_us=(last_s + 2) * S
    )
    bench.now_us = START_US + (last_s + 2) * S
    (alarm,) = queries.alarms()
    assert (alarm.state, alarm.measurement) == ("active", "active")


@pytest.mark.parametrize("code", [OVER_RANGE, FAULT])
@pytest.mark.parametrize("first", [1, None], ids=["after-a-number", "no-number-ever"])
@pytest.mark.parametrize("is_one_batch", [False, True])
def test_the_silence_of_a_source_begins_at_its_last_word_though_that_had_no_number(
    bench: Bench, queries: SqliteQueries, code: int, first: int | None, is_one_batch: bool
) -> None:
    """A head that is over range delivers no number by design: the first reading that is missed then is no silence."""
    g = bench.gateway

    def told(sealed_s: int, *samples: tuple[int | None, int]) -> tuple[str, bytes]:
        """Samples of two seconds each, the last one second before the sealing."""
        count = len(samples)
        return g.seal(
            sealed_s * S,
            times=[(sealed_s - 1 - 2 * (count - 1 - n)) * S for n in range(count)],
            values=[[value for value, _ in samples], [1] * count, [1] * count, [1.0] * count],
            codes=[[of, GOOD, GOOD, GOOD] for _, of in samples],
        )

    def measured(at_s: int, *messages: tuple[str, bytes]) -> str:
        bench.send(*messages, at_us=at_s * S)
        bench.now_us = START_US + at_s * S
        (alarm,) = queries.alarms()
        return alarm.measurement

    raised = g.event("active", 102 * S)
    begin = [
        told(102, (first, GOOD if first is not None else code)),
        g.seal(102 * S, lane=Lane.ALARM, events=(raised,)),
    ]
    assert measured(102, g.catalogue_message(), *begin) == "active"
    words = [(None, code)] * 14  # for 26 s, and a longest silence of 5 s beside a seal of 2 s
    if is_one_batch:
        assert measured(132, told(132, *words, (None, NO_REPLY))) == "active"
    else:
        for second in range(104, 132, 2):
            assert measured(second, told(second, (None, code))) == "active"
        assert measured(132, told(132, (None, NO_REPLY))) == "active"
    # The last word was at 129 s.
    assert measured(134, told(134, (None, NO_REPLY))) == "active"
    assert measured(136, told(136, (None, NO_REPLY))) == "active"
    assert measured(138, told(138, (None, NO_REPLY))) == "source_silent"
    assert measured(140, told(140, (None, code))) == "active"


def test_a_source_of_a_silent_gateway_is_silent_though_its_own_silence_may_last_hours(
    bench: Bench, queries: SqliteQueries
) -> None:
    """A radio head reports every few hours; what its gateway does not say meanwhile nobody knows."""
    g = bench.gateway
    slow = tuple(replace(point, longest_silence_ms=14_400_000) for point in g.catalogue.points)
    g.catalogue = replace(g.catalogue, points=slow)
    raised = g.event("active", 100 * S)
    bench.send(
        g.catalogue_message(), g.data(100 * S), g.seal(101 * S, lane=Lane.ALARM, events=(raised,)), at_us=101 * S
    )
    for later_s, liveness, measurement in ((1, "online", "active"), (600, "silent", "source_silent")):
        bench.now_us = START_US + (101 + later_s) * S
        assert [view.liveness for view in queries.gateways()] == [liveness]
        assert [(alarm.state, alarm.measurement) for alarm in queries.alarms()] == [("active", measurement)]
        assert not any(point.is_stale for point in queries.points())
    bench.send(g.data(702 * S), at_us=702 * S)
    assert [alarm.measurement for alarm in queries.alarms()] == ["active"]
