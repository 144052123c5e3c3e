"""The serial port on real PTYs."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import random
import subprocess
import sys
import termios
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

from contracts import quality
from drivers.errors import PortBusy, PortGone, PortRefused, RequestError
from drivers.frames import FrameRequest, build_reply
from drivers.line import SerialLine
from drivers.port import RawRequest, ReadRequest, WriteRequest, monotonic_us
from drivers.rs485 import Rs485Settings, Unavailable
from drivers.serial_wire import LineSettings, SerialWire
from tests.drivers.pty_devices import Answer, PtyDevices, prompt, words_of


def read(unit_id: int = 1, address: int = 0, count: int = 2, table: str = "holding", **more: float) -> ReadRequest:
    times = {"timeout_s": 0.25, "max_reply_s": 1.0} | more
    return ReadRequest(unit_id=unit_id, table=table, address=address, count=count, **times)


@contextlib.asynccontextmanager
async def opened(path: str, **more: Callable[[], int]) -> AsyncIterator[SerialLine]:
    line = SerialLine(LineSettings(path=path, baud=115200), **more)  # type: ignore[arg-type]
    await line.open()
    try:
        yield line
    finally:
        await line.close()


async def test_reads_of_every_table() -> None:
    def answer(request: FrameRequest) -> Answer:
        if request.function in (1, 2):
            return 0.0, build_reply(request.unit_id, request.function, [1, 0] * (request.count // 2))
        return prompt(request)

    with PtyDevices(answer) as devices:
        async with opened(devices.path) as line:
            assert (await line.read(read(address=5, count=125))).words == tuple(range(5, 130))
            assert (await line.read(read(table="input", address=9))).words == (9, 10)
            assert (await line.read(read(table="coil", count=20))).words == (1, 0) * 10
            result = await line.read(read(table="discrete", count=2))
            assert result.words == (1, 0)
            assert result.requested_us < result.replied_us <= monotonic_us()
            assert line.counters.good == 4


async def test_reads_made_together_go_one_after_the_other() -> None:
    with PtyDevices(prompt) as devices:
        async with opened(devices.path) as line:
            results = await asyncio.gather(*(line.read(read(unit_id=n, address=n)) for n in range(1, 11)))
    assert [result.words for result in results] == [(n, n + 1) for n in range(1, 11)]
    assert [request.unit_id for request in devices.heard] == list(range(1, 11))
    for sooner, later in pairwise(results):
        assert later.requested_us - sooner.replied_us >= 1750


async def test_a_dead_unit_costs_its_time_out_and_no_retry() -> None:
    with PtyDevices(lambda request: None if request.unit_id == 1 else prompt(request)) as devices:
        async with opened(devices.path) as line:
            dead = await line.read(read(timeout_s=0.05))
            held = await line.read(read(address=9))
            live = await line.read(read(unit_id=2))
    assert (dead.code, held.code, live.code) == (quality.NO_REPLY, quality.NOT_ASKED, quality.GOOD)
    assert (dead.replied_us - dead.requested_us) / 1e6 == pytest.approx(0.05, abs=0.04)
    assert [request.unit_id for request in devices.heard] == [1, 2]


async def test_a_late_reply_is_never_anothers_answer() -> None:
    """Two registers of one unit; delays around and beyond the time-out, up to the bound."""
    delay_of = random.Random(20)

    def answer(request: FrameRequest) -> Answer:
        delay = delay_of.uniform(0.0, 0.1)
        return delay, build_reply(request.unit_id, request.function, words_of(request))

    answered = 0
    with PtyDevices(answer) as devices:
        async with opened(devices.path) as line:
            for number in range(60):
                address = 100 * (number % 2)
                result = await line.read(read(address=address, timeout_s=0.03, max_reply_s=0.1))
                assert result.words in (None, (address, address + 1))
                answered += result.words is not None
                if result.code == quality.NOT_ASKED:
                    await asyncio.sleep(0.02)
    assert 0 < answered < len(devices.heard)
    assert line.counters.late_replies > 0


async def test_a_line_that_vanishes_and_returns_under_its_name(tmp_path: Path) -> None:
    name = tmp_path / "by-id"
    skipped_us = 0
    with PtyDevices(prompt) as first, PtyDevices(prompt) as second:
        name.symlink_to(first.path)
        async with opened(str(name), clock_us=lambda: monotonic_us() + skipped_us) as line:
            assert (await line.read(read())).code == quality.GOOD
            first.unplug()
            name.unlink()
            lost = await line.read(read())
            assert lost.code == quality.PORT_CLOSED
            skipped_us += 1_500_000
            assert (await line.read(read())).detail.endswith("is not there")
            name.symlink_to(second.path)
            assert (await line.read(read())).code == quality.PORT_CLOSED  # back-off runs
            skipped_us += 2_500_000
            assert (await line.read(read())).code == quality.GOOD
            assert line.counters.reopened == 1


async def test_a_port_in_use_is_told() -> None:
    with PtyDevices(prompt) as devices:
        async with opened(devices.path) as line:
            await line.read(read())
            async with opened(devices.path) as second:
                refused = await second.read(read())
    assert refused.code == quality.PORT_CLOSED
    assert refused.detail.startswith(f"{devices.path} is used by ")
    assert f"(pid {os.getpid()})" in refused.detail


CLAIM = """
import fcntl, os, sys, termios
fd = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
fcntl.ioctl(fd, termios.TIOCEXCL)
print("claimed", flush=True)
input()
fcntl.ioctl(fd, termios.TIOCNXCL)
"""


@contextlib.contextmanager
def claimed(path: str) -> Iterator[int]:
    """Another program that has marked the port as its own; gives its process number."""
    command = [sys.executable, "-c", CLAIM, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            yield child.pid
        finally:
            child.communicate(b"\n")


async def test_a_port_that_another_claimed_without_a_lock_is_told() -> None:
    """By TIOCEXCL, which the kernel does not hold against root."""
    with PtyDevices(prompt) as devices:
        with claimed(devices.path) as pid:
            async with opened(devices.path) as line:
                refused = await line.read(read())
        assert refused.code == quality.PORT_CLOSED
        assert f"(pid {pid})" in refused.detail
        async with opened(devices.path) as line:
            assert (await line.read(read())).code == quality.GOOD


def test_a_real_port_is_claimed_and_a_pseudo_terminal_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark on a pseudo terminal would outlive a killed program."""
    get_exclusive = 0x80045440
    with PtyDevices(prompt) as devices:
        for is_pty in (True, False):
            monkeypatch.setattr("drivers.serial_wire._is_pty", lambda _, is_pty=is_pty: is_pty)
            wire = SerialWire(LineSettings(path=devices.path))
            wire.open()
            fd = os.open(devices.path, os.O_RDWR | os.O_NOCTTY) if os.geteuid() == 0 or is_pty else -1
            if fd >= 0:
                mark = bytearray(4)
                fcntl.ioctl(fd, get_exclusive, mark)
                assert any(mark) == (not is_pty)
                fcntl.ioctl(fd, termios.TIOCNXCL)
                os.close(fd)
            with pytest.raises(PortBusy):
                SerialWire(LineSettings(path=devices.path)).open()
            wire.close()


