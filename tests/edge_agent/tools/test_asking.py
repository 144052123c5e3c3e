"""One question on a raw port: further listening after an echo or somebody else's reply, and slices."""

from __future__ import annotations

import pytest

from contracts import quality
from drivers.port import RawRequest, RawResult
from edge_agent.errors import ToolError
from edge_agent.tools.asking import Asker
from edge_agent.tools.heard import Outcome
from edge_agent.tools.scan_plan import Question, Settings
from tests.edge_agent.tools.sick_line import SickLine, SickPort, healthy, together

NINE6 = Settings()


def asker(line: SickLine, **options: float) -> Asker:
    return Asker(port=line.port(NINE6), char_s=NINE6.char_s, **options)


async def test_an_echo_does_not_end_the_waiting() -> None:
    line = SickLine(healthy(3, delay_s=0.02), echoes=True)
    answer = await asker(line).ask(Question(unit_id=3).frame(), 0.031)
    assert (answer.outcome, answer.is_echoed) == (Outcome.GOOD, True)
    assert answer.delay_s == pytest.approx(0.02, abs=0.001)


async def test_the_late_reply_of_another_does_not_take_the_time_of_the_asked_one() -> None:
    line = SickLine(together(healthy(3, delay_s=0.05), healthy(4, delay_s=0.028)))
    one = asker(line)
    first = await one.ask(Question(unit_id=3).frame(), 0.031)
    second = await one.ask(Question(unit_id=4).frame(), 0.031)
    assert first.outcome is Outcome.SILENT
    assert second.outcome is Outcome.GOOD
    assert [other.unit_id for other in second.others] == [3]


async def test_an_answer_that_has_begun_may_end_after_its_time() -> None:
    answer = await asker(SickLine(healthy(3, delay_s=0.029))).ask(Question(unit_id=3).frame(), 0.031)
    assert answer.outcome is Outcome.GOOD


async def test_what_came_before_the_question_is_no_answer_to_it() -> None:
    line = SickLine(healthy(3, delay_s=0.06))
    one = asker(line)
    await one.ask(Question(unit_id=3).frame(), 0.031)
    line.now_us += 200_000
    answer = await one.ask(Question(unit_id=3).frame(), 0.031)
    assert answer.outcome is Outcome.SILENT
    assert [other.unit_id for other in answer.others] == [3]


async def test_a_borrowed_line_is_given_back_between_slices() -> None:
    calls: list[RawRequest] = []

    class Counting(SickPort):
        async def raw(self, request: RawRequest) -> RawResult:
            calls.append(request)
            return await super().raw(request)

    line = SickLine(healthy(3, delay_s=0.7))
    one = Asker(port=Counting(line, NINE6), char_s=NINE6.char_s, slice_s=0.25)
    answer = await one.ask(Question(unit_id=3).frame(), 1.0)
    assert answer.outcome is Outcome.GOOD
    assert [bool(call.frame) for call in calls] == [True, False, False]
    assert all(call.listen_s <= 0.25 for call in calls)
    calls.clear()
    await one.overhear(1.0)
    assert len(calls) == 4


async def test_a_port_that_is_gone_is_a_sentence() -> None:
    class Gone(SickPort):
        async def raw(self, request: RawRequest) -> RawResult:
            return RawResult(
                heard=(), code=quality.PORT_CLOSED, requested_us=0, ended_us=0, detail="/dev/ttyUSB0 is not there"
            )

    with pytest.raises(ToolError, match="/dev/ttyUSB0 is not there"):
        await Asker(port=Gone(SickLine(healthy()), NINE6), char_s=NINE6.char_s).listen(0.1)
