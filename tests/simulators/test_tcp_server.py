"""Modbus TCP: frames as a client sees them, and mbpoll as outside referee."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable

import pytest

from simulators.errors import PortInUse
from simulators.plant import Plant, TcpLine
from simulators.tcp_server import TcpServer
from simulators.world import World
from tests.simulators.conftest import Clock

READ_GAS = bytes.fromhex("03 00 02 00 02")


@pytest.fixture
async def server(plant: Plant, clock: Clock) -> AsyncIterator[TcpServer]:
    line = plant.lines[0]
    assert isinstance(line, TcpLine)
    world = World(plant, clock)
    world.set_point("well/gas", 50.0)
    world.set_point("head/gas", 12.5)
    server = TcpServer(line, {1: "well", 2: "head"}, world)
    await server.start()
    yield server
    await server.stop()


def frame(transaction: int, unit_id: int, pdu: bytes) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit_id) + pdu


async def ask(server: TcpServer, data: bytes, size: int, timeout_s: float = 10.0) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.readexactly(size), timeout_s)
    finally:
        writer.close()


GAS_50 = bytes.fromhex("03 04 42 48 00 00")


async def test_a_read_is_answered_with_its_transaction_and_unit(server: TcpServer) -> None:
    assert await ask(server, frame(0x1234, 1, READ_GAS), 13) == frame(0x1234, 1, GAS_50)


async def test_requests_that_come_in_pieces_and_together(server: TcpServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    whole = frame(1, 1, READ_GAS) + frame(2, 1, READ_GAS)
    writer.write(whole[:5])
    await writer.drain()
    await asyncio.sleep(0)
    writer.write(whole[5:])
    got = await asyncio.wait_for(reader.readexactly(26), 10)
    assert got == frame(1, 1, GAS_50) + frame(2, 1, GAS_50)
    writer.close()


async def test_a_unit_that_nobody_simulates_gets_exception_11(server: TcpServer) -> None:
    assert await ask(server, frame(7, 9, READ_GAS), 9) == frame(7, 9, bytes((0x83, 11)))


async def test_a_late_reply_does_not_hold_back_the_next_one(server: TcpServer) -> None:
    server._world.set_fault("well", "late", delay_s=0.15)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(frame(1, 1, READ_GAS) + frame(2, 2, bytes.fromhex("03 00 05 00 01")))
    first = await asyncio.wait_for(reader.readexactly(11), 10)
    second = await asyncio.wait_for(reader.readexactly(13), 10)
    assert (first[:2], second[:2]) == (b"\0\x02", b"\0\x01")
    writer.close()


async def test_the_wrong_unit_fault_and_silence(server: TcpServer) -> None:
    server._world.set_fault("well", "wrong_unit")
    assert (await ask(server, frame(1, 1, READ_GAS), 13))[6] == 2
    server._world.set_fault("well", "dead")
    with pytest.raises(TimeoutError):
        await ask(server, frame(1, 1, READ_GAS), 1, timeout_s=0.1)


async def test_what_is_no_modbus_tcp_ends_the_connection(server: TcpServer) -> None:
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await ask(server, b"GET / HTTP/1.1\r\n\r\n", 1)


async def test_a_taken_address_is_a_sentence(server: TcpServer, plant: Plant, clock: Clock) -> None:
    with pytest.raises(PortInUse, match="another program listens there"):
        await TcpServer(server.line, {}, World(plant, clock)).start()


async def test_mbpoll_reads_what_was_set(server: TcpServer, require_tool: Callable[[str], str]) -> None:
    mbpoll = require_tool("mbpoll")
    arguments = [
        "-m",
        "tcp",
        "-p",
        str(server.port),
        "-a",
        "1",
        "-0",
        "-r",
        "2",
        "-c",
        "1",
        "-B",
        "-t",
        "4:float",
        "-1",
    ]
    process = await asyncio.create_subprocess_exec(
        mbpoll, *arguments, "127.0.0.1", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0, output.decode()
    assert "[2]: \t50" in output.decode()
