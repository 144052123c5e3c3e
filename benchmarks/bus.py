"""A serial line on a pseudo terminal, bytes paced at the baud rate: how much of it is used, and how many devices fit.

The simulator holds every byte back until it would have left the wire, thinks 2 ms before each reply and counts
silences shorter than t3.5.  The agent's own line thread and poller ask.  *Used* is the time that the frames, the
silences and the device's 2 ms need at least, to the time that a read took.  A PTY is not a wire: adapters with a
latency timer, transceivers and cable are not in it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.bench_site import PROFILES, REGISTERS
from benchmarks.bus_peers import PEERS, run_peer, why_not
from benchmarks.report import Figure, Result, middle, say
from benchmarks.stage import MEASURED_CPU, OTHER_CPU, REPOSITORY, Child
from contracts.quality import GOOD
from drivers.line import SerialLine
from drivers.port import ReadRequest, ReadResult
from drivers.serial_wire import LineSettings
from edge_agent.bus.poller import Codes, Poller, Row, blocks_of_port
from edge_agent.compile import compile_site
from edge_agent.plan import Plan

DEVICES = 10
DEAD = ("d05", "d02", "d08")
BAUDS = (9600, 19200, 115200)
#: what the simulated devices think before they reply, after t3.5 (simulators/rtu_server.py)
_THINK_S = 0.002
#: for the line with a dead device: this much more than all reads need
_SLACK = 1.25
_BACK_LIMIT_S = 60.0
#: baud rate -> percent of the line that must be used
_USED = {9600: 98.0, 19200: 97.5, 115200: 94.0}


class Bus:
    """A simulator with ten devices on one line, for as long as it is entered."""

    def __init__(self, folder: Path, baud: int) -> None:
        self.folder = folder / str(baud)
        self.settings = LineSettings(path=str(self.folder / "line"), baud=baud)
        self.control = self.folder / "control.sock"

    def __enter__(self) -> Bus:
        shutil.rmtree(self.folder, ignore_errors=True)  # of the same rate's other benchmark
        self.folder.mkdir()
        self.site(1.0)
        command = ["run", str(self.folder / "site.toml"), "--control", str(self.control)]
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
        command = [sys.executable, "-m", "simulators.cli", *words, "--control", str(self.control)]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Deaths:
    """What dead devices cost the others; shares are good rows in parts of what the grid asks for."""

    #: of nine devices while all ten live
    alive: float
    #: of the nine others beside one dead, and the seven others beside three, from the death on
    beside_one: float
    beside_three: float
    #: seconds from a device's return to its first good row; None where there was none
    back_s: float | None


async def beside_dead_ones(plan: Plan, bus: Bus, *, settle_s: float, seconds: float) -> Deaths:
    """Polls by plan, lets one device die and two more, and lets the first live again."""
    good: Counter[str] = Counter()
    is_back = asyncio.Event()

    def take(block: int, sampled_us: int, row: Row, codes: Codes, replied_us: int) -> None:
        if codes is None:
            id = plan.devices[plan.blocks[block].device].id
            good[id] += 1
            if id == DEAD[0]:
                is_back.set()

    poller = Poller(
        port_id="line", port=SerialLine(bus.settings), devices=plan.devices, blocks=blocks_of_port(plan, 0), sink=take
    )
    task = asyncio.create_task(poller.run())

    async def share(span_s: float, dead: int) -> float:
        for id in DEAD[:dead]:
            await asyncio.to_thread(bus.say, "fault", id, "dead")
        begin = time.monotonic()
        good.clear()
        await asyncio.sleep(span_s)
        asked = (time.monotonic() - begin) * 1000 / plan.blocks[0].interval_ms
        left_out = max(dead, 1)
        return sum(count for id, count in good.items() if id not in DEAD[:left_out]) / (DEVICES - left_out) / asked

    alive, one, three = [await share(*step) for step in ((settle_s, 0), (seconds, 1), (seconds, 3))]
    is_back.clear()
    await asyncio.to_thread(bus.say, "fault", DEAD[0], "none")
    begin = time.monotonic()
    try:
        await asyncio.wait_for(is_back.wait(), _BACK_LIMIT_S)
        back_s = time.monotonic() - begin
    except TimeoutError:
        back_s = None
    poller.stop()
    await task
    for id in DEAD:
        await asyncio.to_thread(bus.say, "fault", id, "none")
    return Deaths(alive=alive, beside_one=one, beside_three=three, back_s=back_s)


def peers(folder: Path, baud: int, *, seconds: float) -> Result:
    """Lets every client that is here read the same line in turn, one after the other."""
    figures: list[Figure] = []
    own_cpu: float | None = None
    least = 0.0
    skipped = []
    with Bus(folder, baud) as bus:
        least = least_s(bus.settings)
        for name, shown in PEERS.items():
            if why := why_not(name):
                skipped.append(f"{shown}: {why}")
                continue
            say(f"{shown} at {baud} baud")
            before = bus.short_gaps()
            reads, failed, took_us, cpu_us = run_peer(
                name, bus.settings.path, baud, seconds, devices=DEVICES, registers=REGISTERS, folder=folder,
                prefix=["taskset", "-c", str(MEASURED_CPU)],
            )  # fmt: skip
            gaps = bus.short_gaps() - before
            own_cpu = cpu_us if own_cpu is None else own_cpu
            figures += [
                Figure(
                    name=f"{shown}: line used", unit="%", value=100 * least * 1e6 / took_us,
                    target=_USED.get(baud) if name == "ours" else None, is_least=True,
                ),
                Figure(
                    name=f"{shown}: silences shorter than t3.5", unit="%", value=100 * gaps / max(reads - 1, 1),
                    target=0 if name == "ours" else None,
                ),
                Figure(name=f"{shown}: CPU per request", unit="us", value=cpu_us, floor=own_cpu),
                Figure(name=f"{shown}: reads that failed", unit="", value=failed),
            ]  # fmt: skip
    return Result(
        title=f"Clients on one serial line, {baud} baud 8N1, {DEVICES} devices, reads of {REGISTERS} registers",
        method=f"each {seconds:g} s in a process of its own; the ratio is to this project's CPU"
        + "".join(f"; not here: {text}" for text in skipped),
        figures=tuple(figures),
    )


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
        deaths = asyncio.run(beside_dead_ones(plan, bus, settle_s=seconds, seconds=3 * seconds))
    least = least_s(bus.settings)
    return Result(
        title=f"Serial line, {baud} baud 8N1, reads of {REGISTERS} registers",
        method=(
            f"{len(results)} reads in {seconds:g} s; then {DEVICES} devices every {plan.blocks[0].interval_ms} ms, "
            f"which takes {100 / _SLACK:.0f} % of the line, for {seconds:g} s, with one dead and with three dead "
            f"for {3 * seconds:g} s each, from their death on"
        ),
        figures=(
            Figure(name="one read", unit="ms", value=took * 1000, floor=least * 1000),
            Figure(name="line used", unit="%", value=100 * least / took),
            Figure(name="reads that failed", unit="", value=sum(result.code != GOOD for result in results), target=0),
            Figure(name="silences shorter than t3.5", unit="", value=gaps, target=0),
            Figure(name="devices per line, each within 1 s", unit="", value=int(1 / took)),
            Figure(name="devices per line, each within 5 s", unit="", value=min(247, int(5 / took))),
            Figure(name="rate of nine devices, all ten alive", unit="%", value=100 * deaths.alive),
            Figure(
                name="rate of the nine, one dead", unit="%", value=100 * deaths.beside_one, target=95, is_least=True
            ),
            Figure(
                name="rate of the seven, three dead",
                unit="%",
                value=100 * deaths.beside_three,
                target=88,
                is_least=True,
            ),
            Figure(name="a device that returns is read again after", unit="s", value=deaths.back_s, target=30),
        ),
    )
