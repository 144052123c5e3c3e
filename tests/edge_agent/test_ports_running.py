"""Ports on a reload, and a poller that ends by itself."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.quality import NO_REPLY
from drivers.port import BusPort, ReadRequest, ReadResult, WriteRequest, WriteResult, monotonic_us
from edge_agent import ports_running
from edge_agent.compile import compile_site
from edge_agent.errors import ControlError
from edge_agent.plan import Plan
from edge_agent.plan_diff import unchanged_ports
from edge_agent.plan_ports import PortPlan
from edge_agent.ports_running import RunningPorts
from tests.edge_agent.running_agent import site
from tests.edge_agent.site_files import write_site


class Port:
    """Answers nothing; what it was asked is counted.  Opening fails as often as the test says."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.opened = self.closed = 0

    async def open(self) -> None:
        self.opened += 1
        if self.opened <= self.failures:
            raise TypeError("a defect")

    async def close(self) -> None:
        self.closed += 1

    async def read(self, request: ReadRequest) -> ReadResult:
        now = monotonic_us()
        return ReadResult(words=None, code=NO_REPLY, requested_us=now, replied_us=now)

    async def write(self, request: WriteRequest) -> WriteResult:
        raise AssertionError("nobody writes here")


def _plan(folder: Path, ports: dict[str, int], **options: float) -> Plan:
    folder.mkdir(exist_ok=True)
    return compile_site(write_site(folder, site(ports, **options))).plan  # type: ignore[arg-type]


def test_places_in_the_file_are_no_part_of_a_port(tmp_path: Path) -> None:
    old = _plan(tmp_path / "old", {"a": 1001, "b": 1002})
    new = _plan(tmp_path / "new", {"c": 1003, "b": 1002, "a": 1001})
    same = unchanged_ports(old, new)
    assert sorted(same) == ["a", "b"]
    names = {number: old.devices[block.device].id for number, block in enumerate(old.blocks)}
    for mapping in same.values():
        for before, after in mapping.items():
            assert names[before] == new.devices[new.blocks[after].device].id


def test_a_port_differs_when_anything_that_a_poller_goes_by_does(tmp_path: Path) -> None:
    old = _plan(tmp_path / "old", {"a": 1001})
    assert unchanged_ports(old, _plan(tmp_path / "address", {"a": 1009})) == {}
    assert unchanged_ports(old, _plan(tmp_path / "interval", {"a": 1001}, interval_s=0.5)) == {}
    block = old.blocks[0]
    alarm = replace(old, blocks=(replace(block, is_alarm=not block.is_alarm), *old.blocks[1:]))
    assert unchanged_ports(old, alarm) == {}
    scaled = replace(old, points=tuple(replace(point, kind="f32") for point in old.points))
    assert unchanged_ports(old, scaled) == {}


async def test_a_poller_that_fails_is_reported_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ports_running, "_RESTART_S", 0.001)
    port = Port(failures=2)
    rows: list[int] = []
    got_one = asyncio.Event()

    def take(block: int, *rest: object) -> None:
        rows.append(block)
        got_one.set()

    running = RunningPorts(take, lambda plan: port)
    assert running.start(_plan(tmp_path, {"a": 1001})) == ["a"]
    await asyncio.wait_for(got_one.wait(), 5)
    assert running.restarts == 2
    assert "port a: polling failed" in caplog.text
    await running.stop_all()
    assert len(running) == 0
    assert port.closed == port.opened


async def test_ports_are_stopped_together_and_a_stuck_one_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ports_running, "_STOP_LIMIT_S", 0.5)

    class Stuck(Port):
        async def read(self, request: ReadRequest) -> ReadResult:
            await asyncio.Event().wait()
            raise AssertionError

    def make(plan: PortPlan) -> Port:
        return Stuck() if plan.id == "a" else Port()

    running = RunningPorts(lambda *row: None, make)
    running.start(_plan(tmp_path, {"a": 1001, "b": 1002, "c": 1003}))
    await asyncio.sleep(0.15)
    before = asyncio.get_running_loop().time()
    await running.stop_all()
    assert asyncio.get_running_loop().time() - before < 5
    assert "port a did not end in time" in caplog.text
    assert "port b" not in caplog.text


async def test_a_port_that_is_polled_can_be_borrowed(tmp_path: Path) -> None:
    made: dict[str, Port] = {}

    def make(plan: PortPlan) -> Port:
        return made.setdefault(plan.id, Port())

    async def job(port: BusPort) -> BusPort:
        return port

    running = RunningPorts(lambda *row: None, make)
    running.start(_plan(tmp_path, {"a": 1001, "b": 1002}, interval_s=60.0))
    await asyncio.sleep(0.05)
    assert await asyncio.wait_for(running.borrow("b", job, seconds=0.2), 5) is made["b"]
    with pytest.raises(ControlError, match="no port 'c' that is polled; there are a, b"):
        await running.borrow("c", job)
    await running.stop_all()
    with pytest.raises(ControlError, match="there are none"):
        await running.borrow("a", job)


def test_an_earlier_deadline_makes_another_port(tmp_path: Path) -> None:
    old = _plan(tmp_path / "old", {"a": 1001})
    sooner = replace(old, blocks=tuple(replace(block, deadline_ms=5000) for block in old.blocks))
    assert unchanged_ports(old, sooner) == {}
