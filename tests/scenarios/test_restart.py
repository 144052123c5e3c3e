"""Everything is killed in the middle: no alarm is lost, none is raised twice, latched stays latched."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.scenarios.city import L1, L2, PRE, City
from tests.system.rig import until

pytestmark = [pytest.mark.ci, pytest.mark.browser]


def test_everything_is_killed_in_the_middle(city: City, page: Page) -> None:
    # One that stands, one that waits for a person, one that is over, and one that nobody at the centre knows of.
    city.show("before", 60)
    city.show("gone", 35)
    city.show("over", 14)
    stood = city.the("before", L2, state="active")
    city.the("gone", L1, state="active")
    city.show("gone", 0)
    latched = city.the("gone", L1, state="latched")
    city.the("over", PRE, state="active")
    city.show("over", 0)
    ended = city.the("over", PRE, state="cleared")
    # Told, and known to be told: else it is rightly told again as a possible repeat.
    until(lambda: [n for n in city.api(f"alarms/{stood['id']}")["notices"] if n["outcome"] == "sent"], "the page")
    city.link("cut")
    city.show("during", 75)
    until(lambda: city.standing("during").keys() >= {PRE, L1, L2}, "the alarm at the gateway")
    for process in (city.agent, city.collector, city.simulator):
        process.kill()

    city.simulator.start()
    until(city.is_simulated, "the simulator")
    for head, value in (("before", 60), ("during", 75)):  # the air is as it was, before anybody asks
        city.show(head, value)
    city.collector.start()
    city.agent.start()
    until(city.is_healthy, "the collector's page")

    unknown = city.the("during", L2, state="active", measurement="active")
    assert unknown["value"] == 75.0  # of the sample that raised it, before the kill
    until(lambda: [m for m in city.messages("during") if "level 2" in m], "the page of what nobody knew of")
    again = city.the("before", L2, state="active", measurement="active")
    assert again["id"] == stood["id"]
    assert city.the("gone", L1, state="latched", measurement="active")["id"] == latched["id"]
    assert city.the("over", PRE)["id"] == ended["id"]
    until(lambda: city.standing("gone") == {L1: "latched"}, "what is latched at the gateway")
    # ``the`` has seen one alarm of each rule; the gateway and the centre name the same ones.
    until(
        lambda: [(s["unstated"], s["stated_over"]) for s in city.api("alarm-statements")] == [([], [])],
        "a statement that says what is held here",
    )
    assert len([m for m in city.messages("before") if "level 2" in m]) == 1
    for alarm in (again, unknown, latched):
        expect(page.locator(f'[id="a:{alarm["id"]}"]')).to_be_visible()

    # Its rule goes on from where it was: the air clears, the person resets, and it is over.
    city.show("before", 0)
    city.the("before", L2, state="latched")
    city.reset("before", L2)
    city.the("before", L2, state="cleared", measurement="cleared")

    city.wait_until_receipted()
    city.agent.stop()
    until(lambda: all(not chain["missing"] for chain in city.api("chains")), "chains without holes")
    city.collector.stop()
    assert "false" not in city.verify().lower()
