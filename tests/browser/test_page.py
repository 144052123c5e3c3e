"""The page in a real browser: live values, gaps, acknowledging, languages, a phone, a lost connection.

Needs Debian's Chromium; what it shows comes from the made-up city of the web tests.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from collector.views import GatewayView
from collector.web.app import STATIC, create_app, wall_us
from tests.collector.web.fake_city import GATEWAY, INFO, FakeChanges, FakeCity, make_alarm, make_gateway, make_point
from tests.debian_tools import find_tool
from tests.mosquitto import free_port

pytestmark = [pytest.mark.browser, pytest.mark.slow]

#: no helper of the browser may look for anything outside
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Site:
    """The page served on a loopback port from a thread with a loop of its own."""

    def __init__(self, port: int = 0) -> None:
        self.city, self.changes = FakeCity(now_us=wall_us()), FakeChanges()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port or free_port()))
        self.port: int = self._socket.getsockname()[1]
        app = create_app(queries=self.city, actions=self.city, changes=self.changes, info=INFO)
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._server.serve(sockets=[self._socket]))
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def tell(self, *points: tuple[str, str], alarms: Sequence[str] = ()) -> None:
        """Says that something has changed, in the loop's own thread."""
        self.city.now_us = wall_us()
        self._loop.call_soon_threadsafe(lambda: self.changes.tell(*points, alarms=alarms))

    def close(self) -> None:
        """Stops serving; safe twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self.changes.close)
            self._server.should_exit = True
            self._thread.join(timeout=10)
        self._socket.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = find_tool("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A desktop page in English that is connected; a script error or a refusal of the policy fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(10_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if "Content Security Policy" in line.text else None)
    page.goto(f"{site.url}?lang=en")
    expect(page.locator("#stream")).to_have_attribute("data-state", "on")
    yield page
    context.close()
    assert wrong == []


def _row(page: Page, key: str) -> Any:
    return page.locator(f'[id="p:{GATEWAY}/{key}"]')


def _need_chart() -> None:
    if not (STATIC / "vendor" / "uPlot.iife.min.js").is_file():
        reason = "the chart library is not fetched (make assets)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def test_a_value_changes_on_the_screen(page: Page, site: Site) -> None:
    row = _row(page, "main-1/pressure")
    expect(row.locator(".number")).to_have_text("0.312")
    site.city.now_us = wall_us()
    site.city.set_value("main-1/pressure", 0.298)
    site.tell((GATEWAY, "main-1/pressure"))
    expect(row.locator(".number")).to_have_text("0.298")
    site.city.set_value("main-1/pressure", None, code=128, quality="missing", reason_en="no reply")
    site.tell((GATEWAY, "main-1/pressure"))
    expect(row.locator(".reading")).to_contain_text("no reply")
    expect(row.locator(".number")).to_have_count(0)


def test_ages_grow_and_a_silent_point_becomes_unknown_by_itself(page: Page, site: Site) -> None:
    site.city.now_us = wall_us()
    site.city.set_value("main-1/pressure", 0.3, longest_silence_s=2.0)
    site.tell((GATEWAY, "main-1/pressure"))
    row = _row(page, "main-1/pressure")
    expect(row.locator(".number")).to_be_visible()
    expect(row.locator(".number")).to_be_hidden(timeout=5000)
    expect(row.locator(".quality")).to_have_text("unknown", use_inner_text=True)
    expect(row.locator(".last")).to_be_visible()
    expect(row.locator(".since")).to_have_text("4 s")


def test_a_new_alarm_appears_and_is_acknowledged_while_rows_change(page: Page, site: Site) -> None:
    alarm = make_alarm("d4" * 16, en="Bridge pier tilt X", raised_us=wall_us(), severity="orange")
    site.city.alarm_views.append(alarm)
    site.tell(alarms=[alarm.id])
    entry = page.locator(f'[id="a:{alarm.id}"]')
    expect(entry).to_contain_text("Orange")
    entry.get_by_label("Your name").fill("Wang")
    site.city.alarm_views[-1] = make_alarm(
        "d4" * 16, en="Bridge pier tilt X", severity="orange", shown="60", value=60.0
    )
    site.tell(alarms=[alarm.id])
    expect(entry).to_contain_text("60")
    expect(entry.get_by_label("Your name")).to_have_value("Wang")
    expect(entry.get_by_label("Your name")).to_be_focused()
    entry.get_by_role("button", name="Acknowledge").click()
    expect(entry).to_contain_text("acknowledged by Wang")
    assert site.city.acknowledged == [(alarm.id, "Wang", "", "page 127.0.0.1")]
    site.city.alarm_views.pop()
    site.tell(alarms=[alarm.id])
    expect(entry).to_have_count(0)


def test_an_acknowledgement_is_taken_back_and_the_day_is_told_in_a_line(page: Page, site: Site) -> None:
    entry = page.locator('[id="a:' + "c3" * 16 + '"]')
    entry.get_by_text("Take back").first.click()
    entry.get_by_label("Your name").fill("Wang")
    entry.get_by_role("button", name="Take back").click()
    expect(entry.get_by_role("button", name="Acknowledge")).to_be_visible()
    assert site.city.unacknowledged == [("c3" * 16, "Wang", "", "page 127.0.0.1")]
    card = page.locator(f'[id="g:{GATEWAY}"]')
    card.get_by_role("link", name="completeness of today").click()
    line = page.locator(f'[id="day:{GATEWAY}"]')
    expect(line).to_contain_text("expected readings measured")
    site.city.gateway_views[0] = make_gateway(backlog_batches=5)  # the card is sent again, and the line stays
    site.tell((GATEWAY, "main-1/pressure"))
    expect(card).to_have_attribute("data-backlog", "5")
    expect(line).to_contain_text("expected readings measured")


def test_a_gap_is_a_gap_in_the_chart(page: Page) -> None:
    _need_chart()
    # Not wait_for_function: when it has to wait, it evaluates text in the page, which the policy forbids.
    expect(page.locator("#chart canvas")).to_have_count(1)
    values = page.evaluate("document.getElementById('chart').uplot.data[1]")
    assert None in values
    assert len([value for value in values if value is not None]) > 100
    assert page.evaluate("document.getElementById('chart').uplot.series[1].spanGaps") is False


def test_choosing_a_point_and_a_span(page: Page, site: Site) -> None:
    _row(page, "bridge-1/tilt/1").locator("a").click()
    panel = page.locator("#trend-panel")
    expect(panel).to_have_attribute("data-key", "bridge-1/tilt/1")
    assert "point=" in page.url
    panel.get_by_role("link", name="24 h").click()
    expect(panel).to_have_attribute("data-span-s", "86400")
    expect(panel).to_contain_text("minutes")
    page.get_by_role("link", name="中文").click()
    expect(panel).to_have_attribute("data-key", "bridge-1/tilt/1")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    assert site.city.acknowledged == []


def test_languages(page: Page) -> None:
    expect(page.locator("#alarms-title")).to_have_text("Alarms")
    page.get_by_role("link", name="中文").click()
    expect(page.locator("#alarms-title")).to_have_text("报警")
    expect(_row(page, "main-1/pressure")).to_contain_text("供水主管压力")
    page.goto(page.url.split("?", maxsplit=1)[0])
    expect(page.locator("#alarms-title")).to_have_text("报警")


@pytest.mark.parametrize(("width", "language"), [(360, "zh"), (360, "en"), (390, "en"), (800, "zh")])
def test_no_width_needs_sideways_scrolling(browser: Browser, site: Site, width: int, language: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    page.goto(f"{site.url}?lang={language}")
    expect(page.locator("#stream")).to_have_attribute("data-state", "on")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    hidden = page.evaluate(
        "[...document.querySelectorAll('.point .reading, .alarm, .gateway, .proof')]"
        ".filter((e) => e.getBoundingClientRect().right > innerWidth || e.scrollWidth > e.clientWidth + 1)"
        ".map((e) => e.id || e.className)"
    )
    assert hidden == []
    context.close()


def test_a_lost_connection_is_said_and_healed(page: Page, site: Site) -> None:
    expect(page.locator("#broken")).to_be_hidden()
    site.close()
    expect(page.locator("#broken")).to_be_visible()
    expect(page.locator("#broken")).to_contain_text("Page disconnected.")
    expect(page.locator("#stream")).to_have_attribute("data-state", "off")
    again = Site(site.port)
    try:
        again.city.set_value("main-1/pressure", 0.777)
        expect(page.locator("#broken")).to_be_hidden(timeout=15_000)
        expect(_row(page, "main-1/pressure").locator(".number")).to_have_text("0.777")
    finally:
        again.close()


def test_a_new_point_is_on_the_page_without_a_click(page: Page, site: Site) -> None:
    key = "pump-1/pressure"
    site.city.point_views[GATEWAY, key] = make_point(key, "Pump pressure", "泵压", "kPa", 12.5, now_us=wall_us())
    site.tell((GATEWAY, key))
    expect(_row(page, key).locator(".number")).to_have_text("12.5")


def test_without_scripts_the_page_is_readable_and_acknowledges(browser: Browser, site: Site) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site.url}?lang=en")
    expect(_row(page, "main-1/pressure").locator(".number")).to_have_text("0.312")
    entry = page.locator('[id="a:' + "a1" * 16 + '"]')
    entry.get_by_label("Your name").fill("Li")
    entry.get_by_role("button", name="Acknowledge").click()
    expect(entry).to_contain_text("acknowledged by Li")
    context.close()


def test_a_gateway_that_goes_quiet_turns_silent_by_itself(
    page: Page, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard_us = wall_us()

    def gateways() -> list[GatewayView]:  # a collector that never says so: the page has to count
        return [make_gateway(silent_for_s=(wall_us() - heard_us) / 1e6, silent_after_s=3.0)]

    monkeypatch.setattr(site.city, "gateways", gateways)
    site.tell((GATEWAY, "main-1/pressure"))
    card = page.locator(f'[id="g:{GATEWAY}"]')
    expect(card.locator(".if-heard")).to_be_visible()
    expect(card.locator(".if-heard")).to_have_text("live")
    expect(card.locator(".if-silent")).to_be_visible(timeout=8000)
    expect(card.locator(".if-heard")).to_be_hidden()
    expect(card.locator(".quiet-for")).to_have_text(re.compile(r"^\d+ s$"))


def test_the_quarantine_appears_with_its_reason(page: Page, site: Site) -> None:
    section = page.locator("#quarantine-section")
    expect(section).to_be_hidden()
    site.city.troubles = {"quarantined": 2.0}
    site.tell((GATEWAY, "main-1/pressure"))
    expect(section).to_be_visible()
    expect(section).to_contain_text("does not fit")
    site.city.troubles = {"broker_connected": 0.0}
    site.tell((GATEWAY, "main-1/pressure"))
    expect(section).to_be_hidden()
    expect(page.locator("#trouble")).to_contain_text("no broker")
