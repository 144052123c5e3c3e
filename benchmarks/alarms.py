"""First-line alarms: what judging costs, how soon an alarm is on its way, and a thousand of them at once.

    python -m benchmarks.alarms [--quick] [--only judge|serial|tcp|burst ...] [--json FILE]

``judge``   CPU of quiet rows with five limits on every point (``judge.py``), in this process
``serial``  alarms one by one on ten devices that share a line of 9600 baud, bytes paced on a PTY, line nearly full
``tcp``     the same on 50 Modbus TCP devices, a connection each
``burst``   every point of those 50 devices past its limit at the same moment

On its way means handed to the broker's socket, which is after the commit with its sync: what this disk needs for one
sync stands beside the figure.  An alarm's steps are counted from the last byte of the reply that showed it, by the
port's own stamp (``alarm_steps.py``); how late that stamp is on the serial line is a figure of its own.
Status 0 also where a target is missed.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import judge
from benchmarks.alarm_steps import STEPS, Told, raised, read_taps, step_figures, step_lines, told
from benchmarks.arrivals import Delays, Message, batches, between, not_good
from benchmarks.bench_site import ALARM_POINT, ALARM_VALUE, PROFILES, REGISTERS, RULES, Load
from benchmarks.bus import DEVICES, Bus, least_s
from benchmarks.record import record_figures
from benchmarks.report import Figure, Result, lines_of, machine, say, to_json
from benchmarks.stage import BenchError, Child, Stage, now_us, wait_until
from benchmarks.tcp_writes import write_all
from contracts.batch import Lane
from simulators.control import ask

PARTS = ("judge", "serial", "tcp", "burst")
BAUD = 9600
#: of the serial line; ten reads of 20 registers need 0.66 s of it
_SERIAL_INTERVAL_S = 0.75
_TCP = Load(devices=50)
#: past the limits of ``rules/bench.toml`` and of ``rules/bench-counter.toml``
_PAST_ALL = 50_000
_RELEASE = 0xFFFF
_QUIET = 100
_SEED = 11
#: (step, share) -> ms
TARGETS = {("socket", "p50"): 10.0, ("socket", "p99"): 50.0}
_BURST_TARGET_MS = 2000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A register that can be put past its point's limit."""

    point: str
    #: puts it past the limit, and back
    alarm: Callable[[], object]
    quiet: Callable[[], object]


# -- one by one ----------------------------------------------------------------------


def moments(*, targets: int, count: int, every_s: float, hold_s: float) -> list[tuple[float, int, bool]]:
    """Returns (seconds, which target, whether past its limit) in order of time; the same on every run.

    Args:
        every_s: from one alarm to the next on average.
        hold_s: a register stays past its limit so long, and inside at least as long before its next turn.
    """
    roll = random.Random(_SEED)
    free_s = [0.0] * targets
    found = []
    at_s = 0.0
    for _ in range(count):
        at_s = max(at_s + roll.expovariate(1 / every_s), min(free_s))
        number = roll.choice([number for number, since_s in enumerate(free_s) if since_s <= at_s])
        free_s[number] = at_s + 2 * hold_s
        found += [(at_s, number, True), (at_s + hold_s, number, False)]
    return sorted(found)


def _raise_one_by_one(targets: Sequence[Target], *, count: int, every_s: float, hold_s: float) -> None:
    """Puts registers past their limits at random moments, and back."""
    begin = time.monotonic()
    for at_s, number, is_past in moments(targets=len(targets), count=count, every_s=every_s, hold_s=hold_s):
        time.sleep(max(0.0, begin + at_s - time.monotonic()))
        # Who was late begins everything after it later: a register that goes back too soon is seen by no poll.
        begin = max(begin, time.monotonic() - at_s)
        (targets[number].alarm if is_past else targets[number].quiet)()


def _one_by_one(
    stage: Stage, site: Path, targets: Sequence[Target], *, count: int, every_s: float, hold_s: float
) -> tuple[list[Told], list[Message], Delays]:
    """Returns the alarms raised, everything recorded meanwhile, and how long this disk took for a sync."""
    taps = site.parent / "taps"
    begin_us = now_us()
    agent = stage.agent(site, taps=taps)
    try:
        _wait_for_data(stage, agent, begin_us)
        time.sleep(5)
        _raise_one_by_one(targets, count=count, every_s=every_s, hold_s=hold_s)
        time.sleep(2 * hold_s + 1)
        syncs = sync_times(site.parent)
    finally:
        agent.stop()
    messages = between(stage.messages(), begin_us, now_us())
    return raised(told(messages, read_taps(taps)), [target.point for target in targets]), messages, syncs


