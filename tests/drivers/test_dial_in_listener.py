"""The dial-in listener on loopback; connections of strangers, of DTUs, and of DTUs that come again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator

import pytest

from drivers import dial_in_listener
from drivers.dial_in import DtuForm, Packet, PacketForm
from drivers.dial_in_listener import MOST_WAITING, Address, DialInListener, DialIns, DialInSource, Member
from drivers.errors import PortGone


def free_address() -> Address:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1", int(probe.getsockname()[1])


class Dtu:
    """A port's side of one DTU."""

    def __init__(self, name: str, registration: str, *, timeout_s: float = 0.5) -> None:
        self.source = DialInSource(name)
        self.arrived = asyncio.Event()
        self.member = Member(
            name=name,
            form=DtuForm(registration=PacketForm(Packet(kind="text", value=registration))),
            registration_timeout_s=timeout_s,
            source=self.source,
            arrived=self.arrived.set,
        )

    async def arrival(self) -> None:
        await asyncio.wait_for(self.arrived.wait(), 10)
        self.arrived.clear()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial_in_listener, "QUIET_S", 0.02)
    monkeypatch.setattr(dial_in_listener, "FAIR_S", 0.1)
    monkeypatch.setattr(dial_in_listener, "_LISTEN_AGAIN_S", (0.02,))


@contextlib.asynccontextmanager
async def listening(*dtus: Dtu) -> AsyncIterator[DialInListener]:
    dial_ins, address = DialIns(), free_address()
    for dtu in dtus:
        await dial_ins.join(address, dtu.member)
    try:
        yield dial_ins.listeners()[0]
    finally:
        for dtu in dtus:
            dial_ins.leave(address, dtu.member)
            dtu.source.clear()
        assert dial_ins.listeners() == ()


