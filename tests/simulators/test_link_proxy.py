"""The link: passes, cuts, stalls, slows and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import pytest

from simulators.errors import SimulatorError
from simulators.link_proxy import LinkProxy
from simulators.scenario import LinkState

UP = LinkState()
CUT = LinkState(state="cut")
STALL = LinkState(state="stall")


@pytest.fixture
async def proxy() -> AsyncIterator[LinkProxy]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    target = server.sockets[0].getsockname()[1]
    proxy = LinkProxy("127.0.0.1", 0, "127.0.0.1", target)
    await proxy.start()
    yield proxy
    await proxy.stop()
    server.close()


async def connect(proxy: LinkProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def echoed(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes, wait_s: float = 10.0
) -> bytes:
    writer.write(data)
    return await asyncio.wait_for(reader.readexactly(len(data)), wait_s)


async def test_bytes_pass_and_are_counted(proxy: LinkProxy) -> None:
    reader, writer = await connect(proxy)
    assert await echoed(reader, writer, b"hello") == b"hello"
    assert (proxy.counts.bytes_up, proxy.counts.bytes_down, proxy.connections) == (5, 5, 1)
    writer.close()


async def test_a_cut_closes_and_refuses_and_restoring_brings_it_back(proxy: LinkProxy) -> None:
    reader, writer = await connect(proxy)
    await echoed(reader, writer, b"x")
    port = proxy.port
    await proxy.set(CUT)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 10)
    with pytest.raises(ConnectionRefusedError):
        await connect(proxy)
    await proxy.set(UP)
    assert proxy.port == port
    reader, writer = await connect(proxy)
    assert await echoed(reader, writer, b"back") == b"back"
    writer.close()


async def test_a_stalled_link_keeps_its_bytes_until_it_moves_again(proxy: LinkProxy) -> None:
    reader, writer = await connect(proxy)
    await echoed(reader, writer, b"x")
    await proxy.set(STALL)
    with pytest.raises(TimeoutError):
        await echoed(reader, writer, b"y", wait_s=0.1)
    await proxy.set(UP)
    assert await asyncio.wait_for(reader.readexactly(1), 10) == b"y"
    writer.close()


async def test_a_slow_link_keeps_its_rate(proxy: LinkProxy) -> None:
    await proxy.set(LinkState(state="slow", bytes_per_s=2000))
    reader, writer = await connect(proxy)
    started = time.monotonic()
    await echoed(reader, writer, b"z" * 600)
    # 600 bytes take 0.3 s one way; both ways overlap
    assert 0.25 <= time.monotonic() - started < 2.0
    writer.close()


async def test_a_late_link_keeps_the_order(proxy: LinkProxy) -> None:
    proxy.delay_s = 0.1
    reader, writer = await connect(proxy)
    started = time.monotonic()
    for number in range(50):
        writer.write(b"%02d" % number)
        await asyncio.sleep(0)
    assert await asyncio.wait_for(reader.readexactly(100), 10) == b"".join(b"%02d" % n for n in range(50))
    assert time.monotonic() - started >= 0.2
    writer.close()


@pytest.mark.parametrize("place", [1, 2, 3, 7])
async def test_it_breaks_once_behind_exactly_so_many_bytes(proxy: LinkProxy, place: int) -> None:
    reader, writer = await connect(proxy)
    proxy.break_after(down=place)
    writer.write(b"12")
    writer.write(b"34567890")
    got = b""
    with contextlib.suppress(ConnectionError):
        while data := await asyncio.wait_for(reader.read(10), 10):
            got += data
    assert b"1234567890"[:place].startswith(got), "a reset may take back what was not read yet, never add"
    assert proxy.counts.bytes_down == place
    assert proxy.counts.breaks == 1
    reader, writer = await connect(proxy)
    assert await echoed(reader, writer, b"whole again") == b"whole again"
    writer.close()


async def test_it_breaks_up_as_well_and_never_after_nothing(proxy: LinkProxy) -> None:
    _, writer = await connect(proxy)
    proxy.break_after(up=4)
    writer.write(b"12345678")
    await asyncio.wait_for(_until(lambda: proxy.counts.breaks == 1 and not proxy.connections), 10)
    assert proxy.counts.bytes_up == 4
    with pytest.raises(SimulatorError, match="1 byte or more"):
        proxy.break_after(up=0)
    proxy.break_after()
    writer.close()


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  the proxy has counts and no event
        await asyncio.sleep(0.005)


async def test_a_broker_that_is_not_there_closes_the_connection() -> None:
    proxy = LinkProxy("127.0.0.1", 0, "127.0.0.1", 1)
    await proxy.start()
    reader, writer = await connect(proxy)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 10)
    assert proxy.counts.refused == 1
    writer.close()
    await proxy.stop()
    await proxy.stop()


async def test_states_that_cannot_be_are_refused(proxy: LinkProxy) -> None:
    with pytest.raises(SimulatorError, match="known are up, cut"):
        await proxy.set(LinkState(state="torn"))
    with pytest.raises(SimulatorError, match="bytes per second"):
        await proxy.set(LinkState(state="slow"))
