"""The TCP port against servers that behave, and servers that do not."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from contracts import quality
from drivers.errors import RequestError
from drivers.port import ReadRequest, WriteRequest, monotonic_us
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
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def has_heard(self, number: int) -> None:
        while len(self.asked) < number:
            self.news.clear()
            await self.news.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                tid, _, _, unit, function, address, count = struct.unpack(">HHHBBHH", await reader.readexactly(12))
                request = Asked(transaction_id=tid, unit_id=unit, function=function, address=address, count=count)
                self.asked.append(request)
                self.news.set()
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
async def connected(port: int, **more: object) -> AsyncIterator[TcpPort]:
    client = TcpPort("127.0.0.1", port, **{"lot": lambda: 0.0, **more})  # type: ignore[arg-type]
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
        (lambda r: r.frame(r.registers(), unit_id=9), quality.FOREIGN_REPLY),
        (lambda r: r.frame(bytes([0x55, 1, 2, 3])), quality.FOREIGN_REPLY),
        (lambda r: r.frame(bytes([0x80, 1])), quality.FOREIGN_REPLY),
        (lambda r: r.frame(bytes([r.function | 0x80])), quality.BAD_FRAME),
        (lambda r: b"HTTP/1.1 400 Bad Request\r\n\r\n", quality.BAD_FRAME),
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
    """One read is one request; who is asked again is the poller's decision."""
    async with serving(silent) as server, connected(server.port) as port:
        for number in range(1, 3):
            assert (await port.read(read(timeout_s=0.05))).code == quality.NO_REPLY
            assert len(server.asked) == number
        assert server.connections == 1
        assert port.counters.timeouts == 2


async def test_nobody_at_home_is_tried_exactly_once_until_the_back_off_is_over() -> None:
    """Nothing connects behind the reader's back."""
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


async def test_a_connection_that_stays_silent_is_made_anew_with_a_short_back_off() -> None:
    skipped_us = 0
    async with serving(silent) as server:
        async with connected(server.port, clock_us=lambda: monotonic_us() + skipped_us) as port:
            for round_ in range(1, 9):
                for _ in range(3):
                    assert (await port.read(read(timeout_s=0.005))).code == quality.NO_REPLY
                assert server.connections == round_
                if round_ > 1:
                    assert (await port.read(read())).code == quality.CONNECT_FAILED
                skipped_us += 4_000_000
            assert port.counters.half_open == 8


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
        assert port._connection is not None
        transport = port._connection._transport
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


# --- several transactions in flight ---------------------------------------------------------


async def test_several_questions_wait_at_once_and_replies_come_in_any_order() -> None:
    held: list[bytes] = []

    async def handler(request: Asked, writer: asyncio.StreamWriter) -> None:
        held.append(request.frame(request.registers()))
        if len(held) == 4:
            writer.write(b"".join(reversed(held)))
            held.clear()

    async with serving(handler) as server, connected(server.port, in_flight=4) as port:
        results = await asyncio.gather(*(port.read(read(address=10 * n)) for n in range(8)))
        assert [result.words for result in results] == [(10 * n, 10 * n + 1, 10 * n + 2) for n in range(8)]
        assert server.connections == 1


async def test_no_more_than_the_ports_share_are_in_flight() -> None:
    now, most = 0, 0

    async def handler(request: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)

        def answer() -> None:
            nonlocal now
            now -= 1
            writer.write(request.frame(request.registers()))

        asyncio.get_running_loop().call_later(0.005, answer)

    async with serving(handler) as server, connected(server.port, in_flight=3) as port:
        await asyncio.gather(*(port.read(read(address=n)) for n in range(9)))
        assert most == 3
        assert server.connections == 1


@settings(deadline=None)
@given(st.data())
def test_replies_in_any_order_and_any_segments_reach_their_own_request(data: st.DataObject) -> None:
    """Same unit, function and count, different values: never swapped, nothing made up, nothing lost."""
    number = data.draw(st.integers(2, 6), label="requests")
    order = data.draw(st.permutations(range(number)), label="order")
    repeated = data.draw(st.lists(st.integers(0, number - 1), max_size=3), label="sent twice")
    places = data.draw(st.lists(st.integers(0, 120), max_size=12), label="cuts")

    async def scenario() -> None:
        async with serving(silent) as server, connected(server.port, in_flight=number) as port:
            reads = [asyncio.create_task(port.read(read(address=100 * n, timeout_s=5.0))) for n in range(number)]
            await server.has_heard(number)
            stream = b"".join(server.asked[n].frame(server.asked[n].registers()) for n in [*order, *repeated])
            connection = port._connection
            assert connection is not None
            ends = sorted({min(place, len(stream)) for place in places} | {len(stream)})
            for begin, end in zip([0, *ends], ends, strict=False):
                if end > begin:
                    connection.data_received(stream[begin:end])
            for n, result in enumerate(await asyncio.gather(*reads)):
                assert result.words == (100 * n, 100 * n + 1, 100 * n + 2)
            assert port.counters.unknown == len(repeated)
            assert server.connections == 1

    asyncio.run(scenario())


