"""A serial line on a pseudo terminal, bytes paced at the baud rate: how much of it is used, and how many devices fit.

The simulator holds every byte back until it would have left the wire, thinks 2 ms before each reply and counts
silences shorter than t3.5.  The agent's own line thread and poller ask.  *Used* is the time that the frames, the
silences and the device's 2 ms need at least, to the time that a read took.  A PTY is not a wire: adapters with a
latency timer, transceivers and cable are not in it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

from benchmarks.bench_site import PROFILES, REGISTERS
from benchmarks.report import Figure, Result, middle, say
from benchmarks.stage import OTHER_CPU, REPOSITORY, Child
from contracts.quality import GOOD
from drivers.line import SerialLine
from drivers.port import ReadRequest, ReadResult
from drivers.serial_wire import LineSettings
from edge_agent.bus.poller import Codes, Poller, Row, blocks_of_port
from edge_agent.compile import compile_site
from edge_agent.plan import Plan

DEVICES = 10
DEAD = "d05"
BAUDS = (9600, 19200, 115200)
#: what the simulated devices think before they reply, after t3.5 (simulators/rtu_server.py)
_THINK_S = 0.002
#: for the line with a dead device: this much more than all reads need
_SLACK = 1.25


class Bus:
    """A simulator with ten devices on one line, for as long as it is entered."""

    def __init__(self, folder: Path, baud: int) -> None:
        self.folder = folder / str(baud)
        self.settings = LineSettings(path=str(self.folder / "line"), baud=baud)
        self._control = self.folder / "control.sock"

    def __enter__(self) -> Bus:
        self.folder.mkdir()
        self.site(1.0)
        command = ["run", str(self.folder / "site.toml"), "--control", str(self._control)]
        self._child = Child(
            "simulator", [sys.executable, "-m", "simulators.cli", *command], folder=self.folder, cpu=OTHER_CPU
        )
        self._child.wait_for_line("ready")
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop()

    def site(self, interval_s: float) -> Path:
        """Writes the site file of this line with an interval for every device."""
        path = self.folder / "site.toml"
        parts = [
            f'profile_dirs = ["{PROFILES}"]\n[gateway]\nname = {{ en = "bus", zh = "bus" }}\nstate_dir = "state"',
            f'[[port]]\nid = "line"\nkind = "serial"\ndevice = "line"\nbaud = {self.settings.baud}',
        ]
        for unit in range(1, DEVICES + 1):
            parts.append(
                f'[[device]]\nid = "d{unit:02}"\nname = {{ en = "{unit}", zh = "{unit}" }}\nport = "line"\n'
                f'unit_id = {unit}\nprofile = "plain-20"\ninterval_s = {interval_s:.4f}'
            )
        path.write_text("\n".join(parts) + "\n")
        return path

    def say(self, *words: str) -> None:
        """Gives the simulator a command."""
        self._ask(*words)

    def short_gaps(self) -> int:
        """Returns how many requests began less than t3.5 after the line fell silent."""
        status = json.loads(self._ask("status", "--json"))
        return sum(int(bus["short_gaps"]) for bus in status["lines"].values())

    def _ask(self, *words: str) -> str:
        command = [sys.executable, "-m", "simulators.cli", *words, "--control", str(self._control)]
        return subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True, timeout=30).stdout


def least_s(settings: LineSettings) -> float:
    """Returns the least time of one read of twenty registers: both frames, both silences, the device's thinking."""
    characters = 8 + 5 + 2 * REGISTERS
    return characters * settings.char_s + 2 * settings.silence_s + _THINK_S


async def back_to_back(settings: LineSettings, seconds: float) -> list[ReadResult]:
    """Reads the devices in turn, as fast as the line allows."""
    line = SerialLine(settings)
    await line.open()
    try:
        results: list[ReadResult] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            unit = len(results) % DEVICES + 1
            request = ReadRequest(
                unit_id=unit, table="holding", address=0, count=REGISTERS, timeout_s=1.0, max_reply_s=1.0
            )
            results.append(await line.read(request))
        return results
    finally:
        await line.close()


async def beside_a_dead_one(plan: Plan, bus: Bus, *, settle_s: float, seconds: float) -> tuple[float, float]:
    """Polls by plan, lets one device die, and returns the live devices' good rows before and after.

    Both in parts of what the grid asks for; the time after begins with the death.
    """
    good: Counter[str] = Counter()

    def take(block: int, sampled_us: int, row: Row, codes: Codes, replied_us: int) -> None:
        if codes is None:
            good[plan.devices[plan.blocks[block].device].id] += 1

    poller = Poller(
        port_id="line", port=SerialLine(bus.settings), devices=plan.devices, blocks=blocks_of_port(plan, 0), sink=take
    )
    task = asyncio.create_task(poller.run())
    shares = []
    for span_s in (settle_s, seconds):
        begin = time.monotonic()
        good.clear()
        await asyncio.sleep(span_s)
        asked = (time.monotonic() - begin) * 1000 / plan.blocks[0].interval_ms
        shares.append(sum(count for id, count in good.items() if id != DEAD) / (DEVICES - 1) / asked)
        if len(shares) == 1:
            await asyncio.to_thread(bus.say, "fault", DEAD, "dead")
    poller.stop()
    await task
    return shares[0], shares[1]


def measure(folder: Path, baud: int, *, seconds: float) -> Result:
    """Measures one baud rate."""
    say(f"bus at {baud} baud")
    with Bus(folder, baud) as bus:
        results = asyncio.run(back_to_back(bus.settings, seconds))
        starts = [result.requested_us for result in results]
        took = middle((after - before) / 1e6 for before, after in pairwise(starts))
        assert took is not None
        gaps = bus.short_gaps()
        plan = compile_site(bus.site(max(0.1, took * DEVICES * _SLACK))).plan
        before, after = asyncio.run(beside_a_dead_one(plan, bus, settle_s=seconds, seconds=3 * seconds))
    least = least_s(bus.settings)
    return Result(
        title=f"Serial line, {baud} baud 8N1, reads of {REGISTERS} registers",
        method=(
            f"{len(results)} reads in {seconds:g} s; then {DEVICES} devices every {plan.blocks[0].interval_ms} ms, "
            f"which takes {100 / _SLACK:.0f} % of the line, for {seconds:g} s, and with one dead for {3 * seconds:g} s"
        ),
        figures=(
            Figure(name="one read", unit="ms", value=took * 1000, floor=least * 1000),
            Figure(name="line used", unit="%", value=100 * least / took),
            Figure(name="reads that failed", unit="", value=sum(result.code != GOOD for result in results), target=0),
            Figure(name="silences shorter than t3.5", unit="", value=gaps, target=0),
            Figure(name="devices per line, each within 1 s", unit="", value=int(1 / took)),
            Figure(name="devices per line, each within 5 s", unit="", value=min(247, int(5 / took))),
            Figure(name="rate of nine devices, all ten alive", unit="%", value=100 * before),
            Figure(
                name="rate of the nine, the tenth dead",
                unit="%",
                value=100 * after,
                target=95,
                is_least=True,
                note="from its death on",
            ),
        ),
    )
