"""What a gas head may do, from its registers to the interface, the page and the webhook."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.scenarios.city import L1, L2, PAIR, PRE, SILENCE, City
from tests.system.rig import until

pytestmark = [pytest.mark.ci, pytest.mark.browser]

FAULT = "sensor.fault.v1/fault"


def entry(page: Page, alarm: dict[str, str]) -> Locator:
    return page.locator(f'[id="a:{alarm["id"]}"]')


def row(page: Page, city: City, head: str) -> Locator:
    return page.locator(f'[id="p:{city.gateway}/{head}/gas"]')


def test_a_gas_leak_that_a_second_head_confirms(city: City, page: Page) -> None:
    city.show("leak-2", 12)
    city.the("leak-2", PRE, measurement="active", cause="limit", decision="page")
    city.show("leak-1", 31)
    first = city.the("leak-1", L1, measurement="active", severity="yellow", value=31.0)
    both = city.the("leak-1", PAIR, measurement="active", cause="confirmed", severity="red", decision="page")
    assert both["marks"] == ["with=leak-2/gas"]
    assert first["raised_us"] <= both["raised_us"]
    assert city.journal("leak-1", L2) == []
    # Red at the desk, and at whoever is told.
    expect(entry(page, both)).to_contain_text("a second point alarms too")
    expect(entry(page, both)).to_contain_text("leak-2/gas")
    expect(row(page, city, "leak-1")).to_have_class(re.compile("sev-red"))
    until(lambda: any("two heads in one well" in message for message in city.messages("leak-1")), "the red message")
    # The gas goes; a latched alarm waits for a person, the pair ends when its window has passed.
    city.show("leak-1", 0)
    city.the("leak-1", L1, state="latched")
    assert city.the("leak-1", PAIR)["state"] == "active"


def test_a_head_that_goes_from_nothing_to_over_range_in_one_sample(city: City, page: Page) -> None:
    city.show("jump", "over_range")
    for rule in (PRE, L1, L2):
        alarm = city.the("jump", rule, measurement="active", cause="over_range")
        assert (alarm["value"], alarm["shown"]) == (None, "")
    assert len({alarm["sampled_us"] for alarm in city.journal("jump")}) == 1  # one sample raised them all
    point = until(lambda: (p := city.point("jump"))["quality"] == "uncertain" and p, "the reading")
    assert (point["value"], point["reason_en"]) == (None, "over range")
    red = city.the("jump", L2)
    expect(entry(page, red)).to_contain_text("over range")
    expect(entry(page, red).locator(".alarm-value .number")).to_have_count(0)
    expect(row(page, city, "jump").locator(".reading")).to_contain_text("over range")
    expect(row(page, city, "jump").locator(".number")).to_have_count(0)
    assert "over range" in until(lambda: [m for m in city.messages("jump") if "level 2" in m], "the message")[0]
    # Latched, the first step too: the head shows nothing again, and only a named person ends the alarm.
    city.show("jump", 0)
    for rule in (PRE, L1, L2):
        city.the("jump", rule, state="latched", measurement="active")
    expect(entry(page, red)).to_contain_text("latched")
    city.reset("jump", L2)
    ended = city.the("jump", L2, measurement="cleared")
    assert (ended["id"], ended["marks"]) == (red["id"], ["by=the test"])
    until(lambda: city.standing("jump") == {PRE: "latched", L1: "latched"}, "what is left at the gateway")


def test_a_head_that_is_destroyed_while_the_gas_rises(city: City, page: Page) -> None:
    city.show("rising", 12)
    city.the("rising", PRE, measurement="active")
    city.fault("rising", "dead")
    lost = city.the("rising", L1, cause="lost_while_rising", state="active", decision="page")
    assert lost["value"] is None
    city.the("rising", SILENCE, state="active", cause="silence", value=None)
    # No number invented, no alarm ended by silence.
    city.the("rising", L1, measurement="source_silent", state="active")
    city.the("rising", PRE, measurement="source_silent", state="active")
    expect(entry(page, lost)).to_contain_text("lost while rising")
    expect(entry(page, lost)).to_contain_text("source silent")
    expect(entry(page, lost).locator(".alarm-value .number")).to_have_count(0)
    until(lambda: [m for m in city.messages("rising") if "lost while rising" in m], "the message")
    # It is heard again, with air: the pre-alarm ends, what was raised for its loss waits for a person.
    city.show("rising", 0)
    city.fault("rising", "none")
    city.the("rising", PRE, measurement="cleared")
    city.the("rising", L1, state="latched")


def test_a_head_that_fails_during_its_alarm(city: City, page: Page) -> None:
    city.show("broken", 62)
    red = city.the("broken", L2, state="active", value=62.0)
    city.show("broken", "fault")
    fault = city.the("broken", FAULT, state="active", severity="info")
    assert fault["cause"] == "fault"
    point = until(lambda: (p := city.point("broken"))["quality"] == "bad" and p, "the reading")
    assert (point["value"], point["last_value"]) == (None, 62.0)
    # A fault neither ends an alarm nor hides it: the same occurrence, active, with what raised it.
    still = city.the("broken", L2, state="active", measurement="active")
    assert (still["id"], still["value"], still["cleared_us"]) == (red["id"], 62.0, None)
    expect(row(page, city, "broken").locator(".reading .number")).to_have_count(0)
    expect(row(page, city, "broken")).to_have_class(re.compile("sev-red"))
    city.show("broken", 0)
    city.the("broken", FAULT, measurement="cleared")
    city.the("broken", L2, state="latched")


def test_a_value_that_moves_about_its_limit_within_the_deadband_is_one_alarm(city: City) -> None:
    city.show("edge", 10.5)
    city.the("edge", PRE, state="active")
    for value in (9.5, 10.5, 7.5, 10.2):  # the deadband is 3
        city.show("edge", value)
        until(lambda value=value: city.values(city.gateway).get("edge") == value, f"{value} at the collector")
    city.the("edge", PRE, state="active", measurement="active")
    city.show("edge", 6.9)
    city.the("edge", PRE, measurement="cleared")


def test_a_value_that_flaps_past_its_deadband_is_told_once_and_recorded_each_time(city: City) -> None:
    for times in range(1, 4):
        city.show("flap", 14)
        until(lambda times=times: len(city.journal("flap", PRE)) == times, f"alarm {times}")
        city.show("flap", 0)
        until(lambda: city.journal("flap", PRE)[-1]["measurement"] == "cleared", "its end")
    until(lambda: city.messages("flap"), "the message")
    # Another source is told meanwhile: the messages go on, and the flapping one has no second.
    city.show("calm", 14)
    until(lambda: city.messages("calm"), "the message of another head")
    assert len(city.messages("flap")) == 1
    assert [alarm["decision"] for alarm in city.journal("flap", PRE)] == ["page"] * 3
    # A red one is held back by nothing.
    city.show("flap", 70)
    until(lambda: any("level 2" in message for message in city.messages("flap")), "the red message")


def test_limits_on_trial_are_shown_in_full_and_call_nobody(city: City, page: Page) -> None:
    city.show("trial", 55)
    red = city.the("trial", L2, state="active", severity="red")
    assert (red["marks"], red["decision"], red["decision_reason"]) == (["trial"], "nothing", "trial")
    expect(entry(page, red)).to_contain_text("TRIAL")
    expect(entry(page, red)).to_contain_text("Red")
    # A confirmed one, raised later, was told of.
    city.show("leak-2", 55)
    until(lambda: any("level 2" in message for message in city.messages("leak-2")), "a message of a confirmed one")
    assert city.messages("trial") == []
