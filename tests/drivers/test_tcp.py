"""The TCP port against servers that behave, and servers that do not."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from contracts import quality
from drivers.errors import RequestError
from drivers.port import ReadRequest, monotonic_us
from drivers.tcp import BACK_OFF_S, TcpPort


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as a server sees it."""

    transaction_id: int
    unit_id: int
    function: int
    address: int
    count: int

    def frame(self, pdu: bytes, *, transaction_id: int | None = None, unit_id: int | None = None) -> bytes:
        tid = self.transaction_id if transaction_id is None else transaction_id
        return struct.pack(">HHHB", tid, 0, len(pdu) + 1, self.unit_id if unit_id is None else unit_id) + pdu

    def registers(self, count: int | None = None) -> bytes:
        words = [(self.address + place) & 0xFFFF for place in range(self.count if count is None else count)]
        return struct.pack(f">BB{len(words)}H", self.function, 2 * len(words), *words)


Handler = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    handler: Handler
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                tid, _, _, unit, function, address, count = struct.unpack(">HHHBBHH", await reader.readexactly(12))
                request = Asked(transaction_id=tid, unit_id=unit, function=function, address=address, count=count)
                self.asked.append(request)
                await self.handler(request, writer)
        writer.close()


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Server]:
    server = Server(handler)
    running = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = running.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        running.close()
        for writer in server.writers:
            writer.close()


@contextlib.asynccontextmanager
async def connected(port: int, **more: Callable[[], int]) -> AsyncIterator[TcpPort]:
    client = TcpPort("127.0.0.1", port, **more)  # type: ignore[arg-type]
    await client.open()
    try:
        yield client
    finally:
        await client.close()


