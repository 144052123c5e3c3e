"""The running annunciator on a board of paper: what is written when, and what is not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from contracts.batch import AlarmEvent
from contracts.quality import GOOD, NO_REPLY
from drivers.port import BusPort, ReadRequest, ReadResult, WriteRequest, WriteResult
from edge_agent.annunciator import Annunciator
from edge_agent.annunciator.switching import Outcome
from edge_agent.bus.lending import FIRST
from edge_agent.errors import ControlError
from edge_agent.plan import Plan
from edge_agent.plan_annunciator import AnnunciatorPlan, OutputPlan, ReadBack, WriteStep
from edge_agent.plan_ports import PortPlan
from tests.edge_agent.annunciator.test_sequence import event
from tests.edge_agent.small_plans import device
from tests.edge_agent.small_plans import plan as small_plan

S = 1_000_000
BUS = PortPlan(id="bus-1", kind="serial", device="/dev/null", baud=9600, parity="N", stop_bits=1)


def output(name: str, role: str, address: int, **more: Any) -> OutputPlan:
    readback = ReadBack(table="coil", address=0, count=8, offset=address, bit=-1, on=(1,), off=(0,))
    return OutputPlan(
        name=f"d1/{name}",
        role=role,
        device=0,
        on=more.pop("on", WriteStep(function=5, address=address, values=(0xFF00,))),
        off=WriteStep(function=5, address=address, values=(0,)),
        readback=None if role == "alive" else readback,
        **more,
    )


PULSE = WriteStep(function=5, address=0x0207, values=(300,))
BEACON, SOUNDER = output("r1", "beacon", 0), output("r2", "sounder", 1)
ALIVE = output("r8", "alive", 7, on=PULSE, drops_by="pulse", hold_s=30.0)
WATCHED = output("r8", "alive", 7, drops_by="watchdog", hold_s=30.0)


def plan(*outputs: OutputPlan) -> Plan:
    return small_plan(
        ports=(BUS,),
        devices=(device("d1", max_reply_s=0.5),),
        annunciator=AnnunciatorPlan(outputs=outputs, severities=("red", "orange")) if outputs else None,
    )


class Board:
    """A relay board, and the port that it hangs on."""

    def __init__(self) -> None:
        self.coils = [0] * 8
        self.written: list[tuple[int, int]] = []
        self.reads = 0
        self.is_dead = False
        self.ignores: set[int] = set()
        self.is_polled = True
        self.shares: list[float] = []

    def ask(
        self, port_id: str, job: Callable[[BusPort], Awaitable[Outcome]], *, seconds: float, share: float
    ) -> asyncio.Future[Outcome]:
        assert port_id == "bus-1"
        assert 0 < seconds < 10
        self.shares.append(share)
        if not self.is_polled:
            raise ControlError("port bus-1 is not polled now")
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        work = job(self)  # type: ignore[arg-type]
        try:
            work.send(None)  # type: ignore[attr-defined]
        except StopIteration as ended:
            answer.set_result(ended.value)
        return answer

    async def write(self, request: WriteRequest) -> WriteResult:
        if self.is_dead:
            return WriteResult(code=NO_REPLY, requested_us=0, replied_us=0)
        self.written.append((request.address, request.values[0]))
        if request.address < 8 and request.address not in self.ignores:
            self.coils[request.address] = int(request.values[0] != 0)
        return WriteResult(code=GOOD, requested_us=1, replied_us=2)

    async def read(self, request: ReadRequest) -> ReadResult:
        self.reads += 1
        if self.is_dead:
            return ReadResult(words=None, code=NO_REPLY, requested_us=0, replied_us=0)
        return ReadResult(words=tuple(self.coils), code=GOOD, requested_us=1, replied_us=2)


class Rig:
    """An annunciator with a clock that a test moves."""

    def __init__(self, *outputs: OutputPlan, is_ready: bool = True) -> None:
        self.now = 1000 * S
        self.is_ready = is_ready
        self.alarms: list[AlarmEvent] = []
        self.notes: list[str] = []
        self.board = Board()
        self.it = Annunciator(
            plan=plan(*outputs),
            ports=self.board,  # type: ignore[arg-type]
            judge=self,
            clock=lambda: self.now,
            note=lambda kind, text: self.notes.append(f"{kind}: {text}"),
            settle_s=10.0,
        )

    def standing(self) -> list[AlarmEvent]:
        return self.alarms

    async def after(self, seconds: float, *, rows: bool = False) -> None:
        end = self.now + round(seconds * S)
        while self.now < end:
            self.now = min(end, self.now + S // 4)
            self.it.tick()
            if rows:
                self.it.judged()
            await asyncio.sleep(0)

    async def take(self, *events: AlarmEvent) -> None:
        for one in events:
            self.alarms = [alarm for alarm in self.alarms if alarm.point != one.point]
            if one.state != "cleared":
                self.alarms.append(one)
        self.it.take_events(events)
        await asyncio.sleep(0)


async def test_an_alarm_is_written_in_the_step_in_which_it_was_judged_and_read_back() -> None:
    rig = Rig(BEACON, SOUNDER)
    await rig.after(1)
    rig.it.take_events([event()])
    # Nothing has been waited for: the write is with the port already.
    assert rig.board.written == [(0, 0xFF00), (1, 0xFF00)]
    assert rig.board.reads == 1
    assert rig.board.shares == [FIRST]
    await asyncio.sleep(0)
    assert [output["is_on"] for output in rig.it.status()["outputs"]] == [True, True]


async def test_nothing_is_written_before_the_judge_knows_what_stood_before() -> None:
    rig = Rig(BEACON, is_ready=False)
    rig.alarms = [event()]
    await rig.after(20)
    assert rig.board.written == []
    rig.is_ready = True
    await rig.after(0.25)
    assert rig.board.written == [(0, 0xFF00)]


async def test_at_the_start_off_is_written_once_and_only_after_a_while() -> None:
    rig = Rig(BEACON)
    rig.board.coils[0] = 1
    await rig.after(9.5)
    assert rig.board.written == []
    await rig.after(30)
    assert rig.board.written == [(0, 0)]
    assert rig.board.coils[0] == 0


async def test_the_end_of_the_last_alarm_switches_off_and_never_before_the_least_time() -> None:
    rig = Rig(BEACON)
    await rig.take(event())
    await rig.after(1)
    await rig.take(event(state="cleared"))
    await rig.after(3)
    assert rig.board.coils[0] == 1
    await rig.after(2)
    assert rig.board.coils[0] == 0


async def test_a_person_silences_the_sounder_alone_and_a_new_alarm_sounds_again() -> None:
    rig = Rig(BEACON, SOUNDER)
    await rig.take(event("a/x", raised_by=1))
    await rig.after(6)
    rig.it.silence("Li Wei")
    await asyncio.sleep(0)
    assert rig.board.coils[:2] == [1, 0]
    assert rig.notes == ["annunciator: silenced by Li Wei"]
    assert rig.it.status()["silenced_by"] == "Li Wei"
    with pytest.raises(ControlError, match="nothing sounds"):
        rig.it.silence("Li Wei")
    await rig.take(event("b/x", raised_by=2))
    assert rig.board.coils[:2] == [1, 1]


async def test_a_test_alarm_switches_nothing() -> None:
    rig = Rig(BEACON)
    await rig.after(11)
    rig.board.written.clear()
    await rig.take(event(marks=("test",)), event("a/x", severity="info", rule_id="test", marks=("test",)))
    assert rig.board.written == []


async def test_a_dead_board_is_tried_ever_less_often_told_once_and_shows_the_alarm_when_it_is_back() -> None:
    rig = Rig(BEACON)
    await rig.after(11)
    rig.board.is_dead = True
    await rig.take(event())
    tries = len(rig.board.shares)
    await rig.after(60)
    assert len(rig.board.shares) - tries <= 6
    assert [note for note in rig.notes if "does not show" in note] == [
        "annunciator: d1 does not show what it should: d1/r1 is not written: no reply"
    ]
    facts = dict(rig.it.health()[0].facts)
    assert "not written" in str(facts["fault"])
    rig.board.is_dead = False
    await rig.after(31)
    assert rig.board.coils[0] == 1
    assert rig.notes[-1] == "annunciator: d1 shows what it should again"
    assert dict(rig.it.health()[0].facts)["fault"] is None


async def test_a_second_alarm_on_a_board_that_fails_is_tried_after_the_least_pause() -> None:
    rig = Rig(BEACON)
    await rig.after(11)
    rig.board.is_dead = True
    await rig.take(event("a/x", raised_by=1))
    await rig.after(50)
    rig.board.is_dead = False
    await rig.take(event("b/x", raised_by=2))
    await rig.after(5.25)
    assert rig.board.coils[0] == 1


async def test_a_board_that_confirms_and_does_not_switch_is_a_fault() -> None:
    rig = Rig(BEACON)
    rig.board.ignores.add(0)
    await rig.take(event())
    await rig.after(1)
    assert "reads back off and should be on" in str(dict(rig.it.health()[0].facts)["fault"])
    assert rig.it.status()["outputs"][0]["is_on"] is False


async def test_an_output_that_a_board_lost_with_its_supply_is_switched_on_again() -> None:
    rig = Rig(BEACON)
    await rig.take(event())
    await rig.after(1)
    rig.board.coils[0] = 0
    await rig.after(11)
    assert rig.board.coils[0] == 1


async def test_a_port_that_is_not_polled_is_a_fault_and_no_error_of_judging() -> None:
    rig = Rig(BEACON)
    rig.board.is_polled = False
    await rig.take(event())
    assert "not polled" in str(dict(rig.it.health()[0].facts)["fault"])
    rig.board.is_polled = True
    await rig.after(1)
    assert rig.board.coils[0] == 1


async def test_only_judged_rows_renew_the_alive_output() -> None:
    rig = Rig(ALIVE)
    await rig.after(60)
    assert rig.board.written == []
    await rig.after(60, rows=True)
    assert 6 <= len(rig.board.written) <= 7
    assert set(rig.board.written) == {(0x0207, 300)}
    rig.board.written.clear()
    await rig.after(60)
    assert rig.board.written == []


async def test_where_polling_itself_feeds_the_watchdog_the_output_is_switched_off_when_judging_stops() -> None:
    rig = Rig(WATCHED)
    await rig.after(20, rows=True)
    assert rig.board.coils[7] == 1
    await rig.after(31)
    assert rig.board.coils[7] == 0
    await rig.after(1, rows=True)
    assert rig.board.coils[7] == 1


async def test_a_proof_test_switches_on_for_its_time_and_leaves_a_standing_alarm_on() -> None:
    rig = Rig(BEACON, SOUNDER, ALIVE)
    await rig.after(11)
    told = await rig.it.test("Li Wei", 5.0)
    assert [(output["role"], output["is_on"]) for output in told["outputs"]] == [("beacon", True), ("sounder", True)]
    with pytest.raises(ControlError, match="runs already"):
        await rig.it.test("Li Wei", 5.0)
    await rig.after(6)
    assert rig.board.coils[:2] == [0, 0]
    await rig.take(event())
    await rig.it.test("Li Wei", 2.0)
    await rig.after(10)
    assert rig.board.coils[:2] == [1, 1]
    assert rig.notes[0] == "proof-test: begun by Li Wei: d1/r1, d1/r2"


async def test_a_proof_test_reads_back_what_was_on_before() -> None:
    """A board that lost its supply since the last look must not pass for what it showed then."""
    rig = Rig(BEACON)
    await rig.take(event())
    await rig.after(1)
    assert rig.it.status()["outputs"][0]["is_on"] is True
    rig.board.is_dead = True
    told = await rig.it.test("Li Wei", 0.05)
    assert told["outputs"][0]["is_on"] is None
    assert told["outputs"][0]["fault"]


async def test_an_output_that_leaves_the_plan_lit_is_told() -> None:
    rig = Rig(BEACON, SOUNDER)
    await rig.take(event())
    await rig.after(1)
    rig.it.take_plan(plan(SOUNDER))
    assert rig.notes == ["annunciator: d1/r1 is driven no more by this plan and was left on"]
    assert rig.board.coils[0] == 1


async def test_an_output_whose_name_moves_to_another_relay_leaves_the_old_one_told() -> None:
    rig = Rig(BEACON)
    await rig.take(event())
    await rig.after(1)
    rig.it.take_plan(plan(output("r1", "beacon", 3)))
    assert rig.notes == ["annunciator: d1/r1 is driven no more by this plan and was left on"]
    rig.it.take_plan(plan(replace(output("r1", "beacon", 3), name="d1/lamp")))
    assert len(rig.notes) == 1


async def test_a_reload_that_changes_nothing_here_writes_nothing() -> None:
    rig = Rig(BEACON, SOUNDER)
    await rig.take(event())
    await rig.after(6)
    rig.it.silence("Li Wei")
    await asyncio.sleep(0)
    rig.board.written.clear()
    rig.it.take_plan(plan(BEACON, SOUNDER))
    await rig.after(6)
    assert rig.board.written == []
    rig.it.take_plan(plan())
    await rig.take(event("b/x", raised_by=5))
    assert rig.board.written == []


async def test_nothing_that_goes_wrong_here_reaches_the_judge() -> None:
    rig = Rig(BEACON)
    rig.it._look = None  # type: ignore[assignment]
    rig.it.take_events([event()])
    rig.it.judged()
    rig.it.tick()


def test_readback_takes_what_the_profile_says() -> None:
    whole = ReadBack(table="holding", address=1, count=1, offset=0, bit=-1, on=(1, 0x0100), off=(0, 0x0200))
    assert [whole.state((word,)) for word in (1, 0x0100, 0, 0x0200, 7)] == [True, True, False, False, None]
    bit = replace(whole, bit=3, on=(1,), off=(0,))
    assert [bit.state((word,)) for word in (8, 0xF7)] == [True, False]
