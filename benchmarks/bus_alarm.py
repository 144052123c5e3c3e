"""One alarm point on a serial line with ten devices, the other nine of which fail at random.

A register of the first device is changed again and again; reported is the longest time until its new value was
there to be judged, beside the bound that the budget computes.  Faults are drawn with a fixed seed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench_site import PROFILES
from benchmarks.bus import DEVICES, Bus
from benchmarks.report import Figure, Result, say
from drivers.line import SerialLine
from edge_agent.bus.budget import port_budget
from edge_agent.bus.poller import Codes, Poller, Row, blocks_of_port
from edge_agent.compile import compile_site
from simulators.control import ask

_RULES = PROFILES.parent / "rules"
_ALARM_S = 1.0
#: of the other devices, so that the line is busy
_OTHERS_S = 2.0
_FAULTS = ("dead", "late", "wrong_crc", "exception", "wrong_unit")
_SEED = 3


def _site(bus: Bus) -> Path:
    """The line's site file with limits on the first device."""
    path = bus.site(_OTHERS_S)
    text = path.read_text().replace("[gateway]", f'rule_dirs = ["{_RULES}"]\n[gateway]', 1)
    first = f'profile = "plain-20"\ninterval_s = {_OTHERS_S:.4f}'
    ruled = f'profile = "plain-20"\ninterval_s = {_ALARM_S:.4f}\n[device.points.r1]\nrules = ["bench.counter"]'
    path.write_text(text.replace(first, ruled, 1))
    return path


class _Watch:
    """Waits for the newest value of the changed register."""

    def __init__(self, block: int) -> None:
        self._block = block
        self.wanted: int | None = None
        self.is_seen = asyncio.Event()

    def take(self, block: int, sampled_us: int, row: Row, codes: Codes, replied_us: int) -> None:
        if block == self._block and codes is None and row[0] == self.wanted:
            self.is_seen.set()


async def _break_others(bus: Bus, seconds: float) -> int:
    """Switches faults of the other devices on and off; returns how often."""
    chance, end, count = random.Random(_SEED), time.monotonic() + seconds, 0
    devices = [f"d{number:02}" for number in range(2, DEVICES + 1)]
    while time.monotonic() < end:
        request: dict[str, object] = {"op": "fault", "device": chance.choice(devices)}
        if chance.random() < 0.5:
            request |= {"kind": "none"}
        else:
            request |= {"kind": chance.choice(_FAULTS), "delay_s": chance.uniform(0.05, 1.5), "code": 4}
        await asyncio.to_thread(ask, bus.control, request)
        count += 1
        await asyncio.sleep(chance.uniform(0.2, 3.0))
    return count


async def _change(bus: Bus, watch: _Watch, seconds: float, limit_s: float) -> Sequence[float]:
    """Changes the register and waits for it, again and again; returns how long each took."""
    chance, end, took, value = random.Random(_SEED + 1), time.monotonic() + seconds, [], 100
    while time.monotonic() < end:
        value = value % 9999 + 1
        watch.wanted = value
        watch.is_seen.clear()
        begin = time.monotonic()
        await asyncio.to_thread(ask, bus.control, {"op": "set", "point": "d01/raw/1", "value": value})
        try:
            await asyncio.wait_for(watch.is_seen.wait(), limit_s)
            took.append(time.monotonic() - begin)
        except TimeoutError:
            took.append(limit_s)
        await asyncio.sleep(chance.uniform(0.0, 2.0))
    return took


async def _measure(bus: Bus, seconds: float) -> tuple[float, Sequence[float], int]:
    plan = compile_site(_site(bus)).plan
    blocks = blocks_of_port(plan, 0)
    budget = port_budget(plan.ports[0], plan.devices, blocks)
    [bound] = budget.alarms
    watch = _Watch(bound.block)
    poller = Poller(
        port_id="line",
        port=SerialLine(bus.settings),
        devices=plan.devices,
        blocks=blocks,
        sink=watch.take,
        line=plan.ports[0],
        budget=budget,
    )
    task = asyncio.create_task(poller.run())
    await asyncio.sleep(2 * _OTHERS_S)
    faults, took = await asyncio.gather(_break_others(bus, seconds), _change(bus, watch, seconds, 4 * bound.bound_s))
    poller.stop()
    await task
    return bound.bound_s, took, faults


def measure(folder: Path, baud: int, *, seconds: float) -> Result:
    """Measures one baud rate."""
    say(f"alarm point beside nine devices that fail, {baud} baud, {seconds:g} s")
    with Bus(folder, baud) as bus:
        bound_s, took, faults = asyncio.run(_measure(bus, seconds))
    ordered = sorted(took)
    return Result(
        title=f"Alarm point on a serial line whose other nine devices fail at random, {baud} baud",
        method=f"{len(took)} changes of its register in {seconds:g} s, {faults} changes of faults, seed {_SEED}",
        figures=(
            Figure(
                name="register to judgement, worst",
                unit="s",
                value=ordered[-1],
                target=bound_s,
                note="the budget's bound",
            ),
            Figure(name="register to judgement, median", unit="s", value=ordered[len(ordered) // 2]),
        ),
    )