def _wait_for_data(stage: Stage, agent: Child, begin_us: int) -> None:
    def came() -> bool:
        agent.is_running()
        return bool(batches(between(stage.messages(), begin_us, now_us()), Lane.DATA))

    wait_until(came, "the agent's first batch")


def sync_times(folder: Path, *, count: int = 100) -> Delays:
    """Returns how long this disk takes to make 4 kB durable that lie inside of a file already, as a log's pages do."""
    path = folder / "sync-probe"
    with path.open("wb", buffering=0) as file:
        file.write(bytes(4096 * count))
        os.fsync(file.fileno())
        took = []
        for number in range(count):
            file.seek(4096 * number)
            begin = time.perf_counter()
            file.write(b"\x5a" * 4096)
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - begin) * 1000)
            time.sleep(0.01)
    path.unlink()
    return Delays(tuple(took))


def _sync_figures(syncs: Delays) -> list[Figure]:
    return [
        Figure(name=f"one sync of this disk, {name}", unit="ms", value=syncs.at(share))
        for name, share in (("p50", 0.5), ("p99", 0.99))
    ]


def _load_figures(messages: Iterable[Message]) -> list[Figure]:
    data = batches(messages, Lane.DATA)
    return [Figure(name="readings not good meanwhile", unit="", value=sum(not_good(item.batch) for item in data))]


# -- on a serial line ----------------------------------------------------------------


def serial_text(stage: Stage, bus: Bus, state: Path) -> str:
    """Returns the site file of ten devices on one line, limits on one point of each."""
    parts = [
        f'profile_dirs = ["{PROFILES}"]\nrule_dirs = ["{RULES}"]\n'
        f'[gateway]\nname = {{ en = "Benchmark", zh = "基准测试" }}\nstate_dir = "{state}"\n'
        "[spool]\nquota_mb = 256\nreserve_mb = 16\nretention_days = 1\n"
        f'[uplink]\nhost = "127.0.0.1"\nport = {stage.broker_port}\ncollector_key = "{stage.collector_key}"\n'
        f'[[port]]\nid = "line"\nkind = "serial"\ndevice = "{bus.settings.path}"\nbaud = {bus.settings.baud}'
    ]
    for unit in range(1, DEVICES + 1):
        parts.append(
            f'[[device]]\nid = "d{unit:02}"\nname = {{ en = "{unit}", zh = "{unit}" }}\nport = "line"\n'
            f'unit_id = {unit}\nprofile = "plain-20"\ninterval_s = {_SERIAL_INTERVAL_S}\n'
            f'[device.points.r{ALARM_POINT}]\nrules = ["bench.slow"]'
        )
    return "\n".join(parts) + "\n"


def serial(stage: Stage, *, count: int) -> Result:
    """Raises alarms one by one on a line that ten devices share."""
    say(f"{count} alarms on a serial line, {BAUD} baud")
    with Bus(stage.folder, BAUD) as bus:
        targets = [_serial_target(bus, unit) for unit in range(1, DEVICES + 1)]
        for target in targets:
            target.quiet()
        site = stage.place(lambda state: serial_text(stage, bus, state))
        hold_s = 1.5 * _SERIAL_INTERVAL_S
        alarms, messages, syncs = _one_by_one(stage, site, targets, count=count, every_s=0.45, hold_s=hold_s)
    share = 100 * DEVICES * least_s(bus.settings) / _SERIAL_INTERVAL_S
    # The frames, the device's thinking, and the silence after which it takes the request for whole.
    wire_ms = (least_s(bus.settings) - bus.settings.silence_s) * 1000
    beyond = Delays(tuple(_read_ms(one) - wire_ms for one in alarms if one.replied_us is not None))
    return Result(
        title=f"Alarms on a serial line, {BAUD} baud, {DEVICES} devices x {REGISTERS} registers",
        method=f"{len(alarms)} alarms one by one at random moments; the line is {share:.0f} % full; FULL, QoS 1",
        figures=(
            *step_figures(alarms, TARGETS),
            *_sync_figures(syncs),
            Figure(
                name="read, more than its frames need, p50", unit="ms", value=beyond.p50, note="the stamp's lateness"
            ),
            Figure(name="read, more than its frames need, p99", unit="ms", value=beyond.at(0.99)),
            *_load_figures(messages),
            *record_figures(stage, alarms),
            Figure(name="alarms raised", unit="", value=len(alarms), target=count, is_least=True),
        ),
    )


