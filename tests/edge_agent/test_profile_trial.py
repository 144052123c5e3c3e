"""One reading of a unit through a profile: units told by the unit, triggers only with leave, holes by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from contracts.quality import GOOD, ILLEGAL_ADDRESS, NO_REPLY, WARM_UP
from drivers.loader import load_profile, parse_profile
from drivers.matching import Surely
from drivers.port import ReadRequest, ReadResult, WriteRequest, WriteResult
from drivers.profile import Profile
from edge_agent.profile_trial import Trial, UnitTrial
from simulators.device import Memory, answer
from simulators.image import DeviceImage

TRIGGERED = """
id = "mini"
names = { en = "Mini", zh = "迷你" }
maker = "none"
model = "none"
kind = "other"
confidence = "M"
sources = ["made up for a test"]
[limits]
min_request_gap_ms = 40
[triggers.measure]
function = 6
address = 8
values = [1]
wait_ms = 300
answered = false
[points.raw]
names = { en = "raw", zh = "原始" }
quantity = "raw"
address = 1
type = "u16"
resolution = "1"
unit = "1"
[points.distance]
names = { en = "distance", zh = "距离" }
quantity = "distance"
address = 2
type = "u16"
resolution = "0.001"
unit = "m"
trigger = "measure"
"""


class Unit:
    """A unit behind a port, out of a memory; addresses above ``end`` are refused."""

    def __init__(self, memory: Memory | None, *, end: int = 65536) -> None:
        self.memory, self.end = memory, end
        self.asked: list[ReadRequest | WriteRequest] = []

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def read(self, request: ReadRequest) -> ReadResult:
        self.asked.append(request)
        if self.memory is None:
            return ReadResult(words=None, code=NO_REPLY, requested_us=0, replied_us=0, detail="silence")
        if request.address + request.count > self.end:
            return ReadResult(words=None, code=ILLEGAL_ADDRESS, requested_us=0, replied_us=9)
        function = {"holding": 3, "input": 4}[request.table]
        found = answer(
            bytes((function,)) + request.address.to_bytes(2, "big") + request.count.to_bytes(2, "big"), self.memory
        )
        assert found is not None
        data = found.pdu[2:]
        words = tuple(int.from_bytes(data[place : place + 2], "big") for place in range(0, len(data), 2))
        return ReadResult(words=words, code=GOOD, requested_us=1_000, replied_us=21_000)

    async def write(self, request: WriteRequest) -> WriteResult:
        self.asked.append(request)
        return WriteResult(code=GOOD, requested_us=0, replied_us=0)


def trial(profile: Profile, unit: Unit, *, may_trigger: bool = False, slept: list[float] | None = None) -> Trial:
    async def sleep(seconds: float) -> None:
        if slept is not None:
            slept.append(seconds)

    return asyncio.run(UnitTrial(unit, profile, 17, may_trigger=may_trigger, sleep=sleep).run())


def image(id: str, **shown: float | str) -> tuple[Profile, Callable[..., Unit]]:
    profile = load_profile(id)
    return profile, lambda **more: Unit(DeviceImage(profile, unit_id=17, **more).memory(shown))


def test_a_unit_is_recognised_and_read_in_the_unit_that_it_is_set_to() -> None:
    profile, unit = image("honeywell-xrl", gas=50.0)
    got = trial(profile, unit(units={"gas": "[ppm]"}))
    assert got.match.surely is Surely.SURE
    rows = {row.name: row for row in got.rows}
    assert (rows["gas"].text, rows["gas"].unit, rows["gas"].code) == ("50", "[ppm]", GOOD)
    assert (rows["a1"].text, rows["a1"].zh) == ("0", "一级报警")
    assert got.slowest_s == 0.02


def test_a_state_stays_a_state() -> None:
    profile, unit = image("honeywell-xnx", gas="warm_up")
    rows = {row.name: row for row in trial(profile, unit()).rows}
    assert (rows["gas"].text, rows["gas"].code) == ("", WARM_UP)


def test_a_unit_that_is_silent_gives_causes_and_no_numbers() -> None:
    got = trial(load_profile("honeywell-xnx"), Unit(None))
    assert {(row.text, row.code) for row in got.rows} == {("", NO_REPLY)}
    assert (got.slowest_s, got.match.surely, got.details) == (None, Surely.UNKNOWN, ("silence",))


def test_a_block_over_a_hole_is_read_point_by_point() -> None:
    profile = load_profile("evikon-e2660")
    memory = DeviceImage(profile).memory({"gas": 3.0})
    got = trial(profile, Unit(memory, end=300))
    assert {row.name: (row.text, row.code) for row in got.rows} == {
        "gas": ("3", GOOD),
        "gas-2": ("", ILLEGAL_ADDRESS),
        "no-sensor": ("0", GOOD),
        "data-age": ("0", GOOD),
    }


def test_nothing_is_triggered_without_leave() -> None:
    profile = parse_profile(TRIGGERED.encode(), file="mini.toml", id="mini")
    unit = Unit(DeviceImage(profile).memory({"distance": 1.5}))
    got = trial(profile, unit)
    assert got.untriggered == ("distance",)
    assert [type(item) for item in unit.asked] == [ReadRequest]


def test_with_leave_the_write_goes_first_and_the_wait_is_kept() -> None:
    profile = parse_profile(TRIGGERED.encode(), file="mini.toml", id="mini")
    unit, slept = Unit(DeviceImage(profile).memory({"distance": 1.5})), []
    got = trial(profile, unit, may_trigger=True, slept=slept)
    assert {row.name: row.text for row in got.rows} == {"raw": "0", "distance": "1.500"}
    _, write, read = unit.asked
    assert isinstance(write, WriteRequest)
    assert (write.address, write.values, write.answered_by) == (8, (1,), ())
    assert isinstance(read, ReadRequest)
    assert slept == [0.04, 0.3, 0.04]


def test_a_serial_number_is_read_where_the_profile_knows_it() -> None:
    profile = load_profile("senseair-s8")
    assert trial(profile, Unit(DeviceImage(profile, serial="4711").memory({}))).serial_number == "4711"
