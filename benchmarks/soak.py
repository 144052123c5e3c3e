"""Hours of ordinary life with things that go wrong, and what they leave behind: ``make soak`` (``HOURS=8 make soak``).

    python -m benchmarks.soak [--hours H] [--devices N] [--every SECONDS]

One agent and one collector live through it; every so often something happens to them (the table ``SCENES``).
It prints the slope of the agent's memory after a warm-up, what files grew, the worst lateness of a
poll, ticks that are missing, and whether the collector's evidence still verifies.
Status 1 when a reading is missing, the evidence is false, or a program ended by itself.

A slope is a least-squares line through samples of one run on one machine: two hours say more than ten minutes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from benchmarks.arrivals import batches, ticks
from benchmarks.bench_site import ALARM_POINT, ALARM_VALUE, Load
from benchmarks.procfs import mapped, memory
from benchmarks.report import Figure, Result, lines_of, machine, say, to_json
from benchmarks.stage import OTHER_CPU, REPOSITORY, BenchError, Child, Stage, wait_until
from contracts.batch import Lane

SLOPE_TARGET = 1.0
_SAMPLE_EVERY_S = 10.0
#: of the run, before slopes count
_WARM_UP_SHARE = 0.2
_LEAST_WARM_UP_S = 300.0


@dataclass(slots=True)
class Play:
    """What runs, and what was sampled of it."""

    stage: Stage
    agent: Child
    site: Path
    #: seconds from the beginning, MB: of the agent and of the collector
    agent_mb: list[tuple[float, float]] = field(default_factory=list)
    collector_mb: list[tuple[float, float]] = field(default_factory=list)
    happened: dict[str, int] = field(default_factory=dict)
    #: seconds from the beginning, MB by kind of mapping: of the agent
    mapped: list[tuple[float, dict[str, float]]] = field(default_factory=list)


def _nothing(play: Play) -> None:
    """Ordinary life."""


def _broker_away(play: Play) -> None:
    play.stage.stop_broker()
    time.sleep(8)
    play.stage.start_broker()


def _collector_killed(play: Play) -> None:
    stage = play.stage
    stage.collector.kill()
    time.sleep(3)
    command = [sys.executable, "-m", "collector.cli", "serve", "--data", str(stage.folder / "collector")]
    stage.collector = Child("collector", command, folder=stage.folder, cpu=OTHER_CPU)


def _alarms_come_and_go(play: Play) -> None:
    for value in (ALARM_VALUE, 100, ALARM_VALUE, 100):
        for device in range(min(5, play.stage.devices)):
            play.stage.write_register(device, ALARM_POINT, value)
        time.sleep(2.5)


def _reload(play: Play) -> None:
    """A device is asked half as often, and as before the next time."""
    text = play.site.read_text()
    now, then = ("interval_s = 1.0", "interval_s = 2.0")
    head, mark, tail = text.rpartition(now if text.count(then) == 0 else then)
    assert mark
    play.site.write_text(head + (then if mark == now else now) + tail)
    _command("edge_agent.cli", "reload", "--config", str(play.site))


#: name -> what happens
SCENES: dict[str, Callable[[Play], None]] = {
    "quiet": _nothing,
    "broker away for 8 s": _broker_away,
    "alarms come and go": _alarms_come_and_go,
    "reload": _reload,
    "collector killed": _collector_killed,
}


def soak(stage: Stage, *, hours: float, every_s: float) -> tuple[Result, bool]:
    """Plays until the time is over; returns the figures and whether nothing was wrong."""
    site = stage.agent_place(Load(devices=stage.devices))
    agent = stage.agent(site)
    play = Play(stage=stage, agent=agent, site=site)
    begin = time.monotonic()
    wait_until(lambda: batches(stage.messages(), Lane.DATA), "the agent's first batch")
    sizes = _sizes(play)
    turn = 0
    try:
        next_scene = begin + every_s
        while (now := time.monotonic()) < begin + hours * 3600:
            _sample(play, now - begin)
            if now >= next_scene:
                name = list(SCENES)[turn % len(SCENES)]
                say(f"{(now - begin) / 60:5.1f} min: {name}; agent {play.agent_mb[-1][1]:.1f} MB")
                SCENES[name](play)
                play.happened[name] = play.happened.get(name, 0) + 1
                turn, next_scene = turn + 1, next_scene + every_s
            time.sleep(_SAMPLE_EVERY_S)
        grown = {name: size - sizes.get(name, 0) for name, size in _sizes(play).items()}
        took_s = time.monotonic() - begin
        agent.stop()
        missing, late_ms = _grid(stage)
        stage.collector.stop()
        verified = _command("collector.cli", "verify", "--json", "--data", str(stage.folder / "collector"))
    finally:
        agent.stop()
    is_true = bool(json.loads(verified.splitlines()[-1])["is_true"])
    warm_s = min(max(_LEAST_WARM_UP_S, _WARM_UP_SHARE * took_s), took_s / 2)
    figures = [
        Figure(name="agent's memory, slope", unit="MB/h", value=slope(play.agent_mb, warm_s), target=SLOPE_TARGET),
        *(
            Figure(name=f"agent's memory, {kind}, slope", unit="MB/h", value=value)
            for kind, value in kinds(play.mapped, warm_s)
        ),
        Figure(name="agent's memory at the end", unit="MB", value=play.agent_mb[-1][1]),
        Figure(name="collector's memory at the end", unit="MB", value=play.collector_mb[-1][1]),
        *(
            Figure(name=f"{name} grew", unit="MB/h", value=size / 1e6 / took_s * 3600)
            for name, size in sorted(grown.items())
        ),
        Figure(name="from poll to poll, more than the interval by at most", unit="ms", value=late_ms),
        Figure(name="ticks missing on the wire", unit="", value=missing, target=0),
        Figure(name="collector's evidence is true", unit="", value=int(is_true), target=1, is_least=True),
    ]
    scenes = ", ".join(f"{name} {count}x" for name, count in play.happened.items())
    result = Result(
        title=f"Soak of {took_s / 3600:.2f} h, {stage.devices} devices",
        method=f"PSS every {_SAMPLE_EVERY_S:g} s, slopes after {warm_s / 60:.0f} min; {scenes}",
        figures=tuple(figures),
    )
    return result, is_true and missing == 0


def slope(samples: Sequence[tuple[float, float]], from_s: float) -> float | None:
    """Returns the least-squares slope of MB over hours, of the samples after ``from_s``; None with fewer than 3."""
    kept = [(at / 3600, mb) for at, mb in samples if at >= from_s]
    if len(kept) < 3:
        return None
    middle_h = sum(at for at, _ in kept) / len(kept)
    middle_mb = sum(mb for _, mb in kept) / len(kept)
    spread = sum((at - middle_h) ** 2 for at, _ in kept)
    return sum((at - middle_h) * (mb - middle_mb) for at, mb in kept) / spread


def kinds(samples: Sequence[tuple[float, dict[str, float]]], from_s: float) -> list[tuple[str, float | None]]:
    """Returns the slope of every kind of mapping, by name."""
    names = sorted({name for _, found in samples for name in found})
    return [(name, slope([(at, found.get(name, 0.0)) for at, found in samples], from_s)) for name in names]


def _sample(play: Play, at_s: float) -> None:
    play.agent.is_running()
    play.stage.collector.is_running()
    play.agent_mb.append((at_s, memory(play.agent.pid).pss_mb))
    play.mapped.append((at_s, mapped(play.agent.pid)))
    play.collector_mb.append((at_s, memory(play.stage.collector.pid).pss_mb))


def _sizes(play: Play) -> dict[str, int]:
    spool = [path for path in (play.site.parent / "state").iterdir() if path.is_file()]
    store = [path for path in (play.stage.folder / "collector").rglob("*") if path.is_file()]
    return {
        "spool": sum(path.stat().st_size for path in spool),
        "collector's store": sum(path.stat().st_size for path in store),
    }


def _grid(stage: Stage) -> tuple[int, float]:
    """Returns how many ticks no batch has, and by how much a poll came later than its interval, ms.

    Every device is read each second, but the last one, whose interval a reload changes: it is left out.
    """
    seen: dict[int, set[int]] = {}
    for arrived in batches(stage.messages(), Lane.DATA):
        for block, at_us in ticks(arrived.batch):
            seen.setdefault(block, set()).add(at_us)
    missing, late_us = 0, 0
    for block, times in seen.items():
        if block != max(seen):
            ordered = sorted(times)
            missing += missing_ticks(ordered, 1_000_000)
            late_us = max(late_us, max((b - a for a, b in pairwise(ordered)), default=0) - 1_000_000)
    return missing, late_us / 1000


def missing_ticks(ordered_us: Sequence[int], interval_us: int) -> int:
    """Returns how many ticks nobody sampled: a sample belongs to the tick up to 3/4 of an interval before it."""
    numbers = {(at_us - ordered_us[0] + interval_us // 4) // interval_us for at_us in ordered_us}
    return max(numbers) - min(numbers) + 1 - len(numbers) if numbers else 0


def _command(module: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    if done.returncode not in (0, 1) or not (done.stdout.strip() or done.returncode == 0):
        raise BenchError(f"{module} {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def main(arguments: list[str] | None = None) -> int:
    """Plays, prints, and judges; see the module."""
    parser = argparse.ArgumentParser(description="Hours of ordinary life with things that go wrong.")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--devices", type=int, default=10, help="Modbus TCP devices with 20 registers each")
    parser.add_argument("--every", type=float, default=60.0, metavar="SECONDS", help="from one scene to the next")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result here")
    options = parser.parse_args(arguments)
    print("  ".join(f"{name}: {value}" for name, value in machine().items()))
    folder = Path(tempfile.mkdtemp(prefix="qianshao-soak-"))
    try:
        with Stage(folder, devices=options.devices) as stage:
            try:
                result, is_right = soak(stage, hours=options.hours, every_s=options.every)
            finally:
                stage.collector.stop()
    except BenchError as error:
        say(f"the soak ended: {error}")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("\n" + "\n".join(lines_of(result)), flush=True)
    if options.json is not None:
        options.json.write_text(to_json([result]), encoding="utf-8")
    return int(not is_right)


if __name__ == "__main__":
    sys.exit(main())
