"""The control socket: requests, refusals, and a socket that a killed agent left behind."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.control import GROUP, MAX_REQUEST, ControlServer, Request, ask, text_of
from edge_agent.errors import ConfigError, ControlError, NotRunningError, StateDirError
from edge_agent.state_dir import StateDir


async def _echo(request: Request) -> Any:
    return {"said": text_of(request, "word")}


async def _refuse(request: Request) -> Any:
    raise ConfigError(["site.toml: port: is missing"])


async def _break(request: Request) -> Any:
    raise ZeroDivisionError


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "control.sock"
    server = ControlServer(path, {"echo": _echo, "refuse": _refuse, "break": _break})
    await server.start()
    yield path
    await server.close()
    await server.close()
    assert not path.exists()


async def _ask(path: Path, op: str, **arguments: Any) -> Any:
    return await asyncio.to_thread(ask, path, op, **arguments)


async def test_an_answer_is_what_the_handler_returned(path: Path) -> None:
    assert await _ask(path, "echo", word="甲烷") == {"said": "甲烷"}
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


@pytest.mark.parametrize(
    ("op", "arguments", "sentence", "status"),
    [
        ("echo", {}, "'word' is needed", 2),
        ("echo", {"word": 3}, "'word' is needed", 2),
        ("echo", {"word": "x" * 300}, "'word' is needed", 2),
        ("refuse", {}, "site.toml: port: is missing", 2),
        ("echo", {"word": "\udcc0"}, "set the terminal to UTF-8", 2),
        ("fly", {}, "known are break, echo, refuse", 2),
        ("break", {}, "failed inside the agent", 1),
    ],
)
async def test_a_refusal_is_a_sentence(
    path: Path, op: str, arguments: dict[str, Any], sentence: str, status: int
) -> None:
    with pytest.raises(ControlError, match=sentence) as caught:
        await _ask(path, op, **arguments)
    assert caught.value.exit_status == status


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"op": 3}', b"\xff", b"[" * 5000])
async def test_nonsense_is_answered_and_the_next_request_too(path: Path, line: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(line + b"\n" + b'{"op": "echo", "word": "x"}\n')
    assert json.loads(await reader.readline())["ok"] is False
    assert json.loads(await reader.readline())["result"] == {"said": "x"}
    writer.close()


async def test_half_a_character_is_refused_before_it_is_kept(path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b'{"op": "echo", "word": "\\udcc0"}\n')
    assert json.loads(await reader.readline())["error"] == "word: not UTF-8; set the terminal to UTF-8"
    writer.close()


async def test_a_request_without_end_is_cut_off(path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"x" * (2 * MAX_REQUEST))
    assert await reader.read() == b""
    writer.close()
    assert await _ask(path, "echo", word="still here") == {"said": "still here"}
    with pytest.raises(ControlError, match="too long"):
        await _ask(path, "echo", word="x" * MAX_REQUEST)


async def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    with pytest.raises(NotRunningError, match="no agent runs"):
        await _ask(path, "echo")
    server = ControlServer(path, {"echo": _echo})
    await server.start()
    assert await _ask(path, "echo", word="x") == {"said": "x"}
    await server.close()


async def test_a_deep_directory_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 20) / ("deeper" * 20)
    folder.mkdir(parents=True)
    server = ControlServer(folder / "control.sock", {"echo": _echo})
    await server.start()
    assert await _ask(folder / "control.sock", "echo", word="x") == {"said": "x"}
    await server.close()


async def test_a_directory_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StateDirError, match="a directory of its own"):
        await ControlServer(tmp_path / "none" / "control.sock", {}).start()


def test_without_an_agent_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError, match=f"no agent runs on {tmp_path}"):
        ask(tmp_path / "control.sock", "status")


def test_a_slow_agent_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "control.sock"))
        deaf.listen()
        with pytest.raises(ControlError, match="did not answer within"):
            ask(tmp_path / "control.sock", "status", timeout_s=0.05)


def test_a_second_agent_is_kept_out(tmp_path: Path) -> None:
    first, second = StateDir(tmp_path / "state"), StateDir(tmp_path / "state")
    first.acquire()
    assert stat.S_IMODE(os.stat(first.path).st_mode) == 0o700
    with pytest.raises(StateDirError, match=rf"another agent \(process {os.getpid()}\) runs on"):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_a_state_directory_that_is_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StateDirError, match="a directory of its own"):
        StateDir(tmp_path / "state").acquire()


# -- who may use the socket ----------------------------------------------------------------


async def test_an_agent_of_the_group_lets_its_members_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.control._group_name", lambda number: GROUP)
    server = ControlServer(tmp_path / "control.sock", {"echo": _echo})
    await server.start()
    assert stat.S_IMODE(os.stat(tmp_path / "control.sock").st_mode) == 0o660
    await server.close()


@pytest.mark.parametrize(
    ("group", "sentence"),
    [(GROUP, r"`sudo usermod -aG qianshao \$USER`"), ("staff", "sudo -u .* edge-agent")],
)
def test_who_is_refused_is_told_the_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, sentence: str
) -> None:
    class Refusing(socket.socket):
        def connect(self, address: object) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("edge_agent.control._group_name", lambda number: group)
    monkeypatch.setattr("edge_agent.control.socket.socket", Refusing)
    with pytest.raises(ControlError, match=sentence):
        ask(tmp_path / "control.sock", "echo", word="x")
