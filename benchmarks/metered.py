"""What a month costs on a link that is paid by volume, by the interface's own counters, both ways.

The agent and its devices live in a network namespace of their own; a veth pair is their only way to the broker, so the
pair's counters see what a SIM card's bill would: MQTT, TCP, IP and Ethernet headers and acknowledgements too
(14 bytes of Ethernet per packet are more than a mobile link has).  Needs root and iproute2.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench_site import Load, site_text
from benchmarks.report import Figure, Result, say
from benchmarks.stage import OTHER_CPU, BenchError, Child, free_port, wait_until
from contracts.keys import load_or_create

_REPOSITORY = Path(__file__).resolve().parent.parent
#: 20 points every 5 s
LOAD = Load(devices=1, interval_s=5.0)
#: set aside for measurements of devices (RFC 2544)
_HOST, _AGENT = "198.18.0.1", "198.18.0.2"
_MONTH_S = 30 * 86_400
#: a month at most (bytes)
TARGET = 100e6
#: before a window begins: connected, catalogue and first health sent (s)
_SETTLE_S = 75.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """Counters of the pair, from the gateway's side."""

    sent: int
    received: int
    sent_packets: int
    received_packets: int

    def since(self, before: _Seen) -> _Seen:
        return _Seen(
            sent=self.sent - before.sent,
            received=self.received - before.received,
            sent_packets=self.sent_packets - before.sent_packets,
            received_packets=self.received_packets - before.received_packets,
        )


class Apart:
    """A gateway in a network namespace: devices there, broker and collector here."""

    def __init__(self, folder: Path) -> None:
        """Starts nothing yet."""
        self._folder = folder
        self._name = f"qianshao-{os.getpid()}"
        self._link = f"qs{os.getpid() % 1_000_000}"
        self._children: list[Child] = []
        self._runs = 0

    def __enter__(self) -> Apart:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            raise BenchError("the metered benchmark needs root and iproute2: it makes a network namespace")
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def _start(self) -> None:
        _ip("netns", "add", self._name)
        _ip("link", "add", self._link, "type", "veth", "peer", "name", "wwan0", "netns", self._name)
        # Without IPv6 no neighbour discovery is counted that a mobile link does not have.
        for inside, name in (((), self._link), (self._inside(), "wwan0")):
            _run(*inside, "sysctl", "-q", "-w", f"net.ipv6.conf.{name}.disable_ipv6=1")
        _ip("addr", "add", f"{_HOST}/30", "dev", self._link)
        _ip("link", "set", self._link, "up")
        for command in (("addr", "add", f"{_AGENT}/30", "dev", "wwan0"), ("link", "set", "wwan0", "up")):
            _ip("-n", self._name, *command)
        _ip("-n", self._name, "link", "set", "lo", "up")
        self._bank_port, self._broker_port = free_port(), free_port()
        self._start_broker()
        arguments = ("--devices", str(LOAD.devices), "--registers", str(LOAD.registers), "--port", str(self._bank_port))
        bank = self._child("bank", *self._inside(), sys.executable, "-m", "simulators.cli", "tcp-bank", *arguments)
        bank.wait_for_line("ready")
        self._start_collector()

    def _start_broker(self) -> None:
        tool = shutil.which("mosquitto", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
        if tool is None:
            raise BenchError("mosquitto is not installed (Debian package mosquitto)")
        config = self._folder / "mosquitto.conf"
        config.write_text(
            f"listener {self._broker_port} {_HOST}\nallow_anonymous true\npersistence false\n"
            "set_tcp_nodelay true\nlog_dest stderr\n"
        )
        self._child("broker", tool, "-c", str(config)).wait_for_line("running")

    def _start_collector(self) -> None:
        signer = load_or_create(self._folder / "agent.pem")
        key_file = self._folder / "agent.key"
        key_file.write_text(signer.public.line("bench") + "\n")
        data = self._folder / "collector"
        data.mkdir()
        broker = f'[broker]\nkind = "mosquitto"\nhost = "{_HOST}"\nport = {self._broker_port}\n'
        (data / "settings.toml").write_text(f"[http]\nport = {free_port()}\n{broker}")
        for arguments in (("init",), ("add-gateway", str(key_file))):
            _run(sys.executable, "-m", "collector.cli", *arguments, "--data", str(data))
        self._key = (data / "collector.pub").read_text().strip()
        self._child("collector", sys.executable, "-m", "collector.cli", "serve", "--data", str(data))
        log = self._folder / "broker.log"
        wait_until(lambda: "collector-" in log.read_text(errors="replace"), "the collector's connection")

    def agent(self, uplink: str) -> Child:
        """Starts an agent with an empty state directory; ``uplink`` are further lines of its table."""
        self._runs += 1
        place = self._folder / f"agent-{self._runs}"
        state = place / "state"
        state.mkdir(parents=True)
        shutil.copy(self._folder / "agent.pem", state / "key.pem")
        text = site_text(LOAD, state_dir=state, bank_port=self._bank_port, broker_port=0, collector_key="")
        table = f'[uplink]\nhost = "{_HOST}"\nport = {self._broker_port}\ncollector_key = "{self._key}"\n{uplink}\n\n'
        site = place / "site.toml"
        at = text.index("[[port]]")
        site.write_text(text[:at] + table + text[at:])
        return self._child("agent", *self._inside(), sys.executable, "-m", "edge_agent.cli", "run", str(site))

    def seen(self) -> _Seen:
        """Returns the counters now."""
        folder = Path("/sys/class/net") / self._link / "statistics"
        sent, received, sent_packets, received_packets = (
            int((folder / name).read_text()) for name in ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets")
        )
        return _Seen(sent=sent, received=received, sent_packets=sent_packets, received_packets=received_packets)

    def _inside(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self._name)

    def _child(self, name: str, *command: str) -> Child:
        child = Child(name, command, folder=self._folder, cpu=OTHER_CPU)
        self._children.append(child)
        return child

    def _stop(self) -> None:
        for child in reversed(self._children):
            child.stop()
        self._children.clear()
        subprocess.run(["ip", "link", "del", self._link], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self._name], capture_output=True, check=False)


