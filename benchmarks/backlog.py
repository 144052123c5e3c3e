"""An agent that starts on a large backlog: how soon it polls, what it takes, how fast history goes, how live it stays.

    1  an agent with an empty spool, for a while           what is normal here
    2  a spool filled with signed history (``history.py``)
    3  the agent starts on it: one window from its connect, alarms set off all the while
    4  the broker is away for some seconds, history still waits
    5  the floor: the same rows read and published, no more (``bare_drain.py``)

Broker, collector, recorder and devices share core 1; the rate of draining is mostly theirs.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from benchmarks.arrivals import Delays, Message, batches, between, body_of, committed, ticks
from benchmarks.bench_site import ALARM_POINT, ALARM_VALUE, Load
from benchmarks.history import History, prepare
from benchmarks.procfs import Memory, memory
from benchmarks.report import Figure, Result, say
from benchmarks.stage import MEASURED_CPU, REPOSITORY, BenchError, Child, Stage, now_us, wait_until
from contracts.batch import Header, Lane
from contracts.fields import Fields, unpack
from contracts.keys import load_or_create
from contracts.topics import Channel
from edge_agent.clock import monotonic_us
from edge_agent.plan_store import PlanStore
from edge_agent.state_dir import SPOOL
from simulators.tcp_bank import RELEASE

#: polls of every block in one batch of history: with polls of one second and the usual seals
_TICKS = 2
#: an alarm stands for so many intervals
_STANDS = 1.3
#: between two looks at the agent's memory (s)
_LOOK_S = 1.0
_AWAY_S, _AFTER_S = 5.0, 12.0
_LIMIT_S = 30.0
_library: Any = msgpack


class Heard:
    """What the recorder writes down, read once: while history is drained its file grows by megabytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = 0
        self.messages: list[Message] = []

    def news(self) -> list[Message]:
        """Returns what came since the last call."""
        found, read = [], 0
        with self._path.open("rb") as file:
            file.seek(self._place)
            unpacker = _library.Unpacker(file, raw=False, max_buffer_size=1 << 30)
            for at_us, topic, payload in unpacker:
                found.append(Message(at_us=at_us, topic=topic, payload=payload))
                read = unpacker.tell()  # of whole records: one that is being written is for the next call
        self._place += read
        self.messages += found
        return found

    def since(self, begin_us: int) -> list[Message]:
        """Returns everything that came from then on."""
        self.news()
        return between(self.messages, begin_us, 1 << 62)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One agent over one window from its connect."""

    first_poll_ms: float
    first_live_ms: float | None
    #: sealed to broker, of data sealed in the window, ms
    live: Delays
    #: poll that saw it to broker, ms
    alarms: Delays
    set_off: int
    memory: tuple[Memory, ...]
    #: monotonic us
    connected_us: int
    end_us: int

    @property
    def rss_mb(self) -> float:
        return max(item.rss_mb for item in self.memory)

    @property
    def pss_mb(self) -> float:
        return max(item.pss_mb for item in self.memory)


def run(stage: Stage, load: Load, *, size: int, normal_s: float, drain_s: float, floor_s: float) -> Result:
    """Plays the five parts."""
    heard = Heard(stage.records)
    say(f"backlog: {load.name} with an empty spool")
    site = stage.agent_place(load)
    PlanStore(site, site.parent / "state").choose(monotonic_us())
    agent = stage.agent(site)
    try:
        normal = _watch(stage, heard, agent, load, normal_s, history=b"")
    finally:
        agent.stop()
    site = stage.agent_place(load)
    say(f"backlog: making {size / 1e6:,.0f} MB of history")
    history = prepare(site, size, signer=load_or_create(stage.folder / "agent.pem"), ticks=_TICKS, interval_s=1.0)
    say(f"backlog: {history.batches:,} batches in {history.took_s:.0f} s; the agent starts on them")
    os.sync()
    agent = stage.agent(site)
    try:
        seen = _watch(stage, heard, agent, load, drain_s, history=history.epoch)
        load_there = os.getloadavg()
        rate, late_rate = _rates(heard, history, seen)
        left = history.batches - _receipted(heard.messages, history, now_us())
        again_ms = _away(stage, heard, agent, history)
    finally:
        agent.stop()
    say("backlog: the floor")
    floor = _floor(stage, site.parent / "state" / SPOOL, floor_s)
    return Result(
        title=f"A backlog of {size / 1e6:,.0f} MB, {history.batches * history.readings:,} readings, at {load.name}",
        method=f"one window of {drain_s:g} s from the connect, {normal_s:g} s with an empty spool as the floor; batches"
        f" of {history.readings} readings, {history.size / history.batches / history.readings:.3g} bytes each;"
        f" load of the machine {load_there[0]:.1f}",
        figures=(
            Figure(
                name="fork to first poll", unit="ms", value=seen.first_poll_ms, floor=normal.first_poll_ms, target=2000
            ),
            Figure(name="most RSS while draining", unit="MB", value=seen.rss_mb, floor=normal.rss_mb, target=60),
            Figure(name="most PSS while draining", unit="MB", value=seen.pss_mb, floor=normal.pss_mb),
            Figure(
                name="connect to first live batch at the broker",
                unit="ms",
                value=seen.first_live_ms,
                floor=normal.first_live_ms,
                target=2000,
            ),
            Figure(
                name=f"the same after {_AWAY_S:g} s without a broker",
                unit="ms",
                value=again_ms,
                target=2000,
                note=f"{left:,} batches of history waited" if left else "no history waited any more",
            ),
            Figure(
                name="drain, to receipts",
                unit="readings/s",
                value=rate,
                floor=floor,
                target=100_000,
                is_least=True,
                note="floor: published, no receipts",
            ),
            Figure(name="drain in the second half of the window", unit="readings/s", value=late_rate, floor=floor),
            Figure(name="live, sealed -> broker p50", unit="ms", value=seen.live.p50, floor=normal.live.p50),
            Figure(
                name="live, sealed -> broker p95",
                unit="ms",
                value=seen.live.at(0.95),
                floor=normal.live.at(0.95),
                target=2 * (normal.live.at(0.95) or 0),
                note=f"{len(seen.live.values)} batches",
            ),
            Figure(name="live, sealed -> broker, worst", unit="ms", value=seen.live.at(1), floor=normal.live.at(1)),
            Figure(
                name="alarms, poll that saw it -> broker p95",
                unit="ms",
                value=seen.alarms.at(0.95),
                floor=normal.alarms.at(0.95),
            ),
            Figure(
                name="alarms at the broker",
                unit="",
                value=len(seen.alarms.values),
                target=seen.set_off,
                is_least=True,
            ),
        ),
    )


# -- one agent -----------------------------------------------------------------------


def _watch(stage: Stage, heard: Heard, agent: Child, load: Load, seconds: float, *, history: bytes) -> Seen:
    """Watches an agent from its connect on; what is not of epoch ``history`` is live."""
    connected_us = _connect(heard, agent)
    end_us = connected_us + round(seconds * 1e6)
    looks: list[Memory] = []
    device = 0
    while (now := now_us()) < end_us:
        agent.is_running()
        looks.append(memory(agent.pid))
        # The last ones must have time to be polled and sent within the window.
        if now < end_us - 4_000_000 * load.interval_s:
            stage.write_register(device % load.devices, ALARM_POINT - 1, ALARM_VALUE)
            time.sleep(_STANDS * load.interval_s)
            stage.write_register(device % load.devices, ALARM_POINT - 1, RELEASE)
            device += 1
        time.sleep(max(0.05, _LOOK_S - _STANDS * load.interval_s))
    time.sleep(1)
    own = heard.since(agent.started_us)
    mine = [item for item in _data(own) if item[1].epoch != history]
    first_us = _first_poll_us(own, history, agent.started_us)
    live = [(at, header) for at, header in mine if connected_us <= header.sealed_us < end_us - 1_000_000]
    events: dict[bytes, float] = {}
    for arrived in batches((m for m in own if m.channel is Channel.ALARM), Lane.ALARM):
        for event in arrived.batch.events:
            if event.state == "active" and event.id == event.raised_by:
                events.setdefault(event.id, (arrived.at_us - event.sampled_us) / 1000)
    return Seen(
        first_poll_ms=(first_us - agent.started_us) / 1000,
        first_live_ms=min(((at - connected_us) / 1000 for at, _ in mine), default=None),
        live=Delays(tuple((at - header.sealed_us) / 1000 for at, header in live)),
        alarms=Delays(tuple(events.values())),
        set_off=device,
        memory=tuple(looks),
        connected_us=connected_us,
        end_us=end_us,
    )


def _connect(heard: Heard, agent: Child) -> int:
    """Returns when an agent's first question passed the broker."""
    found: list[Message] = []

    def came() -> bool:
        agent.is_running()
        found.extend(m for m in heard.news() if m.channel is Channel.ASK and m.at_us >= agent.started_us)
        return bool(found)

    wait_until(came, "the agent's connect", limit_s=_LIMIT_S)
    return found[0].at_us


