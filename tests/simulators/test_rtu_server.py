"""RTU over a real pseudo terminal: pacing, gaps, faults, and mbpoll as outside referee."""

from __future__ import annotations

import os
import select
import subprocess
import time
import tty
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from drivers.frames import crc_fits, with_crc
from simulators.errors import PortInUse
from simulators.plant import LineSettings, Plant, SerialLine
from simulators.rtu_server import RtuBus, _Wire, request_length
from simulators.world import World

#: 8 bytes on the wire and 9 back: KELLER, P1
READ_P1 = with_crc(bytes.fromhex("01 03 00 02 00 02"))
READ_QD = with_crc(bytes.fromhex("02 03 00 02 00 03"))


@pytest.fixture
def bus(plant: Plant) -> Iterator[RtuBus]:
    line = plant.lines[1]
    assert isinstance(line, SerialLine)
    world = World(plant, time.monotonic)
    world.set_point("main/pressure", 2.0)
    world.set_point("inlet/pressure", 318.2)
    bus = RtuBus(line, {1: "main", 2: "inlet"}, world)
    bus.start()
    yield bus
    bus.stop()


class Client:
    """The other end of the line: raw, as a serial port is."""

    def __init__(self, path: object) -> None:
        self.fd = os.open(str(path), os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.fd)

    def read(self, size: int, timeout_s: float) -> tuple[bytes, float]:
        """Returns up to ``size`` bytes, and when the last of them came."""
        data, end, last = b"", time.monotonic() + timeout_s, 0.0
        while len(data) < size and (left := end - time.monotonic()) > 0:
            if select.select([self.fd], [], [], left)[0]:
                data += os.read(self.fd, size - len(data))
                last = time.monotonic()
        return data, last

    def ask(self, frame: bytes, size: int, timeout_s: float = 10.0) -> bytes:
        os.write(self.fd, frame)
        return self.read(size, timeout_s)[0]

    def close(self) -> None:
        os.close(self.fd)


@pytest.fixture
def client(bus: RtuBus) -> Iterator[Client]:
    client = Client(bus.line.path)
    yield client
    client.close()