def _read_ms(one: Told) -> float:
    """Returns how long the read took that showed it: its sample's time is the middle between request and reply."""
    assert one.replied_us is not None
    return 2 * (one.replied_us - one.event.sampled_us) / 1000


def _serial_target(bus: Bus, unit: int) -> Target:
    point = f"d{unit:02}/raw/{ALARM_POINT}"

    def put(value: int) -> None:
        ask(bus.control, {"op": "set", "point": point, "value": value})

    return Target(point=point, alarm=lambda: put(ALARM_VALUE), quiet=lambda: put(_QUIET))


# -- over TCP ------------------------------------------------------------------------


def tcp(stage: Stage, *, count: int) -> Result:
    """Raises alarms one by one on 50 devices with a connection each."""
    say(f"{count} alarms at {_TCP.name}")
    targets = [_tcp_target(stage, device) for device in range(_TCP.devices)]
    site = stage.agent_place(_TCP)
    alarms, messages, syncs = _one_by_one(stage, site, targets, count=count, every_s=0.4, hold_s=1.3 * _TCP.interval_s)
    return Result(
        title=f"Alarms over TCP, {_TCP.name}, limits on every point",
        method=f"{len(alarms)} alarms one by one at random moments; FULL, QoS 1",
        figures=(
            *step_figures(alarms, TARGETS),
            *_sync_figures(syncs),
            *_load_figures(messages),
            *record_figures(stage, alarms),
            Figure(name="alarms raised", unit="", value=len(alarms), target=count, is_least=True),
        ),
    )


def _tcp_target(stage: Stage, device: int) -> Target:
    return Target(
        point=f"d{device + 1:02}/raw/{ALARM_POINT}",
        alarm=lambda: stage.write_register(device, ALARM_POINT - 1, ALARM_VALUE),
        quiet=lambda: stage.write_register(device, ALARM_POINT - 1, _RELEASE),
    )


# -- all at once ---------------------------------------------------------------------


def burst(stage: Stage, *, rounds: int) -> Result:
    """Puts every point past its limit at the same moment, and back, some times."""
    points = [f"d{device + 1:02}/raw/{register}" for device in range(_TCP.devices) for register in _ALL]
    say(f"{len(points)} points in alarm at once, {rounds} times")
    site = stage.agent_place(_TCP)
    taps = site.parent / "taps"
    begin_us = now_us()
    agent = stage.agent(site, taps=taps)
    spans: list[tuple[int, int]] = []
    try:
        _wait_for_data(stage, agent, begin_us)
        time.sleep(5)
        for number in range(rounds):
            # Everywhere in the polls' grid, once each.
            time.sleep(number / rounds * _TCP.interval_s)
            spans.append((write_all(stage, _PAST_ALL), now_us()))
            time.sleep(6)
            write_all(stage, _RELEASE)
            time.sleep(6)
        syncs = sync_times(site.parent)
    finally:
        agent.stop()
    events = told(between(stage.messages(), begin_us, now_us()), read_taps(taps))
    return Result(
        title=f"{len(points)} points in alarm at once, {_TCP.name}",
        method=f"{rounds} times; from the last byte written to the last receipt; every point polled each second",
        figures=(
            *burst_figures(events, points, [written_us for _, written_us in spans], [begun for begun, _ in spans]),
            *_sync_figures(syncs),
            *record_figures(stage, raised(events, points)),
        ),
    )


_ALL = range(1, REGISTERS + 1)


