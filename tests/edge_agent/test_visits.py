"""Visits at the running agent: the inhibit always ends, no other point is touched, and nothing is forgotten."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.batch import AlarmEvent
from contracts.inhibit import Inhibit
from contracts.quality import FAULT, GOOD, NO_REPLY
from contracts.visit import Visit
from edge_agent.content import Content
from edge_agent.errors import ControlError
from edge_agent.journal import FILE as JOURNAL
from edge_agent.judge import Judge
from edge_agent.sealer import parted
from edge_agent.visit_file import FILE, read_visits, write_visits
from edge_agent.visit_ops import VisitDesk
from edge_agent.visits import Visits
from rules.visiting import DEVIATION, Job
from tests.contracts.examples import VISITS
from tests.edge_agent.small_plans import block, device, limit, point
from tests.edge_agent.test_judge import BOOT, GATEWAY, NEXT_BOOT, Clock, S

GAS, OTHER = "d1/ch4", "d1/pressure"
POINTS = (replace(point(GAS, limit(value=25.0)), quantity="ch4"), point(OTHER, limit(value=25.0)))


class Site:
    """A judge and its visits on a clock that the test sets; two points in one block."""

    def __init__(self, folder: Path, *, boot: bytes = BOOT, state: bytes | None = None, at_s: float = 100) -> None:
        self.clock = Clock(round(at_s * S))
        block_of_two = block(offsets=(0, 1))
        self.plan: Any = SimpleNamespace(
            points=POINTS, row_blocks=(block_of_two,), devices=(replace(device(), serial="A7"),)
        )
        self.judge = Judge(GATEWAY, boot, POINTS, [block_of_two], self.clock)
        if state is None:
            self.judge.begin()
        else:
            self.judge.restore(state, same_boot=boot == BOOT)
        self.events: list[AlarmEvent] = []
        self.sealed: list[Visit] = []
        self.told: list[str] = []
        self.ended: list[Visit] = []
        self.folder = folder
        self.is_kept = True
        self.visits = Visits(
            gateway=GATEWAY,
            boot_id=boot,
            judge=self.judge,
            plan=lambda: self.plan,
            folder=folder,
            clock=self.clock,
            take_events=self.events.extend,
            seal=self.sealed.append,
            tell=lambda kind, text: self.told.append(f"{kind}: {text}"),
            on_ended=self.ended.append,
            is_kept=lambda: self.is_kept,
        )

    async def begin(
        self, key: str = GAS, *, job: Job = Job.BUMP, gas: float | None = 50.0, seconds: float = 900
    ) -> None:
        await self.visits.begin(
            key, job=job, by="Li Wei", seconds=seconds, applied=gas, deviation=DEVIATION, note="bottle 4"
        )

    def feed(self, at_s: float, gas: float | None, other: float = 0.0, codes: Sequence[int] | None = None) -> None:
        """One row in the points' unit, seen by the judge and then by the visits, as in the agent."""
        self.clock.now_us = max(self.clock.now_us, round(at_s * S))
        row = (None if gas is None else round(gas * 10), round(other * 10))
        self.events += self.judge.judge_row(0, round(at_s * S), row, codes, round(at_s * S) + 1000)
        self.visits.take_row(0, round(at_s * S), row, codes)

    def at(self, at_s: float) -> None:
        """Time passes without a sample: what the sealer and the visits look at then."""
        self.clock.now_us = round(at_s * S)
        self.visits.tick(self.clock.now_us)
        self.events += self.judge.check_silence(self.clock.now_us)

    async def to_gas(self) -> None:
        await self.begin()
        self.feed(101, 0.0)
        self.clock.now_us = 102 * S
        await self.visits.gas(GAS, is_on=True)
        self.feed(120, 48.0)

    async def pass_it(self) -> None:
        await self.to_gas()
        self.clock.now_us = 130 * S
        await self.visits.gas(GAS, is_on=False)
        self.feed(150, 1.0)


