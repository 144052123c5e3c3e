"""``simulator demo``: simulator, collector and agent as separate processes, on one web page.

It starts the other programs by their commands and imports neither.  Everything is in one directory, made
anew each time; everything listens on 127.0.0.1.

    DEMO_PORT=8080       port of the page
    DEMO_SECONDS=        end by itself after so many seconds, with a summary; empty: until Ctrl-C
    DEMO_DIR=.demo       where it works
    BROKER=amqtt         or mosquitto (a Debian package)

::

    simulator: devices on TCP and PTYs <- agent -> link proxy (simulator) -> broker -> collector -> page
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from contracts.errors import ContractError
from contracts.keys import parse_key_line
from simulators.children import Child, last_lines
from simulators.control import MAX_PATH, ask
from simulators.demo_site import DemoDir, check_port, fill_template, free_ports
from simulators.demo_tally import Tally, compare, read_evidence, read_sealed, read_spool
from simulators.demo_words import summary, what_to_try
from simulators.errors import ControlError, DemoError
from simulators.scenario import config_dir

PLAYLIST = "gas_leak,falls_silent,over_range,flooding_underpass,burst_main,bridge_crossing,calm"
#: what confirms limits, beside the demo's site file
LETTER = "demo-limits.txt"
#: a slow machine needs this long from the first process to the first value on the page
START_LIMIT_S = 90.0
_TICK_S = 0.2
#: how long a backlog may take to drain before a timed demo is counted
_DRAIN_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the environment asks for."""

    port: int
    #: None: until Ctrl-C
    seconds: float | None
    folder: Path
    #: ``amqtt`` or ``mosquitto``
    broker: str

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.port}"


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Returns the settings; raises DemoError (status 2) that names what is wrong."""
    problems: list[str] = []
    port_text = environment.get("DEMO_PORT") or "8080"
    port = int(port_text) if port_text.isascii() and port_text.isdigit() else 0
    if not 1 <= port <= 65535:
        problems.append(f"DEMO_PORT={port_text}: a port from 1 to 65535 would be right")
    seconds_text = environment.get("DEMO_SECONDS") or ""
    seconds: float | None = None
    if seconds_text:
        try:
            seconds = float(seconds_text)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= 86_400:
            problems.append(f"DEMO_SECONDS={seconds_text}: seconds above 0, such as 60, would be right")
    broker = environment.get("BROKER") or "amqtt"
    if broker not in ("amqtt", "mosquitto"):
        problems.append(f"BROKER={broker}: amqtt or mosquitto would be right")
    folder = Path(environment.get("DEMO_DIR") or ".demo")
    if len(os.fsencode(folder.absolute() / "gateway" / "control.sock")) > MAX_PATH:
        problems.append(f"DEMO_DIR={folder}: its path is too long for a socket; a shorter one would be right")
    if problems:
        raise DemoError("\n".join(problems), status=2)
    return Settings(port=port, seconds=seconds, folder=folder, broker=broker)


def run_demo(environment: Mapping[str, str]) -> int:
    """Runs the demo; returns the exit status.  Raises DemoError with a sentence."""
    settings = read_settings(environment)
    check_port(settings.port)
    mosquitto = _find_mosquitto() if settings.broker == "mosquitto" else ""
    stop = _StopFlag()
    stop.install()
    folder = DemoDir(settings.folder)
    folder.acquire()
    demo = Demo(settings, environment, mosquitto)
    try:
        demo.start(stop)
        if stop.is_set:
            return 0
        print(demo.what_to_try(), flush=True)
        demo.wait(stop)
        if settings.seconds is not None and not stop.is_set:
            return demo.finish()
        return 0
    finally:
        demo.stop()
        folder.release()


class _StopFlag:
    """Set by SIGINT or SIGTERM."""

    def __init__(self) -> None:
        self.is_set = False

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._set)

    def _set(self, number: int, frame: FrameType | None) -> None:
        self.is_set = True


class Demo:
    """The processes of one demo."""

    def __init__(self, settings: Settings, environment: Mapping[str, str], mosquitto: str) -> None:
        self._settings = settings
        self._folder = settings.folder
        self._mosquitto = mosquitto
        root = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH", ""))))
        self._environment = {
            **environment,
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            "QIANSHAO_COLLECTOR_DATA": str(self._data),
        }
        self._children: dict[str, Child] = {}

    @property
    def _data(self) -> Path:
        return self._folder / "collector"

    @property
    def _control(self) -> Path:
        return self._folder / "simulator.sock"

    # -- life ------------------------------------------------------------------------

    def start(self, stop: _StopFlag) -> None:
        """Starts everything and waits until the page shows a first value; raises DemoError."""
        began = time.monotonic()
        broker_port, link_port, *tcp_ports = free_ports(4)
        site = self._make_site(link_port, tcp_ports)
        self._data.mkdir(mode=0o700)
        (self._data / "settings.toml").write_text(self._collector_settings(broker_port), encoding="utf-8")
        if self._mosquitto:
            self._start_mosquitto(broker_port)
        self._run("collector.cli", "init")
        key_file = self._folder / "gateway.pub"
        key_file.write_text(self._run("edge_agent.cli", "key", "--config", str(site)), encoding="utf-8")
        self._run(
            "collector.cli", "add-gateway", str(key_file), "--name", "Demo block gateway", "--name-zh", "演示街区网关"
        )
        self._start("collector", "collector.cli", "serve")
        link = f"{link_port}:{broker_port}"
        plant = (str(site), "--scenario", PLAYLIST, "--control", str(self._control), "--link", link)
        self._start("simulator", "simulators.cli", "run", *plant)
        # The agent would try again by itself; waiting saves the log its first complaints.
        self._wait_for(stop, began, "the simulator", self._control.exists)
        self._wait_for(stop, began, "the page", lambda: self._get("/healthz") is not None)
        self._start("agent", "edge_agent.cli", "run", "--config", str(site))
        self._wait_for(stop, began, "a first value", self._has_value)

    def wait(self, stop: _StopFlag) -> None:
        """Returns when the time is up or a person has ended it; raises DemoError when a process has died."""
        seconds = self._settings.seconds
        end = None if seconds is None else time.monotonic() + seconds
        while not stop.is_set and (end is None or time.monotonic() < end):
            self._check_children()
            time.sleep(_TICK_S)

    def finish(self) -> int:
        """Stops in the order of the flow, counts and verifies; returns the exit status."""
        self._restore_link()
        self._wait_for_drain()
        self._children["agent"].stop()
        self._children["collector"].stop()
        self._children["simulator"].stop()
        tally = self._tally()
        verified = self._command("collector.cli", "verify")
        print(summary(tally, is_verified=verified.returncode == 0), flush=True)
        if verified.returncode != 0:
            print(verified.stdout + verified.stderr, file=sys.stderr)
        is_whole = tally.duplicates == 0 and tally.alarms_raised == tally.alarms_stored
        return 0 if verified.returncode == 0 and is_whole and "not_delivered" not in tally.missing else 1

    def stop(self) -> None:
        """Ends every process that was started here; safe to call twice."""
        for name in ("agent", "simulator", "collector", "mosquitto"):
            child = self._children.pop(name, None)
            if child is not None:
                child.stop()

    # -- pieces ----------------------------------------------------------------------

    def _make_site(self, link_port: int, tcp_ports: list[int]) -> Path:
        sites = config_dir() / "sites"
        values: dict[str, int | str] = {
            "link_port": link_port,
            "collector_key": "collector/collector.pub",
            "tcp_port_1": tcp_ports[0],
            "tcp_port_2": tcp_ports[1],
        }
        site = self._folder / "site.toml"
        try:
            shutil.copytree(sites / "profiles", self._folder / "profiles")
            shutil.copy(sites / LETTER, self._folder / LETTER)
            site.write_text(fill_template((sites / "demo.toml").read_text(encoding="utf-8"), values), encoding="utf-8")
        except (OSError, shutil.Error) as error:
            raise DemoError(f"the demo's site file cannot be made: {error}") from error
        return site

    def _collector_settings(self, broker_port: int) -> str:
        kind = "outside" if self._mosquitto else "embedded"
        return (
            f'[http]\nhost = "127.0.0.1"\nport = {self._settings.port}\n\n'
            f'[broker]\nkind = "{kind}"\nhost = "127.0.0.1"\nport = {broker_port}\n'
        )

    def _start_mosquitto(self, port: int) -> None:
        config = self._folder / "mosquitto.conf"
        config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
            "set_tcp_nodelay true\nlog_dest stderr\n",
            encoding="utf-8",
        )
        self._start_command("mosquitto", [self._mosquitto, "-c", str(config)])

    def _start(self, name: str, module: str, *arguments: str) -> None:
        self._start_command(name, [sys.executable, "-m", module, *arguments])

    def _start_command(self, name: str, command: list[str]) -> None:
        self._children[name] = Child(name, command, self._folder / f"{name}.log", self._environment)

    def _command(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def _run(self, module: str, *arguments: str) -> str:
        done = self._command(module, *arguments)
        if done.returncode != 0:
            shown = " ".join((module.partition(".")[0].replace("_", "-"), *arguments))
            raise DemoError(f"'{shown}' ended with status {done.returncode}:\n{done.stdout}{done.stderr}".rstrip())
        return done.stdout

    def _check_children(self) -> None:
        for child in self._children.values():
            child.check()

    def _wait_for(self, stop: _StopFlag, began: float, what: str, is_there: Any) -> None:
        while not stop.is_set and not is_there():
            self._check_children()
            if time.monotonic() - began > START_LIMIT_S:
                logs = "\n".join(
                    f"{name}:\n" + "\n".join(f"    {line}" for line in last_lines(child.log))
                    for name, child in self._children.items()
                )
                raise DemoError(f"{what} did not come within {START_LIMIT_S:.0f} s; the logs end with\n{logs}")
            time.sleep(_TICK_S)

    def _get(self, path: str) -> bytes | None:
        """Asks the page; None when it does not answer.  No proxy: it is this machine."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self._settings.url + path, timeout=5) as reply:
                content: bytes = reply.read()
                return content
        except (urllib.error.URLError, OSError):
            return None

    def _has_value(self) -> bool:
        content = self._get("/api/v1/points")
        return content is not None and any(point.get("value") is not None for point in json.loads(content))

    def _restore_link(self) -> None:
        try:
            ask(self._control, {"op": "link", "state": "up"})
        except ControlError as error:
            raise DemoError(str(error)) from error

    def _wait_for_drain(self) -> None:
        """Waits while the collector knows of batches that it does not have."""
        end = time.monotonic() + _DRAIN_LIMIT_S
        while time.monotonic() < end:
            content = self._get("/api/v1/gateways")
            gateways = [] if content is None else json.loads(content)
            if gateways and all(item["backlog_batches"] == 0 and item["liveness"] != "silent" for item in gateways):
                return
            self._check_children()
            time.sleep(_TICK_S)

    def _tally(self) -> Tally:
        try:
            key = parse_key_line((self._folder / "gateway.pub").read_text(encoding="utf-8"), "gateway.pub")
            gateway = read_sealed(*read_spool(self._folder / "gateway" / "spool.db"), key)
            collector = read_sealed(*read_evidence(self._data / "evidence.sqlite3"), key)
        except (ContractError, OSError, KeyError) as error:
            raise DemoError(f"the batches cannot be counted: {error}") from error
        return compare(gateway, collector)

    def what_to_try(self) -> str:
        """Returns the text for the person who started the demo."""
        folder = shlex.quote(str(self._folder))
        # The default socket is found by itself; that of another directory has to be named.
        control = "" if str(self._folder) == ".demo" else f"SIMULATOR_CONTROL={folder}/simulator.sock "
        return what_to_try(
            url=self._settings.url,
            simulator=control + shown_program("simulator"),
            collector=shown_program("collector"),
            edge_agent=shown_program("edge-agent"),
            python=shown_program("python"),
            folder=folder,
        )


def shown_program(name: str, executable: str = sys.executable, here: Path | None = None) -> str:
    """Returns how a command of this environment is called from the working directory."""
    program = Path(executable).parent / name
    if not program.exists():
        module = {"simulator": "simulators.cli", "collector": "collector.cli", "edge-agent": "edge_agent.cli"}.get(name)
        return executable if module is None else f"{executable} -m {module}"
    try:
        return str(program.relative_to(Path.cwd() if here is None else here))
    except ValueError:
        return str(program)


def _find_mosquitto() -> str:
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
    found = shutil.which("mosquitto", path=path)
    if found is None:
        raise DemoError(
            "BROKER=mosquitto: there is no mosquitto here (Debian package mosquitto); amqtt needs none", status=2
        )
    return found