async def test_a_reply_that_timed_out_is_dropped_and_counted_while_others_wait() -> None:
    writers: list[tuple[Asked, asyncio.StreamWriter]] = []

    async def handler(request: Asked, writer: asyncio.StreamWriter) -> None:
        writers.append((request, writer))

    async with serving(handler) as server, connected(server.port, in_flight=2) as port:
        slow = asyncio.create_task(port.read(read(address=200, timeout_s=5.0)))
        assert (await port.read(read(address=100, timeout_s=0.03))).code == quality.NO_REPLY
        for request, writer in sorted(writers, key=lambda item: item[0].address):
            writer.write(request.frame(request.registers()))
        assert (await slow).words == (200, 201, 202)
        assert (port.counters.late_replies, port.counters.unknown) == (1, 0)
        assert server.connections == 1


async def test_nonsense_ends_everything_in_flight_and_connects_again_at_once() -> None:
    async def handler(request: Asked, writer: asyncio.StreamWriter) -> None:
        if request.address >= 100:
            writer.write(request.frame(request.registers()))
        elif len(server.asked) == 3:
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")

    async with serving(handler) as server, connected(server.port, in_flight=3) as port:
        results = await asyncio.gather(*(port.read(read(address=n, timeout_s=5.0)) for n in range(3)))
        assert {result.code for result in results} == {quality.BAD_FRAME}
        assert "53 53 48" in results[0].detail
        assert (await port.read(read(address=100))).words == (100, 101, 102)
        assert (port.counters.lost_frames, server.connections) == (1, 2)


async def test_nonsense_without_end_waits_for_the_back_off() -> None:
    async def handler(request: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")

    async with serving(handler) as server, connected(server.port) as port:
        codes = [(await port.read(read())).code for _ in range(6)]
        assert codes == [quality.BAD_FRAME] * 2 + [quality.CONNECT_FAILED] * 4
        assert server.connections == 2


async def test_a_server_that_knows_no_transactions_is_refused_with_several_in_flight() -> None:
    zero = replying(lambda r: r.frame(r.registers(), transaction_id=0))
    async with serving(zero) as server, connected(server.port, in_flight=3) as port:
        results = await asyncio.gather(*(port.read(read(address=n)) for n in range(6)))
        assert {result.code for result in results} == {quality.FOREIGN_REPLY}
        assert {result.words for result in results} == {None}
        assert "transaction id 0" in results[0].detail


async def test_closing_ends_what_waits() -> None:
    async with serving(silent) as server, connected(server.port, in_flight=2) as port:
        reads = [asyncio.create_task(port.read(read(timeout_s=5.0))) for _ in range(3)]
        await server.has_heard(2)
        await port.close()
        codes = [(await task).code for task in reads]
        assert codes == [quality.PORT_CLOSED, quality.PORT_CLOSED, quality.CONNECT_FAILED]


# --- several units behind one socket --------------------------------------------------------


async def test_a_dead_unit_does_not_cost_its_neighbours_the_connection() -> None:
    """The gateway says 0B for one dead unit and nothing at all for three others."""

    async def handler(request: Asked, writer: asyncio.StreamWriter) -> None:
        if request.unit_id == 9:
            writer.write(request.frame(bytes([request.function | 0x80, 0x0B])))
        elif request.unit_id <= 2:
            writer.write(request.frame(request.registers()))

    async with serving(handler) as server, connected(server.port) as port:
        for _ in range(3):
            codes = [(await port.read(read(unit_id=unit, timeout_s=0.02))).code for unit in (1, 2, 9, 5, 6, 7)]
            assert codes == [0, 0, quality.GATEWAY_TARGET] + [quality.NO_REPLY] * 3
        assert server.connections == 1
        assert port.counters.half_open == 0


async def test_the_gateways_own_time_out_is_waited_for() -> None:
    async def handler(request: Asked, writer: asyncio.StreamWriter) -> None:
        if request.unit_id == 9:
            await asyncio.sleep(0.06)
            writer.write(request.frame(bytes([request.function | 0x80, 0x0B])))
        else:
            writer.write(request.frame(request.registers()))

    async with serving(handler) as server, connected(server.port, gateway_timeout_s=1.0) as port:
        assert (await port.read(read(unit_id=9, timeout_s=0.02))).code == quality.GATEWAY_TARGET
    async with serving(handler) as server, connected(server.port) as port:
        assert (await port.read(read(unit_id=9, timeout_s=0.02))).code == quality.NO_REPLY
        late = await port.read(read(unit_id=1, address=7, timeout_s=1.0))
        assert late.words == (7, 8, 9)
        assert port.counters.late_replies == 1


# --- writing --------------------------------------------------------------------------------


def write(function: int = 6, values: tuple[int, ...] = (17,), unit_id: int = 1, **more: object) -> WriteRequest:
    fields = {"timeout_s": 0.2, "answered_by": (unit_id,), **more}
    return WriteRequest(unit_id=unit_id, function=function, address=40, values=values, max_reply_s=1.0, **fields)  # type: ignore[arg-type]


async def echo(request: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(request.frame(struct.pack(">BHH", request.function, request.address, request.count)))


async def test_a_write_is_confirmed_by_its_echo() -> None:
    async with serving(echo) as server, connected(server.port) as port:
        before = monotonic_us()
        for function, values in ((6, (17,)), (5, (0xFF00,))):
            result = await port.write(write(function, values))
            assert (result.code, result.detail) == (quality.GOOD, "")
            assert before <= result.requested_us < result.replied_us
        assert [(asked.function, asked.address, asked.count) for asked in server.asked] == [
            (6, 40, 17),
            (5, 40, 0xFF00),
        ]


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (lambda r: r.frame(bytes([0x86, 3])), quality.ILLEGAL_VALUE),
        (lambda r: r.frame(struct.pack(">BHH", 6, 40, 16)), quality.BAD_FRAME),
        (lambda r: r.frame(struct.pack(">BHH", 6, 41, 17)), quality.FOREIGN_REPLY),
        (lambda r: r.frame(struct.pack(">BHH", 6, 40, 17), unit_id=2), quality.FOREIGN_REPLY),
        (lambda r: r.frame(struct.pack(">BHH", 6, 40, 17), transaction_id=77), quality.NO_REPLY),
    ],
)
async def test_what_does_not_confirm_a_write(reply: Callable[[Asked], bytes], code: int) -> None:
    async with serving(replying(reply)) as server, connected(server.port) as port:
        result = await port.write(write(timeout_s=0.05))
        assert result.code == code
        assert result.detail
        assert len(server.asked) == 1