async def good(request: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(request.frame(request.registers()))


async def silent(request: Asked, writer: asyncio.StreamWriter) -> None:
    pass


def replying(make: Callable[[Asked], bytes]) -> Handler:
    async def handler(request: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(make(request))

    return handler


def read(
    unit_id: int = 1, address: int = 0, count: int = 3, table: str = "holding", timeout_s: float = 0.2
) -> ReadRequest:
    return ReadRequest(unit_id=unit_id, table=table, address=address, count=count, timeout_s=timeout_s, max_reply_s=1.0)


async def test_a_read_and_its_times() -> None:
    async with serving(good) as server, connected(server.port) as port:
        before = monotonic_us()
        result = await port.read(read(unit_id=3, address=40, table="input"))
        assert (result.words, result.code, result.detail) == ((40, 41, 42), quality.GOOD, "")
        assert before <= result.requested_us < result.replied_us <= monotonic_us()
        assert (server.asked[0].unit_id, server.asked[0].function, server.asked[0].count) == (3, 4, 3)


async def test_the_largest_reads() -> None:
    async with serving(good) as server, connected(server.port) as port:
        assert (await port.read(read(count=125))).words == tuple(range(125))

    bits = replying(lambda request: request.frame(bytes([request.function, 250]) + b"\x01" * 250))
    async with serving(bits) as server, connected(server.port) as port:
        result = await port.read(read(table="coil", count=2000))
        assert result.words is not None
        assert result.words[:9] == (1, 0, 0, 0, 0, 0, 0, 0, 1)


async def test_bits_beyond_the_count_are_padding() -> None:
    bits = replying(lambda request: request.frame(bytes([request.function, 2, 0b101, 0xFF])))
    async with serving(bits) as server, connected(server.port) as port:
        assert (await port.read(read(table="discrete", count=9))).words == (1, 0, 1, 0, 0, 0, 0, 0, 1)


async def test_several_units_behind_one_socket_go_one_after_the_other() -> None:
    async with serving(good) as server, connected(server.port) as port:
        results = await asyncio.gather(*(port.read(read(unit_id=n, address=n)) for n in range(1, 9)))
        assert [result.words for result in results] == [(n, n + 1, n + 2) for n in range(1, 9)]
        assert [request.unit_id for request in server.asked] == list(range(1, 9))
        assert server.connections == 1


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (lambda r: r.frame(bytes([r.function | 0x80, 1])), quality.ILLEGAL_FUNCTION),
        (lambda r: r.frame(bytes([r.function | 0x80, 2])), quality.ILLEGAL_ADDRESS),
        (lambda r: r.frame(bytes([r.function | 0x80, 6])), quality.DEVICE_BUSY),
        (lambda r: r.frame(bytes([r.function | 0x80, 0x0A])), quality.GATEWAY_PATH),
        (lambda r: r.frame(bytes([r.function | 0x80, 0x0B])), quality.GATEWAY_TARGET),
        (lambda r: r.frame(bytes([r.function | 0x80, 0xA3])), quality.DEVICE_EXCEPTION),
        (lambda r: r.frame(r.registers(2)), quality.BAD_FRAME),
        (lambda r: r.frame(r.registers(4)), quality.BAD_FRAME),
        (lambda r: r.frame(r.registers()[:-1]), quality.BAD_FRAME),
        (lambda r: r.frame(bytes([r.function])), quality.BAD_FRAME),
        (lambda r: r.frame(bytes([4]) + r.registers()[1:]), quality.FOREIGN_REPLY),
        (lambda r: r.frame(r.registers(), transaction_id=0), quality.FOREIGN_REPLY),
        (lambda r: r.frame(r.registers(), transaction_id=r.transaction_id + 1), quality.NO_REPLY),
        (lambda r: r.frame(r.registers(), unit_id=9), quality.NO_REPLY),
        (lambda r: r.frame(bytes([0x55, 1, 2, 3])), quality.NO_REPLY),
        (lambda r: r.frame(bytes([0x80, 1])), quality.NO_REPLY),
        (lambda r: r.frame(bytes([r.function | 0x80])), quality.NO_REPLY),
        (lambda r: b"HTTP/1.1 400 Bad Request\r\n\r\n", quality.NO_REPLY),
        (lambda r: r.frame(r.registers())[:-2], quality.NO_REPLY),
    ],
)
async def test_nonsense_is_a_cause_and_the_next_read_is_good(
    reply: Callable[[Asked], bytes], code: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(request) if request.address == 0 else request.frame(request.registers()))

    async with serving(handler) as server, connected(server.port) as port:
        result = await port.read(read(timeout_s=0.05))
        assert (result.code, result.words) == (code, None)
        assert result.detail
        assert len(server.asked) == 1
        assert (await port.read(read(address=7))).words == (7, 8, 9)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_dead_server_is_asked_exactly_once_per_read() -> None:
    """pymodbus's own retries stay off."""
    async with serving(silent) as server, connected(server.port) as port:
        for number in range(1, 3):
            assert (await port.read(read(timeout_s=0.05))).code == quality.NO_REPLY
            assert len(server.asked) == number
        assert server.connections == 1
        assert port.counters.timeouts == 2


