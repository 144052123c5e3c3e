"""``edge-agent`` as a person meets it: output, languages, exit status, and no traceback."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from contracts.keys import parse_key_line
from edge_agent.cli import main
from edge_agent.commands.output import age, cell, facts, table, width
from edge_agent.commands.words import language
from edge_agent.compile import compile_site
from edge_agent.control import ControlServer, Request
from edge_agent.data_files import data_dir
from edge_agent.errors import ConfigError, ControlError
from edge_agent.readings import describe
from tests.edge_agent.site_files import GATEWAY, MAIN, PORTS, SITE, write_site

Capture = pytest.CaptureFixture[str]
Answer = Callable[[Request], Any]


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def agent(state_dir: Path, answers: Mapping[str, Answer]) -> Iterator[None]:
    """A control server in a thread, answering as a running agent would."""
    state_dir.mkdir(exist_ok=True)
    loop = asyncio.new_event_loop()
    handlers = {op: _handler(answer) for op, answer in answers.items()}
    server = ControlServer(state_dir / "control.sock", handlers)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(5)
        yield
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(5)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


def _handler(answer: Answer) -> Any:
    async def handle(request: Request) -> Any:
        return answer(request)

    return handle


# -- check ---------------------------------------------------------------------------------


def test_check_of_a_good_file(tmp_path: Path, capsys: Capture) -> None:
    path = write_site(tmp_path)
    assert main(["check", str(path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("OK: ports 2, devices 2, points ")
    assert "of the line's time" in out
    assert main(["--lang", "zh", "check", str(path)]) == 0
    assert capsys.readouterr().out.startswith("通过: 端口 2, 设备 2, 测点 ")
    assert not (tmp_path / "state").exists()


def test_check_of_a_bad_file_tells_everything_and_ends_with_2(tmp_path: Path, capsys: Capture) -> None:
    path = write_site(tmp_path, SITE.replace("unit_id = 2", "unit_id = 999").replace("baud = 9600", 'baud = "fast"'))
    assert main(["check", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split(": ")[1] for line in captured.err.splitlines()] == [
        "port[bus-1].baud",
        "device[main-1].unit_id",
    ]


def test_warnings_are_on_stderr(tmp_path: Path, capsys: Capture) -> None:
    assert main(["check", str(write_site(tmp_path, GATEWAY + PORTS + MAIN))]) == 0
    assert "warning: " in capsys.readouterr().err


# -- mistakes ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["status"], ["alarms"], ["reload"], ["spool", "list"], ["key"], ["read"]])
def test_a_missing_site_file_is_a_sentence(tmp_path: Path, capsys: Capture, command: list[str]) -> None:
    assert main([*command, "--config", str(tmp_path / "none.toml")]) == 2
    assert "cannot be read: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["status"], ["alarms"], ["reload"], ["alarm", "reset", "a/b", "r", "--by", "x"]])
def test_without_an_agent_there_is_a_sentence(tmp_path: Path, capsys: Capture, command: list[str]) -> None:
    assert main([*command, "--state-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"no agent runs on {tmp_path}\n"


@pytest.mark.parametrize("arguments", [[], ["fly"], ["check"], ["alarm", "reset", "a/b", "r"], ["spool"]])
def test_a_wrong_command_line_ends_with_2(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: edge-agent" in capsys.readouterr().err


def test_a_state_directory_that_cannot_be_made_is_a_sentence(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_text("")
    assert main(["key", "--state-dir", str(tmp_path / "file" / "state")]) == 1
    assert "a directory of its own" in capsys.readouterr().err


def test_a_reading_without_an_agent_says_why_a_port_is_closed(tmp_path: Path, capsys: Capture) -> None:
    site = write_site(tmp_path, GATEWAY + PORTS + MAIN)
    assert main(["read", "--config", str(site)]) == 0
    captured = capsys.readouterr()
    assert "missing: port is not there" in captured.out
    assert f"main-1: {tmp_path / 'bus-1'} is not there" in captured.err.splitlines()


def test_a_reader_that_has_gone_is_no_traceback(tmp_path: Path) -> None:
    command = f"'{sys.executable}' -m edge_agent.cli key --state-dir '{tmp_path}' | true"
    root = Path(__file__).parents[2]
    done = subprocess.run(["sh", "-c", command], cwd=root, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


# -- key -----------------------------------------------------------------------------------


def test_key_makes_a_key_once_and_prints_a_key_file(tmp_path: Path, capsys: Capture) -> None:
    place = ["--state-dir", str(tmp_path / "state")]
    assert main(["key", *place]) == 0
    text = capsys.readouterr().out
    public = parse_key_line(text, "stdout")
    assert public.gateway_id in text
    assert public.fingerprint in text
    assert os.stat(tmp_path / "state" / "key.pem").st_mode & 0o777 == 0o600
    assert main(["key", "--json", *place]) == 0
    record = json.loads(capsys.readouterr().out)
    assert parse_key_line(record["key"], "json") == public
    assert (record["gateway"], record["fingerprint"]) == (public.gateway_id, public.fingerprint)


def test_a_damaged_key_is_a_sentence_and_is_kept(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "key.pem").write_text("nonsense")
    assert main(["key", "--state-dir", str(tmp_path)]) == 1
    assert "not an unencrypted private key" in capsys.readouterr().err
    assert (tmp_path / "key.pem").read_text() == "nonsense"


# -- the running agent ---------------------------------------------------------------------


def test_read_shows_what_the_agent_has(tmp_path: Path, capsys: Capture) -> None:
    path = write_site(tmp_path)
    plan = compile_site(path).plan
    block = next(n for n, b in enumerate(plan.blocks) if plan.devices[b.device].id == "main-1")
    width_ = len(plan.blocks[block].points)
    ticks = [(block, 1_000_000, [3.25] * width_, None)]
    with agent(tmp_path / "state", {"latest": lambda _: {"readings": describe(plan, ticks, 3_000_000)}}):
        assert main(["read", "--config", str(path)]) == 0
        english = capsys.readouterr().out
        assert main(["--lang", "zh", "read", "--config", str(path)]) == 0
        chinese = capsys.readouterr().out
        assert main(["read", "--json", "--config", str(path)]) == 0
        readings = json.loads(capsys.readouterr().out)
    assert "main-1/pressure" in english
    assert "3.25" in english
    assert "missing: not read yet" in english
    assert "缺失: 尚未读取" in chinese
    assert "1号管 · " in chinese
    assert [reading["point"] for reading in readings] == [point.key for point in plan.points]


def test_read_without_an_agent_asks_the_ports(tmp_path: Path, capsys: Capture) -> None:
    path = write_site(tmp_path, GATEWAY + PORTS + MAIN)
    assert main(["read", "--json", "--config", str(path)]) == 0
    captured = capsys.readouterr()
    assert "the ports were opened for this reading" in captured.err
    assert {(r["value"], r["reason"]) for r in json.loads(captured.out)} <= {(None, "port_closed"), (None, "not_asked")}


def test_status_shows_nested_facts(tmp_path: Path, capsys: Capture) -> None:
    status = {"gateway": "g-x", "uptime_s": 5, "subjects": {"port/bus-1": {"load": 0.25, "error": None}}, "ports": []}
    with agent(tmp_path, {"status": lambda _: status, "spool": lambda _: {"spool_bytes": 7}}):
        assert main(["status", "--state-dir", str(tmp_path)]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "gateway: g-x",
            "uptime_s: 5",
            "subjects:",
            "  port/bus-1:",
            "    load: 0.25",
            "    error: -",
            "ports: -",
        ]
        assert main(["status", "--json", "--state-dir", str(tmp_path)]) == 0
        assert json.loads(capsys.readouterr().out) == status
        assert main(["spool", "status", "--state-dir", str(tmp_path)]) == 0
        assert capsys.readouterr().out == "spool_bytes: 7\n"


def _alarm() -> dict[str, Any]:
    return {
        "point": "well-1/ch4",
        "en": "Well 1 · methane",
        "zh": "1号井 · 甲烷",
        "rule_id": "gas.ch4.adjacent.v1/L1",
        "severity": "orange",
        "scheme": "test scheme",
        "state": "latched",
        "cause": "limit",
        "limit": 25.0,
        "value": 31.5,
        "unit": "%{LEL}",
        "age_s": 400.0,
    }


def test_alarms_are_listed_in_both_languages(tmp_path: Path, capsys: Capture) -> None:
    found: list[dict[str, Any]] = []
    with agent(tmp_path, {"alarms": lambda _: {"alarms": found}}):
        assert main(["alarms", "--state-dir", str(tmp_path)]) == 0
        assert capsys.readouterr().out == "no active or latched alarms\n"
        found.append(_alarm())
        assert main(["alarms", "--state-dir", str(tmp_path)]) == 0
        line = capsys.readouterr().out.splitlines()[1]
        for word in ("orange (test scheme)", "latched", "well-1/ch4", "31.5", "25", "7 min", "Well 1 · methane"):
            assert word in line
        assert main(["--lang", "zh", "alarms", "--state-dir", str(tmp_path)]) == 0
        assert "橙 (test scheme)  已锁存" in capsys.readouterr().out
        assert main(["alarms", "--json", "--state-dir", str(tmp_path)]) == 0
        assert json.loads(capsys.readouterr().out) == [_alarm()]


def test_a_reset_names_the_person_and_a_refusal_is_a_sentence(tmp_path: Path, capsys: Capture) -> None:
    asked: list[Request] = []

    def reset(request: Request) -> Any:
        asked.append(request)
        if len(asked) == 2:
            raise ControlError("the condition stands")
        return {"events": 1}

    command = ["alarm", "reset", "well-1/ch4", "gas/L1", "--by", "李伟", "--state-dir", str(tmp_path)]
    with agent(tmp_path, {"alarm-reset": reset}):
        assert main(command) == 0
        assert capsys.readouterr().out == "reset: well-1/ch4 gas/L1\n"
        assert main(command) == 1
        assert capsys.readouterr().err == "the condition stands\n"
    assert asked[0] == {"op": "alarm-reset", "point": "well-1/ch4", "rule": "gas/L1", "by": "李伟"}


def test_reload_tells_what_changed_and_a_refusal_keeps_its_status(tmp_path: Path, capsys: Capture) -> None:
    answers: list[Any] = [{"changed": True, "ports": ["bus-1"], "devices": ["a", "b", "c"], "added": ["a"],
                           "removed": ["b"]}, {"changed": False, "ports": []},
                          {"changed": False, "ports": [], "later": ["[uplink]"]}]  # fmt: skip

    def reload(request: Request) -> Any:
        if not answers:
            raise ConfigError(["site.toml: device[a].port: there is no port 'x'"])
        return answers.pop(0)

    with agent(tmp_path, {"reload": reload}):
        assert main(["reload", "--state-dir", str(tmp_path)]) == 0
        assert capsys.readouterr().out == (
            "reloaded; ports changed: bus-1\ndevices added: a\ndevices REMOVED, no longer monitored: b\n"
            "devices changed: c\n"
        )
        assert main(["reload", "--state-dir", str(tmp_path)]) == 0
        assert capsys.readouterr().out == "nothing changed\n"
        assert main(["reload", "--state-dir", str(tmp_path)]) == 0
        assert capsys.readouterr().out == "changed, but taken only at the agent's next start: [uplink]\n"
        assert main(["reload", "--state-dir", str(tmp_path)]) == 2
        assert "there is no port 'x'" in capsys.readouterr().err


def test_spool_commands_without_key_or_spool_are_sentences(tmp_path: Path, capsys: Capture) -> None:
    for action, sentence in (("verify", "no key yet"), ("export", "no key yet"), ("list", "there is no spool")):
        assert main(["spool", action, "--state-dir", str(tmp_path)]) == 1
        assert sentence in capsys.readouterr().err


# -- words, tables, data files -------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "environment", "expected"),
    [
        ("zh", {"LANG": "en_US.UTF-8"}, "zh"),
        (None, {"LANG": "zh_CN.UTF-8"}, "zh"),
        (None, {"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        (None, {}, "en"),
    ],
)
def test_the_language_is_the_one_asked_for_or_the_locales(
    wanted: str | None, environment: dict[str, str], expected: str
) -> None:
    assert language(wanted, environment) == expected


def test_tables_count_a_chinese_character_as_two_columns() -> None:
    lines = list(table(["name", "n"], [["甲烷", "1"], ["methane", "22"]], right=frozenset({1})))
    assert [width(line) for line in lines] == [11, 11, 11]
    assert lines[1] == "甲烷      1"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), ([], "-"), (True, "yes"), (0, "0"), (0.1234567, "0.123457"), ({"a": 1}, '{"a": 1}')],
)
def test_what_is_not_known_is_a_dash_and_zero_is_zero(value: Any, text: str) -> None:
    assert cell(value) == text


def test_lists_of_records_become_tables() -> None:
    assert list(facts({"rows": [{"a": 1}, {"b": 2}], "names": ["x"]})) == [
        "rows:",
        "  a  b",
        "  1  -",
        "  -  2",
        "names:",
        "  - x",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.04, "0.0 s"), (99.0, "99.0 s"), (600.0, "10 min"), (7200.0, "2 h"), (200_000.0, "2 d")],
)
def test_ages_are_said_as_people_do(seconds: float | None, text: str) -> None:
    assert age(seconds) == text


def test_data_files_are_found_where_they_are_named_installed_or_developed(tmp_path: Path) -> None:
    (tmp_path / "source" / "config").mkdir(parents=True)
    (tmp_path / "env" / "share" / "qianshao" / "config").mkdir(parents=True)
    none = tmp_path / "none"
    assert data_dir({}, tmp_path / "env", tmp_path / "source") == tmp_path / "source"
    assert data_dir({}, tmp_path / "env", none) == tmp_path / "env" / "share" / "qianshao"
    assert data_dir({"QIANSHAO_DATA": str(tmp_path / "source")}, none, none) == tmp_path / "source"
    with pytest.raises(ConfigError, match="set QIANSHAO_DATA"):
        data_dir({"QIANSHAO_DATA": str(none)}, tmp_path / "env", tmp_path / "source")


def test_the_budget_of_a_site_in_both_languages(tmp_path: Path, capsys: Capture) -> None:
    path = str(write_site(tmp_path))
    assert main(["budget", path]) == 0
    out = capsys.readouterr().out
    for part in ("bus-1: share of the line's time", "main-1/pressure", "waiting for the next reading: 2.00 s", "MB"):
        assert part in out
    assert main(["--lang", "zh", "budget", path]) == 0
    out = capsys.readouterr().out
    assert "等待下一次采样" in out
    assert "waiting" not in out


def test_a_budget_that_cannot_be_kept_is_shown_and_ends_with_1(tmp_path: Path, capsys: Capture) -> None:
    path = str(write_site(tmp_path, SITE.replace("interval_s = 2.0", "interval_s = 2.0\ndeadline_s = 2.5")))
    assert main(["budget", path]) == 1
    shown = capsys.readouterr()
    assert " !" in shown.out
    assert shown.err == "refused: alarm points that can miss their deadline: 1\n"
    assert main(["budget", path, "--allow-overrun"]) == 0
    assert capsys.readouterr().err.startswith("warning: ")
    assert main(["check", path]) == 2
    assert "deadline_s" in capsys.readouterr().err
    assert main(["check", path, "--allow-overrun"]) == 0


def test_a_budget_for_programs(tmp_path: Path, capsys: Capture) -> None:
    assert main(["budget", str(write_site(tmp_path)), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (bus,) = [port for port in told["ports"] if port["port"] == "bus-1"]
    (alarm,) = bus["alarms"]
    assert alarm["points"] == ["main-1/pressure"]
    assert alarm["is_met"] is True
    assert sum(term["seconds"] for term in alarm["terms"]) == pytest.approx(alarm["bound_s"])
    assert told["estimate"]["readings_per_s"] > 0
