"""Bytes that reach the disk for one reading: what wears a card.

Agent and bare client write to a file system of their own in a loop device, whose counter is the disk's and includes
the journal of the file system; see ``disk.py`` for what is counted where that cannot be made.
"""

from __future__ import annotations

import time

from benchmarks.bench_site import Load
from benchmarks.disk import OwnDisk, ProcessWrites
from benchmarks.report import Figure, Result, say
from benchmarks.stage import Child, Stage

_DAY_S = 86_400


def run(stage: Stage, load: Load, *, window_s: float, settle_s: float) -> Result:
    """Watches one agent and one bare client."""
    say(f"bytes written at {load.name}")
    try:
        with OwnDisk(stage.folder) as disk:
            own = _bytes_per_reading(
                stage.agent(stage.agent_place(load, disk=disk.path)), disk, load, window_s=window_s, settle_s=settle_s
            )
            floor = _bytes_per_reading(
                stage.bare_client(load, disk=disk.path), disk, load, window_s=window_s, settle_s=settle_s
            )
        note = "sectors of an own ext4 on a loop device"
    except OSError as error:
        say(f"no disk of its own ({error}): counting the pages that the process makes dirty")
        own = _bytes_per_reading(stage.agent(stage.agent_place(load)), None, load, window_s=window_s, settle_s=settle_s)
        floor = _bytes_per_reading(stage.bare_client(load), None, load, window_s=window_s, settle_s=settle_s)
        note = "pages made dirty by the process, no file system journal"
    return Result(
        title=f"Bytes written, {load.name}",
        method=f"one window of {window_s:g} s each; {note}",
        figures=(
            Figure(name="written per reading", unit="bytes", value=own, floor=floor, target=60),
            Figure(
                name="written per day",
                unit="MB",
                value=own * load.readings_per_s * _DAY_S / 1e6,
                floor=floor * load.readings_per_s * _DAY_S / 1e6,
            ),
        ),
    )


def _bytes_per_reading(child: Child, disk: OwnDisk | None, load: Load, *, window_s: float, settle_s: float) -> float:
    counter = disk or ProcessWrites(child.pid)
    try:
        time.sleep(settle_s)
        child.is_running()
        begin, before = time.monotonic(), counter.written()
        time.sleep(window_s)
        child.is_running()
        written, took_s = counter.written() - before, time.monotonic() - begin
    finally:
        child.stop()
    return written / (load.readings_per_s * took_s)
