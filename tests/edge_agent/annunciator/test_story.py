"""The real agent, a paced line, and a relay board: what the annunciator shows when everything else goes wrong."""

from __future__ import annotations

import asyncio
import json
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.control import ask
from edge_agent.state_dir import CONTROL
from simulators.app import Simulator
from simulators.outputs import Switching
from simulators.plant import SerialLine, read_plant
from tests.debian_tools import find_tool
from tests.edge_agent.running_agent import ROOT, RunningAgent, until
from tests.reliability.loop_disk import LoopDisk

pytestmark = pytest.mark.ci

HOLD_S = 9.0
POINT = """[device.points.p1]
rules = ["water.pressure.end.v1"]
[device.points.p1.limits.low_low]
on_delay_s = 0
off_delay_s = 0
"""
SITE = f"""allow_overrun = true
[gateway]
name = {{ en = "Test", zh = "测试" }}
state_dir = "%s"
[uplink]
host = "127.0.0.1"
port = 9
seal_interval_s = 0.5
[[port]]
id = "bus-1"
kind = "serial"
device = "bus-1"
baud = 9600
[[device]]
id = "main-1"
port = "bus-1"
unit_id = 1
profile = "keller-30"
interval_s = 0.5
{POINT}
[[device]]
id = "main-2"
port = "bus-1"
unit_id = 2
profile = "keller-30"
interval_s = 0.5
{POINT}
[[device]]
id = "relay-1"
port = "bus-1"
unit_id = 9
profile = "waveshare-relay-8"
interval_s = 1.0
allow_write = true
[annunciator]
beacon = ["relay-1/relay-1"]
sounder = ["relay-1/relay-2"]
proof_test_days = 180
[annunciator.alive]
output = "relay-1/relay-8"
hold_s = {HOLD_S}
"""


class Line:
    """The simulated devices in a thread of their own, and when each request to them was complete."""

    def __init__(self, config: Path) -> None:
        self.sim = Simulator(read_plant(config), scenario_folder=ROOT / "config" / "scenarios")
        self.world = self.sim.world
        #: (monotonic s, device) of each request whose last byte was on the wire
        self.asked: list[tuple[float, str]] = []
        reply = self.world.reply

        def noted(device_id: str, pdu: bytes) -> Any:
            self.asked.append((time.monotonic(), device_id))
            return reply(device_id, pdu)

        self.world.reply = noted  # type: ignore[method-assign]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._do(self.sim.start)

    def _do(self, what: Callable[[], Any]) -> None:
        asyncio.run_coroutine_threadsafe(what(), self._loop).result(10)

    def close(self) -> None:
        self._do(self.sim.stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def press(self, device: str, bar: float) -> None:
        self.world.set_point(f"{device}/pressure", bar)

    def is_on(self, output: str) -> bool:
        return self.world.outputs("relay-1")[output]

    def changes(self, output: str) -> list[Switching]:
        self.world.outputs("relay-1")
        return [change for change in self.world.boards["relay-1"].switchings if change.output == output]

    def between(self, device: str, before_s: float) -> list[str]:
        """Returns who was asked between the last reply of a device and the write that switched something."""
        asked_s = max(at for at, id in self.asked if id == device and at < before_s)
        # The last one is the write itself.
        return [id for at, id in self.asked if asked_s < at < before_s][:-1]

    def reply_ended_s(self, device: str, before_s: float) -> float:
        """Returns when the last reply of a device before a moment was complete on the wire."""
        line = next(line for line in self.world.plant.lines if isinstance(line, SerialLine))
        asked_s = max(at for at, id in self.asked if id == device and at < before_s)
        # P1 is one f32: address, function, count, two registers, CRC; the device thinks for 2 ms after t3.5.
        return asked_s + line.settings.frame_gap_s + 0.002 + 9 * line.settings.character_s


class Stand:
    """One gateway on that line."""

    def __init__(self, folder: Path, state_dir: str = "state") -> None:
        self.agent = RunningAgent(folder, SITE % state_dir, state_dir=folder / state_dir)
        self.line = Line(self.agent.config)
        for device in ("main-1", "main-2"):
            self.line.press(device, 3.0)

    def close(self) -> None:
        self.agent.kill()
        self.line.close()

    def start(self) -> None:
        self.agent.start()
        until(lambda: self.line.is_on("relay-8"), "the alive output")

    def ask(self, op: str, **words: Any) -> Any:
        return ask(self.agent.state_dir / CONTROL, op, **words)

    def raise_alarm(self, device: str = "main-1") -> None:
        self.line.press(device, 0.5)
        until(lambda: self.line.is_on("relay-1"), f"the beacon after an alarm of {device}")

    def clear(self, device: str = "main-1") -> None:
        self.line.press(device, 3.0)
        until(lambda: not self.line.is_on("relay-1"), f"the beacon's end after {device}")


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path)
    yield made
    made.close()


def test_from_the_reply_to_the_coil(stand: Stand, record_property: Any) -> None:
    """Prints what it measured: from the reply's last byte to the write's last byte on the line of 9600 baud."""
    stand.start()
    found = []
    for _ in range(3):
        before = len(stand.line.changes("relay-1"))
        stand.raise_alarm()
        change = stand.line.changes("relay-1")[before]
        assert stand.line.between("main-1", change.at_s) == [], "somebody was asked before the beacon was switched"
        found.append(1000 * (change.at_s - stand.line.reply_ended_s("main-1", change.at_s)))
        stand.clear()
    text = f"reply's end to the coil's write, its 8 bytes on the line included: {[round(ms, 1) for ms in found]} ms"
    print(f"{text}; median {statistics.median(found):.1f} ms")
    record_property("reply_to_coil_ms", found)
    # Of it the write's own 8.3 ms of bytes after 4 ms of silence; nothing else may have been on the line.
    assert statistics.median(found) < 1000
    facts = stand.agent.status()["subjects"]["annunciator"]
    assert facts["shows"] == "quiet"
    assert facts["switched_ms"] > 0