def burst_figures(
    events: Sequence[Told], points: Sequence[str], written_us: Sequence[int], begun_us: Sequence[int]
) -> list[Figure]:
    """Returns what became of some bursts.

    Args:
        points: that were put past their limits each time.
        written_us: when the last register of each burst was written, monotonic.
        begun_us: when the first one was, monotonic.
    """
    alarms = raised(events, points)
    lost = twice = again = 0
    seen, from_write, from_reply, carriers = [], [], [], []
    for since_us, until_us, last_us in zip(begun_us, [*begun_us[1:], math.inf], written_us, strict=True):
        own = [one for one in alarms if since_us <= one.event.judged_us < until_us]
        receipts = [at_us for one in own if (at_us := one.at_us[-1]) is not None]
        replies = [one.replied_us for one in own if one.replied_us is not None]
        in_alarm = len({one.event.point for one in own})
        seen.append(in_alarm)
        lost += len(own) - len(receipts)
        twice += len(own) - in_alarm
        again += sum(one.copies - 1 for one in own)
        carriers.append(len({one.at_us[STEPS.index("sealed")] for one in own}))
        if receipts and replies:
            from_write.append((max(receipts) - last_us) / 1000)
            from_reply.append((max(receipts) - min(replies)) / 1000)
    write, reply = Delays(tuple(from_write)), Delays(tuple(from_reply))
    return [
        Figure(name="points in alarm each time, fewest", unit="", value=min(seen), target=len(points), is_least=True),
        Figure(name="events without a receipt", unit="", value=lost, target=0),
        Figure(name="points that raised twice", unit="", value=twice, target=0),
        Figure(name="events sealed a second time", unit="", value=again, note="the disk took over 200 ms; same ids"),
        Figure(
            name="last register written -> last receipt, worst", unit="ms", value=write.at(1), target=_BURST_TARGET_MS,
            note="waits for a poll, at most 1 s",
        ),
        Figure(name="last register written -> last receipt, p50", unit="ms", value=write.p50),
        Figure(name="first reply -> last receipt, worst", unit="ms", value=reply.at(1)),
        Figure(name="first reply -> last receipt, p50", unit="ms", value=reply.p50),
        Figure(name="alarm batches each time, most", unit="", value=max(carriers)),
    ]  # fmt: skip


# -- judging -------------------------------------------------------------------------


def judging() -> Result:
    """Measures the judge alone."""
    say("judging")
    return Result(
        title=f"Judging quiet rows of {judge.POINTS} points with five limits and a silence rule each",
        method="the best of five runs in this process; values inside",
        figures=tuple(judge.figures()),
    )


# -- the program ---------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Runs what is asked for; see the module."""
    parser = argparse.ArgumentParser(description="What alarms cost, and how soon they are on their way.")
    parser.add_argument("--quick", action="store_true", help="few alarms: to see that it runs")
    parser.add_argument("--only", action="append", choices=PARTS, help="may be given several times")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    options = parser.parse_args(arguments)
    wanted = options.only or PARTS
    count, rounds = (20, 1) if options.quick else (320, 5)
    on_stage: dict[str, Callable[[Stage], Result]] = {
        "serial": lambda stage: serial(stage, count=count),
        "tcp": lambda stage: tcp(stage, count=count),
        "burst": lambda stage: burst(stage, rounds=rounds),
    }
    results: list[Result] = []
    failed = False
    print("  ".join(f"{name}: {value}" for name, value in machine().items()))
    if "judge" in wanted:
        _show(results, judging())
    staged = [name for name in on_stage if name in wanted]
    folder = Path(tempfile.mkdtemp(prefix="qianshao-alarms-"))
    try:
        if staged:
            with Stage(folder, devices=_TCP.devices) as stage:
                for name in staged:
                    _show(results, on_stage[name](stage))
    except BenchError as error:
        say(f"not measured: {error}")
        failed = True
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json is not None:
        options.json.write_text(to_json(results), encoding="utf-8")
    return int(failed)


def _show(results: list[Result], result: Result) -> None:
    results.append(result)
    steps = [figure for figure in result.figures if figure.name.startswith("reply -> ")]
    rest = tuple(figure for figure in result.figures if figure not in steps or figure.target is not None)
    lines = lines_of(replace(result, figures=rest))
    print("\n" + "\n".join([*lines, *(step_lines(steps) if steps else [])]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
