"""Laws of a scan: whoever answers within the patience of the slow pass is found, and nobody else is."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.frames import FrameRequest
from edge_agent.tools.scan_line import Scan
from edge_agent.tools.scan_plan import SLOW_S, Settings, first_passes
from edge_agent.tools.scan_state import ScanState, from_json, next_question, to_json
from tests.edge_agent.tools.lines import OwnSickLine
from tests.edge_agent.tools.sick_line import Reply, SickLine, answer_of

NINE6 = Settings()
BUSES = st.dictionaries(st.integers(1, 247), st.floats(0.001, SLOW_S - 0.01), max_size=8)


def scan_of(bus: dict[int, float]) -> Scan:
    def answer(request: FrameRequest) -> list[Reply]:
        delay_s = bus.get(request.unit_id)
        return [] if delay_s is None else [(delay_s, answer_of(request))]

    return Scan(OwnSickLine(SickLine(answer)), ScanState(passes=first_passes((), NINE6)))


@settings(max_examples=15, deadline=None)
@given(BUSES)
def test_exactly_those_who_answer_are_found_whatever_their_delays(bus: dict[int, float]) -> None:
    scan = scan_of(bus)
    asyncio.run(scan.search(lambda state: None))
    assert sorted(seen.unit_id for seen in scan.state.found) == sorted(bus)


@settings(max_examples=10, deadline=None)
@given(BUSES, st.integers(0, 400))
def test_a_scan_that_is_stopped_anywhere_ends_where_an_unbroken_one_does(bus: dict[int, float], stop: int) -> None:
    scan = scan_of(bus)
    steps = 0

    class Stopped(Exception):
        pass

    def show(state: ScanState) -> None:
        nonlocal steps
        steps += 1
        if steps > stop:
            raise Stopped

    try:
        asyncio.run(scan.search(show))
    except Stopped:
        pass
    kept = from_json(to_json(scan.state, "bus"), "bus")
    assert kept == scan.state
    later = scan_of(bus)
    later.state = kept
    asyncio.run(later.search(lambda state: None))
    assert sorted(seen.unit_id for seen in later.state.found) == sorted(bus)
    assert next_question(later.state)[1] is None