def _first_poll_us(messages: Iterable[Message], history: bytes, started_us: int) -> int:
    """Returns the oldest sample time in the first live batches."""
    mine = [m for m in messages if m.channel is Channel.DATA and _header(m.payload).epoch != history][:4]
    found = [at for arrived in batches(mine, Lane.DATA) for _, at in ticks(arrived.batch) if at >= started_us]
    if not found:
        raise BenchError("no live batch came within the window")
    return min(found)


def _away(stage: Stage, heard: Heard, agent: Child, history: History) -> float | None:
    """Takes the broker away; returns from the next connect to the first live batch, ms."""
    stage.stop_broker()
    time.sleep(_AWAY_S)
    stage.start_broker()
    up_us = now_us()
    wait_until(
        lambda: agent.is_running() and any(m.channel is Channel.ASK and m.at_us >= up_us for m in heard.news()),
        "the agent's next connect",
        limit_s=_LIMIT_S,
    )
    time.sleep(_AFTER_S)
    after = heard.since(up_us)
    connected_us = next(m.at_us for m in after if m.channel is Channel.ASK)
    live = [at for at, header in _data(after) if header.epoch != history.epoch and at >= connected_us]
    return min(((at - connected_us) / 1000 for at in live), default=None)


# -- history -------------------------------------------------------------------------


