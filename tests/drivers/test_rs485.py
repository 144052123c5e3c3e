from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.rs485 import (
    TIOCSRS485,
    TIOCSSERIAL,
    ElectronicsReport,
    ErrorCounters,
    KernelElectronics,
    Rs485Settings,
    Unavailable,
)
from tests.drivers.fake_electronics import FakeDriver


def electronics(driver: FakeDriver, sys: Path) -> KernelElectronics:
    return KernelElectronics(3, "/dev/ttyUSB0", sys=sys, ioctl=driver.ioctl)


@pytest.fixture
def timer(tmp_path: Path) -> Path:
    file = tmp_path / "bus/usb-serial/devices/ttyUSB0/latency_timer"
    file.parent.mkdir(parents=True)
    file.write_text("16\n")
    return file


@pytest.fixture
def pty() -> Iterator[int]:
    master, slave = os.openpty()
    yield slave
    os.close(slave)
    os.close(master)


@pytest.mark.parametrize(
    ("settings", "flags"),
    [
        (Rs485Settings(), 0b000011),
        (Rs485Settings(rts_on_send=False, rts_after_send=True), 0b000101),
        (Rs485Settings(rx_during_tx=True, terminate=True), 0b110011),
    ],
)
def test_direction_is_set_as_the_kernel_names_it(settings: Rs485Settings, flags: int, tmp_path: Path) -> None:
    driver = FakeDriver(rs485_flags=0b110111)
    assert electronics(driver, tmp_path).set_rs485(settings) == settings
    request, sent = driver.asked[0]
    assert (request, len(sent)) == (TIOCSRS485, 32)
    assert struct.unpack("=8I", sent) == (flags, 0, 0, 0, 0, 0, 0, 0)


def test_delays_are_milliseconds_behind_the_flags(tmp_path: Path) -> None:
    driver = FakeDriver(rs485_flags=0b110111)
    wanted = Rs485Settings(delay_before_ms=1, delay_after_ms=2)
    assert electronics(driver, tmp_path).set_rs485(wanted) == wanted
    assert struct.unpack("=8I", driver.asked[0][1])[:3] == (0b11, 1, 2)


def test_what_the_driver_did_not_take_is_told(tmp_path: Path) -> None:
    taken = electronics(FakeDriver(rs485_flags=0b000011), tmp_path).set_rs485(Rs485Settings(terminate=True))
    assert taken == Rs485Settings(terminate=False)
    assert isinstance(electronics(FakeDriver(rs485_flags=0), tmp_path).set_rs485(Rs485Settings()), Unavailable)


def test_error_counters(tmp_path: Path) -> None:
    driver = FakeDriver(counts=(1, 2, 3, 4, 500, 600, 7, 8, 9, 10, 11))
    assert electronics(driver, tmp_path).read_counters() == ErrorCounters(
        frame=7, overrun=8, parity=9, breaks=10, buffer_overrun=11, received=500, sent=600
    )


def test_low_latency_by_the_ports_own_flag(tmp_path: Path, timer: Path) -> None:
    driver = FakeDriver(timer=timer)
    port = electronics(driver, tmp_path)
    assert port.latency_ms() == 16
    assert port.set_low_latency() == 1
    request, sent = driver.asked[-1]
    assert request == TIOCSSERIAL
    assert struct.unpack_from("=i", sent, 16)[0] == 0x2040  # the flag beside those that were set
    asked = len(driver.asked)
    assert port.set_low_latency() == 1
    assert len(driver.asked) == asked  # nothing to do


def test_low_latency_by_sysfs_where_the_flag_does_nothing(tmp_path: Path, timer: Path) -> None:
    assert electronics(FakeDriver(timer=timer, obeys_flag=False), tmp_path).set_low_latency() == 1
    timer.write_text("16\n")
    assert electronics(FakeDriver(), tmp_path).set_low_latency() == 1


def test_a_latency_that_stays_is_told(tmp_path: Path, timer: Path) -> None:
    timer.unlink()
    timer.symlink_to("/proc/self/stat")  # can be read and is no number
    assert isinstance(electronics(FakeDriver(), tmp_path).set_low_latency(), Unavailable)


def test_a_pseudo_terminal_has_none_of_it(pty: int) -> None:
    port = KernelElectronics(pty, os.ttyname(pty))
    for told in (
        port.set_rs485(Rs485Settings()),
        port.read_counters(),
        port.latency_ms(),
        port.set_low_latency(),
    ):
        assert isinstance(told, Unavailable)
        assert str(told).startswith("not available: the driver ")


def test_facts_for_health() -> None:
    counters = ErrorCounters(frame=7, overrun=8, parity=9, breaks=10, buffer_overrun=11, received=5, sent=6)
    report = ElectronicsReport(
        path="by-id", device="/dev/ttyUSB0", rs485=Rs485Settings(), counters=counters, latency_ms=1
    )
    assert dict(report.facts()) == {
        "device": "/dev/ttyUSB0",
        "frame_errors": 7,
        "parity_errors": 9,
        "overruns": 19,
        "breaks": 10,
        "adapter_latency_ms": 1,
        "rs485": "on",
    }
    bare = ElectronicsReport(path="p", device="/dev/pts/1", rs485=Unavailable("the driver has none"))
    assert dict(bare.facts()) == {"device": "/dev/pts/1", "rs485": "not available: the driver has none"}
    assert ElectronicsReport(path="p", because="port is not open").facts() == ()
