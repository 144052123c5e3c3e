"""The agent is killed again and again (SIGKILL): what had been sealed is never lost, what had not is counted.

A kill is what a crash of the process does; what a power cut does to the disk is tested with a file system of its own
in ``tests/edge_agent``.
"""

from __future__ import annotations

import random
import time

from benchmarks.arrivals import batches, between, commit_us, committed, ticks
from benchmarks.bench_site import Load
from benchmarks.report import Figure, Result, middle, say
from benchmarks.stage import Stage, now_us
from contracts.batch import Lane

_SEED = 11


def run(stage: Stage, load: Load, *, kills: int) -> Result:
    """Kills an agent at random moments; the last one ends in order and sends what is left."""
    say(f"{kills} kills at {load.name}")
    roll = random.Random(_SEED)
    site = stage.agent_place(load)
    begin_us = now_us()
    killed: list[int] = []
    for _ in range(kills):
        agent = stage.agent(site)
        try:
            time.sleep(roll.uniform(2.5, 6.0))
            agent.is_running()
        finally:
            agent.kill()
        killed.append(now_us())
    agent = stage.agent(site)
    try:
        time.sleep(8)
        agent.is_running()
    finally:
        agent.stop()
    time.sleep(2)
    messages = between(stage.messages(), begin_us, now_us())
    data, receipts = batches(messages, Lane.DATA), committed(messages)
    seqs: dict[bytes, set[int]] = {}
    for arrived in data:
        seqs.setdefault(arrived.batch.header.epoch, set()).add(arrived.batch.header.seq)
    holes = sum(max(found) - len(found) for found in seqs.values())
    open_ends = sum(commit_us(arrived, receipts) is None for arrived in data)
    sampled = sorted(at for arrived in data for _, at in ticks(arrived.batch))
    lost = [_unsealed(sampled, at, load) for at in killed]
    return Result(
        title=f"{kills} kills, {load.name}",
        method=f"SIGKILL 2.5 to 6 s after each start; seals every {load.seal_interval_s:g} s",
        figures=(
            Figure(name="sealed batches lost", unit="", value=holes, target=0),
            Figure(name="batches without a receipt at the end", unit="", value=open_ends, target=0),
            Figure(name="readings polled and not yet sealed, per kill, median", unit="", value=middle(lost)),
            Figure(
                name="readings polled and not yet sealed, worst",
                unit="",
                value=max(lost),
                target=load.readings_per_s * (load.seal_interval_s + load.interval_s),
                note="at most one seal interval",
            ),
        ),
    )


def _unsealed(sampled: list[int], killed_us: int, load: Load) -> float:
    """Readings due between the last sealed sample and a kill, by the grid."""
    interval_us = round(load.interval_s * 1e6)
    last = max((at for at in sampled if at < killed_us), default=killed_us)
    return float((killed_us // interval_us - last // interval_us) * load.devices * load.registers)
