"""Late alarms from a real agent over a link that is cut: one that stands pages, one that is over asks for review.

Simulator, agent and collector are processes of their own; what is read is the collector's API.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.measurement import LATE_US
from tests.system.rig import POINT, Rig, until

pytestmark = pytest.mark.ci


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    with made.site.open("a") as site:  # the first limit clears by itself; its delays are minutes in the pack
        site.write("[device.points.gas.limits.pre]\non_delay_s = 0\noff_delay_s = 1\n")
    try:
        made.start()
        yield made
    finally:
        made.stop()


def journal(rig: Rig) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(rig.get("/api/v1/alarm-journal"))["alarms"]
    return found


def standing_at_the_gateway(rig: Rig) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        rig.command("edge_agent.cli", "alarms", "--config", str(rig.site), "--json")
    )
    return found


def test_one_that_is_over_asks_for_review_and_one_that_stands_pages_with_its_age(rig: Rig) -> None:
    rig.simulate("link", "cut")
    rig.simulate("set", POINT, "15")  # past the first limit, which clears by itself
    until(lambda: standing_at_the_gateway(rig), "the alarm at the gateway")
    rig.simulate("set", POINT, "0.5")
    until(lambda: not standing_at_the_gateway(rig), "its end at the gateway")
    time.sleep(LATE_US / 1e6 + 1)
    assert journal(rig) == []
    rig.simulate("link", "restore")
    until(rig.is_connected, "the gateway's connection", 60.0, 0.02)
    until(lambda: any(alarm["measurement"] == "cleared" for alarm in journal(rig)), "the alarm and its end", 20.0)
    (over,) = journal(rig)
    assert (over["decision"], over["is_late"], over["is_unstated"]) == ("review", True, False)
    assert over["decision_reason"] in ("over", "unstated")  # its end came with it, or the statement before it
    assert [alarm["id"] for alarm in json.loads(rig.get("/api/v1/alarm-reviews"))] == [over["id"]]

    rig.simulate("link", "cut")
    rig.simulate("set", POINT, "15")
    until(lambda: standing_at_the_gateway(rig), "the second alarm at the gateway")
    time.sleep(LATE_US / 1e6 + 1)
    rig.simulate("link", "restore")
    until(rig.is_connected, "the gateway's connection", 60.0, 0.02)
    until(lambda: len(journal(rig)) > 1, "the second alarm", 20.0, 0.02)
    until(lambda: journal(rig)[0]["received_us"], "its batch", 20.0)
    late = journal(rig)[0]
    assert (late["measurement"], late["decision"], late["decision_reason"]) == ("active", "page", "late")
    assert late["is_late"]
    assert late["stood_s"] > LATE_US / 1e6
    (statement,) = json.loads(rig.get("/api/v1/alarm-statements"))
    assert (statement["unstated"], statement["stated_over"]) == ([], [])

    rig.agent.kill()  # the gateway is lost during the alarm
    until(lambda: journal(rig)[0]["measurement"] == "source_silent", "silence", 60.0)
    assert journal(rig)[0]["state"] == "active"