def _rates(heard: Heard, history: History, seen: Seen) -> tuple[float, float | None]:
    """Returns readings/s to receipts over the window, and over its second half."""
    messages = heard.since(seen.connected_us)
    middle_us = (seen.connected_us + seen.end_us) // 2
    half, whole = (_receipted(messages, history, at_us) for at_us in (middle_us, seen.end_us))
    if whole == history.batches:
        # It was over before the window was.
        last_us = next(at for at, count in _covered(messages, history) if count == whole)
        return whole * history.readings / ((last_us - seen.connected_us) / 1e6), None
    seconds = (seen.end_us - seen.connected_us) / 1e6
    return whole * history.readings / seconds, (whole - half) * history.readings / (seconds / 2)


def _receipted(messages: Sequence[Message], history: History, until_us: int) -> int:
    """Returns how many batches of history receipts had covered by then."""
    return max((count for at, count in _covered(messages, history) if at < until_us), default=0)


def _covered(messages: Iterable[Message], history: History) -> list[tuple[int, int]]:
    found = committed(messages).get((history.epoch, Lane.DATA), [])
    return [(at, sum(last - first + 1 for first, last in ranges)) for at, ranges in found]


def _data(messages: Iterable[Message]) -> list[tuple[int, Header]]:
    """Returns (arrival us, header) of the first copy of every data batch."""
    found: dict[tuple[bytes, int], tuple[int, Header]] = {}
    for message in messages:
        if message.channel is Channel.DATA:
            header = _header(message.payload)
            found.setdefault((header.epoch, header.seq), (message.at_us, header))
    return list(found.values())


def _header(envelope: bytes) -> Header:
    return Header.from_wire(Fields("batch", unpack(body_of(envelope)), 2).raw())


def _floor(stage: Stage, spool: Path, seconds: float) -> float:
    python = str(stage.python.executable)
    command = [python, "-m", "benchmarks.bare_drain", str(spool), str(stage.broker_port), str(seconds)]
    environment = stage.python.environment(REPOSITORY)
    child = Child("bare-drain", command, folder=stage.folder, cpu=MEASURED_CPU, environment=environment)
    try:
        wait_until(lambda: "]" in child.log.read_text(errors="replace"), "the floor", limit_s=seconds + _LIMIT_S)
    finally:
        child.stop()
    readings, took_s = json.loads(child.log.read_text().splitlines()[-1])
    return float(readings / took_s)
