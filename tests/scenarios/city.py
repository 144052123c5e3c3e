"""A small city that runs: gas heads, two gateways, a collector that tells a webhook; each a process of its own.

The second gateway polls one head that the first polls too, and its wall clock can be set (``wall_clock.py``).
Limits are those of the shipped pack; only its delays are shortened.
"""

from __future__ import annotations

import json
import urllib.error
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from collector.data_dir import prepare
from collector.keys import add_gateway
from contracts.keys import load_or_create
from edge_agent.control import ask as ask_agent
from edge_agent.errors import EdgeError
from edge_agent.state_dir import CONTROL, KEY
from simulators.control import ask as ask_simulator
from simulators.errors import ControlError
from tests.collector.notify.webhook import Webhook
from tests.mosquitto import free_port
from tests.reliability.wall_clock import WallClock
from tests.system.rig import Process, Rig, until

#: heads by story; no story touches another one's
HEADS = (
    "leak-1", "leak-2", "jump", "rising", "broken", "edge", "flap", "calm", "trial",
    "late", "late-2", "late-3", "over", "lost", "twin", "before", "during", "gone",
)  # fmt: skip
PACK = "gas.ch4.adjacent.v1"
PRE, L1, L2 = f"{PACK}/pre", f"{PACK}/L1", f"{PACK}/L2"
SILENCE = "silence.v1"

_GATEWAY = """\
[gateway]
name = {{ en = "{name}", zh = "{name}" }}
state_dir = "{state}"
[uplink]
host = "127.0.0.1"
port = {link}
collector_key = "collector/collector.pub"
seal_interval_s = 0.5
reconnect_most_s = 1
[[confirmation]]
by = "test"
at = "2026-11-22"
document = "letter.txt"
points = {confirmed}
"""
_HEAD = """\
[[port]]
id = "{id}-line"
kind = "tcp"
host = "127.0.0.1"
port = {port}
[[device]]
id = "{id}"
name = {{ en = "Head {id}", zh = "探头 {id}" }}
port = "{id}-line"
unit_id = 1
profile = "gas-head-10reg"
interval_s = 0.5
points.temperature.read = false
points.humidity.read = false
points.pre-alarm.read = false
points.low-alarm.read = false
points.high-alarm.read = false
points.stel.read = false
points.twa.read = false
points.fault.read = false
[device.points.gas]
rules = ["gas.ch4.adjacent.v1", "sensor.fault.v1"]
longest_silence_s = 3.0
[device.points.gas.limits]
pre = {{ on_delay_s = 0, off_delay_s = 0 }}
L1 = {{ on_delay_s = 0, on_samples = 1, off_delay_s = 0 }}
L2 = {{ off_delay_s = 0 }}
fault = {{ value = 1 }}
"""
_PAIR = """\
[[device.points.gas.pair]]
name = "two_heads"
en = "two heads in one well"
zh = "同井双探头"
when = "L1"
point = "leak-2/gas"
rule = "pre"
within_s = 300
severity = "red"
basis = "both heads hang in one well"
"""
PAIR = "pair/two_heads"


