"""The bus through the control socket: both ends, what is refused, and what is noted."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from contracts import quality
from drivers.frames import read_request, with_crc
from drivers.port import BusPort, RawRequest, RawResult, ReadRequest, ReadResult, WriteRequest, WriteResult
from edge_agent.borrowed_port import BorrowedPort, lent_ports
from edge_agent.bus_ops import LONGEST_LISTEN_S, bus_operations
from edge_agent.compile import compile_site
from edge_agent.control import ControlServer
from edge_agent.errors import ControlError, NotRunningError
from edge_agent.plan import Plan
from edge_agent.tools.where import named
from tests.edge_agent.site_files import write_site

T = TypeVar("T")
READ = ReadRequest(unit_id=2, table="holding", address=4, count=2, timeout_s=1.0, max_reply_s=1.0)
WRITE = WriteRequest(unit_id=9, function=6, address=4, values=(5,), timeout_s=1.0, max_reply_s=1.0, answered_by=(9,))
FRAME = read_request(unit_id=2, table="holding", address=0, count=1).adu


class Port:
    """A line whose answers the test knows."""

    async def read(self, request: ReadRequest) -> ReadResult:
        return ReadResult(words=(request.address, request.count), code=quality.GOOD, requested_us=1, replied_us=2)

    async def write(self, request: WriteRequest) -> WriteResult:
        code = quality.GOOD if request.values == (5,) else quality.NO_REPLY
        return WriteResult(code=code, requested_us=1, replied_us=2)

    async def raw(self, request: RawRequest) -> RawResult:
        return RawResult(heard=((3, request.frame), (4, b"\1")), code=quality.GOOD, requested_us=1, ended_us=5)


class TcpPort:
    """A port without bytes to see."""

    async def read(self, request: ReadRequest) -> ReadResult:
        return ReadResult(words=None, code=quality.NO_REPLY, requested_us=1, replied_us=2, detail="no reply")


@dataclass
class Agent:
    """What the operations ask of an agent."""

    plan: Plan
    notes: list[tuple[str, str]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def ports(self) -> Agent:
        return self

    async def borrow(self, port_id: str, job: Callable[[BusPort], Awaitable[T]], *, seconds: float = 1.0) -> T:
        self.seconds.append(seconds)
        ports: dict[str, Any] = {"bus-1": Port(), "tcp-1": TcpPort()}
        if port_id not in ports:
            raise ControlError(f"there is no port {port_id!r} that is polled; there are bus-1, tcp-1", exit_status=2)
        return await job(ports[port_id])

    def note(self, kind: str, text: str) -> None:
        self.notes.append((kind, text))


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    plan = compile_site(write_site(tmp_path)).plan
    agent = Agent(plan)
    server = ControlServer(tmp_path / "control.sock", bus_operations(agent))
    await server.start()
    yield agent
    await server.close()


@pytest.fixture
def socket(agent: Agent, tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


async def test_the_ports_and_who_is_on_them(socket: Path) -> None:
    tcp, bus = await asyncio.to_thread(lent_ports, socket)
    assert (bus.id, bus.kind, bus.baud, bus.parity, bus.stop_bits) == ("bus-1", "serial", 9600, "N", 1)
    assert bus.devices == {2: "main-1"}
    assert bus.device.endswith("/bus-1")
    assert (tcp.id, tcp.kind, tcp.devices) == ("tcp-1", "tcp", {1: "well-1"})


async def test_a_read_takes_a_slot_as_long_as_it_may_need(agent: Agent, socket: Path) -> None:
    result = await BorrowedPort(socket, "bus-1").read(READ)
    assert result.words == (4, 2)
    assert READ.timeout_s < agent.seconds[0] < READ.timeout_s + 0.15


async def test_a_failed_read_is_a_value(socket: Path) -> None:
    result = await BorrowedPort(socket, "tcp-1").read(READ)
    assert (result.words, result.code, result.detail) == (None, quality.NO_REPLY, "no reply")


async def test_raw_bytes_come_back_with_their_times(socket: Path) -> None:
    result = await BorrowedPort(socket, "bus-1").raw(RawRequest(frame=FRAME, listen_s=0.05))
    assert result.heard == ((3, FRAME), (4, b"\1"))
    assert result.ended_us == 5


async def test_a_tcp_port_has_no_raw_bytes(socket: Path) -> None:
    with pytest.raises(ControlError, match="no line whose bytes can be seen"):
        await BorrowedPort(socket, "tcp-1").raw(RawRequest(frame=b"", listen_s=0.05))


async def test_an_unknown_port_names_the_ones_there_are(socket: Path) -> None:
    with pytest.raises(ControlError, match="there are bus-1, tcp-1"):
        await BorrowedPort(socket, "bus-7").read(READ)


@pytest.mark.parametrize(
    ("frame", "listen_s", "sentence"),
    [
        (FRAME[:-1] + b"\0", 0.1, "no right CRC"),
        (with_crc(bytes.fromhex("02 06 00 10 00 01")), 0.1, "function 6 in a raw frame could change a device"),
        # a write behind a read, under one CRC
        (with_crc(FRAME + with_crc(bytes.fromhex("02 06 00 10 00 01"))), 0.1, "no plain question"),
        (with_crc(bytes.fromhex("02 2B 0D 00 01")), 0.1, "no plain question"),
        (with_crc(bytes.fromhex("00 10 00 10 00 01 02 00 01")), 0.1, "could change a device"),
        (with_crc(bytes.fromhex("02 08 00 01 00 00")), 0.1, "could change a device"),
        (b"", LONGEST_LISTEN_S + 1, "'listen_s' is needed"),
    ],
)
async def test_a_raw_frame_can_only_ask_and_holds_the_line_for_a_moment(
    socket: Path, frame: bytes, listen_s: float, sentence: str
) -> None:
    with pytest.raises(ControlError, match=sentence):
        await BorrowedPort(socket, "bus-1").raw(RawRequest(frame=frame, listen_s=listen_s))


async def test_a_request_that_modbus_cannot_carry_is_a_sentence(socket: Path) -> None:
    with pytest.raises(ControlError, match="count 126"):
        await BorrowedPort(socket, "bus-1").read(replace(READ, count=126))


async def test_a_write_is_in_a_persons_name_and_noted_before_it_is_done(agent: Agent, socket: Path) -> None:
    result = await BorrowedPort(socket, "bus-1", by="the technician").write(WRITE)
    assert result.code == quality.GOOD
    assert agent.notes == [("written", "bus-1 unit 9 function 6 at 4: [5] by the technician")]
    with pytest.raises(ControlError, match="'by' is needed"):
        await BorrowedPort(socket, "bus-1").write(WRITE)


async def test_a_write_that_nobody_confirmed_is_noted_as_such(agent: Agent, socket: Path) -> None:
    result = await BorrowedPort(socket, "bus-1", by="x").write(replace(WRITE, values=(6,)))
    assert result.code == quality.NO_REPLY
    assert agent.notes[-1][1].endswith("not confirmed: no_reply")


@pytest.mark.parametrize("unit_id", [2, 0])
async def test_a_device_that_does_not_allow_it_is_never_written_to(agent: Agent, socket: Path, unit_id: int) -> None:
    with pytest.raises(ControlError, match="allow_write = true"):
        await BorrowedPort(socket, "bus-1", by="x").write(replace(WRITE, unit_id=unit_id, answered_by=()))
    assert agent.notes == []
    assert agent.seconds == []


async def test_a_device_that_allows_it_is_written_to(agent: Agent, socket: Path) -> None:
    agent.plan = replace(agent.plan, devices=tuple(replace(one, allow_write=True) for one in agent.plan.devices))
    result = await BorrowedPort(socket, "bus-1", by="x").write(replace(WRITE, unit_id=2, answered_by=(2,)))
    assert result.code == quality.GOOD


def test_without_an_agent_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError):
        lent_ports(tmp_path / "control.sock")


def options(folder: Path, port: str) -> argparse.Namespace:
    return argparse.Namespace(port=port, config=folder / "site.toml", state_dir=folder)


async def test_a_device_that_the_agent_polls_is_borrowed_by_its_address_too(
    agent: Agent, socket: Path, tmp_path: Path
) -> None:
    tcp = next(port for port in agent.plan.ports if port.kind == "tcp")
    found = await asyncio.to_thread(named, options(tmp_path, f"{tcp.host}:{tcp.port}"))
    assert found.lent is not None
    assert found.lent.id == "tcp-1"
    other = await asyncio.to_thread(named, options(tmp_path, f"{tcp.host}:{tcp.port + 1}"))
    assert (other.lent, other.host, other.tcp_port, other.port_id) == (None, tcp.host, tcp.port + 1, "")