async def test_electronics_of_a_pseudo_terminal_are_not_available_and_hurt_nothing() -> None:
    with PtyDevices(prompt) as devices:
        line = SerialLine(LineSettings(path=devices.path, rs485=Rs485Settings()))
        assert line.electronics().because == "port is not open"
        await line.open()
        assert (await line.read(read())).code == quality.GOOD
        report = line.electronics()
        await line.close()
    assert (report.device, report.because) == (devices.path, "")
    for told in (report.rs485, report.counters, report.latency_ms):
        assert isinstance(told, Unavailable)
    assert "not available" in str(dict(report.facts())["rs485"])
    assert line.electronics().because == "port is not open"


async def test_an_idle_line_is_watched_for_a_late_reply() -> None:
    """Nobody asks meanwhile; the bound of the unit is raised all the same."""
    with PtyDevices(lambda request: (0.3, build_reply(1, request.function, words_of(request)))) as devices:
        async with opened(devices.path) as line:
            assert (await line.read(read(timeout_s=0.03, max_reply_s=0.1))).code == quality.NO_REPLY
            for _ in range(200):
                if line.counters.late_replies:
                    break
                await asyncio.sleep(0.01)
            assert line.counters.late_replies == 1
            assert (await line.read(read(timeout_s=0.03, max_reply_s=0.1))).code == quality.NO_REPLY
            await asyncio.sleep(0.16)
            assert (await line.read(read(timeout_s=0.03, max_reply_s=0.1))).code == quality.NOT_ASKED


