"""The whole simulator through its control socket, and the commands that speak to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from simulators import cli
from simulators.app import Simulator
from simulators.control import ask
from simulators.errors import ControlError
from simulators.link_proxy import LinkProxy
from simulators.plant import Plant
from simulators.scenario import scenarios_dir


@pytest.fixture
async def socket_path(plant: Plant, tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "c.sock"
    link = LinkProxy("127.0.0.1", 0, "127.0.0.1", 1)
    simulator = Simulator(plant, scenario_folder=scenarios_dir(), control=path, link=link)
    await simulator.start()
    yield path
    await simulator.stop()
    await simulator.stop()


async def tell(path: Path, **request: Any) -> dict[str, Any]:
    return await asyncio.to_thread(ask, path, request)


async def test_set_fault_link_and_status(socket_path: Path) -> None:
    await tell(socket_path, op="set", point="well/gas", value=42)
    await tell(socket_path, op="set", point="head/gas", value="over_range")
    assert (await tell(socket_path, op="fault", device="main", kind="late", delay_s=1.5))["faults"] == ["late"]
    assert (await tell(socket_path, op="link", state="cut"))["state"] == "cut"
    status = await tell(socket_path, op="status")
    assert status["devices"]["well"]["shows"] == {"gas": 42}
    assert status["devices"]["head"]["shows"] == {"gas": "over_range"}
    assert status["devices"]["main"]["faults"] == ["late"]
    assert status["link"]["state"] == "cut"
    assert status["scenario"] is None
    assert status["set_by_hand"] == ["well/gas", "head/gas"]
    await tell(socket_path, op="set", point="well/gas", value="auto")
    assert (await tell(socket_path, op="status"))["set_by_hand"] == ["head/gas"]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"op": "dance"}, "known are set, fault"),
        ({"op": "set", "point": "well/gas"}, "value is None"),
        ({"op": "set", "point": "well/gas", "value": True}, "value is True"),
        ({"op": "set", "point": "well/gas", "value": "tired"}, "neither a number nor a state"),
        ({"op": "set", "point": "attic/gas", "value": 1}, "no device 'attic'"),
        ({"op": "fault", "device": "main", "kind": "bored"}, "known are dead"),
        ({"op": "link", "state": "slow"}, "bytes_per_s"),
        ({"op": "scenario", "name": "quake"}, "there is no such scenario"),
        ({"op": "scenario", "name": "gas_leak"}, "no device 'gas-well-1'"),
    ],
)
async def test_a_refused_command_says_why(socket_path: Path, request_: dict[str, Any], text: str) -> None:
    with pytest.raises(ControlError) as found:
        await tell(socket_path, **request_)
    assert text in str(found.value)


async def test_garbage_on_the_socket_is_answered_and_harms_nobody(socket_path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(socket_path))
    for line in (b"not json\n", b"[1]\n"):
        writer.write(line)
        assert b'"ok": false' in await asyncio.wait_for(reader.readline(), 10)
    writer.close()


async def test_the_socket_is_its_owners_only_and_a_second_simulator_is_refused(socket_path: Path, plant: Plant) -> None:
    assert socket_path.stat().st_mode & 0o777 == 0o600
    second = Simulator(Plant(source="x", lines=(), devices={}), scenario_folder=scenarios_dir(), control=socket_path)
    with pytest.raises(ControlError, match="another simulator answers"):
        await second.start()


async def test_the_commands(socket_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--control", str(socket_path)]

    async def run(*arguments: str) -> int:
        return await asyncio.to_thread(cli.main, [*arguments, *where])

    assert await run("set", "well/gas", "31.5") == 0
    assert await run("fault", "main", "exception", "--code", "6") == 0
    assert await run("link", "slow", "2000") == 0
    assert await run("status") == 0
    output = capsys.readouterr().out
    assert "well/gas: 31.5" in output
    assert "main: exception" in output
    assert "slow at 2000 bytes/s" in output
    assert "gas = 31.5" in output
    assert await run("set", "well/gas", "tired") == 1
    assert await run("link", "slow") == 2
    assert "neither a number nor a state" in capsys.readouterr().err


def test_no_simulator_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["set", "a/b", "1", "--control", str(tmp_path / "none.sock")]) == 1
    assert "no simulator answers" in capsys.readouterr().err
    assert cli.main(["set", "a/b", "1", "--control", str(tmp_path / ("x" * 120))]) == 1
    assert "longer than" in capsys.readouterr().err


def test_bad_files_end_with_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", str(tmp_path / "none.toml")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert cli.main(["tcp-bank", "--devices", "0", "--port", "5020"]) == 2
    assert "from 1 to 1000" in capsys.readouterr().err


def test_list_shows_every_scenario_in_both_languages(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    output = capsys.readouterr().out
    for word in ("gas_leak", "burst_main", "flooding_underpass", "bridge_crossing", "calm", "燃气泄漏"):
        assert word in output


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ("-2.5", -2.5), ("fault", "fault"), ("auto", "auto"), ("1e3", 1000.0)]
)
def test_values_of_the_command_line(text: str, value: object) -> None:
    assert cli.parse_value(text) == value


def test_the_socket_that_is_used_when_none_is_named(tmp_path: Path) -> None:
    assert cli.default_control({"SIMULATOR_CONTROL": "/x.sock"}, tmp_path) == Path("/x.sock")
    assert cli.default_control({}, tmp_path) == tmp_path / "simulator.sock"
    (tmp_path / ".demo").mkdir()
    (tmp_path / ".demo" / "simulator.sock").touch()
    assert cli.default_control({}, tmp_path) == tmp_path / ".demo" / "simulator.sock"