class City(Rig):
    """The running system; ``start`` brings it up, ``stop`` ends it."""

    def __init__(self, folder: Path, heads: tuple[str, ...] = HEADS) -> None:
        super().__init__(folder)
        self.hook = Webhook()
        self.heads = heads
        ports = {head: free_port() for head in heads}
        lines = {
            head: _HEAD.format(id=head, port=port) + (_PAIR if head == "leak-1" else "") for head, port in ports.items()
        }
        confirmed = json.dumps([f"{head}/gas" for head in heads if head != "trial"])
        self.site.write_text(
            _GATEWAY.format(name="First", state="gateway", link=self.link_port, confirmed=confirmed)
            + "".join(lines.values())
        )
        (folder / "duty.urls").write_text(f"{self.hook.url}\n")
        self.settings = folder / "settings.toml"
        self.settings.write_text(
            f"[http]\nport = {self.http_port}\n[broker]\nport = {self.broker_port}\n"
            '[[notify]]\nname = "duty"\nurls_file = "../duty.urls"\nrepeat_s = 0\n'
            'severities = ["red", "orange", "yellow", "blue"]\n'
        )
        self.collector = self.new_collector()
        self.clock: WallClock | None = None
        self.second: Process | None = None
        if "twin" in heads:
            # The same head, asked by a gateway whose wall clock may be wrong.
            self.clock = WallClock(folder)
            site = folder / "second.toml"
            site.write_text(
                _GATEWAY.format(name="Second", state="second", link=self.broker_port, confirmed='["*"]') + lines["twin"]
            )
            self.second = Process(
                folder, "second", "edge_agent.cli", "run", "--config", str(site), environment=self.clock.environment
            )

    def new_collector(self, module: str = "collector.cli") -> Process:
        settings = str(self.folder / "settings.toml")
        return Process(self.folder, "collector", module, "serve", settings, "--data", str(self.data))

    # -- life ------------------------------------------------------------------------

    def start(self) -> None:
        """Brings everything up until every head's first value is at the collector."""
        prepare(self.data)
        self.gateway = self._admit("gateway")
        self.simulator.start()
        self.collector.start()
        until(self.is_simulated, "the simulator")
        until(self.is_healthy, "the collector's page")
        self.agent.start()
        until(lambda: self.values(self.gateway) == dict.fromkeys(self.heads, 0.0), "a first value of every head", 180.0)

    def start_second(self) -> str:
        """Starts the second gateway; returns its id when its head's first value is at the collector."""
        assert self.second is not None
        gateway = self._admit("second")
        until(self.is_healthy, "the collector's page")
        self.second.start()
        until(lambda: "twin" in self.values(gateway), "a value of the second gateway")
        return gateway

    def _admit(self, state: str) -> str:
        folder = self.folder / state
        folder.mkdir()
        key = load_or_create(folder / KEY).public
        add_gateway(self.data, key.line(), "test", en=state, zh=state)
        return key.gateway_id

    def stop(self) -> None:
        with ExitStack() as ends:
            ends.callback(self.hook.close)
            ends.callback(super().stop)
            if self.second is not None:
                ends.callback(self.second.stop)

    # -- what may happen -------------------------------------------------------------

    def show(self, head: str, what: float | str) -> None:
        """Sets what a head measures, or the word that it says instead."""
        ask_simulator(self.control, {"op": "set", "point": f"{head}/gas", "value": what})

    def fault(self, head: str, kind: str) -> None:
        """Breaks a head: a kind of ``simulator fault``; ``none`` repairs it."""
        ask_simulator(self.control, {"op": "fault", "device": head, "kind": kind})

    def link(self, state: str) -> None:
        """``cut`` or ``up``."""
        ask_simulator(self.control, {"op": "link", "state": state})

    def is_simulated(self) -> bool:
        try:
            return bool(ask_simulator(self.control, {"op": "status"}))
        except ControlError:
            return False

    # -- at the gateway --------------------------------------------------------------

    def standing(self, head: str) -> dict[str, str]:
        """Returns what stands at the first gateway: rule -> state."""
        try:
            alarms = ask_agent(self.folder / "gateway" / CONTROL, "alarms")["alarms"]
        except EdgeError:
            return {}
        mine = [alarm for alarm in alarms if alarm["point"] == f"{head}/gas" and alarm["rule_id"] != SILENCE]
        return {alarm["rule_id"]: alarm["state"] for alarm in mine}

    def reset(self, head: str, rule: str) -> None:
        """Resets a latched alarm under a name."""
        ask_agent(self.folder / "gateway" / CONTROL, "alarm-reset", point=f"{head}/gas", rule=rule, by="the test")

    def is_connected(self) -> bool:
        try:
            return bool(ask_agent(self.folder / "gateway" / CONTROL, "status")["link"] == "up")
        except EdgeError:
            return False

    # -- at the centre ---------------------------------------------------------------

    def values(self, gateway: str) -> dict[str, float]:
        """Returns the newest number of every head of a gateway that has one."""
        return {
            point["device"]: point["value"]
            for point in self.api(f"points?gateway={gateway}")
            if point["quantity"] == "gas" and point["value"] is not None
        }

    def point(self, head: str) -> dict[str, Any]:
        """Returns a head's gas point as the interface tells it."""
        found = [point for point in self.api(f"points?gateway={self.gateway}") if point["key"] == f"{head}/gas"]
        return dict(found[0])

    def journal(self, head: str, rule: str | None = None, gateway: str | None = None) -> list[dict[str, Any]]:
        """Returns every alarm that a head ever had, oldest first; silence only where it is asked for."""
        found = json.loads(
            self.get(f"/api/v1/alarm-journal?gateway={gateway or self.gateway}&point={head}/gas&limit=1000")
        )["alarms"]
        # A machine that is held up for seconds polls late, and the agent rightly says so.
        return [a for a in reversed(found) if (a["rule_id"] == rule if rule else a["rule_id"] != SILENCE)]

    def the(self, head: str, rule: str, **facts: Any) -> dict[str, Any]:
        """Waits until the only alarm of a rule at the centre is so, and returns it."""

        def found() -> dict[str, Any] | None:
            try:
                alarms = self.journal(head, rule)
            except (urllib.error.URLError, OSError):
                return None
            assert len(alarms) <= 1, f"{rule} of {head} was raised {len(alarms)} times"
            return next((a for a in alarms if all(a[key] == value for key, value in facts.items())), None)

        alarm: dict[str, Any] = until(found, f"{rule} of {head} with {facts}", 90.0, 0.02)
        return alarm

    def messages(self, head: str) -> list[str]:
        """Returns the messages at the webhook that name a head."""
        return [
            f"{one['title']}\n{one['message']}" for one in list(self.hook.taken) if f" {head}/gas " in one["message"]
        ]
