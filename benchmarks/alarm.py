"""From a register past its limit to the alarm at the broker, and to the collector's commit.

A register of one device is written at a moment that has nothing to do with the agent's grid.  The agent sees it
at its next poll, judges, seals, commits (FULL), publishes.  Counted from the middle of the request that read it.
"""

from __future__ import annotations

import random
import time

from benchmarks.arrivals import Arrived, Delays, batches, between, commit_us, committed
from benchmarks.bench_site import ALARM_POINT, ALARM_VALUE, Load
from benchmarks.report import Figure, Result, say
from benchmarks.stage import Stage, now_us, wait_until
from contracts.batch import AlarmEvent, Lane

RELEASE = 0xFFFF
#: seeds the moments of the writes, so that two runs do the same
_SEED = 7


def run(stage: Stage, load: Load, *, alarms: int) -> Result:
    """Raises alarms one by one and finds each at the broker and in a receipt."""
    say(f"alarms: {alarms} at {load.name}")
    roll = random.Random(_SEED)
    agent = stage.agent(stage.agent_place(load))
    written: list[tuple[str, int]] = []
    try:
        begin_us = now_us()
        wait_until(lambda: batches(between(stage.messages(), begin_us, now_us()), Lane.DATA), "the agent's first batch")
        for number in range(alarms):
            device = number % load.devices
            time.sleep(roll.uniform(0.1, 0.9) * load.interval_s)
            at_us = stage.write_register(device, ALARM_POINT - 1, ALARM_VALUE)
            written.append((f"d{device + 1:02}/raw/{ALARM_POINT}", at_us))
            time.sleep(1.2 * load.interval_s)
            stage.write_register(device, ALARM_POINT - 1, RELEASE)
        time.sleep(2 * load.interval_s + 1)
    finally:
        agent.stop()
    messages = between(stage.messages(), begin_us, now_us())
    receipts = committed(messages)
    first: dict[bytes, tuple[AlarmEvent, Arrived, int | None]] = {}
    for arrived in batches(messages, Lane.ALARM):
        for event in arrived.batch.events:
            # An event is sealed twice when the disk did not answer in time; the first to arrive counts.
            if event.state == "active" and event.id == event.raised_by:
                first.setdefault(event.id, (event, arrived, commit_us(arrived, receipts)))
    raised = list(first.values())
    to_broker = Delays(tuple((arrived.at_us - event.sampled_us) / 1000 for event, arrived, _ in raised))
    to_commit = Delays(tuple((done - event.sampled_us) / 1000 for event, _, done in raised if done is not None))
    from_write = Delays(tuple(_from_writes(written, [(e.point, e.sampled_us, a.at_us) for e, a, _ in raised])))
    return Result(
        title=f"Alarms, {load.name}",
        method=f"{alarms} alarms one by one at random moments; limits on every point, FULL, QoS 1",
        figures=(
            Figure(name="poll that saw it -> broker p50", unit="ms", value=to_broker.p50, target=15),
            Figure(name="poll that saw it -> broker p95", unit="ms", value=to_broker.at(0.95)),
            Figure(name="poll that saw it -> broker, worst", unit="ms", value=to_broker.at(1)),
            Figure(name="poll that saw it -> collector's receipt p50", unit="ms", value=to_commit.p50),
            Figure(name="poll that saw it -> collector's receipt p95", unit="ms", value=to_commit.at(0.95)),
            Figure(
                name="register written -> broker p50",
                unit="ms",
                value=from_write.p50,
                note=f"waits for a poll, at most {load.interval_s:g} s",
            ),
            Figure(name="alarms raised", unit="", value=len(raised), target=alarms, is_least=True),
        ),
    )


def _from_writes(written: list[tuple[str, int]], raised: list[tuple[str, int, int]]) -> list[float]:
    found = []
    for point, written_us in written:
        after = [at for key, sampled_us, at in raised if key == point and sampled_us >= written_us - 5000]
        if after:
            found.append((min(after) - written_us) / 1000)
    return found