async def test_a_bump_test_passes_is_sealed_once_and_raises_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.pass_it()
    assert site.judge.inhibited() == []
    assert site.events == []
    (visit,) = site.sealed
    assert Visit.from_wire(visit.to_wire()) == visit
    assert (visit.result, visit.zero, visit.peak, visit.t90_us, visit.return_us) == (
        "passed",
        0.0,
        48.0,
        18 * S,
        20 * S,
    )
    assert (visit.by, visit.serial, visit.note, visit.unit) == ("Li Wei", "A7", "bottle 4", "kPa")
    assert site.ended == [visit]
    assert site.told == [
        "visit: bump of d1/ch4 begun by Li Wei, for 900 s at most",
        "visit: bump of d1/ch4 by Li Wei: passed",
    ]
    shown = site.visits.view(GAS)
    assert (shown["result"], shown["stage"], shown["text"], shown["id"]) == ("passed", "done", "1.0", visit.id.hex())
    await site.visits.close()
    assert "bump of d1/ch4 by Li Wei: passed" in (tmp_path / JOURNAL).read_text()


async def test_only_that_point_is_inhibited(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.begin()
    site.feed(101, 60.0, 60.0)
    assert [event.point for event in site.events] == [OTHER]
    assert site.judge.inhibited() == [GAS]
    await site.visits.close()


async def test_a_value_past_a_limit_when_the_time_is_up_raises_at_once(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.to_gas()
    site.feed(900, 48.0)
    assert not site.events
    site.at(1000.5)
    assert [(event.point, event.state) for event in site.events] == [(GAS, "active")]
    assert [(visit.result, visit.reason) for visit in site.sealed] == [("abandoned", "time up")]
    assert site.sealed[0].ended_us == 1000 * S
    assert site.judge.inhibited() == []
    await site.visits.close()


async def test_a_sample_behind_its_time_ends_visit_and_inhibit_together(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.to_gas()
    site.feed(1000.5, 48.0)
    assert [(event.point, event.state) for event in site.events] == [(GAS, "active")]
    assert site.judge.inhibited() == []
    assert [visit.result for visit in site.sealed] == ["abandoned"]
    await site.visits.close()


async def test_a_failed_test_keeps_the_inhibit_until_the_value_is_back(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.to_gas()
    site.clock.now_us = 130 * S
    await site.visits.gas(GAS, is_on=False)
    site.feed(200, 40.0)
    assert site.judge.inhibited() == [GAS]
    site.feed(230, 1.0)
    assert site.judge.inhibited() == []
    assert not site.events
    assert [(visit.result, visit.return_us) for visit in site.sealed] == [("failed", 100 * S)]
    await site.visits.close()


@pytest.mark.parametrize(
    ("job", "gas", "key", "message"),
    [
        (Job.BUMP, 50.0, "d1/none", "there is no point"),
        (Job.BUMP, None, GAS, "needs the value of the gas"),
        (Job.BUMP, 50.0, OTHER, "pressure is no gas"),
    ],
)
async def test_what_is_refused_inhibits_nothing(
    tmp_path: Path, job: Job, gas: float | None, key: str, message: str
) -> None:
    site = Site(tmp_path)
    with pytest.raises(ControlError, match=message):
        await site.begin(key, job=job, gas=gas)
    assert site.judge.inhibited() == []
    assert not (tmp_path / FILE).exists()


async def test_a_second_visit_and_a_second_inhibit_are_refused_and_others_are_not(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.begin()
    with pytest.raises(ControlError, match="Li Wei is at d1/ch4 already"):
        await site.begin()
    await site.begin(OTHER, job=Job.CALIBRATION, gas=None)
    assert site.judge.inhibited() == [GAS, OTHER]
    await site.visits.close()
    other = Site(tmp_path / "other")
    other.judge.inhibit(GAS, reason="maintenance", by="Wang", now_us=100 * S, until_us=200 * S)
    with pytest.raises(ControlError, match="inhibited already by Wang: maintenance"):
        await other.begin()


async def test_the_inhibit_ended_by_somebody_else_ends_the_visit(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.to_gas()
    site.judge.end_inhibit(GAS, 121 * S)
    site.at(121)
    assert [(visit.result, visit.reason) for visit in site.sealed] == [
        ("abandoned", "the inhibit was ended by somebody else")
    ]
    await site.visits.close()


async def test_a_point_that_leaves_the_plan_ends_its_visit(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.to_gas()
    site.plan = SimpleNamespace(points=POINTS[1:], row_blocks=(block(offsets=(0,)),), devices=(device(),))
    site.events += site.judge.replace_plan(POINTS[1:], site.plan.row_blocks)
    site.at(121)
    assert [(visit.result, visit.reason) for visit in site.sealed] == [("abandoned", "the point left the plan")]
    assert site.judge.inhibited() == []
    await site.visits.close()


async def test_a_reload_that_moves_the_point_in_its_block_does_not_lose_it(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.to_gas()
    turned = (POINTS[1], POINTS[0])
    site.plan = SimpleNamespace(points=turned, row_blocks=(block(offsets=(0, 1)),), devices=(device(),))
    site.events += site.judge.replace_plan(turned, site.plan.row_blocks)
    site.feed(125, 0.0, 49.0)
    assert site.visits.view(GAS)["value"] == 49.0
    assert not site.events
    await site.visits.close()


async def test_giving_up_before_the_gas_frees_the_point_at_once(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.begin()
    site.feed(101, 0.0)
    await site.visits.end(GAS, "Wang")
    assert site.judge.inhibited() == []
    assert [(visit.result, visit.by) for visit in site.sealed] == [("abandoned", "Li Wei")]
    assert any("ended by Wang" in text for text in site.told)
    with pytest.raises(ControlError, match="no visit"):
        await site.visits.end(GAS, "Wang")
    await site.visits.close()


async def test_giving_up_with_gas_waits_until_the_value_is_back(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.to_gas()
    await site.visits.end(GAS, "Li Wei")
    assert site.judge.inhibited() == [GAS]
    site.feed(150, 30.0)
    assert site.judge.inhibited() == [GAS]
    site.feed(160, 0.5)
    assert site.judge.inhibited() == []
    assert not site.events
    await site.visits.close()


async def test_an_agent_that_is_killed_leaves_a_record_and_the_same_boot_frees_the_point(tmp_path: Path) -> None:
    before = Site(tmp_path)
    await before.to_gas()
    state = before.judge.state_bytes()
    assert state is not None
    (kept,) = read_visits(tmp_path)
    after = Site(tmp_path, state=state, at_s=140)
    assert after.judge.inhibited() == [GAS]
    after.visits.resume()
    assert [(visit.result, visit.reason, visit.id) for visit in after.sealed] == [
        ("interrupted", "agent ended: in stage gas", kept.id)
    ]
    after.feed(141, 40.0)
    assert after.judge.inhibited() == [GAS], "gas is still there"
    after.feed(150, 0.3)
    assert after.judge.inhibited() == []
    assert not after.events
    await before.visits.close()
    await after.visits.close()


async def test_after_another_boot_the_inhibit_is_over_and_the_record_names_its_boot(tmp_path: Path) -> None:
    before = Site(tmp_path)
    await before.to_gas()
    state = before.judge.state_bytes()
    after = Site(tmp_path, boot=NEXT_BOOT, state=state, at_s=5)
    after.visits.resume()
    (visit,) = after.sealed
    assert (visit.result, visit.boot_id, visit.began_us) == ("interrupted", BOOT, 100 * S)
    assert after.judge.inhibited() == []
    await before.visits.close()
    await after.visits.close()


async def test_an_inhibit_of_somebody_else_is_not_lifted_after_a_restart(tmp_path: Path) -> None:
    write_visits(tmp_path, [replace(VISITS[1], boot_id=BOOT, point=GAS)])
    site = Site(tmp_path)
    site.judge.inhibit(GAS, reason="maintenance", by="Wang", now_us=100 * S, until_us=9000 * S)
    site.visits.resume()
    site.feed(101, 0.0)
    site.at(300)
    assert site.judge.inhibited() == [GAS]
    assert site.visits.is_idle
    await site.visits.close()


async def test_a_record_that_was_sealed_stays_in_the_file_until_it_is_safe(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.pass_it()
    await site.visits.close()
    assert read_visits(tmp_path) == tuple(site.sealed)
    again = Site(tmp_path, at_s=160)
    again.visits.resume()
    assert again.sealed == site.sealed, "with the same id"
    again.is_kept = False
    again.at(160 + 601)
    await again.visits.close()
    assert (tmp_path / FILE).exists(), "the store is behind: a restart would need the record"
    again.is_kept = True
    again.at(160 + 602)
    await again.visits.close()
    assert not (tmp_path / FILE).exists()


async def test_a_visit_that_was_interrupted_is_one_line_of_the_journal_however_often_the_agent_starts(
    tmp_path: Path,
) -> None:
    before = Site(tmp_path)
    await before.to_gas()
    for start in range(3):
        after = Site(tmp_path, boot=NEXT_BOOT, at_s=5 + start)
        after.visits.resume()
        await after.visits.close()
    (line,) = [line for line in (tmp_path / JOURNAL).read_text().splitlines() if "interrupted" in line]
    assert f"{GAS} by Li Wei" in line
    await before.visits.close()


def test_a_file_that_cannot_be_read_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\x92\x01\xc1")
    assert read_visits(tmp_path) == ()
    assert [path.name for path in tmp_path.iterdir()] == [f"{FILE}.damaged"]
    assert read_visits(tmp_path / "nowhere") == ()
    write_visits(tmp_path, VISITS)
    assert read_visits(tmp_path) == VISITS
    write_visits(tmp_path, ())
    assert not (tmp_path / FILE).exists()


async def test_a_disk_that_takes_nothing_stops_no_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge_agent.visits.write_visits", refuse)
    site = Site(tmp_path)
    await site.pass_it()
    assert [visit.result for visit in site.sealed] == ["passed"]
    await site.visits.close()


async def test_a_frozen_disk_keeps_nobody_waiting_and_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, thaw, asked = Site(tmp_path), threading.Event(), []

    def write(folder: Path, visits: Sequence[Visit]) -> None:
        asked.append(len(visits))
        assert thaw.wait(60)
        write_visits(folder, visits)

    monkeypatch.setattr("edge_agent.visits.write_visits", write)
    monkeypatch.setattr("edge_agent.visits._DISK_LIMIT_S", 0.02)
    await site.begin()
    await site.visits.end(GAS, "Li Wei")
    assert asked == [1]
    site.at(1000.5)
    assert site.judge.inhibited() == []
    thaw.set()
    monkeypatch.setattr("edge_agent.visits._DISK_LIMIT_S", 60.0)
    await site.visits.close()
    assert [visit.result for visit in read_visits(tmp_path)] == ["abandoned"]


async def test_whoever_watches_hears_of_news_at_once(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.begin()
    revision = site.visits.view(GAS)["revision"]
    assert (await site.visits.watch(GAS, revision, 0.01))["revision"] == revision
    site.feed(101, 3.0)
    seen = await site.visits.watch(GAS, revision, 60)
    assert (seen["value"], seen["advice"], seen["is_number_sure"]) == (3.0, "gas_on", True)
    site.feed(102, None, codes=(FAULT, GOOD))
    seen = site.visits.view(GAS)
    assert (seen["value"], seen["text"], seen["reason_en"]) == (None, "", "instrument reports a fault")
    assert [item["point"] for item in site.visits.running()] == [GAS]
    with pytest.raises(ControlError, match="was begun"):
        site.visits.view(OTHER)
    await site.visits.close()


_steps = st.sampled_from(["on", "off", "end", "time"])
_rows = st.tuples(st.floats(0, 99), st.sampled_from([GOOD, GOOD, GOOD, FAULT, NO_REPLY]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(st.tuples(st.floats(0.5, 60), _steps | _rows), max_size=25))
async def test_whatever_happens_the_inhibit_ends_by_its_time_and_one_record_is_sealed(
    tmp_path: Path, story: list[tuple[float, Any]]
) -> None:
    (tmp_path / FILE).unlink(missing_ok=True)
    site, at = Site(tmp_path), 100.0
    await site.begin(seconds=300)
    for gap, what in story:
        at += gap
        try:
            if what == "time":
                site.at(at)
            elif what == "end":
                site.clock.now_us = round(at * S)
                await site.visits.end(GAS, "Li Wei")
            elif isinstance(what, str):
                site.clock.now_us = round(at * S)
                await site.visits.gas(GAS, is_on=what == "on")
            else:
                value, code = what
                site.feed(at, value if code == GOOD else None, codes=(code, GOOD))
        except ControlError:
            pass
        assert OTHER not in site.judge.inhibited()
        assert site.judge.inhibited() or site.sealed
    site.at(max(at, 400.001))
    assert site.judge.inhibited() == []
    assert len(site.sealed) == 1
    assert site.sealed[0].ended_us <= 400 * S
    await site.visits.close()


async def test_the_desk_loads_nothing_before_somebody_comes_and_says_what_is_wrong(tmp_path: Path) -> None:
    site = Site(tmp_path)
    sealer = SimpleNamespace(take_events=site.events.extend, take_visit=site.sealed.append, note=lambda *_: None)
    agent: Any = SimpleNamespace(
        gateway=GATEWAY, boot=SimpleNamespace(boot_id=BOOT), judge=site.judge, plan=site.plan, sealer=sealer
    )
    desk = VisitDesk(agent, tmp_path, site.clock)
    desk.resume()
    desk.take_row(0, 101 * S, (0, 0), None)
    do = desk.operations()
    assert await do["visit-state"]({}) == {"visits": []}
    assert desk.refusal(GAS) == ""
    right: dict[str, Any] = {"point": GAS, "by": "Li Wei", "job": "bump", "gas": 50, "seconds": 600}
    for change, message in (
        ({"job": "repair"}, "'repair' is not known"),
        ({"by": ""}, "'by' is needed"),
        ({"by": "x" * 101}, "at most 100"),
        ({"seconds": 7201}, "at most 7200"),
        ({"gas": "much"}, "gas: a number"),
        ({"gas": True}, "gas: a number"),
        ({"deviation": 0}, "deviation"),
    ):
        with pytest.raises(ControlError, match=message):
            await do["visit-begin"]({**right, **change})
    assert (await do["visit-begin"](right))["stage"] == "zero"
    assert "Li Wei is at d1/ch4" in desk.refusal(GAS)
    desk.take_row(0, 101 * S, (0, 0), None)
    with pytest.raises(ControlError, match="is_on"):
        await do["visit-gas"]({"point": GAS})
    assert (await do["visit-gas"]({"point": GAS, "is_on": True}))["stage"] == "gas"
    assert (await do["visit-watch"]({"point": GAS, "revision": 0}))["zero"] == 0.0
    with pytest.raises(ControlError, match="revision"):
        await do["visit-watch"]({"point": GAS, "revision": "a"})
    assert (await do["visit-end"]({"point": GAS, "by": "Li Wei"}))["stage"] == "return"
    ended: list[Visit] = []
    desk.on_ended = ended.append
    desk.take_row(0, 140 * S, (0, 0), None)
    assert (await do["visit-state"]({"point": GAS}))["result"] == "abandoned"
    assert len(ended) == 1
    await desk.close()


async def test_a_visit_waits_until_the_records_of_the_last_run_were_read(tmp_path: Path) -> None:
    """Commands come before the store has answered; a visit begun then wrote over what was to be sealed."""
    write_visits(tmp_path, VISITS)
    site = Site(tmp_path)
    sealer = SimpleNamespace(take_events=site.events.extend, take_visit=site.sealed.append, note=lambda *_: None)
    agent: Any = SimpleNamespace(
        gateway=GATEWAY, boot=SimpleNamespace(boot_id=BOOT), judge=site.judge, plan=site.plan, sealer=sealer
    )
    desk = VisitDesk(agent, tmp_path, site.clock)
    right: dict[str, Any] = {"point": GAS, "by": "Li Wei", "job": "bump", "gas": 50, "seconds": 600}
    with pytest.raises(ControlError, match="still asking its store"):
        await desk.operations()["visit-begin"](right)
    assert site.judge.inhibited() == []
    desk.resume()
    await desk.operations()["visit-begin"](right)
    assert site.sealed == list(VISITS)
    assert read_visits(tmp_path)[:-1] == VISITS
    await desk.close()


async def test_a_visit_that_a_restart_interrupted_is_begun_again_at_once(tmp_path: Path) -> None:
    before = Site(tmp_path)
    await before.to_gas()
    after = Site(tmp_path, state=before.judge.state_bytes(), at_s=140)
    after.visits.resume()
    await after.begin()
    after.feed(141, 0.2)
    assert after.judge.inhibited() == [GAS], "the new visit's"
    assert len({visit.id for visit in read_visits(tmp_path)}) == 2
    await before.visits.close()
    await after.visits.close()


def test_records_that_do_not_fit_one_batch_are_parted_and_none_is_left_out() -> None:
    content = Content(
        sealed_us=5, visits=VISITS, inhibits=(Inhibit(point=GAS, since_us=0, until_us=1, reason="r", by="A"),)
    )
    parts = parted(content)
    assert [visit for part in parts for visit in part.visits] == list(VISITS)
    assert sum(len(part.inhibits) for part in parts) == 1
