"""A reload of the real agent: who notices, and what becomes of a configuration under which devices fall silent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.batch import Batch, Lane, decode_batch
from contracts.envelope import decode_payload, split
from edge_agent.control import ask
from edge_agent.spool_records import split_id
from edge_agent.state_dir import CONTROL, SPOOL
from tests.drivers.test_dial_in_listener import free_address
from tests.edge_agent.running_agent import RunningAgent, site, until
from tests.edge_agent.tcp_device import TcpDevice
from tests.edge_agent.test_prometheus_text import parse

#: the real agent, and seconds of it; the parts are tested alone in test_reload_trial, test_plan_store, test_reloader
pytestmark = pytest.mark.ci
TRIAL_S = 2
#: 1.234 kPa
REGISTERS = {2: 1, 3: 3, 4: 1234}


def two_units(port: int, *, trial_s: float = TRIAL_S, second: str = "", unit: int = 1, metrics: str = "") -> str:
    """Returns a site with one transmitter, or two, behind one TCP port."""
    text = site({"a": port}, interval_s=0.2).replace("[gateway]\n", f"[gateway]\nreload_trial_s = {trial_s}\n")
    text = text.replace("unit_id = 1", f"unit_id = {unit}") + metrics
    if second:
        text += f'[[device]]\nid = "{second}"\nport = "a"\nunit_id = 2\nprofile = "qd-transmitter"\ninterval_s = 0.2\n'
    return text


@pytest.fixture
def device() -> Iterator[TcpDevice]:
    made = TcpDevice(REGISTERS)
    yield made
    made.close()


@pytest.fixture
def agent(tmp_path: Path, device: TcpDevice) -> Iterator[RunningAgent]:
    running = RunningAgent(tmp_path, two_units(device.port))
    yield running
    running.kill()


def _facts(agent: RunningAgent, subject: str) -> dict[str, object]:
    found: dict[str, object] = agent.status().get("subjects", {}).get(subject, {})
    return found


def _requests(agent: RunningAgent, id: str) -> int:
    return int(str(_facts(agent, f"device/{id}").get("requests", 0)))


def _batches(agent: RunningAgent) -> list[Batch]:
    """Returns every data batch that a stopped agent has sealed."""
    with contextlib.closing(sqlite3.connect(agent.state_dir / SPOOL)) as spool:
        rows = spool.execute("SELECT id, envelope FROM batch ORDER BY id").fetchall()
    lanes = [(split_id(id)[1], envelope) for id, envelope in rows]
    return [
        decode_batch(decode_payload(split(envelope)[1]), lane.type) for lane, envelope in lanes if lane is Lane.DATA
    ]


def test_another_device_on_a_line_leaves_the_line_open_and_the_first_one_as_it_was(
    agent: RunningAgent, device: TcpDevice
) -> None:
    agent.start()
    until(lambda: _requests(agent, "dev-a") > 5, "requests")
    requests = _requests(agent, "dev-a")
    agent.config.write_text(two_units(device.port, second="dev-b"), encoding="utf-8")
    done = agent.command("reload", "--wait")
    assert done.returncode == 0, done.stderr
    assert "ports changed: a" in done.stdout
    assert "devices added: dev-b" in done.stdout
    assert "confirmed" in done.stdout
    until(lambda: _requests(agent, "dev-b") > 3, "requests of the new device")
    assert _requests(agent, "dev-a") >= requests, "its counters went on"
    assert device.connections == 1, "the connection stayed open"
    agent.config.write_text(two_units(device.port), encoding="utf-8")
    assert agent.command("reload").returncode == 0
    until(lambda: not _facts(agent, "device/dev-b"), "the device to be gone")
    assert device.connections == 1
    assert agent.end() == 0
    agent.verified()
    assert "Traceback" not in agent.said()


def test_a_configuration_under_which_a_device_falls_silent_is_rolled_back(
    agent: RunningAgent, device: TcpDevice
) -> None:
    other = TcpDevice(REGISTERS)
    port, other_port = device.port, other.port
    other.close()
    agent.start()
    until(lambda: _requests(agent, "dev-a") > 5, "requests")
    before = agent.status()["plan"]
    agent.config.write_text(two_units(other_port), encoding="utf-8")
    done = agent.command("reload", "--wait")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "rolled back" in done.stdout
    assert "dev-a" in done.stdout
    status = agent.status()
    assert (status["plan"], status["reload"], status["reload_failed"]) == (before, "rolled_back", "dev-a")
    reads = device.reads
    until(lambda: device.reads > reads + 3, "readings under the former plan")
    # A start does not try it again by itself, a person can.
    assert agent.end() == 0
    agent.start()
    status = agent.status()
    assert (status["plan"], status["reload"]) == (before, "rolled_back")
    assert "the last good plan runs" in agent.said()
    reads = device.reads
    until(lambda: device.reads > reads + 3, "readings after the restart")
    agent.config.write_text(two_units(port, trial_s=TRIAL_S + 1), encoding="utf-8")
    done = agent.command("reload", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert agent.status()["reload"] == "confirmed"
    assert agent.end() == 0
    agent.verified()
    told = [note.text for batch in _batches(agent) for note in batch.notes if "rolled back" in note.text]
    assert len(told) == 1, "it is in a batch, once"
    assert agent.said().count("rolled back to plan") == 1
    assert "Traceback" not in agent.said()


def test_a_trial_survives_a_kill_and_still_goes_back(agent: RunningAgent, device: TcpDevice) -> None:
    gone = TcpDevice()
    gone.close()
    agent.start()
    until(lambda: _requests(agent, "dev-a") > 5, "requests")
    before = agent.status()["plan"]
    agent.config.write_text(two_units(gone.port, trial_s=5), encoding="utf-8")
    assert agent.command("reload").returncode == 0
    assert agent.status()["reload"] == "trial"
    agent.end(signal.SIGKILL)
    agent.start()
    status = agent.status()
    assert (status["reload"], status["last_stop"]) == ("trial", "killed")
    assert status["plan"] != before
    until(lambda: agent.status().get("reload") == "rolled_back", "the roll-back")
    assert agent.status()["plan"] == before
    reads = device.reads
    until(lambda: device.reads > reads + 3, "readings under the former plan")
    assert agent.end() == 0
    agent.verified()


@pytest.mark.parametrize("delay", [0.05, 0.9])
def test_a_kill_at_any_moment_of_a_reload_leaves_the_old_plan_or_the_new_one(
    agent: RunningAgent, device: TcpDevice, delay: float
) -> None:
    other = TcpDevice(REGISTERS)
    try:
        agent.start()
        until(lambda: _requests(agent, "dev-a") > 3, "requests")
        agent.config.write_text(two_units(other.port, second="dev-b"), encoding="utf-8")
        assert agent.process is not None
        os.kill(agent.process.pid, signal.SIGHUP)
        try:
            agent.process.wait(delay)
        except Exception:
            agent.kill()
        reads = device.reads + other.reads
        agent.start()
        until(lambda: device.reads + other.reads > reads + 3, "readings after the kill")
        assert agent.end() == 0
        agent.verified()
        assert "Traceback" not in agent.said()
    finally:
        other.close()


def test_a_changed_limit_touches_no_port_and_is_confirmed_at_once(agent: RunningAgent, device: TcpDevice) -> None:
    agent.start()
    until(lambda: _requests(agent, "dev-a") > 3, "requests")
    text = agent.config.read_text(encoding="utf-8")
    agent.config.write_text(text.replace('en = "Test"', 'en = "Renamed"'), encoding="utf-8")
    done = agent.command("reload", "--wait")
    assert done.returncode == 0, done.stderr
    assert "ports changed: none" in done.stdout
    assert device.connections == 1
    assert agent.status()["reload"] == "confirmed"
    done = agent.command("reload")
    assert "nothing changed" in done.stdout
    # Metrics are served from a reload on, and everything that status knows is there.
    host, number = free_address()
    with agent.config.open("a", encoding="utf-8") as file:
        file.write(f'[metrics]\nlisten = "{host}:{number}"\n')
    assert agent.command("reload").returncode == 0
    with urllib.request.urlopen(f"http://{host}:{number}/metrics", timeout=10) as answer:
        found = parse(answer.read().decode())
    assert found.value("qianshao_device_requests_total", device="dev-a") > 3
    assert found.value("qianshao_reload_info", reload="confirmed") == 1
    assert found.value("qianshao_last_stop_info", last_stop="unknown") == 1
    assert device.connections == 1
    assert agent.end() == 0


def test_an_inhibit_is_in_the_status_and_in_a_batch(agent: RunningAgent, device: TcpDevice) -> None:
    agent.start()
    until(lambda: _requests(agent, "dev-a") > 3, "requests")
    key = ask(agent.state_dir / CONTROL, "latest")["readings"][0]["point"]
    assert agent.command("inhibit", "no/such", "--by", "A").returncode == 1
    done = agent.command("inhibit", key, "--by", "A", "--minutes", "5", "--reason", "bump test")
    assert done.returncode == 0, done.stderr
    assert agent.status()["inhibited"] == key
    text = agent.config.read_text(encoding="utf-8")
    agent.config.write_text(text.replace('en = "Test"', 'en = "Renamed"'), encoding="utf-8")
    assert agent.command("reload").returncode == 0
    assert agent.status()["inhibited"] == key, "a reload does not end it"
    agent.end(signal.SIGKILL)
    agent.start()
    until(lambda: agent.status().get("inhibited") == key, "the inhibit after a restart in the same boot")
    assert agent.command("inhibit", key, "--by", "A", "--end").returncode == 0
    assert agent.status()["inhibited"] is None
    assert agent.end() == 0
    agent.verified()
    stated = [item for batch in _batches(agent) for item in batch.inhibits]
    assert {item.point for item in stated} == {key}
    assert {item.reason for item in stated} == {"bump test"}
    assert len(stated) in (2, 3), "at its beginning, at its end, and after the restart where a seal came in between"
    assert stated[-1].until_us < stated[-2].until_us == stated[0].until_us
    assert json.loads((agent.state_dir / "running.json").read_text())["ended"] == "clean"