def test_a_killed_agent_leaves_the_beacon_and_drops_alive(stand: Stand) -> None:
    stand.start()
    stand.raise_alarm()
    until(lambda: stand.line.is_on("relay-2"), "the sounder")
    stand.ask("annunciator-silence", by="Li Wei")
    until(lambda: not stand.line.is_on("relay-2"), "the sounder's end", 20.0)
    stand.agent.kill()
    killed_s = time.monotonic()
    until(lambda: not stand.line.is_on("relay-8"), "the end of the alive output", HOLD_S + 10)
    dropped = stand.line.changes("relay-8")[-1]
    assert not dropped.is_on
    assert dropped.at_s - killed_s <= HOLD_S
    assert stand.line.is_on("relay-1")
    on = len(stand.line.changes("relay-1"))
    stand.start()
    # Its state of before is known before anything is written, so the beacon never flickers, and sounds again.
    until(lambda: stand.line.is_on("relay-2"), "the sounder after the restart")
    assert len(stand.line.changes("relay-1")) == on
    assert stand.agent.end() == 0
    assert stand.line.is_on("relay-1"), "nothing is written at a stop"


def test_a_dead_board_costs_the_others_nothing_and_shows_the_alarm_when_it_is_back(stand: Stand) -> None:
    stand.start()
    stand.line.world.set_fault("relay-1", "dead")
    stand.line.press("main-1", 0.5)
    until(lambda: [a for a in stand.ask("alarms")["alarms"] if a["point"] == "main-1/pressure"], "the alarm")
    until(lambda: stand.agent.status()["subjects"]["annunciator"].get("fault"), "the fault")
    before, begun_s = dict(stand.agent.status()["subjects"]["device/main-2"]), time.monotonic()
    until(lambda: _further(stand, before["good"] + 20), "readings of the device beside it")
    took_s = time.monotonic() - begun_s
    print(f"beside a dead board: 20 readings at 0.5 s in {took_s:.1f} s")
    stand.line.press("main-2", 0.5)
    until(lambda: [a for a in stand.ask("alarms")["alarms"] if a["point"] == "main-2/pressure"], "its alarm")
    stand.line.world.set_fault("relay-1", "dead", is_on=False)
    until(lambda: stand.line.is_on("relay-1"), "the beacon of a board that is back", 90.0)
    until(lambda: not stand.agent.status()["subjects"]["annunciator"].get("fault"), "the end of the fault")


def _further(stand: Stand, good: int) -> dict[str, Any]:
    facts: dict[str, Any] = stand.agent.status()["subjects"]["device/main-2"]
    return facts if facts["good"] >= good else {}


def _renewed_since(stand: Stand, since_s: float) -> bool:
    alive = stand.ask("annunciator")["outputs"][2]
    return bool(alive["renewed_s"] < time.monotonic() - since_s)


def test_a_full_and_a_frozen_disk_and_no_link_change_nothing(tmp_path: Path) -> None:
    freeze = find_tool("fsfreeze")
    disk = LoopDisk(tmp_path)
    stand = None
    try:
        disk.mount()
        stand = Stand(tmp_path, state_dir="disk/state")
        stand.start()
        disk.fill()
        stand.raise_alarm()
        stand.clear()
        disk.empty()
        subprocess.run([freeze, "-f", str(disk.path)], check=True)
        frozen_s = time.monotonic()
        try:
            stand.raise_alarm("main-2")
            until(lambda: _renewed_since(stand, frozen_s), "a renewal while nothing can be stored")
            stand.clear("main-2")
            until(lambda: stand.line.is_on("relay-8"), "the alive output")
        finally:
            subprocess.run([freeze, "-u", str(disk.path)], check=True)
    finally:
        if stand is not None:
            stand.close()
        disk.close()


def test_a_proof_test_at_the_cabinet(stand: Stand) -> None:
    stand.start()
    done = stand.agent.command("annunciator", "test", "--by", "Li Wei", "--seconds", "2", "--seen", "yes")
    assert done.returncode == 0, done.stderr
    assert "proof test passed" in done.stdout
    assert stand.line.changes("relay-1")[0].is_on
    told = stand.agent.command("annunciator", "status")
    assert "proof test passed on" in told.stdout
    assert "the next is due on" in told.stdout
    until(lambda: not stand.line.is_on("relay-1"), "the end of the test")
    stand.line.world.set_fault("relay-1", "dead")
    failed = stand.agent.command("annunciator", "test", "--by", "Li Wei", "--seconds", "2", "--seen", "no")
    assert failed.returncode == 1
    assert "proof test FAILED" in failed.stdout
    assert stand.agent.end(signal.SIGTERM) == 0
    entries = [json.loads(line) for line in (stand.agent.state_dir / "journal.jsonl").read_text().splitlines()]
    assert [entry["text"].split(":")[0] for entry in entries if entry["kind"] == "proof-test"] == ["passed", "failed"]
