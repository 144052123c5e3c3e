"""The north star: a word set in a simulated sensor is read in the HTML, whatever happens in between.

Real processes, a real Modbus TCP socket, the embedded broker, SQLite, HTTP.  Nothing
acknowledged is lost, nothing is stored twice, and ``collector verify`` passes every time.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.rig import POINT, Rig, until

pytestmark = pytest.mark.slow


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    try:
        rig.start()
        yield rig
    finally:
        rig.stop()


def shows(rig: Rig, number: float) -> bool:
    value = rig.page_value()
    return value is not None and abs(float(value) - number) < 0.05


def sampled_values(rig: Rig, since_us: int) -> list[float]:
    """Every value of the point that the collector holds, through its own interface."""
    trend = rig.api(f"trend?gateway={rig.gateway}&key={POINT}&start_us={since_us}&end_us={time.time_ns() // 1000}")
    return [value for value in trend["values"] if value is not None]


def prove(rig: Rig) -> None:
    """Nothing lost, nothing twice, everything verifies."""
    rig.wait_until_receipted()
    rig.agent.stop()
    until(lambda: all(not chain["missing"] for chain in rig.api("chains")), "chains without holes")
    rig.collector.stop()
    with sqlite3.connect(rig.data / "evidence.sqlite3") as db:
        twice = db.execute(
            "SELECT count(*) FROM (SELECT 1 FROM evidence GROUP BY epoch_no, lane, seq HAVING count(*) > 1)"
        ).fetchone()[0]
        readings = db.execute("SELECT sum(readings) FROM evidence").fetchone()[0]
    assert twice == 0
    assert readings > 0
    assert "false" not in rig.verify().lower()


def test_a_word_in_a_register_is_read_in_the_html(rig: Rig) -> None:
    rig.simulate("set", POINT, "7.5")
    until(lambda: shows(rig, 7.5), "7.5 on the page")
    prove(rig)


def test_with_the_uplink_cut_for_a_while(rig: Rig) -> None:
    since = time.time_ns() // 1000
    rig.simulate("link", "cut")
    rig.simulate("set", POINT, "3.25")
    time.sleep(3)
    assert not shows(rig, 3.25)
    rig.simulate("set", POINT, "4.5")
    time.sleep(2)
    rig.simulate("link", "restore")
    until(lambda: shows(rig, 4.5), "the newest value on the page")
    until(lambda: any(abs(value - 3.25) < 0.05 for value in sampled_values(rig, since)), "the history of the outage")
    prove(rig)


def test_with_the_agent_killed_in_the_middle(rig: Rig) -> None:
    rig.simulate("link", "cut")
    since = time.time_ns() // 1000
    rig.simulate("set", POINT, "2.75")
    time.sleep(3)
    rig.agent.kill()
    rig.simulate("set", POINT, "6.25")
    rig.agent.start()
    rig.simulate("link", "restore")
    until(lambda: shows(rig, 6.25), "the new value on the page")
    until(lambda: any(abs(value - 2.75) < 0.05 for value in sampled_values(rig, since)), "what was sampled before")
    prove(rig)


def test_with_the_collector_killed_between_commit_and_receipt(rig: Rig) -> None:
    rig.collector.kill()
    rig.collector = rig.collector_that_dies_before_its_receipt()
    rig.collector.start()
    until(lambda: not rig.collector.is_running, "the collector's death after its commit")
    rig.collector = rig.new_collector()
    rig.collector.start()
    until(rig.is_healthy, "the collector's page")
    rig.simulate("set", POINT, "5.75")
    until(lambda: shows(rig, 5.75), "the value on the page")
    prove(rig)


def test_an_alarm_that_starts_while_the_link_is_cut_is_on_the_page_within_two_seconds(rig: Rig) -> None:
    rig.simulate("link", "cut")
    time.sleep(1)
    rig.simulate("set", POINT, "62")
    time.sleep(4)
    assert not [alarm for alarm in rig.alarms() if alarm["state"] == "active"]
    rig.simulate("link", "restore")
    until(rig.is_connected, "the gateway's connection", 60.0, 0.02)
    connected = time.monotonic()
    until(lambda: [alarm for alarm in rig.alarms() if alarm["severity"] == "red"], "the red alarm", 20.0, 0.02)
    assert time.monotonic() - connected < 2.0
    assert 'id="a:' in rig.html()
    rig.simulate("set", POINT, "0.5")
    prove(rig)
