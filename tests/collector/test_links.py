"""What counts as hearing from a gateway, and what its clock is called."""

from __future__ import annotations

import pytest

from collector.queries import SqliteQueries
from contracts.batch import ClockState, Lane
from contracts.envelope import Type, seal
from contracts.messages import Status
from contracts.topics import Channel, topic
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US, Gateway

S = 1_000_000


def heard_s(bench: Bench) -> float:
    return float((bench.rows("SELECT arrived_us FROM link")[0][0] - START_US) / S)


def will(g: Gateway) -> tuple[str, bytes]:
    body = Status(gateway=g.id, epoch=g.epoch, session=3, online=False, version="0.1.0").to_body()
    return topic(g.id, Channel.STATUS), seal(Type.STATUS, body, g.signer)[0]


def test_what_can_be_played_again_is_no_sign_of_life(bench: Bench) -> None:
    g = bench.gateway
    ask, batch = g.ask_message(9 * S), g.data(10 * S)
    bench.send(ask, g.catalogue_message(), batch, at_us=10 * S)
    assert heard_s(bench) == 10
    for again in (batch, g.catalogue_message(), ask, will(g)):
        bench.send(again, at_us=60 * S)
        assert heard_s(bench) == 10
    bench.send(g.data(70 * S), at_us=70 * S)
    assert heard_s(bench) == 70


def test_the_last_will_does_not_make_a_silent_gateway_live(bench: Bench) -> None:
    g = bench.gateway
    bench.send(g.ask_message(9 * S), g.catalogue_message(), g.data(10 * S), at_us=10 * S)
    bench.send(will(g), at_us=55 * S)
    queries = SqliteQueries(bench.data / "evidence.sqlite3", lambda: START_US + 56 * S)
    view = queries.gateways()[0]
    queries.close()
    assert (view.liveness, view.silent_for_s) == ("silent", 46)


def test_an_old_ask_played_again_changes_nothing_after_a_restart_either(bench: Bench) -> None:
    g = bench.gateway
    old = g.ask_message(1 * S)
    bench.send(old, g.catalogue_message(), at_us=1 * S)
    bench.send(g.data(100 * S), at_us=100 * S)
    bench.send(g.ask_message(101 * S), at_us=101 * S)
    bench.store.close()
    bench.store.open()
    before = bench.rows("SELECT * FROM link"), bench.rows("SELECT * FROM ask")
    result = bench.send(old, at_us=200 * S)
    assert (bench.rows("SELECT * FROM link"), bench.rows("SELECT * FROM ask")) == before
    assert len(result.receipts) == 2  # answering costs nothing


@pytest.mark.parametrize(
    ("years", "state", "shown"),
    [
        (-56, ClockState.SYNCHRONISED, "wrong"),
        (-56, ClockState.FREE_RUNNING, "wrong"),
        (0, ClockState.SYNCHRONISED, "ntp"),
        (5, ClockState.SYNCHRONISED, "wrong"),
        (5, ClockState.UNSET, "unset"),
    ],
)
def test_a_clock_far_from_ours_is_called_wrong(bench: Bench, years: int, state: ClockState, shown: str) -> None:
    g = bench.gateway
    g.clock, g.offset_us = state, START_US + years * 365 * 86_400 * S
    bench.send(g.ask_message(99 * S), at_us=99 * S)
    assert bench.rows("SELECT clock FROM link") == [(shown,)]
    bench.send(g.data(100 * S), at_us=100 * S)
    assert bench.rows("SELECT clock FROM link") == [(shown,)]


def test_a_backlog_that_comes_late_is_no_wrong_clock(bench: Bench) -> None:
    g = bench.gateway
    bench.send(g.ask_message(5000 * S), at_us=5000 * S)
    bench.send(*[g.data(n * 2 * S) for n in range(1, 4)], at_us=5001 * S)
    bench.send(g.seal(5002 * S, lane=Lane.ALARM), at_us=5003 * S)
    assert bench.rows("SELECT clock FROM link") == [("ntp",)]
