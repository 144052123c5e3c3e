"""When it is the collector's clock that is wrong."""

from __future__ import annotations

from datetime import UTC

import pytest

from collector.skew import ClockSkew, Skew, agreed
from collector.web import arrange
from collector.web.language import Language
from collector.web.ports import Info
from collector.web.render import Renderer
from contracts.batch import Anchor, ClockState
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US, Gateway

S = 1_000_000
INFO = Info(version="0.1.0", started_us=START_US, collector_key="", embedded_broker=True)


@pytest.mark.parametrize(
    ("said_s", "verdict"),
    [
        ([], None),
        ([3600] * 5, None),
        ([3600] * 6, Skew(behind_us=3600 * S, gateways=6)),
        ([-3600] * 5 + [-3601], Skew(behind_us=-3600 * S, gateways=6)),
        ([4] * 50, None),
        ([0] * 6 + [3600] * 6, None),
        ([0] * 5 + [3600] * 6, Skew(behind_us=3600 * S, gateways=6)),
        ([10, 20, 30, 40, 50, 60, 70, 80], None),
    ],
)
def test_more_than_five_that_agree_and_most_of_all(said_s: list[int], verdict: Skew | None) -> None:
    assert agreed([one * S for one in said_s]) == verdict


def tell(skew: ClockSkew, gateway_no: int, true_us: int, ours_us: int, state: ClockState, late_us: int = 0) -> None:
    anchor = Anchor(mono_us=5 * S, wall_us=true_us, state=state, uncertainty_ms=5)
    skew.note(gateway_no, (anchor,), 5 * S, ours_us + late_us)


def test_backlog_and_clocks_that_we_set_ourselves_say_nothing() -> None:
    skew = ClockSkew()
    for gateway_no in range(8):
        tell(skew, gateway_no, START_US, START_US, ClockState.SYNCHRONISED)
        tell(skew, gateway_no, START_US, START_US, ClockState.SYNCHRONISED, late_us=60 * S)
        tell(skew, gateway_no + 100, START_US + 900 * S, START_US, ClockState.COLLECTOR)
    assert skew.verdict() is None


@pytest.mark.parametrize("wrong_us", [-86400 * S, -3600 * S, -60 * S, 60 * S, 3600 * S, 86400 * S])
def test_our_clock_is_set_wrong_and_right_again(wrong_us: int) -> None:
    skew = ClockSkew()

    def minutes(first: int, last: int, ours_wrong_us: int) -> None:
        for minute in range(first, last):
            for gateway_no in range(7):
                true_us = START_US + minute * 60 * S
                tell(skew, gateway_no, true_us, true_us + ours_wrong_us, ClockState.SYNCHRONISED, late_us=300_000)

    minutes(0, 12, 0)
    assert skew.verdict() is None
    minutes(12, 24, wrong_us)
    found = skew.verdict()
    assert found is not None
    assert abs(found.behind_us + wrong_us) < S
    minutes(24, 36, 0)
    assert skew.verdict() is None


def test_a_wrong_collector_clock_is_told_and_arrival_is_kept_apart(bench: Bench) -> None:
    gateways = [Gateway(seed=n + 2) for n in range(6)]
    for g in gateways:
        bench.register(g)
        g.offset_us = START_US + 3600 * S  # all of them right; ours is an hour behind
        bench.send(g.catalogue_message(), g.ask_message(9 * S), g.data(10 * S), at_us=10 * S, gateway=g)
    assert bench.store.clock_skew.counters() == {"clock_behind_s": pytest.approx(3600, abs=2), "clock_doubted_by": 6.0}
    rows = bench.rows("SELECT DISTINCT arrived_us-?, wall_us-first_us FROM evidence".replace("?", str(START_US)))
    assert {arrived_us for arrived_us, _ in rows} == {10 * S}
    assert bench.rows("SELECT DISTINCT clock FROM link") == [("wrong",)], "by our clock; the page says whose it may be"


@pytest.mark.parametrize(("language", "words"), [("en", "is 3600 s behind"), ("zh", "慢了 3600 秒")])
def test_the_page_says_whose_clock_is_wrong(language: Language, words: str) -> None:
    renderer = Renderer(language, zone=UTC, info=INFO, has_chart=False)
    assert "hidden" in renderer.trouble(arrange.Trouble.read({"clock_behind_s": 0.0, "clock_doubted_by": 0.0}))
    shown = renderer.trouble(arrange.Trouble.read({"clock_behind_s": 3600.2, "clock_doubted_by": 7.0}))
    assert "hidden" not in shown
    assert words in shown
    assert "7" in shown