def until(condition: Callable[[], bool]) -> None:
    """Waits for what the bus's thread does."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)


def test_two_units_answer_on_one_bus(bus: RtuBus, client: Client) -> None:
    assert client.ask(READ_P1, 9) == with_crc(bytes.fromhex("01 03 04 40 00 00 00"))
    time.sleep(0.006)
    assert client.ask(READ_QD, 11) == with_crc(bytes.fromhex("02 03 06 00 01 00 01 0c 6e"))
    assert (bus.counts.requests, bus.counts.replies, bus.counts.short_gaps) == (2, 2, 0)


def test_no_byte_comes_before_it_would_have_left_the_wire(client: Client) -> None:
    started = time.monotonic()
    os.write(client.fd, READ_P1)
    reply, ended = client.read(9, 1.0)
    assert len(reply) == 9
    character_s = 10 / 9600
    soonest = 8 * character_s + 3.5 * 11 / 9600 + 9 * character_s
    assert ended - started >= soonest


def test_a_request_too_soon_after_a_reply_is_counted(bus: RtuBus, client: Client) -> None:
    for _ in range(100):  # a busy machine may take longer than the gap between a reply and the next request
        client.ask(READ_P1, 9)
        if bus.counts.short_gaps:
            break
    assert bus.counts.short_gaps == 1
    assert min(bus.counts.gaps_s) < 3.5 * 11 / 9600


def test_faults_on_the_line(bus: RtuBus, client: Client) -> None:
    world = bus._world
    world.set_fault("main", "wrong_crc")
    reply = client.ask(READ_P1, 9)
    assert (len(reply), crc_fits(reply)) == (9, False)
    world.set_fault("main", "none")
    world.set_fault("main", "wrong_unit")
    time.sleep(0.006)
    assert client.ask(READ_P1, 9)[0] == 2
    world.set_fault("main", "none")
    world.set_fault("main", "dead")
    time.sleep(0.006)
    assert client.ask(READ_P1, 9, timeout_s=0.1) == b""


def test_a_request_with_a_wrong_checksum_or_for_nobody_is_not_answered(bus: RtuBus, client: Client) -> None:
    assert client.ask(READ_P1[:-1] + b"\0", 9, timeout_s=0.08) == b""
    until(lambda: bus.counts.crc_errors == 1)
    assert client.ask(with_crc(bytes.fromhex("09 03 00 02 00 02")), 9, timeout_s=0.08) == b""
    until(lambda: bus.counts.requests == 1)
    assert client.ask(b"\x01\x03\x00", 9, timeout_s=0.08) == b""  # ends by silence
    until(lambda: bus.counts.crc_errors == 2)
    assert (bus.counts.requests, bus.counts.crc_errors) == (1, 2)


def test_line_settings_that_differ_make_garbage(bus: RtuBus, client: Client) -> None:
    bus.client_line = replace(bus.line.settings, parity="even")
    assert client.ask(READ_P1, 9, timeout_s=0.08) == b""
    until(lambda: bus.counts.wrong_settings == 1)
    assert (bus.counts.wrong_settings, bus.counts.requests) == (1, 0)
    bus.client_line = bus.line.settings
    time.sleep(0.006)
    assert len(client.ask(READ_P1, 9)) == 9


def test_mbpoll_reads_what_was_set(bus: RtuBus, require_tool: Callable[[str], str]) -> None:
    mbpoll = require_tool("mbpoll")
    line = ["-m", "rtu", "-b", "9600", "-P", "none", "-s", "1"]
    what = ["-a", "1", "-0", "-r", "2", "-c", "1", "-B", "-t", "4:float", "-1", "-o", "2"]
    found = subprocess.run([mbpoll, *line, *what, bus.device], capture_output=True, text=True, timeout=20, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "[2]: \t2" in found.stdout


def test_the_link_goes_with_the_bus_and_another_file_is_not_touched(plant: Plant) -> None:
    line = plant.lines[1]
    assert isinstance(line, SerialLine)
    bus = RtuBus(line, {}, World(plant, time.monotonic))
    bus.start()
    assert os.readlink(line.path) == bus.device
    bus.stop()
    bus.stop()
    assert not line.path.is_symlink()
    line.path.write_text("mine")
    with pytest.raises(PortInUse, match="give a path that is free"):
        bus.start()
    assert line.path.read_text() == "mine"


@pytest.mark.parametrize(
    ("settings", "character_us", "gap_us"),
    [
        (LineSettings(baud=9600), 1041.7, 4010.4),
        (LineSettings(baud=9600, parity="even"), 1145.8, 4010.4),
        (LineSettings(baud=19200, parity="even"), 572.9, 2005.2),
        (LineSettings(baud=115200, stop_bits=2), 95.5, 1750.0),
    ],
)
def test_times_of_a_line(settings: LineSettings, character_us: float, gap_us: float) -> None:
    assert settings.character_s * 1e6 == pytest.approx(character_us, abs=0.1)
    assert settings.frame_gap_s * 1e6 == pytest.approx(gap_us, abs=0.1)


def test_a_wire_gives_each_byte_in_its_time() -> None:
    wire = _Wire(LineSettings(baud=10000))  # 1 ms a character
    wire.queue(b"abc", 5.0)
    assert [wire.due(at) for at in (4.9, 5.0009, 5.00101, 5.0025, 5.0031)] == [b"", b"", b"a", b"b", b"c"]
    assert wire.wait_s(6.0) is None


def test_a_wire_holds_a_request_until_its_last_bit_has_come() -> None:
    wire = _Wire(LineSettings(baud=10000))
    assert wire.receive(READ_P1, 1.0) is None
    assert wire.frames(1.007) == []
    [(frame, ended_s)] = wire.frames(1.0081)
    assert frame == READ_P1
    assert ended_s == pytest.approx(1.008)
    assert wire.receive(READ_P1, 1.010) == pytest.approx(0.002)


@pytest.mark.parametrize(
    ("data", "length"),
    [("01", None), ("01 03", 8), ("01 06", 8), ("01 10 00 00 00 02 04", 13), ("01 10 00", None), ("01 2b", None)],
)
def test_the_length_of_a_request(data: str, length: int | None) -> None:
    assert request_length(bytes.fromhex(data)) == length


def test_a_late_reply_holds_no_other_back() -> None:
    wire = _Wire(LineSettings(baud=9600))
    wire.queue(b"late", 5.0)
    wire.queue(b"now", 1.0)
    wire.queue(b"next", 1.0)
    assert wire.due(2.0) == b"nownext"
    assert wire.due(6.0) == b"late"
