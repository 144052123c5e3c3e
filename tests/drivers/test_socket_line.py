"""Ports over RTU in TCP against simulated devices: read, written, cut, and back again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pymodbus.framer import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from contracts import quality
from drivers import dial_in_listener
from drivers.dial_in import DtuForm, Packet, PacketForm
from drivers.dial_in_listener import DialIns
from drivers.frames import FrameRequest, build_reply, parse_request
from drivers.port import RawRequest, ReadRequest, ReadResult, WriteRequest
from drivers.socket_line import DialInLine, SocketLine, dialling_line
from simulators.dtu_client import DtuClient
from simulators.plant import DtuLine, RtuTcpLine, make_plant
from simulators.rtu_tcp_server import RtuTcpServer
from simulators.world import World
from tests.drivers.test_dial_in_listener import free_address

BAUD = 115200
REGISTRATION = Packet(kind="pattern", value=r"WELL-\d+ CSQ:\d+")
HEARTBEAT = Packet(kind="hex", value="FE FE")


def read(unit_id: int = 1, address: int = 2, count: int = 2, **more: object) -> ReadRequest:
    fields: dict[str, Any] = {"timeout_s": 0.3, "max_reply_s": 0.5, **more}
    return ReadRequest(unit_id=unit_id, table="holding", address=address, count=count, **fields)


async def settled(port: SocketLine, wanted: Callable[[ReadResult], bool], **more: object) -> ReadResult:
    """Reads until the result is as wanted, which it must be soon."""
    until = time.monotonic() + 20.0
    while True:
        result = await port.read(read(**more))  # type: ignore[arg-type]
        if wanted(result) or time.monotonic() > until:
            return result
        await asyncio.sleep(0.02)


def is_good(result: ReadResult) -> bool:
    return result.code == quality.GOOD


SITE = {
    "device": [
        {"id": "well", "port": "line", "unit_id": 1, "profile": "keller-30"},
        {"id": "main", "port": "line", "unit_id": 2, "profile": "keller-30"},
    ]
}


def world_of(port: dict[str, Any], folder: Path) -> World:
    return World(
        make_plant({"port": [{"id": "line", "baud": BAUD, **port}], **SITE}, "site.toml", folder), time.monotonic
    )


@contextlib.asynccontextmanager
async def serial_server(folder: Path, host: str, number: int) -> AsyncIterator[RtuTcpServer]:
    world = world_of({"kind": "rtu-tcp", "host": host, "port": number}, folder)
    line = world.plant.lines[0]
    assert isinstance(line, RtuTcpLine)
    server = RtuTcpServer(line, {1: "well", 2: "main"}, world)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def dtu_client(folder: Path, address: tuple[str, int], registration: str = "WELL-7 CSQ:21") -> DtuClient:
    packets = {"registration": {"text": registration}, "heartbeat": {"hex": HEARTBEAT.value}}
    world = world_of({"kind": "dtu", "listen": f"{address[0]}:{address[1]}", **packets}, folder)
    line = world.plant.lines[0]
    assert isinstance(line, DtuLine)
    return DtuClient(line, {1: "well", 2: "main"}, world, heartbeat_s=0.01, dial_again_s=0.05)


@contextlib.asynccontextmanager
async def opened(port: SocketLine) -> AsyncIterator[SocketLine]:
    await port.open()
    try:
        yield port
    finally:
        await port.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial_in_listener, "QUIET_S", 0.03)


async def test_a_serial_server_is_read_and_written(tmp_path: Path) -> None:
    host, number = free_address()
    async with serial_server(tmp_path, host, number) as server, opened(dialling_line(host, number, baud=BAUD)) as port:
        server.units._world.set_point("main/pressure", 2.0)
        well, main = await port.read(read(1)), await port.read(read(2))
        assert (well.code, main.code) == (quality.GOOD, quality.GOOD)
        assert well.words is not None
        assert well.words != main.words
        refused = await port.read(read(1, address=60000))
        assert (refused.code, refused.words) == (quality.ILLEGAL_ADDRESS, None)
        absent = await port.read(read(9, timeout_s=0.05))
        assert absent.code == quality.NO_REPLY
        assert is_good(await port.read(read(2)))
        assert server.units.counts.connections == 1
        heard = await port.raw(RawRequest(frame=bytes.fromhex("01 03 00 02 00 02 65 CB"), listen_s=1.0))
        assert b"".join(data for _, data in heard.heard)[:3] == b"\x01\x03\x04"


async def test_a_write_is_confirmed_over_tcp(tmp_path: Path) -> None:
    host, number = free_address()
    async with serial_server(tmp_path, host, number), opened(dialling_line(host, number, baud=BAUD)) as port:
        before = await port.read(read())
        assert before.words is not None
        result = await port.write(
            WriteRequest(
                unit_id=1,
                function=16,
                address=2,
                values=(1, 2),
                timeout_s=0.3,
                max_reply_s=0.5,
                answered_by=(1,),
            )
        )
        assert (result.code, result.detail) == (quality.GOOD, "")
        assert (await port.read(read())).words == (1, 2)


@pytest.mark.parametrize(("fault", "code"), [("wrong_crc", quality.BAD_FRAME), ("dead", quality.NO_REPLY)])
async def test_a_fault_of_one_device_costs_the_others_nothing(tmp_path: Path, fault: str, code: int) -> None:
    host, number = free_address()
    async with serial_server(tmp_path, host, number) as server, opened(dialling_line(host, number, baud=BAUD)) as port:
        server.units._world.set_fault("well", fault)
        assert (await port.read(read(1, timeout_s=0.05, max_reply_s=0.1))).code == code
        assert is_good(await port.read(read(2)))
        assert server.units.counts.connections == 1


async def test_a_serial_server_that_goes_comes_back(tmp_path: Path) -> None:
    host, number = free_address()
    async with opened(dialling_line(host, number, baud=BAUD)) as port:
        nobody = await port.read(read())
        assert nobody.code == quality.PORT_CLOSED
        assert "Connection refused" in nobody.detail
        async with serial_server(tmp_path, host, number):
            assert is_good(await settled(port, is_good))
        gone = await port.read(read())
        assert (gone.code, gone.words) == (quality.PORT_CLOSED, None)
        async with serial_server(tmp_path, host, number):
            assert is_good(await settled(port, is_good))
        assert port.counters.reopened == 1


async def test_a_late_reply_is_never_anothers_answer(tmp_path: Path) -> None:
    host, number = free_address()
    async with serial_server(tmp_path, host, number) as server:
        async with opened(dialling_line(host, number, baud=BAUD, network_delay_s=0.05)) as port:
            server.units._world.set_point("well/pressure", 2.0)
            other, right = (await port.read(read(address=2))).words, (await port.read(read(address=4))).words
            assert other != right
            server.units._world.set_fault("well", "late", delay_s=0.15)
            assert (await port.read(read(address=2, timeout_s=0.02, max_reply_s=0.2))).code == quality.NO_REPLY
            held = await port.read(read(address=4, timeout_s=0.02, max_reply_s=0.2))
            assert held.code == quality.NOT_ASKED
            server.units._world.set_fault("well", "none")
            after = await settled(port, lambda result: result.code != quality.NOT_ASKED, address=4)
            assert after.words == right
            assert port.counters.late_replies == 1


async def test_frames_come_byte_by_byte_and_glued_to_noise(tmp_path: Path) -> None:
    """TCP may cut a reply anywhere, and a server may still hold bytes of its own."""
    address = free_address()
    noise = [b"", b"\x00", b"\xff\x00", build_reply(9, 3, (7,)), b""]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = parse_request(await reader.readexactly(8))
                assert isinstance(request, FrameRequest)
                words = [request.address + place for place in range(request.count)]
                for byte in noise[request.address % len(noise)] + build_reply(1, 3, words):
                    writer.write(bytes((byte,)))
                    await writer.drain()
                    await asyncio.sleep(0.0005)
        writer.close()

    server = await asyncio.start_server(serve, *address)
    try:
        async with opened(dialling_line(*address, baud=BAUD)) as port:
            for start in range(10):
                assert (await port.read(read(address=start, count=4))).words == (start, start + 1, start + 2, start + 3)
            assert port.counters.foreign == 2
    finally:
        server.close()


async def test_a_dtu_dials_in_is_read_and_dials_again(tmp_path: Path) -> None:
    dial_ins, address = DialIns(), free_address()
    form = DtuForm(registration=PacketForm(REGISTRATION), heartbeat=PacketForm(HEARTBEAT))
    line = DialInLine("well-line", address, form, dial_ins, baud=BAUD, network_delay_s=0.1)
    async with opened(line) as port:
        absent = await port.read(read())
        assert (absent.code, absent.detail) == (quality.PORT_CLOSED, "DTU well-line has not dialled in")
        client = dtu_client(tmp_path, address)
        await client.start()
        assert is_good(await settled(port, is_good))
        for _ in range(20):  # heartbeats come every 10 ms in between
            assert is_good(await port.read(read()))
            await asyncio.sleep(0.01)
        client.hang_up()
        assert is_good(await settled(port, is_good))
        counters = dial_ins.listeners()[0].counters
        assert (counters.registered, counters.unknown) == (2, 0)
        await client.stop()
        gone = await settled(port, lambda result: result.code == quality.PORT_CLOSED)
        assert gone.code == quality.PORT_CLOSED
        again = dtu_client(tmp_path, address, "WELL-7 CSQ:9")
        await again.start()
        began = time.monotonic()
        assert is_good(await settled(port, is_good))
        assert time.monotonic() - began < 2.0  # whatever back-off ran when it came
        await again.stop()
    assert dial_ins.listeners() == ()


async def test_a_second_connection_of_the_same_dtu_takes_over_at_once(tmp_path: Path) -> None:
    """The first one is not closed by its side, as when a cellular network forgets it."""
    dial_ins, address = DialIns(), free_address()
    form = DtuForm(registration=PacketForm(REGISTRATION), heartbeat=PacketForm(HEARTBEAT))
    async with opened(DialInLine("a", address, form, dial_ins, baud=BAUD, network_delay_s=0.1)) as port:
        old_reader, old_writer = await asyncio.open_connection(*address)
        old_writer.write(b"WELL-7 CSQ:3")
        await settled(port, lambda result: result.code == quality.NO_REPLY, timeout_s=0.05, max_reply_s=0.1)
        client = dtu_client(tmp_path, address)
        await client.start()
        assert is_good(await settled(port, is_good))
        assert await asyncio.wait_for(old_reader.read(), 10) is not None
        assert old_reader.at_eof()
        assert dial_ins.listeners()[0].counters.replaced == 1
        await client.stop()
        old_writer.close()


async def test_two_dtus_share_one_address(tmp_path: Path) -> None:
    dial_ins, address = DialIns(), free_address()

    def line(name: str, registration: str) -> DialInLine:
        form = DtuForm(
            registration=PacketForm(Packet(kind="text", value=registration)), heartbeat=PacketForm(HEARTBEAT)
        )
        return DialInLine(name, address, form, dial_ins, baud=BAUD, network_delay_s=0.1)

    async with opened(line("a", "DTU-A")) as a, opened(line("b", "DTU-B")) as b:
        clients = [dtu_client(tmp_path, address, name) for name in ("DTU-A", "DTU-B", "DTU-C")]
        clients[0].units._world.set_fault("well", "exception", code=2)
        for client in clients:
            await client.start()
        assert (await settled(a, lambda result: result.code != quality.PORT_CLOSED)).code == quality.ILLEGAL_ADDRESS
        assert is_good(await settled(b, is_good))
        assert dial_ins.listeners()[0].counters.unknown >= 1
        await a.close()
        assert is_good(await b.read(read()))
        for client in clients:
            await client.stop()


async def test_pymodbus_rtu_over_tcp_server_as_referee() -> None:
    address = free_address()
    registers = [SimData(0, values=list(range(1000, 1100)), datatype=DataType.REGISTERS)]
    server = ModbusTcpServer(SimDevice(7, simdata=registers), address=address, framer=FramerType.RTU)
    await server.serve_forever(background=True)
    try:
        async with opened(dialling_line(*address, baud=BAUD)) as port:
            for start in range(10):
                result = await port.read(read(7, address=start, count=3))
                assert result.words == (1000 + start, 1001 + start, 1002 + start)
            assert (await port.read(read(7, address=5000))).code == quality.ILLEGAL_ADDRESS
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]