async def dial(listener: DialInListener, *packets: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(*listener.address)
    for packet in packets:
        writer.write(packet)
        await writer.drain()
        await asyncio.sleep(0.01)
    return reader, writer


async def is_refused(reader: asyncio.StreamReader) -> bool:
    return await asyncio.wait_for(reader.read(1), 10) == b""


async def test_each_dtu_gets_its_own_connection() -> None:
    one, two = Dtu("one", "DTU1"), Dtu("two", "DTU12")
    async with listening(one, two) as listener:
        with pytest.raises(PortGone, match="two has not dialled in"):
            two.source.take()
        reader, writer = await dial(listener, b"DT", b"U12\r\n")
        await two.arrival()
        near = two.source.take()
        near.send(b"question")
        assert await reader.readexactly(8) == b"question"
        assert not one.arrived.is_set()
        assert two.source.newer() is None
        assert (listener.counters.registered, listener.counters.unknown) == (1, 0)
        near.close()
        writer.close()


async def test_a_dtu_that_dials_again_replaces_itself_at_once() -> None:
    one = Dtu("one", "DTU1")
    async with listening(one) as listener:
        first, first_writer = await dial(listener, b"DTU1")
        await one.arrival()
        taken = one.source.take()
        second, second_writer = await dial(listener, b"DTU1")
        await one.arrival()
        assert await is_refused(first)
        assert taken.recv(1) == b""  # the line's thread wakes and takes the newer one
        third, third_writer = await dial(listener, b"DTU1")
        await one.arrival()
        assert await is_refused(second)
        newer = one.source.newer()
        assert newer is not None
        newer.send(b"q")
        assert await third.readexactly(1) == b"q"
        assert (listener.counters.registered, listener.counters.replaced) == (3, 2)
        for connection in (taken, newer):
            connection.close()
        for writer in (first_writer, second_writer, third_writer):
            writer.close()


async def test_strangers_are_refused_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    one = Dtu("one", "DTU1")
    async with listening(one) as listener:
        for packet in (b"DTU2", b"GET / HTTP/1.1\r\n", b"DTU1 with more", b"x" * 400):
            reader, writer = await dial(listener, packet)
            with contextlib.suppress(ConnectionError):
                assert await is_refused(reader)
            writer.close()
        assert listener.counters.unknown == 4
        assert not one.arrived.is_set()
        facts = dict(listener.counters.facts())
        assert (facts["unknown"], facts["accepted"]) == (4, 4)
        assert "78 78" in str(facts["last_unknown"])
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 1
    assert "44 54 55 32" in told[0]
    assert "127.0.0.1" in told[0]


@pytest.mark.parametrize(("packet", "counter"), [(b"", "silent"), (b"DT", "unknown")])
async def test_a_slow_registration_times_out(packet: bytes, counter: str) -> None:
    one = Dtu("one", "DTU1", timeout_s=0.05)
    async with listening(one) as listener:
        reader, writer = await dial(listener, packet)
        assert await is_refused(reader)
        assert getattr(listener.counters, counter) == 1
        writer.close()


async def test_no_more_than_a_few_may_wait_and_a_dtu_comes_through() -> None:
    one = Dtu("one", "DTU1", timeout_s=5.0)
    async with listening(one) as listener:
        waiting = [await dial(listener) for _ in range(MOST_WAITING + 2)]
        await asyncio.sleep(0.02)
        _, known = await dial(listener, b"DTU1")
        assert await is_refused(waiting[0][0])
        await one.arrival()
        assert listener.counters.registered == 1
        # A place was made before the DTU came, and another one behind it.
        assert listener.counters.crowded in (1, 2)
        assert MOST_WAITING <= len(listener._waiting) <= MOST_WAITING + 1
        for _, each in [*waiting, (None, known)]:
            each.close()


async def test_an_address_that_another_program_has_is_tried_again() -> None:
    one = Dtu("one", "DTU1")
    dial_ins, address = DialIns(), free_address()
    with socket.create_server(address):
        await dial_ins.join(address, one.member)
        with pytest.raises(PortGone, match=r"cannot listen on 127\.0\.0\.1:\d+: Address already in use"):
            one.source.take()
    await asyncio.sleep(0.05)
    _, writer = await dial(dial_ins.listeners()[0], b"DTU1")
    await one.arrival()
    dial_ins.leave(address, one.member)
    one.source.clear()
    writer.close()


async def test_ports_come_and_go_and_the_address_stays_until_the_last_one() -> None:
    one, two, changed = Dtu("one", "DTU1"), Dtu("two", "DTU2"), Dtu("two", "DTU3")
    async with listening(one) as listener:
        dial_ins = DialIns({listener.address: listener})
        await dial_ins.join(listener.address, two.member)
        await dial_ins.join(listener.address, changed.member)  # the same port, configured anew
        dial_ins.leave(listener.address, two.member)  # the old one ends late
        assert listener.members == 2
        reader, writer = await dial(listener, b"DTU2")
        assert await is_refused(reader)
        _, known = await dial(listener, b"DTU3")
        await changed.arrival()
        dial_ins.leave(listener.address, changed.member)
        dial_ins.leave(listener.address, changed.member)
        assert listener.members == 1
        changed.source.clear()
        writer.close()
        known.close()


async def test_nobody_listens_after_the_last_port_has_left() -> None:
    one = Dtu("one", "DTU1")
    async with listening(one) as listener:
        reader, writer = await dial(listener)
    assert await is_refused(reader)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*listener.address)
    writer.close()


async def test_all_dtus_dial_in_at_once_when_the_agent_starts_and_none_is_sent_away() -> None:
    dtus = [Dtu(f"dtu-{number}", f"DTU{number}!") for number in range(3 * MOST_WAITING)]
    async with listening(*dtus) as listener:
        dialled = await asyncio.gather(*(asyncio.open_connection(*listener.address) for _ in dtus))
        await asyncio.sleep(0.05)
        for number, (_, writer) in enumerate(dialled):
            writer.write(f"DTU{number}!".encode())
        for dtu in dtus:
            await dtu.arrival()
        assert (listener.counters.crowded, listener.counters.registered) == (0, len(dtus))
        for _, writer in dialled:
            writer.close()


async def test_a_hundred_strangers_who_come_again_at_once_keep_no_dtu_out() -> None:
    one, is_over = Dtu("one", "DTU1"), asyncio.Event()

    async def stranger(listener: DialInListener, packet: bytes) -> None:
        while not is_over.is_set():
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(*listener.address)
                writer.write(packet)
                await reader.read(1)
                writer.close()

    async with listening(one) as listener:
        strangers = [asyncio.create_task(stranger(listener, b"DTU2" if number % 2 else b"")) for number in range(100)]
        await asyncio.sleep(0.3)
        _, writer = await dial(listener, b"DTU1")
        await asyncio.wait_for(one.arrived.wait(), 10.0)
        is_over.set()
        writer.close()
    for task in strangers:
        task.cancel()
    await asyncio.gather(*strangers, return_exceptions=True)
