"""The real agent as a process of its own, on a folder and devices that a test holds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_agent.control import ask
from edge_agent.errors import ControlError
from edge_agent.state_dir import CONTROL

ROOT = Path(__file__).resolve().parents[2]


def until(condition: Callable[[], Any], what: str, within_s: float = 60.0) -> Any:
    """Waits for something that another process does; returns what the condition gave."""
    end = time.monotonic() + within_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"{what} did not happen within {within_s} s"
        time.sleep(0.03)


def site(
    ports: dict[str, int], *, state_dir: str = "state", uplink: str = "", interval_s: float = 0.1, quota: str = ""
) -> str:
    """Returns a site with one pressure transmitter behind each TCP port."""
    text = f'[gateway]\nname = {{ en = "Test", zh = "测试" }}\nstate_dir = "{state_dir}"\n{quota}'
    text += uplink or '[uplink]\nhost = "127.0.0.1"\nport = 9\nseal_interval_s = 0.2\n'
    for name, port in ports.items():
        text += f'[[port]]\nid = "{name}"\nkind = "tcp"\nhost = "127.0.0.1"\nport = {port}\n'
        text += f'[[device]]\nid = "dev-{name}"\nport = "{name}"\nunit_id = 1\nprofile = "qd-transmitter"\n'
        text += f"interval_s = {interval_s}\n"
    return text


class RunningAgent:
    """``edge-agent run`` and the commands that talk to it."""

    def __init__(self, folder: Path, text: str, *, state_dir: Path | None = None) -> None:
        self.folder = folder
        self.config = folder / "site.toml"
        self.config.write_text(text, encoding="utf-8")
        self.state_dir = state_dir or folder / "state"
        self.log = folder / "agent.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edge_agent.cli", "--lang", "en", "run", str(self.config)],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env=_environment(),
            )
        if wait:
            until(self.status, "an answer of the agent")

    def end(self, number: int = signal.SIGTERM, within_s: float = 20.0) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        try:
            return self.process.wait(within_s)
        finally:
            self.kill()

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "edge_agent.cli", "--lang", "en", *words, "--config", str(self.config)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env=_environment(),
            check=False,
        )

    def status(self) -> dict[str, Any]:
        """Returns what ``edge-agent status`` shows; empty while nobody answers."""
        try:
            found: dict[str, Any] = ask(self.state_dir / CONTROL, "status", timeout_s=2.0)
            return found
        except ControlError:
            return {}

    def said(self) -> str:
        return self.log.read_text()

    def epochs(self, lanes: list[dict[str, Any]]) -> int:
        """Returns how many epochs of these lanes are of a start: a store that was slow adds volatile ones."""
        return len({lane["epoch"] for lane in lanes}) - self.said().count("going on in a volatile epoch")

    def verified(self) -> list[dict[str, Any]]:
        """Returns the verdict on every lane; fails the test where one has a problem."""
        done = self.command("spool", "verify", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads(done.stdout)
        lanes: list[dict[str, Any]] = found["lanes"] if isinstance(found, dict) else found
        return lanes


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
