"""scan, doctor, decode and the raw read as a person meets them: on real pseudo terminals, alone and through an agent.

A PTY has neither baud rate nor parity: other settings are tried in virtual time (``test_scan_line``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

from drivers.frames import FrameRequest, build_exception, build_reply
from drivers.loader import load_profile
from edge_agent.cli import main
from edge_agent.commands import tool_words
from edge_agent.compile import compile_site
from edge_agent.tools import doctor_line, scan_plan
from edge_agent.tools.match import candidate
from simulators.plant import LineSettings, SerialLine, make_plant
from simulators.rtu_server import RtuBus
from simulators.world import World
from tests.drivers.pty_devices import Answer, PtyDevices, prompt
from tests.edge_agent.running_agent import RunningAgent, until

pytestmark = pytest.mark.slow
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A few addresses, short listening, English, and a state directory of its own."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("QIANSHAO_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.setattr(scan_plan, "UNITS", range(1, 7))
    monkeypatch.setattr("edge_agent.commands.scan.other_settings", lambda *_: ())
    monkeypatch.setattr("edge_agent.commands.doctor.other_settings", lambda *_: ())
    few = tuple(candidate(load_profile(name)) for name in ("keller-30", "qd-transmitter", "vegapuls-6x"))
    monkeypatch.setattr("edge_agent.commands.scan.candidates", lambda: few)
    monkeypatch.setattr("edge_agent.commands.doctor.candidates", lambda: few)
    monkeypatch.setattr("edge_agent.commands.scan.LISTEN_S", 0.05)
    monkeypatch.setattr("edge_agent.commands.scan_report.UNITS", range(1, 7))
    monkeypatch.setattr(doctor_line, "LISTEN_S", 0.1)


QD = {2: 1, 3: 3, 4: 1234}


def devices(request: FrameRequest) -> Answer:
    """A QD transmitter at 2; at 5 somebody who takes 60 ms and refuses everything."""
    wanted = range(request.address, request.address + request.count)
    if request.unit_id == 2:
        if request.function == 3 and all(address in QD for address in wanted):
            return 0.012, build_reply(2, 3, [QD[address] for address in wanted])
        return 0.012, build_exception(2, request.function, 2)
    return (0.070, build_exception(5, request.function, 2)) if request.unit_id == 5 else None


def scan(arguments: list[str], capsys: Capture) -> tuple[int, dict[str, Any], str]:
    status = main(["scan", *arguments, "--json"])
    captured = capsys.readouterr()
    return status, json.loads(captured.out) if captured.out else {}, captured.err


@pytest.mark.alone
def test_a_scan_of_a_line_of_its_own_finds_also_who_is_slow(capsys: Capture) -> None:
    with PtyDevices(devices) as line:
        status, found, err = scan([line.path, "--bauds", "9600"], capsys)
    assert status == 0
    by_unit = {one["unit"]: one for one in found["units"]}
    assert sorted(by_unit) == [2, 5]
    assert by_unit[2]["fits"][0] == {
        "profile": "qd-transmitter",
        "surely": "likely",
        "because": by_unit[2]["fits"][0]["because"],
    }
    assert not by_unit[2]["shared"]
    assert by_unit[5]["late"] or by_unit[5]["seen_in"] == "slow"
    assert by_unit[5]["slowest_ms"] > 30
    assert found["waited_ms"]["9600 8N1"] == 300
    assert found["done"]
    assert "sending nothing" in err


def test_a_scan_for_a_person_ends_with_lines_that_a_site_file_takes(tmp_path: Path, capsys: Capture) -> None:
    with PtyDevices(devices) as line:
        assert main(["scan", line.path, "--bauds", "9600"]) == 0
        out = capsys.readouterr().out
    assert "qd-transmitter" in out
    assert "no answer within 300 ms (that is not: absent)" in out
    stanza = out.split("# for the site file:\n")[1]
    path = tmp_path / "site.toml"
    path.write_text('[gateway]\nname = { en = "x", zh = "x" }\nstate_dir = "s"\n' + stanza, encoding="utf-8")
    plan = compile_site(path).plan
    assert [(device.unit_id, device.profile) for device in plan.devices] == [(2, "qd-transmitter")]
    assert plan.ports[0].baud == 9600


def test_a_scan_in_chinese(capsys: Capture) -> None:
    with PtyDevices(devices) as line:
        assert main(["--lang", "zh", "scan", line.path, "--bauds", "9600"]) == 0
    captured = capsys.readouterr()
    assert "无应答（不等于不存在）" in captured.out
    assert "监听" in captured.err


def test_a_line_on_which_nobody_answers(capsys: Capture) -> None:
    with PtyDevices(lambda request: None) as line:
        status, found, _ = scan([line.path, "--bauds", "9600"], capsys)
        assert (status, found["units"]) == (1, [])
        assert len(line.heard) > 6


def test_a_stopped_scan_is_kept_and_goes_on(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def stop(request: FrameRequest) -> Answer:
        asked.append(request.unit_id)
        return devices(request)

    original = doctor_line.Scan.search

    async def interrupted(self: Any, show: Callable[[Any], None]) -> None:
        def showing(state: Any) -> None:
            if len(asked) > 8:
                raise KeyboardInterrupt
            show(state)

        await original(self, showing)

    with PtyDevices(stop) as line:
        monkeypatch.setattr(doctor_line.Scan, "search", interrupted)
        status, found, err = scan([line.path, "--bauds", "9600"], capsys)
        assert status == 130
        assert "--resume" in err
        assert not found["done"]
        monkeypatch.setattr(doctor_line.Scan, "search", original)
        status, found, _ = scan([line.path, "--bauds", "9600", "--resume"], capsys)
        assert status == 0
        assert sorted(one["unit"] for one in found["units"]) == [2, 5]
        assert main(["scan", line.path, "--resume"]) == 1
        assert "no stopped scan" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["scan"], ["doctor"], ["read"]])
def test_a_port_that_is_not_there_is_a_sentence(command: list[str], tmp_path: Path, capsys: Capture) -> None:
    unit = ["--unit", "1"] if command == ["read"] else []
    assert main([*command, str(tmp_path / "ttyUSB9"), *unit]) == 1
    assert "ttyUSB9 is not there" in capsys.readouterr().err
    assert main([*command, "bus-9", *unit]) == 1
    assert "there is no port 'bus-9'" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["scan"], ["doctor"], ["read", "--unit", "1"]])
@pytest.mark.parametrize("by_id", [True, False])
def test_nothing_is_sent_where_another_controller_owns_the_bus(
    command: list[str], by_id: bool, tmp_path: Path, capsys: Capture
) -> None:
    with PtyDevices(prompt) as line:
        port = f'[[port]]\nid = "bus-1"\nkind = "serial"\ndevice = "{line.path}"\nbaud = 9600\nlisten_only = true\n'
        site = tmp_path / "site.toml"
        site.write_text(
            SITE.split("[[port]]", maxsplit=1)[0] + port + "[[device]]" + SITE.split("[[device]]")[1], encoding="utf-8"
        )
        assert main([command[0], "bus-1" if by_id else line.path, *command[1:], "--config", str(site)]) == 1
        assert "is only listened to" in capsys.readouterr().err
        assert line.heard == []


def test_every_sentence_is_in_both_languages() -> None:
    for english, chinese in tool_words._TEXTS.values():
        assert any("\u4e00" <= char <= "\u9fff" for char in chinese)
        assert not any("\u4e00" <= char <= "\u9fff" for char in english)
        names = [{name for _, name, _, _ in Formatter().parse(text) if name} for text in (english, chinese)]
        assert names[0] == names[1]


def test_ports_are_listed_or_there_are_none(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.serial_ports.list_ports", lambda: ())
    assert main(["scan"]) == 1
    assert capsys.readouterr().out == "no serial port is there\n"


def test_a_doctor_names_what_is_wrong_and_what_to_do(capsys: Capture) -> None:
    with PtyDevices(devices) as line:
        assert main(["doctor", line.path, "--unit", "2"]) in (0, 1)
        out = capsys.readouterr().out
        assert "1. " in out
        assert "seen: " in out
        assert main(["--lang", "zh", "doctor", line.path, "--unit", "2", "--json"]) in (0, 1)
        assert json.loads(capsys.readouterr().out)["findings"][0]["zh"]["title"]


def test_a_doctor_on_a_healthy_line(capsys: Capture) -> None:
    with PtyDevices(prompt) as line:
        assert main(["doctor", line.path, "--unit", "3"]) == 0
    assert "no fault seen" in capsys.readouterr().out


def test_a_raw_read_shows_the_words_as_they_are(capsys: Capture) -> None:
    with PtyDevices(devices) as line:
        assert main(["read", line.path, "--unit", "2", "--address", "2", "--count", "3"]) == 0
        assert capsys.readouterr().out.splitlines()[1:] == [
            "      2  0001     1     1",
            "      3  0003     3     3",
            "      4  04D2  1234  1234",
        ]
        assert main(["read", line.path, "--unit", "2", "--address", "0x10"]) == 1
        assert "exception 02" in capsys.readouterr().err
        assert main(["read", line.path]) == 1
        assert "--unit is needed" in capsys.readouterr().err


def test_words_are_decoded_and_what_agrees_comes_first(capsys: Capture) -> None:
    assert main(["decode", "0xA3D7", "0x4088", "--expect", "4.27"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "A3D7 4088"
    assert lines[3].split()[:2] == ["f32", "CDAB"]
    assert main(["decode", "0xA3D7", "0x4088", "--expect", "9999"]) == 1
    assert main(["decode", "0x7FC0", "0", "--type", "f32", "--json"]) == 0
    captured = capsys.readouterr().out
    assert '"nan"' in captured
    assert main(["decode", "1", "--type", "f32"]) == 1
    assert "f32 takes 2 registers, 1 are given" in capsys.readouterr().err
    assert main(["decode", "0x4845", "--string", "--type", "u16"]) == 0
    assert "text AB: HE" in capsys.readouterr().out


def test_a_live_block_is_decoded(capsys: Capture) -> None:
    with PtyDevices(devices) as line:
        arguments = ["--from", line.path, "--unit", "2", "--address", "4", "--expect", "1.234"]
        assert main(["decode", *arguments]) == 0
        assert "u16" in capsys.readouterr().out
        assert main(["decode", "1", *arguments]) == 1
        assert "not both" in capsys.readouterr().err


# -- through the running agent -------------------------------------------------------------

SITE = """
[gateway]
name = { en = "Test", zh = "测试" }
state_dir = "state"
[uplink]
host = "127.0.0.1"
port = 9
seal_interval_s = 0.2
[[port]]
id = "bus-1"
kind = "serial"
device = "bus-1"
baud = 9600
[[device]]
id = "main"
port = "bus-1"
unit_id = 1
profile = "keller-30"
interval_s = 1.0
"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningAgent]:
    """An agent that polls a KELLER at 1; a second unit at 4 is not in its configuration."""
    parts = {
        "port": [{"id": "bus-1", "kind": "serial", "device": "bus-1", "baud": 9600}],
        "device": [
            {"id": "main", "port": "bus-1", "unit_id": 1, "profile": "keller-30"},
            {"id": "new", "port": "bus-1", "unit_id": 4, "profile": "qd-transmitter"},
        ],
    }
    plant = make_plant(parts, "site.toml", tmp_path)
    bus = RtuBus(
        SerialLine(id="bus-1", path=tmp_path / "bus-1", settings=LineSettings()),
        {1: "main", 4: "new"},
        World(plant, time.monotonic),
    )
    bus.start()
    agent = RunningAgent(tmp_path, SITE)
    try:
        agent.start()
        until(lambda: "bus-1" in str(agent.status().get("subjects")), "polling")
        yield agent
    finally:
        agent.kill()
        bus.stop()


