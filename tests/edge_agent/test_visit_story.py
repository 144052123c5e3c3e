"""Visits from the terminal to the sealed record: the real agent, a simulated gas head, and a real pseudo-terminal."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.batch import Batch, Lane, decode_batch
from contracts.envelope import decode_payload, split
from contracts.visit import Visit
from edge_agent.control import ask
from edge_agent.errors import ControlError
from edge_agent.spool_records import split_id
from edge_agent.state_dir import CONTROL, SPOOL
from edge_agent.visit_file import FILE
from simulators.control import ask as ask_simulator
from simulators.errors import SimulatorError
from tests.edge_agent.running_agent import ROOT, RunningAgent, until
from tests.mosquitto import free_port

pytestmark = pytest.mark.ci

POINT = "gas-well-1/gas"
SITE = """\
[gateway]
name = {{ en = "Test gateway", zh = "测试网关" }}
state_dir = "state"
[uplink]
host = "127.0.0.1"
port = 9
seal_interval_s = 0.2
[[port]]
id = "well-1-tcp"
kind = "tcp"
host = "127.0.0.1"
port = {port}
[[device]]
id = "gas-well-1"
port = "well-1-tcp"
unit_id = 1
profile = "honeywell-xnx"
interval_s = 0.2
[device.points.gas]
rules = ["gas.ch4.adjacent.v1"]
"""


class Well:
    """A gas well with its gateway and the technician's terminal."""

    def __init__(self, folder: Path) -> None:
        self.agent = RunningAgent(folder, SITE.format(port=free_port()))
        self._socket = folder / "sim.sock"
        command = ["run", str(self.agent.config), "--control", str(self._socket)]
        with (folder / "simulator.log").open("wb") as log:
            self._simulator = subprocess.Popen(
                [sys.executable, "-m", "simulators.cli", *command],
                cwd=folder,
                stdout=log,
                stderr=log,
                env=_environment(),
            )

    def start(self) -> None:
        """Brings both up until a value of 0 is read."""
        until(self._hears, "the simulator")
        self.agent.start()
        self.has_value(0.0)

    def _hears(self) -> bool:
        try:
            self.shows(0)
        except SimulatorError:
            return False
        return True

    def shows(self, value: float) -> None:
        """Lets the head show a value."""
        ask_simulator(self._socket, {"op": "set", "point": POINT, "value": value})

    def do(self, op: str, **words: Any) -> Any:
        return ask(self.agent.state_dir / CONTROL, op, **words)

    def state(self) -> dict[str, Any]:
        """Returns the visit to the point; empty where there is none, or nobody answers."""
        try:
            found: dict[str, Any] = self.do("visit-state", point=POINT)
            return found
        except ControlError:
            return {}

    def comes_to(self, what: str, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Waits for a state of the visit."""
        until(lambda: condition(self.state()), what)
        return self.state()

    def has_value(self, value: float) -> None:
        def read() -> bool:
            readings = {item["point"]: item for item in self.do("latest")["readings"]}
            return bool(readings[POINT]["value"] == value)

        until(read, f"a reading of {value}")

    def alarms(self) -> list[str]:
        return [item["rule_id"] for item in self.do("alarms")["alarms"] if item["point"] == POINT]

    def inhibited(self) -> str | None:
        found: str | None = self.do("status")["inhibited"]
        return found

    def sealed(self) -> list[Visit]:
        """Ends the agent and returns what it has sealed of visits, each once, in order."""
        self.agent.end()
        self.agent.verified()
        found = {visit.id: visit for batch in self.kept() for visit in batch.visits}
        return sorted(found.values(), key=lambda visit: visit.began_us)

    def kept(self) -> list[Batch]:
        """Returns every data batch that is in the spool."""
        with contextlib.closing(sqlite3.connect(self.agent.state_dir / SPOOL)) as spool:
            rows = spool.execute("SELECT id, envelope FROM batch ORDER BY id").fetchall()
        return [
            decode_batch(decode_payload(split(envelope)[1]), Lane.DATA.type)
            for id, envelope in rows
            if split_id(id)[1] is Lane.DATA
        ]

    def end(self) -> None:
        self.agent.kill()
        self._simulator.kill()
        self._simulator.wait()


class Terminal:
    """``edge-agent visit`` in a pseudo-terminal of 30 lines and 80 columns."""

    def __init__(self, well: Well, *words: str, language: str = "en") -> None:
        self._process, self._descriptor = pty.fork()
        if not self._process:
            os.chdir(ROOT)
            arguments = ["--lang", language, "visit", POINT, *words, "--config", str(well.agent.config)]
            os.execve(sys.executable, [sys.executable, "-m", "edge_agent.cli", *arguments], _environment())
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 80, 0, 0))
        self.text = ""

    def until(self, words: str, within_s: float = 60.0) -> str:
        """Waits until the screen shows some words, and returns it."""
        end = time.monotonic() + within_s
        while words not in self.screen:
            assert time.monotonic() < end, f"{words!r} is not on the screen:\n{self.screen}"
            self._read()
        return self.screen

    @property
    def screen(self) -> str:
        return self.text.rsplit("\x1b[H\x1b[J", 1)[-1]

    def key(self, key: bytes) -> None:
        os.write(self._descriptor, key)

    def leave(self) -> None:
        """The laptop is shut: the terminal goes away under the command."""
        os.close(self._descriptor)
        os.kill(self._process, signal.SIGHUP)
        os.waitpid(self._process, 0)

    def exit_status(self) -> int:
        while self._read():
            pass
        _, status = os.waitpid(self._process, 0)
        os.close(self._descriptor)
        return os.waitstatus_to_exitcode(status)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._descriptor], [], [], 0.2)
        try:
            piece = os.read(self._descriptor, 65536) if ready else b" "
        except OSError:  # how Linux says that the other end is gone
            return False
        self.text += piece.decode(errors="replace") if ready else ""
        return bool(piece)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


@pytest.fixture
def well(tmp_path: Path) -> Iterator[Well]:
    found = Well(tmp_path)
    try:
        found.start()
        yield found
    finally:
        found.end()


def test_a_bump_test_passes_in_a_terminal_and_another_fails(well: Well) -> None:
    terminal = Terminal(well, "--by", "Li Wei", "--gas", "50", "--note", "bottle 4")
    terminal.until("open the gas")
    assert well.inhibited() == POINT
    terminal.key(b"\n")
    terminal.until("90 % is at 45")
    well.shows(48)
    screen = terminal.until("close the gas")
    assert "highest answer: 48" in screen
    assert "█████  █████   %LEL" in screen, "48 in large digits"
    terminal.key(b"\n")
    terminal.until("wait until the value is back")
    well.shows(0)
    terminal.until("PASSED")
    assert terminal.exit_status() == 0
    assert well.inhibited() is None
    assert well.alarms() == []

    weak = Terminal(well, "--by", "Li Wei", "--gas", "50", language="zh")
    weak.until("打开标气")
    weak.key(b"\n")
    weak.until("请等待")
    well.shows(20)
    weak.until("最大响应: 20")
    weak.key(b"\n")
    assert well.state()["stage"] == "gas", "Enter does nothing before it has answered or the time is over"
    well.do("visit-gas", point=POINT, is_on=False)
    well.shows(0)
    weak.until("未通过：无响应")
    assert weak.exit_status() == 1

    first, second = well.sealed()
    assert (first.result, first.zero, first.applied, first.peak, first.by) == ("passed", 0.0, 50.0, 48.0, "Li Wei")
    assert first.note == "bottle 4"
    assert first.t90_us is not None
    assert first.return_us is not None
    assert (second.result, second.reason) == ("failed", "no answer: at most 20 with gas of 50")


def test_a_technician_who_walks_away_leaves_no_inhibit_behind(well: Well) -> None:
    terminal = Terminal(well, "--by", "Li Wei", "--gas", "50", "--minutes", "0.5")
    terminal.until("open the gas")
    terminal.key(b"\n")
    terminal.until("90 % is at 45")
    well.shows(60)
    well.comes_to("the gas in the visit", lambda state: state["value"] == 60.0)
    terminal.leave()
    assert well.inhibited() == POINT
    assert well.alarms() == []
    well.comes_to("the end of the visit", lambda state: state["result"] == "abandoned")
    until(well.alarms, "the alarm, as the value is past its limit")
    assert well.inhibited() is None
    (visit,) = well.sealed()
    assert (visit.result, visit.reason, visit.peak) == ("abandoned", "time up", 60.0)
    assert visit.ended_us - visit.began_us == 30_000_000


def test_an_agent_killed_in_the_middle_seals_the_visit_at_its_next_start_and_frees_the_point(well: Well) -> None:
    command = ["visit", POINT, "--by", "王工", "--gas", "50", "--json", "--config", str(well.agent.config)]
    with subprocess.Popen(
        [sys.executable, "-m", "edge_agent.cli", *command],
        cwd=ROOT,
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as script:
        assert script.stdin is not None
        assert script.stdout is not None
        begun = json.loads(script.stdout.readline())
        assert (begun["stage"], begun["by"]) == ("zero", "王工")
        well.comes_to("a good value", lambda state: state["advice"] == "gas_on")
        script.stdin.write(b"on\n")
        script.stdin.flush()
        well.comes_to("the gas", lambda state: state["stage"] == "gas")
        well.shows(60)
        well.comes_to("its value", lambda state: state["value"] == 60.0)
        until((well.agent.state_dir / FILE).exists, "the file")
        until(lambda: any(batch.inhibits for batch in well.kept()), "the inhibit in the spool")
        well.agent.kill()
        assert script.wait(60) == 1, "it says that no agent runs"
    well.agent.start()
    well.has_value(60.0)
    # Values come before the spool has opened; they are judged when the inhibit is known.
    until(lambda: well.inhibited() == POINT, "the inhibit of the same boot")
    assert well.alarms() == []
    well.shows(0)
    until(lambda: well.inhibited() is None, "the end of the inhibit")
    assert well.alarms() == []
    (visit,) = well.sealed()
    assert (visit.result, visit.by, visit.zero) == ("interrupted", "王工", 0.0)
    assert visit.reason.startswith("agent ended: in stage ")
