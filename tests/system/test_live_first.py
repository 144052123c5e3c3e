"""Live first, with real processes: what comes first after an outage, and a metered gateway that somebody looks at."""

from __future__ import annotations

import sqlite3
import time
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from contracts.batch import Lane
from tests.system.rig import POINT, Rig, until

#: from the connect to the first live data and the alarms that waited, at the collector (s)
LIVE_WITHIN_S = 2.0


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    try:
        yield rig
    finally:
        rig.stop()


def _connects(rig: Rig) -> list[float]:
    """When the agent connected (UTC s), by its log."""
    stamps = [line[:23] for line in rig.agent.log.splitlines() if "connected to the broker" in line]
    return [datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp() for stamp in stamps]


def _arrivals(rig: Rig, since_s: float) -> list[tuple[float, int, int]]:
    """Arrival (UTC s), lane and seq of every batch that the collector holds, as they came."""
    with sqlite3.connect(rig.data / "evidence.sqlite3") as db:
        rows = db.execute(
            "SELECT arrived_us, lane, seq FROM evidence WHERE arrived_us>=? ORDER BY id", (int(since_s * 1e6),)
        ).fetchall()
    return [(arrived_us / 1e6, lane, seq) for arrived_us, lane, seq in rows]


@pytest.mark.ci
def test_after_an_outage_alarms_and_the_newest_are_there_first(rig: Rig) -> None:
    rig.site.write_text(rig.site.read_text().replace("reconnect_most_s = 5\n", ""))
    rig.start()
    rig.wait_until_receipted()
    rig.simulate("link", "cut")
    until(lambda: not rig.is_connected(), "the link down")
    rig.simulate("set", POINT, "80")
    time.sleep(10)
    restored_s = time.time()
    rig.simulate("link", "restore")
    until(lambda: len(_connects(rig)) == 2, "the reconnect")
    connected_s = _connects(rig)[1]
    assert connected_s - restored_s <= 10 + 1, "an alarm waits, so no two tries are further apart"
    rig.wait_until_receipted()
    came = _arrivals(rig, connected_s)
    alarms = [at for at, lane, _ in came if lane == Lane.ALARM]
    data = [(at, seq) for at, lane, seq in came if lane == Lane.DATA]
    assert alarms
    assert alarms[0] - connected_s <= LIVE_WITHIN_S
    assert data[0][0] - connected_s <= LIVE_WITHIN_S
    assert alarms[0] <= data[0][0]
    first, history = data[0][1], [seq for _, seq in data[1:] if seq < data[0][1]]
    assert len(history) >= 6, "history came after the newest"
    assert history == sorted(history)
    assert all(seq > first for _, seq in data[1:] if seq not in history)
    standing = until(rig.alarms, "the alarm")
    assert standing[0]["state"] == "active"


@pytest.mark.ci
def test_a_metered_gateway_is_live_while_somebody_looks(rig: Rig) -> None:
    rig.site.write_text(rig.site.read_text().replace("seal_interval_s = 1\n", "metered = true\n"))
    rig.start()
    rig.wait_until_receipted()
    begin = len(_arrivals(rig, 0))
    rig.simulate("set", POINT, "7.5")
    time.sleep(5)
    assert len(_arrivals(rig, 0)) - begin <= 1, "ordinary data wait for the next minute"
    request = urllib.request.Request(
        f"http://127.0.0.1:{rig.http_port}/api/v1/gateways/{rig.gateway}/watch", method="POST"
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert b'"seconds":600' in answer.read()
    until(lambda: rig.page_value() == "7.5", "the value on the page", 10)
    count = len(_arrivals(rig, 0))
    until(lambda: len(_arrivals(rig, 0)) - count >= 3, "more data while it is watched", 15)
    assert "live data are asked for by api" in rig.agent.log
    (gateway,) = rig.api("gateways")
    assert gateway["health"]["agent"]["link_pace"] == "live"
