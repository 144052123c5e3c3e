"""The list of ports: who holds them, what they carry; a held port is not touched."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from drivers.port_access import Holder, Holders
from drivers.serial_ports import FoundPort
from edge_agent.cli import main
from edge_agent.tools.port_list import agent_ports, listed
from tests.drivers.pty_devices import PtyDevices


def found(path: str, *, held: bool = False, permitted: bool = True) -> FoundPort:
    holders = Holders(found=(Holder(pid=7, name="minicom"),) if held else (), is_blind=False)
    return FoundPort(
        path=path,
        name="/dev/serial/by-id/usb-1a86-if00",
        by_id="/dev/serial/by-id/usb-1a86-if00",
        by_path=None,
        driver="ch341",
        chip="CH340",
        usb_id=("1a86", "7523"),
        product="USB Serial",
        serial_number=None,
        socket="1-1.2",
        holders=holders,
        group="dialout",
        is_permitted=permitted,
    )


async def test_idle_bytes_are_counted_and_held_ports_are_left_alone() -> None:
    with PtyDevices(lambda request: None) as talking, PtyDevices(lambda request: None) as quiet:
        is_over = threading.Event()

        def talk() -> None:
            # Again and again: what comes before the port is open is not heard.
            while not is_over.wait(0.05):
                os.write(talking._master, b"\x55\x51\x00")

        thread = threading.Thread(target=talk)
        thread.start()
        ports = [
            found(talking.path),
            found(quiet.path),
            found("/dev/held", held=True),
            found("/dev/no", permitted=False),
        ]
        rows = await listed(ports, {}, seconds=0.5)
        is_over.set()
        thread.join()
    heard, *others = [row.idle_bytes for row in rows]
    assert heard
    assert heard % 3 == 0
    assert others == [0, None, None]


async def test_a_port_of_the_running_agent_is_named_and_not_opened() -> None:
    (row,) = await listed([found("/dev/ttyUSB0")], {"/dev/ttyUSB0": "bus-1"}, seconds=0.1)
    assert (row.agent_port, row.idle_bytes) == ("bus-1", None)


async def test_a_port_that_went_away_meanwhile_says_so(tmp_path: Path) -> None:
    (row,) = await listed([found(str(tmp_path / "ttyUSB0"))], {}, seconds=0.1)
    assert "is not there" in row.because


def test_without_an_agent_no_port_is_its(tmp_path: Path) -> None:
    assert agent_ports(tmp_path / "control.sock", str) == {}
    assert agent_ports(None, str) == {}


def test_the_list_as_a_person_sees_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = (found("/dev/ttyUSB0", held=True), found("/dev/ttyUSB1", permitted=False))
    monkeypatch.setattr("drivers.serial_ports.list_ports", lambda: ports)
    place = ["--config", str(tmp_path / "none.toml")]
    assert main(["--lang", "en", "scan", *place]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["port", "chip"]
    assert "minicom (pid 7)" in lines[1]
    assert "not allowed; group dialout" in lines[2]
    assert main(["--lang", "zh", "scan", *place]) == 0
    assert "芯片" in capsys.readouterr().out
    assert main(["scan", "--json", *place]) == 0
    assert '"usb_id": "1a86:7523"' in capsys.readouterr().out