def run(folder: Path, *, spared_s: float, live_s: float) -> Result:
    """Measures a metered link, then the same load with 2 s seals.

    Args:
        folder: for everything that is made.
        spared_s: window on the metered link; a multiple of 600 s has its share of health.
        live_s: window with 2 s seals.
    """
    with Apart(folder) as apart:
        spared = _window(apart, "metered = true", spared_s)
        live = _window(apart, "seal_interval_s = 2.0", live_s)
    month, live_month = _month(spared, spared_s), _month(live, live_s)
    minutes = spared_s / 60
    return Result(
        title=f"Metered link, {LOAD.name}",
        method=(
            f"counters of the interface, both ways; one window of {spared_s:g} s beside one of {live_s:g} s with 2 s"
            " seals, reckoned up to 30 days; no TLS, no alarms, nobody watches"
        ),
        figures=(
            Figure(name="30 days", unit="MB", value=month / 1e6, floor=live_month / 1e6, target=TARGET / 1e6),
            Figure(name="sent a minute", unit="bytes", value=spared.sent / minutes, floor=live.sent * 60 / live_s),
            Figure(
                name="received a minute",
                unit="bytes",
                value=spared.received / minutes,
                floor=live.received * 60 / live_s,
            ),
            Figure(
                name="packets a minute, both ways",
                unit="",
                value=(spared.sent_packets + spared.received_packets) / minutes,
                floor=(live.sent_packets + live.received_packets) * 60 / live_s,
                note="the column floor is 2 s seals",
            ),
        ),
    )


def _window(apart: Apart, uplink: str, seconds: float) -> _Seen:
    say(f"{uplink} for {seconds:g} s")
    agent = apart.agent(uplink)
    try:
        time.sleep(_SETTLE_S)
        agent.is_running()
        before = apart.seen()
        time.sleep(seconds)
        agent.is_running()
        return apart.seen().since(before)
    finally:
        agent.stop()


def _month(seen: _Seen, seconds: float) -> float:
    return (seen.sent + seen.received) / seconds * _MONTH_S


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=_REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: {done.stderr.strip()}")
