"""A person tests a head with gas: it passes, it fails, or the person walks away; seen at the gateway and the centre."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from edge_agent.control import ask
from edge_agent.state_dir import CONTROL
from tests.scenarios.city import L2, City
from tests.system.rig import until

pytestmark = [pytest.mark.ci, pytest.mark.browser]

APPLIED = 50.0
#: what has been sealed is on an open page by then, also on a busy machine
_SHOWN_MS = 60_000


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    made = City(tmp_path_factory.mktemp("c"), ("passes", "fails", "leaves", "other"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


class Technician:
    """A person at one head of the first gateway, through the agent's control socket as the command does."""

    def __init__(self, city: City, head: str) -> None:
        self._socket = city.folder / "gateway" / CONTROL
        self._point = f"{head}/gas"

    def begin(self, seconds: float) -> None:
        ask(
            self._socket, "visit-begin", point=self._point, by="the test", job="bump", seconds=seconds, gas=APPLIED
        )  # fmt: skip

    def gas(self, is_on: bool) -> None:
        ask(self._socket, "visit-gas", point=self._point, is_on=is_on)

    def until(self, **facts: Any) -> None:
        """Waits until the screen says so."""

        def says() -> bool:
            view = ask(self._socket, "visit-state", point=self._point)
            return all(view[name] == value for name, value in facts.items())

        until(says, f"a visit to {self._point} with {facts}")


def record(city: City, head: str) -> dict[str, Any]:
    """Waits for the signed record at the centre; there is one, however often it was sealed."""
    found = until(lambda: city.api(f"visits?point={head}/gas")["visits"], f"the visit to {head}")
    assert len(found) == 1
    return dict(found[0])


def test_a_bump_test_that_passes(city: City, page: Page) -> None:
    person = Technician(city, "passes")
    page.goto(f"http://127.0.0.1:{city.http_port}/?lang=en")
    row = page.locator(f'[id="p:{city.gateway}/passes/gas"]')
    expect(row).not_to_contain_text("inhibited", timeout=_SHOWN_MS)
    person.begin(120)
    expect(row).to_contain_text("by the test: bump test", timeout=_SHOWN_MS)
    person.until(advice="gas_on")
    person.gas(True)
    city.show("passes", 50)  # past every limit, and inhibited
    person.until(advice="gas_off", value=50.0)
    # Another head is watched as ever.
    city.show("other", 60)
    city.the("other", L2, state="active", decision="page")
    person.gas(False)
    city.show("passes", 0)
    person.until(stage="done")
    done = record(city, "passes")
    assert (done["result"], done["reason"], done["by"], done["job"]) == ("passed", "", "the test", "bump")
    assert (done["zero"], done["applied"], done["peak"]) == (0.0, APPLIED, 50.0)
    assert 0 <= done["t90_s"] <= done["t90_limit_s"] == 30
    assert 0 <= done["return_s"] <= done["return_limit_s"] == 60
    assert city.journal("passes") == []
    expect(row).not_to_contain_text("inhibited", timeout=_SHOWN_MS)
    page.goto(f"http://127.0.0.1:{city.http_port}/visits?lang=en")
    expect(page.locator("body")).to_contain_text("passes/gas")
    expect(page.locator("body")).to_contain_text("the test")
    # The inhibit is over with the test: the next gas is an alarm.
    city.show("passes", 60)
    city.the("passes", L2, state="active", decision="page")


def test_a_bump_test_that_fails(city: City) -> None:
    person = Technician(city, "fails")
    person.begin(120)
    person.until(advice="gas_on")
    person.gas(True)
    city.show("fails", 10)  # a tired sensor
    person.until(value=10.0)
    person.gas(False)
    city.show("fails", 0)
    person.until(stage="done")
    done = record(city, "fails")
    assert (done["result"], done["peak"], done["t90_s"]) == ("failed", 10.0, None)
    assert "no answer" in done["reason"]
    assert city.journal("fails") == []


def test_a_technician_who_walks_away_with_the_gas_on(city: City, page: Page) -> None:
    person = Technician(city, "leaves")
    person.begin(15)
    person.until(advice="gas_on")
    person.gas(True)
    city.show("leaves", 62)
    person.until(value=62.0)
    assert city.journal("leaves") == []
    # Nobody comes back.  When the time is up the inhibit is lifted, and what stands is an alarm at once.
    red = city.the("leaves", L2, state="active", decision="page", value=62.0)
    assert "inhibit_over" in red["marks"]
    done = record(city, "leaves")
    assert (done["result"], done["reason"]) == ("abandoned", "time up")
    until(lambda: [message for message in city.messages("leaves") if "level 2" in message], "the message")
    page.goto(f"http://127.0.0.1:{city.http_port}/?lang=en")
    expect(page.locator(f'[id="a:{red["id"]}"]')).to_contain_text("raised when the work on the point was over")
