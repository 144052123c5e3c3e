"""``make bench``: every benchmark, or those that are named, as tables with ratios.

    python benchmarks/run.py [--quick] [--only NAME ...] [--json FILE]

It starts and ends all processes by itself, on loopback only.  Status 0 also where a target is missed: a figure is a
report, not a test; status 1 when a benchmark could not run here.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import alarm, backlog, bus, bus_alarm, kills, many, metered, outage, pipeline, spool, start, wear
from benchmarks.bench_site import Load
from benchmarks.report import Result, lines_of, machine, say, to_json
from benchmarks.stage import REPOSITORY, BenchError, Stage

_SMALL, _LARGE = Load(devices=10), Load(devices=50)
_SEALS_5S, _SEALS_1S = Load(devices=10, seal_interval_s=5.0), Load(devices=10, seal_interval_s=1.0)
_UNIT = Load(devices=1, seal_interval_s=1.0)
#: often enough that a window has many live batches
_BACKLOG = Load(devices=10, interval_s=0.5, seal_interval_s=0.5, quota_mb=4000)
_FAST = Load(devices=50, interval_s=0.1, seal_interval_s=0.2)

#: name -> benchmark on a stage; the flag says whether it is to be quick
ON_STAGE: dict[str, Callable[[Stage, bool], Result]] = {
    "pipeline-10": lambda stage, quick: pipeline.run(
        stage, _SMALL, rounds=1 if quick else 3, window_s=8 if quick else 20, settle_s=5, cpu_target=20
    ),
    "pipeline-50": lambda stage, quick: pipeline.run(
        stage, _LARGE, rounds=1 if quick else 3, window_s=8 if quick else 20, settle_s=5, cpu_target=8
    ),
    "alarm": lambda stage, quick: alarm.run(stage, _SMALL, alarms=5 if quick else 40),
    "start-10": lambda stage, quick: start.run(stage, _SMALL, warm=3 if quick else 9, cold=1 if quick else 3),
    "start-50": lambda stage, quick: start.run(stage, _LARGE, warm=3 if quick else 9, cold=1 if quick else 3),
    "idle": lambda stage, quick: start.idle(stage, devices=10, window_s=8 if quick else 30),
    "wear-10": lambda stage, quick: wear.run(stage, _SMALL, window_s=15 if quick else 60, settle_s=5),
    "wear-50": lambda stage, quick: wear.run(stage, _LARGE, window_s=15 if quick else 60, settle_s=5),
    # Small files of the state directory cost 60 kB each and come every ten minutes at most: no short windows.
    "spool-wear-5s": lambda stage, quick: wear.run(
        stage, _SEALS_5S, window_s=20 if quick else 180, settle_s=6 if quick else 40, target=30
    ),
    "spool-wear-1s": lambda stage, quick: wear.run(
        stage, _SEALS_1S, window_s=15 if quick else 180, settle_s=6 if quick else 40, target=70
    ),
    "spool-day": lambda stage, quick: wear.run(
        stage, _UNIT, window_s=25 if quick else 300, settle_s=6 if quick else 40, target=None, day_target_mb=1500
    ),
    "outage": lambda stage, quick: outage.run(stage, _FAST, outage_s=5 if quick else 20, after_s=15),
    "kills": lambda stage, quick: kills.run(stage, _SMALL, kills=2 if quick else 20),
}
#: benchmarks on a stage of their own size
ON_OWN_STAGE: dict[str, tuple[Load, Callable[[Stage, Load, bool], Result]]] = {
    "many-500": (
        Load(devices=500, registers=30),
        lambda stage, load, quick: many.run(stage, load, window_s=10 if quick else 60, settle_s=10),
    ),
    "spool-backlog": (
        _BACKLOG,
        lambda stage, load, quick: backlog.run(
            stage,
            load,
            size=50_000_000 if quick else 1_000_000_000,
            normal_s=15 if quick else 60,
            drain_s=15 if quick else 60,
            floor_s=5 if quick else 20,
        ),
    ),
}
#: benchmarks that need no stage
APART: dict[str, Callable[[Path, bool], Result]] = {
    "spool-rates": lambda folder, quick: spool.rates(folder, large=20 if quick else 200, small=500 if quick else 5000),
    "metered": lambda folder, quick: metered.run(folder, spared_s=60 if quick else 600, live_s=20 if quick else 120),
}
#: benchmarks that need a serial line and nothing else, by baud rate
ON_LINE = {f"bus-{baud}": baud for baud in bus.BAUDS}
#: other clients on the same lines
PEERS = {f"peers-{baud}": baud for baud in bus.BAUDS}
#: an alarm point among failing devices, by baud rate
ALARMS = {f"bus-alarm-{baud}": baud for baud in (9600, 19200)}
#: programs of their own, run as they are
BESIDE = ("decode", "requests", "judge", "ingest", "alarms")
#: those of them that can be quick
_CAN_BE_QUICK = ("alarms",)


def main(arguments: list[str] | None = None) -> int:
    """Runs what is asked for; see the module."""
    parser = argparse.ArgumentParser(description="Figures beside a floor, on this machine.")
    parser.add_argument("--quick", action="store_true", help="short windows, one round: to see that it runs")
    parser.add_argument(
        "--only",
        action="append",
        choices=(*ON_STAGE, *ON_OWN_STAGE, *APART, *ON_LINE, *PEERS, *ALARMS, *BESIDE),
        help="may be given several times",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    options = parser.parse_args(arguments)
    wanted = options.only or [*ON_STAGE, *ON_OWN_STAGE, *APART, *ON_LINE, *PEERS, *ALARMS, *BESIDE]
    results: list[Result] = []
    failed = False
    print("  ".join(f"{name}: {value}" for name, value in machine().items()))
    folder = Path(tempfile.mkdtemp(prefix="qianshao-bench-"))
    try:
        staged = [name for name in ON_STAGE if name in wanted]
        if staged:
            with Stage(folder, devices=_LARGE.devices) as stage:
                for name in staged:
                    _show(results, ON_STAGE[name](stage, options.quick))
        for name, (load, measure) in ON_OWN_STAGE.items():
            if name in wanted:
                own = folder / name
                own.mkdir()
                with Stage(own, devices=load.devices, registers=load.registers) as stage:
                    _show(results, measure(stage, load, options.quick))
        for name in (name for name in APART if name in wanted):
            own = folder / name
            own.mkdir()
            _show(results, APART[name](own, options.quick))
        for name in (name for name in PEERS if name in wanted):
            _show(results, bus.peers(folder, PEERS[name], seconds=3 if options.quick else 20))
        for name in (name for name in ALARMS if name in wanted):
            _show(results, bus_alarm.measure(folder, ALARMS[name], seconds=15 if options.quick else 600))
        for name in (name for name in ON_LINE if name in wanted):
            _show(results, bus.measure(folder, ON_LINE[name], seconds=5 if options.quick else 20))
    except BenchError as error:
        say(f"not measured: {error}")
        failed = True
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name in BESIDE:
        if name in wanted:
            print(f"\n{name}", flush=True)
            quick = ["--quick"] if options.quick and name in _CAN_BE_QUICK else []
            command = [sys.executable, "-m", f"benchmarks.{name}", *quick]
            failed |= subprocess.run(command, cwd=REPOSITORY, check=False).returncode != 0
    if options.json is not None:
        options.json.write_text(to_json(results), encoding="utf-8")
    return int(failed)


def _show(results: list[Result], result: Result) -> None:
    results.append(result)
    print("\n" + "\n".join(lines_of(result)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
