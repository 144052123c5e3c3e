"""Bytes that reach the disk for one reading: what wears a card.

Agent and bare client write to a file system of their own in a loop device, whose counter is the disk's and includes
the journal of the file system; see ``disk.py`` for what is counted where that cannot be made.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.bench_site import Load
from benchmarks.disk import OwnDisk, ProcessWrites
from benchmarks.report import Figure, Result, say
from benchmarks.stage import Child, Stage

_DAY_S = 86_400
#: of SQLite's log (fileformat2.html, section 4.1), and of the file system
_LOG_HEAD, _FRAME_HEAD, _BLOCK = 32, 24, 4096


def run(
    stage: Stage,
    load: Load,
    *,
    window_s: float,
    settle_s: float,
    target: float | None = 60,
    day_target_mb: float | None = None,
) -> Result:
    """Watches one agent and one bare client.

    Args:
        target: bytes per reading at most.
        day_target_mb: MB a day at most.
    """
    say(f"bytes written at {load.name}")
    try:
        with OwnDisk(stage.folder) as disk:
            site = stage.agent_place(load, disk=disk.path)
            own = _bytes_per_reading(
                stage.agent(site, log_folder=site.parent),
                disk,
                load,
                log=site.parent / "state" / "spool.db-wal",
                window_s=window_s,
                settle_s=settle_s,
            )
            bare = stage.bare_client(load, disk=disk.path)
            time.sleep(1)
            log = next(disk.path.glob("bare-*/bare.db-wal"))
            floor = _bytes_per_reading(bare, disk, load, log=log, window_s=window_s, settle_s=settle_s)
        note = "sectors of an own ext4 on a loop device, the agent's log and what SQLite's log will cost in it"
    except OSError as error:
        say(f"no disk of its own ({error}): counting the pages that the process makes dirty")
        own = _bytes_per_reading(stage.agent(stage.agent_place(load)), None, load, window_s=window_s, settle_s=settle_s)
        floor = _bytes_per_reading(stage.bare_client(load), None, load, window_s=window_s, settle_s=settle_s)
        note = "pages made dirty by the process, no file system journal"
    return Result(
        title=f"Bytes written, {load.name}",
        method=f"one window of {window_s:g} s each; {note}",
        figures=(
            Figure(name="written per reading", unit="bytes", value=own, floor=floor, target=target),
            Figure(
                name="written per day",
                unit="MB",
                value=own * load.readings_per_s * _DAY_S / 1e6,
                floor=floor * load.readings_per_s * _DAY_S / 1e6,
                target=day_target_mb,
            ),
        ),
    )


def _bytes_per_reading(
    child: Child, disk: OwnDisk | None, load: Load, *, log: Path | None = None, window_s: float, settle_s: float
) -> float:
    """Returns what one process writes for one reading.

    Args:
        log: SQLite's, where that lies on the disk.
    """
    counter = disk or ProcessWrites(child.pid)
    born = time.monotonic()
    try:
        time.sleep(settle_s)
        child.is_running()
        begin, before = time.monotonic(), counter.written()
        time.sleep(window_s)
        child.is_running()
        after, end = counter.written(), time.monotonic()
        waiting = 0 if log is None else bytes_in_log(log.read_bytes())
    finally:
        child.stop()
    return (after - before) / (load.readings_per_s * (end - begin)) + waiting / (load.readings_per_s * (end - born))


def bytes_in_log(log: bytes) -> int:
    """Returns what the disk will write when a log is moved into its file: the blocks that its pages lie in.

    A window is shorter than that takes to come.  It is the whole of the log since its last beginning; pages that are
    written again and again count once, so that a short log says rather too much for one reading.
    """
    page, salts = int.from_bytes(log[8:12], "big"), log[16:24]
    size = _FRAME_HEAD + page
    blocks: set[int] = set()
    for at in range(_LOG_HEAD, len(log) - size + 1, size):
        if log[at + 8 : at + 16] != salts:
            break
        blocks.add((int.from_bytes(log[at : at + 4], "big") - 1) * page // _BLOCK)
    return len(blocks) * _BLOCK
