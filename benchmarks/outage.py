"""The broker is away for a while: what is lost, how soon live data are back, how fast the rest follows.

The agent polls ten times a second and seals every 0.2 s, so that a short outage leaves as many batches, of the
same size, as a long one at a usual rate.
"""

from __future__ import annotations

import time

from benchmarks.arrivals import Arrived, Delays, Message, batches, between, commit_us, committed, ticks
from benchmarks.bench_site import Load
from benchmarks.report import Figure, Result, say
from benchmarks.stage import Stage, now_us, wait_until
from contracts.batch import Lane
from contracts.topics import Channel


def run(stage: Stage, load: Load, *, outage_s: float, after_s: float) -> Result:
    """Stops the broker, starts it again, and looks at what came."""
    say(f"outage of {outage_s:g} s at {load.name}")
    agent = stage.agent(stage.agent_place(load))
    try:
        begin_us = now_us()
        wait_until(lambda: batches(between(stage.messages(), begin_us, now_us()), Lane.DATA), "the agent's first batch")
        time.sleep(3)
        down_us = now_us()
        stage.stop_broker()
        time.sleep(outage_s)
        stage.start_broker()
        up_us = now_us()
        time.sleep(after_s)
    finally:
        agent.stop()
    time.sleep(2)
    return Result(
        title=f"Broker away for {outage_s:g} s, {load.name}",
        method="one outage; broker killed and started again, agent and collector go on",
        figures=_figures(between(stage.messages(), begin_us, now_us()), load, down_us, up_us),
    )


def _figures(messages: list[Message], load: Load, down_us: int, up_us: int) -> tuple[Figure, ...]:
    after = between(messages, up_us, 1 << 62)
    connected_us = next((m.at_us for m in after if m.channel is Channel.ASK), None)
    data, receipts = batches(messages, Lane.DATA), committed(after)
    if connected_us is None:
        return (Figure(name="agent came back", unit="", value=0, target=1, is_least=True),)
    backlog = [a for a in data if down_us <= a.batch.header.sealed_us < connected_us]
    live = [a for a in data if a.batch.header.sealed_us >= connected_us]
    readings = sum(a.batch.header.readings for a in backlog)
    done = [commit_us(a, receipts) for a in backlog]
    known = [at for at in done if at is not None]
    drained_us = max(known) if known and len(known) == len(done) else None
    during = [a for a in live if drained_us is not None and a.batch.header.sealed_us < drained_us]
    first = min((a.at_us for a in data if a.at_us >= up_us), default=None)
    return (
        Figure(name="agent connected again after", unit="s", value=(connected_us - up_us) / 1e6),
        Figure(name="first data after the connection", unit="ms", value=_ms(connected_us, first)),
        Figure(
            name="first receipt after the connection",
            unit="ms",
            value=_ms(connected_us, min((at for lane in receipts.values() for at, _ in lane), default=None)),
            note="the collector has to find the broker again too",
        ),
        Figure(name="backlog", unit="readings", value=readings, note=f"{len(backlog)} batches"),
        Figure(name="backlog receipted after", unit="ms", value=_ms(connected_us, drained_us)),
        Figure(
            name="drain, to the receipt",
            unit="readings/s",
            value=None if drained_us is None else readings / ((drained_us - connected_us) / 1e6),
        ),
        Figure(
            name="live while it drains, sealed -> broker p95",
            unit="ms",
            value=Delays(tuple((a.at_us - a.batch.header.sealed_us) / 1000 for a in during)).at(0.95),
        ),
        Figure(name="ticks missing", unit="", value=missing_ticks(data, load), target=0),
        Figure(name="batches without a receipt", unit="", value=len(done) - len(known), target=0),
    )


def missing_ticks(data: list[Arrived], load: Load) -> int:
    """Returns how many ticks of the grid no batch has, between the first and the last of each block."""
    interval_us = round(load.interval_s * 1e6)
    seen: dict[int, set[int]] = {}
    for arrived in data:
        for block, at_us in ticks(arrived.batch):
            seen.setdefault(block, set()).add(at_us // interval_us)
    return sum(max(found) - min(found) + 1 - len(found) for found in seen.values())


def _ms(begin_us: int, end_us: int | None) -> float | None:
    return None if end_us is None else (end_us - begin_us) / 1000
