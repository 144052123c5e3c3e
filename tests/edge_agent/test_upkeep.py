"""What is due, which values are doubtful for it, and what of it is stated; with clocks that lie."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.batch import Anchor, ClockState
from contracts.quality import CALIBRATION_OVERDUE, FAULT, GOOD, OVER_RANGE
from contracts.visit import Visit
from edge_agent.content import Content
from edge_agent.plan import Plan
from edge_agent.plan_upkeep import UpkeepPlan, Watched
from edge_agent.sealer import parted
from edge_agent.trusted_day import PROOF_US
from edge_agent.upkeep import AGAIN_US, UpkeepBook
from edge_agent.upkeep_file import FILE, JobRecord, Ledger, PointRecord, from_bytes, read_ledger, to_bytes
from tests.edge_agent.small_plans import block, device, limit, point
from tests.edge_agent.small_plans import plan as small_plan
from tests.edge_agent.test_judge import S, judge_of

DAY_US = 86_400_000_000
BOOT = bytes(16)
TODAY = date(2026, 11, 22)
NOON_US = int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()) * 1_000_000
A, B = "d1/pressure", "d1/level"


class Clocks:
    """A monotonic clock, and what somebody says of the wall clock."""

    def __init__(self) -> None:
        self.mono_us = 5_000_000
        self.offset_days = 0.0
        self.state = ClockState.SYNCHRONISED
        self.uncertainty_ms: int | None = 5

    def anchor(self) -> Anchor:
        wall_us = max(0, NOON_US + self.mono_us + round(self.offset_days * DAY_US))
        return Anchor(mono_us=self.mono_us, wall_us=wall_us, state=self.state, uncertainty_ms=self.uncertainty_ms)

    def unset(self) -> None:
        self.state, self.uncertainty_ms = ClockState.UNSET, None

    def set(self) -> None:
        self.state, self.uncertainty_ms = ClockState.SYNCHRONISED, 5

    def sleep(self, days: float) -> None:
        self.mono_us += round(days * DAY_US)


def plan(
    *, days: int = 180, serial: str = "", calibrated: str = "", street: str = "", job: str = "calibration"
) -> Plan:
    """Two points in one block; the first is watched."""
    return small_plan(
        devices=(replace(device("d1"), serial=serial),),
        blocks=(block(offsets=(0, 1)),),
        points=(point(A), point(B)),
        upkeep=UpkeepPlan(
            watched=(Watched(point=A, job=job, days=days),),
            streets=(street,) if street else (),
            calibrated=(("d1", calibrated),) if calibrated else (),
        ),
    )


def book(folder: Path, clocks: Clocks, of: Plan | None = None, *, boot: bytes = BOOT) -> UpkeepBook:
    """A book that has taken its plan."""
    made = UpkeepBook(folder, boot_id=boot, anchor=clocks.anchor, earliest_us=lambda: NOON_US - 10 * DAY_US)
    made.take_plan(of or plan())
    return made


def visit(*, result: str = "passed", job: str = "calibration", ended_us: int = 0, boot: bytes = BOOT) -> Visit:
    return Visit(
        id=bytes(16),
        boot_id=boot,
        point=A,
        job=job,
        began_us=0,
        ended_us=ended_us,
        by="Li Wei",
        result=result,
        reason="",
        unit="kPa",
        zero=None,
        applied=None,
        peak=None,
        t90_us=None,
        return_us=None,
        t90_limit_us=None,
        return_limit_us=None,
        serial="",
        note="",
    )


def state(found: UpkeepBook) -> str:
    """State of the watched job."""
    return str(found.describe()["points"][0]["jobs"][0]["state"])


def kept(found: UpkeepBook) -> None:
    asyncio.run(found.keep())


def aged(folder: Path, clocks: Clocks, days: float) -> UpkeepBook:
    """A book that has run for so many days, looking once a day."""
    found = book(folder, clocks)
    for _ in range(int(days)):
        clocks.sleep(1)
        found.look()
    return found


def test_a_point_that_never_passed_counts_from_the_day_it_was_first_watched(tmp_path: Path) -> None:
    clocks = Clocks()
    found = book(tmp_path, clocks)
    assert state(found) == "never"
    for days, expected in ((179, "never"), (1, "due"), (30, "due"), (1, "overdue")):
        for _ in range(days):
            clocks.sleep(1)
            found.look()
        assert state(found) == expected, days
    assert found.marks == {0: (0,)}


def test_only_good_samples_of_an_overdue_point_change(tmp_path: Path) -> None:
    found = aged(tmp_path, Clocks(), 220)
    assert found.marked(0, None, 2) == (CALIBRATION_OVERDUE, GOOD)
    assert found.marked(0, (OVER_RANGE, GOOD), 2) == (OVER_RANGE, GOOD)
    assert found.marked(0, (FAULT, FAULT), 2) == (FAULT, FAULT)
    assert found.marked(1, None, 2) is None
    assert not book(tmp_path / "no", Clocks()).marks


def test_a_bump_test_that_is_overdue_is_stated_and_its_values_stay_good(tmp_path: Path) -> None:
    clocks = Clocks()
    found = book(tmp_path, clocks, plan(job="bump", days=10))
    for _ in range(50):
        clocks.sleep(1)
        found.look()
    assert state(found) == "overdue"
    assert not found.marks


def test_a_pass_ends_it_at_once_and_a_restart_remembers(tmp_path: Path) -> None:
    clocks = Clocks()
    found = aged(tmp_path, clocks, 220)
    found.take_visit(visit(ended_us=clocks.mono_us))
    assert (state(found), found.marks) == ("current", {})
    last = (TODAY + timedelta(days=220)).isoformat()
    assert found.describe()["points"][0]["jobs"][0]["last"] == last
    kept(found)
    again = book(tmp_path, clocks)
    assert state(again) == "current"
    assert again.describe()["points"][0]["jobs"][0]["last"] == last


@pytest.mark.parametrize("result", ["failed", "abandoned", "interrupted"])
def test_what_did_not_pass_ends_nothing(tmp_path: Path, result: str) -> None:
    clocks = Clocks()
    found = aged(tmp_path, clocks, 220)
    found.take_visit(visit(result=result, ended_us=clocks.mono_us))
    assert state(found) == "overdue"
    assert found.describe()["points"][0]["failed"] == (["calibration"] if result == "failed" else [])
    found.take_visit(visit(ended_us=clocks.mono_us))
    assert found.describe()["points"][0]["failed"] == []


def test_a_calibration_counts_as_a_bump_test_and_not_the_other_way_round(tmp_path: Path) -> None:
    for watched, done, expected in (("bump", "calibration", "current"), ("calibration", "bump", "never")):
        clocks = Clocks()
        found = book(tmp_path / watched, clocks, plan(job=watched))
        found.take_visit(visit(job=done, ended_us=clocks.mono_us))
        assert state(found) == expected


def test_a_doubtful_value_is_judged_raises_and_clears_like_a_good_one(tmp_path: Path) -> None:
    found = aged(tmp_path, Clocks(), 220)
    judge = judge_of(point(A, limit(value=10.0)), point(B))
    events = []
    for at_s, count in ((101, 50), (102, 200), (103, 50)):
        events += judge.judge_row(0, at_s * S, (count, 0), found.marked(0, None, 2), at_s * S)
    assert [(event.state, event.value, event.marks) for event in events] == [
        ("active", 20.0, ("calibration_overdue",)),
        ("cleared", 5.0, ("calibration_overdue",)),
    ]


def test_statements_that_do_not_fit_one_batch_are_parted(tmp_path: Path) -> None:
    statements = book(tmp_path, Clocks(), plan(street="West Street")).due(0)
    parts = parted(Content(sealed_us=1, upkeep=statements))
    assert [part.upkeep for part in parts] == [statements[:1], statements[1:]]
    mixed = parted(Content(sealed_us=1, blocks=[1], upkeep=statements))
    assert [(bool(part.blocks), part.upkeep) for part in mixed] == [(True, ()), (False, statements)]


# -- clocks that lie ---------------------------------------------------------------------


def test_an_unset_clock_keeps_what_was_decided_over_a_restart(tmp_path: Path) -> None:
    clocks = Clocks()
    kept(aged(tmp_path, clocks, 220))
    clocks.unset()
    clocks.offset_days = -20_000
    again = book(tmp_path, clocks)
    assert (state(again), again.marks) == ("overdue", {0: (0,)})
    fresh = Clocks()
    fresh.unset()
    fresh.offset_days = 20_000
    other = book(tmp_path / "fresh", fresh)
    fresh.sleep(4000)
    other.look()
    assert (state(other), other.marks) == ("never", {})


@pytest.mark.parametrize("days", [365, -365, 4000])
def test_a_clock_that_jumps_turns_nothing_overdue_and_hides_nothing(tmp_path: Path, days: int) -> None:
    for age, expected in ((100, "never"), (220, "overdue")):
        clocks = Clocks()
        found = aged(tmp_path / f"{age}", clocks, age)
        kept(found)
        clocks.offset_days = days
        found.look()
        assert state(found) == expected
        again = book(tmp_path / f"{age}", clocks)
        assert state(again) == expected, "and a restart does not believe it either"
        clocks.offset_days = 0
        clocks.sleep(0.1)
        found.look()
        assert state(found) == expected


def test_a_jump_that_stands_for_six_hours_is_the_truth(tmp_path: Path) -> None:
    clocks = Clocks()
    found = aged(tmp_path, clocks, 1)
    clocks.offset_days = 400
    found.look()
    clocks.mono_us += PROOF_US
    found.look()
    assert state(found) == "overdue"


def test_a_first_day_from_a_clock_that_was_years_ahead_hides_nothing(tmp_path: Path) -> None:
    clocks = Clocks()
    clocks.offset_days = 4000
    found = book(tmp_path, clocks)
    clocks.offset_days = 0
    for _ in range(3 + 212):
        clocks.sleep(1)
        found.look()
    assert state(found) == "overdue"


def test_a_pass_while_no_clock_is_set_counts_and_gets_its_day_in_the_same_boot(tmp_path: Path) -> None:
    clocks = Clocks()
    found = aged(tmp_path, clocks, 220)
    clocks.unset()
    passed_us = clocks.mono_us
    # A new boot: nothing of the old one vouches for the clock.
    kept(found)
    again = book(tmp_path, clocks, boot=b"B" * 16)
    assert state(again) == "overdue"
    again.take_visit(visit(ended_us=passed_us, boot=b"B" * 16))
    assert (state(again), again.marks) == ("current", {})
    clocks.sleep(3)
    clocks.set()
    again.look()
    assert again.describe()["points"][0]["jobs"][0]["last"] == (TODAY + timedelta(days=220)).isoformat()
    assert state(again) == "current"


def test_a_pass_without_a_clock_that_no_boot_ever_dates_is_as_old_as_it_can_be(tmp_path: Path) -> None:
    clocks = Clocks()
    clocks.unset()
    found = book(tmp_path, clocks)
    found.take_visit(visit(ended_us=clocks.mono_us))
    kept(found)
    clocks.set()
    again = book(tmp_path, clocks, boot=b"B" * 16)
    assert again.describe()["points"][0]["jobs"][0]["last"] == (TODAY - timedelta(days=10)).isoformat()


@settings(max_examples=30)
@given(steps=st.lists(st.tuples(st.integers(0, 3), st.integers(-5000, 5000)), max_size=30))
def test_whatever_an_unset_clock_says_nothing_changes(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]]
) -> None:
    clocks = Clocks()
    found = book(tmp_path_factory.getbasetemp() / "never-written", clocks)
    before = found.describe()["points"]
    clocks.unset()
    for later, offset in steps:
        clocks.sleep(later)
        clocks.offset_days = offset
        found.look()
        assert found.describe()["points"] == before


# -- units -------------------------------------------------------------------------------


def test_another_unit_begins_anew_with_the_day_it_was_calibrated(tmp_path: Path) -> None:
    clocks = Clocks()
    found = book(tmp_path, clocks, plan(serial="1"))
    found.take_visit(visit(ended_us=clocks.mono_us))
    assert state(found) == "current"
    found.take_plan(plan(serial="2"))
    assert state(found) == "never"
    day = (TODAY - timedelta(days=215)).isoformat()
    found.take_plan(plan(serial="2", calibrated=day))
    assert (state(found), found.marks) == ("overdue", {0: (0,)})
    found.take_visit(visit(ended_us=clocks.mono_us))
    assert state(found) == "current", "the newest day counts"


def test_a_visit_told_again_after_the_unit_was_replaced_is_not_the_new_ones(tmp_path: Path) -> None:
    clocks = Clocks()
    found = book(tmp_path, clocks, plan(serial="2"))
    found.take_visit(replace(visit(ended_us=clocks.mono_us), serial="1"))
    assert state(found) == "never"
    long = "号" * 60
    found.take_plan(plan(serial=long))
    found.take_visit(replace(visit(ended_us=clocks.mono_us), serial=long[:21]))
    assert state(found) == "current"


def test_a_plan_that_is_rolled_back_brings_back_what_was_known_of_its_unit(tmp_path: Path) -> None:
    """A serial number mistyped and taken back must not turn an overdue calibration into a new one."""
    clocks = Clocks()
    found = book(tmp_path, clocks, plan(serial="1"))
    found.take_visit(visit(ended_us=clocks.mono_us))
    clocks.sleep(215)
    found.look()
    assert state(found) == "overdue"
    found.take_plan(plan(serial="l"))
    assert (state(found), found.marks) == ("never", {})
    kept(found)
    again = book(tmp_path, clocks, plan(serial="1"))
    assert (state(again), again.marks) == ("overdue", {0: (0,)})
    again.take_plan(plan(serial="2"))
    again.take_plan(plan(serial="3"))
    assert state(again) == "never"


def test_a_serial_number_that_is_only_written_down_changes_nothing(tmp_path: Path) -> None:
    clocks = Clocks()
    found = book(tmp_path, clocks, plan(serial=""))
    found.take_visit(visit(ended_us=clocks.mono_us))
    found.take_plan(plan(serial="1"))
    assert state(found) == "current"
    found.take_plan(plan(serial=""))
    assert state(found) == "current"


def test_a_calibration_day_in_the_future_proves_nothing(tmp_path: Path) -> None:
    found = book(tmp_path, Clocks(), plan(calibrated="2099-01-01"))
    assert state(found) == "never"
    assert found.describe()["points"][0]["jobs"][0]["last"] == ""


# -- what is stated ----------------------------------------------------------------------


def test_it_is_stated_at_the_start_on_change_and_once_a_day(tmp_path: Path) -> None:
    clocks = Clocks()
    found = book(tmp_path, clocks, plan(street="West Street"))
    first = found.due(0)
    assert [(one.point, one.job, one.state, one.street) for one in first] == [
        (A, "calibration", "never", "West Street"),
        (B, "calibration", "current", "West Street"),
    ]
    assert (first[0].due, first[1].due) == ((TODAY + timedelta(days=180)).isoformat(), "")
    assert found.due(1) == ()
    found.take_visit(visit(ended_us=clocks.mono_us))
    assert [(one.point, one.state) for one in found.due(2)] == [(A, "current")]
    assert found.due(3) == ()
    assert len(found.due(AGAIN_US)) == 2
    found.take_plan(plan(street="East Street"))
    assert {one.street for one in found.due(AGAIN_US + 1)} == {"East Street"}


def test_a_gateway_without_upkeep_states_and_writes_nothing(tmp_path: Path) -> None:
    found = book(tmp_path, Clocks(), replace(plan(), upkeep=UpkeepPlan()))
    assert found.due(0) == ()
    kept(found)
    assert not (tmp_path / FILE).exists()


# -- the file ----------------------------------------------------------------------------


def test_a_damaged_file_is_kept_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for data in (b"{", b"[]", b'{"format": 1, "seen": "", "points": {"a": 1}}', b"\xff", b'{"format": 9}'):
        (tmp_path / FILE).write_bytes(data)
        assert read_ledger(tmp_path) == Ledger()
        assert (tmp_path / "upkeep.damaged").read_bytes() == data
        assert "due dates begin anew" in caplog.text
        caplog.clear()


_DATES = st.none() | st.dates()
_JOBS = st.builds(
    JobRecord,
    since=_DATES,
    last=_DATES,
    passed_us=st.none() | st.integers(0, 10**15),
    result=st.sampled_from(["", "passed", "failed"]),
    state=st.sampled_from(["current", "due", "overdue", "never"]),
    due=_DATES,
)


@settings(max_examples=25)
@given(
    seen=_DATES,
    points=st.dictionaries(
        st.text(max_size=20),
        st.builds(
            lambda serial, jobs, day: PointRecord(serial=serial, jobs=jobs, commissioned=day, is_commissioned=True),
            st.text(max_size=10),
            st.dictionaries(st.sampled_from(["bump", "calibration"]), _JOBS),
            _DATES,
        ),
        max_size=3,
    ),
)
def test_what_is_written_is_read(seen: date | None, points: dict[str, PointRecord]) -> None:
    assert from_bytes(to_bytes(Ledger(seen=seen, points=points))) == Ledger(seen=seen, points=points)


def test_a_disk_that_refuses_is_told_once_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "folder"
    found = book(folder, Clocks())
    folder.write_text("no directory")
    kept(found)
    kept(found)
    assert caplog.text.count("cannot be kept") == 1
    folder.unlink()
    kept(found)
    assert json.loads((folder / FILE).read_text())["seen"] == TODAY.isoformat()


def test_many_points_that_fall_due_on_one_day_do_not_push_the_rest_out_of_the_journal(tmp_path: Path) -> None:
    clocks, told = Clocks(), []
    points = tuple(point(f"d1/level/{number}") for number in range(50))
    watched = tuple(Watched(point=item.key, job="calibration", days=180) for item in points)
    many = replace(plan(), points=points, blocks=(block(offsets=tuple(range(50))),), upkeep=UpkeepPlan(watched=watched))
    found = UpkeepBook(
        tmp_path,
        boot_id=BOOT,
        anchor=clocks.anchor,
        earliest_us=lambda: NOON_US,
        note=lambda kind, text: told.append(text),
    )
    found.take_plan(many)
    clocks.sleep(215)
    found.look()
    assert {found._state(item) for item in watched} == {"overdue"}
    assert len(told) == 21
    assert told[0].startswith("d1/level/0 calibration: overdue, due ")
    assert told[-1] == "30 points more turned overdue or no longer are"


def test_what_was_commissioned_is_known(tmp_path: Path) -> None:
    clocks = Clocks()
    found = book(tmp_path, clocks)
    assert not found.describe()["points"][0]["is_commissioned"]
    found.commissioned([A])
    kept(found)
    assert book(tmp_path, clocks).describe()["points"][0]["is_commissioned"]
