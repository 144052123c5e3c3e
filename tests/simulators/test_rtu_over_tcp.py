"""The serial server and the DTU of the simulator, spoken to with plain sockets."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.frames import read_request, with_crc
from simulators.app import Simulator
from simulators.dtu_client import DtuClient
from simulators.errors import FileError, PortInUse
from simulators.plant import DtuLine, LineSettings, Plant, RtuTcpLine, make_plant
from simulators.rtu_stream import RtuUnits
from simulators.rtu_tcp_server import RtuTcpServer
from simulators.world import World

REQUEST = read_request(unit_id=2, table="holding", address=2, count=2).adu
WRITE = with_crc(bytes.fromhex("02 10 0002 0002 04 0001 0002"))
DTU = {"id": "dtu", "kind": "dtu", "registration": {"text": "WELL-7"}, "heartbeat": {"hex": "FE"}, "baud": 115200}


@pytest.fixture
def plant(free_port: Callable[[], int], tmp_path: Path) -> Plant:
    return plant_of(free_port(), free_port(), tmp_path)


def plant_of(far: int, dtu: int, folder: Path, **more: Any) -> Plant:
    ports = [
        {"id": "far", "kind": "rtu-tcp", "host": "127.0.0.1", "port": far, "baud": 115200},
        {**DTU, "listen": f"0.0.0.0:{dtu}", **more},
    ]
    device = {"unit_id": 2, "profile": "keller-30"}
    devices = [{"id": "main", "port": "far", **device}, {"id": "well", "port": "dtu", **device}]
    return make_plant({"port": ports, "device": devices}, "site.toml", folder)


def far_line(plant: Plant) -> RtuTcpLine:
    line = plant.lines[0]
    assert isinstance(line, RtuTcpLine)
    return line


def dtu_line(plant: Plant) -> DtuLine:
    line = plant.lines[1]
    assert isinstance(line, DtuLine)
    return line


def test_what_the_site_file_says(plant: Plant) -> None:
    line = dtu_line(plant)
    assert (line.host, line.registration, line.heartbeat) == ("0.0.0.0", b"WELL-7", b"\xfe")
    assert far_line(plant).settings == LineSettings(baud=115200)


def test_a_pattern_needs_an_example_to_be_sent(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"port\[1\]: registration: only a pattern is given"):
        plant_of(1, 2, tmp_path, registration={"pattern": "A+"})
    assert dtu_line(plant_of(1, 2, tmp_path, registration={"pattern": "A+", "example": "AA"})).registration == b"AA"


@given(st.lists(st.sampled_from([REQUEST, WRITE]), max_size=6), st.lists(st.integers(0, 90), max_size=8))
def test_requests_are_found_in_any_segments(frames: list[bytes], places: list[int]) -> None:
    units = RtuUnits(LineSettings(), {}, World(Plant(source="", lines=(), devices={}), time.monotonic))
    stream, found, pending = b"".join(frames), [], b""
    ends = sorted({min(place, len(stream)) for place in places} | {len(stream)})
    for begin, end in zip([0, *ends], ends, strict=False):
        whole, pending = units.split(pending + stream[begin:end])
        found += whole
    assert (found, pending, units.counts.noise) == (frames, b"", 0)


@given(st.binary(min_size=8, max_size=64))
def test_noise_is_dropped_and_counted(noise: bytes) -> None:
    units = RtuUnits(LineSettings(), {}, World(Plant(source="", lines=(), devices={}), time.monotonic))
    frames, pending = units.split(noise)
    assert frames == [] or noise.startswith(frames[0])
    assert len(pending) < 264
    assert units.counts.noise + len(pending) + sum(map(len, frames)) == len(noise)


@contextlib.asynccontextmanager
async def serving(plant: Plant) -> AsyncIterator[RtuTcpServer]:
    server = RtuTcpServer(far_line(plant), {2: "main"}, World(plant, time.monotonic))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
        await server.stop()


async def ask(server: RtuTcpServer, data: bytes, expect: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    found = await asyncio.wait_for(reader.readexactly(expect), 10)
    writer.close()
    return found


async def test_the_serial_server_answers_reads_and_writes(plant: Plant) -> None:
    async with serving(plant) as server:
        assert (await ask(server, REQUEST, 9))[:3] == b"\x02\x03\x04"
        assert await ask(server, WRITE, 8) == with_crc(bytes.fromhex("02 10 0002 0002"))
        assert await ask(server, REQUEST, 9) == with_crc(bytes.fromhex("02 03 04 0001 0002"))
        # Nobody has unit id 9, and broadcasts are carried out in silence.
        absent, broadcast = with_crc(b"\x09" + REQUEST[1:-2]), with_crc(b"\x00" + WRITE[1:-2])
        assert (await ask(server, absent + broadcast + REQUEST, 9))[:1] == b"\x02"
        assert (server.facts()["requests"], server.facts()["replies"]) == (6, 4)
        server.units._world.set_fault("main", "wrong_crc")
        good = with_crc(bytes.fromhex("02 03 04 0001 0002"))
        assert await ask(server, REQUEST, 9) == good[:-2] + bytes(byte ^ 0x5A for byte in good[-2:])


async def test_an_address_that_is_taken_says_so(plant: Plant) -> None:
    async with serving(plant):
        with pytest.raises(PortInUse, match="another program listens there"):
            await RtuTcpServer(far_line(plant), {}, World(plant, time.monotonic)).start()


async def test_the_dtu_says_who_it_is_and_dials_again(plant: Plant) -> None:
    arrived: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    client = DtuClient(dtu_line(plant), {2: "well"}, World(plant, time.monotonic), heartbeat_s=0.03, dial_again_s=0.03)
    await client.start()  # nobody listens yet
    await asyncio.sleep(0.05)
    server = await asyncio.start_server(lambda *streams: arrived.put_nowait(streams), "127.0.0.1", client.line.port)
    try:
        for _ in range(2):
            reader, writer = await asyncio.wait_for(arrived.get(), 10)
            assert await asyncio.wait_for(reader.readexactly(7), 10) == b"WELL-7\xfe"
            writer.write(REQUEST)
            heard = await asyncio.wait_for(reader.readuntil(b"\x02\x03\x04"), 10)
            assert heard.strip(b"\xfe") == b"\x02\x03\x04"
            assert client.is_connected
            writer.close()
        client.hang_up()
        reader, writer = await asyncio.wait_for(arrived.get(), 10)
        await client.stop()
        await client.stop()
        await asyncio.wait_for(reader.read(), 10)
        assert reader.at_eof()
        assert not client.is_connected
        writer.close()
    finally:
        server.close()


async def test_the_simulator_plays_every_kind_of_line(plant: Plant, tmp_path: Path) -> None:
    simulator = Simulator(plant, scenario_folder=tmp_path)
    await simulator.start()
    try:
        lines = (await simulator._status({}))["lines"]
        assert lines["far"]["port"] == far_line(plant).port
        assert lines["dtu"] == {"connected": False, "connections": 0, "requests": 0, "replies": 0, "noise": 0}
    finally:
        await simulator.stop()
