"""The processes of a benchmark: started here, pinned to a core, ended here by their own ids.

    core 0   agent, or bare client               (what is measured)
    core 1   devices, broker, recorder, collector

On a machine with one core everything shares it.  All listen on loopback only.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from benchmarks.arrivals import READY_TOPIC, Message, read_messages
from benchmarks.bench_site import REGISTERS, Load, device_host, site_text
from benchmarks.own_python import OwnPython
from contracts.keys import load_or_create

REPOSITORY = Path(__file__).resolve().parent.parent
MEASURED_CPU = 0
OTHER_CPU = 1


class BenchError(Exception):
    """A benchmark cannot run here; the message says what is missing."""


def now_us() -> int:
    """Returns the monotonic clock that all processes of this machine share, us."""
    return time.monotonic_ns() // 1000


def free_port() -> int:
    """Returns a TCP port that nobody uses on loopback at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(is_true: Callable[[], object], what: str, *, limit_s: float = 20.0) -> None:
    """Returns when ``is_true`` is; raises BenchError when it is not in time."""
    end = time.monotonic() + limit_s
    while not is_true():
        if time.monotonic() > end:
            raise BenchError(f"{what} did not happen within {limit_s:g} s")
        time.sleep(0.01)


class Child:
    """One process of ours."""

    def __init__(
        self, name: str, command: Sequence[str], *, folder: Path, cpu: int, environment: Mapping[str, str] | None = None
    ) -> None:
        """Starts it; output goes to ``name.log`` in the folder."""
        self.name = name
        self.log = folder / f"{name}.log"
        self.started_us = now_us()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=REPOSITORY,
                env=None if environment is None else dict(environment),
                start_new_session=True,
            )
        self.pid = self._process.pid
        usable = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(self.pid, {usable[min(cpu, len(usable) - 1)]})

    def wait_for_line(self, text: str) -> None:
        """Returns when its output contains a text."""
        wait_until(lambda: self.is_running() and text in self.log.read_text(errors="replace"), f"{self.name}: {text!r}")

    def is_running(self) -> bool:
        """Whether it runs; raises BenchError with its last lines when it has ended."""
        if self._process.poll() is not None:
            lines = self.log.read_text(errors="replace").splitlines()[-8:]
            raise BenchError(f"{self.name} ended with status {self._process.returncode}:\n" + "\n".join(lines))
        return True

    def kill(self) -> None:
        """Ends it at once, as a power cut would; safe twice."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def stop(self, *, wait_s: float = 10.0) -> None:
        """Asks it to end, then ends it; safe twice."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(wait_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()


