"""The whole path beside the bare client: registers, agent, mosquitto, collector, receipt.

Agent and bare client take turns on one core; every other process is on the other one.  Each turn is a fresh
process that settles before its window begins.  Reported are medians over the windows.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass

from benchmarks.arrivals import (
    BARE_TOPIC,
    Delays,
    Message,
    bare_ticks,
    batches,
    between,
    commit_us,
    committed,
    not_good,
    ticks,
)
from benchmarks.bench_site import Load
from benchmarks.procfs import Memory, memory, usage
from benchmarks.report import Figure, Result, middle, say
from benchmarks.stage import Child, Stage, now_us
from contracts.batch import Lane
from contracts.topics import Channel

_MONTH_S = 30 * 86_400
#: readings in the last window may still be on their way when it ends
_GRACE_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What one process did in one window."""

    cpu_us_per_reading: float
    switches_per_s: float
    write_bytes_per_reading: float
    memory: Memory
    begin_us: int
    end_us: int


def _turn(child: Child, load: Load, *, settle_s: float, window_s: float) -> Window:
    try:
        return observe(child, load, settle_s=settle_s, window_s=window_s)
    finally:
        child.stop()


def observe(child: Child, load: Load, *, settle_s: float, window_s: float) -> Window:
    """Waits until a process has settled, then watches it for a window."""
    time.sleep(settle_s)
    child.is_running()
    begin_us, before = now_us(), usage(child.pid)
    time.sleep(window_s)
    child.is_running()
    end_us, after = now_us(), usage(child.pid)
    used, took_s = after.since(before), (end_us - begin_us) / 1e6
    readings = load.readings_per_s * took_s
    return Window(
        cpu_us_per_reading=used.cpu_ns / 1000 / readings,
        switches_per_s=used.voluntary_switches / took_s,
        write_bytes_per_reading=used.write_bytes / readings,
        memory=memory(child.pid),
        begin_us=begin_us,
        end_us=end_us,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """What passed the broker in one window of the agent."""

    readings: int
    not_good: int
    #: ticks that the grid expects between the first and the last one seen, and that no batch has
    missing_ticks: int
    data_bytes: int
    #: everything the agent published
    up_bytes: int
    #: everything published to it
    down_bytes: int
    to_broker: Delays
    sealed_to_broker: Delays
    to_commit: Delays


def wire_of(messages: list[Message], window: Window, load: Load) -> Wire:
    """Takes a window's messages apart; batches are counted by their arrival."""
    own = between(messages, window.begin_us, window.end_us)
    data = batches(own, Lane.DATA)
    receipts = committed(between(messages, window.begin_us, window.end_us + int(_GRACE_S * 1e6)))
    seen: dict[int, set[int]] = defaultdict(set)
    to_broker, to_commit = [], []
    interval_us = round(load.interval_s * 1e6)
    for arrived in data:
        done_us = commit_us(arrived, receipts)
        for block, at_us in ticks(arrived.batch):
            seen[block].add(at_us // interval_us)
            to_broker.append((arrived.at_us - at_us) / 1000)
            if done_us is not None:
                to_commit.append((done_us - at_us) / 1000)
    return Wire(
        readings=sum(arrived.batch.header.readings for arrived in data),
        not_good=sum(not_good(arrived.batch) for arrived in data),
        missing_ticks=sum(max(found) - min(found) + 1 - len(found) for found in seen.values()),
        data_bytes=sum(arrived.size for arrived in data),
        up_bytes=sum(len(m.payload) for m in own if "/up/" in m.topic or m.channel is Channel.STATUS),
        down_bytes=sum(len(m.payload) for m in own if "/down/" in m.topic),
        to_broker=Delays(tuple(to_broker)),
        sealed_to_broker=Delays(tuple((a.at_us - a.batch.header.sealed_us) / 1000 for a in data)),
        to_commit=Delays(tuple(to_commit)),
    )


def run(stage: Stage, load: Load, *, rounds: int, window_s: float, settle_s: float, cpu_target: float) -> Result:
    """Lets agent and bare client take turns and compares them."""
    site = stage.agent_place(load)
    own: list[Window] = []
    floor: list[Window] = []
    for turn in range(rounds):
        say(f"{load.name}: round {turn + 1} of {rounds}")
        own.append(_turn(stage.agent(site), load, settle_s=settle_s, window_s=window_s))
        floor.append(_turn(stage.bare_client(load), load, settle_s=settle_s, window_s=window_s))
    time.sleep(_GRACE_S)
    messages = stage.messages()
    wires = [wire_of(messages, window, load) for window in own]
    bare_bytes, bare_readings = [], []
    for window in floor:
        seen = [m for m in between(messages, window.begin_us, window.end_us) if m.topic == BARE_TOPIC]
        bare_bytes.append(sum(len(message.payload) for message in seen))
        bare_readings.append(bare_ticks(seen) * load.registers)
    method = (
        f"{rounds} windows of {window_s:g} s each, after {settle_s:g} s; limits on every point, FULL, Ed25519, QoS 1, "
        f"seals every {load.seal_interval_s:g} s; medians"
    )
    return Result(
        title=f"Pipeline, {load.name}",
        method=method,
        figures=_figures(own, floor, wires, bare_bytes, bare_readings, cpu_target),
    )


def _figures(
    own: list[Window],
    floor: list[Window],
    wires: list[Wire],
    bare_bytes: list[int],
    bare_readings: list[int],
    cpu_target: float,
) -> tuple[Figure, ...]:
    def both(name: str, unit: str, of: str, target: float | None = None, note: str = "") -> Figure:
        return Figure(
            name=name,
            unit=unit,
            value=middle(getattr(window, of) for window in own),
            floor=middle(getattr(window, of) for window in floor),
            target=target,
            note=note,
        )

    def memory_of(name: str, of: str, target: float | None = None) -> Figure:
        return Figure(
            name=name,
            unit="MB",
            value=middle(getattr(window.memory, of) for window in own),
            floor=middle(getattr(window.memory, of) for window in floor),
            target=target,
        )

    def wire(name: str, unit: str, values: list[float | None], note: str = "") -> Figure:
        return Figure(name=name, unit=unit, value=middle(values), note=note)

    per_reading = [w.data_bytes / w.readings for w in wires if w.readings]
    spans = [(window.end_us - window.begin_us) / 1e6 for window in own]
    up = [w.up_bytes / span for w, span in zip(wires, spans, strict=True)]
    down = [w.down_bytes / span for w, span in zip(wires, spans, strict=True)]
    return (
        both("CPU per reading", "us", "cpu_us_per_reading", cpu_target),
        memory_of("PSS", "pss_mb", 40),
        memory_of("USS", "uss_mb"),
        memory_of("RSS", "rss_mb"),
        Figure(
            name="wire per reading",
            unit="bytes",
            value=middle(per_reading),
            floor=middle(size / count for size, count in zip(bare_bytes, bare_readings, strict=True) if count),
            target=4,
            note="MQTT payload of data batches",
        ),
        wire("up", "MB/month", [rate * _MONTH_S / 1e6 for rate in up], "MQTT payloads, all topics"),
        wire("down", "MB/month", [rate * _MONTH_S / 1e6 for rate in down], "receipts, mostly"),
        both("written per reading", "bytes", "write_bytes_per_reading", 60, "pages made dirty by the process"),
        both("voluntary switches", "/s", "switches_per_s"),
        wire("sealed -> broker p50", "ms", [w.sealed_to_broker.p50 for w in wires], "durable commit included"),
        wire("sealed -> broker p95", "ms", [w.sealed_to_broker.at(0.95) for w in wires]),
        wire("register -> broker p50", "ms", [w.to_broker.p50 for w in wires], "half the seal interval by design"),
        wire("register -> collector's commit p50", "ms", [w.to_commit.p50 for w in wires], "receipt seen"),
        wire("readings", "", [float(w.readings) for w in wires], "in one window"),
        wire("readings not good", "", [float(w.not_good) for w in wires]),
        wire("ticks missing", "", [float(w.missing_ticks) for w in wires]),
    )