async def test_a_write_may_be_answered_from_another_address() -> None:
    moved = replying(lambda r: r.frame(struct.pack(">BHH", 6, 40, 17), unit_id=17))
    async with serving(moved) as server, connected(server.port) as port:
        assert (await port.write(write(answered_by=(1, 17)))).code == quality.GOOD


async def test_a_write_that_nobody_answers_takes_its_turn_around_time() -> None:
    async with serving(silent) as server, connected(server.port) as port:
        result = await port.write(write(unit_id=0, answered_by=(), timeout_s=0.03))
        assert result.code == quality.GOOD
        assert result.replied_us - result.requested_us >= 25_000
        assert port.counters.timeouts == 0


async def test_an_impossible_write_is_the_callers_fault() -> None:
    async with serving(echo) as server, connected(server.port) as port:
        with pytest.raises(RequestError):
            await port.write(write(3))
        assert server.asked == []


def test_no_port_brings_pymodbus_along() -> None:
    """It is the referee of these tests; the agent would pay megabytes for it."""
    code = "import sys, drivers.tcp, drivers.socket_line; print('pymodbus' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- pymodbus's server as referee -----------------------------------------------------------


@contextlib.asynccontextmanager
async def pymodbus_serving() -> AsyncIterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    registers = [SimData(0, values=list(range(1000, 1100)), datatype=DataType.REGISTERS)]
    bits = [SimData(0, count=64, values=False, datatype=DataType.BITS)]
    device = SimDevice(7, simdata=(bits, bits, registers, registers))
    server = ModbusTcpServer(device, address=("127.0.0.1", number))
    await server.serve_forever(background=True)
    try:
        yield number
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


async def test_pymodbus_server_as_referee() -> None:
    async with pymodbus_serving() as number, connected(number) as port:
        results = await asyncio.gather(*(port.read(read(unit_id=7, address=n, table="input")) for n in range(20)))
        assert [result.words for result in results] == [(1000 + n, 1001 + n, 1002 + n) for n in range(20)]
        assert (await port.read(read(unit_id=7, address=5000))).code == quality.ILLEGAL_ADDRESS


async def test_a_server_that_forgets_questions_in_one_segment_swaps_nothing() -> None:
    """pymodbus 3.16's server keeps one request: of several that arrive together some stay unanswered."""
    async with pymodbus_serving() as number, connected(number, in_flight=4) as port:
        results = await asyncio.gather(*(port.read(read(unit_id=7, address=n)) for n in range(8)))
        for n, result in enumerate(results):
            assert result.words in ((1000 + n, 1001 + n, 1002 + n), None)
            assert result.code == (quality.NO_REPLY if result.words is None else quality.GOOD)


async def test_pymodbus_server_as_referee_of_writes() -> None:
    async with pymodbus_serving() as number, connected(number) as port:
        for function, values in ((6, (17,)), (16, (1, 2, 65535)), (5, (0xFF00,)), (15, (1, 0, 1, 1, 0, 0, 0, 1, 1))):
            result = await port.write(write(function, values, unit_id=7))
            assert (result.code, result.detail) == (quality.GOOD, ""), function
        assert (await port.read(read(unit_id=7, address=40))).words == (1, 2, 65535)
        bits = await port.read(read(unit_id=7, address=40, count=9, table="coil"))
        assert bits.words == (1, 0, 1, 1, 0, 0, 0, 1, 1)
        assert (await port.write(replace(write(unit_id=7), address=5000))).code == quality.ILLEGAL_ADDRESS
