"""From starting the process to its first poll, with the plan on disk and without; and what it does when idle."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from benchmarks.arrivals import batches, between, ticks
from benchmarks.bench_site import Load
from benchmarks.procfs import usage
from benchmarks.report import Figure, Result, middle, say
from benchmarks.stage import BenchError, Stage, now_us, wait_until
from contracts.batch import Lane

#: with it a missing first row would be noticed within this time (s)
_LIMIT_S = 20.0


def run(stage: Stage, load: Load, *, warm: int, cold: int) -> Result:
    """Starts an agent again and again; each is ended when its first batch has come."""
    say(f"starts: {cold} cold and {warm} warm at {load.name}")
    site = stage.agent_place(load)
    plan = site.parent / "state" / "plan.bin"
    colds, warms = [], []
    for _ in range(cold):
        plan.unlink(missing_ok=True)
        colds.append(_start(stage, site))
    for number in range(warm):
        # At another part of the polls' grid each time, evenly spread.
        time.sleep((number / warm * load.interval_s - time.monotonic()) % load.interval_s)
        warms.append(_start(stage, site))
    return Result(
        title=f"Start, {load.name}",
        method=f"{warm} starts with an unchanged plan, {cold} that compile; from fork to the first request's middle",
        figures=(
            Figure(name="plan on disk: ready, median", unit="ms", value=middle(ready for ready, _ in warms)),
            Figure(name="plan on disk: first poll, median", unit="ms", value=middle(p for _, p in warms), target=600),
            Figure(name="plan on disk: first poll, worst", unit="ms", value=max(poll for _, poll in warms)),
            Figure(name="compiled first: ready, median", unit="ms", value=middle(ready for ready, _ in colds)),
            Figure(name="compiled first: first poll, median", unit="ms", value=middle(poll for _, poll in colds)),
        ),
    )


def _start(stage: Stage, site: Path) -> tuple[float, float]:
    """Starts an agent once; returns milliseconds until it says that it is ready, and until its first poll."""
    address = stage.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(address))
        notified.settimeout(_LIMIT_S)
        agent = stage.agent(site, notify=address)
        try:
            while b"READY=1" not in notified.recv(4096):
                pass
            ready_us = now_us()

            def came() -> bool:
                agent.is_running()
                return bool(_own_ticks(stage, agent.started_us))

            wait_until(came, "the agent's first batch", limit_s=_LIMIT_S)
        except TimeoutError:
            raise BenchError("the agent did not say that it is ready") from None
        finally:
            agent.stop()
            address.unlink()
    first_us = min(_own_ticks(stage, agent.started_us))
    return (ready_us - agent.started_us) / 1000, (first_us - agent.started_us) / 1000


def _own_ticks(stage: Stage, begin_us: int) -> list[int]:
    """Returns the sample times that lie after a start; an earlier agent's backlog comes too."""
    data = batches(between(stage.messages(), begin_us, now_us()), Lane.DATA)
    return [at for arrived in data for _, at in ticks(arrived.batch) if at >= begin_us]


def idle(stage: Stage, *, devices: int, window_s: float) -> Result:
    """Watches an agent that has next to nothing to do: one poll per device in ten minutes."""
    say(f"idle for {window_s:g} s")
    load = Load(devices=devices, interval_s=600)
    agent = stage.agent(stage.agent_place(load))
    try:
        time.sleep(6)
        agent.is_running()
        before = usage(agent.pid)
        time.sleep(window_s)
        used = usage(agent.pid).since(before)
    finally:
        agent.stop()
    return Result(
        title=f"Idle, {devices} devices polled every 600 s",
        method=f"one window of {window_s:g} s, connected to the broker, nothing due",
        figures=(
            Figure(name="voluntary switches", unit="/s", value=used.voluntary_switches / window_s),
            Figure(name="CPU", unit="% of a core", value=used.cpu_ns / 1e7 / window_s),
        ),
    )
