"""A link that is cut, a gateway that is lost, a clock that is wrong: what becomes of alarms meanwhile."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from collector.measurement import LATE_US
from tests.scenarios.city import L1, L2, PRE, City
from tests.system.rig import until

pytestmark = [pytest.mark.ci, pytest.mark.browser]

S = 1_000_000
#: a gateway that has never been set right: its clock is 400 days behind
BEHIND_S = -400 * 86_400
PAGED_WITHIN_S = 2.0


def reconnected(city: City, head: str) -> tuple[float, str]:
    """Restores the link; returns how long after the connection a head's red alarm was told (s), and the message."""
    city.link("up")
    until(city.is_connected, "the gateway's connection", 60.0, 0.01)
    connected = time.monotonic()
    told = until(lambda: [m for m in city.messages(head) if "level 2" in m], "the page", 60.0, 0.01)
    return time.monotonic() - connected, told[0]


def test_alarms_of_a_cut_link_page_with_their_age_or_ask_for_review(city: City, page: Page) -> None:
    city.link("cut")
    city.show("over", 14)  # past the first limit, which clears by itself
    until(lambda: city.standing("over") == {PRE: "active"}, "the first alarm at the gateway")
    city.show("over", 0)
    city.show("late", 70)
    until(lambda: not city.standing("over"), "its end at the gateway")
    until(lambda: L2 in city.standing("late"), "the second alarm at the gateway")
    began = time.monotonic()
    until(lambda: time.monotonic() - began > LATE_US / S + 1, "an age that is told of", 30.0, 0.5)
    assert city.journal("over") == city.journal("late") == []
    took_s, told = reconnected(city, "late")
    assert re.search(r"迟到：消息到达时已持续[1-9]\d+ 秒|late: it had stood [1-9]\d+ s", told), told
    # A machine that is busy with something else may hold up a try, and not three.
    for head in ("late-2", "late-3"):
        if took_s >= PAGED_WITHIN_S:
            city.link("cut")
            city.show(head, 70)
            until(lambda head=head: L2 in city.standing(head), "another alarm at the gateway")
            took_s, _ = reconnected(city, head)
    assert took_s < PAGED_WITHIN_S

    red = city.the("late", L2, state="active", measurement="active")
    assert (red["decision"], red["decision_reason"], red["is_late"]) == ("page", "late", True)
    assert red["stood_s"] > LATE_US / S
    over = city.the("over", PRE, measurement="cleared")
    assert (over["decision"], over["is_late"]) == ("review", True)
    assert over["id"] in [alarm["id"] for alarm in city.api("alarm-reviews")]
    entry = page.locator(f'[id="a:{red["id"]}"]')
    expect(entry).to_contain_text("had stood")
    # The review pages nobody, also when others are told of afterwards.
    city.show("calm", 70)
    until(lambda: [m for m in city.messages("calm") if "level 2" in m], "a message of another head")
    assert city.messages("over") == []


def test_a_gateway_that_is_lost_during_an_alarm(city: City, page: Page) -> None:
    city.show("lost", 66)
    red = city.the("lost", L2, state="active")
    until(lambda: [m for m in city.messages("lost") if "level 2" in m], "the page")
    city.agent.kill()
    silent = city.the("lost", L2, measurement="source_silent")
    assert (silent["id"], silent["state"], silent["cleared_us"]) == (red["id"], "active", None)
    entry = page.locator(f'[id="a:{red["id"]}"]')
    expect(entry).to_contain_text("source silent")
    expect(page.locator(f'[id="p:{city.gateway}/lost/gas"] .quality')).to_have_text("unknown", use_inner_text=True)
    # It comes back: the same alarm, active, and nobody is told a second time.
    city.agent.start()
    back = city.the("lost", L2, measurement="active")
    assert (back["id"], back["state"]) == (red["id"], "active")
    assert len([m for m in city.messages("lost") if "level 2" in m]) == 1


def test_a_gateway_with_a_wrong_clock_tells_the_same(city: City) -> None:
    assert city.clock is not None
    city.clock.step(BEHIND_S)
    other = city.start_second()
    for value, rules in ((14, {PRE}), (35, {PRE, L1}), (80, {PRE, L1, L2})):
        city.show("twin", value)
        for gateway in (city.gateway, other):
            until(lambda g=gateway, r=rules: {a["rule_id"] for a in city.journal("twin", gateway=g)} == r, "alarms")
    city.clock.step(BEHIND_S + 7200)  # and it jumps while they stand
    city.show("twin", 0)
    for gateway in (city.gateway, other):
        until(lambda g=gateway: _states(city, g) == {PRE: "cleared", L1: "latched", L2: "latched"}, "the ends")

    right, wrong = (city.journal("twin", gateway=gateway) for gateway in (city.gateway, other))
    assert [_facts(alarm) for alarm in wrong] == [_facts(alarm) for alarm in right]
    for one, two in zip(right, wrong, strict=True):
        # What comes live is placed by its arrival: seconds apart on a busy machine, and not 400 days.
        assert abs(one["raised_us"] - two["raised_us"]) < 60 * S
    assert [gateway["clock"] for gateway in city.api("gateways") if gateway["id"] == other] != ["synchronised"]


def _states(city: City, gateway: str) -> dict[str, str]:
    return {alarm["rule_id"]: alarm["state"] for alarm in city.journal("twin", gateway=gateway)}


def _facts(alarm: dict[str, Any]) -> tuple[Any, ...]:
    names = ("rule_id", "severity", "state", "measurement", "cause", "value", "limit", "code", "marks", "decision")
    return tuple(alarm[name] for name in names)
