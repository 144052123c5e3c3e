"""What the annunciator's writes add to the bound of an alarm point."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.port import BusPort
from edge_agent.annunciator.pace import Pace
from edge_agent.annunciator.switching import Order, Outcome, switch
from edge_agent.bus.budget import port_budget
from edge_agent.bus.lending import FIRST
from edge_agent.bus.output_cost import output_costs, outputs_within
from edge_agent.bus.poller import Codes, Poller, Row
from edge_agent.plan_annunciator import LEAST_ON_S, LEAST_S, OutputPlan, ReadBack, WriteStep
from tests.edge_agent.bus.instant_bus import LINE, InstantPort
from tests.edge_agent.small_plans import block, device

READBACK = ReadBack(table="holding", address=0, count=1, offset=0, bit=-1, on=(1,), off=(0,))
OUTPUT = OutputPlan(
    name="d2/r1",
    role="beacon",
    device=1,
    on=WriteStep(function=6, address=0, values=(1,)),
    off=WriteStep(function=6, address=0, values=(0,)),
    readback=READBACK,
)
DEVICES = (device("d1", unit_id=1), device("d2", unit_id=2, max_reply_s=0.5))
BLOCKS = {0: block(device=0, is_alarm=True, interval_ms=1000), 1: block(device=1, interval_ms=2000, phase_ms=500)}


def test_a_board_is_charged_with_its_time_outs_and_its_slots() -> None:
    (cost,) = output_costs(LINE, dict(enumerate(DEVICES)), [OUTPUT])
    assert (cost.device, cost.outputs, cost.wait_s) == ("d2", 1, 0.5)
    short, _ = cost.within(1.0)
    longer, count = cost.within(max(LEAST_S, LEAST_ON_S) + 1.0)
    assert short < longer
    assert count > 4
    assert cost.quiet_share < 0.05


def test_nothing_is_charged_where_nothing_is_driven() -> None:
    assert output_costs(LINE, dict(enumerate(DEVICES)), []) == []
    without = port_budget(LINE, DEVICES, BLOCKS)
    assert [term.name for alarm in without.alarms for term in alarm.terms].count("outputs") == 0
    charged = port_budget(LINE, DEVICES, BLOCKS, [OUTPUT])
    assert charged.outputs[0].device == "d2"
    assert charged.alarms[0].bound_s > without.alarms[0].bound_s


def test_boards_that_need_the_whole_line_have_no_bound() -> None:
    costs = output_costs(LINE, dict(enumerate(DEVICES)), [OUTPUT]) * 12
    took, _ = outputs_within(costs, 1.0)
    assert took > 3600


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 20_000), st.booleans())
def test_the_bound_holds_on_a_line_whose_output_board_is_dead(begins_ms: int, flaps: bool) -> None:
    """The board is tried as the annunciator tries it; every alarm row of the other device comes within the bound."""
    bound_s = port_budget(LINE, DEVICES, BLOCKS, [OUTPUT]).alarms[0].bound_s
    worst = worst_row_s(begins_ms, flaps=flaps)
    assert worst <= bound_s


def worst_row_s(begins_ms: int, *, flaps: bool) -> float:
    """Returns the longest time from one request of the alarm block to the end of its next row, in virtual time."""
    port = InstantPort(lambda unit_id, now_us: 20_000 if unit_id == 1 else None)
    port.end_us = port.now_us + 60_000_000
    begins_us = port.now_us + begins_ms * 1000
    rows: list[tuple[int, int]] = []
    pace, tries, is_busy = Pace(), 0, False

    async def work(lent: BusPort) -> Outcome:
        nonlocal pace, is_busy
        outcome = await switch(lent, DEVICES[1], [Order(output=OUTPUT, is_on=True)])
        assert outcome.fault
        pace, is_busy = pace.failed(port.now_us), False
        return outcome

    def sink(number: int, sampled_us: int, row: Row, codes: Codes, replied_us: int, /) -> None:
        nonlocal pace, tries, is_busy
        if number == 0:
            rows.append((sampled_us, replied_us))
        if flaps:
            pace = pace.hurried()
        if not is_busy and port.now_us >= max(pace.due_us, begins_us):
            is_busy, tries = True, tries + 1
            poller.ask(work, seconds=5.0, share=FIRST)

    poller = Poller(
        port_id=LINE.id,
        port=port,
        devices=DEVICES,
        blocks=BLOCKS,
        sink=sink,
        clock=port.clock,
        sleep=port.sleep,
        line=LINE,
        budget=port_budget(LINE, DEVICES, BLOCKS, [OUTPUT]),
    )
    port.poller = poller
    asyncio.run(poller.run())
    assert tries > 3
    return max(later[1] - earlier[0] for earlier, later in pairwise(rows)) / 1e6
