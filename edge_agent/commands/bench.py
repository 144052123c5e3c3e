"""``edge-agent bench``: what the agent costs on this very machine and disk; nothing else of the project is needed.

An agent of its own runs in a temporary directory against devices and a collector's place in a child process
(``edge_agent/bench_peer.py``), through Debian's mosquitto where that is installed; without it everything stays in
the spool, and the output says so.  It is one short window on a machine that may do other things: the comparison
with a floor, in rounds, is ``benchmarks/`` of the source tree.  Linux only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import apsw

from contracts.batch import Lane
from contracts.keys import load_or_create
from edge_agent.bench_files import REGISTERS, write_site
from edge_agent.commands.output import as_json
from edge_agent.commands.words import Words
from edge_agent.errors import EdgeError
from edge_agent.seal import Sealed
from edge_agent.spool import Commit, EpochRow, Spool
from edge_agent.spool_thread import connect_file
from edge_agent.state_dir import KEY, SPOOL

_COMMITS = 100
#: of one data batch of 400 readings
_ENVELOPE_BYTES = 800
_SETTLE_S = 4.0
_LIMIT_S = 60.0


def run(options: argparse.Namespace, words: Words) -> int:
    """Prints the figures; raises EdgeError with a sentence where something does not start."""
    parent = str(options.dir) if options.dir is not None else None
    with tempfile.TemporaryDirectory(prefix="qianshao-bench-", dir=parent) as name:
        figures = measure(Path(name), devices=options.devices, interval_s=options.interval, window_s=options.seconds)
    if options.json:
        print(as_json(figures))
        return 0
    width = max(map(len, figures))
    for key, value in figures.items():
        print(f"{key.ljust(width)}  {'-' if value is None else f'{value:.6g}' if isinstance(value, float) else value}")
    return 0


def measure(folder: Path, *, devices: int, interval_s: float, window_s: float) -> dict[str, float | int | str | None]:
    """Returns the figures by name; unit and meaning are in the name."""
    commits = sorted(_commit_ms(folder))
    with ExitStack() as stack:
        broker_port = _start_broker(folder, stack)
        state = folder / "state"
        state.mkdir(mode=0o700)
        agent_key = folder / "agent.key"
        agent_key.write_text(load_or_create(state / KEY).public.line("bench") + "\n", encoding="utf-8")
        peer_key = folder / "peer.pem"
        port = _free_port()
        site = write_site(
            folder,
            devices=devices,
            interval_s=interval_s,
            port=port,
            broker_port=broker_port,
            collector_key=load_or_create(peer_key).public.line("bench"),
        )
        arguments = ["--port", str(port), "--broker", str(broker_port), "--agent-key", str(agent_key)]
        peer = _Child(folder, "peer", ["-m", "edge_agent.bench_peer", *arguments, "--key", str(peer_key)], stack)
        peer.wait_for("ready")
        cold_ms, cold = _start_agent(folder, site, stack)
        cold.stop()
        warm_ms, agent = _start_agent(folder, site, stack)
        time.sleep(_SETTLE_S)
        agent.check()
        cpu_ns, begin = _cpu_ns(agent.pid), time.monotonic()
        time.sleep(window_s)
        agent.check()
        cpu_ns, took_s = _cpu_ns(agent.pid) - cpu_ns, time.monotonic() - begin
        pss_mb, uss_mb = _memory_mb(agent.pid)
        agent.stop()
    rate = devices * REGISTERS / interval_s
    readings, size = _sealed(state / SPOOL)
    return {
        "readings per second": rate,
        "CPU us per reading": cpu_ns / 1000 / (rate * took_s),
        "CPU % of a core": cpu_ns / 1e7 / took_s,
        "PSS MB (Python is shared with the stand-ins)": pss_mb,
        "USS MB": uss_mb,
        "sealed bytes per reading": size / readings if readings else None,
        "commit ms p50": commits[len(commits) // 2],
        "commit ms p99": commits[min(len(commits) - 1, len(commits) * 99 // 100)],
        "start ms, plan compiled first": cold_ms,
        "start ms, plan on disk": warm_ms,
        "broker": "mosquitto, with receipts" if broker_port else "none: mosquitto is not installed",
        "processor": f"{os.cpu_count()} x {_processor()}",
        "directory": str(folder.parent),
    }


def _commit_ms(folder: Path) -> list[float]:
    """Times commits of one batch each on the disk that the folder is on."""
    spool = Spool(connect_file(folder / "commits.db"))
    spool.open()
    try:
        spool.begin_epoch(_epoch())
        taken = []
        for seq in range(1, _COMMITS + 1):
            commit = Commit(epoch_no=1, batches=(_batch(seq),), state={"uptime_s": str(seq).encode()})
            begin = time.perf_counter()
            spool.commit(commit)
            taken.append((time.perf_counter() - begin) * 1000)
        return taken
    finally:
        spool.close()


def _epoch() -> EpochRow:
    return EpochRow(
        no=1,
        epoch=bytes(8),
        reason="first",
        boot_id=bytes(16),
        boot_counter=1,
        started_us=0,
        started_uptime_s=0,
    )


def _batch(seq: int) -> Sealed:
    return Sealed(
        epoch=bytes(8),
        lane=Lane.DATA,
        seq=seq,
        digest=os.urandom(32),
        previous=b"" if seq == 1 else bytes(32),
        envelope=os.urandom(_ENVELOPE_BYTES),
        readings=400,
        first_us=seq,
        last_us=seq,
        catalogue=b"",
    )


def _sealed(path: Path) -> tuple[int, int]:
    """Returns readings and bytes of all data batches in a spool that nobody uses."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        rows = db.execute("SELECT coalesce(sum(readings), 0), coalesce(sum(length(envelope)), 0) FROM batch")
        found: tuple[int, int] = rows.fetchall()[0]  # type: ignore[assignment]
        return found
    finally:
        db.close()