async def test_nobody_at_home_is_tried_exactly_once_until_the_back_off_is_over() -> None:
    """pymodbus's own reconnects stay off."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        skipped_us = 0
        async with connected(taken.getsockname()[1], clock_us=lambda: monotonic_us() + skipped_us) as port:
            assert port.counters.connect_failures == 1
            for attempt, wait_s in enumerate(BACK_OFF_S, start=1):
                refused = await port.read(read())
                assert (refused.code, refused.words) == (quality.CONNECT_FAILED, None)
                assert port.counters.connect_failures == attempt
                skipped_us += int(wait_s * 1e6) - 100_000
                await port.read(read())
                assert port.counters.connect_failures == attempt
                skipped_us += 100_000
                await port.read(read())
                assert port.counters.connect_failures == attempt + 1
            assert port.counters.requests == 0


async def test_a_lost_connection_ends_the_read_at_once_and_comes_back() -> None:
    async def hang_up(request: Asked, writer: asyncio.StreamWriter) -> None:
        if request.address == 0:
            writer.close()
        else:
            writer.write(request.frame(request.registers()))

    skipped_us = 0
    async with serving(hang_up) as server:
        async with connected(server.port, clock_us=lambda: monotonic_us() + skipped_us) as port:
            lost = await port.read(read(timeout_s=5.0))
            assert lost.code == quality.NO_REPLY
            assert lost.replied_us - lost.requested_us < 1_000_000
            assert (await port.read(read(address=5))).code == quality.CONNECT_FAILED
            skipped_us += 600_000
            assert (await port.read(read(address=5))).words == (5, 6, 7)
            assert server.connections == 2


async def test_a_connection_lost_while_idle_comes_back() -> None:
    skipped_us = 0
    async with serving(good) as server:
        async with connected(server.port, clock_us=lambda: monotonic_us() + skipped_us) as port:
            await port.read(read())
            server.writers[0].close()
            await asyncio.sleep(0.05)
            assert (await port.read(read())).code == quality.CONNECT_FAILED
            skipped_us += 600_000
            assert (await port.read(read())).code == quality.GOOD


async def test_a_half_open_connection_is_made_anew() -> None:
    async with serving(silent) as server, connected(server.port) as port:
        for _ in range(4):
            await port.read(read(timeout_s=0.02))
        assert server.connections == 2


async def test_a_late_reply_is_never_anothers_answer() -> None:
    """The reply to the first read comes while the second one waits."""
    owed: list[bytes] = []

    async def handler(request: Asked, writer: asyncio.StreamWriter) -> None:
        frame = request.frame(request.registers())
        if request.address == 100:
            owed.append(frame)
            return
        writer.write(owed.pop())
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(frame)

    async with serving(handler) as server, connected(server.port) as port:
        assert (await port.read(read(address=100, timeout_s=0.02))).code == quality.NO_REPLY
        assert (await port.read(read(address=200))).words == (200, 201, 202)


async def test_half_a_late_reply_cannot_shift_the_next_one() -> None:
    async def handler(request: Asked, writer: asyncio.StreamWriter) -> None:
        frame = request.frame(request.registers())
        writer.write(frame[:9] if request.address == 100 else frame)

    async with serving(handler) as server, connected(server.port) as port:
        assert (await port.read(read(address=100, timeout_s=0.03))).code == quality.NO_REPLY
        assert (await port.read(read(address=200))).words == (200, 201, 202)
        assert server.connections == 2


async def test_a_cancelled_read_leaves_nothing_behind() -> None:
    async def handler(request: Asked, writer: asyncio.StreamWriter) -> None:
        if request.address:
            writer.write(request.frame(request.registers()))

    async with serving(handler) as server, connected(server.port) as port:
        task = asyncio.create_task(port.read(read(timeout_s=5.0)))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await port.read(read(address=5))).words == (5, 6, 7)


async def test_small_frames_leave_at_once() -> None:
    async with serving(good) as server, connected(server.port) as port:
        await port.read(read())
        assert port._client is not None
        transport = port._client.ctx.transport
        assert isinstance(transport, asyncio.Transport)
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_life_of_a_port() -> None:
    async with serving(good) as server:
        port = TcpPort("127.0.0.1", server.port)
        assert (await port.read(read())).code == quality.CONNECT_FAILED
        await port.close()
        await port.open()
        assert (await port.read(read())).code == quality.GOOD
        await port.close()
        await port.close()
        assert (await port.read(read())).code == quality.CONNECT_FAILED
        assert server.connections == 1


@pytest.mark.parametrize(
    "wrong",
    [{"count": 0}, {"count": 126}, {"address": -1}, {"address": 65535}, {"table": "x"}, {"unit_id": 256}],
)
async def test_an_impossible_request_is_the_callers_fault(wrong: dict[str, object]) -> None:
    async with serving(good) as server, connected(server.port) as port:
        with pytest.raises(RequestError):
            await port.read(read(**wrong))  # type: ignore[arg-type]
        assert (await port.read(read())).code == quality.GOOD


async def test_pymodbus_server_as_referee() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    device = SimDevice(7, simdata=[SimData(0, values=list(range(1000, 1100)), datatype=DataType.REGISTERS)])
    server = ModbusTcpServer(device, address=("127.0.0.1", number))
    await server.serve_forever(background=True)
    try:
        async with connected(number) as port:
            assert (await port.read(read(unit_id=7, address=10))).words == (1010, 1011, 1012)
            assert (await port.read(read(unit_id=7, address=5000))).code == quality.ILLEGAL_ADDRESS
    finally:
        await server.shutdown()
