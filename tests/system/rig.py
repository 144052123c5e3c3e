"""One sensor, one gateway, one collector, each a process of its own, for tests from register to pixel.

Everything is started by its own command, as a person would; the test changes a register through
the simulator's control socket, cuts the link there, kills processes, and reads the page.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.mosquitto import free_port

ROOT = Path(__file__).resolve().parents[2]
POINT = "gas-well-1/gas"

_SITE = """\
[gateway]
name = {{ en = "Test gateway", zh = "测试网关" }}
state_dir = "gateway"
[uplink]
host = "127.0.0.1"
port = {link}
collector_key = "collector/collector.pub"
seal_interval_s = 1
reconnect_most_s = 5
[[confirmation]]
by = "test"
at = "2026-11-22"
document = "letter.txt"
points = ["*"]
[[port]]
id = "well-1-tcp"
kind = "tcp"
host = "127.0.0.1"
port = {sensor}
[[device]]
id = "gas-well-1"
name = {{ en = "Gas valve well 1", zh = "1号燃气阀井" }}
port = "well-1-tcp"
unit_id = 1
profile = "honeywell-xnx"
interval_s = 0.5
[device.points.gas]
rules = ["gas.ch4.adjacent.v1"]
longest_silence_s = 5.0
"""


def until(condition: Callable[[], Any], what: str, within_s: float = 60.0, every_s: float = 0.05) -> Any:
    """Waits until ``condition`` gives something true, and returns it."""
    end = time.monotonic() + within_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"{what}: not within {within_s} s"
        time.sleep(every_s)


class Process:
    """One command in its own process group, with a log."""

    def __init__(self, folder: Path, name: str, *command: str, environment: dict[str, str] | None = None) -> None:
        self._log = folder / f"{name}.log"
        self._command = [sys.executable, "-m", *command]
        self._folder = folder
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self._environment,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def pause(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        # One that has ended meanwhile has nothing to go on with.
        if self.is_running and self._process is not None:
            os.killpg(self._process.pid, signal.SIGCONT)

    def _end(self, how: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.poll() is None:
            os.killpg(process.pid, how)
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise AssertionError(f"{self._command} did not end; its log:\n{self.log[-3000:]}") from None


class Rig:
    """Sensor, link, gateway and collector in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sensor_port, self.link_port, self.broker_port, self.http_port = (free_port() for _ in range(4))
        self.site = folder / "site.toml"
        self.site.write_text(_SITE.format(link=self.link_port, sensor=self.sensor_port))
        # Limits that nobody has confirmed are on trial: their alarms would call nobody.
        (folder / "letter.txt").write_text("The limits of this test are right.\n")
        self.data = folder / "collector"
        self.control = folder / "sim.sock"
        self.simulator = Process(
            folder,
            "simulator",
            "simulators.cli",
            "run",
            str(self.site),
            "--link",
            f"{self.link_port}:{self.broker_port}",
            "--control",
            str(self.control),
        )
        self.collector = self.new_collector()
        self.agent = Process(folder, "agent", "edge_agent.cli", "run", "--config", str(self.site))

    def new_collector(self, module: str = "collector.cli") -> Process:
        """Returns the collector's command, not started."""
        return Process(self.folder, "collector", module, "serve", "--data", str(self.data))

    def collector_that_dies_before_its_receipt(self) -> Process:
        """Returns a collector that is killed after its first commit of readings."""
        return self.new_collector("tests.system.dying_collector")

    # -- life ------------------------------------------------------------------------

    def start(self) -> None:
        """Brings everything up until the first value is on the page."""
        self.command("collector.cli", "init", "--data", str(self.data))
        (self.data / "settings.toml").write_text(
            f"[http]\nport = {self.http_port}\n[broker]\nport = {self.broker_port}\n"
        )
        key = self.command("edge_agent.cli", "key", "--config", str(self.site), "--json")
        key_file = self.folder / "gateway.pub"
        key_file.write_text(json.loads(key)["key"] + "\n")
        self.gateway = json.loads(key)["gateway"]
        self.command("collector.cli", "add-gateway", str(key_file), "--data", str(self.data), "--name", "Test")
        self.simulator.start()
        until(self.control.exists, "the simulator's socket")
        self.collector.start()
        until(self.is_healthy, "the collector's page")
        self.agent.start()
        until(lambda: self.page_value() is not None, "the first value on the page")

    def stop(self) -> None:
        """Ends everything, gently first; what does not end keeps nothing else from being ended."""
        with ExitStack() as ends:
            for process in (self.simulator, self.collector, self.agent):
                ends.callback(process.stop)
                ends.callback(process.resume)

    def command(self, *command: str, status: int = 0) -> str:
        """Runs one command to its end and returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", *command],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "SIMULATOR_CONTROL": str(self.control)},
            timeout=60,
            check=False,
        )
        assert done.returncode == status, f"{command}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def simulate(self, *words: str) -> str:
        """One word with the simulator, such as ``set POINT VALUE`` or ``link cut``."""
        return self.command("simulators.cli", *words)

    # -- the page and the interface --------------------------------------------------

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=5) as answer:
            body: bytes = answer.read()
            return body

    def api(self, path: str) -> Any:
        return json.loads(self.get(f"/api/v1/{path}"))

    def is_healthy(self) -> bool:
        assert self.collector.is_running, self.collector.log[-3000:]
        try:
            return bool(self.get("/healthz"))
        except OSError:
            return False

    def html(self) -> str:
        return self.get("/").decode()

    def page_value(self, point: str = POINT) -> str | None:
        """Returns the number that the page shows for a point now, or None where it shows none."""
        try:
            html = self.html()
        except OSError:
            return None
        row = re.search(rf'id="p:[^"]*/{re.escape(point)}"[^>]*>', html)
        if row is None:
            return None
        value = re.search(r'data-value="([^"]*)"', row.group(0))
        return value.group(1) if value is not None and value.group(1) else None

    def is_connected(self) -> bool:
        """Whether the gateway's link is up, by its own word."""
        status = json.loads(self.command("edge_agent.cli", "status", "--config", str(self.site), "--json"))
        return bool(status["link"] == "up")

    def alarms(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api("alarms")
        return found

    # -- the proof -------------------------------------------------------------------

    def backlog_epochs(self) -> int:
        """How many epochs of the gateway still wait for receipts; many while it does not answer."""
        try:
            status = json.loads(self.command("edge_agent.cli", "status", "--config", str(self.site), "--json"))
        except AssertionError:
            return 1_000
        return int(status["backlog_epochs"])

    def wait_until_receipted(self) -> None:
        """Waits until the gateway has a receipt for all that it sealed before this moment."""

        def is_empty() -> bool:
            status = json.loads(self.command("edge_agent.cli", "status", "--config", str(self.site), "--json"))
            return int(status["backlog_data_batches"]) + int(status["backlog_alarm_batches"]) <= 1

        until(is_empty, "receipts for everything", 90.0, 0.2)

    def verify(self) -> str:
        """Runs ``collector verify`` on the stopped collector's data; it must pass."""
        return self.command("collector.cli", "verify", "--data", str(self.data))