# -- processes -----------------------------------------------------------------------


class _Child:
    """A process of ours that ends with the measurement."""

    def __init__(
        self,
        folder: Path,
        name: str,
        arguments: Sequence[str],
        stack: ExitStack,
        *,
        program: str = sys.executable,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._name = name
        self._log = folder / f"{name}.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
            )
        self.pid = self._process.pid
        stack.callback(self.stop)

    def check(self) -> None:
        """Raises EdgeError with its last lines when it has ended."""
        if self._process.poll() is not None:
            lines = self._log.read_text(errors="replace").splitlines()[-5:]
            raise EdgeError(f"{self._name} ended with status {self._process.returncode}:\n" + "\n".join(lines))

    def wait_for(self, text: str) -> None:
        """Returns when its output holds a text."""
        end = time.monotonic() + _LIMIT_S
        while text not in self._log.read_text(errors="replace"):
            self.check()
            if time.monotonic() > end:
                raise EdgeError(f"{self._name} does not start")
            time.sleep(0.02)

    def stop(self) -> None:
        """Asks it to end, then ends it; safe twice."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _start_agent(folder: Path, site: Path, stack: ExitStack) -> tuple[float, _Child]:
    """Starts the agent; returns milliseconds until it says that it polls and its spool is open."""
    address = folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(address))
        notified.settimeout(0.2)
        begin = time.monotonic()
        arguments = ["-m", "edge_agent.cli", "run", str(site), "--log-level", "warning"]
        agent = _Child(folder, "agent", arguments, stack, environment={"NOTIFY_SOCKET": str(address)})
        try:
            while time.monotonic() < begin + _LIMIT_S:
                try:
                    if b"READY=1" in notified.recv(4096):
                        return (time.monotonic() - begin) * 1000, agent
                except TimeoutError:
                    agent.check()
        finally:
            address.unlink()
    raise EdgeError("the agent did not say that it is ready")


def _start_broker(folder: Path, stack: ExitStack) -> int:
    """Starts mosquitto on a loopback port; returns 0 where it is not installed."""
    tool = shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin")))
    if tool is None:
        return 0
    port = _free_port()
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n")
    broker = _Child(folder, "mosquitto", ["-c", str(config)], stack, program=tool)
    end = time.monotonic() + _LIMIT_S
    while time.monotonic() < end:
        broker.check()
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            return port
        except OSError:
            time.sleep(0.02)
    raise EdgeError("mosquitto does not listen")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# -- the kernel's counts -------------------------------------------------------------


def _cpu_ns(pid: int) -> int:
    """User and system time of all threads by the scheduler's clock; ticks of 10 ms would be too coarse."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


def _memory_mb(pid: int) -> tuple[float, float]:
    """Proportional and unshared memory, MB of 1,000,000 bytes."""
    kb = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        kb[name] = int(rest.split()[0])
    return kb["Pss"] * 1024 / 1e6, (kb["Private_Clean"] + kb["Private_Dirty"]) * 1024 / 1e6


def _processor() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    # ARM kernels name no model; a Raspberry Pi says which board it is in the last lines.
    for key in ("Model", "model name", "Hardware"):
        for line in text.splitlines():
            if line.split("\t")[0].strip(" :") == key and ":" in line:
                return line.split(":", 1)[1].strip()
    return os.uname().machine