async def test_raw_bytes_and_listening() -> None:
    with PtyDevices(prompt) as devices:
        async with opened(devices.path) as line:
            frame = bytes.fromhex("01 03 00 04 00 01 C5 CB")
            result = await line.raw(RawRequest(frame=frame, listen_s=0.5))
            assert b"".join(data for _, data in result.heard) == build_reply(1, 3, (4,))
            assert result.ended_us - result.requested_us < 400_000
            quiet = await line.raw(RawRequest(frame=b"", listen_s=0.05))
            assert (quiet.code, quiet.heard) == (quality.GOOD, ())
            assert quiet.ended_us - quiet.requested_us >= 50_000
        assert (await line.raw(RawRequest(frame=frame, listen_s=0.5))).code == quality.PORT_CLOSED


@pytest.mark.parametrize(
    ("number", "family", "says"),
    [
        (errno.EACCES, PortRefused, "sudo usermod -aG dialout $USER"),
        (errno.EBUSY, PortBusy, "is used by "),
        (errno.ENODEV, PortGone, "is not there"),
        (errno.EINVAL, PortRefused, "cannot be used"),
    ],
)
def test_what_the_system_refuses_is_told_with_its_cure(
    number: int, family: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr("drivers.serial_wire.serial.Serial", refuse)
    monkeypatch.setattr("drivers.serial_wire.group_of", lambda _: "dialout")
    with pytest.raises(family, match="/dev/port") as refused:
        SerialWire(LineSettings(path="/dev/port")).open()
    assert says in str(refused.value)


@pytest.mark.parametrize("what", ["missing", "no terminal"])
async def test_what_is_no_port_is_told(tmp_path: Path, what: str) -> None:
    path = tmp_path / "port"
    if what == "no terminal":
        path.write_bytes(b"")
    async with opened(str(path)) as line:
        result = await line.read(read())
    assert result.code == quality.PORT_CLOSED
    assert str(path) in result.detail


async def test_life_of_a_port() -> None:
    with PtyDevices(prompt) as devices:
        line = SerialLine(LineSettings(path=devices.path))
        assert (await line.read(read())).code == quality.PORT_CLOSED
        await line.close()
        await line.open()
        await line.open()
        assert (await line.read(read())).code == quality.GOOD
        with pytest.raises(RequestError):
            await line.read(read(count=0))
        assert (await line.read(read())).code == quality.GOOD
        await line.close()
        await line.close()
        assert (await line.read(read())).code == quality.PORT_CLOSED
        await line.open()
        assert (await line.read(read())).code == quality.GOOD
        await line.close()


async def test_closing_does_not_wait_for_the_queue() -> None:
    with PtyDevices(lambda _: None) as devices:
        line = SerialLine(LineSettings(path=devices.path, baud=115200))
        await line.open()
        reads = [asyncio.create_task(line.read(read(unit_id=n, timeout_s=0.2))) for n in range(1, 30)]
        assert await asyncio.to_thread(devices.was_asked.wait, 5.0)
        begun = monotonic_us()
        await line.close()
        assert monotonic_us() - begun < 1_000_000
        assert {result.code for result in await asyncio.gather(*reads)} == {quality.NO_REPLY, quality.PORT_CLOSED}


async def test_a_read_that_was_given_up_is_not_sent() -> None:
    with PtyDevices(lambda request: None if request.unit_id == 1 else prompt(request)) as devices:
        async with opened(devices.path) as line:
            first = asyncio.create_task(line.read(read(timeout_s=0.1)))
            second = asyncio.create_task(line.read(read(unit_id=2)))
            assert await asyncio.to_thread(devices.was_asked.wait, 5.0)
            second.cancel()
            await first
            assert (await line.read(read(unit_id=3))).code == quality.GOOD
    assert [request.unit_id for request in devices.heard] == [1, 3]


# --- pymodbus's RTU server as referee -----------------------------------------------------


@contextlib.contextmanager
def joined_ptys() -> Iterator[tuple[str, str]]:
    """Two ends of one line, bytes copied both ways."""
    ends = [os.openpty(), os.openpty()]
    stop_read, stop_write = os.pipe()

    def copy() -> None:
        import select

        masters = [ends[0][0], ends[1][0]]
        while True:
            ready, _, _ = select.select([*masters, stop_read], [], [])
            if stop_read in ready:
                return
            for master in ready:
                os.write(masters[1 - masters.index(master)], os.read(master, 4096))

    thread = threading.Thread(target=copy)
    thread.start()
    try:
        yield os.ttyname(ends[0][1]), os.ttyname(ends[1][1])
    finally:
        os.write(stop_write, b"x")
        thread.join()
        for fd in (stop_read, stop_write, *ends[0], *ends[1]):
            os.close(fd)


async def test_pymodbus_server_as_referee() -> None:
    registers = [SimData(0, values=list(range(1000, 1100)), datatype=DataType.REGISTERS)]
    coils = [SimData(0, values=[True, False] * 20, datatype=DataType.BITS)]
    device = SimDevice(7, simdata=(coils, coils, registers, registers))

    def write(function: int, address: int, *values: int) -> WriteRequest:
        times = {"timeout_s": 0.25, "max_reply_s": 1.0}
        return WriteRequest(unit_id=7, function=function, address=address, values=values, answered_by=(7,), **times)

    with joined_ptys() as (ours, theirs):
        server = ModbusSerialServer(device, framer=FramerType.RTU, port=theirs, baudrate=115200)
        await server.serve_forever(background=True)
        try:
            async with opened(ours) as line:
                assert (await line.read(read(unit_id=7, address=10, count=5))).words == (1010, 1011, 1012, 1013, 1014)
                beyond = await line.read(read(unit_id=7, address=5000, count=5))
                assert beyond.code == quality.ILLEGAL_ADDRESS
                assert ExcCodes.ILLEGAL_ADDRESS == 2
                for request in (
                    write(6, 10, 65535),
                    write(16, 11, 1, 2, 3),
                    write(5, 1, 0xFF00),
                    write(15, 4, 0, 1, 1),
                ):
                    confirmed = await line.write(request)
                    assert (confirmed.code, confirmed.detail) == (quality.GOOD, "")
                assert (await line.read(read(unit_id=7, address=10, count=5))).words == (65535, 1, 2, 3, 1014)
                bits = await line.read(read(unit_id=7, table="coil", address=0, count=8))
                assert bits.words == (1, 1, 1, 0, 0, 1, 1, 0)
                assert (await line.write(write(6, 5000, 1))).code == quality.ILLEGAL_ADDRESS
        finally:
            await server.shutdown()


async def test_a_defect_while_opening_leaves_no_read_waiting_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    class Defect:
        def open(self) -> None:
            raise UnicodeDecodeError("utf-8", b"\xe6", 0, 1, "cut")

        def write(self, data: bytes) -> None: ...

        def read(self) -> bytes:
            return b""

        def wait(self, timeout_s: float) -> None: ...

        def close(self) -> None: ...

    line = SerialLine(LineSettings(path="defect"), wire=Defect())
    await line.open()
    try:
        with pytest.raises(UnicodeDecodeError):
            await asyncio.wait_for(line.read(read()), 5.0)
    finally:
        await line.close()
    assert "try_open failed" in caplog.text