def test_a_scan_and_a_read_through_the_running_agent(running: RunningAgent, capsys: Capture) -> None:
    place = ["--config", str(running.config)]
    status, found, err = scan(["bus-1", *place], capsys)
    assert status == 0, err
    assert found["borrowed"]
    assert found["polled"] == [1]
    assert [one["unit"] for one in found["units"]] == [4]
    assert "lends its line" in err
    assert "[[port]]" not in found["stanza"]
    assert 'port = "bus-1"' in found["stanza"]
    # The device file means the same port, and a unit that the agent polls can be read in between.
    assert main(["read", str(running.folder / "bus-1"), "--unit", "1", "--address", "2", "--count", "2", *place]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["scan", "bus-1", "--baud", "19200", *place]) == 1
    assert "stop the agent to try 19200 8N1" in capsys.readouterr().err
    assert main(["doctor", "bus-1", "--unit", "4", *place]) == 0, capsys.readouterr().out


def test_the_agent_keeps_polling_while_its_line_is_lent(running: RunningAgent, capsys: Capture) -> None:
    def good() -> int:
        return int(running.status()["subjects"]["device/main"]["good"])

    before = good()
    begun = time.monotonic()
    scan(["bus-1", "--config", str(running.config)], capsys)
    took_s = time.monotonic() - begun
    # Two blocks a second; a loaded machine may lose some.
    assert good() - before >= int(took_s) - 2
