"""Wall clocks that are wrong, stepped or absent, on the real agent: nothing is timed by them, nothing is lost by them.

The wall clock of a process is moved by a shim (``wall_clock.py``); its monotonic clock stays.  The state table of
the clock itself is tested in ``tests/edge_agent/test_clock.py``, what the collector makes of it in
``tests/collector/test_clock_repair.py``, both in virtual time.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import socket
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from collector.data_dir import database
from collector.database import upgrade
from collector.keys import Registry, load_signer
from collector.verify import verify
from contracts.batch import ClockState
from contracts.keys import Verifier
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US
from tests.edge_agent.certificates import Authority
from tests.mosquitto import free_port
from tests.reliability.alarm_ear import AlarmEar
from tests.reliability.counting_device import HIGH, LOW
from tests.reliability.scale import seed, times
from tests.reliability.stand import Command, Gateway, Stand
from tests.reliability.wall_clock import WallClock
from tests.system.rig import ROOT, until

pytestmark = pytest.mark.ci
S = 1_000_000
HOUR_S, DAY_S = 3600, 86_400
DELAY_S = 1.5
#: a gap between polls that only a stopped scheduler makes (s)
STALL_S = 2.0


@pytest.fixture
def empty_database(tmp_path: Path) -> Path:
    path = tmp_path / "empty.db"
    upgrade(path, START_US)
    return path


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path)
    yield made
    made.close()


class Gate:
    """A port that leads to another one while it is open."""

    def __init__(self, to: int) -> None:
        self.port = free_port()
        self._to = to
        self._listener: socket.socket | None = None
        self._ends: list[socket.socket] = []

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._take, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Refuses new connections and ends the old ones."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._ends.clear()

    def _take(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._ends += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=_carry, args=(one, other), daemon=True).start()


def _carry(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_RDWR)


def delayed(stand: Stand, clock: WallClock, **options: Any) -> Gateway:
    """Returns a gateway under a wall clock, whose alarm has an on-delay and an off-delay."""
    gateway = stand.add("gateway", **options)
    rule = gateway.folder / "rules" / "level.toml"
    rule.write_text(rule.read_text() + f"on_delay_s = {DELAY_S}\noff_delay_s = {DELAY_S}\n")
    gateway.agent._environment |= clock.environment
    return gateway


def polls(gateway: Gateway, since_s: float) -> tuple[float, float, int]:
    """Returns the middle and the longest time between polls since a moment, and how many there were."""
    given = [at for at in list(gateway.device.given) if at >= since_s]
    ends = [since_s, *given, time.monotonic()]
    gaps = [after - before for before, after in itertools.pairwise(ends)]
    return statistics.median(gaps), max(gaps), len(given)


def exported(gateway: Gateway) -> list[dict[str, Any]]:
    """Returns what its spool holds, as JSON lines."""
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent.cli", "spool", "export", "--config", str(gateway.site)],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


STEPS_S = [1, -1, HOUR_S, -HOUR_S, 100 * DAY_S, -100 * DAY_S, 365 * DAY_S, -365 * DAY_S]


def test_steps_of_the_wall_clock_move_no_poll_and_no_delay(stand: Stand, tmp_path: Path) -> None:
    clock = WallClock(tmp_path)
    gateway = delayed(stand, clock)
    stand.broker.start()
    gateway.start()
    gateway.polls()
    until(lambda: gateway.status().get("link") == "up", "the link")
    ear = AlarmEar(stand.broker.port, gateway.id)
    began_s = time.monotonic()
    for place, step_s in enumerate(STEPS_S):
        clock.step(step_s, synchronised=place % 2 == 0)
        time.sleep(0.5)
    for level, state in ((HIGH, "active"), (LOW, "cleared")):
        set_s = time.monotonic()
        gateway.device.set_level(level)
        time.sleep(DELAY_S / 3)
        clock.step(-HOUR_S)  # while the delay runs
        time.sleep(DELAY_S / 3)
        clock.step(365 * DAY_S)
        heard_s = ear.first(state, set_s)
        assert gateway.device.shown_s is not None
        took_s = heard_s - gateway.device.shown_s
        assert DELAY_S - 0.11 <= took_s <= DELAY_S + STALL_S, f"{state} after {took_s:.2f} s"
    clock.step(-HOUR_S)
    time.sleep(STALL_S + 0.5)
    middle_s, longest_s, count = polls(gateway, began_s)
    assert abs(middle_s - 0.1) < 0.01, f"a poll every {middle_s:.3f} s"
    assert longest_s < STALL_S, f"no poll for {longest_s:.1f} s"
    gateway.stop()
    samples = [row for row in exported(gateway) if row.get("point") == "d1/raw/1"]
    at_us = [row["mono_us"] for row in samples]
    assert len(at_us) > count // 2
    assert len(set(at_us)) == len(at_us), "no interval twice"
    assert sorted(at_us) == at_us, "none backwards"
    assert max(b - a for a, b in itertools.pairwise(at_us)) < STALL_S * S


def test_a_scheduler_on_the_wall_clock_would_be_caught(stand: Stand, tmp_path: Path) -> None:
    clock = WallClock(tmp_path)
    mutant = delayed(stand, clock)
    words = ("--lang", "en", "run", str(mutant.site))
    mutant.agent = Command(
        mutant.folder, "agent", "tests.reliability.wall_clock_agent", *words, environment=mutant.agent._environment
    )
    mutant.start()
    mutant.polls()
    clock.step(-HOUR_S)
    began_s = time.monotonic()
    time.sleep(STALL_S + 0.5)
    _, longest_s, _ = polls(mutant, began_s)
    assert longest_s >= STALL_S


def test_a_boot_in_1970_sends_at_once_over_tls_and_is_put_right(stand: Stand, tmp_path: Path) -> None:
    clock = WallClock(tmp_path)
    clock.set(0)
    authority = Authority(tmp_path / "ca")
    files, tls_port = authority.broker(), free_port()
    config = tmp_path / "mosquitto.conf"
    own = "user root\n" if os.geteuid() == 0 else ""
    config.write_text(f"{own}{config.read_text()}listener {tls_port} 127.0.0.1\n{files.mosquitto_lines()}")
    gate = Gate(tls_port)
    gateway = delayed(stand, clock)
    site = gateway.site.read_text().replace(f"port = {stand.broker.port}\n", f"port = {gate.port}\n")
    gateway.site.write_text(site.replace("collector_key", f'tls_ca = "{authority.file}"\ncollector_key', 1))
    stand.broker.start()
    stand.collector.start()
    gateway.start()
    gateway.polls()
    # Polled and sealed with no idea of the time; then there is a network.
    until(lambda: gateway.status().get("clock") == "unset", "a clock that is unset")
    until(stand.has_connected, "the collector at the broker")
    gate.open()
    until(lambda: gateway.status().get("clock") == "collector", "the collector's signed time", 60.0)
    # The system clock is still in 1970: the next connect must not fail over the dates.
    gate.cut()
    until(lambda: gateway.status().get("link") == "down", "the link down")
    gate.open()
    until(lambda: gateway.status().get("link") == "up", "the link up again", 60.0)
    assert gateway.status()["clock"] == "collector"
    clock.step(0, synchronised=True)
    until(lambda: gateway.status().get("clock") == "ntp", "a clock that NTP keeps", 60.0)
    gate.cut()
    until(lambda: gateway.status().get("link") == "down", "the link down")
    gate.open()
    until(lambda: gateway.status().get("link") == "up", "the link with its dates checked", 60.0)
    until(lambda: gateway.status().get("backlog_data_batches", 9) <= 2, "receipts", 60.0)
    with closing(sqlite3.connect(f"file:{database(stand.data)}?mode=ro", uri=True)) as db:

        def is_mended() -> bool:
            row = db.execute("SELECT value FROM meta WHERE key='clock_repair'").fetchone()
            return row is None or json.loads(row[0])["boots"] == []

        until(is_mended, "the repair", 60.0, 0.2)
        off_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000
        rows = db.execute("SELECT wall_us-first_us FROM evidence WHERE readings>0").fetchall()
        assert len(rows) > 10
        assert max(abs(offset_us - off_us) for (offset_us,) in rows) <= S, "each within a second of the true time"
        minutes = db.execute("SELECT min(minute), max(minute) FROM rollup").fetchone()
        assert abs(minutes[0] - time.time() // 60) <= 5
    gateway.stop()
    assert (gateway.state / "last_good_time.json").exists() or time.monotonic() - gateway.started[-1] < 60


def test_a_process_that_stood_still_shows_a_gap_and_no_made_up_value(stand: Stand, tmp_path: Path) -> None:
    gateway = stand.add("gateway")
    gateway.start()
    gateway.polls()
    time.sleep(1.0)
    gateway.agent.pause()
    began_s = time.monotonic()
    time.sleep(4.0)
    ended_s = time.monotonic()
    gateway.agent.resume()
    until(lambda: (gateway.device.first_after(ended_s) or 0) > 0, "polls again")
    time.sleep(1.0)
    gateway.stop()
    rows = [row for row in exported(gateway) if row.get("point") == "d1/raw/1"]
    inside = [row for row in rows if began_s + 0.3 < row["mono_us"] / S < ended_s - 0.3]
    assert all(row["value"] is None for row in inside), "nothing was measured while it stood still"
    numbers = [row["value"] for row in rows if row["value"] is not None]
    assert numbers == sorted(set(numbers)), "every number of the device once, in its order"


def test_a_repair_survives_being_killed_anywhere(tmp_path: Path, empty_database: Path) -> None:
    bench = Bench(tmp_path / "data", empty_database)
    g = bench.gateway
    g.clock = ClockState.UNSET
    bench.send(
        g.catalogue_message(), *(g.data(m * 20 * S + 30 * S, ticks=15) for m in range(120)), at_us=6 * HOUR_S * S
    )
    g.clock = ClockState.SYNCHRONISED
    bench.send(g.ask_message((6 * HOUR_S + 2) * S), at_us=(6 * HOUR_S + 3) * S)
    bench.store.close()
    chance = random.Random(number := seed())
    print(f"seed {number}")
    signer = load_signer(bench.data, create=False)

    def is_true() -> bool:
        report = verify(database(bench.data), Registry(bench.data).keys, {signer.key_id: Verifier(signer.public)})
        return report.is_true

    assert is_true()
    kills = 0
    for _ in range(times(8, 100)):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.mending_collector", str(bench.data)],
            stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert child.stdout is not None
        last = ""
        for _ in range(chance.randint(1, 4)):
            last = child.stdout.readline().strip()
        if last != "done":
            time.sleep(chance.uniform(0, 0.03))
            child.kill()
            kills += 1
        child.wait()
        child.stdout.close()
        if last == "done":
            break
        assert is_true()
    subprocess.run(
        [sys.executable, "-m", "tests.reliability.mending_collector", str(bench.data)], cwd=ROOT, check=True,
        capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert kills >= 2
    assert is_true()
    with closing(sqlite3.connect(database(bench.data))) as db:
        off = db.execute("SELECT DISTINCT wall_us-first_us FROM evidence WHERE readings>0").fetchall()
        ticks = db.execute("SELECT sum(count) FROM rollup r JOIN point p ON p.no=r.point_no WHERE p.key='well-0/ch4'")
        assert off == [(START_US,)]
        assert ticks.fetchone() == (120 * 15,)
