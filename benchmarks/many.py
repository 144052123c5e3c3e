"""Many devices in one agent: what it costs, and whether every tick was asked in time.

No bare client runs beside it; the agent has one core, devices, broker and collector share the other.
"""

from __future__ import annotations

import time

from benchmarks.bench_site import Load
from benchmarks.pipeline import observe, wire_of
from benchmarks.report import Figure, Result, say
from benchmarks.stage import Stage

_GRACE_S = 5.0


def run(stage: Stage, load: Load, *, window_s: float, settle_s: float) -> Result:
    """Runs one agent over one window."""
    say(load.name)
    site = stage.agent_place(load)
    agent = stage.agent(site)
    try:
        window = observe(agent, load, settle_s=settle_s, window_s=window_s)
    finally:
        agent.stop()
    time.sleep(_GRACE_S)
    wire = wire_of(stage.messages(), window, load)
    cpu = window.cpu_us_per_reading * load.readings_per_s / 10_000
    return Result(
        title=f"One agent, {load.name}",
        method=f"one window of {window_s:g} s after {settle_s:g} s; each device has a connection of its own",
        figures=(
            Figure(name="CPU", unit="% of a core", value=cpu, target=70),
            Figure(name="CPU per reading", unit="us", value=window.cpu_us_per_reading),
            Figure(name="readings", unit="", value=wire.readings, note="in the window"),
            Figure(name="readings not good", unit="", value=wire.not_good, target=0, note="a missed deadline is one"),
            Figure(name="ticks missing", unit="", value=wire.missing_ticks, target=0),
            Figure(name="PSS", unit="MB", value=window.memory.pss_mb),
            Figure(name="wire per reading", unit="bytes", value=wire.data_bytes / max(wire.readings, 1)),
        ),
    )