class Stage:
    """Devices, broker, recorder and collector; agents and bare clients come and go on it."""

    def __init__(self, folder: Path, *, devices: int, registers: int = REGISTERS) -> None:
        """Starts nothing yet."""
        self.folder = folder
        self.devices = devices
        self.registers = registers
        self.bank_port, self.broker_port = free_port(), free_port()
        self.records = folder / "records"
        self.python = OwnPython(folder)
        self._children: list[Child] = []
        self._broker: Child | None = None
        self._agent_key = ""
        self.collector_key = ""
        self.web_port = free_port()
        self._runs = 0

    def __enter__(self) -> Stage:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop()

    def _start(self) -> None:
        self.python.make()
        self.start_broker()
        bank = self._other(
            "bank", "simulators.cli", "tcp-bank", "--devices", str(self.devices), "--registers", str(self.registers),
            "--port", str(self.bank_port),
        )  # fmt: skip
        bank.wait_for_line("ready")
        self._other("recorder", "benchmarks.recorder", str(self.broker_port), str(self.records))
        wait_until(lambda: READY_TOPIC in {m.topic for m in self.messages()}, "the recorder's subscription")
        self._start_collector()

    def _start_collector(self) -> None:
        signer = load_or_create(self.folder / "agent.pem")
        key_file = self.folder / "agent.key"
        key_file.write_text(signer.public.line("bench") + "\n")
        data = self.folder / "collector"
        data.mkdir()
        (data / "settings.toml").write_text(
            f'[http]\nport = {self.web_port}\n[broker]\nkind = "mosquitto"\nport = {self.broker_port}\n'
        )
        for arguments in (("init",), ("add-gateway", str(key_file))):
            command = [sys.executable, "-m", "collector.cli", *arguments, "--data", str(data)]
            done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode:
                raise BenchError(f"collector {arguments[0]}: {done.stderr.strip()}")
        self.collector_key = (data / "collector.pub").read_text().strip()
        self.collector = self._other("collector", "collector.cli", "serve", "--data", str(data))
        wait_until(lambda: self.collector.is_running() and self._is_collector_connected(), "the collector's connection")

    def _is_collector_connected(self) -> bool:
        return "collector-" in (self.folder / "broker.log").read_text(errors="replace")

    def _other(self, name: str, module: str, *arguments: str) -> Child:
        child = Child(name, [sys.executable, "-m", module, *arguments], folder=self.folder, cpu=OTHER_CPU)
        self._children.append(child)
        return child

    def _stop(self) -> None:
        for child in reversed(self._children):
            child.stop()
        self._children.clear()
        self.stop_broker()

    # -- the broker ------------------------------------------------------------------

    def start_broker(self) -> None:
        """Starts Debian's mosquitto on its port, also after ``stop_broker``."""
        tool = shutil.which("mosquitto", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
        if tool is None:
            raise BenchError("mosquitto is not installed (Debian package mosquitto)")
        config = self.folder / "mosquitto.conf"
        # set_tcp_nodelay: without it a message waits up to 40 ms for an acknowledgement now and then.
        config.write_text(
            f"listener {self.broker_port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
            "set_tcp_nodelay true\nlog_dest stderr\n"
        )
        self._broker = Child("broker", [tool, "-c", str(config)], folder=self.folder, cpu=OTHER_CPU)
        wait_until(self._answers, "the broker's listening")

    def _answers(self) -> bool:
        assert self._broker is not None
        self._broker.is_running()
        try:
            socket.create_connection(("127.0.0.1", self.broker_port), 0.5).close()
        except OSError:
            return False
        return True

    def stop_broker(self) -> None:
        """Ends the broker; every connection breaks."""
        if self._broker is not None:
            self._broker.kill()
            self._broker = None

    # -- what is measured ------------------------------------------------------------

    def agent_place(self, load: Load, *, disk: Path | None = None) -> Path:
        """Makes a site file with an empty state directory; returns the site file."""

        def text(state: Path) -> str:
            return site_text(
                load,
                state_dir=state,
                bank_port=self.bank_port,
                broker_port=self.broker_port,
                collector_key=self.collector_key,
            )

        return self.place(text, disk=disk)

    def place(self, text: Callable[[Path], str], *, disk: Path | None = None) -> Path:
        """Makes a site file of the text that it is for an empty state directory; returns the site file."""
        self._runs += 1
        folder = (disk or self.folder) / f"agent-{self._runs}"
        state = folder / "state"
        state.mkdir(parents=True)
        shutil.copy(self.folder / "agent.pem", state / "key.pem")
        site = folder / "site.toml"
        site.write_text(text(state))
        return site

    def agent(
        self, site: Path, *, notify: Path | None = None, log_folder: Path | None = None, taps: Path | None = None
    ) -> Child:
        """Starts an agent under its own interpreter; its log lies in ``log_folder``, or with all the others.

        Args:
            taps: it notes the steps of its alarms and writes them here when it ends (``tapped_agent.py``).
        """
        environment = self.python.environment(REPOSITORY)
        if notify is not None:
            environment["NOTIFY_SOCKET"] = str(notify)
        module = ["edge_agent.cli"] if taps is None else ["benchmarks.tapped_agent", str(taps)]
        command = [str(self.python.executable), "-m", *module, "run", str(site)]
        return Child("agent", command, folder=log_folder or self.folder, cpu=MEASURED_CPU, environment=environment)

    def bare_client(self, load: Load, *, disk: Path | None = None) -> Child:
        """Starts a bare client under the same interpreter as the agent."""
        self._runs += 1
        folder = (disk or self.folder) / f"bare-{self._runs}"
        folder.mkdir()
        arguments = (load.devices, load.interval_s, load.seal_interval_s, self.bank_port, self.broker_port, folder)
        command = [str(self.python.executable), "-m", "benchmarks.bare_client", *map(str, arguments)]
        environment = self.python.environment(REPOSITORY)
        return Child("bare", command, folder=self.folder, cpu=MEASURED_CPU, environment=environment)

    # -- what was seen ---------------------------------------------------------------

    def messages(self) -> list[Message]:
        """Returns everything recorded so far."""
        return read_messages(self.records) if self.records.exists() else []

    def write_register(self, device: int, register: int, value: int) -> int:
        """Writes a register of a device (both counted from 0); returns when the device had confirmed it, us."""
        request = bytes((0, 1, 0, 0, 0, 6, 1, 6, 0, register, value >> 8, value & 0xFF))
        with socket.create_connection((device_host(device), self.bank_port), 2) as link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.sendall(request)
            if len(link.recv(64)) != len(request):
                raise BenchError(f"device {device} did not take the write")
            return now_us()
