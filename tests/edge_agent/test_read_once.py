"""One shot of all points, and how readings are written down."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.quality import GOOD, ILLEGAL_ADDRESS, NO_REPLY, NOT_ASKED, OVER_RANGE, PORT_CLOSED
from drivers.plan import TriggerStep
from drivers.port import ReadRequest, ReadResult, WriteRequest, WriteResult
from edge_agent.compile import compile_site
from edge_agent.plan import Plan, PointPlan
from edge_agent.plan_ports import PortPlan
from edge_agent.read_once import read_once
from edge_agent.readings import describe, engineering_value, value_text
from rules.point_state import PointRules
from tests.edge_agent.site_files import GATEWAY, PORTS, write_site

MOTION = """
[[device]]
id = "bridge"
port = "bus-1"
unit_id = 80
profile = "witmotion-wt901c485"
[[device]]
id = "main"
port = "bus-1"
unit_id = 81
profile = "qd-transmitter"
[[device]]
id = "far"
port = "tcp-1"
unit_id = 1
profile = "qd-transmitter"
"""

POINT = PointPlan(
    key="a/level",
    quantity="level",
    unit="m",
    kind="int",
    resolution=Fraction(1, 100),
    low=None,
    high=None,
    longest_silence_ms=1000,
    device=0,
    en="Level",
    zh="液位",
    rules=PointRules(),
)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return compile_site(write_site(tmp_path_factory.mktemp("site"), GATEWAY + PORTS + MOTION)).plan


class FakePort:
    """Answers with zeros, except what the test says of a unit or an address."""

    def __init__(self, codes: dict[int, int], holes: frozenset[int] = frozenset(), detail: str = "") -> None:
        self.codes = codes
        self.detail = detail
        self.holes = holes
        self.asked: list[ReadRequest] = []
        self.written: list[tuple[int, WriteRequest]] = []
        self.is_open = False
        self._now_us = 1_000_000

    async def open(self) -> None:
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False

    async def read(self, request: ReadRequest) -> ReadResult:
        assert self.is_open
        self.asked.append(request)
        start, self._now_us = self._now_us, self._now_us + 20_000
        code = self.codes.get(request.unit_id, GOOD)
        if code == GOOD and self.holes & set(range(request.address, request.address + request.count)):
            code = ILLEGAL_ADDRESS
        words = (0,) * request.count if code == GOOD else None
        detail = "" if code == GOOD else self.detail
        return ReadResult(words=words, code=code, requested_us=start, replied_us=self._now_us, detail=detail)

    async def write(self, request: WriteRequest) -> WriteResult:
        assert self.is_open
        self.written.append((len(self.asked), request))
        code = self.codes.get(request.unit_id, GOOD)
        return WriteResult(code=code, requested_us=self._now_us, replied_us=self._now_us, detail=self.detail)


def _ports(
    codes: dict[int, int], holes: frozenset[int] = frozenset(), detail: str = ""
) -> tuple[dict[str, FakePort], object]:
    made: dict[str, FakePort] = {}

    def make(port: PortPlan) -> FakePort:
        return made.setdefault(port.id, FakePort(codes, holes, detail))

    return made, make


async def test_every_block_is_asked_once_and_every_port_closed(plan: Plan) -> None:
    made, make = _ports({})
    ticks = await read_once(plan, make)  # type: ignore[arg-type]
    assert [tick[0] for tick in ticks] == list(range(len(plan.blocks)))
    assert sum(len(port.asked) for port in made.values()) == len(plan.blocks)
    assert not any(port.is_open for port in made.values())
    first = ticks[0]
    assert first[1] == 1_010_000
    readings = describe(plan, ticks, now_us=3_010_000)
    assert [reading["point"] for reading in readings] == [point.key for point in plan.points]
    assert readings[0]["age_s"] == 2.0


async def test_a_silent_device_is_asked_once_and_others_go_on(plan: Plan) -> None:
    made, make = _ports({80: NO_REPLY})
    ticks = await read_once(plan, make)  # type: ignore[arg-type]
    assert [request.unit_id for request in made["bus-1"].asked].count(80) == 1
    codes = {plan.devices[plan.blocks[n].device].id: set(own or ()) for n, _, _, own in ticks}
    assert codes["bridge"] <= {NO_REPLY, NOT_ASKED}
    assert not codes["main"] & {NO_REPLY, NOT_ASKED}
    lost = [r for r in describe(plan, ticks, 2_000_000) if r["point"].startswith("bridge/")]
    assert {(r["value"], r["text"], r["quality"]) for r in lost} == {(None, "", "missing")}


@pytest.mark.parametrize(
    ("code", "detail", "told"),
    [
        (PORT_CLOSED, "/dev/ttyUSB0 is used by another program", ["/dev/ttyUSB0 is used by another program"]),
        (NO_REPLY, "no reply", []),
        (ILLEGAL_ADDRESS, "exception 02", []),
        (NO_REPLY, "", []),
    ],
)
async def test_what_the_line_says_beyond_the_quality_is_told(
    plan: Plan, code: int, detail: str, told: list[str]
) -> None:
    _, make = _ports({81: code}, detail=detail)
    heard: list[tuple[str, str]] = []
    await read_once(plan, make, lambda *told: heard.append(told))  # type: ignore[arg-type]
    assert heard == [("main", text) for text in told]


async def test_a_refused_block_is_asked_point_by_point(plan: Plan) -> None:
    bridge = next(block for block in plan.blocks if plan.devices[block.device].id == "bridge" and len(block.points) > 1)
    hole = bridge.read.address + bridge.read.points[0].offset
    _, make = _ports({}, frozenset({hole}))
    ticks = await read_once(plan, make)  # type: ignore[arg-type]
    codes = ticks[plan.blocks.index(bridge)][3]
    assert codes is not None
    assert codes[0] == ILLEGAL_ADDRESS
    assert GOOD in codes


# -- how a reading is written --------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "resolution", "value", "text", "number"),
    [
        ("int", "1/100", 1234, "12.34", 12.34),
        ("int", "1/100", -5, "-0.05", -0.05),
        ("int", "1/100", 0, "0.00", 0.0),
        ("int", "1", 7, "7", 7.0),
        ("int", "5", 7, "35", 35.0),
        ("int", "1/1000", 1, "0.001", 0.001),
        ("int", "1/2048", 2048, "1", 1.0),
        ("int", "1/3", 1, "0.333333", 1 / 3),
        ("f32", "1", 0.10000000149011612, "0.1", 0.10000000149011612),
        ("f64", "1", 0.1, "0.1", 0.1),
        ("int", "1/100", None, "", None),
    ],
)
def test_a_number_is_written_exactly(
    kind: str, resolution: str, value: float | None, text: str, number: float | None
) -> None:
    point = replace(POINT, kind=kind, resolution=Fraction(resolution))
    assert value_text(point, value) == text
    assert engineering_value(point, value) == number


@given(count=st.integers(-(2**62), 2**62), places=st.integers(0, 6))
def test_decimal_text_is_the_count_times_the_resolution(count: int, places: int) -> None:
    point = replace(POINT, resolution=Fraction(1, 10**places))
    assert Fraction(value_text(point, count)) == count * point.resolution


def test_a_quality_without_number_shows_none(plan: Plan) -> None:
    width = len(plan.blocks[0].points)
    (first, *_) = describe(plan, [(0, 0, [5] * width, [OVER_RANGE] * width)], 1_000_000)
    assert (first["value"], first["text"], first["quality"], first["reason"]) == (None, "", "uncertain", "over_range")


def test_a_point_that_was_not_read_yet_says_so(plan: Plan) -> None:
    readings = describe(plan, [], 1_000_000)
    assert len(readings) == len(plan.points)
    assert {(r["quality"], r["reason"], r["age_s"], r["value"]) for r in readings} == {
        ("missing", "not_yet_read", None, None)
    }


def test_files_are_left_alone(tmp_path: Path) -> None:
    path = write_site(tmp_path, GATEWAY + PORTS + MOTION)
    compile_site(path)
    assert [item.name for item in tmp_path.iterdir()] == ["site.toml"]


@pytest.mark.parametrize("code", [GOOD, NO_REPLY])
async def test_a_device_that_measures_on_command_is_told_to_before_it_is_read(plan: Plan, code: int) -> None:
    trigger = TriggerStep(function=6, address=8, values=(1,), wait_ms=0, answered=True)
    place = next(n for n, block in enumerate(plan.blocks) if plan.devices[block.device].id == "main")
    blocks = list(plan.blocks)
    blocks[place] = replace(blocks[place], read=replace(blocks[place].read, trigger=trigger))
    made, make = _ports({81: code})
    ticks = await read_once(replace(plan, blocks=tuple(blocks)), make)  # type: ignore[arg-type]
    ((before, write),) = made["bus-1"].written
    assert (write.unit_id, write.address, write.answered_by) == (81, 8, (81,))
    assert [request.unit_id for request in made["bus-1"].asked[before:]][:1] == ([81] if code == GOOD else [])
    assert (NO_REPLY in (ticks[place][3] or ())) == (code == NO_REPLY)
